"""What the data path needs to know about a statement, as fields that compiled code reads directly."""

from __future__ import annotations

from pgrouter.routing.flags import DRAWS, READS, STATELESS, WRITES
from pgrouter.routing.usage import Usage


class Verdict:
    """The summary of a `Statement` (`routing.flags`); created with it and never changed."""

    def __init__(self, flags: int, reason: str, usage: Usage | None = None) -> None:
        self.flags = flags
        self.reason = reason
        self.usage = usage  # what is counted of the statement; None: nothing

    @property
    def reads(self) -> bool:
        """Whether a replica may run it, unless the session's state forbids that."""
        return bool(self.flags & READS)

    @property
    def writes(self) -> bool:
        """Whether it may change data."""
        return bool(self.flags & WRITES)

    @property
    def draws(self) -> bool:
        """Whether it draws values from sequences."""
        return bool(self.flags & DRAWS)

    @property
    def stateless(self) -> bool:
        """Whether it leaves nothing behind."""
        return bool(self.flags & STATELESS)
