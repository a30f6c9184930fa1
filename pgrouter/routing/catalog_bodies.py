"""Reads the bodies of functions, and tells the graphs of a catalog what they do.

That is what they lead to, what speaks against a replica in them, and what they leave in their caller's session.
The statements in a body are judged as any are, with a catalog in which what is the matter with an object is itself: so
what they lead to shows. Names in a body mean what they do for its caller.
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

# Behind LIKE, IN, CASE, NULLIF, BETWEEN, ORDER BY and their like, without a sign of their own in a text
UNSPOKEN = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"})
# Words that begin what is left in a session, where a body could not be parsed
_LEAVING = frozenset("set_config temp temporary pg_temp reset listen unlisten prepare hold".split())  # noqa: SIM905


Said = TypeVar("Said")


def said_of(row: Function, said: Mapping[str, Said]) -> Said | None:
    """Give what the configuration says of a function, None for nothing."""
    return said.get(f"{row.schema}.{row.name}", said.get(row.name))


class _Themselves:
    """Says of an object that it is the matter with it."""

    def why(self, key: Key) -> tuple[Key, ...]:
        return (key,)

    def join(self, one: tuple[Key, ...], other: tuple[Key, ...]) -> tuple[Key, ...]:
        return one + other

    def state(self, key: Key) -> State:
        # Of the rest `why` tells already
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
            if max(operator.left, operator.right) < FIRST_NORMAL:  # others are their types' affair
                self._by_word[operator.name].append(Key("operator", operator.oid))

    def read_into(self, graphs: Sequence[Graph], settings: set[str]) -> None:
        """Read all bodies, into the graph at home and the one for anywhere; `settings` gets custom ones they name."""
        for row in self._facts.functions:
            key = Key("function", row.oid)
            believed = said_of(row, self._said) == SAFE
            if not row.definition or believed or (graphs[0].is_closed(key) and key in graphs[0].why):
                continue  # all is known of it
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
