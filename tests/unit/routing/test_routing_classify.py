"""Where each kind of statement goes, and why."""

from __future__ import annotations

import pytest

from pgrouter.routing.catalog import Catalog, Overload
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect, Reason, Setting, Target, Tx

READS = [
    "select 1",
    "values (1), (2)",
    "table t",
    "with a as (select 1) select * from a union all select 2 order by 1 limit 3",
    "with recursive t(a) as (values (1) union all select a + 1 from t) search depth first by a set o table t",
    "select * from a join b using (x) left join lateral (select 1) c on true where exists (select 1 from d)",
    "select lower(a), count(*) filter (where b) from t group by grouping sets (a)",
    "select sum(c) over w from t window w as (partition by d order by e)",
    "select now(), random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0), current_user, current_date",
    "select a like b, b between 1 and 2, c in (1, 2), nullif(a, b), case a when 1 then 2 end, d is distinct from e",
    "select extract(year from now()), overlay('a' placing 'b' from 1), trim(both from a), a at time zone 'utc' from t",
    "select xmlelement(name a), json_object('a': 1), json_array(1), x[1:2], (t).f, row(1, 2), array[1] from t",
    "select * from json_table('[]', '$[*]' columns (a int path '$.x')) x",
    "select * from t tablesample bernoulli (10)",
    "select '1'::int, a::text[], interval '1 day', 'x'::varchar(3), b::pg_catalog.numeric(5, 2) from t",
    "select * from t for read only",
    "select point '(0,0)', box '((0,0),(1,1))', 'a'::name, '1 2'::int2vector, lseg '[(0,0),(1,1)]', line '{1,2,3}'",
    "select * from pg_catalog.pg_class, information_schema.tables, pg_stats",
    "select current_setting('search_path'), current_setting('app.user', true)",
    "select ts_rewrite('a'::tsquery, 'a'::tsquery, 'b'::tsquery)",
    "select version(), pg_get_viewdef(1), has_table_privilege('t', 'select'), obj_description(1, 'pg_class')",
    "explain select 1",
    "explain (analyze, buffers) select * from t",
    "copy t to stdout",
    "copy (select 1) to stdout with csv",
    "select 1; select 2",
    "",
    " ; -- nothing\n ;",
]

PRIMARY = [
    ("insert into t values (1)", Reason.WRITE),
    ("update t set a = 1", Reason.WRITE),
    ("delete from t", Reason.WRITE),
    ("merge into t using s on true when matched then do nothing", Reason.WRITE),
    ("truncate t", Reason.WRITE),
    ("with x as (select 1) insert into t select * from x", Reason.WRITE),
    ("with x as (insert into t values (1) returning *) select * from x", Reason.WRITING_CTE),
    ("select * from (with x as (delete from t returning *) select * from x) y", Reason.WRITING_CTE),
    ("select 1 into u", Reason.INTO),
    ("select * from t for update", Reason.ROW_LOCK),
    ("select * from (select * from t for no key update) x", Reason.ROW_LOCK),
    ("select 1 where exists (select 1 from t for share)", Reason.ROW_LOCK),
    ("(select 1 from t for key share) union select 2", Reason.ROW_LOCK),
    ("explain analyze insert into t values (1)", Reason.WRITE),
    ("explain (analyze false, analyze) select nextval('s')", Reason.WRITING_FUNCTION),
    ("explain create table u as select 1", Reason.DDL),
    ("copy t from stdin", Reason.COPY),
    ("copy t to '/tmp/x'", Reason.COPY),
    ("copy t to program 'x'", Reason.COPY),
    ("copy (insert into t values (1) returning *) to stdout", Reason.WRITING_CTE),
    ("create table u (a int)", Reason.DDL),
    ("alter table t add b int", Reason.DDL),
    ("drop table t", Reason.DDL),
    ("create index on t (a)", Reason.DDL),
    ("grant select on t to u", Reason.DDL),
    ("refresh materialized view v", Reason.WRITE),
    ("do $$ begin end $$", Reason.CODE),
    ("call p()", Reason.CODE),
    ("listen c", Reason.NOTIFY),
    ("notify c", Reason.NOTIFY),
    ("lock table t in access share mode", Reason.UTILITY),
    ("vacuum", Reason.UTILITY),
    ("analyze t", Reason.UTILITY),
    ("checkpoint", Reason.UTILITY),
    ("load 'x'", Reason.UTILITY),
    ("alter system set work_mem = '1MB'", Reason.UTILITY),
    ("comment on table t is 'x'", Reason.UTILITY),
    ("prepare transaction 'x'", Reason.TRANSACTION),
    ("commit prepared 'x'", Reason.TRANSACTION),
    ("select nextval('s')", Reason.WRITING_FUNCTION),
    ("select U&\"\\006Eextval\"('s')", Reason.WRITING_FUNCTION),
    ("select \"nextval\"('s')", Reason.WRITING_FUNCTION),
    ("select pg_catalog /* */ . nextval('s')", Reason.WRITING_FUNCTION),
    ("select lo_create(0)", Reason.WRITING_FUNCTION),
    ("select pg_notify('a', 'b')", Reason.WRITING_FUNCTION),
    ("select db.shadow.nextval('s')", Reason.UNKNOWN_FUNCTION),
    ("select \"NEXTVAL\"('s')", Reason.UNKNOWN_FUNCTION),
    ("select f(1)", Reason.UNKNOWN_FUNCTION),
    ("select * from f(1) as (a int)", Reason.UNKNOWN_FUNCTION),
    ("select * from t order by (select f(a))", Reason.UNKNOWN_FUNCTION),
    ("select * from t tablesample mine (1)", Reason.UNKNOWN_FUNCTION),
    ("select txid_current()", Reason.SESSION_FUNCTION),
    ("select currval('s')", Reason.SESSION_FUNCTION),
    ("select set_config('a.b', 'c', false)", Reason.SESSION_FUNCTION),
    ("select pg_advisory_xact_lock(1)", Reason.SESSION_FUNCTION),
    ("select pg_is_in_recovery()", Reason.SERVER_FUNCTION),
    ("select pg_current_wal_lsn()", Reason.SERVER_FUNCTION),
    ("select inet_server_port()", Reason.SERVER_FUNCTION),
    ("select pg_stat_reset_shared('wal')", Reason.SERVER_FUNCTION),
    ("select pg_terminate_backend(1)", Reason.SERVER_FUNCTION),
    ("select pg_promote()", Reason.SERVER_FUNCTION),
    ("select pg_replication_origin_oid('x')", Reason.SERVER_FUNCTION),
    ("select pg_walfile_name('0/1')", Reason.SERVER_FUNCTION),
    ("select query_to_xml(q, true, true, '')", Reason.SQL_IN_STRING),
    ("select query_to_xml('delete from t', true, true, '')", Reason.SQL_IN_STRING),
    ("select query_to_xml('select 1; delete from t', true, true, '')", Reason.SQL_IN_STRING),
    ("select query_to_xml('select nextval(''s'')', true, true, '')", Reason.WRITING_FUNCTION),
    ("select query_to_xml('select * from t for update', true, true, '')", Reason.ROW_LOCK),
    ("select table_to_xml('pg_locks', true, true, '')", Reason.SERVER_RELATION),
    ("select table_to_xml($1, true, true, '')", Reason.SQL_IN_STRING),
    ("select table_to_xml('t; delete from t', true, true, '')", Reason.SQL_IN_STRING),
    ("select ts_rewrite('a'::tsquery, 'select 1')", Reason.SQL_IN_STRING),
    ("select * from ts_stat('select 1' || '')", Reason.SQL_IN_STRING),
    ("select current_setting('transaction_read_only')", Reason.SERVER_SETTING),
    ("select current_setting(a) from t", Reason.SERVER_SETTING),
    ("show transaction_read_only", Reason.SERVER_SETTING),
    ("show in_hot_standby", Reason.SERVER_SETTING),
    ("show all", Reason.SERVER_SETTING),
    ("select * from pg_stat_activity", Reason.SERVER_RELATION),
    ("select * from pg_catalog.pg_locks", Reason.SERVER_RELATION),
    ("select cmin, a from t", Reason.SERVER_RELATION),
    ("select a from t order by t.cmax", Reason.SERVER_RELATION),
    ("select * from pg_settings", Reason.SERVER_RELATION),
    ("select * from pg_sequences", Reason.SEQUENCE),
    ("select * from pg_temp.t", Reason.TEMPORARY),
    ("select a ### b from t", Reason.UNKNOWN_OPERATOR),
    ("select a operator(my.+) b from t", Reason.UNKNOWN_OPERATOR),
    ("select a from t order by b using ###", Reason.UNKNOWN_OPERATOR),
    ("select 'x'::noisy", Reason.UNKNOWN_TYPE),
    ("select * from json_to_record('{}') as x(a noisy)", Reason.UNKNOWN_TYPE),
    ("select 1; delete from t", Reason.WRITE),
    ("select 1" + " + 1" * 3000, Reason.TOO_DEEP),
]

SESSION = [
    "begin",
    "start transaction isolation level repeatable read",
    "commit",
    "rollback",
    "savepoint a",
    "set work_mem = '1MB'",
    "set local work_mem to default",
    "reset all",
    "set role r",
    "set session authorization default",
    "set constraints all deferred",
    "show work_mem",
    "show transaction isolation level",
    "declare c cursor for select 1",
    "fetch 1 from c",
    "move c",
    "close c",
    "prepare p as delete from t",
    "execute p(1)",
    "explain analyze execute p(1)",
    "deallocate p",
    "discard all",
    "unlisten *",
    "begin; select 1; commit",
    "set a.b = 1; select 1",
]


@pytest.mark.parametrize("sql", READS)
def test_reads(sql: str) -> None:
    assert classify(sql).target is Target.REPLICA, classify(sql)


@pytest.mark.parametrize(("sql", "reason"), PRIMARY, ids=[sql[:60] for sql, _ in PRIMARY])
def test_primary(sql: str, reason: str) -> None:
    statement = classify(sql)
    assert (statement.target, statement.reason) == (Target.PRIMARY, reason)


@pytest.mark.parametrize("sql", SESSION)
def test_session(sql: str) -> None:
    assert classify(sql).target is Target.SESSION, classify(sql)


@pytest.mark.parametrize("sql", ["foo", "select 'open", "select 1 from", "select \0", "select (" * 20_000, "select 1a"])
def test_what_does_not_parse_is_an_error(sql: str) -> None:
    assert classify(sql).target is Target.ERROR
    assert classify(sql).literal_sensitive


def test_text_that_is_not_utf8() -> None:
    assert classify(b"select '\xe9'").target is Target.REPLICA
    assert classify(b"select f\xe9('x')").reason == Reason.UNKNOWN_FUNCTION
    assert classify("select '\ud800'").target is Target.REPLICA


def test_cause_and_position_are_bytes_of_the_text() -> None:
    statement = classify("select 'é', lower(a), app.f(b) from s.t, u")
    assert (statement.cause, statement.position) == ("app.f", len("select 'é', lower(a), ".encode()))
    assert statement.functions == ("lower", "app.f")
    assert set(statement.relations) == {"s.t", "u"}
    assert statement.tag == "SELECT"


EFFECTS = [
    ("select 1", Effect.NONE),
    ("create temp table x (a int)", Effect.TEMP | Effect.DDL),
    ("create temp view x as select 1", Effect.TEMP | Effect.DDL | Effect.REDEFINES),
    ("select 1 into temp x", Effect.TEMP | Effect.DDL),
    ("create table pg_temp.x (a int)", Effect.TEMP | Effect.DDL),
    ("create statistics pg_temp.x on a, b from t", Effect.TEMP | Effect.DDL | Effect.REDEFINES),
    ("create type pg_temp.x as enum ('a')", Effect.TEMP | Effect.DDL | Effect.REDEFINES),
    ("create domain pg_temp_3.d as int", Effect.TEMP | Effect.DDL | Effect.REDEFINES),
    ("explain analyze create temp table x as select 1", Effect.TEMP | Effect.DDL),
    ("create table x (a int)", Effect.DDL),
    ("drop view x", Effect.DDL),
    ("create or replace view x as select 1", Effect.DDL | Effect.REDEFINES),
    ("alter function f stable", Effect.DDL | Effect.REDEFINES),
    ("listen c", Effect.LISTEN),
    ("unlisten c", Effect.UNLISTEN),
    ("declare c cursor with hold for select 1", Effect.HOLD_CURSOR),
    ("declare c cursor for select 1", Effect.NONE),
    ("prepare p as select 1", Effect.SQL_PREPARE | Effect.NAMES),
    ("deallocate all", Effect.DEALLOCATE),
    ("deallocate p", Effect.DEALLOCATE | Effect.NAMES),
    ("execute p(1)", Effect.CODE | Effect.NAMES),
    ("explain execute p(1)", Effect.CODE | Effect.NAMES),
    ("create table t as execute p(1)", Effect.DDL | Effect.NAMES | Effect.CODE),
    ("table pg_prepared_statements", Effect.NAMES),
    ("select * from pg_prepared_statement()", Effect.NAMES),
    ("discard all", Effect.DISCARD),
    ("discard plans", Effect.RELEASES),
    ("close c", Effect.RELEASES),
    ("select pg_advisory_unlock(1)", Effect.RELEASES),
    ("select pg_advisory_lock(1)", Effect.ADVISORY_LOCK),
    ("select pg_advisory_xact_lock(1)", Effect.NONE),
    ("insert into t select pg_try_advisory_lock(1)", Effect.ADVISORY_LOCK),
    ("select setseed(0.5)", Effect.OTHER_STATE),
    ("load 'x'", Effect.OTHER_STATE),
    ("do 'x'", Effect.CODE | Effect.OTHER_STATE),
    ("set a.b = 1", Effect.SETTINGS),
    ("set local a.b = 1", Effect.SETTINGS),
    ("set search_path = pg_temp, public", Effect.SETTINGS | Effect.TEMP),
    ("set time zone interval '-8' hour to minute", Effect.SETTINGS | Effect.OTHER_STATE),
    ("select set_config('a.b', 'c', true)", Effect.SETTINGS),
    ("select set_config('a.b', $1, false)", Effect.SETTINGS),
    ("select set_config($1, 'c', false)", Effect.SETTINGS | Effect.OTHER_STATE),
    ("select set_config('a.b', 'c', false), set_config('a.b', 'c', true)", Effect.SETTINGS),
    ("set a.b = 1; select pg_advisory_lock(1)", Effect.SETTINGS | Effect.ADVISORY_LOCK),
]


@pytest.mark.parametrize(("sql", "effects"), EFFECTS)
def test_effects(sql: str, effects: Effect) -> None:
    assert Effect(classify(sql, Catalog(relations={"t": ""}, known=True)).effects) == effects


SETTINGS = [
    ("set work_mem = '1MB'", Setting("work_mem", "1MB")),
    ("set TimeZone to 'UTC'", Setting("timezone", "UTC")),
    ("set time zone -7.5", Setting("timezone", "-7.5")),
    ("set local a.b = on", Setting("a.b", "on", is_local=True)),
    ('set search_path = a, "B c", \'it"s\', $user', None),
    ('set search_path = a, "B c", "$user"', Setting("search_path", 'a, "B c", "$user"')),
    ("set datestyle = iso, mdy", Setting("datestyle", "iso, mdy")),
    ("set names 'latin1'", Setting("client_encoding", "latin1")),
    ("set role none", Setting("role", "none")),
    ("set a.b to default", Setting("a.b", None)),
    ("reset a.b", Setting("a.b", None)),
    ("reset all", Setting("all", None)),
    ("set session characteristics as transaction read only", Setting("default_transaction_read_only", "on")),
    ("select set_config('A.b', 'c', false)", Setting("a.b", "c")),
]


@pytest.mark.parametrize(("sql", "setting"), SETTINGS)
def test_settings(sql: str, setting: Setting | None) -> None:
    statement = classify(sql)
    assert statement.settings == ((setting,) if setting else ())
    assert statement.literal_sensitive


TRANSACTIONS = [
    ("begin", Tx.BEGIN),
    ("start transaction", Tx.BEGIN),
    ("begin read only", Tx.BEGIN_READ_ONLY),
    ("start transaction isolation level repeatable read, read only", Tx.BEGIN_READ_ONLY),
    ("begin read write", Tx.BEGIN_PRIMARY),
    ("begin isolation level serializable, read only, deferrable", Tx.BEGIN_PRIMARY),
    ("commit", Tx.COMMIT),
    ("end", Tx.COMMIT),
    ("abort", Tx.ROLLBACK),
    ("commit and chain", Tx.INSIDE),
    ("rollback and chain", Tx.INSIDE),
    ("savepoint a", Tx.INSIDE),
    ("rollback to a", Tx.INSIDE),
    ("release a", Tx.INSIDE),
    ("prepare transaction 'x'", Tx.COMMIT),
    ("set transaction read only", Tx.SET_READ_ONLY),
    ("set transaction_read_only = on", Tx.SET_READ_ONLY),
    ("set transaction_read_only = off", Tx.SET_READ_WRITE),
    ("reset transaction_read_only", Tx.SET_READ_WRITE),
    ("set local transaction isolation level serializable", Tx.SET_READ_WRITE),
    ("set transaction isolation level repeatable read", Tx.SET_OTHER),
    ("set transaction snapshot 'x'", Tx.SET_READ_WRITE),
    ("select 1", Tx.NONE),
    ("begin; select 1", Tx.BEGIN),
    ("begin; select 1; commit", Tx.NONE),
    ("begin; set transaction read only; select 1", Tx.BEGIN_READ_ONLY),
    ("begin read only; set transaction read write", Tx.BEGIN_PRIMARY),
    ("set a.b = 1; begin read only", Tx.BEGIN_PRIMARY),
    ("begin read only; savepoint a; select 1", Tx.BEGIN_READ_ONLY),
    ("begin; commit; begin read only", Tx.BEGIN_READ_ONLY),
    ("commit; begin", Tx.BEGIN),
    ("commit; select 1", Tx.COMMIT),
]


@pytest.mark.parametrize(("sql", "tx"), TRANSACTIONS)
def test_transactions(sql: str, tx: Tx) -> None:
    assert classify(sql).tx is tx


HINTS = [
    ("/* pgrouter: primary */ select 1", Target.PRIMARY),
    ("/*NO LOAD BALANCE*/ select 1", Target.PRIMARY),
    ("/* pgrouter: replica */ select f()", Target.REPLICA),
    ("/* pgrouter: replica */ select pg_is_in_recovery()", Target.REPLICA),
    ("/* pgrouter: replica */ show work_mem", Target.REPLICA),
    ("/* pgrouter: replica */ show in_hot_standby", Target.REPLICA),
    ("/* pgrouter: replica */ insert into t values (f())", Target.PRIMARY),
    ("/* pgrouter: replica */ select f() from t for update", Target.PRIMARY),
    ("/* pgrouter: replica */ select nextval('s')", Target.PRIMARY),
    ("/* pgrouter: replica */ select f(); delete from t", Target.PRIMARY),
    ("/* pgrouter: replica */ set a.b = 1", Target.SESSION),
    ("/* pgrouter: primary */ set a.b = 1", Target.SESSION),
    ("select 1 /* pgrouter: primary */", Target.REPLICA),
]


@pytest.mark.parametrize(("sql", "target"), HINTS)
def test_hints(sql: str, target: Target) -> None:
    assert classify(sql).target is target


def test_the_catalog_has_the_last_word() -> None:
    catalog = Catalog(
        functions={
            "f": (Overload(0, 1, ""),),
            "lower": (Overload(1, 1, "writes"),),
            "s.f": (Overload(2, 2, "writes"),),
        },
        attributes={"log_row": "writes"},
        relations={"v": "writes", "t": ""},
        operators={"###": (Overload(2, 2, ""),), "=": (Overload(2, 2, "writes"),)},
        types={"mood": "", "int4": "writes"},
    )
    for sql in ("select f(), a ### b, 'x'::mood from t", "select lower(a, b), f(1) from t", "select t.a, (t).b from t"):
        assert classify(sql, catalog).target is Target.REPLICA, classify(sql, catalog)
    for sql in (
        "select lower(a)", "select * from v", "select a = b", "select a in (1)", "select 'x'::int4", "select s.f(1, 2)",
        "select t.log_row from t", "select (t).log_row from t", "select (row(1)::t).log_row",
    ):  # fmt: skip
        assert (classify(sql, catalog).target, classify(sql, catalog).reason) == (Target.PRIMARY, Reason.CATALOG), sql
    for sql in ("select f(1, 2)", "select s.f(1)", "select g()"):
        assert classify(sql, catalog).reason == Reason.UNKNOWN_FUNCTION


def test_a_complete_catalog_knows_all_relations_but_ctes_and_postgresqls_own() -> None:
    catalog = Catalog(relations={"t": ""}, complete=True)
    for sql in (
        "select * from t, pg_class, pg_catalog.pg_type, information_schema.tables",
        "with a as (select 1), b as (select * from a) select * from a, b, (with c as (select 2) select * from c) s",
        "with recursive r as (select 1 union all select * from r) select * from r",
    ):
        assert classify(sql, catalog).target is Target.REPLICA, classify(sql, catalog)
    for sql in ("select * from u", "select * from s.t", "with a as (select 1) select * from b"):
        assert classify(sql, catalog).reason == Reason.UNKNOWN_RELATION


def test_what_the_configuration_says_of_a_function_goes_before_all_else() -> None:
    catalog = Catalog(
        functions={"f": (Overload(0, 9, "writes"),), "g": (Overload(0, 9, ""),)},
        configured={"f": "", "s.g": "in write_functions", "now": "in write_functions"},
    )
    assert classify("select f(), s.f(1), g()", catalog).target is Target.REPLICA
    assert classify("select s.g()", catalog).reason == Reason.CATALOG
    assert classify("select now()", catalog).cause == "now (in write_functions)"


def test_an_implicit_cast_that_writes_can_be_anywhere() -> None:
    catalog = Catalog(implicit_cast="volatile function")
    assert classify("select 1", catalog).target is Target.REPLICA
    assert classify("select a from t where b = 1", catalog).reason == Reason.CATALOG


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("execute p", "p"),
        ("/* pgrouter: primary */ execute p", "p"),
        ("execute p(nextval('s'))", "p"),
        ('prepare "P p" as select 1', "P p"),
        ("deallocate p", "p"),
        ("deallocate all", ""),
        ("deallocate p; select 1", ""),
        ("select 1", ""),
    ],
)
def test_which_prepared_statement_is_named(sql: str, name: str) -> None:
    assert classify(sql).prepared == name
