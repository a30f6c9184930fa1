"""The objects of a catalog, which of them need the primary, and which refer to which."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Key(NamedTuple):
    """An object; numbers are unique in their kind only."""

    kind: str  # function, defaults (a function called without all of its arguments), relation, only (a relation
    # without its children), type, operator
    number: int


class Graph:
    """What is the matter with each object; `spread` makes it the matter of those that refer to it, too."""

    def __init__(self) -> None:
        self.why: dict[Key, str] = {}
        self._referring: dict[Key, list[Key]] = defaultdict(list)  # to -> from: who is spoilt by whom

    def copy(self) -> Graph:
        """Give another one that begins with what this one has."""
        other = Graph()
        other.why |= self.why
        for key, referring in self._referring.items():
            other._referring[key] = list(referring)
        return other

    def spoil(self, key: Key, why: str) -> None:
        """Note that an object needs the primary by itself; "" says nothing."""
        if why:
            self.why.setdefault(key, why)

    def refer(self, key: Key, others: Iterable[Key]) -> None:
        """Note what an object leads to."""
        for other in others:
            self._referring[other].append(key)

    def spread(self, name_of: Callable[[Key], str]) -> None:
        """Spoil all that refers to what is spoilt; the reason names the root."""
        waiting = list(self.why)
        while waiting:
            key = waiting.pop()
            why = self.why[key]
            told = why if " through " in why else f"{why} through {name_of(key)}"
            for other in self._referring.get(key, ()):
                if other not in self.why:
                    self.why[other] = told
                    waiting.append(other)
