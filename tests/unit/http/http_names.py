"""Paths that clients rely on."""

HEALTHY = (
    "/live", "/liveness", "/ready", "/readiness", "/health", "/primary", "/read-write", "/leader", "/master",
    "/replica", "/read-only",
)  # fmt: skip
