"""DEALLOCATE, DISCARD ALL and SET, which take effect when they are executed: bound to a portal, they may never be.

Until then the client's names of prepared statements and its settings are as before.
"""

from __future__ import annotations

import cython

from pgrouter.protocol.framing import copied, end_of_string
from pgrouter.proxy.batch import DEALLOCATIONS, DEFERRED, Batch
from pgrouter.proxy.statements import FOLLOWS
from pgrouter.server.connection import ServerConnection

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import BIND, EXECUTE, QUERY
    from pgrouter.server.states import DISCARDS


class DeferredStatements:
    """The portals of such statements, and the deallocation that is outstanding; looked at while `batch.defers`."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.statements = batch.statements
        self.portals = {}  # statements by portal
        self.deallocating = None  # a DEALLOCATE or DISCARD ALL that is outstanding

    def follow(self, code: cython.int, buf, pos: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.bint:
        """Apply a Query, Bind or Execute that is being sent.

        Returns whether what follows must wait: a DEALLOCATE or DISCARD ALL must be answered before names are known.
        """
        statement = self.statements.class_requested(code, buf, pos, stop) if code != EXECUTE else None
        portal = b"" if code == QUERY else copied(buf, pos + 5, max(pos + 5, end_of_string(buf, pos + 5, stop)))
        if code == EXECUTE:
            statement = self.portals.get(portal)
        elif statement is FOLLOWS:
            statement = None
        if code == BIND:
            if statement is not None and (statement.tag in DEFERRED or statement.settings):
                self.portals[portal] = statement
            else:
                self.portals.pop(portal, None)
            return False
        if code == EXECUTE and statement is not None and statement.settings:
            self.batch.touch(statement.settings)
        if statement is not None and statement.tag == "EXECUTE":
            statement = self.statements.class_named(statement.prepared.encode()) if statement.prepared else None
        if statement is None or statement.tag not in DEALLOCATIONS:
            return False
        self.deallocating = statement
        self.batch.peer.watches |= DISCARDS  # the server's answer to it has to be examined
        if statement.tag == "DISCARD ALL" and self.batch.touched is not None:
            self.batch.touched.discard()
        return True

    def forget(self, server: ServerConnection) -> int:
        """Forget the portals of a transaction that is over, also a DEALLOCATE that was bound and not executed."""
        self.batch.defers = False
        self.portals = {}
        self.deallocating = None
        if server.session.sql_names:  # the statements that it got to deallocate are still there
            server.session.dirty = True
        return 0

    def deallocated(self, server: ServerConnection) -> int:
        """Forget what a DEALLOCATE or DISCARD ALL has deallocated."""
        if self.deallocating is not None:
            self.statements.deallocated(self.deallocating, server)
            self.deallocating = None
        return 0
