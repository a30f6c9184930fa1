"""SQL text -> Statement, by PostgreSQL's own parser.

Pure. A statement that the parser refuses is an ERROR, one that is not understood goes to the primary: neither is ever a
read. The parser is that of PostgreSQL 18 with standard_conforming_strings on; see `cache` for sessions where string
literals have another meaning.
"""

from __future__ import annotations

import logging
from typing import Any

from pgrouter.routing import hints
from pgrouter.routing.catalog import UNKNOWN, Catalog
from pgrouter.routing.commands import judge
from pgrouter.routing.explain import asked_for, asks_pool, asks_position
from pgrouter.routing.fingerprint import leading_hint
from pgrouter.routing.parse import ParseError, statements
from pgrouter.routing.statement import Effect, Reason, Statement, Target, Tx

log = logging.getLogger("pgrouter.routing")

_OPEN = (Tx.BEGIN, Tx.BEGIN_READ_ONLY, Tx.BEGIN_PRIMARY)
_EXPLAIN = Statement(
    Target.SESSION, Reason.EXPLAIN, effects=int(Effect.INSTEAD), tag="EXPLAIN ROUTE", literal_sensitive=True
)
_POSITION = Statement(Target.SESSION, Reason.POSITION, effects=int(Effect.INSTEAD), tag="SHOW", literal_sensitive=True)

_POOL = Statement(Target.REPLICA, Reason.POOL, effects=int(Effect.INSTEAD), tag="SHOW", literal_sensitive=True)


def classify(sql: str | bytes, catalog: Catalog = UNKNOWN) -> Statement:
    """Classify a statement: where it may run, and why; several in one string are classified as a whole.

    `sql` as bytes may be in any encoding that uses ASCII bytes for ASCII characters and for nothing else.
    """
    raw = sql.encode("utf-8", "replace") if isinstance(sql, str) else sql
    if b"\0" in raw:
        return _refused(ParseError("NUL", raw.index(b"\0")))
    hint = leading_hint(raw, 0, len(raw)) if b"/*" in raw else hints.NO_HINT
    return hints.apply(_parse(raw, catalog), hint)


def _parse(raw: bytes, catalog: Catalog) -> Statement:
    ours = _router_answers(raw)
    if ours is not None:
        return ours
    try:
        # Bytes that are not UTF-8 matter in names only, and no catalog here has a name that is not UTF-8.
        judged = [_one(statement, catalog) for statement in statements(raw.decode("utf-8", "replace"))]
    except ParseError as error:
        return _refused(error)
    except RecursionError:
        return Statement(Target.PRIMARY, Reason.TOO_DEEP, effects=int(Effect.OTHER_STATE | Effect.CODE))
    except Exception:
        log.exception("bug in the classification of a statement; the primary gets it")
        return Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, effects=int(Effect.OTHER_STATE | Effect.CODE))
    if not judged:
        return Statement(Target.REPLICA, Reason.EMPTY)
    return judged[0] if len(judged) == 1 else _together(judged)


def _router_answers(raw: bytes) -> Statement | None:
    if asks_position(raw):
        return _POSITION
    if asks_pool(raw):
        return _POOL
    return _EXPLAIN if asked_for(raw) is not None else None


def _refused(error: ParseError) -> Statement:
    message, position = (*error.args, None)[:2]
    position = position if isinstance(position, int) else -1
    return Statement(Target.ERROR, Reason.SYNTAX, str(message), position, literal_sensitive=True)


def _one(node: dict[str, Any], catalog: Catalog) -> Statement:
    kind, content = next(iter(node.items()))
    return judge(kind, content, catalog)


# -- several statements in one string -------------------------------------------------------------------------------


def _together(parts: list[Statement]) -> Statement:
    """Classify the string as one: the strictest part decides, and the transaction is as the last part leaves it."""
    tx = Tx.NONE
    for part in parts:
        tx = _after(tx, part.tx)
    needs_primary = any(part.tx in (Tx.BEGIN_PRIMARY, Tx.SET_READ_WRITE) for part in parts)
    if tx is Tx.BEGIN_READ_ONLY and any(
        part.target is not Target.REPLICA and part.reason != Reason.TRANSACTION for part in parts
    ):
        tx = Tx.BEGIN_PRIMARY  # the other statements need the session's own server
    decisive = min(parts, key=_strictness)
    effects = 0
    drawn = False  # statements after this one ask for values that the string itself has drawn
    for part in parts:
        effects |= part.effects & ~Effect.SEQUENCES if drawn else part.effects
        drawn = drawn or part.verdict.draws
    return Statement(
        Target.PRIMARY if needs_primary else decisive.target,
        decisive.reason,
        decisive.cause,
        decisive.position,
        effects=int(effects),
        tx=tx,
        tag=decisive.tag,
        literal_sensitive=any(part.literal_sensitive for part in parts),
        overridable=all(part.overridable or part.target is Target.REPLICA for part in parts),
        functions=tuple(dict.fromkeys(name for part in parts for name in part.functions)),
        relations=tuple(dict.fromkeys(name for part in parts for name in part.relations)),
        settings=tuple(setting for part in parts for setting in part.settings),
        custom=tuple(dict.fromkeys(name for part in parts for name in part.custom)),
        through=next((part.through for part in parts if part.through), ""),
        draws=any(part.draws for part in parts),
        parts=tuple(parts),
    )


def _strictness(part: Statement) -> tuple[int, bool]:
    return ((Target.PRIMARY, Target.ERROR, Target.SESSION, Target.REPLICA).index(part.target), part.overridable)


def _after(before: Tx, tx: Tx) -> Tx:
    """Return the state of the transaction when `tx` follows `before`."""
    if tx is Tx.NONE or (tx is Tx.INSIDE and before in _OPEN):
        return before
    if tx in (Tx.COMMIT, Tx.ROLLBACK) and before in _OPEN:
        return Tx.NONE
    if tx in (Tx.SET_READ_ONLY, Tx.SET_READ_WRITE, Tx.SET_OTHER) and before in _OPEN:
        if tx is Tx.SET_READ_WRITE:
            return Tx.BEGIN_PRIMARY
        return Tx.BEGIN_READ_ONLY if tx is Tx.SET_READ_ONLY and before is Tx.BEGIN else before
    if tx in _OPEN and before in _OPEN:
        return before  # a warning only: the first BEGIN counts
    return tx
