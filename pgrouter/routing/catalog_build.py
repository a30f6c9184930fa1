"""Facts of a catalog -> Catalog: which names need the primary, by themselves or by what they lead to. Pure.

Every function, relation, type and operator is an object of one graph; an object that must not be asked of a replica
makes those that refer to it the same. What is trusted, and what is not:

- a VOLATILE function writes, unless the configuration says otherwise; so does a function in a language whose body
  cannot be read here (PL/Python ...). STABLE and IMMUTABLE are believed of C and checked in SQL and PL/pgSQL;
- reading from a view, or from a table with row-security policies, is what they evaluate; from a table, also what its
  children are. Sequences and foreign tables are the primary's; a standby has no unlogged tables;
- a type leads to all functions that PostgreSQL may call for it unseen: input and output, checks of a domain, casts,
  operators, operator classes. So an operator or cast matters here only where its types are all built in.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pgrouter.routing import bodies
from pgrouter.routing.catalog import ANY_NUMBER, SAFE, Catalog, Overload
from pgrouter.routing.catalog_facts import FIRST_NORMAL
from pgrouter.routing.functions import why_builtin, why_relation
from pgrouter.routing.knowledge import EXTENSION_SAFE_VOLATILE, EXTENSION_SQL_IN_STRING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgrouter.routing.bodies import References
    from pgrouter.routing.catalog_facts import Facts, Function, Operator, Relation, Type

RELATION_KINDS = {"f": "foreign table", "S": "sequence"}
_NAME = re.compile(r'"(?:[^"]|"")*"|[^\s,]+')
UNDERSTOOD = ("sql", "plpgsql")
TRUSTED = ("c", "internal")
ANY_ROW = {2249, 2276, 2283, 2776, 5077, 5079}  # record, "any", anyelement, anynonarray, anycompatible(nonarray)
# Behind LIKE, IN, CASE, NULLIF, BETWEEN, ORDER BY and their like, without a sign of their own in a text
UNSPOKEN = frozenset({"=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~"})


class Key(NamedTuple):
    """An object of the catalog; numbers are unique in their kind only."""

    kind: str  # function, relation, only (a relation without its children), type, operator
    number: int


class Judged:
    """Every object of a database, judged; what the configuration says of a function is said of it here, too."""

    def __init__(self, facts: Facts, configured: Catalog) -> None:
        self.facts = facts
        self.configured = configured
        self.why: dict[Key, str] = {}
        self.refers: dict[Key, set[Key]] = defaultdict(set)  # to -> from: who is spoilt by whom
        self.names: dict[Key, str] = {}
        self.by_word: dict[str, list[Key]] = defaultdict(list)
        self.functions_of_operators = {row.oid: row.function for row in facts.operators}
        self.domains = {row.oid: row.types for row in facts.types if row.trees}
        self._catalogs: dict[tuple[str, ...] | None, Catalog] = {}
        self._name_all()
        self._judge_builtins()
        for function in self.facts.functions:
            self._function(function)
        for relation in self.facts.relations:
            self._relation(relation)
        self._types()
        self._operators_and_casts()
        self._spread()
        self._columns = {row.oid: dict(row.columns) for row in facts.relations}
        self._base = self._everywhere()

    def catalog(self, role: str | None) -> Catalog:
        """Give the names as a role sees them that has not changed its search_path; None: whatever it is."""
        path = None if role is None else path_of(self.facts, role)
        if path not in self._catalogs:
            self._catalogs[path] = self._seen(path)
        return self._catalogs[path]

    def _everywhere(self) -> Catalog:
        """Give what is the same whatever the search_path is; `_seen` adds the names."""
        return Catalog(
            attributes=self._attributes(),
            relations=self._system_relations(),
            implicit_cast=self._implicit_cast(),
            rivals=self._rivals(),
            type_numbers=self.facts.builtin_types,
            arrays=frozenset(number for name, number in self.facts.builtin_types.items() if name.startswith("_")),
            implicit=self._implicit(),
            configured=self.configured.configured,
            complete=True,
        )

    def _seen(self, path: tuple[str, ...] | None) -> Catalog:
        system = self._base.relations
        return replace(
            self._base,
            functions=self._overloads(path),
            relations=self._by_name("relation", self.facts.relations, path) | system,
            only=self._by_name("only", self.facts.relations, path) | system,
            types=self._by_name("type", self.facts.types, path),
            operators=self._operators(path),
            columns={name: self._columns[row.oid] for row in self.facts.relations for name in _written(row, path)},
            builtins_first=path is not None and "pg_catalog" not in path,
        )

    # -- names

    def _name_all(self) -> None:
        for kind, rows in (
            ("function", self.facts.functions),
            ("relation", self.facts.relations),
            ("type", self.facts.types),
        ):
            for row in rows:
                key = Key(kind, row.oid)
                self.names[key] = self.names[Key("only", row.oid)] = row.name
                self.by_word[row.name].append(key)
        for operator in self.facts.operators:
            if max(operator.left, operator.right) < FIRST_NORMAL:  # others are their types' affair
                self.by_word[operator.name].append(Key("operator", operator.oid))
            self.names[Key("operator", operator.oid)] = operator.name

    # -- what is the matter with an object itself, and what it refers to

    def _judge_builtins(self) -> None:
        for number, name in self.facts.builtin_functions.items():
            self._spoil(Key("function", int(number)), why_builtin(name), name)
        for number, schema, name in self.facts.builtin_relations:
            for kind in ("relation", "only"):
                self._spoil(Key(kind, number), why_relation(schema, name), name)

    def _spoil(self, key: Key, why: str, name: str = "") -> None:
        if why and key not in self.why:
            self.names.setdefault(key, name)
            self.why[key] = why

    def _refer(self, key: Key, kind: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.refers[Key(kind, number)].add(key)

    def _follow(self, key: Key, references: References) -> None:
        self._spoil(key, references.why)
        self._refer(key, "function", references.functions)
        self._refer(key, "relation", references.relations)
        self._refer(key, "only", references.only)
        self._refer(key, "type", (number for number in references.types if number >= FIRST_NORMAL))
        operators = references.operators & self.functions_of_operators.keys()
        self._refer(key, "function", (self.functions_of_operators[number] for number in operators))
        words = references.words | UNSPOKEN if references.words else ()
        for word in words:
            for found in self.by_word.get(word, ()):
                if found != key and (found.kind != "relation" or word in references.sources):
                    self.refers[found].add(key)
            why = why_builtin(word)
            if why:
                self._spoil(key, f"{why}: {word}")

    def _function(self, row: Function) -> None:
        key = Key("function", row.oid)
        said = self._said(row)
        if said is not None:
            self._spoil(key, said)
            return
        self._spoil(key, _why_function(row))
        for tree in row.trees:
            self._follow(key, bodies.of_tree(tree))
        if row.source and row.language in UNDERSTOOD:
            self._follow(key, bodies.of_text(row.source))
        self._refer(key, "function", row.parts)
        self._refer(key, "type", [*row.takes, row.gives])

    def _said(self, row: Function) -> str | None:
        """Give what the configuration says of a function, None for nothing."""
        for name in (f"{row.schema}.{row.name}", row.name):
            if name in self.configured.configured:
                return self.configured.configured[name]
        return None

    def _relation(self, row: Relation) -> None:
        self._refer(Key("relation", row.oid), "relation", row.children)
        self._refer(Key("relation", row.oid), "only", [row.oid])
        key = Key("only", row.oid)
        self._spoil(key, RELATION_KINDS.get(row.kind, ""), row.name)
        if row.persistence == "u":
            self._spoil(key, "unlogged table")
        for tree in row.trees:
            self._follow(key, bodies.of_tree(tree))
        for _, number in row.columns:  # a domain was checked when it was written
            self._refer(key, "type", self.domains.get(number, [number]))

    def _types(self) -> None:
        for row in self.facts.types:
            key = Key("type", row.oid)
            self._refer(key, "type", row.types)
            self._refer(key, "function", row.functions)
            for tree in row.trees:
                self._follow(key, bodies.of_tree(tree))

    def _operators_and_casts(self) -> None:
        for row in self.facts.operators:
            self._refer(Key("operator", row.oid), "function", [row.function])
            for number in (row.left, row.right):
                if number >= FIRST_NORMAL:
                    self._refer(Key("type", number), "function", [row.function])
        for cast in self.facts.casts:
            for number in (cast.source, cast.target):
                if number >= FIRST_NORMAL:
                    self._refer(Key("type", number), "function", [cast.function])

    # -- spreading

    def _spread(self) -> None:
        """Spoil all that refers to what is spoilt; the reason names the root."""
        waiting = list(self.why)
        while waiting:
            key = waiting.pop()
            why = self.why[key]
            told = why if " through " in why else f"{why} through {self.names.get(key, '?')}"
            for other in self.refers.get(key, ()):
                if other not in self.why:
                    self.why[other] = told
                    waiting.append(other)

    # -- the answer

    def _by_name(self, kind: str, rows: Iterable, path: tuple[str, ...] | None) -> dict[str, str]:
        found: dict[str, str] = {}
        for row in rows:
            why = self.why.get(Key(kind, row.oid), SAFE)
            for name in _written(row, path):
                found[name] = found.get(name) or why
        return found

    def _system_relations(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, schema, name in self.facts.builtin_relations:
            why = self.why.get(Key("relation", number), SAFE)
            found[f"{schema}.{name}"] = why
            if schema == "pg_catalog":
                found[name] = why
        return found

    def _overloads(self, path: tuple[str, ...] | None) -> dict[str, tuple[Overload, ...]]:
        found: dict[str, list[Overload]] = defaultdict(list)
        for row in self.facts.functions:
            most = ANY_NUMBER if row.variadic else row.arguments
            least = max(0, row.arguments - row.defaults - (1 if row.variadic else 0))
            overload = Overload(least, most, self.why.get(Key("function", row.oid), SAFE), tuple(row.takes))
            for name in _written(row, path):
                found[name].append(overload)
        return {name: tuple(overloads) for name, overloads in found.items()}

    def _attributes(self) -> dict[str, str]:
        rows = ANY_ROW | {row.oid for row in self.facts.types if row.is_row}
        return {
            row.name: why
            for row in self.facts.functions
            if row.takes and row.takes[0] in rows and (why := self.why.get(Key("function", row.oid)))
        }

    def _operators(self, path: tuple[str, ...] | None) -> dict[str, tuple[Overload, ...]]:
        found: dict[str, list[Overload]] = defaultdict(list)
        for row in self.facts.operators:
            takes = tuple(number for number in (row.left, row.right) if number)
            why = self.why.get(Key("operator", row.oid), SAFE)
            if max(row.left, row.right) >= FIRST_NORMAL:
                why = SAFE  # no replica sees it without its type
            for name in _written(row, path):
                found[name].append(Overload(len(takes), len(takes), why, takes))
        return {name: tuple(overloads) for name, overloads in found.items()}

    def _rivals(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for name, takes in self.facts.rival_functions:
            found[name].append(tuple(takes))
        for name, *sides in self.facts.rival_operators:
            found[name].append(tuple(number for number in sides if number))
        return {name: tuple(rivals) for name, rivals in found.items()}

    def _implicit(self) -> frozenset[tuple[int, int]]:
        into_domains = {(base, row.oid) for row in self.facts.types if row.trees for base in row.types}
        return frozenset(self.facts.implicit_casts) | into_domains

    def _implicit_cast(self) -> str:
        for cast in self.facts.casts:
            why = self.why.get(Key("function", cast.function))
            if why and max(cast.source, cast.target) < FIRST_NORMAL:
                return why
        return SAFE


def _written(row: Function | Relation | Type | Operator, path: tuple[str, ...] | None) -> tuple[str, ...]:
    """Give the names by which SQL may mean an object."""
    qualified = f"{row.schema}.{row.name}"
    seen = path is None or row.schema in path or row.schema == "pg_catalog"
    return (row.name, qualified) if seen else (qualified,)


def path_of(facts: Facts, role: str) -> tuple[str, ...]:
    """Give the schemas that a role's unqualified names mean, from what was set for it, for the database and in general.

    Source: the precedence of ALTER ROLE IN DATABASE, ALTER ROLE and ALTER DATABASE in process_settings(), postinit.c.
    """
    ranked = [(path.role == role, path.here, path.value) for path in facts.paths if path.role in ("", role)]
    value = max(ranked)[2] if ranked else facts.search_path
    wanted = [name[1:-1].replace('""', '"') if name.startswith('"') else name.lower() for name in _NAME.findall(value)]
    known = set(facts.schemas)
    return tuple(name for name in (role if name == "$user" else name for name in wanted) if name in known)


def _why_function(row: Function) -> str:
    if row.volatility == "v" and not (row.extension and row.name in EXTENSION_SAFE_VOLATILE):
        return "volatile function"
    if row.language not in (*UNDERSTOOD, *TRUSTED):
        return f"written in {row.language}"
    if row.extension and row.name in EXTENSION_SQL_IN_STRING:
        return "runs SQL from a string"
    return SAFE
