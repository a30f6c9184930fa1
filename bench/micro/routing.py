"""What routing costs: a statement seen before, compiled and not, one never seen, the memory of a million of them."""

from __future__ import annotations

import importlib.util
import resource
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pgrouter.routing
from bench.micro.clock import best_ns
from pgrouter.routing import cache, fingerprint
from pgrouter.routing.catalog import Catalog
from pgrouter.routing.classify import classify

STATEMENTS = {
    "point select": b"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
    "point select, string": (
        b"SELECT id, name, email FROM users AS u WHERE u.email = 'someone@example.com' AND u.active LIMIT 1"
    ),
    "ORM select": (
        b'SELECT "users"."id", "users"."name", "users"."email", "users"."created_at", COUNT("orders"."id") AS "n" '
        b'FROM "users" LEFT OUTER JOIN "orders" ON ("users"."id" = "orders"."user_id" AND "orders"."state" IN '
        b'(\'paid\', \'sent\')) WHERE ("users"."active" AND "users"."email" LIKE \'%@example.com\' AND '
        b'"orders"."created_at" > \'2024-01-01\'::timestamptz) GROUP BY "users"."id" ORDER BY "n" DESC LIMIT 20'
    ),
    "insert": b"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP);",
}
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


def rows() -> list[dict[str, object]]:
    """Measure each statement: a hit compiled, a hit as plain Python, and one never seen."""
    plain_cache = plain("cache")
    plain_cache.Fingerprinter = plain("fingerprint").Fingerprinter
    found = []
    for name, sql in STATEMENTS.items():
        row: dict[str, object] = {"statement": name, "bytes": len(sql)}
        if cache.is_compiled() and fingerprint.is_compiled():
            row["compiled_lookup_ns"] = round(lookup_ns(cache, sql, 20_000))
        row["plain_lookup_ns"] = round(lookup_ns(plain_cache, sql, 500))
        row["cold_classify_us"] = round(best_ns(lambda sql=sql: classify(sql, CATALOG), 300) / 1000, 1)  # type: ignore[misc]
        found.append(row)
    return found


def table(found: list[dict[str, object]]) -> str:
    """Lay out what was measured."""
    lines = [f"{'statement routed':<30}{'bytes':>6}{'hit, compiled':>15}{'hit, plain':>12}{'new':>9}"]
    for row in found:
        hit = f"{row['compiled_lookup_ns']} ns" if "compiled_lookup_ns" in row else "not built"
        plain_hit, new = f"{row['plain_lookup_ns']} ns", f"{row['cold_classify_us']} us"
        lines.append(f"{row['statement']:<30}{row['bytes']:>6}{hit:>15}{plain_hit:>12}{new:>9}")
    return "\n".join(lines)


def flood_table(seen: list[dict[str, int]]) -> str:
    """Lay out what a flood of statements held."""
    lines = [f"{'statements':>10}{'keys':>9}{'cache, KiB':>12}{'process, KiB':>14}"]
    lines += [f"{at['statements']:>10}{at['keys']:>9}{at['cache']:>12}{at['rss']:>14}" for at in seen]
    return "\n".join(lines)
