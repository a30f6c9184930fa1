"""The launcher in PgBouncer's place: its command line and its configuration file."""
