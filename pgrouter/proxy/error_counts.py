"""Errors that clients got, counted by SQLSTATE."""

from __future__ import annotations

import re
from collections import Counter

MOST = 300  # PostgreSQL has some 260; a client can make a server raise any
OTHER = "other"

BY_SERVER, BY_ROUTER, AT_LOGIN = "server", "router", "login"  # who says it, and when

_SQLSTATE = re.compile(r"[0-9A-Z]{5}", re.ASCII)


class ErrorCounts:
    """The errors of all clients, by who said them and SQLSTATE; what is odd, or one too many, is counted as other."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, source: str, sqlstate: str) -> None:
        """Count one."""
        key = source, sqlstate
        if key not in self.counts and (len(self.counts) >= MOST or not _SQLSTATE.fullmatch(sqlstate)):
            key = source, OTHER
        self.counts[key] += 1
