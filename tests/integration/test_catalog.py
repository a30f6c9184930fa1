"""The catalog of a real database: which names need the primary, by themselves or by what they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgrouter.config.settings import Routing
from pgrouter.control.catalog_reader import QUERY
from pgrouter.routing.catalog import Catalog, configured
from pgrouter.routing.catalog_build import Judged
from pgrouter.routing.catalog_facts import read_facts
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

DATABASE = "catalog_test"

SETUP = """
CREATE TABLE plain (id int PRIMARY KEY, name text);
CREATE SEQUENCE numbers;
CREATE UNLOGGED TABLE fast (id int);
CREATE TABLE parent (id int);
CREATE UNLOGGED TABLE child () INHERITS (parent);
CREATE TABLE measures (at date, v int) PARTITION BY RANGE (at);
CREATE TABLE measures_24 PARTITION OF measures FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW calm AS SELECT id, upper(name) AS name FROM plain WHERE id > 0;
CREATE VIEW outer_calm AS SELECT id, plain.name FROM calm JOIN plain USING (id);
CREATE VIEW ticking AS SELECT id, nextval('numbers') AS n FROM plain;
CREATE VIEW over_ticking AS SELECT id FROM (SELECT * FROM ticking) t;
CREATE VIEW locking AS SELECT id FROM plain FOR UPDATE;
CREATE VIEW active AS SELECT pid FROM pg_stat_activity;
CREATE VIEW of_fast AS SELECT * FROM fast;
CREATE VIEW of_tenant AS SELECT * FROM plain WHERE name = current_setting('app.tenant', true);
CREATE VIEW of_server AS SELECT current_setting('transaction_read_only') AS x;
CREATE MATERIALIZED VIEW stored AS SELECT id, nextval('numbers') AS n FROM plain;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO plain VALUES (1) RETURNING id';
CREATE FUNCTION by_habit(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION steady(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION reads(int) RETURNS text LANGUAGE plpgsql STABLE AS
    'DECLARE found text; BEGIN SELECT name INTO found FROM plain WHERE id = $1; RETURN found; END';
CREATE FUNCTION lies() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN nextval(''numbers''); END';
CREATE FUNCTION lies_far() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT lies()';
CREATE FUNCTION lies_by_view() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT max(n) FROM ticking';
CREATE FUNCTION dynamic(text) RETURNS int LANGUAGE plpgsql STABLE AS
    'DECLARE n int; BEGIN EXECUTE $1 INTO n; RETURN n; END';
CREATE FUNCTION atomic_lie() RETURNS bigint STABLE BEGIN ATOMIC SELECT nextval('numbers'); END;
CREATE FUNCTION atomic_true(int) RETURNS int STABLE BEGIN ATOMIC SELECT count(*)::int FROM plain WHERE id = $1; END;
CREATE FUNCTION defaulted(a int, b bigint DEFAULT nextval('numbers')) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION is_even(n int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n = 0 OR is_odd(n - 1); END';
CREATE FUNCTION is_odd(n int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n <> 0 AND is_even(n - 1); END';
CREATE FUNCTION upper(plain) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT ''x''::text';
CREATE FUNCTION now(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION log_row(plain) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT ''x''::text';
CREATE FUNCTION many(VARIADIC int[]) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE AGGREGATE noisy_sum(int) (SFUNC = step, STYPE = int);
CREATE FUNCTION calm_step(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE calm_sum(int) (SFUNC = calm_step, STYPE = int);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN noisy AS int CHECK (VALUE > writes());
CREATE TABLE with_noisy (id int, n noisy);
CREATE TABLE with_mood (id int, m mood, p pair, r int4range);
CREATE FUNCTION takes_noisy(noisy) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION noisy_eq(pair, pair) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT true';
CREATE TYPE odd AS (a int);
CREATE FUNCTION odd_eq(odd, odd) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT true';
CREATE OPERATOR = (LEFTARG = odd, RIGHTARG = odd, FUNCTION = odd_eq);
CREATE TABLE with_odd (id int, o odd);
CREATE FUNCTION plus_text(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = plus_text);
CREATE OPERATOR <-+-> (LEFTARG = int, RIGHTARG = int, FUNCTION = calm_step);
CREATE TABLE guarded (id int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY watch ON guarded FOR SELECT USING (id > writes());
CREATE TABLE tenants (id int, name text); ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants USING (name = current_setting('app.tenant'));
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.nextval(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION shadow.only_here() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
"""

READS = """
SELECT * FROM plain
SELECT * FROM calm, outer_calm, stored, measures, measures_24, of_tenant
SELECT steady(1), reads(1), atomic_true(1), is_even(2)
SELECT steady(id), calm_sum(id), many(1, 2, 3), many(VARIADIC ARRAY[1]) FROM plain GROUP BY 1
SELECT now(), lower('x'), upper('x'), upper(name), 1 <-+-> 2 FROM plain
SELECT 'sad'::mood, 1::positive, row(1, 2)::pair, '{sad}'::mood[]
SELECT * FROM with_mood WHERE m = 'glad' ORDER BY p
SELECT id FROM with_noisy
SELECT * FROM tenants
SELECT shadow.only_here(), shadow.nextval('x')
SELECT p.name, (p).name FROM plain p
WITH c AS (SELECT * FROM calm) SELECT count(*) FROM c JOIN plain ON true
SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
SELECT table_name FROM information_schema.tables
EXPLAIN SELECT * FROM calm
""".strip().splitlines()

WRITES = """
SELECT writes()
SELECT by_habit(1)
SELECT lies()
SELECT lies_far()
SELECT lies_by_view()
SELECT dynamic('select 1')
SELECT atomic_lie()
SELECT defaulted(1)
SELECT upper(p) FROM plain p
SELECT upper(nobody)
SELECT now(1)
SELECT p.log_row FROM plain p
SELECT (p).log_row FROM plain p
SELECT noisy_sum(id) FROM plain
SELECT * FROM ticking
SELECT * FROM over_ticking
SELECT * FROM locking
SELECT * FROM active
SELECT * FROM of_fast
SELECT * FROM of_server
SELECT * FROM fast
SELECT * FROM parent
SELECT * FROM child
SELECT * FROM numbers
SELECT last_value FROM numbers
SELECT 1::noisy
SELECT noisy '1'
SELECT * FROM json_to_record('{}') AS x(a noisy)
SELECT takes_noisy(1)
SELECT * FROM with_odd
SELECT 1 <+> 2
SELECT * FROM guarded
SELECT * FROM nowhere
SELECT nowhere()
SELECT nextval('numbers')
EXPLAIN SELECT * FROM ticking
EXPLAIN SELECT lies()
""".strip().splitlines()


@pytest.fixture(scope="module")
def known(_streaming_cluster: StreamingCluster) -> Iterator[Catalog]:
    """Give the catalog of a database full of traps."""
    primary = _streaming_cluster.primary
    primary.sql(f"CREATE DATABASE {DATABASE}")
    primary.sql(SETUP, dbname=DATABASE)
    yield Judged(read_facts(primary.sql(QUERY, dbname=DATABASE)[0][0]), configured(Routing())).catalog(None)
    primary.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.mark.parametrize("sql", READS)
def test_a_replica_may_have_it(known: Catalog, sql: str) -> None:
    statement = classify(sql, known)
    assert statement.target is Target.REPLICA, (statement.reason, statement.cause)


@pytest.mark.parametrize("sql", WRITES)
def test_the_primary_is_needed(known: Catalog, sql: str) -> None:
    assert classify(sql, known).target is Target.PRIMARY


def test_what_is_configured_goes_before_volatility_also_for_what_calls_it(streaming: StreamingCluster) -> None:
    primary = streaming.primary
    primary.sql(f"CREATE DATABASE {DATABASE}_2")
    try:
        primary.sql(SETUP, dbname=f"{DATABASE}_2")
        said = configured(Routing(read_only_functions=("by_habit", "lies"), write_functions=("public.steady",)))
        known = Judged(read_facts(primary.sql(QUERY, dbname=f"{DATABASE}_2")[0][0]), said).catalog(None)
    finally:
        primary.sql(f"DROP DATABASE {DATABASE}_2 WITH (FORCE)")
    assert classify("SELECT by_habit(1), lies(), lies_far()", known).target is Target.REPLICA
    assert classify("SELECT public.steady(1)", known).target is Target.PRIMARY


def test_the_reason_names_the_root(known: Catalog) -> None:
    assert classify("SELECT * FROM over_ticking", known).cause == "over_ticking (writing function through nextval)"
    assert classify("SELECT by_habit(1)", known).cause == "by_habit (volatile function)"


def test_a_role_sees_what_its_search_path_names(streaming: StreamingCluster) -> None:
    primary = streaming.primary
    primary.sql(f"CREATE DATABASE {DATABASE}_3")
    primary.sql("CREATE ROLE walker; CREATE ROLE dweller")
    try:
        primary.sql(
            "CREATE SCHEMA hut; CREATE SCHEMA dweller;"
            "CREATE FUNCTION hut.mine() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';"
            "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';"
            "CREATE FUNCTION dweller.yours() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';"
            "CREATE FUNCTION public.yours() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';"
            "CREATE TABLE hut.items (id int); CREATE UNLOGGED TABLE items (id int);"
            f'ALTER ROLE walker IN DATABASE {DATABASE}_3 SET search_path = hut, "$user", public',
            dbname=f"{DATABASE}_3",
        )
        judged = Judged(read_facts(primary.sql(QUERY, dbname=f"{DATABASE}_3")[0][0]), configured(Routing()))
    finally:
        primary.sql(f"DROP DATABASE {DATABASE}_3 WITH (FORCE)")
        primary.sql("DROP ROLE walker; DROP ROLE dweller")
    replica = {
        role: [
            classify(sql, judged.catalog(role)).target is Target.REPLICA
            for sql in ("SELECT mine()", "SELECT yours()", "SELECT * FROM items", "SELECT hut.mine()")
        ]
        for role in ("walker", "dweller", "postgres", None)
    }
    assert replica == {
        "walker": [False, True, False, False],
        "dweller": [True, False, False, False],
        "postgres": [True, True, False, False],
        None: [False, False, False, False],
    }
