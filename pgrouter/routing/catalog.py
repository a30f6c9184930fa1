"""What the catalog of a database says about names, as plain data; `catalog_build` builds it, `tree` looks names up.

Two things are known about a name: whether the catalog has it at all, and why it needs the primary, if it does. A name
is looked up as written in SQL, "f" or "schema.f". Without a schema it stands for every object of that name in any
schema of the search_path, in whatever order: one that needs the primary is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from pgrouter.routing.extensions import ANYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.config.settings import Routing

SAFE = ""
ANY_NUMBER = 1_000_000  # of arguments


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


Why = Any
"""Why a name needs the primary: words, SAFE for not at all. `catalog_build`, which finds them, has objects here."""


class State(NamedTuple):
    """What using a name may leave in the session: Effect flags, and their cause."""

    effects: int = 0
    cause: str = ""
    objects: tuple[Any, ...] = ()  # while bodies are read: objects they name, whose effects are not known yet


NO_STATE = State()
ANY_NAME = "?any name?"
"""Stands for a name that is only known when the statement runs: `catalog_build` has an entry of it in each mapping."""


class Overload(Struct, frozen=True, gc=False):
    """A function or operator with a given name; `why` it needs the primary (SAFE: it does not)."""

    least: int  # number of arguments
    most: int
    why: Why
    takes: tuple[int, ...] = ()  # argument types
    operator: bool = False
    state: State = NO_STATE


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names -> why they need the primary (SAFE: they do not); absent: not in the catalog."""

    functions: Mapping[str, tuple[Overload, ...]] = field(default_factory=_nothing)
    attributes: Mapping[str, Why] = field(default_factory=_nothing)  # functions that `row.name` may call, if not SAFE
    relations: Mapping[str, Why] = field(default_factory=_nothing)  # with their children
    only: Mapping[str, Why] = field(default_factory=_nothing)  # relations without their children (FROM ONLY)
    types: Mapping[str, Why] = field(default_factory=_nothing)
    operators: Mapping[str, tuple[Overload, ...]] = field(default_factory=_nothing)
    implicit_cast: Why = SAFE  # why no expression can be trusted: a cast between built-in types
    configured: Mapping[str, str] = field(default_factory=_nothing)  # functions fully described by the configuration
    declared: Mapping[str, int] = field(default_factory=_nothing)  # functions whose effects the configuration declares
    # What using a name leaves in the session, if anything; for functions and operators see `Overload`
    reading: Mapping[str, State] = field(default_factory=_nothing)  # relations
    writing: Mapping[str, State] = field(default_factory=_nothing)  # relations: triggers, checks, policies ...
    inserting: Mapping[str, State] = field(default_factory=_nothing)  # as `writing`, and defaults
    casting: Mapping[str, State] = field(default_factory=_nothing)  # types
    selecting: Mapping[str, State] = field(default_factory=_nothing)  # attributes
    converting: State = NO_STATE  # implicit casts between built-in types
    events: State = NO_STATE  # event triggers
    settings: frozenset[str] = frozenset()  # custom settings that anything in the database mentions
    known: bool = False  # it has been read: what it does not say about a relation is not so
    volatile_by_body: bool = False  # look into SQL and PL/pgSQL functions labelled VOLATILE, too
    # For the module overloads: argument types of built-in functions and operators of such names, and facts about types
    rivals: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=_nothing)
    columns: Mapping[str, Mapping[str, int]] = field(default_factory=_nothing)  # relation -> column -> type
    type_numbers: Mapping[str, int] = field(default_factory=_nothing)  # of built-in types
    arrays: frozenset[int] = frozenset()
    implicit: frozenset[tuple[int, int]] = frozenset()  # casts: source, target
    builtins_first: bool = False  # pg_catalog comes first in search_path, as it does when it is not named there
    complete: bool = False  # a relation that is absent here does not exist, or did not when the catalog was read

    def overloads(self, name: str, arguments: int) -> list[Overload]:
        """Return the functions that a call with this number of arguments may mean."""
        return [found for found in self.functions.get(name, ()) if found.least <= arguments <= found.most]


ByRole = Callable[[str | None], Catalog]
"""Returns the catalog as a role sees it; None: a session whose search_path may be anything."""

UNKNOWN = Catalog()
"""Nothing is known: built-in names mean the built-ins, a relation is a plain table, any other function a write."""


def configured(routing: Routing) -> Catalog:
    """Return a catalog with what the configuration says about functions, and nothing else."""
    reads = dict.fromkeys(routing.read_only_functions, SAFE)
    writes = dict.fromkeys(routing.write_functions, "in write_functions")
    leaving = dict.fromkeys(routing.stateful_functions, "in stateful_functions")
    return Catalog(
        configured=leaving | reads | writes,
        declared=dict.fromkeys(routing.stateless_functions, 0) | dict.fromkeys(routing.stateful_functions, ANYTHING),
        volatile_by_body=routing.volatile_functions == "by_body",
    )


def pending(catalog: Catalog) -> Catalog:
    """Return the catalog to use until the real one has been read: all user objects are unknown."""
    return replace(catalog, complete=True)


def no_timeout(_role: str) -> str:
    """Return the idle_session_timeout of a role about which nothing is known: none."""
    return "0"


def always(catalog: Catalog) -> ByRole:
    """Return a function that returns this catalog for every role."""
    return lambda _role: catalog
