"""What a statement is to the data path, as bits of `Verdict.flags`."""

from __future__ import annotations

READS = 1  # a replica may run it, unless the session's state forbids that
WRITES = 2  # it may change data: later reads may have to wait until a replica has caught up
DRAWS = 4  # it draws values from sequences, itself or in code that it runs
STATELESS = 8  # it leaves nothing behind and does nothing to the transaction
