"""Name resolution: the facts of a catalog, as seen through a search_path -> Catalog.

A `Judge` says why an object needs the primary; if a name may mean several objects, it joins the answers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pgrouter.routing.catalog import ANY_NAME, ANY_NUMBER, NO_STATE, SAFE, Catalog, Overload, State, Why
from pgrouter.routing.catalog_facts import FIRST_NORMAL
from pgrouter.routing.catalog_graph import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgrouter.routing.catalog_facts import Default, Facts, Function, Operator

Schemas = tuple[str, ...] | None
"""A search_path; None: any."""

_NAME = re.compile(r'"(?:[^"]|"")*"|[^\s,]+')
ANY_ROW = {2249, 2276, 2283, 2776, 5077, 5079}  # record, "any", anyelement, anynonarray, anycompatible(nonarray)


class Named(NamedTuple):
    """One object and the names that stand for it."""

    schema: str
    name: str
    qualified: str
    value: Any


class Judge(Protocol):
    """Says why an object needs the primary and what using it leaves in a session."""

    def why(self, key: Key, /) -> Why:
        """Return why the primary is needed."""

    def join(self, one: Why, other: Why, /) -> Why:
        """Combine the reasons of two objects with the same name."""

    def state(self, key: Key, /) -> State:
        """Return what using it leaves."""


class Names:
    """Builds and keeps the Catalog of each search_path; of the facts it keeps names only."""

    def __init__(self, facts: Facts, configured: Catalog, judge: Judge) -> None:
        self._judge, self._join = judge.why, judge.join
        self._state = judge.state
        self._functions = [_named(row, self._overloads(row)) for row in facts.functions]
        self._relations = [_named(row, self._judge(Key("relation", row.oid))) for row in facts.relations]
        self._only = [_named(row, self._judge(Key("only", row.oid))) for row in facts.relations]
        self._columns = [_named(row, dict(row.columns)) for row in facts.relations]
        self._types = [_named(row, self._judge(Key("type", row.oid))) for row in facts.types]
        self._operators = [_named(row, self._operator(row)) for row in facts.operators]
        self._reading = self._states("relation", facts.relations)
        self._writing = self._states("written", facts.relations)
        self._inserting = self._states("inserted", facts.relations)
        self._casting = self._states("type", facts.types)
        relations = self._system_relations(facts)
        self._base = replace(
            configured,
            attributes=self._attributes(facts),
            relations=relations | {ANY_NAME: self._judge(Key("relation", 0))},
            selecting=_stated(self._states("defaults", _of_rows(facts)), None),
            implicit_cast=self._implicit_cast(facts),
            converting=self._converting(facts),
            events=self._state(Key("events", 0)),
            rivals=_rivals(facts),
            type_numbers=facts.builtin_types,
            arrays=frozenset(number for name, number in facts.builtin_types.items() if name.startswith("_")),
            implicit=_implicit(facts),
            complete=True,
            known=True,
        )
        self._catalogs: dict[Schemas, Catalog] = {}

    def catalog(self, path: Schemas) -> Catalog:
        """Return the names as seen with this search_path."""
        if path not in self._catalogs:
            self._catalogs[path] = self._make(path)
        return self._catalogs[path]

    def _make(self, path: Schemas) -> Catalog:
        system = self._base.relations
        return replace(
            self._base,
            functions=_grouped(self._functions, path),
            relations=self._joined(self._relations, path) | system,
            only=self._joined(self._only, path) | system,
            types=self._joined(self._types, path),
            operators=_grouped(self._operators, path),
            reading=_stated(self._reading, path) | self._of_any("relation"),
            writing=_stated(self._writing, path) | self._of_any("written"),
            inserting=_stated(self._inserting, path) | self._of_any("inserted"),
            casting=_stated(self._casting, path),
            columns={name: row.value for row in self._columns for name in _written(row, path)},
            builtins_first=path is not None and "pg_catalog" not in path,
        )

    def _joined(self, rows: Iterable[Named], path: Schemas) -> dict[str, Why]:
        found: dict[str, Why] = {}
        for row in rows:
            for name in _written(row, path):
                found[name] = self._join(found[name], row.value) if name in found else row.value
        return found

    def _states(self, kind: str, rows: Iterable[Any]) -> list[Named]:
        found = ((row, self._state(Key(kind, row.oid))) for row in rows)
        return [_named(row, state) for row, state in found if state != NO_STATE]

    def _of_any(self, kind: str) -> dict[str, State]:
        state = self._state(Key(kind, 0))
        return {ANY_NAME: state} if state != NO_STATE else {}

    # -- one object

    def _overloads(self, row: Function) -> tuple[Overload, ...]:
        takes = tuple(row.takes)
        with_defaults = self._judge(Key("defaults", row.oid))
        state = self._state(Key("defaults", row.oid))
        if row.variadic or row.kind == "p":  # CALL has placeholders for OUT arguments
            least = max(0, row.arguments - row.defaults - row.variadic)
            return (Overload(least, ANY_NUMBER, with_defaults, takes, state=state),)
        key = Key("function", row.oid)
        whole = Overload(row.arguments, row.arguments, self._judge(key), takes, state=self._state(key))
        if not row.defaults:
            return (whole,)
        return (whole, Overload(row.arguments - row.defaults, row.arguments - 1, with_defaults, takes, state=state))

    def _operator(self, row: Operator) -> tuple[Overload, ...]:
        takes = tuple(number for number in (row.left, row.right) if number)
        # Operators on user-defined types are handled with those types: no replica meets one without the other.
        if max(takes) >= FIRST_NORMAL:
            return (Overload(len(takes), len(takes), SAFE, takes, operator=True),)
        key = Key("operator", row.oid)
        return (Overload(len(takes), len(takes), self._judge(key), takes, operator=True, state=self._state(key)),)

    # -- the same for every search_path

    def _system_relations(self, facts: Facts) -> dict[str, Why]:
        found: dict[str, Why] = {}
        for number, schema, name in facts.builtin_relations:
            found[f"{schema}.{name}"] = self._judge(Key("relation", number))
            if schema == "pg_catalog":
                found[name] = found[f"{schema}.{name}"]
        return found

    def _attributes(self, facts: Facts) -> dict[str, Why]:
        judged = [_named(row, self._judge(Key("defaults", row.oid))) for row in _of_rows(facts)]
        return self._joined([row for row in judged if row.value], None)

    def _implicit_cast(self, facts: Facts) -> Why:
        found = SAFE
        for cast in facts.casts:
            if max(cast.source, cast.target) < FIRST_NORMAL:
                why = self._judge(Key("function", cast.function))
                found = self._join(found, why) if found else why
        return found

    def _converting(self, facts: Facts) -> State:
        casts = [cast for cast in facts.casts if max(cast.source, cast.target) < FIRST_NORMAL]
        return joined([self._state(Key("function", cast.function)) for cast in casts])


def joined(states: Sequence[State]) -> State:
    """Combine what several objects may leave."""
    effects = 0
    for state in states:
        effects |= state.effects
    cause = next((state.cause for state in states if state.cause), "")
    return State(effects, cause, tuple(key for state in states for key in state.objects))


def _of_rows(facts: Facts) -> list[Function]:
    """Return the functions that `row.name` may call."""
    rows = ANY_ROW | {row.oid for row in facts.types if row.is_row}
    return [row for row in facts.functions if row.takes and row.takes[0] in rows]


def _stated(rows: Iterable[Named], path: Schemas) -> dict[str, State]:
    found: dict[str, State] = {}
    for row in rows:
        for name in _written(row, path):
            found[name] = joined([found[name], row.value]) if name in found else row.value
    return found


def _named(row: Any, value: Any) -> Named:
    return Named(row.schema, row.name, f"{row.schema}.{row.name}", value)


def _written(row: Named, path: Schemas) -> tuple[str, ...]:
    """Return the names by which SQL may refer to an object."""
    seen = path is None or row.schema in path or row.schema == "pg_catalog"
    return (row.name, row.qualified) if seen else (row.qualified,)


def _grouped(rows: Iterable[Named], path: Schemas) -> dict[str, tuple[Overload, ...]]:
    found: dict[str, tuple[Overload, ...]] = {}
    for row in rows:
        for name in _written(row, path):
            found[name] = found[name] + row.value if name in found else row.value
    return found


def _rivals(facts: Facts) -> dict[str, tuple[tuple[int, ...], ...]]:
    found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name, takes in facts.rival_functions:
        found[name].append(tuple(takes))
    for name, *sides in facts.rival_operators:
        found[name].append(tuple(number for number in sides if number))
    return {name: tuple(rivals) for name, rivals in found.items()}


def _implicit(facts: Facts) -> frozenset[tuple[int, int]]:
    into_domains = {(base, row.oid) for row in facts.types if row.trees for base in row.types}
    return frozenset(facts.implicit_casts) | into_domains


class Paths:
    """The search_path of each role."""

    def __init__(self, facts: Facts) -> None:
        self._set: Sequence[Default] = facts.paths
        self._default = facts.search_path
        self._schemas = frozenset(facts.schemas)
        self.of = lru_cache(1000)(self._of)  # called at every login

    def _of(self, role: str) -> tuple[str, ...]:
        """Return the schemas in which a role's unqualified names are looked up."""
        written = _NAME.findall(begins_with(self._set, role, self._default))
        names = [name[1:-1].replace('""', '"') if name.startswith('"') else name.lower() for name in written]
        return tuple(name for name in (role if name == "$user" else name for name in names) if name in self._schemas)


def begins_with(defaults: Iterable[Default], role: str, value: str) -> str:
    """Return a role's session default, from settings for the role, the database, or everybody; else `value`.

    Source: the precedence of ALTER ROLE IN DATABASE, ALTER ROLE and ALTER DATABASE in process_settings(), postinit.c.
    """
    ranked = [(each.role == role, each.here, each.value) for each in defaults if each.role in ("", role)]
    return max(ranked)[2] if ranked else value
