"""What routing costs: a statement seen before, compiled and not, and one never seen.

    python bench/micro_routing.py [--json FILE]

Prints a table, and the same as JSON. Each number is the best of several rounds: the machine's noise only adds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgrouter.routing
from pgrouter.routing import cache, fingerprint
from pgrouter.routing.classify import classify

if TYPE_CHECKING:
    from collections.abc import Callable

STATEMENTS = {
    "point select": b"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
    "point select, string": (
        b"SELECT id, name, email FROM users AS u WHERE u.email = 'someone@example.com' AND u.active LIMIT 1"
    ),
    "ORM select": (
        b'SELECT "users"."id", "users"."name", "users"."email", "users"."created_at", COUNT("orders"."id") AS "n" '
        b'FROM "users" LEFT OUTER JOIN "orders" ON ("users"."id" = "orders"."user_id" AND "orders"."state" IN '
        b"('paid', 'sent')) WHERE (\"users\".\"active\" AND \"users\".\"email\" LIKE '%@example.com' AND "
        b"\"orders\".\"created_at\" > '2024-01-01'::timestamptz) GROUP BY \"users\".\"id\" ORDER BY \"n\" DESC LIMIT 20"
    ),
    "insert": b"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP);",
}
ROUNDS = 7


def plain(name: str) -> Any:
    """Give a module of the room as plain Python, whatever is built."""
    path = Path(pgrouter.routing.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_loader(f"plain_{name}", SourceFileLoader(f"plain_{name}", str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best_ns(call: Callable[[], object], repeats: int) -> float:
    """Give the nanoseconds of one call in the fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(repeats):
            call()
        rounds.append((time.perf_counter_ns() - begin) / repeats)
    return min(rounds)


def lookup_ns(module: Any, sql: bytes, repeats: int) -> float:
    """Give the nanoseconds of a lookup that hits."""
    statements = module.StatementCache(classify)
    length = len(sql)
    lookup = statements.lookup
    lookup(sql, 0, length)
    return best_ns(lambda: lookup(sql, 0, length), repeats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    args = parser.parse_args()
    plain_cache = plain("cache")
    plain_cache.Fingerprinter = plain("fingerprint").Fingerprinter
    rows = []
    for name, sql in STATEMENTS.items():
        row: dict[str, object] = {"statement": name, "bytes": len(sql)}
        if cache.is_compiled() and fingerprint.is_compiled():
            row["compiled_lookup_ns"] = round(lookup_ns(cache, sql, 20_000))
        row["plain_lookup_ns"] = round(lookup_ns(plain_cache, sql, 500))
        row["cold_classify_us"] = round(best_ns(lambda sql=sql: classify(sql), 300) / 1000, 1)  # type: ignore[misc]
        rows.append(row)
    print(f"{'statement':<22}{'bytes':>6}{'hit, compiled':>15}{'hit, plain':>12}{'new':>9}")
    for row in rows:
        hit = f"{row['compiled_lookup_ns']} ns" if "compiled_lookup_ns" in row else "not built"
        plain_hit, new = f"{row['plain_lookup_ns']} ns", f"{row['cold_classify_us']} us"
        print(f"{row['statement']:<22}{row['bytes']:>6}{hit:>15}{plain_hit:>12}{new:>9}")
    result = json.dumps({"python": platform.python_version(), "machine": platform.machine(), "rows": rows})
    print(result)
    if args.json:
        args.json.write_text(result + "\n")


if __name__ == "__main__":
    main()
