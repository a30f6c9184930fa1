cimport cython

from pgrouter.protocol.framing cimport frontend_kind
from pgrouter.proxy.statements cimport ClientStatements
from pgrouter.routing.verdict cimport Verdict
from pgrouter.server.peer cimport Peer
from pgrouter.protocol.codes cimport BIND, COPY, DESCRIBE, FUNCTION_CALL, PARSE, QUERY
from pgrouter.proxy.flags cimport (
    BEGINS, COMMITS, ENDS, HAS_STARTUP, OVER, PLAIN, READS_NOTHING, REPEATABLE, SPLIT, UNUSUAL
)
from pgrouter.routing.flags cimport DRAWS, READS, STATELESS, WRITES
from pgrouter.server.states cimport DISCARDS, RESETS

cdef int CODE, DATABASE, DEALLOCATE, DISCARD, OBJECTS, REPLACED, SEQUENCES, UNSEEN
cdef tuple BEGINNINGS, ENDINGS
cdef str HINT
cdef object UNREAD
cdef int LATER

@cython.final
cdef class Tally:
    cdef public long long count

@cython.final
cdef class RouteCounts:
    cdef Tally last
    cdef str last_reason
    cdef bint last_reads
    cdef dict reads
    cdef dict writes

    cpdef int add(self, str reason, bint reads, int times=*) except -1

@cython.final
cdef class Batch:
    cdef readonly int decided
    cdef readonly int sent
    cdef public int effects
    cdef readonly int traits
    cdef object last
    cdef readonly Verdict verdict
    cdef public str reason
    cdef readonly Peer peer
    cdef readonly ClientStatements statements
    cdef public object touched
    cdef readonly int forbidden
    cdef public bint defers
    cdef readonly object facts
    cdef public object close_unused_databases

    cpdef int follow(self, object facts) except -1
    cpdef int begin_session(self, bint has_startup) except -1
    cpdef int forbid(self, int what) except -1
    cpdef int send_to(self, bint reads, str reason) except -1
    cpdef bint may_use_replica(self) noexcept
    cdef bint needs_own_server(self) noexcept
    cdef int begin(self) except -1
    cdef bint measured(self, double took_s, bint on_replica) except -1
    cdef int too_long(self) except -1
    cdef int unfinished(self) except -1
    cdef int unseen(self) except -1
    cpdef int answered(self) except -1
    cpdef int settled(self) except -1
    cpdef int taken_back(self) except -1
    cpdef int begun(self) except -1
    cdef int moved(self) except -1
    cdef int examine(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -2
    cdef int ambiguous(self) except -1
    cdef int examine_effects(self, int code, object statement) except -1
    cdef int refusal(self, int code, const unsigned char *buf, Py_ssize_t pos, Py_ssize_t stop) except -1
    cdef int route(self, object statement) except -1
    cdef bint goes_on(self) except -1
    cdef int note(self, object statement) except -1
    cdef int touch(self, object settings) except -1
