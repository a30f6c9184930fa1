"""What a walk over a parse tree finds, and what can only be said of it when everything was seen."""

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
    """What one walk has found: objections to a replica, names, effects. Local to one classification."""

    __slots__ = (
        "aliases", "blamed", "catalog", "cause", "creates", "ctes", "custom", "derived", "doubts", "effects",
        "functions", "literal_sensitive", "locks", "objections", "relations", "settings", "states", "strangers",
        "variables",
    )  # fmt: skip

    def __init__(self, catalog: Catalog, variables: Variables | None = None) -> None:
        self.catalog = catalog
        self.variables = variables or {}  # of a function's body
        self.blamed: list[Why] = []  # what the catalog says of names
        self.objections: list[tuple[int, str, str, bool]] = []  # position, reason, cause, overridable
        self.functions: dict[str, None] = {}
        self.relations: dict[str, None] = {}
        self.aliases: set[str] = set()  # of relations
        self.ctes: set[str] = set()
        self.strangers: list[tuple[Node, str]] = []  # relations that the catalog does not have, maybe CTEs
        self.derived = False  # there are columns that are not a relation's own
        self.doubts: list[tuple[Node, str, list[Overload], list[Node]]] = []  # what calls of a name may mean
        self.settings: list[Setting] = []
        self.custom: dict[str, None] = {}  # custom settings of which it speaks
        self.effects = 0
        self.states: list[State] = []  # what the catalog says of names besides
        self.cause = ""  # of CODE or OTHER_STATE among them
        self.creates = False  # DDL: its names may be new
        self.locks = False
        self.literal_sensitive = False

    def object(self, node: Node | list[Node], reason: str, cause: str, *, overridable: bool = False) -> None:
        """Note why the primary is needed; a node without a place stands for the beginning, none for no place at all."""
        location = node.get("location", 0) if isinstance(node, dict) and node else -1
        self.objections.append((location, reason, cause, overridable))

    def object_to(self, node: Node, why: Why, written: str) -> None:
        """Note that the catalog says why the primary is needed for a name."""
        self.blamed.append(why)
        self.object(node, Reason.CATALOG, f"{written} ({why})", overridable=True)

    def leave(self, effects: int, cause: str) -> None:
        """Note what it may leave in the session, and through what."""
        self.effects |= effects
        if effects & STATE and not self.cause:
            self.cause = cause

    def touch(self, state: State | None) -> None:
        """Note what using a name may leave in the session, by the catalog; None: nothing."""
        if state is not None and state != NO_STATE:
            self.states.append(state)
            self.leave(state.effects, state.cause)

    def unknown(self, name: str) -> None:
        """Note that nobody knows what code a name stands for."""
        self.leave(int(Effect.CODE), name)

    def forget(self) -> None:
        """Note that none of it runs now."""
        self.effects, self.cause, self.states, self.settings = 0, "", [], []

    def is_known_to_leave(self) -> bool:
        """Whether the catalog says that something is left."""
        return any(state.effects & STATE for state in self.states)

    def finish(self) -> None:
        """Say what can only be said when everything was seen."""
        for node, name in self.strangers:
            if name not in self.ctes:
                self.object(node, Reason.UNKNOWN_RELATION, name, overridable=True)
                if not self.creates:
                    self.unknown(name)
        if self.locks:  # policies for updates are asked
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
        """Give the types of all columns and variables by name; None when of some nothing is known."""
        if self.derived or self.ctes or not self.doubts or not self.relations.keys() <= self.catalog.columns.keys():
            return None
        rows = self.aliases | {relation.rpartition(".")[2] for relation in self.relations}
        if any(f"{row}." in self.variables for row in rows):
            return None  # a variable of the same name
        types = {name: set(known) for name, known in self.variables.items()}
        for row in rows:
            types[row] = {None}  # may be the whole row
        for relation in self.relations:
            for name, number in self.catalog.columns[relation].items():
                types.setdefault(name, set()).add(number)
        return types

    def first(self) -> tuple[int, str, str, bool]:
        """Give the objection to tell: one that no hint can move before the others, then the first in the text."""
        return min(self.objections, key=lambda found: (found[3], found[0]))
