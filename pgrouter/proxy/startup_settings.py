"""The settings of a startup packet: how a server applies them, and what the client is told of all settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.errors import RouterError
from pgrouter.protocol import codes, messages
from pgrouter.proxy.session_sync import IS_SUPERUSER
from pgrouter.session.settings import CALM, spelled, timers, transition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.session.settings import Profile

Parameters = tuple[tuple[str, str], ...]  # names as the server spells them, and values
Answer = list[tuple[int, bytes]]  # messages: type and body


def query(has: Profile, profile: Profile, parameters: Parameters) -> bytes:
    """Return the Query with which a server that has the settings `has` applies `profile` and tells what they are then.

    Setting a value that the server has already is not reported (utf8 if it has UTF8): so they are asked for.
    """
    sql = (CALM, timers(profile), transition(has, profile), spelled(_reportable(profile, parameters)))
    return messages.query("; ".join(filter(None, sql)))


def error_of(answer: Answer) -> RouterError | None:
    """Return the error with which a server has answered, if it has."""
    for code, body in answer:
        if code == codes.ERROR_RESPONSE:
            fields = messages.read_error(body)
            return RouterError(fields.get("M", ""), sqlstate=fields.get("C", ""), detail=fields.get("D", ""))
    return None


def applied(answer: Answer, profile: Profile, parameters: Parameters) -> Parameters:
    """Return the settings as the server that has answered spells their values; ServerLost if it has said nonsense."""
    values = dict(profile.values)
    values.update(messages.read_parameter_status(body) for code, body in answer if code == codes.PARAMETER_STATUS)
    if names := _reportable(profile, parameters):
        rows = [messages.read_data_row(body) for code, body in answer if code == codes.DATA_ROW]
        if not rows or len(rows[-1]) != len(names):
            raise messages.malformed("answer to the settings of a startup packet")
        values.update(zip(names, rows[-1], strict=True))
    return tuple(values.items())


def welcome(profile: Profile, parameters: Parameters, mode: str) -> bytes:
    """Return AuthenticationOk and the ParameterStatus messages for a client of a listener of that mode."""
    values = dict(parameters)
    # PostgreSQL reports only some settings, spelled its own way (DateStyle); the packet may spell them differently.
    spelling = {name.lower(): name for name in values}
    values.update((spelling[name.lower()], value) for name, value in profile.reported if name.lower() in spelling)
    if mode == "replica" and "in_hot_standby" in values:  # for libpq's target_session_attrs
        values["in_hot_standby"] = "on"
    return messages.AUTHENTICATION_OK + b"".join(messages.parameter_status(*each) for each in values.items())


def _reportable(profile: Profile, parameters: Iterable[tuple[str, str]]) -> list[str]:
    known = {name.lower() for name, _ in parameters}
    names = [name for name, _ in profile.values]
    if "role" in names or "session_authorization" in names:
        names.append(IS_SUPERUSER)
    return [name for name in names if name in known]
