"""Facts about a batch and its link, as bits: each group lives as long as its field and is cleared at once."""

from __future__ import annotations

# Batch.decided, with the flags of `routing.flags`: where the batch may run
REPEATABLE = 16  # its statements only read or begin a transaction, wherever it runs

# Batch.sent: what has been sent and not been answered
ENDS = 1  # a COMMIT or ROLLBACK
BEGINS = 2  # a BEGIN
COMMITS = 4  # a COMMIT
OVER = 8  # no transaction is open after it
UNUSUAL = 16  # some of it is not sent unchanged, see `Requester.request_unusual`

# Batch.traits: the session
PLAIN = 1  # nothing in its state matters for routing
SPLIT = 2  # the next statement may belong to another server
READS_NOTHING = 4  # a batch without statements may go to a replica
HAS_STARTUP = 8  # the startup packet had settings, which RESET restores

# Requester.sent: since the link, or since ReadyForQuery with nothing outstanding
ASKED = 1  # a request
OPEN = 2  # frames after the last Sync, Query or FunctionCall

# Requester.sequences: whose sequence values the linked server remembers
FOREIGN = 0  # maybe another client's
OWN = 1  # no other client's
TO_DISCARD = 2  # no other client's, once they have been discarded
