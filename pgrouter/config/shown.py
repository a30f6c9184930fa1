"""Settings as people read them: by their path in the file; secrets are never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgrouter.config.types import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "********"


class Setting(NamedTuple):
    """One setting."""

    key: str
    value: str
    default: str | None


def walk(section: msgspec.Struct, prefix: str) -> Iterator[Setting]:
    """Yield the settings of a section and of its subsections."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        key = prefix + field.encode_name
        if isinstance(value, msgspec.Struct):
            yield from walk(value, key + ".")
        elif field.type is Secret:
            yield Setting(key, HIDDEN if value else "", "")
        else:
            yield Setting(key, show(value), _default(field))


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    if field.default is not msgspec.NODEFAULT:
        return show(field.default)
    return show(field.default_factory()) if field.default_factory is not msgspec.NODEFAULT else None


def show(value: object) -> str:
    """Format a value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(show, value))
    if isinstance(value, msgspec.Struct):
        return " ".join(f"{setting.key}={setting.value}" for setting in walk(value, ""))
    return f"{value:g}" if isinstance(value, float) else str(value)
