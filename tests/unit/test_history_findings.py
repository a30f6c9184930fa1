"""The checker of histories finds what it is for."""

from __future__ import annotations

import pytest
from support.history import Deed, findings

READ, OWN = "read", "read of the primary"


@pytest.mark.parametrize(
    ("deeds", "rows", "wrong"),
    [
        ([Deed(1, "write", 1), Deed(1, READ, 1), Deed(1, OWN, 1)], [(1, 1)], {}),
        ([Deed(1, "write", 1), Deed(1, "write", 2)], [(1, 2)], {"lost": 1}),
        ([Deed(1, "write", 1)], [(1, 1), (1, 1)], {"doubled": 1}),
        ([Deed(1, "write", 1, "unknown")], [(1, 1), (1, 1)], {"doubled": 1}),
        ([Deed(1, "write", 1, "unknown")], [], {}),
        ([Deed(1, "write", 1, "unknown")], [(1, 1)], {}),
        ([Deed(1, "write", 1, "refused")], [(1, 1)], {"undone": 1}),
        ([Deed(1, "write", 1, "unknown"), Deed(1, READ, 1)], [], {"phantoms": 1}),
        ([Deed(1, "write", 1), Deed(1, READ, 0)], [(1, 1)], {"stale": 1}),
        ([Deed(1, "write", 1), Deed(1, OWN, 0)], [(1, 1)], {"missed": 1}),
        ([Deed(1, "write", 1), Deed(2, OWN, 0)], [(1, 1)], {}),  # somebody else's
        ([Deed(1, "write", 1), Deed(1, "write", 2, "unknown"), Deed(1, OWN, 1), Deed(1, OWN, 2)], [(1, 1), (1, 2)], {}),
        ([Deed(1, "write", 1), Deed(1, OWN, 0, "unknown")], [(1, 1)], {}),  # it saw nothing
    ],
)
def test_findings(deeds: list[Deed], rows: list[tuple[int, int]], wrong: dict[str, int]) -> None:
    found = findings(deeds, rows)
    assert {name: len(what) for name, what in vars(found).items() if what} == wrong
    assert found.wrong(stale_reads=True) == bool(wrong.keys() - {"stale"})
    assert found.wrong(stale_reads=False) == bool(wrong)
