"""The requests that `outstanding` keeps account of, and what is done with their answers."""

from __future__ import annotations

# What to do with an answer
FORWARD, SKIP, FAKE = range(3)
OUT_OF_SYNC = -1

# PARSE_NAMED: of a client's named statement; what became of it is reported.
NOTHING, QUERY, FUNCTION, PARSE, PARSE_NAMED, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, COPY_END = range(11)
