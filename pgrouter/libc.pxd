# The system calls that the compiled data plane makes itself: Python's own wrappers cost as much as the rest together.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
        int fd
        uint32_t u32
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL

# System calls without the C library, whose recv, send and epoll_wait take twice as long once a program has had a
# thread, because they are cancellation points.
cdef extern from "<sys/syscall.h>" nogil:
    long SYS_epoll_pwait
    long SYS_recvfrom
    long SYS_sendto

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef extern from "<sys/socket.h>" nogil:
    int MSG_NOSIGNAL
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    int accept4(int fd, sockaddr *peer, socklen_t *size, int flags)
    int SOCK_NONBLOCK
    int SOCK_CLOEXEC

cdef extern from "<arpa/inet.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        uint16_t sin_port
        in_addr sin_addr
    const char *inet_ntop(int family, const void *source, char *to, socklen_t size)
    uint16_t ntohs(uint16_t number)

cdef extern from "<string.h>" nogil:
    void *memcpy(void *to, const void *source, size_t n)
    int memcmp(const void *a, const void *b, size_t n)

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from "<errno.h>" nogil:
    int c_errno "errno"

cdef extern from "Python.h":
    ctypedef struct PyInterpreterState
    ctypedef struct PyThreadState
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *interpreter)
    PyThreadState *PyThreadState_Next(PyThreadState *thread)
    char *PyByteArray_AS_STRING(object o)
    char *PyBytes_AS_STRING(object o)
