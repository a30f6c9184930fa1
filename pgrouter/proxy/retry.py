"""Batches that are retried, transparently for their client.

A batch is retried if a replica refused it because it is a replica, if its server was lost although it only reads, or
if a server refused it because its plan of a prepared statement is older than the last DDL.

A link keeps the bytes of a batch that reads (see `server.replay`) until the first
byte of the answer goes to the client; inside a transaction nothing is kept. As long as they are kept, the client has
got no answer and nothing has been changed, as a standby cannot write, and on the primary a batch classified as a read
is trusted to be one: the batch can be taken back and started again. What the client gets in the end is the second
server's answer, byte for byte, errors included. There is no second retry.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.protocol.codes import BIND, DESCRIBE, EXECUTE, PARSE, QUERY, SYNC
from pgrouter.proxy.flags import BEGINS
from pgrouter.proxy.link import MAX_BATCH
from pgrouter.server.states import ON_REFUSAL
from pgrouter.session.refusals import OLD_PLAN_ROUTINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.errors import RouterError
    from pgrouter.net.send_buffer import SendBuffer
    from pgrouter.pool.member import MemberPool
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.dispatcher import Dispatcher
    from pgrouter.proxy.link import Link
    from pgrouter.proxy.statements import ClientStatements
    from pgrouter.server.connection import ServerConnection

# In SHOW ROUTES
REFUSED = "refused by a replica"
LOST = "server lost"
REPLANNED = "prepared anew"

# SQLSTATEs with which a standby refuses a statement because it is a standby. All of these can have another cause, which
# the primary then reports identically; messages are localized and cannot be used.
STANDBY = frozenset({
    "25006",  # read-only transaction: nextval(), row locks, DDL and everything that PreventCommandDuringRecovery meets
    "XX000",  # "cannot assign TransactionIds / OIDs during recovery", "cannot make new WAL entries during recovery"
    "55000",  # "recovery is in progress", and locks that cannot be had
    "0A000",  # unlogged and temporary tables, serializable, logical slots
})  # fmt: skip
# Errors caused by replay lag or by what is replayed meanwhile: the same statement may succeed on the replica later.
BEHIND = frozenset({
    "42P01", "42703", "42704", "42883", "3F000",  # a table, column, type or role, function, schema just created
    "42846", "42804",  # a cast just created
    "42809",  # a name that has just become a table, view or aggregate and was something else
    "42702", "42725",  # a column or function just dropped, which had made a name ambiguous
    "42P18", "42P08",  # a function or operator just created, which determines a parameter's type
    "42P21", "42P22",  # a column's collation just changed
    "42803",  # a primary key just created, which is enough to GROUP BY
    "22P02",  # an enum value just added; an object's name in reg... types
    "22023",  # a role, text search configuration, time zone ... that a setting names
    "23514", "23502",  # a domain's constraint just dropped
    "58P01",  # a library just installed
    "42501",  # a privilege just granted
    "26000", "34000",  # a prepared statement or cursor that the primary may have
    "40001", "40P01",  # "conflict with recovery"
})  # fmt: skip


class Retry:
    """The retry of a batch: why, where, and what is learned from it."""

    inside = False  # the batch belongs to a transaction that began before it
    ends = False  # and begins by ending it

    def __init__(self, batch: bytes, reason: str, lost: MemberPool | None = None) -> None:
        self.batch = batch
        self.reason = reason
        self.lost = lost  # the member that was lost; None: the primary has to run the batch
        self.sqlstate = ""  # of a refusal that may be remembered
        self.text: bytes | None = None  # the only statement of the batch
        self.names: set[bytes] = set()  # the client's names of it, b"" for the unnamed one

    def route(self, dispatcher: Dispatcher) -> None:
        """Route the batch: a read goes to another replica if one has what it must see, all else to the primary.

        On a listener for only the primary or only replicas, a lost batch stays with those.
        """
        batch, session = dispatcher.batch, dispatcher.session
        pool = session.pool
        reads = batch.reads and self.lost is not None
        if reads and batch.may_use_replica():
            others = [one for one in pool.readers.pools if one is not self.lost and not one.failures]
            fresh = any(one.is_fresh(session.must_see_s(), session.must_see_lsn) for one in others)
            reads = fresh or pool.writer is None or pool.writer is self.lost
        batch.send_to(reads, self.reason)

    def begin(self, link: Link, out: SendBuffer) -> None:
        """Send what the batch needs first, once."""

    def failed(self, sqlstate: str) -> None:
        """Called for an error of the retry: the same one again was not the replica's fault."""
        if sqlstate == self.sqlstate:
            self.text = None

    def answered(self, client: ClientConnection) -> None:
        """Called when the retry is answered: if only a replica refuses the text, it goes to the primary from now on."""
        if self.text is None:
            return
        cache = client.session.statements.cache
        learned = cache.remember_refusal(self.text, 0, len(self.text))
        for name in self.names:
            shared = client.session.statements.named.get(name)
            if shared is not None:
                shared.statement, shared.judge = learned, cache
        if b"" in self.names:
            client.session.statements.unnamed_class = learned


def refused(client: ClientConnection, server: ServerConnection, sqlstate: str, routine: str) -> Retry | None:
    """Return the retry after an error; None: the client gets the error."""
    if routine == OLD_PLAN_ROUTINE:  # 0A000 "cached plan must not change result type"; the message may be translated
        name = only_prepared(server.replay.contents())
        if name:
            client.session.statements.renew(name)
            client.registry.log(client, logging.DEBUG, "prepared anew: its plan on %r was too old", server)
            return _moved_or(client, Retry(server.replay.contents(), REPLANNED))
    if not server.replay.why & ON_REFUSAL or (sqlstate not in STANDBY and sqlstate not in BEHIND):
        return None
    client.registry.log(client, logging.DEBUG, "runs again on the primary: %s from %r", sqlstate, server)
    again = _moved_or(client, Retry(server.replay.contents(), REFUSED))
    again.reason = REFUSED
    if sqlstate in STANDBY and not again.inside:  # in which the transaction may be refused: SERIALIZABLE
        again.sqlstate = sqlstate
        again.text, again.names = only_statement(again.batch, client.session.statements)
    return again


def _moved_or(client: ClientConnection, retry: Retry) -> Retry:
    """Return the move of the open transaction to the primary, if it can move, else `retry`."""
    replica = client.replica
    return (replica.refused(retry.batch) if replica is not None else None) or retry


def changed(client: ClientConnection, server: ServerConnection) -> Retry | None:
    """Return the retry after a server has described a statement differently; None: it ends in an error there.

    A replica may replay the DDL later than the primary or the client has seen it.
    """
    replay = server.replay
    if (
        not replay.why & ON_REFUSAL
        or replay.size < 0
        or client.link.batch.sent & BEGINS
        or client.responder is not None
    ):
        return None
    client.registry.log(client, logging.DEBUG, "runs again on the primary: another description by %r", server)
    rest = bytes(client.partial[:MAX_BATCH]) if client.buffered else b""
    _prepare_anew(client, server, replay.contents() + rest)  # or it is the primary's plan that is too old
    again = _moved_or(client, Retry(server.replay.contents(), REFUSED))
    again.reason = REFUSED
    return again


def renew_changed(client: ClientConnection, rest: bytes) -> None:
    """Prepare a statement again that has other columns now, if its client can handle them.

    `rest` follows what was sent of the batch, none of which has been executed.
    """
    server = client.link.server
    if server.replay.size < 0 or client.link.retry is not None or client.responder is not None or rest[:1] == b"P":
        return
    if _prepare_anew(client, server, server.replay.contents() + rest):
        server.session.changed = None


def _prepare_anew(client: ClientConnection, server: ServerConnection, messages: bytes) -> bool:
    """Prepare what was described differently under a new name, if its client can handle that; whether it can."""
    name = only_prepared(_first_of(messages))
    if not name or client.session.statements.named.get(name) is not server.session.changed:
        return False
    client.session.statements.renew(name)
    client.registry.log(client, logging.DEBUG, "prepared anew: it has other columns now")
    return True


def lost(client: ClientConnection, server: ServerConnection, error: RouterError) -> Retry:
    """Return the retry after the loss of a server that ran a read."""
    client.registry.log(client, logging.DEBUG, "runs again on another server: lost %r: %s", server, error.message)
    return Retry(server.replay.contents(), LOST, server.owner)


def only_statement(batch: bytes, statements: ClientStatements) -> tuple[bytes | None, set[bytes]]:
    """Return the text of a batch's statement, if there is only one, with the client's names of it."""
    texts: set[bytes] = set()
    names: set[bytes] = set()
    parsed: dict[bytes, bytes] = {}
    for code, words in split(batch):
        if code == QUERY:
            texts.add(words[0])
        elif code == PARSE and len(words) > 2:
            parsed[words[0]] = words[1]
            texts.add(words[1])
            names.add(words[0])
        elif (code == BIND and len(words) > 2) or (code == DESCRIBE and words[0][:1] == b"S"):
            name = words[1] if code == BIND else words[0][1:]
            texts.add(parsed[name] if name in parsed else _text_of(name, statements))
            names.add(name)
    if len(texts) != 1:
        return None, set()
    return texts.pop() or None, names


def first_batch(messages: bytes) -> bytes:
    """Return the first batch of whole messages."""
    at = 0
    for code, _ in split(messages):
        at += 1 + int.from_bytes(messages[at + 1 : at + 5], "big")
        if code in (QUERY, SYNC):
            break
    return messages[:at]


def only_prepared(batch: bytes) -> bytes:
    """Return the name of the statement that a batch runs if it does nothing else: one Bind, at most one Execute, Sync.

    A plan is checked when it is bound, so nothing of such a batch has been executed if it ends in an error about the
    plan. And the client must be able to handle other columns: it gets them described and sets no format for each.
    """
    name = b""
    codes: list[int] = []
    for code, words in split(batch):
        if code == BIND and len(words) > 2:
            name = words[1] if _result_formats(words[2]) <= 1 else b""
        elif code == DESCRIBE and words[0][:1] == b"S":
            name = name or words[0][1:]
        codes.append(code)
    once = codes.count(BIND) <= 1 and codes.count(EXECUTE) <= 1 and codes.count(SYNC) == 1 and codes[-1] == SYNC
    return name if once and DESCRIBE in codes and QUERY not in codes else b""


def _first_of(batches: bytes) -> bytes:
    """Return the first batch, with its Sync; b"" if that has not arrived yet."""
    at = 0
    while len(batches) - at >= 5:
        code = batches[at]
        at += 1 + int.from_bytes(batches[at + 1 : at + 5], "big")
        if code == SYNC:
            return batches[:at]
    return b""


def split(batch: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the messages of a batch: type, and the body split after its first two strings."""
    at = 0
    while at < len(batch):
        end = at + 1 + int.from_bytes(batch[at + 1 : at + 5], "big")
        yield batch[at], batch[at + 5 : end].split(b"\0", 2)
        at = end


def _result_formats(bind: bytes) -> int:
    """Return the number of column formats in a Bind message, given what follows its names."""
    at = 2 + 2 * int.from_bytes(bind[:2], "big")
    values = int.from_bytes(bind[at : at + 2], "big")
    at += 2
    for _ in range(values):
        at += 4 + max(0, int.from_bytes(bind[at : at + 4], "big", signed=True))
    return int.from_bytes(bind[at : at + 2], "big")


def _text_of(name: bytes, statements: ClientStatements) -> bytes:
    if not name:
        return b"" if statements.unnamed_parse is None else statements.unnamed_parse[6:].partition(b"\0")[0]
    shared = statements.named.get(name)
    return b"" if shared is None else shared.body.partition(b"\0")[0]
