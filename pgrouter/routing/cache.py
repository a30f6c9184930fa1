# cython: annotation_typing=False
"""Classified statements by key: a statement seen before is never parsed again, whatever its literals are.

Two generations: an entry found in the old one moves to the young one, and when the young one has taken half of the
bytes, the old one is dropped and the young one becomes the old one. So a client that sends a million different
statements pays for each of them, while the statements that others use stay cached. Memory is bounded by `max_bytes`, as
estimated by `_cost`; the tests check the estimate against tracemalloc.

Work that would block the event loop is not done here: a text that weighs too much (`weight`) if another thread can
classify it, and any new text once the current round of events has used up its time. The answer is then `UNREAD`.

In front of both is a direct-mapped table of recent statements, indexed by some bytes of the key: a hit there creates no
object and computes no hash (it made routing a known statement 30 % faster).

The same file runs compiled (with cache.pxd) and as plain Python. Not thread-safe.
"""
# ruff: noqa: FBT001, FBT002 (C has no keyword arguments)

from __future__ import annotations

from copy import copy
from hashlib import blake2b
from typing import TYPE_CHECKING

import cython  # type: ignore[import-untyped]
from msgspec.structs import force_setattr

from pgrouter.protocol.framing import is_same
from pgrouter.routing.fingerprint import Fingerprinter
from pgrouter.routing.statement import Effect, Reason, Statement, Target
from pgrouter.routing.verdict import Verdict
from pgrouter.routing.weight import weigh

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.usage import Usages

# A dict entry, a key's header, a Statement and the tuples and strings in it, as tracemalloc sees them.
_ENTRY_BYTES = 550
_NAME_BYTES = 64
_SETTING_BYTES = 300
_RECENT = 1024  # a power of two
_RECENT_KEY_BYTES = 1024
_LEARNED = 10_000  # statements that a replica refused, at most
_LIGHT = 1000  # what is classified at once, in about 3 ms
# What is classified at all: half a second in another thread. 300 kB of rows, or a script of 10,000 commands.
_HEAVIEST = 120_000
_BIG_BYTES = 256 * 1024  # the first part of a text that shows whether there are too many words in it
_SHORT_BYTES = 32  # kept of each refused key

_STRICT = Statement(Target.PRIMARY, Reason.LEXING, effects=int(Effect.CODE), literal_sensitive=True)
UNREAD = Statement(Target.PRIMARY, Reason.TOO_LONG, effects=int(Effect.OTHER_STATE | Effect.CODE))
"""Not judged yet, which is true of any text: who can wait asks again, after the next round or when it was read."""
LATER = -1  # UNREAD, where a number is expected

LONG = Statement(Target.PRIMARY, Reason.TOO_LONG, effects=int(Effect.OTHER_STATE | Effect.CODE))
_BY_TEXT = Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, literal_sensitive=True)  # a marker, never handed out


class StatementCache:
    """Looks up the `Statement` of a text. `classify` (bytes -> Statement) is called once per key."""

    def __init__(
        self,
        classify: Callable[[bytes], Statement],
        max_bytes: int = 64 * 1024 * 1024,
        max_parsed_bytes: int = 1024 * 1024,
        learned: dict[bytes, bool] | None = None,
        late: Callable[[], bool] | None = None,
        usages: Usages | None = None,
    ) -> None:
        self.classify = classify
        self.on_learned: Callable[[Statement], None] | None = None  # called with statements classified elsewhere
        self.late = late  # whether the round of events has used up its time; None: there are no rounds
        self.has_reader = False  # another thread classifies what is too heavy to be done here
        self.wanted: bytes | None = None  # the text for the reader, if the last answer was UNREAD; None: out of time
        self._answered: bytes | None = None  # the text that the reader answered last, and its class
        self._answer = UNREAD
        self._half_bytes = max_bytes // 2
        self._max_parsed_bytes = max_parsed_bytes
        self._big_bytes = min(_BIG_BYTES, max_parsed_bytes)
        self._fingerprinter = Fingerprinter()
        self._young: dict[bytes, Statement] = {}
        self._old: dict[bytes, Statement] = {}
        self._learned = learned if learned is not None else {}  # keys of statements that a replica has refused
        self._usages = usages  # what is counted of each statement
        self._young_bytes = 0
        self._old_bytes = 0
        self._forget_recent()
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def lookup(self, buf: bytes, start: int, end: int, unusual_strings: bool = False) -> Statement:
        """Return the class of the statement in buf[start:end]; it is parsed only if its key is new.

        `unusual_strings`: the session's standard_conforming_strings is off, or its client_encoding may
        hide a backslash or a quote inside a character (BIG5, GB18030, GBK, JOHAB, SJIS, UHC). If that could change
        the meaning, the statement goes to the primary unparsed.
        """
        if end - start > self._big_bytes and self._is_too_long(buf, start, end):
            return LONG
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

    def _is_too_long(self, buf: bytes, start: int, end: int) -> bool:
        """Whether a big text is never parsed: not even its fingerprint, which takes milliseconds, is needed then."""
        if end - start > self._max_parsed_bytes:
            return True
        return weigh(buf, start, start + self._big_bytes, _HEAVIEST) > _HEAVIEST

    def lookup_again(self, buf: bytes, start: int, end: int, unusual_strings: bool = False) -> Statement:
        """Like `lookup`, for a text that most likely comes again byte for byte, as those of Parse do."""
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
        if size <= _RECENT_KEY_BYTES and statement is not UNREAD:
            self._texts[slot] = buf[start:end]
            self._of_texts[slot] = statement
        return statement

    def lookup_now(self, buf: bytes, start: int, end: int, unusual_strings: bool = False) -> Statement:
        """Like `lookup`, for callers that cannot wait: classified now, or not at all if that would take long."""
        statement = self.lookup(buf, start, end, unusual_strings)
        if statement is not UNREAD:
            return statement
        return LONG if self.wanted is not None else self.learn(buf[start:end], self.classify(buf[start:end]))

    def learn(self, text: bytes, statement: Statement) -> Statement:
        """Store the class of a text for which the answer was UNREAD; return what statements with its key will get."""
        if self.on_learned is not None:
            self.on_learned(statement)
        self._answered = text
        self._answer = statement = self._note(self._fingerprinter.key(text, 0, len(text)), text, statement)
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
        """Remember that a replica refused this statement: from now on its key goes to the primary."""
        known = self.lookup_now(buf, start, end)
        key = self._fingerprinter.key(buf, start, end)
        if known.literal_sensitive:
            key = b"\0" + buf[start:end]
        if len(self._learned) >= _LEARNED:
            del self._learned[next(iter(self._learned))]
        self._learned[_short(key)] = True
        refused = self._counted(key, self._refused(known))
        self._forget_recent()
        self._store(key, refused)
        return refused

    def clear(self) -> None:
        """Forget every class, as after a change of the catalog; refusals by replicas stay."""
        self.evictions += len(self._young) + len(self._old)
        self._young = {}
        self._old = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._forget_recent()

    def _forget_recent(self) -> None:
        self._recent: list[bytes | Statement | None] = [None] * (2 * _RECENT)  # each key, followed by its statement
        self._answered = None
        self._texts: list[bytes | None] = [None] * _RECENT
        self._of_texts: list[Statement | None] = [None] * _RECENT

    @property
    def size(self) -> int:
        """Number of keys in the cache."""
        return len(self._young) + len(self._old)

    @property
    def used_bytes(self) -> int:
        """Estimated memory in use."""
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
        if self._answered is not None and self._answered == text:
            return self._answer
        weight = weigh(text, 0, len(text), _HEAVIEST)
        if weight > _HEAVIEST:
            return LONG
        if weight > _LIGHT and self.has_reader:
            self.wanted = text
            return UNREAD
        if self.late is not None and self.late():
            self.wanted = None
            return UNREAD
        return self._note(key, text, self.classify(text))

    def _note(self, key: bytes, text: bytes, statement: Statement) -> Statement:
        if statement.literal_sensitive and key[:1] != b"\0":
            # An error may be due to this literal alone; any other sensitive class is so with every literal.
            if statement.target is not Target.ERROR:
                self._store(key, _BY_TEXT)
            key = b"\0" + text
        if self._learned and _short(key) in self._learned:
            statement = self._refused(statement)
        statement = self._counted(key, statement)
        self._store(key, statement)
        return statement

    def _counted(self, key: bytes, statement: Statement) -> Statement:
        """Return a statement with a verdict of its own, which knows where its calls are counted."""
        if self._usages is None:
            return statement
        counted = copy(statement)
        verdict = statement.verdict
        force_setattr(counted, "verdict", Verdict(verdict.flags, verdict.reason, self._usages.of(key, statement)))
        return counted

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


def _short(key: bytes) -> bytes:
    """Return a short stand-in for the key of a refused statement: the key itself or its hash."""
    return key if len(key) <= _SHORT_BYTES else blake2b(key, digest_size=_SHORT_BYTES).digest()


def is_compiled() -> bool:
    """Whether this module runs compiled."""
    return bool(cython.compiled)
