"""Settings of a pool for one database or user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgrouter.config.load import parse
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pgrouter.config.settings import PoolSettings

BASE = "cluster: {source: static, members: [{name: a, host: h}]}\nauth: {type: trust}\n"
POOL = """
pool:
  size: 20
  query_timeout: 5s
  overrides:
    - {database: reports, size: 4, query_timeout: 10m}
    - {user: migrations, mode: session, query_timeout: 0}
    - {database: shop, user: batch, size: 2, pins: error}
"""


def pool(text: str = POOL) -> PoolSettings:
    return parse(BASE + text, Path()).pool


@pytest.mark.parametrize(
    ("database", "user", "mode", "size", "query_timeout_s", "pins"),
    [
        ("shop", "web", "transaction", 20, 5, "keep"),
        ("reports", "web", "transaction", 4, 600, "keep"),
        ("reports", "migrations", "session", 4, 0, "keep"),  # the later one wins
        ("shop", "migrations", "session", 20, 0, "keep"),
        ("shop", "batch", "transaction", 2, 5, "error"),
        ("reports", "batch", "transaction", 4, 600, "keep"),
        ("reports", "", "transaction", 4, 600, "keep"),  # nobody in particular
        ("", "migrations", "session", 20, 0, "keep"),
    ],
)
def test_of(database: str, user: str, mode: str, size: int, query_timeout_s: float, pins: str) -> None:  # noqa: PLR0917
    mine = pool().of(database, user)
    assert (mine.mode, mine.size, mine.query_timeout_s, mine.pins) == (mode, size, query_timeout_s, pins)


def test_nothing_overridden_is_the_same_object() -> None:
    settings = pool()
    assert settings.of("shop", "web") is settings


def test_problems_have_paths() -> None:
    with pytest.raises(ConfigError) as caught:
        pool("pool: {overrides: [{user: a, mode: statment}, {size: 0}, {databse: b}]}")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "pool.overrides[0].mode", "pool.overrides[1].size", "pool.overrides[2].databse",
    ]  # fmt: skip
