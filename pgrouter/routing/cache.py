# cython: annotation_typing=False
"""Classified statements by key: what has been seen before never meets the parser again, whatever its literals are.

Two generations: what is found in the old one moves to the young one, and when the young one has taken half of the
bytes, the old one is dropped and the young one grows old. So a client that sends a million different statements pays
for each of them, and the statements that others use meanwhile stay. Memory is bounded by `max_bytes` as estimated by
`_cost`; the estimate is held against tracemalloc in the tests.

In front of both stands a table of statements seen lately, a place for each by some bytes of its key: a hit there makes
no object and no hash (routing a known statement took 30 % less time with it).

The same file runs compiled (with cache.pxd) and as plain Python. Not to be shared by threads.
"""
# ruff: noqa: FBT001, FBT002 (C has no keyword arguments)

from __future__ import annotations

from typing import TYPE_CHECKING

import cython  # type: ignore[import-untyped]

from pgrouter.protocol.framing import is_same
from pgrouter.routing.fingerprint import Fingerprinter
from pgrouter.routing.statement import Effect, Reason, Statement, Target

if TYPE_CHECKING:
    from collections.abc import Callable

# A dict entry, a key's header, a Statement and the tuples and strings in it, as tracemalloc sees them.
_ENTRY_BYTES = 450
_NAME_BYTES = 64
_SETTING_BYTES = 300
_RECENT = 1024  # a power of two
_RECENT_KEY_BYTES = 1024
_LEARNED = 10_000  # statements remembered because a replica refused them

_STRICT = Statement(Target.PRIMARY, Reason.LEXING, effects=int(Effect.CODE), literal_sensitive=True)
_LONG = Statement(Target.PRIMARY, Reason.TOO_LONG, effects=int(Effect.OTHER_STATE | Effect.CODE))
_BY_TEXT = Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, literal_sensitive=True)  # a marker, never handed out


class StatementCache:
    """Gives the `Statement` of a text. `classify` is asked once per key (bytes -> Statement)."""

    def __init__(
        self,
        classify: Callable[[bytes], Statement],
        max_bytes: int = 64 * 1024 * 1024,
        max_parsed_bytes: int = 1024 * 1024,
        learned: dict[bytes, bool] | None = None,
    ) -> None:
        self._classify = classify
        self._half_bytes = max_bytes // 2
        self._max_parsed_bytes = max_parsed_bytes
        self._fingerprinter = Fingerprinter()
        self._young: dict[bytes, Statement] = {}
        self._old: dict[bytes, Statement] = {}
        self._learned = learned if learned is not None else {}  # keys that a replica has refused
        self._young_bytes = 0
        self._old_bytes = 0
        self._forget_recent()
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def lookup(self, buf: bytes, start: int, end: int, unusual_strings: bool = False) -> Statement:
        """Give the statement in buf[start:end]; parses it when its key is new.

        `unusual_strings` says that the session's standard_conforming_strings is off or that its client_encoding may
        hide a backslash or a quote inside a character (BIG5, GB18030, GBK, JOHAB, SJIS, UHC): where that could change
        the meaning, the primary gets the statement unparsed.
        """
        if end - start > self._max_parsed_bytes:
            return _LONG
        if unusual_strings and self._is_ambiguous(buf, start, end):
            return _STRICT
        if not self._fingerprinter.scan(buf, start, end):
            return self._by_text(buf, start, end)
        slot = 2 * self._fingerprinter.slot(_RECENT)
        key = self._recent[slot]
        if key is not None and self._fingerprinter.is_key(key):
            self.hits += 1
            return self._recent[slot + 1]
        key = self._fingerprinter.take()
        statement = self._find(key)
        if statement is _BY_TEXT:
            return self._by_text(buf, start, end)
        if statement is None:
            self.misses += 1
            return self._learn(key, buf[start:end])
        self.hits += 1
        if len(key) <= _RECENT_KEY_BYTES:
            self._recent[slot] = key
            self._recent[slot + 1] = statement
        return statement

    def lookup_again(self, buf: bytes, start: int, end: int, unusual_strings: bool = False) -> Statement:
        """Give what `lookup` gives, for a text that most likely comes again byte for byte, as those of Parse do."""
        if unusual_strings:
            return self.lookup(buf, start, end, unusual_strings)
        size = end - start
        step = (size >> 3) + 1
        h = size
        i = start
        while i < end:
            h = (h * 31 + buf[i]) & 0xFFFFFF
            i += step
        slot = (h ^ (h >> 12)) & (_RECENT - 1)
        text = self._texts[slot]
        if text is not None and is_same(text, buf, start, end):
            self.hits += 1
            return self._of_texts[slot]
        statement = self.lookup(buf, start, end)
        if size <= _RECENT_KEY_BYTES:
            self._texts[slot] = buf[start:end]
            self._of_texts[slot] = statement
        return statement

    def _by_text(self, buf: bytes, start: int, end: int) -> Statement:
        text = buf[start:end]
        statement = self._find(b"\0" + text)
        if statement is None:
            self.misses += 1
            return self._learn(b"\0" + text, text)
        self.hits += 1
        return statement

    def remember_refusal(self, buf: bytes, start: int, end: int) -> Statement:
        """Note that a replica has refused this statement: from now on its key goes to the primary."""
        known = self.lookup(buf, start, end)
        key = self._fingerprinter.key(buf, start, end)
        if known.literal_sensitive:
            key = b"\0" + buf[start:end]
        if len(self._learned) >= _LEARNED:
            del self._learned[next(iter(self._learned))]
        self._learned[key] = True
        refused = self._refused(known)
        self._forget_recent()
        self._store(key, refused)
        return refused

    def clear(self) -> None:
        """Forget every class, as after a change of the catalog; what replicas refused stays remembered."""
        self.evictions += len(self._young) + len(self._old)
        self._young = {}
        self._old = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._forget_recent()

    def _forget_recent(self) -> None:
        self._recent: list[bytes | Statement | None] = [None] * (2 * _RECENT)  # each key with its statement behind it
        self._texts: list[bytes | None] = [None] * _RECENT
        self._of_texts: list[Statement | None] = [None] * _RECENT

    @property
    def size(self) -> int:
        """Keys held."""
        return len(self._young) + len(self._old)

    @property
    def used_bytes(self) -> int:
        """Memory taken, as estimated."""
        return self._young_bytes + self._old_bytes

    def _find(self, key: bytes) -> Statement | None:
        statement = self._young.get(key)
        if statement is None and self._old:
            statement = self._old.pop(key, None)
            if statement is not None:
                self._old_bytes -= self._cost(key, statement)
                self._store(key, statement)
        return statement

    def _learn(self, key: bytes, text: bytes) -> Statement:
        statement = self._classify(text)
        if statement.literal_sensitive and key[:1] != b"\0":
            # An error may hang on this literal alone; anything else sensitive is so with every literal.
            if statement.target is not Target.ERROR:
                self._store(key, _BY_TEXT)
            key = b"\0" + text
        if key in self._learned:
            statement = self._refused(statement)
        self._store(key, statement)
        return statement

    def _refused(self, known: Statement) -> Statement:
        return Statement(
            Target.PRIMARY,
            Reason.LEARNED,
            effects=known.effects,
            tag=known.tag,
            literal_sensitive=known.literal_sensitive,
            functions=known.functions,
            relations=known.relations,
            settings=known.settings,
            custom=known.custom,
            through=known.through,
            draws=known.draws,
        )

    def _store(self, key: bytes, statement: Statement) -> None:
        cost = self._cost(key, statement)
        if cost > self._half_bytes // 8:
            return  # one statement must not push out a thousand others
        if self._young_bytes + cost > self._half_bytes:
            self.evictions += len(self._old)
            self._old = self._young
            self._old_bytes = self._young_bytes
            self._young = {}
            self._young_bytes = 0
        if self._young.get(key) is None:
            self._young_bytes += cost
        self._young[key] = statement

    def _cost(self, key: bytes, statement: Statement) -> int:
        names = len(statement.functions) + len(statement.relations) + len(statement.custom)
        return _ENTRY_BYTES + len(key) + names * _NAME_BYTES + len(statement.settings) * _SETTING_BYTES

    def _is_ambiguous(self, buf: bytes, start: int, end: int) -> bool:
        i = start
        while i < end:
            if buf[i] == 92 or buf[i] > 127:
                return True
            i += 1
        return False


def is_compiled() -> bool:
    """Whether this module runs compiled."""
    return bool(cython.compiled)
