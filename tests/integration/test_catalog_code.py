"""What code in a real database may leave in the session of who runs it, by whatever way a statement leads to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pgrouter.config.settings import Routing
from pgrouter.control.catalog_reader import DIGEST, QUERY
from pgrouter.routing.catalog import Catalog, configured, pending
from pgrouter.routing.catalog_build import Judged
from pgrouter.routing.catalog_facts import read_facts
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Setting, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

DATABASE = "catalog_code"

SETUP = r"""
CREATE EXTENSION dblink; CREATE EXTENSION pg_trgm; CREATE EXTENSION isn; CREATE EXTENSION pgcrypto;
CREATE EXTENSION tablefunc; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION hstore; CREATE EXTENSION intarray;
CREATE EXTENSION tsm_system_rows; CREATE EXTENSION pgrowlocks;
CREATE SCHEMA other; CREATE TYPE other.kind AS (a int);
CREATE TABLE plain (id int PRIMARY KEY, name text);
CREATE TABLE log (id serial, what text);
CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION set_tenant(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.tenant', t, false); END $$;
CREATE FUNCTION set_tenant_sql(t text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('App.Sql', t, false) $$;
CREATE FUNCTION set_tenant_atomic(t text) RETURNS text BEGIN ATOMIC SELECT set_config('app.atomic', t, false); END;
CREATE FUNCTION set_steadily(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT set_config('a.s', t, false) $$;
CREATE FUNCTION calls_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_tenant('x'); END $$;
CREATE FUNCTION set_work() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '1MB'; END $$;
CREATE FUNCTION set_locally() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL work_mem = '1MB'; END $$;
CREATE FUNCTION custom_locally() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL app.local = 'x'; END $$;
CREATE FUNCTION custom_locally_too() RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.local2', 'x', true) $$;
CREATE FUNCTION with_custom() RETURNS int LANGUAGE sql SET app.around = 'x' AS 'SELECT 1';
CREATE FUNCTION set_any(n text) RETURNS text LANGUAGE sql AS $$ SELECT set_config(n, 'x', false) $$;
CREATE FUNCTION set_role() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE postgres; END $$;
CREATE FUNCTION lock_it() RETURNS void LANGUAGE sql AS $$ SELECT pg_advisory_lock(1) $$;
CREATE FUNCTION lock_xact() RETURNS void LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(1) $$;
CREATE FUNCTION unlock_it() RETURNS bool LANGUAGE sql AS $$ SELECT pg_advisory_unlock(1) $$;
CREATE FUNCTION temp_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE tt (a int); END $$;
CREATE FUNCTION temp_as() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE pg_temp.tt AS SELECT 1; END $$;
CREATE FUNCTION listen_const() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'listen q'; END $$;
CREATE FUNCTION hold_const() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'declare c cursor with hold for select 1'; END $$;
CREATE FUNCTION prepare_const() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'prepare p as select 1'; END $$;
CREATE FUNCTION nothing_const() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'insert into plain values (1)'; END $$;
CREATE FUNCTION seed_it() RETURNS void LANGUAGE sql AS $$ SELECT setseed(0.5) $$;
CREATE FUNCTION seed_set() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET seed = 0.5; END $$;
CREATE FUNCTION load_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOAD 'plpgsql'; END $$;
CREATE FUNCTION execute_any(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE t; END $$;
CREATE FUNCTION execute_query(t text) RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE t; END $$;
CREATE FUNCTION execute_s(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('SELECT * FROM %s', t); END $$;
CREATE FUNCTION execute_regclass(t regclass) RETURNS void LANGUAGE plpgsql AS
    $$ DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %s', t) INTO n; END $$;
CREATE FUNCTION execute_temp(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('CREATE TEMP TABLE %I (a int)', t); END $$;
CREATE FUNCTION execute_listen(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'LISTEN ' || quote_ident(t); END $$;
CREATE FUNCTION execute_set(n text, v text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('SET %I = %L', n, v); END $$;
CREATE FUNCTION execute_drop(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'COMMENT ON TABLE ' || quote_ident(t) || ' IS ' || quote_literal(t); END $$;
CREATE FUNCTION execute_function(t text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('SELECT %I()', t); END $$;
CREATE FUNCTION writes_plain() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO plain VALUES (1); UPDATE plain SET id = 2; DELETE FROM plain; END $$;
CREATE FUNCTION reads_plain() RETURNS int LANGUAGE plpgsql AS
    $$ DECLARE r record; c CURSOR FOR SELECT 1; BEGIN FOR r IN SELECT * FROM plain LOOP NULL; END LOOP;
       RETURN current_setting('app.read', true); END $$;
CREATE FUNCTION ask_currval() RETURNS bigint LANGUAGE sql AS $$ SELECT currval('log_id_seq') $$;
CREATE FUNCTION ask_lastval() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN lastval(); END $$;
CREATE FUNCTION ask_far() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN ask_lastval(); END $$;
CREATE FUNCTION ask_own() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN PERFORM nextval('log_id_seq'); RETURN ask_lastval(); END $$;
CREATE FUNCTION ask_inserted() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log (what) VALUES ('x'); RETURN currval('log_id_seq'); END $$;
CREATE FUNCTION draw() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('log_id_seq') $$;
CREATE FUNCTION slot(t bool) RETURNS void LANGUAGE sql AS
    $$ SELECT pg_create_physical_replication_slot('s', false, t) $$;
CREATE FUNCTION connect_it() RETURNS text LANGUAGE sql AS $$ SELECT dblink_connect('c', 'host=x') $$;
CREATE PROCEDURE proc_set() LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.proc', 'x', false); COMMIT; END $$;
CREATE PROCEDURE proc_plain(OUT a int) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO plain VALUES (1); a := 1; END $$;
CREATE FUNCTION strange(x public.plain) RETURNS void LANGUAGE plpgsql AS
    $$ DECLARE y other.kind; BEGIN PERFORM set_tenant('x'); END $$;
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.step', 'x', false); RETURN 1; END $$;
CREATE AGGREGATE agg(int) (SFUNC = step, STYPE = int);
CREATE FUNCTION check_it(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM set_config('app.check', 'x', false); RETURN true; END $$;

CREATE FUNCTION trigger_plain() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.name := lower(NEW.name); INSERT INTO plain VALUES (2); RETURN NEW; END $$;
CREATE FUNCTION trigger_set() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.trigger', TG_OP, false); RETURN NULL; END $$;
CREATE FUNCTION trigger_ask() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO plain VALUES (currval('log_id_seq')); RETURN NULL; END $$;
CREATE TABLE t_calm (id int, name text); CREATE TRIGGER x BEFORE INSERT ON t_calm FOR EACH ROW
    EXECUTE FUNCTION trigger_plain();
CREATE TABLE t_row (id int); CREATE TRIGGER x AFTER INSERT ON t_row FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE TABLE t_off (id int); CREATE TRIGGER x AFTER DELETE ON t_off FOR EACH STATEMENT EXECUTE FUNCTION trigger_set();
ALTER TABLE t_off DISABLE TRIGGER x;
CREATE TABLE t_truncate (id int); CREATE TRIGGER x AFTER TRUNCATE ON t_truncate EXECUTE FUNCTION trigger_set();
CREATE TABLE t_late (id int); CREATE CONSTRAINT TRIGGER x AFTER UPDATE ON t_late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE TABLE t_when (id int); CREATE TRIGGER x BEFORE INSERT ON t_when FOR EACH ROW WHEN (check_it(NEW.id))
    EXECUTE FUNCTION trigger_plain();
CREATE TABLE t_asks (id int); CREATE TRIGGER x AFTER UPDATE ON t_asks FOR EACH ROW EXECUTE FUNCTION trigger_ask();
CREATE TABLE t_default (id int, name text DEFAULT set_config('app.default', 'x', false));
CREATE TABLE t_generated (id int, ok bool GENERATED ALWAYS AS (check_it(id)) STORED);
CREATE TABLE t_check (id int CHECK (check_it(id)));
CREATE TABLE t_index (id int); CREATE INDEX ON t_index (check_it(id));
CREATE TABLE t_predicate (id int); CREATE INDEX ON t_predicate (id) WHERE check_it(id);
CREATE DOMAIN checked AS int CHECK (check_it(VALUE)); CREATE TABLE t_domain (id checked);
CREATE TABLE t_policy (id int); ALTER TABLE t_policy ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t_policy FOR INSERT WITH CHECK (set_config('app.policy', 'x', false) = 'x');
CREATE TABLE t_using (id int); ALTER TABLE t_using ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t_using FOR SELECT USING (set_config('app.using', 'x', false) = 'x');
CREATE TABLE t_reads_setting (id int, name text); ALTER TABLE t_reads_setting ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t_reads_setting USING (name = current_setting('app.by_policy', true));
CREATE TABLE t_rule (id int); CREATE RULE r AS ON INSERT TO t_rule DO ALSO SELECT set_config('app.rule', 'x', false);
CREATE TABLE t_ruled (id int); CREATE RULE r AS ON UPDATE TO t_ruled DO ALSO INSERT INTO t_row VALUES (1);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
CREATE TRIGGER x AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE TABLE parent_2 (id int PRIMARY KEY); CREATE TABLE child_2 (id int REFERENCES parent_2);
CREATE TRIGGER x AFTER DELETE ON child_2 FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE TABLE parts (at int) PARTITION BY RANGE (at); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
CREATE TRIGGER x AFTER INSERT ON parts_1 FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE TABLE heirs (id int); CREATE TABLE heir () INHERITS (heirs);
CREATE TRIGGER x AFTER UPDATE ON heir FOR EACH ROW EXECUTE FUNCTION trigger_set();
CREATE VIEW v_sets AS SELECT set_config('app.view', 'x', false) AS x;
CREATE VIEW v_believed AS SELECT set_steadily(name) FROM plain;
CREATE VIEW v_over AS SELECT * FROM v_sets;
CREATE VIEW v_writable AS SELECT * FROM t_row;
CREATE VIEW v_writable_2 AS SELECT id FROM v_writable;
CREATE VIEW v_log AS SELECT * FROM log;
CREATE VIEW v_calm AS SELECT * FROM plain;
CREATE VIEW v_instead AS SELECT 1 AS id; CREATE TRIGGER x INSTEAD OF INSERT ON v_instead FOR EACH ROW
    EXECUTE FUNCTION trigger_set();
CREATE VIEW v_settings AS SELECT * FROM pg_settings;
CREATE MATERIALIZED VIEW m_sets AS SELECT set_config('app.stored', 'x', false) AS x WITH NO DATA;
CREATE MATERIALIZED VIEW m_calm AS SELECT * FROM plain WITH NO DATA;
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION pair_op(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM set_config('app.op', 'x', false); RETURN true; END $$;
CREATE OPERATOR <<+>> (LEFTARG = int, RIGHTARG = int, FUNCTION = pair_op);
CREATE FUNCTION pair_of(text) RETURNS pair LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM set_config('app.cast', 'x', false); RETURN NULL; END $$;
CREATE CAST (text AS pair) WITH FUNCTION pair_of(text) AS ASSIGNMENT;
CREATE TABLE t_pair (p pair);
CREATE FUNCTION attribute(plain) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.attribute', 'x', false); RETURN 'x'; END $$;
CREATE FUNCTION defaulted(a int, b text DEFAULT set_config('app.argument', 'x', false)) RETURNS int LANGUAGE sql AS
    'SELECT 1';
"""

CODE, OTHER, SEQUENCES, CUSTOM = Effect.CODE, Effect.OTHER_STATE, Effect.SEQUENCES, Effect.CUSTOM

NOTHING = """
SELECT * FROM plain
SELECT lower('x'), md5('x'), gen_random_uuid(), uuid_generate_v4(), gen_salt('md5'), similarity('a', 'b')
SELECT 'a=>1'::hstore -> 'a', '{1}'::int[] & '{1}'::int[], '978-0-393-04002-9'::isbn13
SELECT lock_xact()
SELECT set_locally()
SELECT writes_plain()
SELECT reads_plain()
SELECT nothing_const()
SELECT execute_drop('x')
SELECT draw()
SELECT ask_own()
SELECT ask_inserted()
SELECT dblink('host=x', 'select 1')
SELECT * FROM normal_rand(1, 1, 1)
SELECT pg_create_physical_replication_slot('s')
SELECT pg_create_logical_replication_slot('s', 'test_decoding', false)
CALL proc_plain(NULL)
INSERT INTO plain VALUES (1)
INSERT INTO plain SELECT * FROM plain ON CONFLICT DO NOTHING
UPDATE plain SET name = 'x'
UPDATE t_default SET name = 'x'
DELETE FROM plain
TRUNCATE plain
COPY plain FROM STDIN
MERGE INTO plain USING parent p ON p.id = plain.id WHEN MATCHED THEN DELETE
WITH x AS (DELETE FROM plain RETURNING *) SELECT * FROM x
INSERT INTO t_calm VALUES (1)
INSERT INTO log (what) VALUES ('x')
DELETE FROM parent_2
INSERT INTO v_calm VALUES (1)
REFRESH MATERIALIZED VIEW m_calm
SELECT * FROM m_sets
SELECT * FROM v_settings
SELECT * FROM t_reads_setting
INSERT INTO t_reads_setting VALUES (1, 'x')
SELECT defaulted(1, 'x')
DO $$ BEGIN INSERT INTO plain VALUES (1); END $$
DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM plain LOOP PERFORM lower(r.name); END LOOP; END $$
DO $$ BEGIN SET LOCAL work_mem = '1MB'; END $$
PREPARE p AS SELECT 1
VACUUM plain
CREATE VIEW n AS SELECT execute_any('x')
CREATE FUNCTION n() RETURNS text RETURN set_config('app.x', 'y', false)
CREATE TABLE n (a text DEFAULT set_tenant_sql('x'), CHECK (check_it(1)))
""".strip().splitlines()

LEAVES = """
SELECT set_tenant('A')
SELECT set_tenant_sql('A')
SELECT set_tenant_atomic('A')
SELECT set_steadily('A')
SELECT calls_it()
SELECT public.calls_it()
SELECT * FROM plain WHERE name = set_steadily('x')
SELECT set_work()
SELECT set_role()
SELECT lock_it()
SELECT unlock_it()
SELECT temp_it()
SELECT temp_as()
SELECT listen_const()
SELECT hold_const()
SELECT prepare_const()
SELECT execute_temp('x')
SELECT execute_listen('x')
SELECT set_limit(0.5)
SELECT strange(NULL)
SELECT agg(id) FROM plain
SELECT agg(id) OVER () FROM plain
CALL proc_set()
INSERT INTO t_row VALUES (1)
UPDATE t_row SET id = 1
COPY t_row FROM STDIN
MERGE INTO t_row USING plain p ON p.id = t_row.id WHEN NOT MATCHED THEN INSERT VALUES (1)
WITH x AS (INSERT INTO t_row VALUES (1) RETURNING *) SELECT * FROM x
WITH x AS (INSERT INTO t_row VALUES (1) RETURNING *) INSERT INTO plain SELECT id FROM x
EXPLAIN ANALYZE INSERT INTO t_row VALUES (1)
DELETE FROM ONLY t_off
TRUNCATE plain, t_truncate
UPDATE t_late SET id = 1
INSERT INTO t_when VALUES (1)
INSERT INTO t_default (id) VALUES (1)
UPDATE t_default SET name = DEFAULT
UPDATE t_generated SET id = 2
INSERT INTO t_generated (id) VALUES (1)
INSERT INTO t_check VALUES (1)
INSERT INTO t_index VALUES (1)
INSERT INTO t_predicate VALUES (1)
INSERT INTO t_domain VALUES (1)
SELECT 1::checked
SELECT checked '1'
INSERT INTO t_policy VALUES (1)
SELECT * FROM t_using
UPDATE t_using SET id = 1
INSERT INTO t_rule VALUES (1)
UPDATE t_ruled SET id = 1
DELETE FROM parent
INSERT INTO parts VALUES (1)
UPDATE heirs SET id = 1
SELECT * FROM v_sets
SELECT * FROM v_over
COPY (SELECT * FROM v_over) TO STDOUT
CREATE TABLE n AS SELECT * FROM v_over
SELECT * INTO n FROM v_over
DECLARE c CURSOR FOR SELECT * FROM v_over
INSERT INTO v_writable VALUES (1)
INSERT INTO v_writable_2 VALUES (1)
INSERT INTO v_instead VALUES (1)
UPDATE pg_settings SET setting = 'x' WHERE name = 'work_mem'
UPDATE pg_catalog.pg_settings SET setting = 'x' WHERE name = 'work_mem'
UPDATE v_settings SET setting = 'x' WHERE name = 'work_mem'
REFRESH MATERIALIZED VIEW m_sets
SELECT 1 <<+>> 2
SELECT * FROM plain a JOIN plain b ON a.id OPERATOR(public.<<+>>) b.id
SELECT 'x'::text::pair
INSERT INTO t_pair SELECT name FROM plain
SELECT p.attribute FROM plain p
SELECT (p).attribute FROM plain p
SELECT defaulted(1)
ALTER TABLE plain ADD COLUMN c text DEFAULT set_tenant_sql('x')
ALTER TABLE t_check ALTER COLUMN id TYPE bigint
DO $$begin set role r02; end$$
DO $$begin perform pg_advisory_lock(302); end$$
DO $$ BEGIN SET standard_conforming_strings = off; END $$
DO $$ BEGIN CREATE TEMP TABLE x (a int); END $$
DO $$ BEGIN EXECUTE 'listen q'; END $$
DO $$ BEGIN PERFORM set_tenant('x'); END $$
DO $$ BEGIN INSERT INTO t_row VALUES (1); END $$
DO $$ DECLARE x checked := 1; BEGIN NULL; END $$
DO $$ BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', 'x'); END $$
DO $$ BEGIN DO 'begin set role r02; end'; END $$
PREPARE p AS SELECT set_config('app.x', 'x', false)
PREPARE p AS INSERT INTO t_row VALUES (1)
EXECUTE p
CREATE TABLE n AS EXECUTE p
SELECT pair('x'::text)
SELECT * FROM t_row FOR UPDATE
CREATE EXTENSION hstore
VACUUM FULL t_index
SELECT * FROM nowhere
INSERT INTO nowhere VALUES (1)
SELECT nowhere()
""".strip().splitlines()

LEAVES_OTHER = """
SELECT seed_it()
SELECT seed_set()
SELECT load_it()
SELECT pg_temp.f()
SELECT set_any('x')
SELECT execute_any('x')
SELECT execute_query('x')
SELECT execute_s('x')
SELECT execute_set('a', 'b')
SELECT execute_function('a')
SELECT slot(true)
SELECT connect_it()
SELECT dblink_connect('host=x')
SELECT dblink_connect_u('host=x')
SELECT isn_weak(true)
SELECT pg_backup_start('x')
SELECT pg_replication_origin_session_setup('x')
SELECT pg_create_physical_replication_slot('s', false, true)
SELECT pg_create_logical_replication_slot('s', 'x', temporary => true)
SELECT pg_create_logical_replication_slot('s', 'x', $1)
SELECT pg_copy_logical_replication_slot('s', 't')
SELECT * FROM crosstab($1) AS t(a int)
SELECT query_to_xml($1, true, true, '')
DO $$ BEGIN EXECUTE current_query(); END $$
DO $$ BEGIN LOAD 'plpgsql'; END $$
DO LANGUAGE plperl 'x'
SELECT setseed(0.1)
""".strip().splitlines()


def judge(primary, name: str, **routing: object) -> Catalog:
    document = primary.sql(f"SET search_path = pg_catalog; {QUERY}", dbname=name)[0][0]  # as the router asks it
    return Judged(read_facts(document), configured(Routing(**routing))).catalog("postgres")


@pytest.fixture(scope="module")
def known(_streaming_cluster: StreamingCluster) -> Iterator[Catalog]:
    """Give the catalog of a database with code in every place that has room for it."""
    primary = _streaming_cluster.primary
    primary.sql(f"CREATE DATABASE {DATABASE}")
    primary.sql(SETUP, dbname=DATABASE)
    yield judge(primary, DATABASE)
    primary.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.mark.parametrize("sql", NOTHING)
def test_leaves_nothing(known: Catalog, sql: str) -> None:
    statement = classify(sql, known)
    assert not statement.effects & (CODE | OTHER | SEQUENCES | CUSTOM), (Effect(statement.effects), statement.through)


@pytest.mark.parametrize("sql", LEAVES)
def test_leaves_what_the_server_tells(known: Catalog, sql: str) -> None:
    statement = classify(sql, known)
    assert statement.effects & (CODE | OTHER) == CODE, (Effect(statement.effects), statement.through)
    assert statement.target is not Target.REPLICA
    assert not statement.verdict.stateless


@pytest.mark.parametrize("sql", LEAVES_OTHER)
def test_leaves_what_no_query_tells(known: Catalog, sql: str) -> None:
    statement = classify(sql, known)
    assert statement.effects & OTHER, (Effect(statement.effects), statement.through)
    assert statement.target is not Target.REPLICA


def test_no_hint_leaves_anything_on_a_replica(known: Catalog) -> None:
    for sql in ("SELECT set_tenant('x')", "SELECT set_steadily('x')", "TABLE v_sets", "SELECT execute_any('x')"):
        assert classify(f"/* pgrouter: replica */ {sql}", known).target is Target.PRIMARY, sql
    assert classify("/* pgrouter: replica */ SELECT lock_xact()", known).target is Target.REPLICA


@pytest.mark.parametrize(("sql", "asks", "draws"), [
    ("SELECT ask_currval()", True, False),
    ("SELECT ask_lastval()", True, False),
    ("SELECT ask_far()", True, False),
    ("UPDATE t_asks SET id = 1", True, False),
    ("SELECT ask_own()", False, True),
    ("SELECT ask_inserted()", False, True),
    ("SELECT draw()", False, True),
    ("INSERT INTO log (what) VALUES ('x')", False, True),
    ("UPDATE log SET what = 'x'", False, False),
    ("UPDATE log SET id = DEFAULT", False, True),
    ("UPDATE log SET (id, what) = (DEFAULT, 'x')", False, True),
    ("DELETE FROM log", False, False),
    ("INSERT INTO v_log (what) VALUES ('x')", False, True),
    ("INSERT INTO numbered (what) VALUES ('x')", False, True),
    ("COPY log FROM STDIN", False, True),
    ("MERGE INTO log USING plain p ON p.id = log.id WHEN NOT MATCHED THEN INSERT (what) VALUES ('x')", False, True),
    ("INSERT INTO plain VALUES (nextval('log_id_seq'))", False, True),
    ("INSERT INTO plain VALUES (currval('log_id_seq'))", True, False),
    ("DO $$ BEGIN PERFORM lastval(); END $$", True, False),
    ("DO $$ BEGIN PERFORM draw(); PERFORM lastval(); END $$", False, True),
    ("SELECT draw(); SELECT lastval()", False, True),
    ("SELECT lower('x')", False, False),
])  # fmt: skip
def test_values_of_sequences(known: Catalog, sql: str, asks: bool, draws: bool) -> None:  # noqa: FBT001
    statement = classify(sql, known)
    assert (bool(statement.effects & SEQUENCES), statement.verdict.draws) == (asks, draws)
    assert not statement.effects & Effect.DRAWS


@pytest.mark.parametrize("sql", [
    "SELECT custom_locally()", "SELECT custom_locally_too()", "SELECT with_custom()",
    "DO $$ BEGIN SET LOCAL app.x = 'y'; END $$", "SELECT set_config($1, 'x', true)",
])  # fmt: skip
def test_custom_settings_of_a_transaction(known: Catalog, sql: str) -> None:
    assert classify(sql, known).effects & (CODE | OTHER | CUSTOM) == CUSTOM


def test_the_names_of_all_custom_settings_are_known(known: Catalog) -> None:
    assert known.settings >= {
        "app.tenant", "app.sql", "app.atomic", "a.s", "app.local", "app.local2", "app.around", "app.read", "app.proc",
        "app.step", "app.check", "app.trigger", "app.default", "app.policy", "app.using", "app.by_policy", "app.rule",
        "app.view", "app.stored", "app.op", "app.cast", "app.attribute", "app.argument",
    }  # fmt: skip
    assert "work_mem" not in known.settings


@pytest.mark.parametrize(("sql", "custom"), [
    ("SELECT current_setting('App.One', true), set_config('app.two', 'x', false)", ("app.one", "app.two")),
    ("SELECT current_setting('work_mem')", ()),
    ("DO $$ BEGIN PERFORM current_setting('app.a'); SET app.b = 1; EXECUTE 'set app.c = 1'; END $$",
     ("app.a", "app.b", "app.c")),
    ("CREATE FUNCTION f() RETURNS text LANGUAGE sql SET app.a = 1 AS $$ SELECT set_config('app.b', 'x', false) $$",
     ("app.a", "app.b")),
    ("CREATE FUNCTION f() RETURNS text RETURN current_setting('app.a')", ("app.a",)),
    ("CREATE PROCEDURE f() LANGUAGE plpgsql AS $$ BEGIN SET LOCAL app.a = 1; END $$", ("app.a",)),
    ("CREATE POLICY p ON plain USING (name = current_setting('app.a'))", ("app.a",)),
    ("CREATE VIEW v AS SELECT current_setting('app.a')", ("app.a",)),
    ("ALTER TABLE plain ALTER name SET DEFAULT current_setting('app.a')", ("app.a",)),
    ("SELECT 1; SELECT current_setting('app.a')", ("app.a",)),
])  # fmt: skip
def test_a_statement_tells_the_custom_settings_that_it_brings_along(
    known: Catalog, sql: str, custom: tuple[str, ...]
) -> None:
    assert classify(sql, known).custom == custom


def test_set_config_for_a_transaction_is_set_local(known: Catalog) -> None:
    statement = classify("SELECT set_config('app.x', 'y', true), set_config('app.z', $1, true)", known)
    assert statement.settings == (Setting("app.x", "y", is_local=True), Setting("app.z", "", is_local=True))
    assert statement.effects == Effect.SETTINGS  # they are there afterwards, empty


def test_it_is_told_through_what(known: Catalog) -> None:
    assert classify("SELECT calls_it()", known).through == "set_config through set_tenant"
    assert classify("SELECT * FROM v_over", known).through == "set_config through v_sets"
    assert classify("INSERT INTO v_writable_2 VALUES (1)", known).through == "set_config through trigger_set"
    assert classify("SELECT execute_any('x')", known).through == "EXECUTE through execute_any"
    assert classify("SELECT seed_it()", known).through == "setseed through seed_it"
    assert classify("SELECT 1", known).through == ""


@pytest.mark.parametrize("sql", [
    "SELECT f()", "SELECT * FROM t", "INSERT INTO t VALUES (1)", "CALL p()", "SELECT 1 ### 2", "SELECT 'x'::mood",
    "DO 'begin perform f(); end'", "CREATE TABLE x (a int)", "TRUNCATE t", "COPY t FROM STDIN",
])  # fmt: skip
def test_while_the_catalog_is_read_names_are_code(sql: str) -> None:
    assert classify(sql, pending(configured(Routing()))).effects & (CODE | OTHER) == CODE


def test_what_the_configuration_says_of_functions(streaming: StreamingCluster, known: Catalog) -> None:
    said = judge(
        streaming.primary, DATABASE, stateless_functions=("set_tenant", "public.trigger_set", "execute_any"),
        stateful_functions=("lock_xact", "trigger_plain"), read_only_functions=("set_steadily",),
        write_functions=("lock_it",),
    )  # fmt: skip
    stateless = ("SELECT set_tenant('')", "SELECT calls_it()", "INSERT INTO t_row VALUES (1)", "SELECT execute_any('')")
    for sql in stateless:
        assert classify(sql, known).effects & (CODE | OTHER), sql
        assert not classify(sql, said).effects & (CODE | OTHER), sql
        assert classify(sql, said).target is Target.PRIMARY
    for sql in ("SELECT lock_xact()", "INSERT INTO t_calm VALUES (1)"):
        assert classify(sql, said).effects & OTHER, sql
    assert classify("SELECT set_steadily('x')", said).target is Target.REPLICA
    assert not classify("SELECT set_steadily('x')", said).effects
    for sql in ("TABLE v_believed", "SELECT * FROM plain WHERE name = set_steadily('x')"):
        assert classify(sql, known).effects & CODE, sql
        assert (classify(sql, said).target, classify(sql, said).effects) == (Target.REPLICA, 0), sql
    assert classify("SELECT lock_it()", said).effects & (CODE | OTHER) == CODE


def test_c_of_no_known_extension_and_other_languages_may_leave_anything() -> None:
    facts = read_facts_of_extension("strange")
    catalog = Judged(facts, configured(Routing())).catalog(None)
    assert classify("SELECT in_c()", catalog).effects & OTHER
    assert not classify("SELECT in_steady_c()", catalog).effects
    assert classify("SELECT in_perl()", catalog).effects & OTHER
    listed = Judged(read_facts_of_extension("postgis"), configured(Routing())).catalog(None)
    assert not classify("SELECT in_c()", listed).effects


def read_facts_of_extension(extension: str):
    """Give a catalog with functions that no test server can have: there is no such extension, no PL/Perl."""
    functions = [
        [20000, "public", "in_c", "f", "v", "c", 0, 0, False, [], 23, "", [], [], [], False, extension, []],
        [20001, "public", "in_steady_c", "f", "s", "c", 0, 0, False, [], 23, "", [], [], [], False, extension, []],
        [20002, "public", "in_perl", "f", "s", "plperl", 0, 0, False, [], 23, "", [], [], [], False, "", []],
    ]
    sections = (
        "paths", "builtin_relations", "rival_functions", "rival_operators", "implicit_casts", "relations", "types",
        "operators", "casts", "inserted", "written", "rules", "triggers", "foreign_keys", "event_triggers",
        "idle_timeouts",
    )  # fmt: skip
    document = {section: [] for section in sections} | {
        "schemas": ["public"], "search_path": "public", "idle_timeout": "0", "builtin_functions": {},
        "builtin_types": {}, "functions": functions,
    }  # fmt: skip
    return read_facts(json.dumps(document))


CHANGES = [
    "ALTER TABLE d ADD CHECK (id > 0)",
    "ALTER TABLE d ALTER id SET DEFAULT 3",
    "CREATE INDEX ON d ((id + 1))",
    "CREATE INDEX ON d (id) WHERE id > 1",
    "CREATE TRIGGER x AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION d_trigger()",
    "DROP TRIGGER x ON d",
    "CREATE POLICY p ON d FOR INSERT WITH CHECK (id > 0)",
    "ALTER POLICY p ON d WITH CHECK (id > 1)",
    "CREATE RULE r AS ON DELETE TO d DO NOTHING",
    "ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES d ON DELETE CASCADE",
    "CREATE EVENT TRIGGER ev ON sql_drop EXECUTE FUNCTION d_event()",
    "DROP EVENT TRIGGER ev",
    "CREATE OR REPLACE FUNCTION d_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE OR REPLACE PROCEDURE d_proc() LANGUAGE plpgsql AS 'BEGIN NULL; END'",
    "CREATE EXTENSION hstore",
]


def test_event_triggers_and_the_digest(streaming: StreamingCluster) -> None:
    primary, name = streaming.primary, f"{DATABASE}_2"
    primary.sql(f"CREATE DATABASE {name}")
    try:
        primary.sql(
            "CREATE TABLE d (id int PRIMARY KEY); CREATE TABLE e (id int);"
            "CREATE FUNCTION d_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE FUNCTION d_event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN SET ROLE postgres; END';",
            dbname=name,
        )
        assert not classify("CREATE TABLE x (a int)", judge(primary, name)).effects & CODE
        digests = [primary.sql(DIGEST, dbname=name)]
        for change in CHANGES:
            primary.sql(change, dbname=name)
            digests.append(primary.sql(DIGEST, dbname=name))
            assert digests[-1] != digests[-2], change
            if change.startswith("CREATE EVENT"):
                known = judge(primary, name)
                ddl = ["CREATE TABLE x (a int)", "SELECT 1 INTO x", "DROP VIEW v", "GRANT SELECT ON d TO PUBLIC",
                       "COMMENT ON TABLE d IS 'x'", "CREATE TABLE x AS SELECT 1", "ALTER TABLE d ADD x int",
                       "DO 'begin create table x (a int); end'"]  # fmt: skip
                for sql in ddl:
                    assert classify(sql, known).effects & CODE, sql
                assert not classify("INSERT INTO d VALUES (1)", known).effects
        primary.sql("INSERT INTO d VALUES (7)", dbname=name)
        assert primary.sql(DIGEST, dbname=name) == digests[-1]
    finally:
        primary.sql(f"DROP DATABASE {name} WITH (FORCE)")
