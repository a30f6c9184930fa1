"""The drivers' own tests, SQLAlchemy's and Django's, directly and through the router; see `__main__`."""
