"""What a failed login says about its server, by libpq's message. Pure.

libpq does not expose the SQLSTATE of a refused login, and a server may use any language (lc_messages). The form is the
same in all of them: a message from the server is `SEVERITY:  text`, with two spaces, after `failed: `.
"""

from __future__ import annotations

import re
from enum import Enum

SERVERS = re.compile(r"failed: [^\s:]+:  (.*)", re.DOTALL)
CLIENTS = re.compile(r"fe_sendauth|authentication method|no password supplied")  # libpq could not answer
ADDRESS = re.compile(r'connection to server (?:at|on socket) "([^"]*)"([^,]*?)(?:, port (\d+))? failed: ')
ASIDE = re.compile(  # libpq's introduction and advice, which say nothing about the cause
    r"^connection failed: |\s*Is the server running [^?]*\?"
    r"|\s*This probably means the server terminated abnormally\s+before or while processing the request\."
)
TRANSITION = re.compile(r"the database system is ")  # 57P03: starting up, shutting down, in recovery mode ...
# 28000, 28P01, 3D000, 42501
LOGIN = re.compile(r"authentication|pg_hba|does not exist|not permitted to log in|permission denied")
ONE_ROLE = re.compile(r"too many connections for (role|database)")  # 53300, but other roles' connections do not matter


class Refusal(Enum):
    """Why PostgreSQL refuses the login of the router's role."""

    NONE = "no answer of PostgreSQL"
    TRANSITION = "it starts or stops"  # 57P03
    LOGIN = "this role, from here, to this database"  # 28000, 28P01, 3D000, 42501
    LIMIT = "a limit of this role or database"  # 53300
    FULL = "no connection is left, or something that is not known here"  # 53300


def plain(text: str) -> str:
    """Shorten libpq's message about a failed login to address and error: `10.0.0.1:5432: Connection refused`."""
    return ADDRESS.sub(lambda at: f"{at[1]}{at[2]}{':' if at[3] else ''}{at[3] or ''}: ", ASIDE.sub("", text))


def refusal(text: str) -> Refusal:
    """Classify libpq's unmodified message about a failed login, line breaks included."""
    found = SERVERS.search(text)
    if found is None:
        return Refusal.LOGIN if CLIENTS.search(text) else Refusal.NONE
    said = found[1]
    if TRANSITION.search(said):
        return Refusal.TRANSITION
    if ONE_ROLE.search(said):
        return Refusal.LIMIT
    return Refusal.LOGIN if LOGIN.search(said) else Refusal.FULL
