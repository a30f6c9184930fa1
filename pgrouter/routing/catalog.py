"""What the catalog of a database says about names, as data handed in; `catalog_build` makes it, `tree` asks it.

Two things are known of a name: whether the catalog has it at all, and, if a replica must not be asked for it, why. A
name is looked up as it is written in SQL, "f" or "schema.f"; without a schema it stands for all of that name that the
search_path of whom the catalog is for reaches, in whatever order: one that needs the primary is enough.
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
    """What using a name may leave in the session: Effect flags, and through what."""

    effects: int = 0
    cause: str = ""
    objects: tuple[Any, ...] = ()  # while bodies are read: what has been named, of which nobody knows the effects yet


NO_STATE = State()
ANY_NAME = "?any name?"
"""Stands for a name that is only known when the statement runs: `catalog_build` has an entry of it in each mapping."""


class Overload(Struct, frozen=True, gc=False):
    """A function or operator of some name; `why` it needs the primary (SAFE: it does not)."""

    least: int  # arguments
    most: int
    why: Why
    takes: tuple[int, ...] = ()  # their types
    operator: bool = False
    state: State = NO_STATE


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names -> why the primary is needed for them (SAFE: it is not); absent: not in the catalog."""

    functions: Mapping[str, tuple[Overload, ...]] = field(default_factory=_nothing)
    attributes: Mapping[str, Why] = field(default_factory=_nothing)  # functions that `row.name` may call, if not SAFE
    relations: Mapping[str, Why] = field(default_factory=_nothing)  # with their children
    only: Mapping[str, Why] = field(default_factory=_nothing)  # the same without, as FROM ONLY has them
    types: Mapping[str, Why] = field(default_factory=_nothing)
    operators: Mapping[str, tuple[Overload, ...]] = field(default_factory=_nothing)
    implicit_cast: Why = SAFE  # why no expression can be trusted: a cast between built-in types
    configured: Mapping[str, str] = field(default_factory=_nothing)  # functions of which the configuration says it all
    declared: Mapping[str, int] = field(default_factory=_nothing)  # and of which it says what effects they have
    # What using a name leaves in the session, where it is anything; of functions and operators see `Overload`
    reading: Mapping[str, State] = field(default_factory=_nothing)  # relations
    writing: Mapping[str, State] = field(default_factory=_nothing)  # relations: their triggers, checks, policies ...
    inserting: Mapping[str, State] = field(default_factory=_nothing)  # the same, and defaults
    casting: Mapping[str, State] = field(default_factory=_nothing)  # types
    selecting: Mapping[str, State] = field(default_factory=_nothing)  # attributes
    converting: State = NO_STATE  # implicit casts between built-in types
    events: State = NO_STATE  # event triggers
    settings: frozenset[str] = frozenset()  # custom ones of which anything in the database speaks
    known: bool = False  # it was read: what it does not say of a relation is not so
    volatile_by_body: bool = False  # the configuration wants SQL and PL/pgSQL functions labelled VOLATILE looked into
    # For `overloads`: what built-in functions and operators of such names take, and what is known of types
    rivals: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=_nothing)
    columns: Mapping[str, Mapping[str, int]] = field(default_factory=_nothing)  # relation -> column -> type
    type_numbers: Mapping[str, int] = field(default_factory=_nothing)  # of built-in types
    arrays: frozenset[int] = frozenset()
    implicit: frozenset[tuple[int, int]] = frozenset()  # casts: source, target
    builtins_first: bool = False  # pg_catalog comes first in search_path, as it does when nobody names it
    complete: bool = False  # a relation that is not here is not there, or was not when the catalog was read

    def overloads(self, name: str, arguments: int) -> list[Overload]:
        """Give the functions that a call with so many arguments may mean."""
        return [found for found in self.functions.get(name, ()) if found.least <= arguments <= found.most]


ByRole = Callable[[str | None], Catalog]
"""Gives the catalog as a role sees it; None: a session whose search_path may be anything."""

UNKNOWN = Catalog()
"""Nothing is known: built-in names mean the built-ins, a relation is a plain table, any other function a write."""


def configured(routing: Routing) -> Catalog:
    """Give what the configuration says about functions, and nothing else."""
    reads = dict.fromkeys(routing.read_only_functions, SAFE)
    writes = dict.fromkeys(routing.write_functions, "in write_functions")
    leaving = dict.fromkeys(routing.stateful_functions, "in stateful_functions")
    return Catalog(
        configured=leaving | reads | writes,
        declared=dict.fromkeys(routing.stateless_functions, 0) | dict.fromkeys(routing.stateful_functions, ANYTHING),
        volatile_by_body=routing.volatile_functions == "by_body",
    )


def pending(catalog: Catalog) -> Catalog:
    """Give the same without its names: for as long as the catalog is being read, all that is the user's is unknown."""
    return replace(catalog, complete=True)


def no_timeout(_role: str) -> str:
    """Give the idle_session_timeout of whom nothing is known."""
    return "0"


def always(catalog: Catalog) -> ByRole:
    """Give what gives this catalog to every role."""
    return lambda _role: catalog
