"""SQL that names prepared statements, which have other names on servers than for the client.

Before PREPARE, EXECUTE, DEALLOCATE or a query of pg_prepared_statements the server gets what a direct connection would
have: the client's statements under the client's own names and, for such a query, no others. They are not shared: the
server is reset before another client gets it. Only DEALLOCATE leaves nothing, as it removes what was sent for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.protocol import messages
from pgrouter.protocol.codes import CLOSE, FAILED_TRANSACTION, PARSE
from pgrouter.protocol.requests import CLOSE as R_CLOSE
from pgrouter.protocol.requests import PARSE as R_PARSE
from pgrouter.protocol.requests import SKIP
from pgrouter.protocol.requests import SYNC as R_SYNC
from pgrouter.server.states import ROUTER_ASKS
from pgrouter.session.refusals import MAX_PRESENTED

if TYPE_CHECKING:
    from pgrouter.net.send_buffer import SendBuffer
    from pgrouter.proxy.statements import ClientStatements
    from pgrouter.routing.statement import Statement
    from pgrouter.server.connection import ServerConnection

_NO_SHARED = 0xFFFF_FFFF  # in place of the number of a shared statement

BY_NAME = ("PREPARE", "EXECUTE", "DEALLOCATE")  # tags of statements that refer to a prepared statement


def named_by(statement: Statement, named: dict) -> list[bytes]:
    """Return which of these names a statement refers to: the one in it, or all."""
    if not _names_one(statement):
        return list(named)
    name = statement.prepared.encode()
    return [name] if name in named else []


def _names_one(statement: Statement) -> bool:
    return statement.tag in BY_NAME and bool(statement.prepared)


def too_many(statement: Statement, named: dict) -> bool:
    """Whether a statement refers to so many of these names that sending them to a server would take too long."""
    return len(named) > MAX_PRESENTED and not _names_one(statement)


def present(
    statements: ClientStatements,
    server: ServerConnection,
    statement: Statement,
    out: SendBuffer,
    simple: bool,  # noqa: FBT001 (called from C)
) -> None:
    """Send first what a statement about prepared statements will look for.

    `simple`: it is in a Query.
    """
    named = statements.named
    if server.status == FAILED_TRANSACTION or server.outstanding.skipping:
        return  # it is refused or ignored
    if simple and server.executed and not server.at_sync:
        return  # nothing can be sent first without ending the open implicit transaction
    names = named_by(statement, named)
    inner = statements.class_named(names[0]) if statement.tag == "EXECUTE" and names else None
    if inner is not None and inner.tag in BY_NAME:
        names += [name for name in named_by(inner, named) if name not in names]
    closed = _close_presented(statements, server, statement)
    out.add_bytes(closed)
    if statement.tag not in BY_NAME:
        out.add_bytes(_close_shared(server))
    if statement.tag == "DEALLOCATE":
        _give(statements, server, names, out, stays=False)
        server.session.sql_names = frozenset(server.session.sql_names).union(names)  # until it is executed
    else:
        _give(statements, server, names, out, stays=True)
    statements.by_own_name = not simple and statement.tag not in BY_NAME  # pg_prepared_statements shows it, too
    if simple and (names or closed):
        server.outstanding.push(R_SYNC, SKIP)  # after an error a Query would be ignored
        out.add_bytes(messages.SYNC)


def present_for_description(
    statements: ClientStatements, server: ServerConnection, statement: Statement, out: SendBuffer
) -> None:
    """Send first what PostgreSQL needs to describe an EXECUTE."""
    if statement.tag == "EXECUTE" and server.status != FAILED_TRANSACTION:
        _give(statements, server, named_by(statement, statements.named), out, stays=True)


def _give(
    statements: ClientStatements, server: ServerConnection, names: list[bytes], out: SendBuffer, *, stays: bool
) -> None:
    """Prepare statements on the server under the client's names; `stays`: what follows does not deallocate them."""
    for name in names:
        server.outstanding.push(R_CLOSE, SKIP)  # it may still be there from before
        out.add_bytes(messages.message(CLOSE, b"S" + name + b"\0"))
        server.outstanding.push(R_PARSE, SKIP, _NO_SHARED)
        out.add_bytes(messages.message(PARSE, name + b"\0" + statements.named[name].body))
    if stays and names:
        server.session.sql_names = frozenset(server.session.sql_names).union(names)
        server.session.dirty = True


def forget_shared(server: ServerConnection) -> None:
    """Close all shared statements on the server: SQL may have deallocated some of them."""
    server.input_state = ROUTER_ASKS
    server.send_bytes(_close_shared(server))
    server.sync()


def _close_presented(statements: ClientStatements, server: ServerConnection, statement: Statement) -> bytes:
    """Close what the server has under names that the client has closed since: its Close is not forwarded."""
    closed = frozenset(server.session.sql_names).difference(statements.named)
    if statement.tag in BY_NAME and statement.prepared:
        closed &= {statement.prepared.encode()}
    server.session.sql_names = frozenset(server.session.sql_names) - closed
    for _ in closed:
        server.outstanding.push(R_CLOSE, SKIP)
    return b"".join(messages.message(CLOSE, b"S" + name + b"\0") for name in closed)


def _close_shared(server: ServerConnection) -> bytes:
    out = []
    for shared in server.session.prepared.values():
        server.session.evicted[shared.ident] = shared
        server.outstanding.push(R_CLOSE, SKIP, shared.ident)
        out.append(shared.close())
    server.session.prepared = {}
    return b"".join(out)
