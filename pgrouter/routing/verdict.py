"""What the data path asks of a statement, where compiled code reads it without Python's help."""

from __future__ import annotations


class Verdict:
    """The short of a `Statement`; made with it and never changed."""

    def __init__(self, reads: bool, quiet: bool, reason: str, draws: bool, writes: bool) -> None:  # noqa: FBT001 (C has no keyword arguments)
        self.reads = reads  # a replica may have it, unless something about the session speaks against that
        self.stateless = quiet  # it leaves nothing behind and does nothing to the transaction
        self.reason = reason
        self.writes = writes  # replicas may have to catch up before they show what it has done
        self.draws = draws  # it takes values from sequences, by what it says or by code that it runs
