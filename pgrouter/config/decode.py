"""Plain data to frozen structs, collecting every problem with its path instead of stopping at the first.

msgspec converts and checks single values; the walk over sections and lists is here, because msgspec's own stops at the
first problem and reports types where people think of keys.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from pgrouter.config.types import DURATION, Secret, duration_s
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Problems = list[str]
Section = TypeVar("Section", bound=msgspec.Struct)

YAML_NAMES = {dict: "a mapping", list: "a list", NoneType: "nothing"}


class _Wrong(Exception):
    """A value has been added to the list of problems."""


class Decoder:
    """One file: the base of relative paths, and the problems so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problems: Problems = []

    def section(self, kind: type[Section], data: object, path: str = "") -> Section:
        """Build a section from a mapping; None is an empty mapping (every key may be commented out)."""
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise self._wrong(path, f"expected a mapping, got {_name(data)}")
        fields = {entry.encode_name: entry for entry in msgspec.structs.fields(kind)}
        before = len(self.problems)
        for key in data:
            if key not in fields:
                self._wrong(_join(path, key), f"unknown key{_hint(key, fields)}")
        values = {}
        for key, entry in fields.items():
            if key in data:
                with contextlib.suppress(_Wrong):
                    values[entry.name] = self.value(entry.type, data[key], _join(path, key))
            elif entry.required:
                self._wrong(_join(path, key), "required")
        if len(self.problems) > before:
            raise _Wrong
        return kind(**values)

    def value(self, kind: object, data: object, path: str) -> object:
        """Convert one value of any type that settings have."""
        if get_origin(kind) in (Union, UnionType):  # only ever `X | None`
            if data is None:
                return None
            kind = next(part for part in get_args(kind) if part is not NoneType)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.section(kind, data, path)
        if get_origin(kind) is tuple:
            return self._list(get_args(kind)[0], data, path)
        if get_origin(kind) is Literal:
            return self._choice(get_args(kind), data, path)
        return self._scalar(kind, data, path)

    def _list(self, kind: object, data: object, path: str) -> tuple[object, ...]:
        if not isinstance(data, list):
            raise self._wrong(path, f"expected a list, got {_name(data)}")
        items = []
        for number, item in enumerate(data):
            with contextlib.suppress(_Wrong):
                items.append(self.value(kind, item, f"{path}[{number}]"))
        if len(items) < len(data):
            raise _Wrong
        return tuple(items)

    def _choice(self, choices: tuple[str, ...], data: object, path: str) -> str:
        if data in choices:
            return data
        raise self._wrong(path, f"expected one of {', '.join(choices)}; got {data!r}")

    def _scalar(self, kind: object, data: object, path: str) -> object:
        try:
            if isinstance(data, str) and _is_duration(kind):
                data = duration_s(data)
            if kind is Path:
                return self.directory / Path(msgspec.convert(data, str)).expanduser()
            if kind is Secret:
                return Secret(msgspec.convert(self._fetched(data) if isinstance(data, dict) else data, str))
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            raise self._wrong(path, _words(error, data)) from None
        except (ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
            raise self._wrong(path, str(error)) from None

    def _fetched(self, data: dict[object, object]) -> object:
        """Return a secret that is kept elsewhere: `{file: PATH}` without its last newline, or `{env: NAME}`."""
        match data:
            case {"file": str(name), **rest} if not rest:
                try:
                    return (self.directory / Path(name).expanduser()).read_text("utf-8").removesuffix("\n")
                except OSError as error:
                    raise ValueError(f"{name} cannot be read: {error.strerror or error}") from None
                except UnicodeDecodeError:
                    raise ValueError(f"{name} is not UTF-8") from None
            case {"env": str(name), **rest} if not rest:
                if name not in os.environ:
                    raise ValueError(f"there is no environment variable {name}")
                return os.environ[name]
        raise ValueError("expected a string, {file: PATH} or {env: NAME}")

    def _wrong(self, path: str, what: str) -> _Wrong:
        self.problems.append(f"{path}: {what}" if path else what)
        return _Wrong()


def decode(kind: type[Section], data: object, directory: Path) -> tuple[Section | None, Problems]:
    """Build a struct from plain data, or list everything that is wrong with it as `path.to.key: what is wrong`.

    Relative paths are relative to `directory`.
    """
    decoder = Decoder(directory)
    try:
        return decoder.section(kind, data), []
    except _Wrong:
        return None, decoder.problems


def decode_value(kind: object, data: object, path: str, directory: Path) -> object:
    """Convert one value of a type that settings have.

    Raises:
        ConfigError: with what is wrong with it.

    """
    decoder = Decoder(directory)
    try:
        return decoder.value(kind, data, path)
    except _Wrong:
        raise ConfigError(decoder.problems) from None


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _hint(key: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(key), known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _name(data: object) -> str:
    return YAML_NAMES.get(type(data), type(data).__name__)


def _is_duration(kind: object) -> bool:
    if get_origin(kind) is not Annotated:
        return False
    schemas = (meta.extra_json_schema or {} for meta in get_args(kind)[1:])
    return any(schema.get("format") == DURATION for schema in schemas)


def _words(error: msgspec.ValidationError, data: object) -> str:
    """Translate msgspec's messages into ours; the value is repeated only if it cannot be a secret."""
    text = str(error).replace("`", "").replace("1000000000.0", "1e9")
    text = (text[:1].lower() + text[1:]).replace("expected float", "expected number")
    if isinstance(data, int | float) and "got" not in text:
        return f"{text}, got {data:g}"
    if "expected str, got" in text and not isinstance(data, dict | list | NoneType):
        return f"{text} (put it in quotes)"
    return text
