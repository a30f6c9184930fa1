"""The two loops that what follows the cluster lives in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgrouter.net.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.fixture(params=["asyncio", "the router's loop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Give what runs a coroutine: in asyncio's own loop, and in the router's."""
    return asyncio.run if request.param == "asyncio" else _in_the_routers_loop


def _in_the_routers_loop(story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(story)
