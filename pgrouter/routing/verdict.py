"""What the data path needs to know about a statement, as fields that compiled code reads directly."""

from __future__ import annotations


class Verdict:
    """The summary of a `Statement`; created with it and never changed."""

    def __init__(self, reads: bool, quiet: bool, reason: str, draws: bool, writes: bool) -> None:  # noqa: FBT001 (C has no keyword arguments)
        self.reads = reads  # a replica may run it, unless the session's state forbids that
        self.stateless = quiet  # it leaves nothing behind and does nothing to the transaction
        self.reason = reason
        self.writes = writes  # it may change data: later reads may have to wait until a replica has caught up
        self.draws = draws  # it draws values from sequences, itself or in code that it runs
