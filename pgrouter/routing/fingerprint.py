# cython: annotation_typing=False
"""A statement's key: its text without literals, comments, white space and the case of unquoted words.

One pass over the bytes by the rules of PostgreSQL's lexer (src/backend/parser/scan.l of version 18), without a parse.
Two statements with the same key have the same tokens except for the contents of their literals, so they have the same
class (`Statement.literal_sensitive` marks the exceptions). The key is the normalized text itself, not a hash
of it: there are no collisions.

How a key is written, so that different token lists never look alike:

- words are folded to lower case and separated by one space; quoted identifiers stay as they are;
- adjacent operators stay apart (`- -` is not `--`), everything else is joined without spaces;
- a string of any kind is `'` (B', X' and N' for those), an integer that fits into four bytes 0, another number 9;
- equal constants that directly follow each other inside `IN (...)` are written once;
- a hint in a leading comment becomes a first byte 1 (primary) or 2 (replica).

Text that is rare or malformed (U& strings and names, 0x1f, 1_000, octal and Unicode escapes, an unclosed quote, a byte
that SQL does not allow) is not normalized at all: the key is then a zero byte and the whole text.

The same file runs compiled (with fingerprint.pxd) and as plain Python. It accepts any bytes and never reads at or
beyond `end`.
"""
# ruff: noqa: FBT001 (C has no keyword arguments)

from __future__ import annotations

import cython  # type: ignore[import-untyped]

from pgrouter.routing.characters import CLASS, FOLDED
from pgrouter.routing.hints import NO_HINT, in_comment

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.routing.characters import (
        DIGIT,
        DOLLAR,
        DOT,
        DOUBLE_QUOTE,
        OPERATOR,
        PUNCTUATION,
        QUOTE,
        SPACE,
        WORD,
    )

_SCRATCH_BYTES = 4096
_SCRATCH_KEPT_BYTES = 65536  # a scratch buffer that one huge statement has grown beyond this is freed


def is_compiled() -> bool:
    """Whether this module runs compiled."""
    return bool(cython.compiled)


def fingerprint(buf: bytes, start: int, end: int) -> bytes:
    """Return the key of the statement in buf[start:end]."""
    return Fingerprinter().key(buf, start, end)


def leading_hint(buf: bytes, start: int, end: int) -> int:
    """Return the first hint in the comments before the first token, NO_HINT if there is none."""
    return Fingerprinter().hint(buf, start, end)


class Fingerprinter:
    """Makes keys, one after the other, in a scratch buffer of its own; not thread-safe."""

    def __init__(self) -> None:
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._class = CLASS
        self._folded = FOLDED

    def key(self, buf: bytes, start: int, end: int) -> bytes:
        """Return the key of the statement in buf[start:end] (see the module); buf[end] must be readable."""
        return self.take() if self.scan(buf, start, end) else self._whole_text(start)

    def scan(self, buf: bytes, start: int, end: int) -> bool:
        """Make the key in the scratch buffer, for `take`, `slot` and `is_key`; False: only `key` can make one."""
        self._begin(buf, start, end)
        while self._pos < end:
            if not self._token():
                return False
        return True

    def take(self) -> bytes:
        """Return a copy of the key that `scan` has made."""
        return self._out[: self._n] if cython.compiled else bytes(self._out[: self._n])  # type: ignore[return-value]

    def slot(self, size: int) -> int:
        """Return a number below `size` (a power of two) for the key that `scan` has made, from some of its bytes."""
        step = (self._n >> 4) + 1
        h = self._n
        i = 0
        while i < self._n:
            h = (h * 31 + self._out[i]) & 0xFFFFFF
            i += step
        return (h ^ (h >> 12)) & (size - 1)

    def is_key(self, key: bytes) -> bool:
        """Whether `key` is the one that `scan` has made."""
        if len(key) != self._n:
            return False
        if cython.compiled:
            return libc.memcmp(self._out, libc.PyBytes_AS_STRING(key), self._n) == 0  # type: ignore[name-defined]
        return key == self._out[: self._n]

    def hint(self, buf: bytes, start: int, end: int) -> int:
        """Return the hint that `key` would find."""
        self._begin(buf, start, end)
        while self._pos < end and self._n == 0:
            if not self._token():
                return 0
        return self._hint

    def _begin(self, buf: bytes, start: int, end: int) -> None:
        # Twice: a space may be inserted between adjacent words (a"b"), nothing else grows.
        need = 2 * (end - start) + 2
        if need > len(self._scratch) or len(self._scratch) > _SCRATCH_KEPT_BYTES:
            self._scratch = bytearray(max(need, _SCRATCH_BYTES))
        self._out = self._scratch
        self._buf = buf
        self._pos = start
        self._end = end
        self._n = 0
        self._last = PUNCTUATION
        self._gap = False
        self._in_list = False
        self._hint = NO_HINT

    def _whole_text(self, start: int) -> bytes:
        return b"\0" + self._buf[start : self._end]

    def _put(self, byte: int) -> None:
        self._out[self._n] = byte
        self._n += 1

    def _token(self) -> bool:
        """Consume one token, space or comment; False: the text cannot be normalized."""
        c = self._buf[self._pos]
        kind = self._class[c]
        if kind == WORD:
            return self._word(c)
        if kind == SPACE:
            self._gap = True
            self._pos += 1
            return True
        if kind == PUNCTUATION:
            return self._punctuation(c)
        if kind == OPERATOR:
            return self._operator(c)
        if kind == DIGIT:
            return self._number()
        if kind == DOT:
            return self._dot()
        if kind == QUOTE:
            return self._string(False, True) and self._constant(39)
        if kind == DOLLAR:
            return self._dollar()
        if kind == DOUBLE_QUOTE:
            return self._quoted_name()
        return False

    # -- words ------------------------------------------------------------------------------------------------------

    def _part_words(self) -> None:
        if self._last == WORD:
            self._put(32)
        self._last = WORD
        self._gap = False
        self._in_list = False

    def _word(self, c: int) -> bool:
        i = self._pos + 1
        if i < self._end and (self._buf[i] == 39 or self._buf[i] == 38) and self._is_prefix(c, i):
            return self._prefixed_string(c)
        self._part_words()
        buf = self._buf  # locals: for all the C compiler knows, writing a byte could change a field
        out = self._out
        folded = self._folded
        end = self._end
        i = self._pos
        shift = self._n - i
        if cython.compiled and self._buf[end] == 0:  # so it ends every word, and need not be looked out for
            c = folded[buf[i]]
            while c != 0:
                out[shift + i] = c
                i += 1
                c = folded[buf[i]]
        else:
            while i < end:
                c = folded[buf[i]]
                if c == 0:
                    break
                out[shift + i] = c
                i += 1
        self._n = shift + i
        self._pos = i
        return True

    def _is_prefix(self, c: int, i: int) -> bool:
        """Whether the letter `c` and the byte at `i` begin a prefixed string or name."""
        c |= 32
        if self._buf[i] == 39:
            return c == 101 or c == 98 or c == 120 or c == 110  # E B X N
        return c == 117 and i + 1 < self._end and (self._buf[i + 1] == 39 or self._buf[i + 1] == 34)  # U&' U&"

    def _prefixed_string(self, c: int) -> bool:
        c &= 0xDF
        if c == 85:  # U: its escapes may be wrong, and UESCAPE is a literal that changes names
            return False
        self._pos += 1
        if c == 69:
            return self._string(True, True) and self._constant(39)
        if not self._string(False, c == 78):  # two quotes are one in N'', but an end and a beginning in B'' and X''
            return False
        self._put(c)  # an upper-case letter: words in a key have none
        self._in_list = False
        return self._constant(39)

    def _quoted_name(self) -> bool:
        self._part_words()
        i = self._pos + 1
        while i < self._end:
            if self._buf[i] == 34:
                if i + 1 == self._end or self._buf[i + 1] != 34:
                    break
                i += 1
            i += 1
        if i >= self._end:
            return False
        while self._pos <= i:
            self._put(self._buf[self._pos])
            self._pos += 1
        return True

    # -- operators and punctuation ----------------------------------------------------------------------------------

    def _operator(self, c: int) -> bool:
        i = self._pos + 1
        if i < self._end:
            if c == 45 and self._buf[i] == 45:
                self._pos = self._line_end(i)
                self._gap = True
                return True
            if c == 47 and self._buf[i] == 42:
                return self._block_comment()
        self._sign(c)
        return True

    def _sign(self, c: int) -> None:
        if self._gap and self._last == OPERATOR:
            self._put(32)
        self._put(c)
        self._pos += 1
        self._last = OPERATOR
        self._gap = False
        self._in_list = False

    def _dot(self) -> bool:
        i = self._pos + 1
        if i < self._end and self._class[self._buf[i]] == DIGIT:
            return self._number()
        if i < self._end and self._buf[i] == 46:
            return False  # `..` is not SQL
        self._sign(46)
        return True

    def _punctuation(self, c: int) -> bool:
        if c == 40:
            self._in_list = self._after_in()
        elif c != 44:
            self._in_list = False
        self._put(c)
        self._pos += 1
        self._last = PUNCTUATION
        self._gap = False
        return True

    def _after_in(self) -> bool:
        n = self._n
        if n < 3 or self._last != WORD or self._out[n - 1] != 110 or self._out[n - 2] != 105:
            return False
        kind = self._class[self._out[n - 3]]
        return kind != WORD and kind != DIGIT and kind != DOLLAR

    # -- comments ---------------------------------------------------------------------------------------------------

    def _line_end(self, i: int) -> int:
        while i < self._end and self._buf[i] != 10 and self._buf[i] != 13:
            i += 1
        return i

    def _block_comment(self) -> bool:
        begin = self._pos + 2
        i = begin
        depth = 1
        while i + 1 < self._end:
            if self._buf[i] == 47 and self._buf[i + 1] == 42:
                depth += 1
                i += 2
            elif self._buf[i] == 42 and self._buf[i + 1] == 47:
                depth -= 1
                i += 2
                if depth == 0:
                    break
            else:
                i += 1
        if depth:
            return False
        if self._n == 0:
            self._take_hint(begin, i - 2)
        self._pos = i
        self._gap = True
        return True

    def _take_hint(self, i: int, end: int) -> None:
        """Keep the hint of a comment's body: `pgrouter: primary`, `pgrouter: replica`, `NO LOAD BALANCE`."""
        while i < end and self._class[self._buf[i]] == SPACE:
            i += 1
        if i == end or (self._buf[i] | 32 != 112 and self._buf[i] | 32 != 110):  # P N
            return
        self._hint = in_comment(bytes(self._buf[i:end]))
        if self._hint != NO_HINT:
            self._put(self._hint)

    # -- literals ---------------------------------------------------------------------------------------------------

    def _constant(self, byte: int) -> bool:
        """Append a literal's placeholder, unless it repeats the one before it in an IN list."""
        n = self._n
        if self._in_list and n > 1 and self._out[n - 1] == 44 and self._out[n - 2] == byte:
            self._n = n - 1
        else:
            self._put(byte)
        self._last = PUNCTUATION
        self._gap = False
        return True

    def _string(self, escapes: bool, doubled: bool) -> bool:
        """Skip a quoted string and its continuations on following lines."""
        i = self._pos + 1
        while i < self._end:
            c = self._buf[i]
            if c == 39:
                if doubled and i + 1 < self._end and self._buf[i + 1] == 39:
                    i += 2
                    continue
                self._pos = i + 1
                i = self._continuation(i + 1)
                if i < 0:
                    return True
            elif c == 92 and escapes:
                i += 1
                if i < self._end and self._is_coded(self._buf[i]):
                    return False
            i += 1
        return False

    def _is_coded(self, c: int) -> bool:
        """Whether a backslash and `c` begin an octal, hexadecimal or Unicode escape, which may be invalid."""
        return 48 <= c <= 55 or c == 120 or c == 117 or c == 85

    def _continuation(self, i: int) -> int:
        """Return the position of the quote that continues a string after white space with a newline, else -1."""
        newline = False
        while i < self._end:
            c = self._buf[i]
            if c == 10 or c == 13:
                newline = True
            elif c == 39:
                return i if newline else -1
            elif c == 45 and i + 1 < self._end and self._buf[i + 1] == 45:
                i = self._line_end(i)
                continue
            elif self._class[c] != SPACE:
                return -1
            i += 1
        return -1

    def _dollar(self) -> bool:
        i = self._pos + 1
        if i < self._end and self._class[self._buf[i]] == DIGIT:
            return self._parameter(i)
        tag_end = i
        if tag_end < self._end and self._class[self._buf[tag_end]] == WORD:
            while tag_end < self._end and (
                self._class[self._buf[tag_end]] == WORD or self._class[self._buf[tag_end]] == DIGIT
            ):
                tag_end += 1
        if tag_end == self._end or self._buf[tag_end] != 36:
            return False
        return self._dollar_quoted(tag_end + 1 - self._pos) and self._constant(39)

    def _dollar_quoted(self, length: int) -> bool:
        """Skip past the second of two equal tags of `length` bytes, dollar signs included."""
        i = self._pos + length
        while i + length <= self._end:
            k = 0
            while k < length and self._buf[i + k] == self._buf[self._pos + k]:
                k += 1
            if k == length:
                self._pos = i + length
                return True
            i += 1
        return False

    def _parameter(self, i: int) -> bool:
        i = self._digits(i)
        if i < self._end and self._class[self._buf[i]] == WORD:
            return False
        self._part_words()
        while self._pos < i:
            self._put(self._buf[self._pos])
            self._pos += 1
        return True

    def _digits(self, i: int) -> int:
        while i < self._end and self._class[self._buf[i]] == DIGIT:
            i += 1
        return i

    def _number(self) -> bool:
        i = self._digits(self._pos)
        whole = self._fits_int4(i)
        if i < self._end and self._buf[i] == 46 and not (i + 1 < self._end and self._buf[i + 1] == 46):
            whole = False
            i = self._digits(i + 1)
        if i < self._end and (self._buf[i] == 69 or self._buf[i] == 101):
            k = i + 1
            if k < self._end and (self._buf[k] == 43 or self._buf[k] == 45):
                k += 1
            if k < self._end and self._class[self._buf[k]] == DIGIT:
                whole = False
                i = self._digits(k)
        if (i < self._end and (self._class[self._buf[i]] == WORD or self._buf[i] == 36)) or self._is_precision():
            return False
        if self._last == WORD:
            self._put(32)
        self._pos = i
        self._constant(48 if whole else 57)
        self._last = WORD
        return True

    def _fits_int4(self, i: int) -> bool:
        if i - self._pos <= 9:
            return True
        value = 0
        for k in range(self._pos, i):
            value = value * 10 + self._buf[k] - 48
            if value > 2147483647:
                return False
        return True

    def _is_precision(self) -> bool:
        """Whether the number is the precision of float: the grammar refuses some values."""
        n = self._n
        return n >= 6 and self._out[n - 1] == 40 and self._out[n - 2] == 116 and self._out[n - 6 : n] == b"float("
