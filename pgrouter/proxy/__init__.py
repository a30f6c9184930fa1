"""The client side: listener, login, linking clients with servers, cancel, and what to say when a server is lost."""
