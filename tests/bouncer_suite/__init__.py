"""PgBouncer's own tests, run against the launcher: `make bouncer-suite`."""
