"""pgrouter: one address in front of a PostgreSQL cluster.

The packages, bottom layer first (a package imports only from the layers below it; see docs/architecture.md):

    errors clock lsn notify topology config   basic types and settings
    net       sockets: one epoll set, streams, backpressure (compiled)
    protocol  PostgreSQL v3: frames, messages, outstanding answers; no IO (compiled where it is hot)
    auth      logins as generators, SCRAM, md5, user stores
    routing   SQL -> Statement -> Route, pure; the only package that imports pglast
    session   session state: settings, prepared statements, leftovers, refusals, timeouts; no IO
    planes    what the control plane and the data plane ask of each other, and tell
    libpq     the router's own sessions with servers (psycopg)
    server    one connection to PostgreSQL: dial, log in, forward, reset
    pool      which server connection serves which client; limits; janitor
    cluster   which member leads: sources, probes, pure merge -> ClusterView
    control   the control plane: cluster, the databases' catalogs, secrets
    proxy     the data plane: clients, linked to servers; listeners
    admin     the console
    app       the two planes, joined
    cli demo  commands; a real cluster on loopback
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pgrouter.protocol import framing

try:
    __version__ = version("pgrouter")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"

COMPILED: bool = framing.is_compiled()
"""Whether the compiled modules run compiled; without a compiler they run as plain Python, correct but slow."""
