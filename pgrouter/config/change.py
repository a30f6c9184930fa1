"""Changes one setting of a running router, as SET on the console does; the file stays as it is."""

from __future__ import annotations

import typing
from types import NoneType, UnionType
from typing import TYPE_CHECKING, TypeVar

import msgspec
import yaml

from pgrouter.config.decode import decode_value
from pgrouter.config.diff import needs_restart
from pgrouter.config.rules import broken_rules
from pgrouter.config.types import Secret
from pgrouter.errors import ConfigError, RouterError, UndefinedObject

if TYPE_CHECKING:
    from pathlib import Path

    from pgrouter.config.settings import Settings

Section = TypeVar("Section", bound=msgspec.Struct)

TRUTH = {"1": True, "on": True, "true": True, "yes": True, "0": False, "off": False, "false": False, "no": False}
ONLY_IN_FILE = "a console cannot set it: change it in the configuration file"


def changed(settings: Settings, key: str, text: str, directory: Path) -> Settings:
    """Return the settings with a new value for the one at the path `key`, written as in the file.

    Lists are separated by commas; relative paths are relative to `directory`.

    Raises:
        UndefinedObject: 42704, there is no such setting.
        RouterError: 55P02, it takes a restart.
        ConfigError: the value is none, or does not fit the others.

    """
    new = _with(settings, key.split("."), key, text, directory)
    problems = broken_rules(new)
    if problems:
        raise ConfigError(problems)
    return new


def _with(section: Section, names: list[str], key: str, text: str, directory: Path) -> Section:
    """Return a section with the setting at a path below it changed."""
    name, *below = names
    field = next((field for field in msgspec.structs.fields(section) if field.encode_name == name), None)
    before = getattr(section, field.name) if field is not None else None
    if field is None or isinstance(before, msgspec.Struct) is not bool(below):
        raise UndefinedObject(f'there is no setting "{key}"', hint="SHOW CONFIG lists all.")
    if isinstance(before, msgspec.Struct):
        return msgspec.structs.replace(section, **{field.name: _with(before, below, key, text, directory)})
    if needs_restart(key):
        raise RouterError(f'parameter "{key}" cannot be changed without restarting the server', sqlstate="55P02")
    value = decode_value(field.type, _plain(field.type, text, key), key, directory)
    return msgspec.structs.replace(section, **{field.name: value})


def _plain(kind: object, text: str, key: str) -> object:
    """Return what YAML would make of a value of this type."""
    if typing.get_origin(kind) in (typing.Union, UnionType):  # only ever `X | None`
        kind = next(part for part in typing.get_args(kind) if part is not NoneType)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(item, type) and issubclass(item, msgspec.Struct):
            raise ConfigError([f"{key}: {ONLY_IN_FILE}"])
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind is Secret:
        raise ConfigError([f"{key}: {ONLY_IN_FILE}"])
    if kind is bool:
        return TRUTH.get(text.lower(), text)
    if str in (kind, *typing.get_args(kind)[:1]):  # the latter: of Annotated
        return text
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    return value if isinstance(value, int | float | NoneType) and not isinstance(value, bool) else text
