"""The client side: listener, login, linking clients with servers, cancel, and errors when a server is lost."""
