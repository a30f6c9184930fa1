"""Streams: one recv into the shared buffer, one `on_data`, and whatever that sends goes out with one send.

Only bytes that a socket does not accept are copied and sent later. The buffer passed to `on_data` belongs to the
poller: it is valid during the call only. What `on_data` does not use (it returns how far it got) is kept by the stream
and passed again, in front of the next bytes.
"""

from __future__ import annotations

import errno
import select
import socket

import cython

from pgrouter.net.poller import HEADROOM, Pollable, Poller
from pgrouter.net.send_buffer import SendBuffer

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR
# Edge-triggered: the kernel does not check each reported socket again. So whatever one recv may have left must be
# asked for again: after a full buffer, and when the peer has closed.
EDGE = select.EPOLLET | select.EPOLLRDHUP
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

AGAIN = -1
FAILED = -2
EAGAIN = errno.EAGAIN
EINTR = errno.EINTR


class Stream(Pollable):
    """A non-blocking socket whose input is kept until it is used and whose output never blocks.

    Subclasses handle the bytes: `on_data` (returns how far it got), `on_connected`, `on_eof`, `on_drained`.
    """

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.sock = None
        self.fd = -1
        self.mask = 0
        self.closed = False
        self.broken = False
        self.partial = None  # received, not yet used
        self.buffered = 0
        self.put_aside = False  # the kept bytes are processed in the next round
        self.need = 0  # for a large incomplete frame: not processed again before so many bytes have come
        self.pending = None  # to be sent, not yet accepted by the socket
        self.pending_start = 0
        self.received = 0
        self.sent = 0

    # -- the socket

    def attach(self, sock, mask: cython.uint) -> int:
        """Own `sock` from now on, watching it for `mask`."""
        self.sock = sock
        self.fd = sock.fileno()
        self.mask = mask
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
            self.closed = True
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
            if self.fd >= 0:
                self.readable(mask)
        return 0

    def on_event(self, mask: cython.uint) -> int:
        """Handle one epoll event."""
        return self.event(mask)

    def readable(self, mask: cython.uint) -> int:
        """One recv, one `on_data`."""
        n: cython.Py_ssize_t = self.receive()
        if n > 0:
            self.received += n
            self.take(n)
            if (n == self.poller.size - HEADROOM or mask & ENDED) and self.fd >= 0:
                self.poller.modify(self.fd, self.mask | EDGE)
        elif n == 0:
            self.on_eof("connection closed by peer")
        elif n == FAILED:
            self.on_eof("connection reset by peer")
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
        if cython.compiled:
            used = self.on_data(self.poller.memory, begin, HEADROOM + n)
            if used < HEADROOM + n and not self.closed:
                self.keep(self.poller.memory, used, HEADROOM + n)
        else:
            used = self.on_data(self.poller.buffer, begin, HEADROOM + n)
            if used < HEADROOM + n and not self.closed:
                self.keep(self.poller.buffer, used, HEADROOM + n)
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
        if cython.compiled:
            memory: cython.p_uchar = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(data))
            used = self.on_data(memory, 0, size)
        else:
            used = self.on_data(data, 0, size)
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

    def receive(self) -> cython.Py_ssize_t:
        """Read once into the poller's buffer, after the headroom; 0 at end of file, AGAIN, or FAILED."""
        if cython.compiled:
            n: cython.Py_ssize_t = libc.syscall(
                libc.SYS_recvfrom,
                self.fd,
                self.poller.memory + HEADROOM,
                self.poller.size - HEADROOM,
                0,
                cython.NULL,
                cython.NULL,
            )
            if n < 0:
                return AGAIN if libc.c_errno in (EAGAIN, EINTR) else FAILED
            return n
        try:
            return self.sock.recv_into(memoryview(self.poller.buffer)[HEADROOM:])
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
        if self.closed or self.broken:
            return -1
        if self.pending is not None:
            self.defer(buf, start, end)
            return 1
        n = self.transmit(buf, start, end)
        if n == end - start:
            self.sent += n
            return 0
        if n == FAILED:
            self.broken = True
            self.resume()
            return -1
        self.sent += n
        self.defer(buf, start + n, end)
        return 1

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
            return self.on_connected()
        size = len(self.pending)
        if cython.compiled:
            memory: cython.p_uchar = cython.cast(cython.p_uchar, libc.PyByteArray_AS_STRING(self.pending))
            n = self.transmit(memory, self.pending_start, size)
        else:
            n = self.transmit(self.pending, self.pending_start, size)
        if n == FAILED:
            self.broken = True
            self.pending = None
            self.set_interest((self.mask | READ) & ~WRITE)
            return 0
        self.sent += n
        self.pending_start += n
        if self.pending_start < size:
            return 0
        self.pending = None
        self.set_interest(self.mask & ~WRITE)
        return self.on_drained()

    def congested(self) -> bool:
        """Whether bytes are waiting for the socket."""
        return self.pending is not None

    # -- for subclasses

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Use buf[pos:end]; return the offset of the first unused byte."""
        raise NotImplementedError

    def on_connected(self) -> int:
        """A connecting socket became writable (also if that failed: check SO_ERROR)."""
        return 0

    def on_eof(self, why: str) -> int:
        """Handle the end of the peer's bytes."""
        return self.close()

    def on_drained(self) -> int:
        """All pending bytes have been sent: the side that was paused for this can resume."""
        return 0


class PlainStream(Stream):
    """A stream off the data path, for classes that are not compiled: `on_bytes` gets a copy of the bytes."""

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Pass on a copy."""
        return pos + self.on_bytes(bytes(buf[pos:end]))

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Use `data`; return how many of its bytes were used (the rest is passed again with more)."""
        raise NotImplementedError
