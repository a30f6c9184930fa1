"""What the catalog of a database says, as data handed in; without it, names are judged by PostgreSQL's own.

The room never reads a catalog: whoever does builds a `Catalog` and hands it to `classify`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.config.settings import Routing


def _nothing() -> Mapping[str, bool]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names -> whether a replica may do it. A name is as written in SQL: "f", "schema.f"; absent: not known here."""

    functions: Mapping[str, bool] = field(default_factory=_nothing)
    relations: Mapping[str, bool] = field(default_factory=_nothing)
    operators: Mapping[str, bool] = field(default_factory=_nothing)
    types: Mapping[str, bool] = field(default_factory=_nothing)


UNKNOWN = Catalog()
"""Nothing is known: built-in names mean the built-ins, a relation is a plain table, any other function a write."""


def configured(routing: Routing) -> Catalog:
    """Give what the configuration says about functions."""
    reads, writes = routing.read_only_functions, routing.write_functions
    return Catalog(functions=dict.fromkeys(reads, True) | dict.fromkeys(writes, False))
