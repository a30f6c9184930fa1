"""Who a client says it is, as the log and the console show it."""

from __future__ import annotations

import re

import msgspec

_PLAIN = re.compile(r"[\w.$+-]{1,63}")
LONGEST = 63  # bytes of a name in PostgreSQL; who sends a longer one is hardly somebody's application


class ClientInfo(msgspec.Struct, frozen=True):
    """The identity of a client."""

    user: str
    database: str
    address: str
    port: int
    application_name: str

    def __str__(self) -> str:
        return f"{_shown(self.database)}/{_shown(self.user)}@{self.address or 'unix'}:{self.port}"


def _shown(name: str) -> str:
    """Return a name, in quotes if it could be taken for something else in a line of the log."""
    if _PLAIN.fullmatch(name):
        return name
    short = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
    return '"' + short.replace('"', '""') + '"'
