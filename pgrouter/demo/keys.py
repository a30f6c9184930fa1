"""Single key presses from a terminal, without Enter and without echo."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def key_reader(*, wanted: bool) -> Iterator[Callable[[float], str]]:
    """Yield a function that waits some seconds for a key and returns it, or ''; the terminal is restored in the end.

    Without a terminal, or in the background, where reading from it would stop us, the function only waits.
    """
    if not wanted or not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield wait_only
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield read_key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def wait_only(timeout_s: float) -> str:
    """Wait, and return no key."""
    time.sleep(timeout_s)
    return ""


def read_key(timeout_s: float) -> str:
    """Wait for a key and return it, '' if there was none."""
    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return ""
    typed = os.read(sys.stdin.fileno(), 1)
    return typed.decode(errors="replace") or wait_only(timeout_s)  # b"": the terminal was closed
