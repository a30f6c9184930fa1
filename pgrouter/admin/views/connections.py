"""SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: a row per connection, also for one that is not complete yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.server.states import ACTIVE, STATE_NAMES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row
    from pgrouter.pool.pool import Pool
    from pgrouter.proxy.batch import Batch
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.server.connection import ServerConnection

_PGBOUNCER = (
    "type user database replication state addr port:int4 local_addr local_port:int4 connect_time request_time "
    "wait:int4 wait_us:int4 close_needed:int4 ptr link remote_pid:int4 tls application_name "
    "prepared_statements:int4 id:int4 "
)
CLIENTS = columns(_PGBOUNCER + "pin pin_time route")
SERVERS = columns(_PGBOUNCER + "member")
SOCKETS = columns(
    _PGBOUNCER
    + "recv_pos:int4 pkt_pos:int4 pkt_remain:int4 send_pos:int4 send_remain:int4 pkt_avail:int4 send_avail:int4"
)
_OF_BOTH = len(columns(_PGBOUNCER))
_STATE = [column.name for column in SOCKETS].index("state")


def clients(context: Context) -> Iterator[Row]:
    """Yield a row per client, including those that are logging in and the console's own."""
    registry = context.app.registry
    since = waiting_since(context.app.pools.groups.values())
    unproved = [client for number, client in registry.logging_in.items() if number not in registry.clients]
    for client in [*registry.clients.values(), *unproved]:
        if not client.closed:  # since the first row
            yield _client(context, client, since.get(id(client.peer)))


def _client(context: Context, client: ClientConnection, since: float | None) -> Row:
    info = client.info
    wait, wait_us = split_us(context.now - since) if since is not None else (0, 0)
    server = client.link.server
    asked = server.linked_at if server is not None else since
    return (
        "C",
        info.user if info else None,
        info.database if info else None,
        "none",
        client_state(context, client),
        info.address or "unix" if info else None,
        info.port if info else None,
        *_local(client.sock),
        context.time(client.since),
        context.time(asked) if asked is not None else None,
        wait,
        wait_us,
        0,
        f"C-{client.client_id}",
        f"S-{server.connection_id}" if server is not None else "",
        _pid(server) if server is not None else None,
        _tls(client),
        info.application_name if info else "",
        len(client.session.statements.named),
        client.client_id,
        client.session.pin or "",
        context.time(client.session.pinned_at) if client.session.pin else None,
        _route(client.link.batch),
    )


def _route(batch: Batch) -> str:
    return f"{'replica' if batch.reads else 'primary'}: {batch.reason}" if batch.reason else ""


def client_state(context: Context, client: ClientConnection) -> str:
    """Return the state of a client, in PgBouncer's terms; `login` is the router's own."""
    if client.client_id in context.app.registry.logging_in:
        return "login"
    if client.waiting:
        return "waiting"
    return "active" if client.link.server is not None or client is context.client else "idle"


def waiting_since(groups: Iterable[Pool]) -> dict[int, float]:
    """Return since when each client has been waiting, by the identity of its peer."""
    return {
        id(peer): since
        for group in groups
        for queue in (group.waiting.logins, group.waiting.reads, group.waiting.writes)
        for peer, since in queue
    }


def servers(context: Context) -> Iterator[Row]:
    """Yield a row per server connection."""
    for group in list(context.app.pools.groups.values()):
        for server in sorted(group.servers(), key=lambda server: server.connection_id):
            if not server.closed:
                yield _server(context, group, server)


def _server(context: Context, group: Pool, server: ServerConnection) -> Row:
    client = server.peer.client if server.peer is not None else None
    info = client.info if client is not None else None
    member = server.owner.member
    return (
        "S",
        group.user,
        group.name,
        "none",
        server_state(server),
        member.host,
        member.port,
        *_local(server.sock),
        context.time(server.created_at),
        context.time(server.asked_at) if server.asked_at else None,
        0,
        0,
        int(server.close_when_idle),
        f"S-{server.connection_id}",
        f"C-{client.client_id}" if client is not None else "",
        _pid(server),
        _tls(server),
        info.application_name if info is not None else "",
        len(server.session.prepared),
        server.connection_id,
        member.name,
    )


def sockets(context: Context) -> Iterator[Row]:
    """Yield a row per connection, with how many bytes of it wait."""
    for _, row in _sockets(context):
        yield row


def active_sockets(context: Context) -> Iterator[Row]:
    """Yield a row per connection of which bytes wait."""
    for waiting, row in _sockets(context):
        if waiting:
            yield row


def _sockets(context: Context) -> Iterator[tuple[int, Row]]:
    registry = context.app.registry
    since = waiting_since(context.app.pools.groups.values())
    for client in (registry.clients | registry.logging_in).values():
        if not client.closed:
            yield _socket("cl", client, _client(context, client, since.get(id(client.peer))))
    for group in list(context.app.pools.groups.values()):
        for server in list(group.servers()):
            if not server.closed:
                yield _socket("sv", server, _server(context, group, server))


def _socket(kind: str, connection: ClientConnection | ServerConnection, row: Row) -> tuple[int, Row]:
    received, unsent = connection.buffered, connection.unsent()
    state = f"{kind}_{row[_STATE]}"
    common = (*row[:_STATE], state, *row[_STATE + 1 : _OF_BOTH])
    return received + unsent, (*common, received, 0, 0, 0, unsent, received, unsent)


def _tls(connection: ClientConnection | ServerConnection) -> str:
    """Return version and cipher; "": it is not encrypted (yet)."""
    sealed = connection.sealed
    return "/".join(sealed.codec.description()) if sealed is not None and sealed.codec.established else ""


def server_state(server: ServerConnection) -> str:
    """Return the state of a server connection, in PgBouncer's terms."""
    if server.state == ACTIVE and server.peer is None and server.cancels:
        return "being_canceled"
    return STATE_NAMES[server.state]


def split_us(span_s: float) -> tuple[int, int]:
    """Split a span into whole seconds and the remaining microseconds, as in PgBouncer's two columns."""
    return divmod(max(0, int(span_s * 1e6)), 1_000_000)


def _pid(server: ServerConnection) -> int | None:
    return server.hello.pid if server.hello is not None else None


def _local(sock: socket.socket | None) -> tuple[str | None, int | None]:
    try:
        name = sock.getsockname() if sock is not None else None
    except OSError:  # closed meanwhile
        return None, None
    if isinstance(name, tuple):
        return name[0], name[1]
    return ("unix", 0) if name is not None else (None, None)
