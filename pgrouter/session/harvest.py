"""What a transaction has done to the session's settings, asked of the server instead of guessed.

Whether a SET was committed, undone by ROLLBACK or ROLLBACK TO, local to its transaction or made by a function is
PostgreSQL's to know: after a transaction that touched settings, and before its server serves anyone else, one query
reads the touched ones back, and the client's profile follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.protocol import codes, messages
from pgrouter.session.settings import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgrouter.routing.statement import Setting

ALL = "all"

# Not in pg_settings; these values are their defaults
_HIDDEN_DEFAULTS = {"role": "none"}

# Whether a setting still has the server's own value: pg_settings says so for those that it shows.
# Names and values come in hexadecimal UTF-8, whatever encoding the client speaks.
_SQL = """\
SELECT pg_catalog.encode(pg_catalog.convert_to(n, 'UTF8'), 'hex'),
 pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n, true), 'UTF8'), 'hex'),
 (SELECT s.setting IS NOT DISTINCT FROM s.reset_val FROM pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name) = n)
 FROM pg_catalog.unnest(ARRAY[{names}]) n"""


class Touched:
    """Names that a transaction may have set, each with whether the last word on it was RESET."""

    __slots__ = ("all_reset", "names")

    def __init__(self) -> None:
        self.names: dict[str, bool] = {}
        self.all_reset = False

    def note(self, settings: Iterable[Setting]) -> None:
        """Follow the SETs and RESETs of one statement, in order."""
        for setting in settings:
            if setting.name == ALL:
                self.all_reset = True
                self.names = dict.fromkeys(self.names, True)
            else:
                self.names[setting.name.lower()] = setting.value is None

    def has_resets(self) -> bool:
        """Whether any setting was RESET."""
        return self.all_reset or any(self.names.values())

    def resets(self, name: str) -> bool:
        """Whether the last word on a setting was RESET."""
        return self.names.get(name, self.all_reset)

    def question(self, profile: Mapping[str, str]) -> str:
        """Give the SQL that reads the settings back."""
        if self.all_reset:
            for name in profile:
                self.names.setdefault(name, True)
        return _SQL.format(names=", ".join(literal(name) for name in self.names) or "''")


def follow(
    touched: Touched, rows: Iterable[tuple[str | None, ...]], before: Mapping[str, str], startup: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give the client's settings after the transaction, and those that its server now has.

    They differ where the client has RESET: on a direct connection that goes back to the startup packet's value, on a
    pooled server connection to the server's own default.
    """
    client = dict(before)
    server = dict(before)
    for name, value, is_default in rows:
        if not name:
            continue
        default = value is None or is_default == "t" or _HIDDEN_DEFAULTS.get(name) == value
        for values in (client, server):
            values.pop(name, None)
            if not default:
                values[name] = value
        if default and name in startup:
            if touched.names[name]:
                client[name] = startup[name]
            elif value is not None:
                client[name] = server[name] = value  # set to what happens to be the server's default
    return client, server


def read_rows(collected: Iterable[tuple[int, bytes]]) -> list[tuple[str | None, ...]] | None:
    """Take the rows out of a collected answer; None when it was an error."""
    rows = []
    for code, body in collected:
        if code == codes.ERROR_RESPONSE:
            return None
        if code == codes.DATA_ROW and body[:2] == b"\0\3":  # others are of another question
            name, value, is_default = messages.read_data_row(body)
            rows.append((_text(name), _text(value), is_default))
    return rows


def _text(hexadecimal: str | None) -> str | None:
    return None if hexadecimal is None else bytes.fromhex(hexadecimal).decode("utf-8", "replace")
