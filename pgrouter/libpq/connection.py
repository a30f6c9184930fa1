"""How libpq protects the router's own sessions: in the same way as clients' connections are protected."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from psycopg import pq

if TYPE_CHECKING:
    from pgrouter.config.settings import ServersTls

Protection = Mapping[str, Any]
"""Parameters of libpq that protect a connection."""

NO_PROTECTION: Protection = MappingProxyType({})
DIRECT_SINCE = 170000  # libpq's version, with sslnegotiation
CERTMODE_SINCE = 160000


def protection(tls: ServersTls) -> Protection:
    """Return libpq's connection parameters for these settings."""
    found: dict[str, Any] = {"sslmode": tls.mode, "ssl_min_protocol_version": tls.min_version}
    if tls.mode == "disable":
        return found
    if tls.ca:
        found["sslrootcert"] = str(tls.ca)
    elif tls.mode in ("verify-ca", "verify-full"):
        found["sslrootcert"] = ssl.get_default_verify_paths().cafile or "system"  # libpq may have an OpenSSL of its own
    if tls.crl:
        found["sslcrl"] = str(tls.crl)
    if tls.cert:
        found |= {"sslcert": str(tls.cert), "sslkey": str(tls.key or tls.cert)}
    elif pq.version() >= CERTMODE_SINCE:
        found["sslcertmode"] = "disable"  # not the one in the home directory
    if tls.negotiation == "direct" and pq.version() >= DIRECT_SINCE and tls.mode not in ("allow", "prefer"):
        found["sslnegotiation"] = "direct"
    return found
