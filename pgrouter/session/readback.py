"""The query sent to a server after a transaction that may have changed its client's session, and what the answer means.

Only PostgreSQL knows whether a SET was committed, undone by ROLLBACK or ROLLBACK TO, local to its transaction or made
by a function, whether a temporary table was dropped on commit, or a lock unlocked as often as it was taken. One simple
Query asks for everything that may have changed, before the server serves another client.

It runs as the client, under whatever the client has set, and must neither fail nor wait because of that: every name is
qualified, so that search_path does not matter; the transaction neither waits for a snapshot nor is refused on a
standby; and time limits are read and lifted by commands that read no catalog, before anything else is done.

Source: postgres.c exec_simple_query() for the implicit transaction of a Query, enable_statement_timeout() for limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.protocol import codes, messages
from pgrouter.session import leftovers, settings_readback
from pgrouter.session.settings import CALM, SESSION_TIMERS, literal, milliseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# Limits of a statement or transaction, with the first version that has them: lifted for the router's query
_LIMITS = {"statement_timeout": 0, "lock_timeout": 0, "transaction_timeout": 17}
_TIMERS = dict.fromkeys(SESSION_TIMERS, 14)

# Names and values come in hexadecimal UTF-8, whatever the client's encoding. pg_settings, which shows whether a setting
# still has the server's default, does not have all of them. Custom ones (with a dot) are never in it: their default,
# from postgresql.conf maybe, is found by resetting them for this transaction, after they have been read.
_SETTINGS = """\
SELECT pg_catalog.encode(pg_catalog.convert_to(n, 'UTF8'), 'hex'),
 pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n, true), 'UTF8'), 'hex'),
 s.setting OPERATOR(pg_catalog.=) s.reset_val OR (s.setting IS NULL AND s.reset_val IS NULL AND s.name IS NOT NULL),
 s.source OPERATOR(pg_catalog.=) 'session', s.reset_val,
 CASE WHEN s.name IS NULL AND pg_catalog.strpos(n, '.') OPERATOR(pg_catalog.>) 0
   AND pg_catalog.current_setting(n, true) IS NOT NULL
  THEN pg_catalog.encode(pg_catalog.convert_to(pg_catalog.set_config(n, NULL, true), 'UTF8'), 'hex') END
 FROM {names} LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) n"""
_ALL = """\
SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'"""


class Readback(list):
    """A query about a session; as a list, the answer to it: (type, body) of each message."""

    def __init__(
        self,
        *,
        names: Collection[str] = (),
        everything: bool = False,
        state: int = 0,
        version: int,
    ) -> None:
        """Ask for settings by name, or for `everything` that the session has set, and which of `state` is there.

        `version` is the server's major version.
        """
        self.tries = 0
        self.precaution = False  # the client may go on without an answer if the server is lost
        self.state = state
        limits = [name for name, since in _LIMITS.items() if version >= since]
        timers = [name for name, since in _TIMERS.items() if version >= since]
        self.shown = [name for name in (*limits, *timers) if everything or name in names]
        commands = [CALM, *(f"SHOW {name}" for name in self.shown)]
        commands += [f"SET LOCAL {name} TO 0" for name in limits]
        if names or everything:
            commands.append(_settings_sql(names, everything=everything))
        commands += [f"RESET {name}" for name in timers if name in self.shown]
        if state:
            commands.append(leftovers.question(state))
        self.message = messages.query("; ".join(commands))

    @property
    def failed(self) -> bool:
        """Whether the server could not answer."""
        return any(code == codes.ERROR_RESPONSE for code, _ in self)

    def settings(self, defaults: Mapping[str, str]) -> list[settings_readback.Reading]:
        """Return the settings that were asked for; `defaults` are for those that pg_settings does not have.

        Raises:
            ServerLost: 08P01, the answer makes no sense; also `left`.

        """
        rows = [messages.read_data_row(body) for code, body in self if code == codes.DATA_ROW]
        shown = dict(zip(self.shown, (row[0] for row in rows if len(row) == 1), strict=False))
        try:
            return [_reading(row, shown, defaults) for row in rows if len(row) == 6]
        except ValueError:
            raise messages.malformed("answer about the session's settings") from None

    def left(self) -> int:
        """Return which of the state that was asked for is there."""
        rows = (messages.read_data_row(body) for code, body in self if code == codes.DATA_ROW)
        try:
            return sum(int(row[0] or 0) for row in rows if len(row) == 2)
        except ValueError:
            raise messages.malformed("answer about the session's state") from None


def _settings_sql(names: Iterable[str], *, everything: bool) -> str:
    listed = "pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) n".format(", ".join(literal(name) for name in names))
    if everything:
        listed = f"(SELECT n FROM {listed} UNION {_ALL}) k(n)"  # noqa: S608 (quoted by `literal`)
    return _SETTINGS.format(names=listed)


def _reading(
    row: tuple[str | None, ...], shown: Mapping[str, str | None], defaults: Mapping[str, str]
) -> settings_readback.Reading:
    name, value, reset = _text(row[0]) or "", _text(row[1]), row[4]
    is_default, in_session = row[2] == "t", row[3] == "t"
    if name in shown:  # the query itself saw the router's value in its place
        value = shown[name]
        is_default = milliseconds(value or "0") == int(reset or 0)
        if name in SESSION_TIMERS:  # the session's default is that of the role, not that of the server
            is_default = is_default and not in_session
        return settings_readback.Reading(name, value, is_default, in_session)
    is_default = is_default or bool(value and value == _text(row[5]))
    is_default = is_default or (value is not None and defaults.get(name) == value)
    return settings_readback.Reading(name, value, is_default, in_session)


def _text(hexadecimal: str | None) -> str | None:
    return None if hexadecimal is None else bytes.fromhex(hexadecimal).decode("utf-8", "replace")
