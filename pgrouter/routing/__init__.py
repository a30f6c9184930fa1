"""SQL -> Statement -> Route, pure: fingerprint, classify (the only room that imports pglast), hints, cache, policy."""
