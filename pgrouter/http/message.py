"""Requests and answers as values, without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Request(NamedTuple):
    """A request whose head and body have been read; a body means nothing here."""

    method: str
    path: str
    query: dict[str, str]
    accept: str
    authorized: bool  # it shows the token, or none is needed


class Answer(NamedTuple):
    """What a request gets."""

    status: int
    body: bytes | Iterator[bytes | None] = b""  # an iterator yields None to say that others may have a turn
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    stays: bool = False  # after the body, events follow for as long as the client stays


def json(value: object, status: int = 200) -> Answer:
    """Answer with a value as JSON."""
    return Answer(status, msgspec.json.encode(value) + b"\n")


def failure(status: int, words: str, *headers: tuple[str, str]) -> Answer:
    """Answer with what is wrong."""
    return Answer(status, msgspec.json.encode({"error": words}) + b"\n", headers=headers)
