"""Where a server connection is in its life; `pool.member.MemberPool.move` is the only mover."""

from __future__ import annotations

DIALLING, LOGGING_IN, IDLE_STATE, ACTIVE, RESETTING, CLOSED = range(6)

# Whether what its client sends passes on to it
PASSES = 0
ASKING = 1  # not now: the router asks something of its own, up to ReadyForQuery
WAITING = 2  # the next message waits for the answers to what it has got before, with ReadyForQuery or without

# PgBouncer's words, as its SHOW SERVERS and SHOW POOLS have them
STATE_NAMES = ("new", "login", "idle", "active", "tested", "closed")
