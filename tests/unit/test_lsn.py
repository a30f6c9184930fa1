"""Positions in the WAL."""

from __future__ import annotations

import pytest

from pgrouter.lsn import end_of_record, parse


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0/0", 0),
        ("16/B374D848", 0x16B374D848),
        (" ffffffff/FFFFFFFF ", 2**64 - 1),
        ("", None),
        ("1", None),
        ("1/", None),
        ("1/123456789", None),
        ("x/1", None),
        ("1/-1", None),
        ("\u0661/1", None),
    ],
)
def test_parse(text: str, position: int | None) -> None:
    assert parse(text) == position


@pytest.mark.parametrize(
    ("told", "ended"), [(8192, 8192), (8192 + 24, 8192), (8192 + 40, 8192), (8192 + 32, 8192 + 32), (100, 100), (24, 0)]
)
def test_the_end_of_the_last_record(told: int, ended: int) -> None:
    assert end_of_record(told) == ended
