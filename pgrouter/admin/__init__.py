"""The console: a database that is the router itself. Views are pure functions from the router's objects to rows."""
