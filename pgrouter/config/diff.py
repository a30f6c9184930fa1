"""What a reload changes: which settings differ, which of them apply at once, and which need a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from pgrouter.config.shown import HIDDEN, show
from pgrouter.config.types import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.config.settings import Settings

NOTHING = "none"

# Settings, with all below them, that are read once when the router starts; a reload applies all others.
NEEDS_RESTART = (
    "listen",  # sockets are bound once; certificates are read again
    "servers",  # files are read again
    "cluster",  # the source and the monitor are built once: a reload never puts the leader in doubt
    "pcp",  # its sockets, too; the users file is read again
    "routing",  # the cache contains decisions by the old rules
)
# Below these, but applied all the same: members come and go, and a running router can be told to forget
TAKEN = ("cluster.members", "cluster.forget_on_reload")


@dataclass(frozen=True, slots=True)
class Changes:
    """The paths of the settings that differ, in the order of the file."""

    now: tuple[str, ...] = ()  # a reload applies them
    restart: tuple[str, ...] = ()  # they stay as they were until a restart

    def __bool__(self) -> bool:
        return bool(self.now or self.restart)


def diff(old: Settings, new: Settings) -> Changes:
    """Return which settings differ; a list counts as one setting, and values are not included (they may be secret)."""
    paths = tuple(_changed(old, new, ""))
    return Changes(
        tuple(path for path in paths if not needs_restart(path)),
        tuple(path for path in paths if needs_restart(path)),
    )


def needs_restart(path: str) -> bool:
    """Whether the setting at this path is read at startup only."""
    return _below(path, NEEDS_RESTART) and not _below(path, TAKEN)


def taken(old: Settings, new: Settings) -> Settings:
    """Return the new settings as far as a running router applies them.

    Static members are applied while the source stays static: with another source the list means nothing.
    """
    kept = {name: getattr(old, name) for name in NEEDS_RESTART}
    if old.cluster.source == new.cluster.source:
        kept["cluster"] = msgspec.structs.replace(old.cluster, members=new.cluster.members)
    forgets = new.cluster.forget_on_reload
    kept["cluster"] = msgspec.structs.replace(kept["cluster"], forget_on_reload=forgets)
    return msgspec.structs.replace(new, **kept)


def told(old: Settings, new: Settings, path: str) -> str:
    """Return what has become of the setting at a path of a `diff`, for people: `0 -> 5`; secrets stay secret."""
    before, after = (_value(settings, path) for settings in (old, new))
    if isinstance(before or after, Secret):
        before, after = before and HIDDEN, after and HIDDEN
    return f"{show(before) or NOTHING} -> {show(after) or NOTHING}"


def _value(settings: msgspec.Struct, path: str) -> Any:
    value: Any = settings
    for key in path.split("."):
        name = next(entry.name for entry in msgspec.structs.fields(type(value)) if entry.encode_name == key)
        value = getattr(value, name)
    return value


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith((f"{root}.", f"{root}[")) for root in roots)


def _changed(old: msgspec.Struct, new: msgspec.Struct, prefix: str) -> Iterator[str]:
    for entry in msgspec.structs.fields(old):
        before, after = getattr(old, entry.name), getattr(new, entry.name)
        path = f"{prefix}{entry.encode_name}"
        if isinstance(before, msgspec.Struct) and isinstance(after, msgspec.Struct):
            yield from _changed(before, after, f"{path}.")
        elif before != after:
            yield path
