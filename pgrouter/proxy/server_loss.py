"""What a client is told when its server is lost, and the state of its session afterwards.

One error in place of an outstanding answer, with the server's own SQLSTATE, or 08006 if it closed without an error; its
DETAIL says what has become of what was sent: lost, or unknown. Inside a transaction the session is in a failed
transaction until its end (`session.failed_transaction`); after an outstanding COMMIT or ROLLBACK it is idle.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.errors import ProtocolViolation, ServerLost
from pgrouter.protocol import codes, messages, requests
from pgrouter.proxy.error_counts import BY_ROUTER
from pgrouter.proxy.flags import ASKED, BEGINS, COMMITS, OPEN, OVER
from pgrouter.proxy.responder import FailedTransactionResponder
from pgrouter.session.failed_transaction import after_loss

if TYPE_CHECKING:
    from pgrouter.errors import RouterError
    from pgrouter.proxy.batch import Batch
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.server.connection import ServerConnection

IDLE, FAILED = ord("I"), ord("E")

_COMMANDS = (requests.QUERY, requests.FUNCTION, requests.EXECUTE, requests.REFUSED, requests.REFUSED_QUERY)


def tell(client: ClientConnection, server: ServerConnection, error: RouterError) -> None:
    """Answer outstanding requests, and leave the session as PostgreSQL's would be; one that cannot go on is closed.

    So is one whose server has closed the connection because of a protocol violation.
    """
    if server.last_error is not None and error.sqlstate == codes.PROTOCOL_VIOLATION:
        client.violation(ProtocolViolation(error.message))
        return
    commands = sum(kind in _COMMANDS for kind, _ in server.outstanding.pending())
    # It did not wait for the answer to BEGIN
    ahead = commands > 1 or client.link.requester.sent & OPEN or client.buffered > 0
    lost = server.status != IDLE or bool(client.link.batch.sent & BEGINS and ahead)
    fate = _fate(client.link.batch, server.status, lost=lost)
    if client.session.pin is not None or client.peer.mid_frame:
        _close(client, server, error, fate if server.outstanding.count or lost else "")
        return
    over = bool(client.link.batch.sent & OVER)
    failed = lost and not over  # else the session is idle, as after a failed COMMIT in PostgreSQL
    told = _told(error, fate)
    if server.outstanding.count:
        client.registry.errors.add(BY_ROUTER, error.sqlstate)
    owed = [
        (_ending(kind), action != requests.SKIP)
        for kind, action in server.outstanding.pending()
        if kind != requests.COPY_END  # which has no answer of its own
    ]
    answer, said, skipping = after_loss(
        owed, told, failed=lost, skipping=server.outstanding.skipping, over=over
    )  # fmt: skip
    begun = client.link.requester.sent == ASKED | OPEN  # else its first message still waits to be sent
    if not any(expected for _, expected in owed) and server.executed and begun:  # flushed, and lost before Sync
        answer, said, skipping = messages.error_response(told), True, True
    if answer:
        client.send_bytes(answer)
    client.session.statements.forget_unconfirmed()
    client.settled()
    if failed or skipping:
        to_tell = None if said or server.outstanding.skipping else told
        client.responder = FailedTransactionResponder(client, to_tell, skipping=skipping, failed=failed)
    client.registry.log(client, logging.WARNING, "lost %r: %s", server, error.message)


def _close(client: ClientConnection, server: ServerConnection, error: RouterError, fate: str) -> None:
    lost = "a message was cut in the middle" if client.peer.mid_frame else f"its session state ({client.session.pin})"
    client.registry.log(client, logging.WARNING, "closed with its server: %s: %s", lost, error.message)
    client.session.pin = None
    detail = f"{fate} The session cannot go on without it: {lost}.".strip()
    told = _told(error, detail, severity="FATAL")
    if server.last_error is not None:  # why the server has ended the session, which ends for its client, too
        told.message = error.message
    client.violation(told)


def _fate(batch: Batch, status: int, *, lost: bool) -> str:
    """Return what has become of what was sent; `lost`: a transaction was open, or would have been by now."""
    inside = status != IDLE
    committing = batch.sent & COMMITS and status != FAILED
    if committing or (
        inside and batch.sent & BEGINS
    ):  # a BEGIN inside a transaction: it follows the end, in one string
        return "It is unknown whether the transaction was committed (transaction resolution unknown, SQLSTATE 08007)."
    if inside:
        return "The transaction was lost with it."
    if batch.repeatable:
        return "The statement was only a read; it can be repeated."
    unknown = "It is unknown whether the statement took effect."
    return f"The transaction was lost with it. {unknown}" if lost else unknown


def _ending(kind: int) -> int:
    if kind in (requests.QUERY, requests.FUNCTION, requests.REFUSED_QUERY):
        return 1
    return 2 if kind == requests.SYNC else 0


def _told(error: RouterError, detail: str, severity: str = "ERROR") -> ServerLost:
    return ServerLost(
        f"server connection was lost: {error.message}",
        detail=" ".join(filter(None, (error.detail, detail))),
        hint="The client's own connection is intact." if severity == "ERROR" else "",
        sqlstate=error.sqlstate,
        severity=severity,
    )
