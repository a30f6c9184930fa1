"""Streams: one recv into the shared buffer, one `on_data`, and whatever that sends goes out with one send.

Only bytes that a socket does not accept are copied and sent later. The buffer passed to `on_data` belongs to the
poller: it is valid during the call only. What `on_data` does not use (it returns how far it got) is kept by the stream
and passed again, in front of the next bytes. Between a stream and its socket there may be TLS: see `net.sealed`.
"""

from __future__ import annotations

import errno
import os
import select
import socket

import cython

from pgrouter.net.outbound import connecting
from pgrouter.net.poller import HEADROOM, Pollable, Poller
from pgrouter.net.send_buffer import SendBuffer

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR
# Edge-triggered: the kernel does not check each reported socket again. So whatever one recv may have left must be
# asked for again: after a full buffer, and when the peer has closed.
EDGE = select.EPOLLET | select.EPOLLRDHUP
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

CLOSED_BY_PEER = "connection closed by peer"
RESET_BY_PEER = "connection reset by peer"

AGAIN = -1
FAILED = -2
EAGAIN = errno.EAGAIN
EINTR = errno.EINTR


class Stream(Pollable):
    """A non-blocking socket whose input is kept until it is used and whose output never blocks.

    Subclasses handle the bytes: `on_data` (returns how far it got), `on_eof`, `on_drained`; of a connection that they
    `dial` also `on_connected` or `on_unreachable`, and with TLS `on_secured`.
    """

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.sock = None
        self.fd = -1
        self.mask = 0
        self.closed = False
        self.direct = False  # bytes can pass as they are: attached, not sealed, nothing pending, not broken
        self.broken = False  # the socket accepts no more bytes
        self.partial = None  # received, not yet used
        self.buffered = 0
        self.put_aside = False  # the kept bytes are processed in the next round
        self.need = 0  # for a large incomplete frame: not processed again before so many bytes have come
        self.pending = None  # to be sent, not yet accepted by the socket
        self.pending_start = 0
        self.sealed = None  # TLS, see `net.sealed`
        self.received = 0  # bytes, without what TLS adds
        self.sent = 0

    # -- the socket

    def dial(self, family: cython.int, address, socket_options=()) -> int:
        """Start to connect; `on_connected` or `on_unreachable` follows, the latter maybe before this returns."""
        try:
            sock = connecting(family, address, socket_options)
        except OSError as error:
            return self.on_unreachable(error.strerror or str(error))
        return self.attach(sock, READ | WRITE)

    def attach(self, sock, mask: cython.uint) -> int:
        """Own `sock` from now on, watching it for `mask`."""
        self.sock = sock
        self.fd = sock.fileno()
        self.mask = mask
        self.direct = True
        self.poller.register(self, self.fd, mask | EDGE)
        return 0

    def set_interest(self, mask: cython.uint) -> int:
        """Watch for `mask`; makes a system call only if it differs."""
        if mask != self.mask and self.fd >= 0:
            self.mask = mask
            self.poller.modify(self.fd, mask | EDGE)
        return 0

    def pause(self) -> int:
        """Stop reading: the receiver of these bytes has no room."""
        return self.set_interest(self.mask & ~READ)

    def resume(self) -> int:
        """Resume reading."""
        return self.set_interest(self.mask | READ)

    def read_on(self) -> int:
        """Resume reading if it is paused."""
        if self.mask & READ == 0:
            self.set_interest(self.mask | READ)
        return 0

    def close(self) -> int:
        """Close the socket now; unsent bytes are lost. May be called twice."""
        if not self.closed:
            if self.sealed is not None:
                self.sealed.finish()
            self.closed = True
            self.direct = False
            if self.fd >= 0:
                self.poller.unregister(self.fd)
                self.sock.close()
                self.fd = -1
            self.partial = None
            self.buffered = 0
            self.pending = None
        return 0

    # -- receiving

    def event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        if mask & WRITE:
            self.flush_pending()
        if mask & READ or (mask & GONE and not self.closed and not self.put_aside):
            if self.direct or (self.sealed is None and self.fd >= 0):
                self.readable(mask)
            elif self.fd >= 0:
                self.sealed.readable(mask)
        return 0

    def on_event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        return self.event(mask)

    def readable(self, mask: cython.uint) -> int:
        """One recv, one `on_data`."""
        room: cython.Py_ssize_t = self.poller.size - HEADROOM
        n: cython.Py_ssize_t = self.receive(room)
        if n > 0:
            self.received += n
            self.take(n)
            if n == room or mask & ENDED:
                self.read_rest()
        elif n != AGAIN:
            self.on_eof(CLOSED_BY_PEER if n == 0 else RESET_BY_PEER)
        return 0

    def read_rest(self) -> int:
        """Ask for an event again: the last recv may not have got all, and the kernel reports only what is new."""
        if self.fd >= 0:
            self.poller.modify(self.fd, self.mask | EDGE)
        return 0

    def take(self, n: cython.Py_ssize_t) -> int:
        """Pass n newly received bytes, preceded by those that were kept, to `on_data`."""
        begin: cython.Py_ssize_t = HEADROOM
        used: cython.Py_ssize_t
        if self.buffered > HEADROOM:
            self.partial += memoryview(self.poller.buffer)[HEADROOM : HEADROOM + n]
            self.buffered += n
            if self.buffered >= self.need:
                self.process_partial()
            return 0
        self.need = 0
        if self.buffered:
            begin -= self.buffered
            if cython.compiled:
                libc.memcpy(
                    self.poller.memory + begin,
                    libc.PyByteArray_AS_STRING(self.partial),
                    self.buffered,
                )
            else:
                self.poller.buffer[begin:HEADROOM] = self.partial
            self.partial = None
            self.buffered = 0
        memory = self.poller.memory if cython.compiled else self.poller.buffer
        used = self.on_data(memory, begin, HEADROOM + n)
        if used < HEADROOM + n and not self.closed:
            self.keep(memory, used, HEADROOM + n)
        return 0

    def keep(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Keep buf[start:end] for the next call."""
        if cython.compiled:
            self.partial = bytearray(buf[start:end])
        else:
            self.partial = bytearray(memoryview(buf)[start:end])
        self.buffered = end - start
        return 0

    def process_partial(self) -> int:
        """Pass the kept bytes to `on_data` again (something else changed, or enough has come)."""
        data: bytearray = self.partial
        size: cython.Py_ssize_t = self.buffered
        used: cython.Py_ssize_t
        if not size or self.put_aside:
            return 0
        self.partial = None
        self.buffered = 0
        self.need = 0
        memory = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(data)) if cython.compiled else data
        used = self.on_data(memory, 0, size)
        if used < size and not self.closed:
            del data[:used]
            self.partial = data
            self.buffered = size - used
        return 0

    def put_off(self) -> int:
        """Yield to other streams: unused bytes are processed in the next round, and nothing is read before that."""
        if not self.put_aside and not self.closed:
            self.put_aside = True
            self.pause()
            self.poller.put_off(self)
        return 0

    def turn(self) -> int:
        """Continue the work that was put off."""
        self.put_aside = False
        if not self.closed:
            self.resume()
            self.process_partial()
        return 0

    def unread(self, data: bytes) -> int:
        """Put bytes in front of those that are kept: the next `process_partial` passes them (again)."""
        self.partial = bytearray(data) + self.partial if self.buffered else bytearray(data)
        self.buffered += len(data)
        self.need = 0
        return 0

    def receive(self, room: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Read once, at most `room` bytes, to the poller's buffer after the headroom; 0 at the end, AGAIN or FAILED."""
        if cython.compiled:
            n: cython.Py_ssize_t = libc.syscall(
                libc.SYS_recvfrom, self.fd, self.poller.memory + HEADROOM, room, 0, cython.NULL, cython.NULL
            )
            if n < 0:
                return AGAIN if libc.c_errno in (EAGAIN, EINTR) else FAILED
            return n
        try:
            return self.sock.recv_into(memoryview(self.poller.buffer)[HEADROOM : HEADROOM + room])
        except (BlockingIOError, InterruptedError):
            return AGAIN
        except OSError:
            return FAILED

    # -- sending

    def transmit(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Send once; return how many bytes the socket accepted, or FAILED."""
        if cython.compiled:
            n: cython.Py_ssize_t = libc.syscall(
                libc.SYS_sendto, self.fd, buf + start, end - start, libc.MSG_NOSIGNAL, cython.NULL, 0
            )
            if n < 0:
                return 0 if libc.c_errno in (EAGAIN, EINTR) else FAILED
            return n
        try:
            return self.sock.send(memoryview(buf)[start:end], socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return FAILED

    def send(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Send buf[start:end]: 0 all sent, 1 some pending (stop feeding), -1 the peer is gone.

        After -1 nothing is closed yet: the read side may still have the peer's last messages, and will see the end.
        """
        n: cython.Py_ssize_t
        if not self.direct:
            return self.send_indirectly(buf, start, end)
        n = self.transmit(buf, start, end)
        if n == end - start:
            self.sent += n
            return 0
        if n == FAILED:
            return self.mark_broken()
        self.sent += n
        self.defer(buf, start + n, end)
        return 1

    def send_indirectly(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """As `send`, if the bytes have to wait behind others or to be sealed."""
        if self.fd < 0 or self.broken:
            return -1
        if self.sealed is not None:
            return self.sealed.send(buf, start, end)
        self.defer(buf, start, end)
        return 1

    def mark_broken(self) -> int:
        """Called when the socket has failed to send: what the peer has sent before is still read."""
        self.broken = True
        self.direct = False
        self.resume()
        return -1

    def send_gathered(self, gather: SendBuffer) -> int:
        """Send the collected bytes with one call, and empty the buffer."""
        result: cython.int = 0
        if gather.used:
            if cython.compiled:
                memory: cython.p_uchar = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(gather.scratch))
                result = self.send(memory, 0, gather.used)
            else:
                result = self.send(gather.scratch, 0, gather.used)
            gather.shrink()
        elif gather.start < gather.end:
            if cython.compiled:
                result = self.send(gather.source, gather.start, gather.end)
            else:
                result = self.send(gather.py_source, gather.start, gather.end)
        gather.start = 0
        gather.end = 0
        gather.used = 0
        return result

    def send_bytes(self, data: bytes) -> int:
        """Send bytes of our own."""
        if cython.compiled:
            return self.send(cython.cast(cython.p_uchar, libc.PyBytes_AS_STRING(data)), 0, len(data))
        return self.send(data, 0, len(data))

    def defer(self, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        """Copy what the socket did not accept, and watch for it to become writable."""
        if self.pending is None:
            self.pending = bytearray()
            self.pending_start = 0
            self.direct = False
            self.set_interest(self.mask | WRITE)
        if cython.compiled:
            self.pending += buf[start:end]
        else:
            self.pending += memoryview(buf)[start:end]
        return 0

    def flush_pending(self) -> int:
        """The socket is writable (or has just been connected)."""
        n: cython.Py_ssize_t
        size: cython.Py_ssize_t
        if self.pending is None:
            self.set_interest(self.mask & ~WRITE)
            problem: cython.int = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return self.on_unreachable(os.strerror(problem)) if problem else self.on_connected()
        data: bytearray = self.pending
        size = len(data)
        memory = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(data)) if cython.compiled else data
        n = self.transmit(memory, self.pending_start, size)
        if n == FAILED:
            self.broken = True
            self.pending = None
            self.set_interest((self.mask | READ) & ~WRITE)
            return 0
        if self.sealed is None:
            self.sent += n
        self.pending_start += n
        if self.pending_start < size:
            return 0
        self.pending = None
        self.direct = self.sealed is None
        self.set_interest(self.mask & ~WRITE)
        return self.on_drained()

    def unsent(self) -> cython.Py_ssize_t:
        """Return how many bytes wait for the socket."""
        return 0 if self.pending is None else len(self.pending) - self.pending_start

    # -- for subclasses

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Use buf[pos:end]; return the offset of the first unused byte."""
        raise NotImplementedError

    def on_connected(self) -> int:
        """Called when a dialled connection is established."""
        return 0

    def on_unreachable(self, why: str) -> int:
        """Called when a dialled connection could not be established."""
        return self.on_eof(why)

    def on_secured(self) -> int:
        """Called when TLS is established: what is received and sent from now on is protected."""
        return 0

    def on_eof(self, why: str) -> int:
        """Handle the end of the peer's bytes."""
        return self.close()

    def on_drained(self) -> int:
        """All pending bytes have been sent: the side that was paused for this can resume."""
        return 0
