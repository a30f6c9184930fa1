"""The settings that a transaction may have changed, and how the session's settings are updated once they are read back.

After a transaction that touched settings, and before its server serves another client, the touched ones are read back
(`session.readback`), and the client's profile is updated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgrouter.routing.statement import Setting

ALL = "all"
WHO = ("session_authorization", "role")  # not changed by RESET ALL; resetting the first resets the second


class Reading(NamedTuple):
    """A setting as the server has it; `value` None: there is none of that name."""

    name: str
    value: str | None
    is_default: bool = False  # it has the server's own default
    in_session: bool = False  # by a SET of the session, not by a RESET


class TouchedSettings:
    """Names that a transaction may have set, each with whether the last statement about it was RESET."""

    __slots__ = ("all_reset", "local", "names", "returned")

    def __init__(self) -> None:
        self.names: dict[str, bool] = {}
        self.local: set[str] = set()  # custom ones set for the transaction only: restored afterwards, or ""
        self.all_reset = False
        self.returned: set[str] = set()  # already set back to the startup packet's values within the transaction

    def note(self, settings: Iterable[Setting]) -> None:
        """Apply the SETs and RESETs of one statement, in order."""
        for setting in settings:
            if setting.name == ALL:
                self.reset_all()
            elif setting.is_local and setting.value is not None and "." in setting.name:
                self.local.add(setting.name.lower())
            else:
                self.names[setting.name.lower()] = setting.value is None
                self.returned.discard(setting.name.lower())

    def reset_all(self) -> None:
        """Apply RESET ALL: all of them so far are reset, but for the role and session authorization."""
        who = {name: self.names[name] for name in WHO if name in self.names}
        self.discard()
        self.names.update(who)

    def discard(self) -> None:
        """Apply DISCARD ALL: all of them so far are reset."""
        self.all_reset = True
        self.names = dict.fromkeys(self.names, True)
        self.returned.clear()

    def returning(self, startup: Mapping[str, str], *, afresh: bool) -> dict[str, str]:
        """Return what has to be set for the rest of the transaction; `afresh`: it was begun again on another server."""
        if afresh:
            self.returned.clear()
        who = [name for name in WHO if self.names.get(name)]
        if "session_authorization" in who:
            who.append("role")  # the startup packet's role belongs to the session user
        names = startup.keys() - self.returned
        values = {name: startup[name] for name in sorted(names.difference(WHO)) if self.resets(name)}
        values.update((name, startup[name]) for name in WHO if name in who and name in names)
        self.returned.update(values)
        return values

    def has_resets(self) -> bool:
        """Whether any setting was RESET."""
        return self.all_reset or any(self.names.values())

    def resets(self, name: str) -> bool:
        """Whether the last statement about a setting was RESET."""
        return self.names.get(name, self.all_reset)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether all of these were touched."""
        return self.all_reset or all(name in self.names or name in self.local for name in names)

    def all_names(self) -> set[str]:
        """Return the names of all settings that were set or reset."""
        return {*self.names, *self.local}

    def to_read(self, profile: Mapping[str, str]) -> set[str]:
        """Return the names to read back in a session whose settings are `profile`."""
        names = {*self.names, *(name for name in self.local if name not in profile)}
        return {*names, *profile} if self.all_reset else names


def follow(
    touched: TouchedSettings | None,
    readings: Iterable[Reading],
    before: tuple[Mapping[str, str], Mapping[str, str]],
    startup: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the client's settings after the transaction, and those that its server has now, in the order of `before`.

    They differ where the client has RESET: on a direct connection that restores the startup packet's value, on a
    pooled server connection the server's own default. `touched` None: no statement says what it changes, so what the
    server reports counts.
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
