"""What routing costs: a statement seen before, compiled and not, one never seen, and the memory of a million of them.

    python bench/micro_routing.py [--json FILE] [--flood 1000000]

Prints a table, and the same as JSON. Each time is the best of several rounds: the machine's noise only adds. `--flood`
sends so many different statements through one cache and reads the process's memory every tenth of the way.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgrouter.routing
from pgrouter.routing import cache, fingerprint
from pgrouter.routing.catalog import Catalog
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
CATALOG = Catalog(
    relations=dict.fromkeys(("pgbench_accounts", "pgbench_history", "users", "orders"), ""),
    only=dict.fromkeys(("pgbench_accounts", "pgbench_history", "users", "orders"), ""),
    complete=True,
)


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


def flood(statements: int) -> list[dict[str, int]]:
    """Send different statements, and give what the cache and the process hold meanwhile, in KiB."""
    kept = cache.StatementCache(lambda text: classify(text, CATALOG))
    seen = []
    for number in range(1, statements + 1):
        sql = b"SELECT abalance AS c%d FROM pgbench_accounts WHERE aid = 12345" % number
        kept.lookup(sql, 0, len(sql))
        if number % (statements // 10) == 0:
            seen.append({"statements": number, "keys": kept.size, "cache": kept.used_bytes // 1024, "rss": rss_kib()})
    return seen


def rss_kib() -> int:
    """Give the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    parser.add_argument("--flood", type=int, default=0, metavar="N", help="so many different statements")
    args = parser.parse_args()
    plain_cache = plain("cache")
    plain_cache.Fingerprinter = plain("fingerprint").Fingerprinter
    rows = []
    for name, sql in STATEMENTS.items():
        row: dict[str, object] = {"statement": name, "bytes": len(sql)}
        if cache.is_compiled() and fingerprint.is_compiled():
            row["compiled_lookup_ns"] = round(lookup_ns(cache, sql, 20_000))
        row["plain_lookup_ns"] = round(lookup_ns(plain_cache, sql, 500))
        row["cold_classify_us"] = round(best_ns(lambda sql=sql: classify(sql, CATALOG), 300) / 1000, 1)  # type: ignore[misc]
        rows.append(row)
    print(f"{'statement':<22}{'bytes':>6}{'hit, compiled':>15}{'hit, plain':>12}{'new':>9}")
    for row in rows:
        hit = f"{row['compiled_lookup_ns']} ns" if "compiled_lookup_ns" in row else "not built"
        plain_hit, new = f"{row['plain_lookup_ns']} ns", f"{row['cold_classify_us']} us"
        print(f"{row['statement']:<22}{row['bytes']:>6}{hit:>15}{plain_hit:>12}{new:>9}")
    flooded = flood(args.flood) if args.flood else []
    if flooded:
        print(f"\n{'statements':>10}{'keys':>9}{'cache, KiB':>12}{'process, KiB':>14}")
        for at in flooded:
            print(f"{at['statements']:>10}{at['keys']:>9}{at['cache']:>12}{at['rss']:>14}")
    about = {"python": platform.python_version(), "machine": platform.machine()}
    result = json.dumps(about | {"rows": rows, "flood": flooded})
    print(result)
    if args.json:
        args.json.write_text(result + "\n")


if __name__ == "__main__":
    main()
