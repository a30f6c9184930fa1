"""One connection to PostgreSQL: connect, log in, forward, reset."""
