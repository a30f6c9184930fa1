"""pgrouter: one address in front of a PostgreSQL cluster.

The rooms, from the ground up (a room imports only from the floors below it; docs/architecture.md draws it):

    errors clock topology config     words and settings, no IO
    net       sockets: one epoll set, streams, backpressure (compiled)
    protocol  PostgreSQL v3: frames, messages, answers owed; no IO (compiled where it is hot)
    auth      logins as generators, SCRAM, md5, user stores
    routing   SQL -> Statement -> Route, pure; the only room that imports pglast
    session   what one client's messages mean: batches, prepared statements, settings, pins; no IO
    server    one connection to PostgreSQL: dial, log in, forward, reset
    pool      which server connection serves whom; limits; janitor
    cluster   who leads: sources, probes, pure merge -> ClusterView
    proxy     the client side: link client and server, cancel, listener
    admin     the console
    app       composition root
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
"""Whether the hot rooms run compiled; without a compiler they run as plain Python, correct but slow."""
