"""What code inside the database does to a session stays with that session: as on a connection of one's own.

Each text is a conversation of clients of one user, a step a line, played directly and through the router and compared
message by message (tests/session_fuzz; world.sql has the functions and tables). Afterwards newcomers look around on
every server connection of the pool.
"""

# ruff: noqa: E501  (a statement is a line)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from session_fuzz import words
from session_fuzz.player import Player
from session_fuzz.sides import WORLD
from session_fuzz.story import written
from support.rawclient import query

if TYPE_CHECKING:
    from session_fuzz.sides import Sides

pytestmark = pytest.mark.pg

LOOK = """
    0 select current_setting('{name}', true)
    1 select current_setting('{name}', true)
    1 /* pgrouter: primary */ select current_setting('{name}', true)
    0 /* pgrouter: primary */ select current_setting('{name}', true)
    0 select current_setting('{name}', true)
"""
# Who sets what: the statement, the setting
SETTERS = {
    "a PL/pgSQL function": ("select fz.set_tenant('A')", "app.tenant"),
    "a function in a function": ("select fz.nested('A')", "app.tenant"),
    "an SQL function": ("select fz.sql_set('A')", "app.sql"),
    "a BEGIN ATOMIC function": ("select fz.atomic_set('A')", "app.atomic"),
    "a function that says SET": ("select fz.plain_set('x')", "work_mem"),
    "EXECUTE of a computed text": ("select fz.computed_set('app.a', 'A')", "app.a"),
    "set_config of a computed name": ("select fz.computed_config('datestyle', 'SQL, DMY', false)", "datestyle"),
    "a local setting of a function": ("select fz.set_local('A')", "app.a"),
    "a function that is rolled back inside": ("select fz.undone('A')", "app.a"),
    "a function that fails": ("select fz.fails('A')", "app.b"),
    "a function with SET": ("select fz.clause('A')", "app.a"),
    "a function's default argument": ("select fz.default_argument()", "app.argument"),
    "a DO block": ("do $$ begin perform set_config('app.a', 'A', false); end $$", "app.a"),
    "EXECUTE in a DO block": ("do $$ begin execute 'set app.a = ''A'''; end $$", "app.a"),
    "a DO block that fails": ("do $$ begin perform set_config('app.a', 'A', false); raise exception 'no'; end $$", "app.a"),
    "a procedure": ("call fz.login('A')", "app.user"),
    "a procedure that commits": ("call fz.commits('A')", "app.user"),
    "a trigger": ("insert into fz.set_by_trigger values ('A')", "app.trigger"),
    "a trigger of an UPDATE": (
        "insert into fz.set_by_trigger values ('A'); update fz.set_by_trigger set v = 'B'", "app.trigger",
    ),
    "a trigger of a partition": ("insert into fz.parted values (1, 'A')", "app.trigger"),
    "a trigger at COMMIT": ("insert into fz.at_commit values ('A')", "app.trigger"),
    "a trigger behind a cascade": ("delete from fz.parent where id = 1", "app.gone"),
    "an INSTEAD OF trigger": ("insert into fz.instead values (1, 'A')", "app.trigger"),
    "a column's default": ("insert into fz.by_default (i) values (1)", "app.default"),
    "a domain's CHECK": ("select 'A'::fz.checked", "app.check"),
    "a table's CHECK": ("insert into fz.with_check values ('A')", "app.check"),
    "a view": ("select * from fz.setting_view", "app.view"),
    "a rule": ("insert into fz.with_rule values ('A')", "app.rule"),
    "a policy": ("select * from fz.with_policy order by v", "app.policy"),
    "an operator": ("select 'A'::text operator(fz.===) 'B'::text", "app.operator"),
    "a cast": ("select ('A'::text)::fz.pair", "app.cast"),
    "an aggregate": ("select fz.total(i) from generate_series(1, 3) i", "app.aggregate"),
    "an aggregate over a window": ("select fz.total(i) over (order by i) from generate_series(1, 3) i", "app.aggregate"),
    "a generated column": ("insert into fz.generated values ('A')", "app.generated"),
    "an event trigger": ("create sequence fz.seen", "app.ddl"),
    "EXPLAIN ANALYZE": (
        "explain (analyze, costs off, timing off, summary off) select fz.set_tenant('A')", "app.tenant",
    ),
    "UPDATE pg_settings": ("update pg_settings set setting = '7777' where name = 'statement_timeout'", "statement_timeout"),
    "COPY of a query": ("copy (select set_config('app.a', 'A', false)) to stdout", "app.a"),
    "PREPARE and EXECUTE": (
        "prepare p as select set_config('app.a', 'A', false); execute p; deallocate p", "app.a",
    ),
    "a cursor": ("begin; declare c cursor for select fz.sql_set('A'); fetch 1 from c; commit", "app.sql"),
    "a cursor WITH HOLD": (
        "declare c cursor with hold for select set_config('app.a', 'A', false); fetch 1 from c; close c", "app.a",
    ),
    "CREATE TABLE AS": ("create table fz.made as select fz.set_tenant('A')", "app.tenant"),
    "a CTE": ("with c as (select fz.sql_set('A') as s) select s from c", "app.sql"),
    "a function in FROM": ("select * from fz.sql_set('A')", "app.sql"),
    "a set that a savepoint takes back": (
        "begin; savepoint a; select fz.set_tenant('A'); rollback to a; commit", "app.tenant",
    ),
    "a function in a rolled back transaction": ("begin; select fz.set_tenant('A'); rollback", "app.tenant"),
}  # fmt: skip

TEXTS = {
    "a tenant is seen by the policy, and by nobody else's": """
        0 select fz.set_tenant('A')
        0 select count(*) from fz.tenants
        1 select count(*) from fz.tenants
        0 select count(*) from fz.tenants
        1 begin
        1 select * from fz.tenants order by v
        0 select count(*) from fz.tenants
        1 commit
    """,
    "a temporary schema goes with the session that had something in it": """
        0 create temp table t (a int)
        0 login:
        1 select pg_my_temp_schema()
        0 select pg_my_temp_schema()
    """,
    "SET ROLE in a DO block": """
        0 do $$ begin set role fz_two; end $$
        1 begin
        1 select current_user, session_user
        0 select current_user
        1 rollback
        0 select current_user
        0 reset role
        1 select current_user
    """,
    "SET ROLE of a computed name": """
        0 select fz.set_role('fz_one')
        1 select current_user
        0 select current_user
        0 select fz.reset_role()
        0 select current_user
    """,
    "an advisory lock of a function": """
        0 select fz.lock(301)
        1 select pg_try_advisory_lock(301)
        0 select pg_advisory_unlock(301)
        1 select pg_try_advisory_lock(301)
        1 select fz.unlock(301)
        0 select fz.unlock(301)
    """,
    "an advisory lock of a DO block": """
        0 do $$ begin perform pg_advisory_lock(302); end $$
        1 select fz.try_lock(302)
        0 select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
        0 select pg_advisory_unlock(302)
    """,
    "an advisory lock of a trigger": """
        0 insert into fz.locked_by_trigger values ('A')
        1 select pg_try_advisory_lock(7)
        0 select pg_advisory_unlock(7)
        1 select pg_try_advisory_lock(7)
    """,
    "an advisory lock for the transaction": """
        0 begin
        0 select fz.xact_lock(5)
        1 select pg_try_advisory_xact_lock(5)
        0 commit
        1 select pg_try_advisory_xact_lock(5)
    """,
    "a temporary table of a function": """
        0 select fz.make_temp('ctx')
        1 select * from ctx
        1 begin
        1 insert into fz.t values (9)
        0 select * from ctx
        1 rollback
        0 select * from ctx
        0 drop table ctx
        0 select * from ctx
    """,
    "a temporary table of a trigger": """
        0 insert into fz.temp_by_trigger values ('A')
        1 select * from audit
        0 select * from audit
        1 insert into fz.temp_by_trigger values ('B')
        1 select * from audit
        0 select * from audit
    """,
    "a temporary table that a function drops at COMMIT": """
        0 select fz.temp_drop()
        0 select * from dropped
        1 select * from dropped
    """,
    "a temporary table of a function that is rolled back": """
        0 begin
        0 select fz.make_temp('ctx')
        0 select * from ctx
        0 rollback
        0 select * from ctx
    """,
    "LISTEN of a function": """
        0 select fz.listen('q')
        1 notify q, 'one'
        0 select 1
        0 select pg_listening_channels()
        1 select pg_listening_channels()
        0 select fz.unlisten()
        1 notify q, 'two'
        0 select 1
    """,
    "LISTEN of a DO block": """
        0 do $$ begin execute 'listen q'; end $$
        1 select pg_notify('q', 'one')
        0 select pg_listening_channels()
        1 select pg_listening_channels()
    """,
    "a cursor WITH HOLD of a function": """
        0 select fz.hold()
        0 fetch 2 from held
        1 fetch 2 from held
        0 fetch 1 from held
        0 close held
        0 fetch 1 from held
    """,
    "PREPARE of a function": """
        0 select fz.prepare()
        0 execute fp
        1 execute fp
        0 select name from pg_prepared_statements
        0 deallocate fp
        0 execute fp
    """,
    "currval of a function's nextval": """
        0 select fz.next()
        0 select fz.current()
        1 select fz.current()
        1 select currval('fz.s2')
    """,
    "standard_conforming_strings set in a DO block": r"""
        0 do $$ begin set standard_conforming_strings = off; end $$
        1 select 'a\' || ' or 1=1 --'
        0 select 'a\\b'
        1 show standard_conforming_strings
        0 show standard_conforming_strings
    """,
    "search_path set in a DO block": """
        0 do $$ begin perform set_config('search_path', 'fz', false); end $$
        0 select count(*) from t
        1 select count(*) from t
        0 show search_path
    """,
    "a prepared statement that sets": """
        0 describe: s1 | select fz.set_tenant('A')
        0 bind: s1
        0 select * from fz.tenants order by v
        1 select * from fz.tenants order by v
        0 select fz.set_tenant('B')
        0 bind: s1
        0 select * from fz.tenants order by v
        1 select * from fz.tenants order by v
    """,
    "a prepared INSERT with a trigger that sets": """
        0 describe: s1 | insert into fz.set_by_trigger values ('A')
        0 bind: s1
        0 select current_setting('app.trigger', true)
        1 select current_setting('app.trigger', true)
        1 begin
        1 select current_setting('app.trigger', true)
        0 bind: s1
        0 select current_setting('app.trigger', true)
        1 commit
    """,
    "a function that is made to set": """
        0 create or replace function fz.mine(t text) returns text language sql as $$ select upper(t) $$
        1 select fz.mine('x')
        0 create or replace function fz.mine(t text) returns text language plpgsql as $$ begin return set_config('app.a', t, false); end $$
        1 select fz.mine('x')
        0 select current_setting('app.a', true)
        1 select current_setting('app.a', true)
    """,
    "a trigger that comes later": """
        0 insert into fz.t values (8)
        0 create trigger later before insert on fz.t for each row execute function fz.sets()
        1 insert into fz.t values (9, 'A')
        0 select current_setting('app.trigger', true)
        1 select current_setting('app.trigger', true)
        0 select current_setting('app.trigger', true)
    """,
    "a pipeline in which a function sets": """
        0 pipeline: select fz.set_tenant('A') | select * from fz.tenants order by v
        1 pipeline: select * from fz.tenants order by v
        0 pipeline: select * from fz.tenants order by v
    """,
    "statements in one string": """
        0 select fz.set_tenant('A'); select count(*) from fz.tenants
        1 select count(*) from fz.tenants
        0 begin; select fz.set_tenant('B'); rollback; select count(*) from fz.tenants
        0 select * from fz.tenants order by v
    """,
    "what is left goes with the session": """
        0 select fz.lock(9)
        0 select fz.make_temp('ctx')
        0 select fz.listen('q')
        0 select fz.set_role('fz_one')
        0 login:
        0 select current_user, pg_try_advisory_lock(9)
        0 select * from ctx
        0 select pg_listening_channels()
        1 select current_user
    """,
    "DISCARD ALL ends it": """
        0 select fz.lock(9)
        0 select fz.make_temp('ctx')
        0 select fz.set_tenant('A')
        0 discard all
        1 select pg_try_advisory_lock(9)
        0 select * from ctx
        0 select count(*) from fz.tenants
        0 select current_setting('app.tenant', true)
    """,
    "BEGIN READ ONLY and a function that sets": """
        0 begin read only
        0 select fz.set_tenant('A')
        0 select count(*) from fz.tenants
        0 commit
        0 select count(*) from fz.tenants
        1 begin read only
        1 select count(*) from fz.tenants
        1 commit
    """,
    "NULL is not empty": """
        0 set app.a = '5'
        0 login:
        1 select current_setting('app.a', true)
        1 /* pgrouter: primary */ select current_setting('app.a', true)::int
        0 select current_setting('app.a', true) is null
        0 set local app.b = 'x'
        1 select current_setting('app.b', true) is null
    """,
    "a setting on a replica that its transaction has left": """
        0 begin read only
        0 set local app.a = 'x'
        0 select count(*) from fz.t
        0 select pg_current_wal_lsn() > '0/0'
        0 commit
        1 select current_setting('app.a', true)
        1 select current_setting('app.a', true)
        1 /* pgrouter: primary */ select current_setting('app.a', true)
        0 select current_setting('app.a', true)
        0 begin read only
        0 set app.b = 'x'
        0 select count(*) from fz.t
        0 login:
        1 select current_setting('app.b', true)
        1 select current_setting('app.b', true)
        0 begin
        0 select fz.set_tenant('x')
        0 login:
        1 /* pgrouter: primary */ select current_setting('app.tenant', true)
        1 select current_setting('app.tenant', true)
    """,
    "an empty setting is not NULL": """
        0 set app.a = ''
        0 select current_setting('app.a', true) is null
        1 select current_setting('app.a', true) is null
        0 /* pgrouter: primary */ select current_setting('app.a', true) is null
        0 reset app.a
        0 select current_setting('app.a', true) is null
        0 begin
        0 set local app.b = 'x'
        0 commit
        0 select current_setting('app.b', true) is null
        1 select current_setting('app.b', true) is null
    """,
}


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "who", [who if at % 2 == 0 else pytest.param(who, marks=pytest.mark.slow) for at, who in enumerate(SETTERS)]
)
def test_a_setting_that_is_made_unseen_is_its_sessions(sides: Sides, who: str, pool: int) -> None:
    statement, name = SETTERS[who]
    text = f"0 {statement}" + LOOK.format(name=name)
    assert str(sides.play(written(who, text, pool), fresh=True) or "") == ""


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", TEXTS)
def test_as_on_a_connection_of_ones_own(sides: Sides, what: str, pool: int) -> None:
    assert str(sides.play(written(what, TEXTS[what], pool), fresh=True) or "") == ""


def test_the_first_session_of_a_database_is_as_safe_as_any(sides: Sides) -> None:
    """Nobody has read its code when it comes."""
    for number in range(3):
        database = f"new{number}"
        sides.cluster.primary.sql(f"create database {database}")
        sides.sql(database, WORLD)
        sides.cluster.wait_caught_up()
        port = sides.router.port
        with Player(port, database, words.USER, "") as one, Player(port, database, words.USER, "") as two:
            assert "E" not in {line[0] for line in one.ask(query("select fz.set_tenant('A')")).said}
            for _ in range(3):
                asked = two.ask(query("/* pgrouter: primary */ select current_setting('app.tenant', true)"))
                assert "D [None]" in asked.said
            assert "D ['A']" in one.ask(query("select current_setting('app.tenant', true)")).said
