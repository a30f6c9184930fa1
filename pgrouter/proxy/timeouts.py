"""Enforces the time limits of pools on clients: called by the janitor ten times a second.

The data path records only what could not be found out here later: when a transaction began (`xact_at` of a server) and
since when a client has had no server (`idle_at`). How long a server has been processing one request, or has waited for
its client, is observed: it looks the same at every tick. So a limit may be noticed two ticks late, never early.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.errors import ServerLost
from pgrouter.proxy.responder import FailedTransactionResponder
from pgrouter.session.timeouts import Doing, Due, doing, due, last_words

if TYPE_CHECKING:
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.registry import Registry
    from pgrouter.server.connection import ServerConnection

CANCEL_ANSWER_S = 5.0  # PostgreSQL acts on a cancel request at once, unless something is wrong with it

IDLE_STATUS = ord("I")


@dataclass(slots=True)
class Mark:
    """A snapshot of a server at a tick."""

    look: tuple[Doing, int, float]  # its activity, the number of requests answered, when it last got one
    since: float
    cancelled_at: float = 0.0


class Deadlines:
    """Enforces the limits on the clients of a registry; `tick` is called by the pools' janitor."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._marks: dict[ServerConnection, Mark] = {}
        self._rests: dict[int, tuple[tuple[ServerConnection, float], float]] = {}  # of pinned clients
        self._last = 0.0

    def tick(self, now: float) -> None:
        """Cancel or close whatever has exceeded a limit."""
        if any(group.limited for group in self.registry.pools.groups.values()):
            before, self._marks = self._marks, {}
            self.registry.timed_out = set()
            for client in list(self.registry.clients.values()):
                if client.session.pool is None or not client.session.pool.limited or client.closed:
                    continue
                if client.link.server is not None:
                    self._linked(client, before, now)
                elif not client.waiting and client.client_id not in self.registry.logging_in:
                    self._unlinked(client, now)
        for client_id, limit_s in list(self.registry.idle_limits.items()):
            client = self.registry.clients.get(client_id)
            if client is None or not client.idle:
                self._rests.pop(client_id, None)
            elif now - self._idle_since(client, now) > limit_s:
                self._end(client, Due.END_IDLE)
        for client_id in self._rests.keys() - self.registry.idle_limits.keys():
            del self._rests[client_id]
        self._last = now

    def _idle_since(self, client: ClientConnection, now: float) -> float:
        """Return since when a client has sent nothing; for one that keeps its server, as observed at the ticks."""
        server = client.link.server
        if server is None:
            return client.link.idle_at
        look = server, server.asked_at
        if self._rests.get(client.client_id, (None, 0.0))[0] != look:
            self._rests[client.client_id] = look, now
        return self._rests[client.client_id][1]

    def _linked(self, client: ClientConnection, before: dict[ServerConnection, Mark], now: float) -> None:
        server = client.link.server
        if client.responder is not None or server.input_state:  # it runs something for the router
            return
        what = doing(owed=server.outstanding.count, idle=server.status == IDLE_STATUS, at_sync=server.at_sync)
        look = what, server.outstanding.head, server.asked_at
        mark = before.get(server)
        if mark is None or mark.look != look:
            fresh = what is Doing.RUNNING and server.asked_at > self._last
            mark = Mark(look, server.asked_at if fresh else now)
        self._marks[server] = mark
        verdict = due(what, now - mark.since, now - server.xact_at, client.session.pool.settings)
        if verdict is Due.CANCEL:
            self._cancel(client, mark, now)
        elif verdict is not None:
            self._end(client, verdict)
        if mark.cancelled_at:
            self.registry.timed_out.add(client.client_id)

    def _unlinked(self, client: ClientConnection, now: float) -> None:
        conversation = client.responder
        lost = isinstance(conversation, FailedTransactionResponder) and conversation.failed_transaction.failed
        what = Doing.IN_TRANSACTION if lost else Doing.IDLE
        verdict = due(what, now - client.link.idle_at, 0.0, client.session.pool.settings)
        if verdict is not None:
            self._end(client, verdict)

    def _cancel(self, client: ClientConnection, mark: Mark, now: float) -> None:
        if not mark.cancelled_at:
            self.registry.log(client, logging.INFO, "query timeout: canceling")
            mark.cancelled_at = now
            self.registry.pools.cancel(client.link.server)
        elif now - mark.cancelled_at > CANCEL_ANSWER_S:
            client.link.server.replay.discard()  # it would take as long on another server
            client.link.server.lose(
                ServerLost(
                    "canceling statement due to query timeout", sqlstate="57014",
                    detail=f"The server has not answered a cancel request for {CANCEL_ANSWER_S:g} seconds.",
                )
            )  # fmt: skip

    def _end(self, client: ClientConnection, reason: Due) -> None:
        error = last_words(reason)
        client.violation(error)
