"""Facts of a catalog -> Catalog: which names need the primary, by themselves or by what they lead to. Pure.

Every function, relation, type and operator is an object of one graph; an object that must not be asked of a replica
makes those that refer to it the same. What is trusted, and what is not:

- a VOLATILE function writes, unless the configuration says otherwise; so does a function in a language whose body
  cannot be read here (PL/Python ...). STABLE and IMMUTABLE are believed of C and checked in SQL and PL/pgSQL;
- reading from a view, or from a table with row-security policies, is what they evaluate; from a table, also what its
  children are. Sequences and foreign tables are the primary's; a standby has no unlogged tables;
- a type leads to all functions that PostgreSQL may call for it unseen: input and output, checks of a domain, casts,
  operators, operator classes. So an operator or cast matters here only where its types are all built in.

The queries in a body are walked as any statement is, with a catalog in which what is the matter with an object is
itself: so the walk tells what they lead to. Names in a body mean what they do for its caller. There are two graphs:
`at_home`, for those who see what nearly everybody sees, and `anywhere`, where a name may be one of any schema.
"""

from __future__ import annotations

from collections import defaultdict
from operator import add
from typing import TYPE_CHECKING

from pgrouter.routing import bodies
from pgrouter.routing.catalog import SAFE, Catalog
from pgrouter.routing.catalog_facts import FIRST_NORMAL
from pgrouter.routing.catalog_graph import Graph, Key
from pgrouter.routing.catalog_names import Names, Paths
from pgrouter.routing.functions import why_builtin, why_relation
from pgrouter.routing.knowledge import EXTENSION_SAFE_VOLATILE, EXTENSION_SQL_IN_STRING, RUNS_SQL
from pgrouter.routing.node_trees import references
from pgrouter.routing.statement import Reason
from pgrouter.routing.tree import Findings, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pgrouter.routing.bodies import Body
    from pgrouter.routing.catalog_facts import Facts, Function, Relation

RELATION_KINDS = {"f": "foreign table", "S": "sequence"}
UNDERSTOOD = ("sql", "plpgsql")
TRUSTED = ("c", "internal")
# Behind LIKE, IN, CASE, NULLIF, BETWEEN, ORDER BY and their like, without a sign of their own in a text
UNSPOKEN = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"})


class Judged:
    """Every object of a database, judged; what the configuration says of a function is said of it here, too."""

    def __init__(self, facts: Facts, configured: Catalog) -> None:
        self._paths = Paths(facts)
        self._home = self._paths.of("")
        graphs = [_graph(facts, configured)]
        if not _looks_alike(facts, self._home):
            graphs.append(graphs[0].copy())
        _Bodies(facts, configured, self._home).read_into(graphs)
        name_of = _names(facts)
        for graph in graphs:
            graph.spread(lambda key: name_of.get(key, "?"))
        names = [Names(facts, configured, _verdict(graph), _either) for graph in graphs]
        self._at_home, self._anywhere = names[0], names[-1]
        self._at_home.catalog(self._home)  # now, in whatever thread this is, and not when somebody comes
        self._anywhere.catalog(None)
        self.size = f"{len(facts.functions)} functions, {len(facts.relations)} relations"

    def catalog(self, role: str | None) -> Catalog:
        """Give the names as a role sees them that has not changed its search_path; None: whatever it is."""
        path = None if role is None else self._paths.of(role)
        return (self._at_home if path == self._home else self._anywhere).catalog(path)


def _looks_alike(facts: Facts, home: tuple[str, ...]) -> bool:
    """Whether names mean the same at home and anywhere: all are in sight, and none is also a built-in one."""
    rows = (*facts.functions, *facts.relations, *facts.types, *facts.operators)
    return not facts.rival_functions and not facts.rival_operators and {row.schema for row in rows} <= {*home}


def _verdict(graph: Graph) -> Callable[[Key], str]:
    return lambda key: graph.why.get(key, SAFE)


def _either(one: str, other: str) -> str:
    """Of all that a name may mean, one that needs the primary is enough."""
    return one or other


def _names(facts: Facts) -> dict[Key, str]:
    names = {Key("function", int(number)): name for number, name in facts.builtin_functions.items()}
    for number, _, name in facts.builtin_relations:
        names[Key("relation", number)] = names[Key("only", number)] = name
    for kinds, rows in (
        (("function", "defaults"), facts.functions),
        (("relation", "only"), facts.relations),
        (("type",), facts.types),
        (("operator",), facts.operators),
    ):
        names |= {Key(kind, row.oid): row.name for row in rows for kind in kinds}
    return names


# -- what is the matter with an object itself, and what it refers to, but for bodies ---------------------------------


def _graph(facts: Facts, configured: Catalog) -> Graph:
    graph = Graph()
    for number, name in facts.builtin_functions.items():
        graph.spoil(Key("function", int(number)), why_builtin(name))
    for number, schema, name in facts.builtin_relations:
        for kind in ("relation", "only"):
            graph.spoil(Key(kind, number), why_relation(schema, name))
    follow = _Trees(facts, graph).follow
    for function in facts.functions:
        _function(function, configured, graph, follow)
    domains = {row.oid: row.types for row in facts.types if row.trees}
    for relation in facts.relations:
        _relation(relation, domains, graph, follow)
    for row in facts.types:
        key = Key("type", row.oid)
        graph.refer(key, _keys("type", row.types))
        graph.refer(key, _keys("function", row.functions))
        follow(key, row.trees)
    _operators_and_casts(facts, graph)
    return graph


class _Trees:
    def __init__(self, facts: Facts, graph: Graph) -> None:
        self._graph = graph
        self._functions_of_operators = {row.oid: row.function for row in facts.operators}

    def follow(self, key: Key, trees: Iterable[str]) -> None:
        """Refer to what expressions refer to that PostgreSQL has parsed."""
        for tree in trees:
            found = references(tree)
            self._graph.spoil(key, found.why)
            self._graph.refer(key, _keys("function", found.functions))
            self._graph.refer(key, _keys("relation", found.relations))
            self._graph.refer(key, _keys("only", found.only))
            self._graph.refer(key, _keys("type", (number for number in found.types if number >= FIRST_NORMAL)))
            operators = found.operators & self._functions_of_operators.keys()
            self._graph.refer(key, _keys("function", (self._functions_of_operators[number] for number in operators)))


def _keys(kind: str, numbers: Iterable[int]) -> Iterator[Key]:
    return (Key(kind, number) for number in numbers)


def said_of(row: Function, configured: Catalog) -> str | None:
    """Give what the configuration says of a function, None for nothing."""
    for name in (f"{row.schema}.{row.name}", row.name):
        if name in configured.configured:
            return configured.configured[name]
    return None


def _function(row: Function, configured: Catalog, graph: Graph, follow: Callable[[Key, Iterable[str]], None]) -> None:
    key, with_defaults = Key("function", row.oid), Key("defaults", row.oid)
    graph.refer(with_defaults, [key])
    said = said_of(row, configured)
    if said is not None:
        graph.spoil(key, said)
        return
    graph.spoil(key, _why_function(row, configured))
    follow(key, row.trees)
    follow(with_defaults, row.default_trees)
    graph.refer(key, _keys("function", row.parts))
    graph.refer(key, _keys("type", [*row.takes, row.gives]))


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
    for _, number in row.columns:  # a domain was checked when it was written
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


# -- bodies ---------------------------------------------------------------------------------------------------------


class _Bodies:
    """Reads the bodies of functions, and tells the graphs what they lead to."""

    def __init__(self, facts: Facts, configured: Catalog, home: tuple[str, ...]) -> None:
        self._facts = facts
        self._configured = configured
        everything = Names(facts, configured, lambda key: (key,), add)
        self._at_home, self._anywhere = everything.catalog(home), everything.catalog(None)
        self._by_word: dict[str, list[Key]] = defaultdict(list)
        self._types: dict[str, list[Key]] = defaultdict(list)
        for kind, rows in (("defaults", facts.functions), ("relation", facts.relations), ("type", facts.types)):
            for row in rows:
                self._by_word[row.name].append(Key(kind, row.oid))
        for row in facts.types:
            self._types[row.name].append(Key("type", row.oid))
        for operator in facts.operators:
            if max(operator.left, operator.right) < FIRST_NORMAL:  # others are their types' affair
                self._by_word[operator.name].append(Key("operator", operator.oid))

    def read_into(self, graphs: Sequence[Graph]) -> None:
        """Read all bodies that are not decided without, into the graph at home and the one for anywhere."""
        for row in self._facts.functions:
            key = Key("function", row.oid)
            if not row.definition or key in graphs[0].why or said_of(row, self._configured) is not None:
                continue
            body = bodies.read(row.definition, row.language, self._facts.builtin_types, self._anywhere.columns)
            words = bodies.words_of(row.definition)
            for at, graph in enumerate(graphs):
                if body.why:
                    graph.spoil(key, body.why)
                else:
                    catalog = self._anywhere if at or row.own_path else self._at_home
                    self._meant(key, body, catalog, graph)
                for word in words & self._types.keys():
                    graph.refer(key, self._types[word])

    def _meant(self, key: Key, body: Body, catalog: Catalog, graph: Graph) -> None:
        for query in body.queries:
            found = Findings(catalog, body.variables)
            walk(query, found)
            for _, reason, cause, _ in found.objections:
                if reason != Reason.CATALOG:
                    graph.spoil(key, f"{reason}: {cause}" if cause else reason)
            graph.refer(key, (other for keys in found.blamed for other in keys if other != key))
        if body.words:
            for word in body.words | UNSPOKEN:
                graph.refer(key, (other for other in self._by_word.get(word, ()) if other != key))
                why = why_builtin(word)
                graph.spoil(key, f"{why}: {word}" if why else "")
