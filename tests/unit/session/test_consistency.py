"""What a session's reads must see, by its settings."""

from __future__ import annotations

import pytest

from pgrouter.session.consistency import EVENTUAL, NOWHERE, SESSION, STRICT, demands


@pytest.mark.parametrize(
    ("settings", "configured", "level", "lsn"),
    [
        ({}, "session", SESSION, 0),
        ({}, "eventual", EVENTUAL, 0),
        ({}, "strict", STRICT, 0),
        ({"pgrouter.read_consistency": "Strict"}, "session", STRICT, 0),
        ({"pgrouter.read_consistency": "eventual"}, "strict", EVENTUAL, 0),
        ({"pgrouter.read_consistency": "no such thing"}, "strict", STRICT, 0),
        ({"pgrouter.min_lsn": "0/10"}, "session", SESSION, 16),
        ({"pgrouter.min_lsn": "0/2018"}, "session", SESSION, 8192),
        ({"pgrouter.min_lsn": ""}, "session", SESSION, 0),
        ({"pgrouter.min_lsn": "soon"}, "eventual", EVENTUAL, NOWHERE),
        ({"pgrouter.min_lsn": "FFFFFFFF/FFFFFFFF"}, "session", SESSION, NOWHERE),
    ],
)
def test_demands(settings: dict[str, str], configured: str, level: int, lsn: int) -> None:
    assert demands(settings, configured) == (level, lsn)
