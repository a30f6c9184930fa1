"""What a failed login says of its server, by libpq's message. Pure.

libpq keeps the SQLSTATE of a refused login to itself, and a server may speak any language (lc_messages). What is the
same in all of them is the form: a message of the server's is `SEVERITY:  text`, with two spaces, behind `failed: `.
"""

from __future__ import annotations

import re
from enum import Enum

SERVERS = re.compile(r"failed: [^\s:]+:  (.*)", re.DOTALL)
CLIENTS = re.compile(r"fe_sendauth|authentication method|no password supplied")  # it asked, and libpq had no answer
ADDRESS = re.compile(r'connection to server (?:at|on socket) "([^"]*)"([^,]*?)(?:, port (\d+))? failed: ')
ASIDE = re.compile(  # libpq's, as a lead and as advice; the text is about a server that somebody knows well
    r"^connection failed: |\s*Is the server running [^?]*\?"
    r"|\s*This probably means the server terminated abnormally\s+before or while processing the request\."
)
TRANSITION = re.compile(r"the database system is ")  # 57P03: starting up, shutting down, in recovery mode ...
# 28000, 28P01, 3D000, 42501
LOGIN = re.compile(r"authentication|pg_hba|does not exist|not permitted to log in|permission denied")
ONE_ROLE = re.compile(r"too many connections for (role|database)")  # 53300, and others' connections do not matter


class Refusal(Enum):
    """Why PostgreSQL lets the router's role not in."""

    NONE = "no answer of PostgreSQL"
    TRANSITION = "it starts or stops"  # 57P03
    LOGIN = "this role, from here, to this database"  # 28000, 28P01, 3D000, 42501
    LIMIT = "a limit of this role or database"  # 53300
    FULL = "no connection is left, or something that is not known here"  # 53300


def plain(text: str) -> str:
    """Shorten libpq's message of a failed login to where and what: `10.0.0.1:5432: Connection refused`."""
    return ADDRESS.sub(lambda at: f"{at[1]}{at[2]}{':' if at[3] else ''}{at[3] or ''}: ", ASIDE.sub("", text))


def refusal(text: str) -> Refusal:
    """Classify libpq's message of a failed login, as it is, line breaks included."""
    found = SERVERS.search(text)
    if found is None:
        return Refusal.LOGIN if CLIENTS.search(text) else Refusal.NONE
    said = found[1]
    if TRANSITION.search(said):
        return Refusal.TRANSITION
    if ONE_ROLE.search(said):
        return Refusal.LIMIT
    return Refusal.LOGIN if LOGIN.search(said) else Refusal.FULL
