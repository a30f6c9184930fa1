"""The loop that streams live in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pgrouter.net.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine], object]]:
    """Give what runs a coroutine in the router's loop."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        yield runner.run
