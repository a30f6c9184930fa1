"""asyncio's event loop, waiting in the poller: one epoll wait serves the data plane and asyncio alike.

asyncio itself handles what is not on the data path: tasks, timers, signals, name look-ups, the monitor's sockets. Those
sockets stay in the selector's own epoll set, which the poller watches as one descriptor; while there is traffic and
nothing for asyncio to do, its machinery does not run at all.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pgrouter.net.poller import Pollable, Poller

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable
    from concurrent.futures import Executor


class Loop(asyncio.SelectorEventLoop):
    """The event loop of a router; `poller` is the data plane's part of it."""

    def __init__(self, **poller: Any) -> None:
        self.poller = Poller(self, **poller)
        super().__init__(_Selector(self.poller))

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Call a function in a thread; by default one that ends with it, since the poller's wait is cheaper without."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        thread = ThreadPoolExecutor(1)
        future = super().run_in_executor(thread, func, *args)
        thread.shutdown(wait=False)
        return future

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback; from a stream's handler, it runs after the current round."""
        self.poller.call()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback; this ends the current wait, since it may be due before all others."""
        self.poller.call()
        return super().call_at(when, callback, *args, context=context)


class _Selector(selectors.EpollSelector):
    """asyncio's own sockets, seen through the poller."""

    def __init__(self, poller: Poller) -> None:
        super().__init__()
        self._poller = poller
        self._bell = _Bell(poller)
        poller.register(self._bell, self.fileno(), select.EPOLLIN)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Handle the data plane's events until asyncio has something to do; return its sockets that are ready."""
        if self._poller.paused:  # asyncio's alone
            return super().select(timeout)
        self._bell.rung = False
        self._poller.wait(-1.0 if timeout is None else max(timeout, 0.0))
        return super().select(0) if self._bell.rung else []

    def close(self) -> None:
        """Close the poller along with the loop."""
        super().close()
        self._poller.close()


class _Bell(Pollable):
    """Wakes the loop when one of asyncio's sockets is ready."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.rung = False

    def on_event(self, mask: int) -> int:  # noqa: ARG002  (asyncio polls by itself)
        """Wake it."""
        self.rung = True
        return self.poller.call()
