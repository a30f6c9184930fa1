"""The router's own sessions with servers, over psycopg's libpq layer: how they log in, and one query at a time."""
