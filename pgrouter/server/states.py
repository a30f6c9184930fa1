"""Where a server connection is in its life; `pool.member.MemberPool.move` is the only mover."""

from __future__ import annotations

DIALLING, LOGGING_IN, IDLE_STATE, ACTIVE, RESETTING, CLOSED = range(6)

# PgBouncer's words, as its SHOW SERVERS and SHOW POOLS have them
STATE_NAMES = ("new", "login", "idle", "active", "tested", "closed")
