"""Keeps the state of a session and that of its server in sync, before and after each transaction.

Before: the session's settings are applied to the server (`apply`), in one atomic Query. After: what the transaction may
have left is queried (`sync_session`), and the session keeps it: settings follow it to its next server, the rest pins it
to this one (`session.readback`, `session.leftovers`). No other client gets the server before it has answered.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgrouter.errors import RouterError, ServerLost
from pgrouter.protocol import codes, messages, requests
from pgrouter.proxy.retry import REFUSED, Retry, first_batch, only_statement
from pgrouter.proxy.sql_names import forget_shared
from pgrouter.routing.statement import Effect, Target, Tx
from pgrouter.server.states import ON_REFUSAL, ROUTER_ASKS
from pgrouter.session import leftovers, settings_readback
from pgrouter.session.readback import Readback
from pgrouter.session.settings import assignments, is_certain, transition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.net.send_buffer import SendBuffer
    from pgrouter.proxy.client import ClientConnection
    from pgrouter.proxy.registry import Registry
    from pgrouter.server.connection import ServerConnection
    from pgrouter.session.settings import Profile

IDLE = ord("I")

_ANY_CODE = Effect.CODE | Effect.MAYBE_CODE
IS_SUPERUSER = "is_superuser"  # depends on the current role
_SETS = ("SET", "RESET", "DISCARD ALL", "COMMIT", "ROLLBACK")
_OUTSIDE = (Tx.NONE, Tx.COMMIT, Tx.ROLLBACK)

_ASKING = "what its transaction has left is being asked"
TRIES = 5  # of a query that the session's own statement_timeout has cancelled, see `session.readback`
CANCELED = "57014"


class Applied(list):
    """The answer to settings applied to a server; `profile` is what it has then, `more` what to try if they fail."""

    def __init__(self, profile: Profile, sql: str, more: Iterator[tuple[Profile, str]]) -> None:
        self.profile = profile
        self.message = messages.query(sql)
        self.more = more
        self.tries = 0


class SessionSync:
    """Synchronizes sessions and servers, off the data path: only if there are settings or session state."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.hushed: dict[object, dict[str, str]] = {}  # ParameterStatus caused by code and not yet reported, by client

    # -- before a transaction

    def apply(self, client: ClientConnection, server: ServerConnection) -> None:
        """Apply the session's settings to its server, and hold back what the client has sent until that is done.

        For settings that a server may refuse: requests sent right after them would be executed without them.
        """
        self._try(server, self._ways(client, server))

    def _ways(self, client: ClientConnection, server: ServerConnection) -> Iterator[tuple[Profile, str]]:
        """Yield profiles to try, each with the SQL that leads there."""
        profile = client.session.profile
        yield profile, transition(server.session.profile, profile)
        yield profile, transition(server.session.profile, profile, acting_first=True)
        if _only_sets(client):  # maybe of what cannot be restored: that must always be possible
            certain = self.registry.profiles.of({name: value for name, value in profile.values if is_certain(name)})
            yield certain, transition(server.session.profile, certain)

    def _try(self, server: ServerConnection, ways: Iterator[tuple[Profile, str]]) -> bool:
        way = next(ways, None)
        if way is None:
            return False
        self._ask(server, Applied(*way, ways))
        return True

    @staticmethod
    def _ask(server: ServerConnection, question: Applied | Readback) -> None:
        server.captured = question
        server.input_state = ROUTER_ASKS
        server.inject(question.message)

    def heard(self, client: ClientConnection, server: ServerConnection) -> None:
        """Called when the server has answered the router's query; resume what was held back."""
        answer, server.captured = server.captured, None
        if isinstance(answer, Applied):
            self._applied(client, server, answer)
            return
        try:
            self._read_back(client, server, answer)
        except ServerLost as error:  # nobody knows what the session has set
            server.close_when_idle = True
            client.violation(RouterError(error.message, sqlstate=error.sqlstate, severity="FATAL"))

    def _applied(self, client: ClientConnection, server: ServerConnection, answer: Applied) -> None:
        refusal = next((body for code, body in answer if code == codes.ERROR_RESPONSE), None)
        if refusal is None:
            server.session.profile, server.session.stands_for = answer.profile, client.session.profile
            server.session.meet(answer.profile.custom)
        elif messages.read_error(refusal).get("C") == CANCELED and answer.tries < TRIES:
            answer.tries += 1
            answer.clear()
            self._ask(server, answer)
            return
        elif self._try(server, answer.more):
            return
        else:
            self._refused(client, server, messages.read_error(refusal))
        client.proceed()

    def _refused(self, client: ClientConnection, server: ServerConnection, fields: dict[str, str]) -> None:
        late = bool(server.replay.why & ON_REFUSAL)  # a replica, which may not have yet what a setting names
        client.link.batch.taken_back()
        client.link.release()
        if late:
            client.link.retry = Retry(b"", REFUSED)
            self.registry.log(client, logging.DEBUG, "goes to the primary: %r refuses its settings", server)
        else:
            self.registry.refuse(client, _not_restored(fields))

    @staticmethod
    def is_unsent(server: ServerConnection) -> bool:
        """Whether the session's settings were still being applied: nothing from the client has been sent."""
        return isinstance(server.captured, Applied)

    @staticmethod
    def is_precaution(server: ServerConnection) -> bool:
        """Whether the server was being queried for state only as a precaution."""
        return isinstance(server.captured, Readback) and server.captured.precaution

    # -- within a transaction

    @staticmethod
    def return_to_startup(client: ClientConnection, server: ServerConnection, out: SendBuffer) -> None:
        """Send the values that RESET restores on a direct connection before what follows in the transaction."""
        touched = client.link.batch.touched
        if touched is None:
            return
        values = touched.returning(dict(client.session.startup_profile.values), afresh=client.link.retry is not None)
        sql = assignments(values)
        if sql:
            server.outstanding.push(requests.QUERY, requests.SKIP)
            server.session.unnamed = None
            out.add_bytes(messages.query(sql))

    # -- after a transaction

    def sync_session(self, client: ClientConnection, server: ServerConnection) -> None:
        """Query what the transaction may have left; pin the client while it may be there."""
        batch = client.link.batch
        effects = batch.effects
        batch.effects = 0
        names = set()
        if server.session.discarded:  # not only sent: it is refused inside a transaction
            names = client.session.profile.custom - client.session.startup_profile.custom  # which still exist, empty
            touched = batch.touched  # what was set after it
            self._discarded(client, server)
            batch.touched = touched
        if effects & Effect.DEALLOCATE:
            forget_shared(server)
            server.session.dirty = True
        self._spread(client, effects)
        if effects & Effect.MAKES and effects & Effect.CODE:  # and it may have run
            effects |= Effect.OTHER_STATE
        if effects & Effect.OTHER_STATE:
            server.close_when_idle = True  # nothing removes that: no other client may get it
            if (
                not client.link.on_replica or server.owner is client.session.pool.writer
            ):  # a replica refuses such statements
                self.keep(client, server, client.session.leftovers | Effect.OTHER_STATE)
        everything = bool(effects & _ANY_CODE)
        state = _to_ask(client.session.leftovers, effects)
        names = names | self._names(client, effects)
        if not (state or names or everything):
            batch.settled()
            return
        precaution = client.session.pin is None and effects == Effect.MAYBE_CODE and batch.touched is None
        client.session.pin = client.session.pin or leftovers.words(effects & leftovers.STATE) or _ASKING
        question = Readback(names=names, everything=everything, state=state, version=server.hello.version)
        question.precaution = precaution
        self._ask(server, question)

    def _spread(self, client: ClientConnection, effects: int) -> None:
        """Notify the database and the pools of what the transaction has changed for all clients."""
        if effects & Effect.DDL and not effects & Effect.TEMP:
            lasting = bool(effects & Effect.MAKES)
            self.registry.databases.changed(
                client.session.pool.database, bool(effects & Effect.REDEFINES), lasting=lasting
            )
        elif effects & Effect.CODE:
            self.registry.databases.suspected(client.session.pool.database)
        if effects & Effect.DEFAULTS:
            self.registry.pools.defaults_changed()

    def _names(self, client: ClientConnection, effects: int) -> set[str]:
        """Return the settings to read back by name."""
        profile = dict(client.session.profile.values)
        touched = client.link.batch.touched
        names = touched.to_read(profile) if touched is not None else set()
        if effects & (_ANY_CODE | Effect.CUSTOM):
            custom = self.registry.databases.get(client.session.pool.database).custom
            names |= custom if effects & _ANY_CODE else custom - client.session.profile.custom
        if effects & _ANY_CODE:
            names |= {
                *profile,
                *(name for name, _ in client.session.startup_profile.values),
                "role",
                "session_authorization",
            }
        return names

    def _discarded(self, client: ClientConnection, server: ServerConnection) -> None:
        server.session.discarded = False
        server.session.profile = self.registry.profiles.empty
        client.session.profile = client.session.startup_profile
        self.keep(client, server, 0)
        client.settled()
        self.registry.learn(client)

    def keep(self, client: ClientConnection, server: ServerConnection, state: int) -> None:
        """Pin a client to its server, or unpin it, for the state that it has there."""
        before, client.session.leftovers = client.session.leftovers, state
        client.session.statements.temporary = bool(state & Effect.TEMP)
        if client.session.pool.settings.mode == "session":
            return
        client.session.pin = leftovers.words(state)
        if state and not before:
            client.session.pinned_at = self.registry.pools.poller.now
            self.registry.log(client, logging.DEBUG, "pinned to %r: %s", server, client.session.pin)

    def _read_back(self, client: ClientConnection, server: ServerConnection, answer: Readback) -> None:
        if answer.failed:
            answer.tries += 1
            if answer.tries < TRIES:
                answer.clear()
                self._ask(server, answer)
                return
            server.close_when_idle = True
            self.registry.log(client, logging.WARNING, "closed: its session could not be read back")
            client.violation(_not_read(answer))
            return
        touched = client.link.batch.touched
        client.settled()
        self.keep(client, server, client.session.leftovers & ~answer.state | answer.left())
        self._follow(client, server, touched, answer)
        self._tell(client)
        client.end_link()
        client.proceed()

    def _follow(
        self,
        client: ClientConnection,
        server: ServerConnection,
        touched: settings_readback.TouchedSettings | None,
        answer: Readback,
    ) -> None:
        readings = answer.settings({"role": "none", "session_authorization": client.session.pool.user})
        if not readings:
            return
        profiles = self.registry.profiles
        client_values, server_values = settings_readback.follow(
            touched,
            readings,
            (dict(client.session.profile.values), dict(server.session.profile.values)),
            dict(client.session.startup_profile.values),
        )
        client.session.profile = profiles.of(client_values)
        server.session.profile = profiles.of(server_values)
        server.session.meet(server.session.profile.custom)
        self.registry.learn(client)

    def hush(self, client: ClientConnection, name: str, value: str) -> None:
        """Hold back a ParameterStatus for a default set by code: if it was a RESET, the client has another value."""
        self.hushed.setdefault(client.client_id, {})[name] = value

    def _tell(self, client: ClientConnection) -> None:
        """Report the final values of settings whose ParameterStatus was held back."""
        hushed = self.hushed.pop(client.client_id, {})
        if not hushed:
            return
        now = dict(client.session.profile.values)
        begun = {name.lower(): value for name, value in client.session.startup_profile.reported or ()}
        for name, value in hushed.items():
            key = name.lower()
            final = value if now.get(key) == value else begun.get(key, value)
            if client.session.reported.get(key, begun.get(key)) != final:
                client.session.reported[key] = final
                client.send_bytes(messages.parameter_status(name, final))


def _to_ask(before: int, effects: int) -> int:
    """Return the state to query after a transaction; `before`: what the session had."""
    state = effects & leftovers.STATE
    if effects & Effect.DDL:
        state |= Effect.TEMP  # tables not declared TEMP are temporary, too, if search_path begins with pg_temp
    if effects & _ANY_CODE:
        state |= leftovers.ASKED
    if state or (before and effects & leftovers.RELEASES):
        state |= before
    return state & leftovers.ASKED


def _only_sets(client: ClientConnection) -> bool:
    """Whether the waiting batch does nothing but set and reset settings, or end a transaction."""
    text, _ = only_statement(first_batch(bytes(client.partial or b"")), client.session.statements)
    if not text:
        return False
    statement = client.session.statements.cache.lookup_now(text, 0, len(text))
    return statement.tag in _SETS and statement.target is Target.SESSION and statement.tx in _OUTSIDE


def _not_restored(fields: dict[str, str]) -> RouterError:
    return RouterError(
        f"the session's settings could not be restored: {fields.get('M', '')}",
        sqlstate=fields.get("C", "XX000"),
        detail="A server connection refused them, and the statement was not sent.",
        hint="RESET the setting, or use RESET ALL or DISCARD ALL.",
    )


def _not_read(answer: Readback) -> RouterError:
    errors = (messages.read_error(body) for code, body in answer if code == codes.ERROR_RESPONSE)
    fields = next(errors, {})
    return RouterError(
        f"the session's settings could not be read: {fields.get('M', '')}",
        sqlstate=fields.get("C", "XX000"),
        severity="FATAL",
        detail="The router cannot know what the session has set, and the session cannot go on without it.",
    )
