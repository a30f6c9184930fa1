"""What a walk over a parse tree finds, and the conclusions that have to wait until all of it has been seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.routing.catalog import NO_STATE
from pgrouter.routing.functions import STATE
from pgrouter.routing.overloads import kind_of, may_mean
from pgrouter.routing.statement import Effect, Reason

if TYPE_CHECKING:
    from pgrouter.routing.bodies import Variables
    from pgrouter.routing.catalog import Catalog, Overload, State, Why
    from pgrouter.routing.nodes import Node
    from pgrouter.routing.statement import Setting


class Findings:
    """What one walk has found: reasons against a replica, names, effects. Local to one classification."""

    __slots__ = (
        "aliases", "blamed", "catalog", "cause", "creates", "ctes", "custom", "derived", "doubts", "effects",
        "functions", "literal_sensitive", "locks", "objections", "relations", "settings", "states", "strangers",
        "variables",
    )  # fmt: skip

    def __init__(self, catalog: Catalog, variables: Variables | None = None) -> None:
        self.catalog = catalog
        self.variables = variables or {}  # variables of a function's body
        self.blamed: list[Why] = []  # the catalog's reasons for names
        self.objections: list[tuple[int, str, str, bool]] = []  # position, reason, cause, overridable
        self.functions: dict[str, None] = {}
        self.relations: dict[str, None] = {}
        self.aliases: set[str] = set()  # aliases of relations
        self.ctes: set[str] = set()
        self.strangers: list[tuple[Node, str]] = []  # relations that are not in the catalog; may be CTEs
        self.derived = False  # there are columns that belong to no relation
        self.doubts: list[tuple[Node, str, list[Overload], list[Node]]] = []  # calls, and the overloads they may mean
        self.settings: list[Setting] = []
        self.custom: dict[str, None] = {}  # custom settings that it mentions
        self.effects = 0
        self.states: list[State] = []  # the catalog's effects for names
        self.cause = ""  # of CODE or OTHER_STATE in `effects`
        self.creates = False  # DDL: its names may not exist yet
        self.locks = False
        self.literal_sensitive = False

    def object(self, node: Node | list[Node], reason: str, cause: str, *, overridable: bool = False) -> None:
        """Record why the primary is needed; a node without a location means the start, no node means no position."""
        location = node.get("location", 0) if isinstance(node, dict) and node else -1
        self.objections.append((location, reason, cause, overridable))

    def object_to(self, node: Node, why: Why, written: str) -> None:
        """Record that a name needs the primary according to the catalog."""
        self.blamed.append(why)
        self.object(node, Reason.CATALOG, f"{written} ({why})", overridable=True)

    def leave(self, effects: int, cause: str) -> None:
        """Record what the statement may leave in the session, and the cause."""
        self.effects |= effects
        if effects & STATE and not self.cause:
            self.cause = cause

    def touch(self, state: State | None) -> None:
        """Record what using a name may leave in the session, according to the catalog; None: nothing."""
        if state is not None and state != NO_STATE:
            self.states.append(state)
            self.leave(state.effects, state.cause)

    def unknown(self, name: str) -> None:
        """Record that it is unknown what code a name stands for."""
        self.leave(int(Effect.CODE), name)

    def forget(self) -> None:
        """Drop the effects: nothing of it runs now."""
        self.effects, self.cause, self.states, self.settings = 0, "", [], []

    def is_known_to_leave(self) -> bool:
        """Whether the catalog says that something is left."""
        return any(state.effects & STATE for state in self.states)

    def finish(self) -> None:
        """Draw the conclusions that need everything to have been seen."""
        for node, name in self.strangers:
            if name not in self.ctes:
                self.object(node, Reason.UNKNOWN_RELATION, name, overridable=True)
                if not self.creates:
                    self.unknown(name)
        if self.locks:  # row locks evaluate the policies for updates
            for name in self.relations:
                self.touch(self.catalog.writing.get(name))
        columns = self._columns()
        for node, written, overloads, arguments in self.doubts:
            kinds = [kind_of(argument, self.catalog, columns) for argument in arguments]
            rivals = self.catalog.rivals.get(written.removeprefix("pg_catalog."), ())
            for overload in overloads:
                if may_mean(overload, kinds, rivals, self.catalog):
                    self.object_to(node, overload.why, written)
                    self.touch(overload.state)
        if self.catalog.implicit_cast and (self.relations or self.functions):
            self.object_to({}, self.catalog.implicit_cast, "implicit cast")
            self.touch(self.catalog.converting)

    def _columns(self) -> Variables | None:
        """Return the types of all columns and variables by name, None if some are unknown."""
        if self.derived or self.ctes or not self.doubts or not self.relations.keys() <= self.catalog.columns.keys():
            return None
        rows = self.aliases | {relation.rpartition(".")[2] for relation in self.relations}
        if any(f"{row}." in self.variables for row in rows):
            return None  # a variable of the same name
        types = {name: set(known) for name, known in self.variables.items()}
        for row in rows:
            types[row] = {None}  # may mean the whole row
        for relation in self.relations:
            for name, number in self.catalog.columns[relation].items():
                types.setdefault(name, set()).add(number)
        return types

    def first(self) -> tuple[int, str, str, bool]:
        """Return the objection to report: preferably one that no hint can override, then the first in the text."""
        return min(self.objections, key=lambda found: (found[3], found[0]))
