"""Names and passwords as bytes: UTF-8, and whatever else was there."""

from __future__ import annotations


def as_bytes(text: str) -> bytes:
    """Return the bytes of a password or name; bytes that were not UTF-8 come out as they came in."""
    return text.encode("utf-8", "surrogateescape")


def as_text(raw: bytes) -> str:
    """Return the text of bytes that should be UTF-8; `as_bytes` is the exact inverse, whatever they were."""
    return raw.decode("utf-8", "surrogateescape")
