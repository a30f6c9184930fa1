"""The only place that builds TLS contexts for requests of the router: to etcd and to Patroni's REST API.

Without `ca` the trusted authorities are the system's (OpenSSL's default, which SSL_CERT_FILE and SSL_CERT_DIR change)
for both, and not the list that comes with a Python package.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from pgrouter.config.settings import Tls


def tls_context(tls: Tls | None) -> ssl.SSLContext:
    """Build a context that verifies the server's certificate and presents ours.

    Raises OSError if a file cannot be read or has the wrong content (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=str(tls.ca) if tls and tls.ca else None)
    if tls and tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    return context


class TlsAdapter(HTTPAdapter):
    """Makes requests use our context for https, unmodified.

    By itself it loads certifi's authorities into any context it is given.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make all connections use the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **more)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Omit what `verify` and `cert` would add."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add nothing: the context is complete."""
