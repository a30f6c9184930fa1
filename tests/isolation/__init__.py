"""`make isolation`: PostgreSQL's isolation specs through the router and directly, compared."""
