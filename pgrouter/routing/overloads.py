"""Which function or operator of a given name an expression may mean, as far as its types are known here.

Used only if one of that name needs the primary and another, usually a built-in one, does not. What is unknown counts as
possible: a wrong yes costs a read on a replica, a wrong no would be a write on one.

Source: PostgreSQL's chapter "Type Conversion" and func_select_candidate(), parse_func.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.routing.nodes import names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pgrouter.routing.bodies import Variables
    from pgrouter.routing.catalog import Catalog, Overload
    from pgrouter.routing.nodes import Node

BOOL, INT8, INT4, TEXT, NUMERIC, UNKNOWN_TYPE = 16, 20, 23, 25, 1700, 705
ANY_ARRAY = 2277
TEXT_LIKE = frozenset({TEXT, 19, 1042, 1043})  # text, name, bpchar, varchar
# any, record, anyarray, anyelement, anynonarray, anyenum, anyrange, anycompatible and its kin, anymultirange
POLYMORPHIC = frozenset({2276, 2249, ANY_ARRAY, 2283, 2776, 3500, 3831, 4537, 4538, 5077, 5078, 5079, 5080})


def may_mean(
    overload: Overload, kinds: Sequence[int | None], rivals: Iterable[tuple[int, ...]], catalog: Catalog
) -> bool:
    """Whether a call with arguments of these types (None: unknown) may mean this one and not a built-in rival."""
    takes = overload.takes
    if len(takes) != len(kinds):
        return True  # defaults, VARIADIC
    equals = [rival for rival in rivals if len(rival) == len(kinds)]
    if catalog.builtins_first and takes in equals:
        return False  # it is hidden
    exact = _exact(overload, kinds)
    if exact in equals and takes != exact:
        return False  # an exact match ends the search
    if all(kind == UNKNOWN_TYPE for kind in kinds) and any(TEXT_LIKE.issuperset(rival) for rival in equals):
        return TEXT_LIKE.issuperset(takes)  # untyped strings prefer overloads that take strings
    return all(kind is None or _fits(kind, taken, catalog) for kind, taken in zip(kinds, takes, strict=True))


def _exact(overload: Overload, kinds: Sequence[int | None]) -> tuple[int | None, ...]:
    """Return the types for which an exact match ends the search (binary_oper_exact() in parse_oper.c for operators)."""
    if overload.operator and UNKNOWN_TYPE in kinds:
        return tuple(kinds[-1 - at] if kind == UNKNOWN_TYPE else kind for at, kind in enumerate(kinds))
    return tuple(kinds)


def _fits(kind: int, taken: int, catalog: Catalog) -> bool:
    if kind == UNKNOWN_TYPE:  # next to a known type it may become that type
        return True
    if taken in POLYMORPHIC or kind == taken or (kind, taken) in catalog.implicit:
        return True
    return kind == ANY_ARRAY and taken in catalog.arrays


def kind_of(node: Node, catalog: Catalog, columns: Variables | None) -> int | None:
    """Return the type of an expression, None if it is not obvious.

    `columns`: types by name of all columns and variables that a name in this statement can mean; None: there are
    others, too.
    """
    kind, content = next(iter(node.items()), ("", {}))
    if kind == "A_Const":
        return _constant(content)
    if kind == "TypeCast":
        return _cast(content.get("typeName", {}), catalog)
    if kind == "A_ArrayExpr":
        return ANY_ARRAY
    if kind in ("ColumnRef", "ParamRef"):
        return _variable(content, columns) if columns is not None else None
    if kind == "A_Expr" and content.get("name") == [{"String": {"sval": "-"}}] and "lexpr" not in content:
        return kind_of(content.get("rexpr", {}), catalog, columns)
    return None


def _variable(content: Node, columns: Variables) -> int | None:
    if "number" in content:
        return _only(columns.get(f"${content['number']}", ()))
    *before, last = ["".join(names([part])) for part in content["fields"]]
    if before and f"{before[-1]}." in columns:
        return _only(columns.get(f"{before[-1]}.{last}", ()))
    return _only(columns.get(last, ()))


def _only(types: Collection[int | None]) -> int | None:
    return next(iter(types)) if len(types) == 1 else None


def _constant(node: Node) -> int | None:
    if "ival" in node:
        return INT4
    if "boolval" in node:
        return BOOL
    if "fval" in node:
        text = node["fval"].get("fval", "")
        return INT8 if text.isdigit() and len(text) < 19 else NUMERIC  # 19 digits may be either
    return UNKNOWN_TYPE if "sval" in node or node.get("isnull") else None


def _cast(name: Node, catalog: Catalog) -> int | None:
    path = names(name.get("names", []))
    if not path or (len(path) > 1 and path[0] != "pg_catalog") or (path[-1] in catalog.types and len(path) == 1):
        return None
    if name.get("arrayBounds"):
        return catalog.type_numbers.get("_" + path[-1])
    return catalog.type_numbers.get(path[-1])
