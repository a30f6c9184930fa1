"""Frames: a type byte, a length that includes itself, a body. Only `copied` copies, the rest only looks."""

from __future__ import annotations

import cython

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import (
        BIND,
        CLOSE,
        COPY,
        COPY_DATA,
        COPY_DONE,
        COPY_FAIL,
        DESCRIBE,
        ENDS_BATCH,
        EXECUTE,
        FLUSH,
        FUNCTION_CALL,
        IN_BATCH,
        LAST,
        MAX_MESSAGE,
        MAX_SMALL_MESSAGE,
        PARSE,
        QUERY,
        SYNC,
        TERMINATE,
        UNKNOWN,
    )

_KINDS = {
    QUERY: ENDS_BATCH,
    FUNCTION_CALL: ENDS_BATCH,
    SYNC: ENDS_BATCH,
    FLUSH: ENDS_BATCH,
    PARSE: IN_BATCH,
    BIND: IN_BATCH,
    DESCRIBE: IN_BATCH,
    EXECUTE: IN_BATCH,
    CLOSE: IN_BATCH,
    COPY_DATA: COPY,
    COPY_DONE: COPY,
    COPY_FAIL: COPY,
    TERMINATE: LAST,
}

# Those that may be large; PostgreSQL limits the others to PQ_SMALL_MESSAGE_LIMIT (postgres.c SocketBackend())
_LARGE = (QUERY, FUNCTION_CALL, PARSE, BIND, COPY_DATA)

LARGE_KINDS = bytearray(code in _LARGE for code in range(256))
FRONTEND_KINDS = bytearray(_KINDS.get(code, UNKNOWN) for code in range(256))


def is_compiled() -> bool:
    """Whether this module, and with it all compiled modules, runs compiled."""
    return cython.compiled


def length_at(buf, pos: cython.Py_ssize_t) -> cython.uint:
    """The big-endian 32-bit number at buf[pos:pos+4]."""
    a: cython.uint = buf[pos]
    b: cython.uint = buf[pos + 1]
    c: cython.uint = buf[pos + 2]
    d: cython.uint = buf[pos + 3]
    return (a << 24) | (b << 16) | (c << 8) | d


def end_of_string(buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """The offset of the first NUL in buf[pos:end]; -1 when there is none."""
    if cython.compiled:
        if pos >= end:
            return -1
        if buf[pos] == 0:
            return pos  # most names are empty
        found = cython.cast("const unsigned char *", memchr(buf + pos, 0, end - pos))
        return found - buf if found != cython.NULL else -1
    while pos < end:
        if buf[pos] == 0:
            return pos
        pos += 1
    return -1


def copied(buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """Return buf[start:end] as bytes; compiled, bytes(buf[start:end]) would copy them twice."""
    if cython.compiled:
        return buf[start:end]
    return bytes(buf[start:end])


def is_same(text: bytes, buf, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Whether buf[start:end] is `text`."""
    if cython.compiled:
        return len(text) == end - start and memcmp(buf + start, PyBytes_AS_STRING(text), end - start) == 0
    return text == bytes(buf[start:end])


def after_frames(buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t, number: cython.int) -> cython.Py_ssize_t:
    """Return the offset after `number` frontend messages, not counting CopyData; `end` if no more are whole."""
    length: cython.Py_ssize_t
    while end - pos >= 5:
        length = length_at(buf, pos + 1)
        if length < 4 or length >= end - pos:
            return end
        if number == 0:
            return pos
        if buf[pos] != COPY_DATA:
            number -= 1
        pos += 1 + length
    return end


def frontend_kind(code: cython.int) -> cython.int:
    """What a frontend message of this type means for a batch: IN_BATCH, ENDS_BATCH, COPY, LAST or UNKNOWN."""
    return FRONTEND_KINDS[code]


def impossible(code: cython.int, length: cython.Py_ssize_t) -> cython.bint:
    """Whether no frontend message has this type or this length."""
    if not FRONTEND_KINDS[code] or length < 4 or length > MAX_MESSAGE:
        return True
    return length > MAX_SMALL_MESSAGE and not LARGE_KINDS[code]
