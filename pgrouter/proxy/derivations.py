"""Has SCRAM keys derived in the background, one after the other, for logins whose secrets have many iterations.

Each takes a good part of a second, and whoever can connect can ask for one. So the addresses that ask take turns, and
none may have more than its share waiting. Logins with the same password and secret share one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.auth.scram import ScramKeys
    from pgrouter.auth.secret import Derivation
    from pgrouter.net.poller import Poller

    Then = Callable[[ScramKeys], None]

MOST = 256  # that wait, in all
MOST_OF_ONE = 64  # address


class Derivations:
    """Those that wait, by the address that has asked; the one that has waited longest is next."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._waiting: dict[str, deque[Derivation]] = {}
        self._thens: dict[Derivation, list[Then]] = {}  # what is called, also for the one that is running
        self._runs = False

    def request(self, address: str, wanted: Derivation, then: Then) -> bool:
        """Have keys derived, and `then` called with them; False: too many wait already."""
        if wanted in self._thens:
            self._thens[wanted].append(then)
            return True
        queue = self._waiting.get(address, ())
        if len(self._thens) >= MOST or len(queue) >= MOST_OF_ONE:
            return False
        self._waiting.setdefault(address, deque()).append(wanted)
        self._thens[wanted] = [then]
        if not self._runs:
            self._next()
        return True

    def _next(self) -> None:
        self._runs = bool(self._waiting)
        if not self._runs:
            return
        address = next(iter(self._waiting))
        queue = self._waiting.pop(address)
        wanted = queue.popleft()
        if queue:  # behind the other addresses
            self._waiting[address] = queue
        self._poller.aside(wanted.run, lambda keys: self._done(wanted, keys))

    def _done(self, wanted: Derivation, keys: ScramKeys) -> None:
        thens = self._thens.pop(wanted)
        self._next()
        for then in thens:
            then(keys)
