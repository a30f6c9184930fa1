"""SQL -> Statement -> Route, pure: fingerprint, classify, hints, cache, policy. Only this package imports pglast."""
