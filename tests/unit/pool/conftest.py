"""A world that is closed in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pool_ground import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """Make worlds by their pool settings."""
    made: list[World] = []

    def make(**settings: float) -> World:
        made.append(World(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
