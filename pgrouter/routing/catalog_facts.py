"""The rows of a database's catalog that routing asks for: the answer to cluster/catalog.sql, one JSON document.

Only objects that are not PostgreSQL's own are described; of those that are, names and numbers. Expressions come as
PostgreSQL keeps them (pg_node_tree): every function, operator and relation in them is already resolved to its number,
which no reading of the text could do.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import fields

FIRST_NORMAL = 16384  # FirstNormalObjectId, access/transam.h: numbers below are PostgreSQL's own


class Function(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_proc; an aggregate with the functions that it calls."""

    oid: int
    schema: str
    name: str
    kind: str  # f function, p procedure, a aggregate, w window function
    volatility: str  # i immutable, s stable, v volatile
    language: str
    arguments: int
    defaults: int
    variadic: bool
    takes: tuple[int, ...]  # types of its arguments, in order
    gives: int  # type of its result
    definition: str  # CREATE FUNCTION, of SQL and PL/pgSQL that is not kept parsed
    trees: tuple[str, ...]  # a body that is: BEGIN ATOMIC
    default_trees: tuple[str, ...]
    parts: tuple[int, ...]  # functions that an aggregate calls
    own_path: bool  # SET search_path
    extension: str  # that it belongs to
    settings: tuple[str, ...]  # custom ones that it has a SET of


class Relation(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_class, with what reading from it may evaluate."""

    oid: int
    schema: str
    name: str
    kind: str  # r table, p partitioned table, v view, m materialized view, f foreign table, S sequence
    persistence: str  # p permanent, u unlogged; those of sessions are left out
    columns: tuple[tuple[str, int], ...]  # with their types
    trees: tuple[str, ...]  # a view's query, policies, virtual generated columns
    children: tuple[int, ...]


class Type(Struct, array_like=True, frozen=True, gc=False):
    """A row of pg_type."""

    oid: int
    schema: str
    name: str
    is_row: bool
    types: tuple[int, ...]  # what it is made of: base type, element, columns of a composite, subtype of a range
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
    """What sessions begin with by ALTER ROLE or ALTER DATABASE SET: a role's, in this database, or both."""

    role: str  # "": everybody
    here: bool  # for this database
    value: str


class Facts(Struct, frozen=True):
    """All of it, of one moment."""

    schemas: tuple[str, ...]
    search_path: str  # of who has no other
    paths: list[Default]
    idle_timeout: str  # idle_session_timeout, in the same way
    idle_timeouts: list[Default]
    builtin_functions: dict[str, str]  # number -> name
    builtin_relations: list[tuple[int, str, str]]  # number, schema, name
    builtin_types: dict[str, int]  # name -> number
    rival_functions: list[tuple[str, tuple[int, ...]]]  # built-in ones with the name of another
    rival_operators: list[tuple[str, int, int]]  # the same of operators: name, left, right
    implicit_casts: list[tuple[int, int]]  # of all types: source, target
    functions: list[Function]
    relations: list[Relation]
    types: list[Type]
    operators: list[Operator]
    casts: list[Cast]
    inserted: list[tuple[int, str]]  # relation -> what an INSERT evaluates: defaults
    written: list[tuple[int, str]]  # relation -> what any write to it evaluates
    rules: list[tuple[int, str]]  # relation -> what a write to it does instead or also
    triggers: list[tuple[int, int]]  # relation -> function
    foreign_keys: list[tuple[int, int]]  # relation -> one that is written when it is
    event_triggers: list[int]  # functions


_sections = msgspec.json.Decoder(dict[str, Raw])
_rows = msgspec.json.Decoder(list[Raw])
_decoders = {field.name: msgspec.json.Decoder(field.type) for field in fields(Facts)}
_TREE = tuple[int, str]
_LONG = {"functions": Function, "relations": Relation, "types": Type, "inserted": _TREE, "written": _TREE}
_row_decoders = {name: msgspec.json.Decoder(kind) for name, kind in _LONG.items()}


def read_facts(document: str | bytes) -> Facts:
    """Read the document; msgspec.DecodeError when it is none.

    It is read row by row where it may be long: one call for megabytes would keep every other thread from running.
    """
    sections = _sections.decode(document)
    found = {}
    for name, decoder in _decoders.items():
        if name in _LONG:
            found[name] = [_row_decoders[name].decode(row) for row in _rows.decode(sections.get(name, b""))]
        else:
            found[name] = decoder.decode(sections.get(name, b""))
    return Facts(**found)
