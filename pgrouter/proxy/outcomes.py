"""What the scanner finds at the beginning of a client's bytes, see `proxy.scanner`."""

from __future__ import annotations

MORE = 0  # more bytes are needed
UNCLASSIFIED = 1  # a statement is to be classified first
READY = 2  # a batch that needs a server
EMPTY = 3  # only Sync or Flush
REFUSED = 4  # a statement that the client may not send, at its beginning
STRAY_COPY = 5  # a message of COPY outside of one: PostgreSQL ignores it, too
TERMINATED = 6  # Terminate
INVALID = 7  # no message
