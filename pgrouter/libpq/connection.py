"""How libpq protects the router's own sessions: in the same way as clients' connections are protected."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from psycopg import pq

from pgrouter.auth.encryption import VERIFIED
from pgrouter.auth.require import libpq_rule

if TYPE_CHECKING:
    from pgrouter.config.settings import Servers

Protection = Mapping[str, Any]
"""Parameters of libpq that protect a connection."""

NO_PROTECTION: Protection = MappingProxyType({})
DIRECT_SINCE = 170000  # libpq's version, with sslnegotiation
CERTMODE_SINCE = REQUIRE_AUTH_SINCE = 160000

log = logging.getLogger("pgrouter.cluster")


def protection(servers: Servers) -> Protection:
    """Return libpq's connection parameters for these settings."""
    tls = servers.tls
    found: dict[str, Any] = {"sslmode": tls.mode, "ssl_min_protocol_version": tls.min_version}
    rule = libpq_rule(servers.require_auth, private=tls.mode in VERIFIED)
    if rule and pq.version() >= REQUIRE_AUTH_SINCE:
        found["require_auth"] = rule
    elif rule:
        log.warning(
            "this libpq is older than 16: to a server that asks for it, it sends the monitor's password in clear"
        )
    if tls.mode == "disable":
        return found
    if tls.ca:
        found["sslrootcert"] = str(tls.ca)
    elif tls.mode in VERIFIED:
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
