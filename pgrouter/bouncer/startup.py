"""What an entry of [databases] sets for its sessions: its parameters, and what its connect_query sets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pgrouter.bouncer.entries import Entry

NAMES = {
    "client_encoding": "client_encoding",
    "datestyle": "DateStyle",
    "timezone": "TimeZone",
    "application_name": "application_name",
}
_SET = re.compile(
    r"set\s+(?:session\s+)?([\w.]+)\s*(?:=|\s+to\s)\s*(?:'((?:[^']|'')*)'|([\w.,+\- ]+?))\s*", re.IGNORECASE
)
NOT_SETTINGS = ("local", "role", "session", "session_authorization", "transaction", "time", "names", "constraints")


def startup_settings(entry: Entry) -> dict[str, str]:
    """Return the settings that sessions of an entry begin with, unless their clients bring others.

    Raises:
        ConfigError: its connect_query does more than to set.

    """
    found = {ours: entry.text(key) for key, ours in NAMES.items() if entry.text(key)}
    for statement in filter(None, (part.strip() for part in entry.text("connect_query").split(";"))):
        match = _SET.fullmatch(statement)
        if match is None or match[1].lower() in NOT_SETTINGS:
            text = (
                f"databases/{entry.name}: connect_query: {statement}: only SET is possible: sessions do not stay with "
                "a connection, and none may begin with what others have left: ALTER ROLE or DATABASE ... SET sets "
                "defaults, and login event triggers run code"
            )
            raise ConfigError([text])
        found[match[1]] = match[3] if match[2] is None else match[2].replace("''", "'")
    return found
