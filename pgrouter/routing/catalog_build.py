"""Facts of a catalog -> Catalog: which names need the primary, by themselves or through what they use. Pure.

Every function, relation, type and operator is an object of one graph; an object that needs the primary makes all
objects that refer to it need the primary, too. What is trusted and what is not:

- a VOLATILE function writes, unless the configuration says otherwise; so does a function in a language whose body
  cannot be read here (PL/Python ...). STABLE and IMMUTABLE are believed for C and checked for SQL and PL/pgSQL;
- reading from a view, or from a table with row-security policies, means what these evaluate; reading from a table also
  means its children. Sequences and foreign tables need the primary; a standby has no unlogged tables;
- a type refers to all functions that PostgreSQL may call for it implicitly: input and output, checks of a domain,
  casts, operators, operator classes. So operators and casts matter by themselves only if all their types are built in.

The same graph shows what using an object leaves in the session (`Graph.leave`): code may set, lock, listen, create
temporary objects. "written" is what a write to a relation runs: triggers, defaults, checks, policies, rules, and the
same for whatever it writes to in turn. Bodies are read by `catalog_bodies`.

There are two graphs: `at_home`, for roles with the usual search_path, and `anywhere`, where a name may belong to any
schema.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgrouter.routing.catalog import SAFE, Catalog
from pgrouter.routing.catalog_bodies import Bodies, said_of
from pgrouter.routing.catalog_facts import FIRST_NORMAL
from pgrouter.routing.catalog_graph import Graph, Key
from pgrouter.routing.catalog_names import Names, Paths, begins_with
from pgrouter.routing.extensions import ANYTHING, left_by
from pgrouter.routing.functions import effects_of_builtin, in_code, why_builtin, why_relation
from pgrouter.routing.knowledge import EXTENSION_SAFE_VOLATILE, EXTENSION_SQL_IN_STRING, RUNS_SQL
from pgrouter.routing.node_trees import References, references
from pgrouter.routing.statement import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgrouter.routing.catalog_facts import Facts, Function, Relation

RELATION_KINDS = {"f": "foreign table", "S": "sequence"}
UNDERSTOOD = ("sql", "plpgsql")
TRUSTED = ("c", "internal")


class Judged:
    """Every object of a database, judged; what the configuration says about functions is included."""

    def __init__(self, facts: Facts, configured: Catalog) -> None:
        self._paths = Paths(facts)
        self._home = self._paths.of("")
        settings: set[str] = set()
        graphs = [_graph(facts, configured, settings)]
        if not _looks_alike(facts, self._home):
            graphs.append(graphs[0].copy())
        Bodies(facts, configured, self._home).read_into(graphs, settings)
        name_of = _names(facts)
        for graph in graphs:
            graph.spread(lambda key: name_of.get(key, "?"))
        common = replace(configured, settings=frozenset(settings))
        names = [Names(facts, common, Verdicts(graph)) for graph in graphs]
        self._at_home, self._anywhere = names[0], names[-1]
        self._at_home.catalog(self._home)  # build it now, in this thread, not when the first client needs it
        self._anywhere.catalog(None)
        self._idle_timeouts = facts.idle_timeouts, facts.idle_timeout
        self.size = f"{len(facts.functions)} functions, {len(facts.relations)} relations"

    def catalog(self, role: str | None) -> Catalog:
        """Return the names as seen by a role that has not changed its search_path; None: by any search_path."""
        path = None if role is None else self._paths.of(role)
        return (self._at_home if path == self._home else self._anywhere).catalog(path)

    def idle_timeout(self, role: str) -> str:
        """Return the idle_session_timeout that a role's sessions begin with."""
        defaults, otherwise = self._idle_timeouts
        return begins_with(defaults, role, otherwise)


class Verdicts:
    """What a graph says about objects after `spread`."""

    def __init__(self, graph: Graph) -> None:
        self.state = graph.state
        self._graph = graph

    def why(self, key: Key) -> str:
        """Return why the primary is needed, SAFE if it is not."""
        return self._graph.why.get(key, SAFE)

    def join(self, one: str, other: str) -> str:
        """Combine the objects that a name may mean: one that needs the primary is enough."""
        return one or other


def _looks_alike(facts: Facts, home: tuple[str, ...]) -> bool:
    """Whether names mean the same at home and anywhere: all are visible, and none is also a built-in one."""
    rows = (*facts.functions, *facts.relations, *facts.types, *facts.operators)
    return not facts.rival_functions and not facts.rival_operators and {row.schema for row in rows} <= {*home}


def _names(facts: Facts) -> dict[Key, str]:
    names = {Key("function", int(number)): name for number, name in facts.builtin_functions.items()}
    for number, _, name in facts.builtin_relations:
        names[Key("relation", number)] = names[Key("only", number)] = name
    for kinds, rows in (
        (("function", "defaults"), facts.functions),
        (("relation", "only", "written", "inserted"), facts.relations),
        (("type",), facts.types),
        (("operator",), facts.operators),
    ):
        names |= {Key(kind, row.oid): row.name for row in rows for kind in kinds}
    return names


# -- why an object by itself needs the primary, and what it refers to, except bodies ---------------------------------


def _graph(facts: Facts, configured: Catalog, settings: set[str]) -> Graph:
    graph = Graph()
    for number, name in facts.builtin_functions.items():
        key = Key("function", int(number))
        graph.spoil(key, why_builtin(name))
        effects = int(Effect.SETTINGS) if name == "set_config" else effects_of_builtin(name)
        graph.leave(key, in_code(effects), name)
    for number, schema, name in facts.builtin_relations:
        for kind in ("relation", "only"):
            graph.spoil(Key(kind, number), why_relation(schema, name))
        if (schema, name) == ("pg_catalog", "pg_settings"):
            graph.leave(Key("written", number), int(Effect.CODE), name)  # its rule calls set_config
            graph.refer(Key("inserted", number), [Key("written", number)])
    follow = _Trees(facts, graph, settings).follow
    for function in facts.functions:
        _function(function, configured, graph, follow)
        settings.update(function.settings)
    domains = {row.oid: row.types for row in facts.types if row.trees}
    for relation in facts.relations:
        _relation(relation, domains, graph, follow)
    for row in facts.types:
        key = Key("type", row.oid)
        graph.refer(key, _keys("type", row.types))
        graph.refer(key, _keys("function", row.functions))
        follow(key, row.trees)
    _operators_and_casts(facts, graph)
    _writes(facts, graph, follow)
    return graph


class _Trees:
    def __init__(self, facts: Facts, graph: Graph, settings: set[str]) -> None:
        self._graph, self._settings = graph, settings
        self._read: dict[str, References] = {}  # a view's query is needed twice
        self._functions_of_operators = {row.oid: row.function for row in facts.operators}

    def follow(self, key: Key, trees: Iterable[str]) -> None:
        """Add references to all objects in expressions that PostgreSQL keeps parsed."""
        for tree in trees:
            found = self._read.get(tree) or references(tree)
            if key.kind == "only":
                self._read[tree] = found
            self._graph.spoil(key, found.why)
            self._settings |= found.settings
            if found.sets_any:
                self._graph.leave(key, int(Effect.OTHER_STATE), "set_config")
            if found.draws:
                self._graph.leave(key, int(Effect.DRAWS), "")
            if found.writes:
                self._graph.refer(key, _keys("inserted", found.relations | found.only))
            elif key.kind in ("written", "inserted"):  # a write to a view is a write to what it reads from
                self._graph.refer(key, _keys(key.kind, found.relations | found.only))
            self._graph.refer(key, _keys("function", found.functions))
            self._graph.refer(key, _keys("relation", found.relations))
            self._graph.refer(key, _keys("only", found.only))
            self._graph.refer(key, _keys("type", (number for number in found.types if number >= FIRST_NORMAL)))
            operators = found.operators & self._functions_of_operators.keys()
            self._graph.refer(key, _keys("function", (self._functions_of_operators[number] for number in operators)))


def _keys(kind: str, numbers: Iterable[int]) -> Iterator[Key]:
    return (Key(kind, number) for number in numbers)


def _function(row: Function, configured: Catalog, graph: Graph, follow: Callable[[Key, Iterable[str]], None]) -> None:
    key, with_defaults = Key("function", row.oid), Key("defaults", row.oid)
    graph.refer(with_defaults, [key])
    said = said_of(row, configured.configured)
    _what_it_leaves(row, key, said, configured, graph)
    graph.spoil(key, _why_function(row, configured) if said is None else said)
    if said == SAFE:
        return
    follow(key, row.trees)
    follow(with_defaults, row.default_trees)
    graph.refer(key, _keys("function", row.parts))
    graph.refer(key, _keys("type", [*row.takes, row.gives]))


def _what_it_leaves(row: Function, key: Key, said: str | None, configured: Catalog, graph: Graph) -> None:
    declared = said_of(row, configured.declared)
    known = left_by(row.extension, row.name)
    if declared is not None:
        graph.close(key, declared, row.name)
    elif said == SAFE:
        graph.close(key, 0, "")
    elif known is not None:
        graph.close(key, known, row.name)
    elif row.language in UNDERSTOOD or row.kind == "a":  # judged by its body, or its parts
        if any("." in name for name in row.settings):
            graph.leave(key, int(Effect.CUSTOM), "")
    elif row.language not in TRUSTED or row.volatility == "v":
        graph.leave(key, ANYTHING, row.name if row.language in TRUSTED else f"{row.language} in {row.name}")


def _why_function(row: Function, configured: Catalog) -> str:
    looked_into = configured.volatile_by_body and row.language in UNDERSTOOD
    known = row.extension and row.name in EXTENSION_SAFE_VOLATILE
    if row.volatility == "v" and not looked_into and not known:
        return "volatile function"
    if row.language not in (*UNDERSTOOD, *TRUSTED):
        return f"written in {row.language}"
    if row.extension and row.name in EXTENSION_SQL_IN_STRING:
        return RUNS_SQL
    return SAFE


def _relation(
    row: Relation, domains: dict[int, list[int]], graph: Graph, follow: Callable[[Key, Iterable[str]], None]
) -> None:
    graph.refer(Key("relation", row.oid), _keys("relation", row.children))
    graph.refer(Key("relation", row.oid), [Key("only", row.oid)])
    key = Key("only", row.oid)
    graph.spoil(key, RELATION_KINDS.get(row.kind, ""))
    if row.persistence == "u":
        graph.spoil(key, "unlogged table")
    follow(key, row.trees)
    for _, number in row.columns:  # a domain was checked when the row was written
        graph.refer(key, _keys("type", domains.get(number, [number])))


def _operators_and_casts(facts: Facts, graph: Graph) -> None:
    for row in facts.operators:
        graph.refer(Key("operator", row.oid), [Key("function", row.function)])
        for number in (row.left, row.right):
            if number >= FIRST_NORMAL:
                graph.refer(Key("type", number), [Key("function", row.function)])
    for cast in facts.casts:
        for number in (cast.source, cast.target):
            if number >= FIRST_NORMAL:
                graph.refer(Key("type", number), [Key("function", cast.function)])


def _writes(facts: Facts, graph: Graph, follow: Callable[[Key, Iterable[str]], None]) -> None:
    """Add what a write to a relation runs."""
    for relation in facts.relations:
        key, inserted = Key("written", relation.oid), Key("inserted", relation.oid)
        graph.refer(inserted, [key])
        graph.refer(inserted, _keys("inserted", relation.children))
        graph.refer(key, _keys("written", relation.children))
        graph.refer(key, _keys("type", (number for _, number in relation.columns if number >= FIRST_NORMAL)))
        if relation.kind == "v":
            follow(key, relation.trees)
            follow(inserted, relation.trees)
    graph.refer(Key("written", 0), _keys("written", (relation.oid for relation in facts.relations)))
    graph.refer(Key("inserted", 0), _keys("inserted", (relation.oid for relation in facts.relations)))
    graph.refer(Key("relation", 0), _keys("relation", (relation.oid for relation in facts.relations)))
    for number, tree in (*facts.written, *facts.rules):
        follow(Key("written", number), [tree])
    for number, tree in facts.inserted:
        follow(Key("inserted", number), [tree])
    for number, function in facts.triggers:
        graph.refer(Key("written", number), [Key("function", function)])
    for number, other in facts.foreign_keys:
        graph.refer(Key("written", number), [Key("inserted", other)])  # SET DEFAULT
    graph.refer(Key("events", 0), _keys("function", facts.event_triggers))
