"""The state of a PostgreSQL session that a server connection has: settings, prepared statements, sequence values.

The server connection keeps it from client to client; what one client must not leave to the next is removed by DISCARD
ALL (`dirty`, `reset`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from pgrouter.server.peer import Peer
from pgrouter.session.prepared import SharedStatement, description

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import PARAMETER_DESCRIPTION, ROW_DESCRIPTION
    from pgrouter.protocol.requests import CHECK, CHECK_UNNAMED, CLOSE, PARSE, PARSE_NAMED

if TYPE_CHECKING:
    from pgrouter.session.settings import Profile


class ServerSession:
    """What the router knows of the session on a server."""

    def __init__(self) -> None:
        self.profile = None  # settings that differ from the server's own defaults
        self.stands_for = None  # the profile of a client that could not be restored, see `proxy.session_sync`
        self.custom = None  # custom settings once set here, which stay defined: their reset value is "" and not NULL
        self.unnamed = None  # the Parse message of its unnamed statement
        self.prepared = {}  # shared statements by their ids, least recently used first
        self.evicted = {}  # those whose Close may not have been answered
        self.sql_names = ()  # the client's own names of its statements here, see `proxy.sql_names`
        self.sequence_owner = None  # the client that wrote last: currval and lastval are its own
        self.sequences_used = False  # and it has taken values from sequences
        self.dirty = False  # it has state of its last client, to be discarded before another gets it
        self.discarded = False  # a DISCARD ALL of the client was executed
        self.changed = None  # a shared statement that the server describes differently than before
        self.parameters = b""  # of the statement that it is describing
        self.descriptions = []  # of those that it has described, oldest first

    def reset(self, profile: Profile) -> int:
        """Called when the server has discarded all; `profile`: the settings that it has now."""
        self.profile = profile
        self.stands_for = None
        self.prepared.clear()
        self.sql_names = ()
        self.sequence_owner = None
        self.dirty = False
        self.discarded = False
        self.changed = None
        return 0

    def meet(self, custom) -> int:
        """Record that custom settings of these names have been set here."""
        if custom:
            self.custom = custom if self.custom is None else self.custom | custom
        return 0

    # -- descriptions of prepared statements

    def described(self, code: cython.int, body: bytes) -> int:
        """Keep the server's description of a statement that it has parsed; ValueError: it is none."""
        if code == PARAMETER_DESCRIPTION:
            self.parameters = body
        else:
            self.descriptions.append(description(self.parameters, body if code == ROW_DESCRIPTION else None))
            self.parameters = b""
        return 0

    def next_description(self, done: cython.bint) -> bytes | None:
        """Return the oldest description; None if the statement was not described."""
        return self.descriptions.pop(0) if done else None

    def apply_events(self, events: list, server, peer: Peer | None) -> cython.bint:
        """Apply the fate of prepared statements (request, statement id, done); whether the peer retries its batch."""
        left: cython.bint = False
        for kind, ident, done in events:
            if kind == CHECK_UNNAMED:
                left = self.checked_unnamed(ident, done, None if left else peer) or left
            elif kind == CHECK:
                left = self.checked(ident, done, server, None if left else peer) or left
            elif not done and ident:
                if kind == CLOSE:  # the server has it still
                    self.prepared[ident] = self.evicted[ident]
                elif kind in (PARSE, PARSE_NAMED):
                    self.prepared.pop(ident, None)
        return left

    def checked_unnamed(self, ident: cython.uint, done: cython.bint, peer: Peer | None) -> cython.bint:
        """Called when the client's unnamed statement was described, or not, at its request or at ours."""
        known: bytes = self.next_description(done)
        return peer is not None and peer.on_unnamed(ident, known)

    def checked(self, ident: cython.uint, done: cython.bint, server, peer: Peer | None) -> cython.bint:
        """Called when a shared statement was described, or not."""
        known: bytes = self.next_description(done)
        shared: SharedStatement = self.compare(ident, known, server)
        if shared is None or peer is None:
            return False
        self.changed = shared
        if not peer.on_changed(shared, known):
            return False
        self.changed = None
        return True

    def compare(self, ident: cython.uint, known: bytes | None, server) -> SharedStatement | None:
        """Compare a description of a shared statement, None if there is none, with the first one, of any server.

        Returns the statement if they differ: it does not count as prepared then, and is of no use to others.
        """
        shared: SharedStatement = self.prepared.get(ident, self.evicted.get(ident))
        if shared is None:
            return None
        if shared.first is server:
            shared.first = None
        if shared.description is None:
            shared.description = known
        if known is None or known != shared.description:
            self.prepared.pop(ident, None)
        if known is None or known == shared.description:
            return None
        self.dirty = True  # it holds the statement under a name that means something else on other servers
        return shared
