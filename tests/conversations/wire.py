"""Frontend messages by the names of the protocol chapter, and backend messages for the eye."""

# ruff: noqa: N802  (scripts call the builders by the names of the messages)

from __future__ import annotations

import struct
from typing import NamedTuple

PROTOCOL_3_0 = 196608


class Message(NamedTuple):
    """One message of a server: its type letter and its body. The type `raw` is bytes outside any frame."""

    kind: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse."""
        return {chr(part[0]): part[1:].decode() for part in self.body.split(b"\0") if part}

    def __str__(self) -> str:
        if self.kind in "EN":
            return f"{self.kind} " + " ".join(f"{key}={value!r}" for key, value in self.fields.items())
        return f"{self.kind} {self.body!r}"


def frame(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def Startup(version: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    pairs = {"user": "postgres", "database": "postgres"} | parameters
    body = struct.pack("!I", version) + b"".join(cstring(k) + cstring(v) for k, v in pairs.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def StartupOptions(version: int, options: dict[str, str]) -> bytes:
    """Build a startup packet whose names are no Python identifiers."""
    return Startup(version, **options)


def Request(code: int) -> bytes:
    """Build an SSLRequest or GSSENCRequest."""
    return struct.pack("!II", 8, code)


def Raw(data: bytes) -> bytes:
    return data


def Query(sql: str | bytes) -> bytes:
    return frame("Q", cstring(sql))


def Parse(name: str, sql: str, types: tuple[int, ...] = ()) -> bytes:
    return frame("P", cstring(name) + cstring(sql) + struct.pack(f"!H{len(types)}I", len(types), *types))


def Bind(
    portal: str = "", statement: str = "", values: tuple[bytes | None, ...] = (), *, binary: bool = False
) -> bytes:
    body = cstring(portal) + cstring(statement) + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return frame("B", body + (struct.pack("!HH", 1, 1) if binary else struct.pack("!H", 0)))


def BigBind(statement: str, size: int) -> bytes:
    """Bind one value of `size` bytes."""
    return Bind("", statement, (b"x" * size,))


def Describe(what: str = "P", name: str = "") -> bytes:
    return frame("D", what.encode() + cstring(name))


def Close(what: str = "P", name: str = "") -> bytes:
    return frame("C", what.encode() + cstring(name))


def Execute(portal: str = "", limit: int = 0) -> bytes:
    return frame("E", cstring(portal) + struct.pack("!I", limit))


def Sync() -> bytes:
    return frame("S")


def Flush() -> bytes:
    return frame("H")


def CopyData(data: bytes) -> bytes:
    return frame("d", data)


def CopyDone() -> bytes:
    return frame("c")


def CopyFail(why: str) -> bytes:
    return frame("f", cstring(why))


def FunctionCall(oid: int, *values: bytes) -> bytes:
    body = struct.pack("!IHH", oid, 0, len(values))
    return frame("F", body + b"".join(struct.pack("!I", len(v)) + v for v in values) + struct.pack("!H", 0))


def Terminate() -> bytes:
    return frame("X")


BUILDERS = {
    builder.__name__: builder
    for builder in (
        Startup, StartupOptions, Request, Raw, Query, Parse, Bind, BigBind, Describe, Close, Execute, Sync, Flush,
        CopyData, CopyDone, CopyFail, FunctionCall, Terminate,
    )
}  # fmt: skip
