"""Login conversations without IO: a client's to the router, the router's to a server; and the user store."""
