"""A login in progress: a generator that reads like the protocol chapter, between bytes and whoever has a socket.

The generator yields

- bytes: to be sent; they are collected until it reads or ends, so that one send has them all,
- READ_PACKET, READ_MESSAGE or READ_BYTE: it is sent what was read,
- anything else: a request to its owner, which has to do or to know something; it is sent the result.

Neither side of it does IO: the owner sends `sends()`, and feeds it with what `size_at` finds in the bytes that it has.
"""

from __future__ import annotations

import cython

from pgrouter.protocol.framing import copied, length_at

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.auth.steps import READ_BYTE, READ_PACKET
    from pgrouter.protocol.codes import MAX_STARTUP_PACKET

SHORTEST = 8  # a packet of its length, which counts itself, and a request code


class Conversation:
    """One login; `longest` is the limit for the length of a message."""

    def __init__(self, steps, longest: cython.uint) -> None:
        self.steps = steps
        self.longest = longest
        self.reads = 0  # READ_PACKET, READ_MESSAGE or READ_BYTE; 0: it waits for its owner
        self.messages = 0  # how many have been read
        self.result = None  # what the generator has returned
        self.out = b""

    def begins(self) -> cython.bint:
        """Whether it reads its first packet."""
        return self.reads == READ_PACKET and self.messages == 0

    def resume(self, answer):
        """Continue with what was asked for; return the next request, a number if it is to read; None: it is over.

        Raises what the generator raises: a RouterError if the login fails.
        """
        self.reads = 0
        while True:
            request = self.step(answer)
            if type(request) is not bytes:
                break
            self.out = self.out + request if self.out else request
            answer = None
        if type(request) is int:
            self.reads = request
        return request

    def step(self, answer):
        """Continue the generator up to its next yield, and return that; None: it has returned its result."""
        if cython.compiled:  # without an exception for its end
            found: cython.pointer(PyObject) = cython.NULL
            yielded: cython.bint = PyIter_Send(self.steps, answer, cython.address(found))
            value = cython.cast(object, found)
            Py_DECREF(value)
            if yielded:
                return value
            self.result = value
            return None
        try:
            return self.steps.send(answer)
        except StopIteration as end:
            self.result = end.value
            return None

    def sends(self) -> bytes:
        """Return what is to be sent by now, once."""
        out: bytes = self.out
        self.out = b""
        return out

    def size_at(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Return the size of what it reads next, which begins at buf[pos]; 0: unknown yet, -1: an impossible length."""
        length: cython.uint
        if self.reads == READ_PACKET:
            if end - pos < 4:
                return 0
            length = length_at(buf, pos)
            return length if SHORTEST <= length <= MAX_STARTUP_PACKET else -1
        if self.reads == READ_BYTE:
            return 1 if end > pos else 0
        if end - pos < 5:
            return 0
        length = length_at(buf, pos + 1)
        if length < 4 or length > self.longest:
            return -1
        return cython.cast(cython.Py_ssize_t, length) + 1

    def read(self, buf, pos: cython.Py_ssize_t, size: cython.Py_ssize_t):
        """Return what the generator is sent for buf[pos:pos+size]."""
        self.messages += 1
        if self.reads == READ_PACKET:
            return copied(buf, pos + 4, pos + size)
        if self.reads == READ_BYTE:
            return buf[pos]
        return buf[pos], copied(buf, pos + 5, pos + size)
