"""SHOW POOL_NODES, PGPOOL SHOW and their kin: what is asked for, as SQL whose rows or error are the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.console import allowed
from pgrouter.pcp.columns import COLUMNS
from pgrouter.pcp.parameters import GROUPS
from pgrouter.pcp.status import Viewer
from pgrouter.session.settings import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgrouter.config.settings import Admin
    from pgrouter.pcp.parameters import Parameter
    from pgrouter.pcp.status import Status

ABOUT = ("item", "value", "description")


class Shows:
    """Answers the statements that `routing.explain.asks_pool` finds."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def sql(self, words: Sequence[str], user: str, member: str, admin: Admin) -> str:
        """Return the SQL that answers; `words` begin with show or pgpool, `member` runs it for this user."""
        if words[0] == "show":
            viewer = Viewer(user, sees_all=allowed(user, admin) is not None, member=member)
            return table(COLUMNS[words[1]], self._status.views[words[1]](viewer))
        if words[1] == "show":
            return self._parameter(words[2])
        name = words[2] if len(words) > 2 else ""
        if not self._known(name) and name != "all":
            return error(f'config variable "{name}" not found')
        return error(f'invalid Context, value for parameter "{name}" cannot be changed')

    def _known(self, name: str) -> bool:
        return any(parameter.name == name for parameter in self._status.parameters())

    def _parameter(self, name: str) -> str:
        every = self._status.parameters()
        if name == "all":
            return table(ABOUT, every)
        prefixes = GROUPS.get(name)
        if prefixes is not None:
            return table(ABOUT, [each for each in every if each.name.startswith(prefixes)] if prefixes else [])
        found = [each for each in every if each.name == name] or _numbered(name, every)
        if not found:
            return error(f'config variable "{name}" not found')
        if found[0].name == name:
            return table((name,), [(found[0].value,)])
        return table(ABOUT, found)


def _numbered(name: str, every: list[Parameter]) -> list[Parameter]:
    """Return the parameters of all nodes that a name without a number stands for."""
    return [each for each in every if each.name.rstrip("0123456789") == name]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a query for these rows, all text."""
    values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
    if not values:
        nothing = ", ".join(f'NULL::text AS "{column}"' for column in columns)
        return f"SELECT {nothing} WHERE false"
    names = ", ".join(f'"{column}"' for column in columns)
    return f"SELECT * FROM (VALUES {values}) AS pool({names})"  # noqa: S608  (quoted)


def error(message: str) -> str:
    """Return a statement that fails with this message."""
    quoted = literal(message.replace("%", "%%"))
    return f"DO {literal(f'BEGIN RAISE EXCEPTION {quoted}; END')}"
