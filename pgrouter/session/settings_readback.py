"""The settings that a transaction may have changed, and what becomes of the session's settings when they were read.

After a transaction that touched settings, and before its server serves anyone else, the touched ones are read back
(`session.readback`), and the client's profile follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgrouter.routing.statement import Setting

ALL = "all"
WHO = ("session_authorization", "role")  # which RESET ALL leaves as they are; the first takes the second back


class Reading(NamedTuple):
    """A setting as the server has it; `value` None: it has none of that name."""

    name: str
    value: str | None
    is_default: bool = False  # it has the server's own value
    in_session: bool = False  # by a SET of the session, not by a RESET


class TouchedSettings:
    """Names that a transaction may have set, each with whether the last word on it was RESET."""

    __slots__ = ("all_reset", "local", "names", "returned")

    def __init__(self) -> None:
        self.names: dict[str, bool] = {}
        self.local: set[str] = set()  # custom ones set for the transaction only: afterwards they are as before, or ""
        self.all_reset = False
        self.returned: set[str] = set()  # to the startup packet's values, within the transaction

    def note(self, settings: Iterable[Setting]) -> None:
        """Follow the SETs and RESETs of one statement, in order."""
        for setting in settings:
            if setting.name == ALL:
                self.reset_all()
            elif setting.is_local and setting.value is not None and "." in setting.name:
                self.local.add(setting.name.lower())
            else:
                self.names[setting.name.lower()] = setting.value is None
                self.returned.discard(setting.name.lower())

    def reset_all(self) -> None:
        """RESET ALL: the last word on all of them so far is RESET, but for who acts."""
        who = {name: self.names[name] for name in WHO if name in self.names}
        self.discard()
        self.names.update(who)

    def discard(self) -> None:
        """DISCARD ALL: the last word on all of them so far is RESET."""
        self.all_reset = True
        self.names = dict.fromkeys(self.names, True)
        self.returned.clear()

    def returning(self, startup: Mapping[str, str], *, afresh: bool) -> dict[str, str]:
        """Give what has to be set for what follows in the transaction; `afresh`: it was begun again elsewhere."""
        if afresh:
            self.returned.clear()
        who = [name for name in WHO if self.names.get(name)]
        if "session_authorization" in who:
            who.append("role")  # what it begins with belongs to who begins
        names = startup.keys() - self.returned
        values = {name: startup[name] for name in sorted(names.difference(WHO)) if self.resets(name)}
        values.update((name, startup[name]) for name in WHO if name in who and name in names)
        self.returned.update(values)
        return values

    def has_resets(self) -> bool:
        """Whether any setting was RESET."""
        return self.all_reset or any(self.names.values())

    def resets(self, name: str) -> bool:
        """Whether the last word on a setting was RESET."""
        return self.names.get(name, self.all_reset)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether all of these were touched."""
        return self.all_reset or all(name in self.names or name in self.local for name in names)

    def all_names(self) -> set[str]:
        """Give the names of all that was set or reset."""
        return {*self.names, *self.local}

    def to_read(self, profile: Mapping[str, str]) -> set[str]:
        """Give the names to read back in a session that has set what `profile` says."""
        names = {*self.names, *(name for name in self.local if name not in profile)}
        return {*names, *profile} if self.all_reset else names


def follow(
    touched: TouchedSettings | None,
    readings: Iterable[Reading],
    before: tuple[Mapping[str, str], Mapping[str, str]],
    startup: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Give the client's settings after the transaction, and those that its server now has, as `before` has them.

    They differ where the client has RESET: on a direct connection that goes back to the startup packet's value, on a
    pooled server connection to the server's own default. `touched` None: no statement said what it changes, so the
    server's word counts.
    """
    client, server = dict(before[0]), dict(before[1])
    for name, value, is_default, in_session in readings:
        if not name:
            continue
        default = value is None or is_default
        for values in (client, server):
            values.pop(name, None)
            if not default:
                values[name] = value
        emptied = value == "" and "." in name  # which is what RESET leaves of a custom setting
        if emptied and name in startup and touched is not None and touched.resets(name):
            client[name] = startup[name]
        elif default and name in startup:
            told = touched is not None and (touched.all_reset or name in touched.names)
            if touched.resets(name) if told else not in_session:
                client[name] = startup[name]
            elif value is not None:
                client[name] = server[name] = value  # set to what happens to be the server's default
    return client, server
