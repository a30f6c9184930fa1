"""The states of a server connection; only `pool.member.MemberPool` changes them, in `move` and `take`."""

from __future__ import annotations

DIALLING, LOGGING_IN, IDLE_STATE, ACTIVE, RESETTING, CLOSED = range(6)

# Whether its client's messages are forwarded to it
FORWARDING = 0
ROUTER_ASKS = 1  # not now: a request of the router's own is running, up to ReadyForQuery
AWAITS_ANSWERS = 2  # the next message waits for the answers to the previous ones, with or without ReadyForQuery

# Why a batch may be retried, as bits: see `server.replay`
ON_LOSS = 1  # the server is lost: the batch only reads
ON_REFUSAL = 2  # the server refuses it: it is a replica

# PgBouncer's names, as in its SHOW SERVERS and SHOW POOLS
STATE_NAMES = ("new", "login", "idle", "active", "tested", "closed")

# What a client has sent that concerns the answers of its server, as bits of `Peer.watches`
RESETS = 1  # a RESET, or DISCARD ALL: `Peer.before_ready` is called before ReadyForQuery
DISCARDS = 2  # a DEALLOCATE or DISCARD ALL: `Peer.on_deallocated` is called when it has been executed
