"""Streams: one recv into the shared buffer, one `on_data`, and whatever that sends goes out with one send.

Only what a socket refuses is copied and waited for. The buffer that `on_data` sees belongs to the poller: it is valid
during the call only. What `on_data` does not use (it returns how far it came) is kept by the stream and comes again, in
front of the next bytes.
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
# Edge-triggered: the kernel does not look at each socket again that it has told of. So what one recv may have left is
# asked for anew: after a full buffer, and once the end is in sight.
EDGE = select.EPOLLET | select.EPOLLRDHUP
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

AGAIN = -1
FAILED = -2
EAGAIN = errno.EAGAIN
EINTR = errno.EINTR


class Stream(Pollable):
    """A non-blocking socket with an input that is kept until it is used and an output that is never waited for.

    Subclasses say what the bytes mean: `on_data` (how far it came), `on_connected`, `on_eof`, `on_drained`.
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
        self.put_aside = False  # what was kept gets its turn in the next round
        self.need = 0  # with a large incomplete frame: do not look again before so many bytes are there
        self.pending = None  # sent, not yet taken by the socket
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
        """Watch for `mask`; costs a system call only when that is a change."""
        if mask != self.mask and self.fd >= 0:
            self.mask = mask
            self.poller.modify(self.fd, mask | EDGE)
        return 0

    def pause(self) -> int:
        """Stop reading: whoever takes our bytes has no room."""
        return self.set_interest(self.mask & ~READ)

    def resume(self) -> int:
        """Read again."""
        return self.set_interest(self.mask | READ)

    def read_on(self) -> int:
        """Read again, where that may have stopped."""
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
        """Give n freshly received bytes, with what was kept before them, to `on_data`."""
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
        """Keep buf[start:end] for the next time."""
        if cython.compiled:
            self.partial = bytearray(buf[start:end])
        else:
            self.partial = bytearray(memoryview(buf)[start:end])
        self.buffered = end - start
        return 0

    def process_partial(self) -> int:
        """Offer what was kept to `on_data` again (something else changed, or enough has come)."""
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
        """Let others come first: what was not used is offered again in the next round, and nothing read before that."""
        if not self.put_aside and not self.closed:
            self.put_aside = True
            self.pause()
            self.poller.put_off(self)
        return 0

    def turn(self) -> int:
        """Go on with what was put off."""
        self.put_aside = False
        if not self.closed:
            self.resume()
            self.process_partial()
        return 0

    def unread(self, data: bytes) -> int:
        """Put bytes in front of what is kept: they come (again) with the next `process_partial`."""
        self.partial = bytearray(data) + self.partial if self.buffered else bytearray(data)
        self.buffered += len(data)
        self.need = 0
        return 0

    def receive(self) -> cython.Py_ssize_t:
        """Read once into the poller's buffer behind the headroom; 0 at the end, AGAIN, or FAILED."""
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
        """Send once; gives how many bytes the socket took, or FAILED."""
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
        """Send buf[start:end]: 0 all gone, 1 some is pending (stop feeding), -1 the peer is gone.

        After -1 nothing is closed yet: the read side still holds the peer's last words and finds the end.
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
        """Send what was gathered with one call, and empty it."""
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
        """Copy what the socket did not take and ask to be told when it has room."""
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
        """The socket has room (or has just been connected)."""
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
        """Whether bytes wait for the socket."""
        return self.pending is not None

    # -- what subclasses say

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Use buf[pos:end]; give the offset of the first byte that was not used."""
        raise NotImplementedError

    def on_connected(self) -> int:
        """A socket that was being connected became writable (also when it failed: ask SO_ERROR)."""
        return 0

    def on_eof(self, why: str) -> int:
        """Handle the end of the peer's bytes."""
        return self.close()

    def on_drained(self) -> int:
        """All pending bytes are gone: whoever was stopped for our sake may go on."""
        return 0


class PlainStream(Stream):
    """A stream off the data path, for classes that are not compiled: `on_bytes` gets a copy of what came."""

    def on_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Copy and hand over."""
        return pos + self.on_bytes(bytes(buf[pos:end]))

    def on_bytes(self, data: bytes) -> cython.Py_ssize_t:
        """Use `data`; give how many of its bytes were used (the rest comes again with more)."""
        raise NotImplementedError
