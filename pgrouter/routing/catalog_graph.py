"""The objects of a catalog: which need the primary, what each leaves in a session, and which refer to which."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.routing.catalog import NO_STATE, State
from pgrouter.routing.functions import STATE
from pgrouter.routing.statement import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Key(NamedTuple):
    """An object; numbers are unique within their kind only."""

    # function, defaults (a function called without all of its arguments), relation, only (a relation without its
    # children), written (a relation that is written to), inserted (one that gets rows), type, operator, events (all
    # event triggers)
    kind: str
    number: int  # 0 for relation, written, inserted: any of them


_THROUGH = " through "


class Graph:
    """Why each object needs the primary and what it leaves; `spread` passes both on to the objects that refer to it."""

    def __init__(self) -> None:
        self.why: dict[Key, str] = {}
        self._effects: dict[Key, int] = {}  # Effect flags; their causes are in `_causes`
        self._causes: dict[Key, str] = {}
        self._closed: set[Key] = set()
        self._referring: dict[Key, list[Key]] = defaultdict(list)  # object -> those that refer to it

    def copy(self) -> Graph:
        """Return a copy that can be extended independently."""
        other = Graph()
        other.why |= self.why
        other._effects |= self._effects
        other._causes |= self._causes
        other._closed |= self._closed
        for key, referring in self._referring.items():
            other._referring[key] = list(referring)
        return other

    def spoil(self, key: Key, why: str) -> None:
        """Record that an object needs the primary by itself; "" records nothing."""
        if why:
            self.why.setdefault(key, why)

    def leave(self, key: Key, effects: int, cause: str) -> None:
        """Record the effects that using an object has on the session by itself; `cause` says what in it has them."""
        if effects and key not in self._closed:
            self._effects[key] = self._effects.get(key, 0) | effects
            if effects & STATE:
                self._causes.setdefault(key, cause)

    def close(self, key: Key, effects: int, cause: str) -> None:
        """Record that an object leaves exactly this, whatever it refers to."""
        self.leave(key, effects, cause)
        self._closed.add(key)

    def is_closed(self, key: Key) -> bool:
        """Whether it is already settled what an object leaves."""
        return key in self._closed

    def refer(self, key: Key, others: Iterable[Key]) -> None:
        """Record what an object refers to."""
        for other in others:
            self._referring[other].append(key)

    def state(self, key: Key) -> State:
        """Return what using an object leaves; valid after `spread`."""
        effects = self._effects.get(key, 0)
        if not effects:
            return NO_STATE
        if effects & Effect.DRAWS:
            effects &= ~Effect.SEQUENCES  # it asks for values that it has drawn itself
        return State(int(effects), self._causes.get(key, ""))

    def spread(self, name_of: Callable[[Key], str]) -> None:
        """Pass reasons and effects on to all referring objects; the cause names the root.

        What leaves anything needs the primary: nothing may ever be left on a replica.
        """
        self._spread_effects(name_of)
        self._spread_why(name_of)
        for key, cause in self._causes.items():
            self.why.setdefault(key, f"may change the session: {cause}")

    def _spread_why(self, name_of: Callable[[Key], str]) -> None:
        waiting = list(self.why)
        while waiting:
            key = waiting.pop()
            why = self.why[key]
            told = _told(why, key, name_of)
            for other in self._referring.get(key, ()):
                if other not in self.why:
                    self.why[other] = told
                    waiting.append(other)

    def _spread_effects(self, name_of: Callable[[Key], str]) -> None:
        waiting = list(self._effects)
        while waiting:
            key = waiting.pop()
            effects = self._effects[key]
            for other in self._referring.get(key, ()):
                known = self._effects.get(other, 0)
                if effects & ~known and other not in self._closed:
                    self._effects[other] = known | effects
                    if effects & STATE and other not in self._causes:
                        self._causes[other] = _told(self._causes[key], other, name_of)
                    waiting.append(other)


def _told(cause: str, key: Key, name_of: Callable[[Key], str]) -> str:
    return cause if _THROUGH in cause else f"{cause}{_THROUGH}{name_of(key)}"
