"""The kinds of values in the file that are more than numbers or strings."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

DURATION = "duration"

Seconds = Annotated[float, Meta(ge=0, le=1e9, extra_json_schema={"format": DURATION})]
"""Written as `200ms`, `15s`, `10m`, `1h`, `7d` or a number of seconds; 1e9 stands for never."""

Port = Annotated[int, Meta(ge=1, le=65535)]
ListenPort = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
CountOrNone = Annotated[int, Meta(ge=0)]
Weight = Annotated[int, Meta(ge=0, le=100)]
Name = Annotated[str, Meta(min_length=1)]
UnixMode = Annotated[str, Meta(pattern="^0?[0-7]{3}$")]
"""Permissions of a file, in octal digits as chmod takes them; a string, since YAML reads 0777 as 511."""

UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}  # ms ... d as in postgresql.conf

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


class Secret(str):
    """A string that `repr` does not show, so that settings can be printed and logged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


def duration_s(text: str) -> float:
    """Return a duration, as written in the file, in seconds.

    >>> duration_s("200ms"), duration_s("1.5h")
    (0.2, 5400.0)

    Raises:
        ValueError: if it is not a duration.

    """
    match = _DURATION.fullmatch(text.strip())
    unit_s = UNIT_S.get(match[2]) if match else None
    if match is None or unit_s is None:
        raise ValueError(f"expected a duration such as 200ms, 15s, 10m, 1h or a number of seconds, got {text!r}")
    return float(match[1]) * unit_s
