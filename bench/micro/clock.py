"""How long a call takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7


def best_ns(call: Callable[[], object], repeats: int) -> float:
    """Give the nanoseconds of one call in the fastest round: the machine's noise only adds."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(repeats):
            call()
        rounds.append((time.perf_counter_ns() - begin) / repeats)
    return min(rounds)
