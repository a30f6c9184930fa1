"""What a large catalog costs: reading it, judging it, looking up a statement in it, the memory it takes.

    python -m bench.big_catalog [--scale 1.0]

At scale 1 a database of 100,000 objects is made on a PostgreSQL of its own: 25,000 tables (each brings two types),
10,000 views, 15,000 functions in SQL and PL/pgSQL. `stall` is the longest time for which another thread (the event
loop) did not get to run while the catalog was judged.
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from typing import Self

from pgrouter.config.settings import Routing
from pgrouter.control.catalog_reader import DIGEST, QUERY
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.routing.catalog import configured
from pgrouter.routing.catalog_build import Judged
from pgrouter.routing.catalog_facts import read_facts
from pgrouter.routing.classify import classify

OBJECTS = """
DO $do$
BEGIN
  FOR i IN 1 .. {tables} LOOP
    EXECUTE format('CREATE TABLE t%s (id int, name text, price numeric, at timestamptz)', i);
    IF i % 500 = 0 THEN COMMIT; END IF;
  END LOOP;
  FOR i IN 1 .. {views} LOOP
    EXECUTE format('CREATE VIEW v%s AS SELECT a.id, upper(b.name) AS name
      FROM t%s a JOIN t%s b USING (id) WHERE a.price > 3',
      i, i, i + 1);
    IF i % 500 = 0 THEN COMMIT; END IF;
  END LOOP;
  FOR i IN 1 .. {functions} LOOP
    IF i % 2 = 0 THEN
      EXECUTE format('CREATE FUNCTION f%s(a int, b text) RETURNS text STABLE LANGUAGE sql AS
        ''SELECT lower(name) || $2 FROM t%s WHERE id = a AND price > 1 ORDER BY at LIMIT 1''', i, i);
    ELSE
      EXECUTE format('CREATE FUNCTION f%s(a int, b text) RETURNS text STABLE LANGUAGE plpgsql AS
        ''DECLARE found text; n int := 0; BEGIN SELECT name INTO found FROM t%s WHERE id = a;
          IF found IS NULL THEN n := n + 1; RETURN b; END IF;
          FOR n IN SELECT id FROM v%s LOOP found := found || n::text; END LOOP;
          RETURN f%s(a, found); END''', i, i, 1 + i % {views}, 1 + i % 100);
    END IF;
    IF i % 500 = 0 THEN COMMIT; END IF;
  END LOOP;
END $do$
"""


class Stalls:
    """Measures how long another thread is kept from running."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def _tick(self) -> None:
        before = time.perf_counter()
        while not self._stop.wait(0.001):
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - before - 0.001)
            before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def timed(name: str, since: float) -> float:
    """Print the time since then, and give the time now."""
    now = time.perf_counter()
    print(f"{name:<40}{(now - since) * 1000:>10.0f} ms   {rss_mib():>6} MiB at most")
    return now


def rss_mib() -> int:
    """Give the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args().scale
    with StreamingCluster(1) as cluster:
        server = cluster.primary
        at = time.perf_counter()
        server.sql(OBJECTS.format(tables=int(25000 * scale), views=int(10000 * scale), functions=int(15000 * scale)))
        at = timed("made", at)
        server.sql(DIGEST)
        at = timed("digest", at)
        document = server.sql(QUERY)[0][0]
        at = timed(f"read, {len(document) // 1024 // 1024} MiB", at)
        facts = read_facts(document)
        at = timed("decoded", at)
        with Stalls() as stalls:
            judged = Judged(facts, configured(Routing()))
        at = timed("judged", at)
        print(f"{'stall':<40}{stalls.longest_s * 1000:>10.0f} ms")
        known = judged.catalog("postgres")
        at = timed("catalog of a role", at)
        for sql in ("SELECT name FROM v77 WHERE id = 1", "SELECT f77(1, 'x')"):
            print(f"{sql:<40}{classify(sql, known).target.name:>10}")


if __name__ == "__main__":
    main()
