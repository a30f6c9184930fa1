"""What stories are made of. `{a}` and the like stand for a value of PLACES."""

# ruff: noqa: E501, S608  (a statement is a line)

from __future__ import annotations

USER, SUPERUSER = "fz_app", "fz_super"
ROLES = ("fz_one", "fz_two")
CUSTOM = (
    "app.a", "app.b", "app.tenant", "app.sql", "app.atomic", "app.argument", "app.user", "app.trigger", "app.gone",
    "app.default", "app.check", "app.view", "app.rule", "app.policy", "app.operator", "app.cast", "app.aggregate",
    "app.generated", "app.ddl",
)  # fmt: skip
KNOWN = (
    "work_mem", "search_path", "datestyle", "timezone", "statement_timeout", "extra_float_digits", "intervalstyle",
    "standard_conforming_strings", "bytea_output", "application_name", "default_transaction_isolation",
    "default_transaction_read_only", "lock_timeout", "idle_session_timeout", "client_min_messages", "row_security",
)  # fmt: skip

PLACES = {
    "{a}": ("app.a", "app.b", "app.tenant"),
    "{v}": ("A", "B", "x y", "o''k", ""),
    "{k}": ("1", "2", "7"),
    "{n}": ("tmp1", "tmp2"),
    "{c}": ("news", "other"),
    "{p}": ("p1", "p2"),
    "{r}": ROLES,
    "{l}": ("true", "false"),
    "{i}": ("1", "2", "3", "5", "9"),
    "{g}": ("work_mem", "statement_timeout", "datestyle", "timezone", "search_path", "app.a", "intervalstyle"),
    "{set}": (
        "work_mem = '5MB'", "work_mem to default", "search_path = fz, public", "search_path = pg_catalog",
        "datestyle = 'SQL, DMY'", "datestyle = 'ISO, MDY'", "timezone = 'Asia/Tokyo'", "time zone 'UTC'",
        "statement_timeout = '9min'", "intervalstyle = 'iso_8601'", "app.a = 'A'", "app.tenant = 'A'",
        "app.tenant = 'B'", "app.b to default", "extra_float_digits = 0", "bytea_output = 'escape'",
        "application_name = 'story'", "client_min_messages = 'warning'", "idle_session_timeout = '1h'",
        "standard_conforming_strings = off", "standard_conforming_strings = on", "row_security = on",
        "client_encoding = 'LATIN1'", "client_encoding = 'UTF8'", "seed = 0.5",
    ),
}  # fmt: skip

OPTIONS = (
    "", "", "-c work_mem=6MB", "-c app.a=options", "-c search_path=fz", "-c datestyle=German",
    "-c default_transaction_read_only=on", "-c app.tenant=B -c timezone=UTC", "-c role=fz_one",
)  # fmt: skip

# What changes the session, seen and unseen
CHANGES = (
    "set {set}", "set {set}", "set {set}", "set local {set}", "reset {g}", "reset all", "set role {r}", "set role none",
    "reset role", "set local role {r}", "set session authorization fz_app", "reset session authorization",
    "select set_config('{a}', '{v}', {l})", "select set_config('{a}', '{v}', {l})",
    "select set_config('work_mem', '{i}MB', {l})", "select set_config('app.' || 'a', '{v}', false)",
    "select set_config(name, '8MB', false) from (values ('work_mem')) as s (name)",
    "update pg_settings set setting = '7777' where name = 'statement_timeout'",
    "update pg_catalog.pg_settings set setting = '{v}' where name = '{a}'",
    "set default_transaction_read_only = on", "set default_transaction_read_only = off",
    "set default_transaction_isolation = 'repeatable read'", "set default_transaction_isolation = 'serializable'",
    "reset default_transaction_isolation", "set session characteristics as transaction read only",
    "set session characteristics as transaction read write",
    "select fz.set_tenant('{v}')", "select fz.set_tenant('{v}')", "select fz.set_local('{v}')",
    "select fz.sql_set('{v}')", "select fz.atomic_set('{v}')", "select fz.plain_set('x')", "select fz.nested('{v}')",
    "select fz.undone('{v}')", "select fz.clause('{v}')", "select fz.default_argument()",
    "select fz.default_argument('given')", "select fz.computed_set('{a}', '{v}')",
    "select fz.computed_config('{a}', '{v}', {l})", "select fz.computed_config('datestyle', 'SQL, DMY', {l})",
    "select fz.set_role('{r}')", "select fz.set_role('{r}')", "select fz.reset_role()", "select fz.fails('{v}')",
    "select fz.lock({k})", "select fz.try_lock({k})", "select fz.try_lock({k})", "select fz.unlock({k})",
    "select fz.xact_lock({k})", "select pg_try_advisory_lock({k})", "select pg_try_advisory_lock_shared({k})",
    "select pg_try_advisory_xact_lock({k})", "select pg_advisory_unlock({k})", "select pg_advisory_unlock_all()",
    "select fz.make_temp('{n}')", "select fz.make_temp('{n}')", "select fz.temp_drop()",
    "create temp table {n} (i int, v text)", "create temp table {n} on commit drop as select 1 as i, 'c' as v",
    "create temp view tmpv as select * from fz.t", "insert into {n} values ({i}, 'i')", "drop table {n}",
    "select 1 as i, 'into'::text as v into temp {n}", "create temp sequence tmps",
    "select fz.listen('{c}')", "listen {c}", "unlisten {c}", "unlisten *", "select fz.unlisten()",
    "notify {c}, '{v}'", "select pg_notify('{c}', '{v}')", "select fz.notify('{c}', '{v}')",
    "declare held cursor with hold for select generate_series(1, 5)", "declare c1 cursor for select id from fz.t order by id",
    "select fz.hold()", "fetch 2 from held", "fetch 1 from c1", "move 1 in held", "close held", "close c1", "close all",
    "prepare {p} as select current_setting('app.a', true)", "prepare {p} as select set_config('app.a', 'prepared', false)",
    "prepare {p} as insert into fz.set_by_trigger values ('p')", "select fz.prepare()", "execute {p}", "execute fp",
    "deallocate {p}", "deallocate all", "deallocate s1", "execute s1",
    "select nextval('fz.s2')", "select fz.next()", "insert into fz.seq (v) values ('{v}') returning id",
    "call fz.login('{v}')", "call fz.commits('{v}')",
    "do $$ begin perform set_config('{a}', '{v}', {l}); end $$", "do $$ begin set role {r}; end $$",
    "do $$ begin perform pg_advisory_lock({k}); end $$", "do $$ begin execute 'set {a} = ''{v}'''; end $$",
    "do $$ begin create temp table if not exists {n} (i int, v text); end $$", "do $$ begin execute 'listen {c}'; end $$",
    "do $$ begin set local work_mem = '2MB'; end $$", "do $$ begin set standard_conforming_strings = off; end $$",
    "do $$ begin perform set_config('search_path', 'fz', false); end $$", "do $$ begin reset all; end $$",
    "do $$ begin perform set_config('{a}', '{v}', false); raise exception 'no'; end $$",
    "insert into fz.set_by_trigger values ('{v}')", "update fz.set_by_trigger set v = '{v}'",
    "copy (select set_config('{a}', '{v}', false)) to stdout",
    "insert into fz.locked_by_trigger values ('{v}')", "insert into fz.temp_by_trigger values ('{v}')",
    "insert into fz.at_commit values ('{v}')", "insert into fz.parted values (1, '{v}')",
    "delete from fz.parent where id = {i}", "insert into fz.by_default (i) values ({i})", "select '{v}'::fz.checked",
    "insert into fz.with_check values ('{v}')", "select * from fz.setting_view", "insert into fz.instead values (1, '{v}')",
    "insert into fz.with_rule values ('{v}')", "select * from fz.with_policy order by v",
    "select '{v}'::text operator(fz.===) 'A'::text", "select ('{v}'::text)::fz.pair", "select fz.total(i) from generate_series(1, {i}) i",
    "insert into fz.generated values ('{v}')", "explain (analyze, costs off, timing off, summary off) select fz.set_tenant('{v}')",
    "declare setter cursor with hold for select set_config('app.a', i::text, false) from generate_series(1, 3) i",
    "declare setter2 no scroll cursor for select fz.sql_set(i::text) from generate_series(1, 3) i", "fetch 1 from setter",
    "fetch 1 from setter2", "close setter",
    "discard all", "discard temp", "discard plans", "discard sequences",
    "select fz.seed(0.5)", "select setseed(0.25)",
)  # fmt: skip

# What shows what the session is
LOOKS = (
    "select current_setting('{a}', true)", "select current_setting('{a}', true) is null", "show {g}", "show work_mem",
    "select current_user, session_user", "select current_user", "select * from fz.tenants order by v",
    "select * from fz.tenants order by v", "select count(*) from fz.tenants", "select fz.look('{a}')",
    "/* pgrouter: primary */ select current_setting('{a}', true)",
    "select current_setting('app.trigger', true), current_setting('app.user', true), current_setting('app.view', true)",
    "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
    "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    "select * from tmp1", "select * from tmp2 order by i", "select v from audit order by v", "select * from dropped",
    "select name from pg_cursors order by name", "select name from pg_prepared_statements order by name",
    "select pg_listening_channels()", "show search_path", "show transaction_read_only", "show transaction_isolation",
    "show default_transaction_read_only", "select date '2020-03-04', timestamptz '2020-03-04 05:06+00', interval '1 day 2 hours'",
    "select 1.0::float8 / 3, '\\001'::bytea", "select 'back\\\\slash'", "select currval('fz.s2')", "select lastval()",
    "select fz.current()", "select pg_is_in_recovery()", "select current_setting('in_hot_standby')",
    "select count(*) from fz.set_by_trigger", "show standard_conforming_strings", "show client_encoding", "show timezone",
    "select random() < 2", "select txid_current() > 0", "select pg_current_wal_lsn() > '0/0'",
)  # fmt: skip

DATA = (
    "select * from fz.t order by id", "select v from fz.t where id = {i}", "select fz.readable({i})", "select fz.counted()",
    "select fz.volatile_read({i})", "insert into fz.t values ({i}, '{v}')", "update fz.t set n = n + 1 where id = {i}",
    "update fz.t set v = '{v}' where id = {i} returning *", "delete from fz.t where id = {i}",
    "select * from fz.t where id = {i} for update", "select count(*) from fz.seq", "select v from t where id = {i}",
    "insert into fz.moods values ('glad', {i})", "select m, i from fz.moods order by i, m", "select 1", "values (1), (2)",
    "lock table fz.t in share mode", "table fz.parent",
    "with w as (insert into fz.seq (v) values ('w') returning v) select v from w",
)  # fmt: skip

ERRORS = (
    "select 1/0", "selekt", "select * from fz.nowhere", "set app.a", "set work_mem = 'much'", "select 'x'::int",
    "insert into fz.t values (1, 'twice')", "set role nobody_knows",
)  # fmt: skip

DDL = (
    "create table if not exists fz.made (a int, b text)", "drop table if exists fz.made", "select * from fz.made",
    "insert into fz.made values (1, 'one')", "alter table fz.made add column c int default 3",
    "alter table fz.made drop column b", "alter table fz.made alter a type float4", "alter table fz.made alter a type bigint",
    "select fz.make_table()", "do $$ begin execute 'drop table if exists fz.made'; end $$",
    "do $$ begin drop table if exists fz.made; create table fz.made (b text, a int); end $$",
    "create or replace function fz.mine(t text) returns text language sql as $$ select upper(t) $$",
    "create or replace function fz.mine(t text) returns text language plpgsql as $$ begin return set_config('app.a', t, false); end $$",
    "create or replace function fz.mine(t text) returns text stable language sql as $$ select lower(t) $$",
    "select fz.mine('{v}')", "select fz.mine('{v}')", "drop function if exists fz.mine",
    "create or replace view fz.myview as select 1 as i, 'v'::text as t",
    "create or replace view fz.myview as select 1 as i, set_config('app.b', 'view', false) as t",
    "select * from fz.myview", "drop view if exists fz.myview",
    "create sequence if not exists fz.myseq", "select nextval('fz.myseq')", "drop sequence if exists fz.myseq",
    "comment on schema public is 'x'",
    "create or replace function fz.mytrigger() returns trigger language plpgsql as $$ begin perform set_config('app.a', 'mytrigger', false); return new; end $$",
    "create or replace trigger mine before insert on fz.made for each row execute function fz.mytrigger()",
    "alter table fz.made alter b set default set_config('app.b', 'made', false)", "truncate fz.seq",
)  # fmt: skip

# Statements to prepare by name, beside all the others
PREPARED_MADE = (
    "select * from fz.made",
    "select a from fz.made order by a",
    "select a, b from fz.made",
    "table fz.made",
    "insert into fz.made values (5) returning *",
    "insert into fz.made values (6) returning a",
    "update fz.made set a = 7 returning *",
    "select * from fz.myview",
    "select fz.mine('x')",
    "select count(*) from fz.made where a = 1",
)
PREPARED = (
    "select * from fz.t order by id", "select v from t order by id", "select * from tmp1", "select current_setting('app.tenant', true)",
    "select * from fz.tenants order by v", "deallocate all", "select date '1/2/2003'", "select fz.mine('x')",
    "begin", "commit", "select fz.set_tenant('P')", "insert into fz.set_by_trigger values ('P')",
)  # fmt: skip

BEGINS = (
    "begin", "begin", "begin", "begin read only", "begin read only", "begin isolation level repeatable read",
    "begin isolation level repeatable read read only", "start transaction isolation level serializable read only",
    "begin isolation level serializable", "begin read write",
)  # fmt: skip
ENDS = {"commit": 10, "rollback": 5, "commit and chain": 1, "rollback and chain": 0.6, "end": 1}
SAVEPOINTS = (
    "savepoint a", "savepoint a", "rollback to a", "release a", "savepoint b", "rollback to b",
    "set transaction read write", "set transaction read only", "set transaction isolation level repeatable read",
    "set transaction_read_only = off",
)  # fmt: skip

# What a client that has just come finds, on whatever server it meets
NEWCOMER = (
    "select name, current_setting(name, true) from unnest('{" + ", ".join((*CUSTOM, *KNOWN)) + "}'::text[]) as name",
    "select current_user, session_user",
    "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    "select count(*) from pg_class where relnamespace = pg_my_temp_schema()",
    "select array(select name from pg_prepared_statements), array(select name from pg_cursors), array(select pg_listening_channels())",
)
