"""Finds the end of a client's batch: Query, FunctionCall, Sync or Flush.

Each message is examined once (`Batch.examine`), however small the pieces in which the batch arrives.
"""

from __future__ import annotations

import cython

from pgrouter.protocol.framing import frontend_kind, impossible
from pgrouter.proxy.batch import Batch
from pgrouter.proxy.link import MAX_BATCH
from pgrouter.routing.cache import LATER

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND,
        COPY,
        ENDS_BATCH,
        EXECUTE,
        FLUSH,
        LAST,
        MAX_SMALL_MESSAGE,
        SYNC,
        UNKNOWN,
    )
    from pgrouter.proxy.outcomes import (
        EMPTY,
        INVALID,
        MORE,
        READY,
        REFUSED,
        STRAY_COPY,
        TERMINATED,
        UNCLASSIFIED,
    )


class BatchScanner:
    """How far the current batch has been examined; `scan` returns one of `proxy.outcomes`."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.scanned = 0  # bytes already examined of a batch that is not complete or not classified yet
        self.executes = False  # and whether it executes something
        self.judge = None  # the cache that has classified its statements
        self.at = 0  # where it ends: READY, EMPTY; where its last message ends: STRAY_COPY, INVALID
        self.need = 0  # its size up to the end of an incomplete message: MORE
        self.code = 0  # of its last message
        self.refusal = 0  # REFUSED, see `session.refusals`

    def scan(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Examine the batch that begins at pos, from where the last call has left off."""
        code: cython.int
        kind: cython.int
        high: cython.uint
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        at: cython.Py_ssize_t = pos
        needs_server: cython.bint = False
        executes: cython.bint = False
        refusal: cython.int
        batch: Batch = self.batch
        if self.scanned == 0:
            batch.begin()
        else:
            if self.judge is batch.statements.cache:
                at += self.scanned
                needs_server = True
                executes = self.executes
            else:
                batch.begin()
            self.scanned = 0
        self.need = 0
        while True:
            if end - at < 5:
                return self.stop(MORE, pos, at, executes)
            code = buf[at]
            high = buf[at + 1]  # as `length_at` does, without the call
            length = high << 24 | buf[at + 2] << 16 | buf[at + 3] << 8 | buf[at + 4]
            kind = frontend_kind(code)
            stop = at + 1 + length
            if (kind == UNKNOWN or length < 4 or length > MAX_SMALL_MESSAGE) and impossible(code, length):
                self.code = code
                self.at = stop
                return INVALID
            if kind == LAST:
                return TERMINATED
            if kind == COPY and at == pos:
                self.at = stop
                return STRAY_COPY
            if stop > end:
                if stop - pos <= MAX_BATCH:
                    self.need = stop - pos
                    return self.stop(MORE, pos, at, executes)
                batch.too_long()
                needs_server = True
                break
            if (code != SYNC and code != FLUSH) or length != 4:
                needs_server = True
                executes = executes or code == BIND or code == EXECUTE
                refusal = batch.examine(code, buf, at, stop)
                if refusal:
                    if refusal == LATER:
                        return self.stop(UNCLASSIFIED, pos, at, executes)
                    if at == pos:  # nothing before it needs a server
                        self.code = code
                        self.refusal = refusal
                        return REFUSED
            at = stop
            if kind == ENDS_BATCH:
                break
        self.code = code
        self.at = at
        if not needs_server:
            return EMPTY
        if executes and code == FLUSH:
            batch.unfinished()
        return READY

    def stop(
        self, outcome: cython.int, pos: cython.Py_ssize_t, at: cython.Py_ssize_t, executes: cython.bint
    ) -> cython.int:
        """Store that the batch at pos was examined up to `at`."""
        self.scanned = at - pos
        self.executes = executes
        self.judge = self.batch.statements.cache
        return outcome
