"""Host names of members: they are looked up periodically, since an open connection never does that.

A name may have several addresses. The router's own connection goes to the first one that answers (`Prober`), and
clients' connections go there, too (`ClusterSubscriber.found`): otherwise they could reach another server than the one
that was probed. A lookup that fails or hangs changes nothing: its last result stays valid.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgrouter.cluster.probe import Prober

log = logging.getLogger("pgrouter.cluster")

LOOK_UP_S = 15.0  # between two lookups, as for the pools (PgBouncer's dns_max_ttl)


def is_name(host: str) -> bool:
    """Whether a host is a name: neither an address nor the directory of a Unix socket."""
    try:
        ip_address(host)
    except ValueError:
        return not host.startswith("/")
    return False


async def look_up(host: str, port: int, known: tuple[str, ...], patience_s: float) -> tuple[str, ...]:
    """Return the addresses of a host, one empty one if it is not a name; `known` if the lookup fails.

    Raises OSError if nothing was known either.
    """
    if not is_name(host):
        return ("",)
    try:
        async with asyncio.timeout(patience_s if known else None):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:  # TimeoutError is one
        if known:
            return known
        raise OSError(f"could not translate host name {host!r} to address: {error.strerror or error}") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


async def follow(probers: Callable[[], Iterable[Prober]], pause_s: float = LOOK_UP_S) -> None:
    """Probe members over a new connection when the addresses of their names have changed; until canceled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause_s)
        for prober in list(probers()):
            host, port = prober.address
            if not is_name(host) or not prober.connected_to:
                continue
            try:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError:
                continue
            addresses = {str(entry[4][0]) for entry in found}
            if prober.connected_to and prober.connected_to not in addresses:
                log.warning("cluster: %s is %s now, no longer %s", host, ", ".join(addresses), prober.connected_to)
                prober.redial()
