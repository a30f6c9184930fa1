"""The errors that pgrouter itself raises, each with what is reported to the client.

PostgreSQL's own errors never become one of these: they pass through byte for byte. An error here carries the SQLSTATE
that PostgreSQL would use in the same place, a severity (ERROR: the session goes on; FATAL: it ends), and DETAIL and
HINT for the person who reads it. `protocol.messages.error_response()` is the only way from an error to bytes.
"""

from __future__ import annotations

import logging


class RouterError(Exception):
    """An error with a SQLSTATE. Subclasses set the kind of error, callers the message."""

    sqlstate = "XX000"
    severity = "ERROR"
    log_level = logging.INFO

    def __init__(
        self, message: str, *, detail: str = "", hint: str = "", sqlstate: str = "", severity: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint
        self.sqlstate = sqlstate or type(self).sqlstate
        self.severity = severity or type(self).severity

    @property
    def closes_client(self) -> bool:
        """Whether the client's connection ends with this error."""
        return self.severity in ("FATAL", "PANIC")


def in_session(error: RouterError) -> RouterError:
    """Return the error that a statement gets for a server's refusal of a connection: the same words, no FATAL."""
    return RouterError(error.message, detail=error.detail, hint=error.hint, sqlstate=error.sqlstate)


class ProtocolViolation(RouterError):
    """The peer sent something that the protocol does not allow here; nothing after it can be trusted."""

    sqlstate = "08P01"
    severity = "FATAL"


class FeatureNotSupported(RouterError):
    """PostgreSQL supports it, pgrouter does not (yet)."""

    sqlstate = "0A000"


class AuthenticationFailed(RouterError):
    """Wrong password or unknown user; the message never says which of the two."""

    sqlstate = "28P01"
    severity = "FATAL"


class InvalidAuthorization(RouterError):
    """The login is refused whatever the password is."""

    sqlstate = "28000"
    severity = "FATAL"


class TooManyClients(RouterError):
    """max_clients is reached, or max_logins."""

    sqlstate = "53300"
    severity = "FATAL"


class NoServer(RouterError):
    """No member may serve this now: no leader, no replica, or nobody reachable."""

    sqlstate = "57P03"


class WaitTimeout(RouterError):
    """The client waited for a server connection longer than it may."""

    sqlstate = "57014"


class ServerLost(RouterError):
    """The connection to the server was lost while an answer was outstanding."""

    sqlstate = "08006"
    log_level = logging.WARNING


class ShuttingDown(RouterError):
    """The router is shutting down."""

    sqlstate = "57P01"
    severity = "FATAL"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "terminating connection because pgrouter is shutting down")


class InFailedTransaction(RouterError):
    """The transaction was lost with its server; only its end is accepted now."""

    sqlstate = "25P02"


class DuplicateStatement(RouterError):
    """A prepared statement of that name exists."""

    sqlstate = "42P05"

    def __init__(self, name: str) -> None:
        super().__init__(f'prepared statement "{name}" already exists')


class NotInThisSession(RouterError):
    """The session state asked for is in another server connection, which other clients have used since."""

    sqlstate = "55000"


class UndefinedObject(RouterError):
    """An unknown name (a console command's argument, a setting)."""

    sqlstate = "42704"


class ConfigError(Exception):
    """A configuration that cannot be used: `path.to.key: what is wrong` lines."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
