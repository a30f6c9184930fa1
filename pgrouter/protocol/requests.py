"""The requests that `outstanding` tracks, and what is done with their answers."""

from __future__ import annotations

# What to do with an answer
FORWARD, SKIP, FAKE = range(3)
OUT_OF_SYNC = -1
LATER = -3  # nothing yet: it is processed in the next round

# PARSE_NAMED, CLOSE_NAMED: of a client's named statement; their fate is reported. The latter is always faked.
NOTHING, QUERY, FUNCTION, PARSE, PARSE_NAMED, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, COPY_END, CLOSE_NAMED = range(12)

# An unparsable text in place of a statement, of either protocol, that the client may not send
REFUSED, REFUSED_QUERY = range(12, 14)

# A Parse and a Close of the client's unnamed statement; those (and a Query) that were not reached are reported with the
# number of the change, and a Parse that was reached and failed as PARSE_FAILED, which is never a request itself.
PARSE_UNNAMED, CLOSE_UNNAMED, PARSE_FAILED = range(14, 17)

# A Describe of ours after the Parse of a shared statement, and one of the unnamed statement, ours or the client's: the
# answer is kept, and its fate is reported
CHECK, CHECK_UNNAMED = range(17, 19)

# What the id of a request is; 0 where there is none:
#   PARSE, PARSE_NAMED, CLOSE, CLOSE_NAMED, CHECK       the number of the shared statement
#   QUERY, PARSE_UNNAMED, CLOSE_UNNAMED, PARSE_FAILED   the number of the change of the unnamed statement
#   CHECK_UNNAMED                                       who has asked, the router or the client
#   REFUSED, REFUSED_QUERY                              the number of the refusal, whose error is the answer

# What a message from the server means for the request at the front
WRONG, PART, ENDS, ABORTS = range(4)

SHIFT = 2  # an entry is ident << 8 | request << SHIFT | action
