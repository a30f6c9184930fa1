"""One connection to PostgreSQL: dial, log in, forward, reset."""
