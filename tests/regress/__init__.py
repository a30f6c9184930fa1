"""PostgreSQL's regression suite as a client of the router: what psql prints must be what it prints directly."""
