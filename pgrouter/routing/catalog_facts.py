"""The catalog rows that routing needs: the result of control/catalog.sql, one JSON document.

Only user objects are described; of built-in ones there are names and OIDs. Expressions come as PostgreSQL stores them
(pg_node_tree): every function, operator and relation in them is already resolved to its OID, which no reading of the
text could do.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import fields

FIRST_NORMAL = 16384  # FirstNormalObjectId, access/transam.h: OIDs below are PostgreSQL's own


class Function(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_proc; for an aggregate, with the functions that it calls."""

    oid: int
    schema: str
    name: str
    kind: str  # f function, p procedure, a aggregate, w window function
    volatility: str  # i immutable, s stable, v volatile
    language: str
    arguments: int
    defaults: int
    variadic: bool
    takes: tuple[int, ...]  # argument types, in order
    gives: int  # result type
    definition: str  # CREATE FUNCTION, for SQL and PL/pgSQL that is not stored parsed
    trees: tuple[str, ...]  # a body that is stored parsed: BEGIN ATOMIC
    default_trees: tuple[str, ...]
    parts: tuple[int, ...]  # functions that an aggregate calls
    own_path: bool  # it has SET search_path
    extension: str  # the extension it belongs to
    settings: tuple[str, ...]  # custom settings in its SET clauses


class Relation(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_class, with what reading from it may evaluate."""

    oid: int
    schema: str
    name: str
    kind: str  # r table, p partitioned table, v view, m materialized view, f foreign table, S sequence
    persistence: str  # p permanent, u unlogged; temporary ones are left out
    columns: tuple[tuple[str, int], ...]  # name, type
    trees: tuple[str, ...]  # a view's query, policies, virtual generated columns
    children: tuple[int, ...]


class Type(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_type."""

    oid: int
    schema: str
    name: str
    is_row: bool
    types: tuple[int, ...]  # component types: base type, element, columns of a composite, subtype of a range
    functions: tuple[int, ...]  # input, output, range and operator class functions
    trees: tuple[str, ...]  # checks of a domain


class Operator(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_operator."""

    oid: int
    schema: str
    name: str
    left: int
    right: int
    function: int


class Cast(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_cast that calls a function."""

    source: int
    target: int
    function: int
    context: str  # e explicit, a assignment, i implicit


class Default(Struct, array_like=True, frozen=True, gc=False):
    """A session default from ALTER ROLE or ALTER DATABASE SET: for a role, for this database, or both."""

    role: str  # "": everybody
    here: bool  # for this database only
    value: str


class Facts(Struct, frozen=True):
    """Everything, from one snapshot."""

    schemas: tuple[str, ...]
    search_path: str  # of roles that have no other
    paths: list[Default]
    idle_timeout: str  # idle_session_timeout of roles that have no other
    idle_timeouts: list[Default]
    builtin_functions: dict[str, str]  # OID -> name
    builtin_relations: list[tuple[int, str, str]]  # OID, schema, name
    builtin_types: dict[str, int]  # name -> OID
    rival_functions: list[tuple[str, tuple[int, ...]]]  # built-in functions that share a name with a user's
    rival_operators: list[tuple[str, int, int]]  # the same for operators: name, left, right
    implicit_casts: list[tuple[int, int]]  # for all types: source, target
    functions: list[Function]
    relations: list[Relation]
    types: list[Type]
    operators: list[Operator]
    casts: list[Cast]
    inserted: list[tuple[int, str]]  # relation -> what an INSERT evaluates: defaults
    written: list[tuple[int, str]]  # relation -> what any write to it evaluates
    rules: list[tuple[int, str]]  # relation -> what a write to it does instead or also
    triggers: list[tuple[int, int]]  # relation -> function
    foreign_keys: list[tuple[int, int]]  # relation -> a relation that is written along with it
    event_triggers: list[int]  # functions


_sections = msgspec.json.Decoder(dict[str, Raw])
_rows = msgspec.json.Decoder(list[Raw])
_decoders = {field.name: msgspec.json.Decoder(field.type) for field in fields(Facts)}
_TREE = tuple[int, str]
_LONG = {"functions": Function, "relations": Relation, "types": Type, "inserted": _TREE, "written": _TREE}
_row_decoders = {name: msgspec.json.Decoder(kind) for name, kind in _LONG.items()}


def read_facts(document: str | bytes) -> Facts:
    """Decode the document; msgspec.DecodeError if it is malformed.

    Sections that may be long are decoded row by row: one call for megabytes would block every other thread.
    """
    sections = _sections.decode(document)
    found = {}
    for name, decoder in _decoders.items():
        if name in _LONG:
            found[name] = [_row_decoders[name].decode(row) for row in _rows.decode(sections.get(name, b""))]
        else:
            found[name] = decoder.decode(sections.get(name, b""))
    return Facts(**found)
