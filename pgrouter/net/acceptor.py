"""A listening socket: accepts connections and hands each one on, a few per round so that nobody waits for a crowd."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections.abc import Callable, Iterable

import cython

from pgrouter.net.poller import Pollable, Poller
from pgrouter.net.sockopt import apply

log = logging.getLogger("pgrouter.net")

PAUSE_S = 0.2  # after accept() has failed: usually no descriptors are left, and it is pointless until some are free
MOST_AT_ONCE = 64

READ = select.EPOLLIN
IPV4 = socket.AF_INET
UNNAMED = ("", 0)  # the address of a Unix socket's client
NOBODY = (errno.EAGAIN, errno.EINTR, errno.ECONNABORTED)  # no connection is waiting


class Acceptor(Pollable):
    """One listening socket, watched by the poller like all others.

    `accepted(sock, address)` is called with each new connection; `address` begins with host and port ("" and 0 of a
    Unix socket). It owns the
    socket, which does not block and has inherited the options of the listening one. If it raises, the socket is
    closed, and accepting goes on.

    An accept() without a connection costs as much as one with one, so there is more than one per wake-up only while
    connections keep coming: a quarter more each time, until there is none.
    """

    def __init__(self, poller: Poller, sock: socket.socket, accepted: Callable[[Accepted, tuple], object]) -> None:
        self.poller = poller
        self.accepted = accepted
        self.sock = sock  # listens already, see `net.listening`
        self.family = sock.family
        self.fd = sock.fileno()
        self.address = None  # of the last connection
        self.last_number = 0  # its IPv4 address, if C code accepted it, and its host
        self.last_host = None
        self.at_once = 1.0
        self.watched = False

    def tune(self, options: Iterable[tuple[int, int, int]]) -> None:
        """Set socket options (see `net.sockopt`) for connections from now on."""
        if self.family != socket.AF_UNIX:
            apply(self.sock, options)

    def start(self) -> None:
        """Start to accept."""
        if self.fd >= 0 and not self.watched:
            self.watched = True
            self.poller.register(self, self.fd, READ)

    def on_event(self, mask: cython.uint) -> int:
        """Accept the connections that wait."""
        for _ in range(cython.cast(cython.int, self.at_once)):
            try:
                if not self.accept_one():
                    self.at_once = 1.0
                    return 0
            except OSError as error:
                log.error("cannot accept: %s", error.strerror)  # noqa: TRY400  (not a bug)
                self.unwatch()
                self.poller.loop.call_later(PAUSE_S, self.start)
                return 0
            except Exception:  # must not reach the poller, which would close the listening socket
                log.exception("bug in accepting a connection")
        self.at_once = min(self.at_once * 1.25, MOST_AT_ONCE)
        return 0

    def accept_one(self) -> cython.bint:
        """Accept a connection and hand it on; False if there is none."""
        sock = self.accept_ipv4() if cython.compiled and self.family == IPV4 else self.accept()
        if sock is None:
            return False
        try:
            self.accepted(sock, self.address)
        except:
            sock.close()
            raise
        return True

    def accept(self) -> socket.socket | None:
        """Return the socket of the next connection, and store its address; None if there is none."""
        try:
            sock, address = self.sock.accept()
        except OSError as error:
            if error.errno in NOBODY:
                return None
            raise
        self.address = address or UNNAMED
        sock.setblocking(False)
        return sock

    def accept_ipv4(self) -> Accepted | None:
        """Do the same with one system call instead of three, and without Python's socket."""
        host: cython.char[16]
        peer: libc.sockaddr_in
        size: libc.socklen_t = cython.sizeof(peer)
        whoever = cython.cast(cython.pointer(libc.sockaddr), cython.address(peer))
        flags: cython.int = libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
        fd: cython.int = libc.accept4(self.fd, whoever, cython.address(size), flags)
        if fd < 0:
            if libc.c_errno in NOBODY:
                return None
            raise OSError(libc.c_errno, os.strerror(libc.c_errno))
        if peer.sin_addr.s_addr != self.last_number or self.last_host is None:  # most have the address of the last one
            libc.inet_ntop(IPV4, cython.address(peer.sin_addr), host, cython.sizeof(host))
            self.last_number = peer.sin_addr.s_addr
            self.last_host = host.decode()
        self.address = (self.last_host, libc.ntohs(peer.sin_port))
        return Accepted(fd)

    def unwatch(self) -> int:
        """Stop accepting: connections have to wait."""
        if self.watched:
            self.watched = False
            self.poller.unregister(self.fd)
        return 0

    def close(self) -> int:
        """Stop accepting and close the socket. May be called twice."""
        if self.fd >= 0:
            self.unwatch()
            self.sock.close()
            self.fd = -1
        return 0


class Accepted:
    """As much of a socket as a stream needs: creating Python's own costs two system calls."""

    def __init__(self, fd: cython.int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """Return the descriptor, as a socket does."""
        return self.fd

    def getsockname(self) -> tuple:
        """Return our own address."""
        with socket.socket(fileno=os.dup(self.fd)) as twin:
            return twin.getsockname()

    def close(self) -> None:
        """Close it; closing it again does nothing."""
        if self.fd >= 0:
            c_close(self.fd)
            self.fd = -1
