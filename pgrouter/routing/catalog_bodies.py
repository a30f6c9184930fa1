"""Reads the bodies of functions and enters what they do into the graphs of a catalog.

That is which objects they use, what in them needs the primary, and what they leave in their caller's session. The
statements in a body are classified like any others, but with a catalog in which every object is its own reason to need
the primary, so the result shows which objects were used. Names in a body are resolved as for its caller.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from pgrouter.routing import bodies
from pgrouter.routing.catalog import NO_STATE, SAFE, State
from pgrouter.routing.catalog_facts import FIRST_NORMAL
from pgrouter.routing.catalog_graph import Key
from pgrouter.routing.catalog_names import Names
from pgrouter.routing.code import run
from pgrouter.routing.commands import examine
from pgrouter.routing.functions import effects_of_builtin, in_code, why_builtin
from pgrouter.routing.statement import Effect, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgrouter.routing.bodies import Body
    from pgrouter.routing.catalog import Catalog
    from pgrouter.routing.catalog_facts import Facts, Function
    from pgrouter.routing.catalog_graph import Graph

# Operators behind LIKE, IN, CASE, NULLIF, BETWEEN, ORDER BY and the like, which do not appear in the text
UNSPOKEN = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"})
# Words that begin commands that leave something in a session, for bodies that could not be parsed
_LEAVING = frozenset("set_config temp temporary pg_temp reset listen unlisten prepare hold".split())  # noqa: SIM905


Said = TypeVar("Said")


def said_of(row: Function, said: Mapping[str, Said]) -> Said | None:
    """Return what the configuration says about a function, None for nothing."""
    return said.get(f"{row.schema}.{row.name}", said.get(row.name))


class _Themselves:
    """A Judge for which every object is its own reason to need the primary."""

    def why(self, key: Key) -> tuple[Key, ...]:
        return (key,)

    def join(self, one: tuple[Key, ...], other: tuple[Key, ...]) -> tuple[Key, ...]:
        return one + other

    def state(self, key: Key) -> State:
        # `why` already reports the others
        return State(0, "", (key,)) if key.kind in ("written", "inserted", "events") else NO_STATE


class Bodies:
    """Reads the bodies of a catalog's functions."""

    def __init__(self, facts: Facts, configured: Catalog, home: tuple[str, ...]) -> None:
        self._facts, self._said = facts, configured.configured
        everything = Names(facts, configured, _Themselves())
        self._at_home, self._anywhere = everything.catalog(home), everything.catalog(None)
        self._by_word: dict[str, list[Key]] = defaultdict(list)
        self._types: dict[str, list[Key]] = defaultdict(list)
        for kind, rows in (("defaults", facts.functions), ("relation", facts.relations), ("type", facts.types)):
            for row in rows:
                self._by_word[row.name].append(Key(kind, row.oid))
        for relation in facts.relations:
            self._by_word[relation.name].append(Key("inserted", relation.oid))
        for row in facts.types:
            self._types[row.name].append(Key("type", row.oid))
        for operator in facts.operators:
            if max(operator.left, operator.right) < FIRST_NORMAL:  # others are handled with their types
                self._by_word[operator.name].append(Key("operator", operator.oid))

    def read_into(self, graphs: Sequence[Graph], settings: set[str]) -> None:
        """Read all bodies into the graphs (at home, anywhere); custom settings they name are added to `settings`."""
        for row in self._facts.functions:
            key = Key("function", row.oid)
            believed = said_of(row, self._said) == SAFE
            if not row.definition or believed or (graphs[0].is_closed(key) and key in graphs[0].why):
                continue  # nothing more to learn about it
            body = bodies.read(row.definition, row.language, self._facts.builtin_types, self._anywhere.columns)
            for at, graph in enumerate(graphs):
                self._read(row, body, self._anywhere if at or row.own_path else self._at_home, graph, settings)

    def _read(self, row: Function, body: Body, catalog: Catalog, graph: Graph, settings: set[str]) -> None:
        key = Key("function", row.oid)
        ran = run(body, catalog, examine)
        settings |= ran.custom
        graph.spoil(key, body.why)
        for _, reason, cause, _ in ran.objections:
            if reason != Reason.CATALOG:
                graph.spoil(key, f"{reason}: {cause}" if cause else reason)
        graph.leave(key, ran.effects, f"{ran.cause} through {row.name}")
        graph.refer(key, (other for keys in ran.blamed for other in keys if other != key))
        graph.refer(key, (other for other in ran.objects if other != key))
        for word in bodies.words_of(row.definition) & self._types.keys():
            graph.refer(key, self._types[word])
        if body.words:
            self._in_words(key, row, body, graph)

    def _in_words(self, key: Key, row: Function, body: Body, graph: Graph) -> None:
        for word in body.words | UNSPOKEN:
            graph.refer(key, (other for other in self._by_word.get(word, ()) if other != key))
            why = why_builtin(word)
            graph.spoil(key, f"{why}: {word}" if why else "")
            effects = in_code(effects_of_builtin(word)) | (Effect.CODE if word in _LEAVING else 0)
            graph.leave(key, int(effects), f"{word} through {row.name}")
