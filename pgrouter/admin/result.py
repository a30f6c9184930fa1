"""Results of the console: typed columns, and rows as PostgreSQL messages in text or binary format.

PgBouncer's columns have the types that they have there: int4, int8 or numeric for numbers, else text. In the router's
own, numbers are int8 and truth values bool, so that drivers return them as such.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pgrouter.protocol import codes
from pgrouter.protocol.messages import cstring, message

if TYPE_CHECKING:
    from collections.abc import Sequence

Value = str | int | bool | None
Row = tuple[Value, ...]
Encoder = Callable[[Any], bytes]

TEXT_FORMAT, BINARY_FORMAT = range(2)
_NULL = b"\xff\xff\xff\xff"


class Type(NamedTuple):
    """A PostgreSQL type: its oid and length in pg_type, and its value as bytes in both formats."""

    oid: int
    size: int
    text: Encoder
    binary: Encoder


def _utf8(value: str) -> bytes:
    return value.encode("utf-8", "replace")


MOST_INT4 = 2**31 - 1
LEAST_INT4 = -MOST_INT4 - 1
NEGATIVE = 0x4000  # sign of a numeric

_int4 = struct.Struct("!i").pack


def _numeric(value: int) -> bytes:
    """Return a whole number in numeric's binary format: digits to the base 10000, most significant first."""
    digits: list[int] = []
    rest = abs(value)
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    digits.reverse()
    sign = NEGATIVE if value < 0 else 0
    return struct.pack(f"!HhHH{len(digits)}H", len(digits), len(digits) - 1, sign, 0, *digits)


TEXT = Type(25, -1, _utf8, _utf8)
INT = Type(20, 8, lambda value: b"%d" % value, struct.Struct("!q").pack)
INT4 = Type(23, 4, lambda value: b"%d" % value, lambda value: _int4(min(max(value, LEAST_INT4), MOST_INT4)))
NUMERIC = Type(1700, -1, lambda value: b"%d" % value, _numeric)
BOOL = Type(16, 1, lambda value: b"t" if value else b"f", lambda value: b"\1" if value else b"\0")

_TYPES = {"": TEXT, "int": INT, "int4": INT4, "numeric": NUMERIC, "bool": BOOL}


class Column(NamedTuple):
    """A column's name and type."""

    name: str
    type: Type


def columns(words: str) -> tuple[Column, ...]:
    """Parse a list of columns: names separated by spaces, with `:int`, `:int4`, `:numeric` or `:bool` if not text."""
    pairs = (word.partition(":") for word in words.split())
    return tuple(Column(name, _TYPES[kind]) for name, _, kind in pairs)


def row_description(described: Sequence[Column], formats: Sequence[int] = ()) -> bytes:
    """Build a RowDescription; `formats` is expanded (see `expand_formats`), or empty: all text."""
    body = struct.pack("!H", len(described))
    for index, column in enumerate(described):
        number = formats[index] if formats else TEXT_FORMAT
        body += cstring(column.name) + struct.pack("!IHIhih", 0, 0, column.type.oid, column.type.size, -1, number)
    return message(codes.ROW_DESCRIPTION, body)


def encoders(described: Sequence[Column], formats: Sequence[int] = ()) -> tuple[Encoder, ...]:
    """Return an encoder for each column; `formats` as in `row_description`."""
    if not formats:
        return tuple(column.type.text for column in described)
    return tuple(
        column.type.binary if number == BINARY_FORMAT else column.type.text
        for column, number in zip(described, formats, strict=True)
    )


def data_row(encode: tuple[Encoder, ...], row: Row) -> bytes:
    """Build a DataRow."""
    pieces = [len(row).to_bytes(2, "big")]
    for encoder, value in zip(encode, row, strict=True):
        if value is None:
            pieces.append(_NULL)
        else:
            raw = encoder(value)
            pieces.append(len(raw).to_bytes(4, "big"))
            pieces.append(raw)
    return message(codes.DATA_ROW, b"".join(pieces))


def expand_formats(formats: Sequence[int], count: int) -> tuple[int, ...] | None:
    """Return one format per column as in Bind: no format means all text, one is for all; None if the count is wrong."""
    if not formats:
        return (TEXT_FORMAT,) * count
    if len(formats) == 1:
        return (formats[0],) * count
    return tuple(formats) if len(formats) == count else None
