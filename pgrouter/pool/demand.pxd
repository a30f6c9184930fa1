cimport cython

from pgrouter.pool.kinds cimport READ, WRITE
from pgrouter.pool.member cimport MemberPool
from pgrouter.server.connection cimport ServerConnection

@cython.final
cdef class Demand:
    cdef public int kind
    cdef public bint reads
    cdef public double must_see_s
    cdef public long long must_see_lsn
    cdef public ServerConnection server
    cdef public MemberPool avoid
