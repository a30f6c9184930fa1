"""What a client has from its login to its logout, whatever server it is linked to."""

from __future__ import annotations

import cython

from pgrouter.proxy.statements import ClientStatements
from pgrouter.server.connection import ServerConnection
from pgrouter.session.consistency import EVENTUAL, SESSION


class Session:
    """A client's session: its pool, settings, prepared statements, and what ties it to a server."""

    def __init__(self) -> None:
        self.pool = None  # set by login, as are profile and startup_profile
        self.profile = None  # its settings
        self.startup_profile = None  # those that RESET restores
        self.statements = ClientStatements()
        self.reported = {}  # values of ParameterStatus, kept if the startup packet had settings
        self.consistency = SESSION  # whose writes its reads must see
        self.must_see_lsn = 0  # and the WAL up to here
        self.wrote_s = -1.0  # when its last write was answered
        self.last_write_server = None  # the server that it wrote to last
        self.pin = None  # why the server is kept past the transaction
        self.pinned_at = 0.0  # and since when
        self.leftovers = 0  # Effect flags of the state that it has there

    def must_see_s(self) -> cython.double:
        """Return the time up to which a read must see writes; -1: none."""
        if self.consistency == EVENTUAL:
            return -1.0
        return self.wrote_s if self.consistency == SESSION else max(self.wrote_s, self.pool.writes.last_s)

    def note_write(self, now_s: cython.double) -> int:
        """Record a write that was answered, or that may be committed without an answer: later reads must see it.

        `now_s`: not the time of the current round, which may be before the commit.
        """
        self.wrote_s = now_s
        self.pool.writes.last_s = now_s
        return 0

    def has_drawn(self, server: ServerConnection) -> cython.bint:
        """Whether we were the last to write to this server and took sequence values: none are another client's."""
        return (
            server.session.sequence_owner is self and server is self.last_write_server and server.session.sequences_used
        )

    def owns_sequences(self, server: ServerConnection | None) -> cython.bint:
        """Whether the sequence values that this server remembers are ours."""
        if server is None or server.closed:
            return False
        return self.has_drawn(server) or (self.pool.sequences and server.session.sequence_owner is self)
