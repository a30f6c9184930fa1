"""More of what runs code unseen, made by the clients themselves, and what no query tells of a session.

As in test_isolation_state.py: conversations, played directly and through the router and compared.
"""

# ruff: noqa: E501, ISC004, S608  (a statement is a line)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from session_fuzz import words
from session_fuzz.sides import DIRECT, ROUTED
from session_fuzz.story import written

if TYPE_CHECKING:
    from session_fuzz.sides import Sides

pytestmark = pytest.mark.pg

SETS = "set_config('app.a', 'A', false)"
# What client 1 makes, what client 0 says, and which setting is made by that
MADE = {
    "a trigger's WHEN": (
        "create table fz.mine (v text); create function fz.when_(t text) returns boolean language plpgsql as "
        f"$$ begin perform {SETS}; return false; end $$; create trigger w before insert on fz.mine for each row "
        "when (fz.when_(new.v)) execute function fz.sets()",
        "insert into fz.mine values ('x')",
    ),
    "a TRUNCATE trigger": (
        "create table fz.mine (v text); create function fz.tr() returns trigger language plpgsql as "
        f"$$ begin perform {SETS}; return null; end $$; "
        "create trigger t after truncate on fz.mine execute function fz.tr()",
        "truncate fz.mine",
    ),
    "MERGE": (
        "create table fz.mine (i int, v text); create trigger t before insert on fz.mine for each row execute function "
        "fz.setter(); create table fz.source as select 1 as i",
        "merge into fz.mine m using fz.source s on m.i = s.i when not matched then insert values (s.i, 'x')",
    ),
    "ON CONFLICT DO UPDATE": (
        "create table fz.mine (i int primary key, v text); insert into fz.mine values (1); create trigger t before update "
        "on fz.mine for each row execute function fz.setter()",
        "insert into fz.mine values (1, 'x') on conflict (i) do update set v = 'y'",
    ),
    "ON UPDATE CASCADE": (
        "create table fz.up (i int primary key); insert into fz.up values (1); create table fz.mine (i int references fz.up "
        "on update cascade, v text); insert into fz.mine values (1); create trigger t before update on fz.mine for each row "
        "execute function fz.setter()",
        "update fz.up set i = 2",
    ),
    "COPY FROM and a trigger": (
        "create table fz.mine (v text); create trigger t before insert on fz.mine for each row execute function fz.setter()",
        "copy: copy fz.mine from stdin | one",
    ),
    "COPY FROM and a default": (
        f"create table fz.mine (v text, w text default {SETS})", "copy: copy fz.mine (v) from stdin | one",
    ),
    "ALTER TABLE ADD COLUMN with a default": (
        "create table fz.mine (v text); insert into fz.mine values ('x')",
        f"alter table fz.mine add column w text default {SETS}",
    ),
    "an index over an expression": (
        "create table fz.mine (v text); create index on fz.mine (fz.pretends(v))", "insert into fz.mine values ('x')",
    ),
    "a view over a view": (
        "create view fz.inner_view as select 1 as i, fz.sql_set('A') as s; create view fz.outer_view as "
        "select * from fz.inner_view",
        "select * from fz.outer_view",
    ),
    "a view in a subquery that is not asked for": (
        f"create view fz.mine as select {SETS} as s", "select case when false then (select s from fz.mine) end",
    ),
    "a materialized view": (
        f"create materialized view fz.mine as select {SETS} as s with no data", "refresh materialized view fz.mine",
    ),
    "RETURNING": ("create table fz.mine (v text)", f"insert into fz.mine values ('x') returning {SETS}"),
    "ORDER BY": ("create table fz.mine as select 1 as i", "select i from fz.mine order by fz.sql_set('A')"),
    "a table function": (
        "create function fz.rows_() returns setof int language plpgsql as "
        f"$$ begin perform {SETS}; return query select 1; end $$",
        "select * from fz.rows_()",
    ),
    "RETURN QUERY EXECUTE": (
        "create function fz.rows_(q text) returns setof text language plpgsql as $$ begin return query execute q; end $$",
        "select * from fz.rows_('select set_config(''app.a'', ''A'', false)')",
    ),
    "FOR IN EXECUTE": (
        "create function fz.loops(q text) returns int language plpgsql as "
        "$$ declare r record; begin for r in execute q loop null; end loop; return 1; end $$",
        "select fz.loops('select set_config(''app.a'', ''A'', false)')",
    ),
    "EXECUTE USING": (
        "create function fz.uses(n text) returns void language plpgsql as "
        "$$ begin execute 'select set_config($1, ''A'', false)' using n; end $$",
        "select fz.uses('app.a')",
    ),
    "a refcursor": (
        "create function fz.opens() returns refcursor language plpgsql as "
        f"$$ declare c refcursor := 'mine'; begin open c for select {SETS}; return c; end $$",
        "begin; select fz.opens(); fetch all from mine; commit",
    ),
    "a procedure in a DO block": (
        f"create procedure fz.does() language plpgsql as $$ begin perform {SETS}; end $$", "do $$ begin call fz.does(); end $$",
    ),
    "an SQL procedure": (f"create procedure fz.does() language sql as $$ select {SETS} $$", "call fz.does()"),
    "SECURITY DEFINER": (
        f"create function fz.definer() returns void language plpgsql security definer as $$ begin perform {SETS}; end $$",
        "select fz.definer()",
    ),
    "a function that pretends to be STABLE": (
        f"create function fz.stable_() returns text stable language plpgsql as $$ begin return {SETS}; end $$",
        "select fz.stable_()",
    ),
    "a function that pretends to be IMMUTABLE": (
        f"create function fz.constant() returns text immutable language plpgsql as $$ begin return {SETS}; end $$",
        "select fz.constant()",
    ),
    "query_to_xml": ("select 1", "select query_to_xml('select set_config(''app.a'', ''A'', false)', false, false, '')"),
    "table_to_xml of a view": (
        f"create view fz.mine as select {SETS} as s", "select table_to_xml('fz.mine', false, false, '')",
    ),
    "ts_stat": ("select 1", "select count(*) from ts_stat('select to_tsvector(set_config(''app.a'', ''A'', false))')"),
    "a composite type with a domain": (
        "create type fz.holds as (v fz.checked)", "select row('A')::fz.holds", "app.check",
    ),
    "an array of a domain": ("select 1", "select array['A']::fz.checked[]", "app.check"),
    "a variadic function": (
        f"create function fz.many(variadic t text[]) returns text language plpgsql as $$ begin return {SETS}; end $$",
        "select fz.many('a', 'b')",
    ),
    "an overload": (
        "create function fz.over(i int) returns text language sql as $$ select 'int' $$; "
        f"create function fz.over(t text) returns text language sql as $$ select {SETS} $$",
        "select fz.over('x'::text)",
    ),
    "names that need quotes": (
        f'create function fz."Sets It"() returns text language sql as $$ select {SETS} $$', 'select fz."Sets It"()',
    ),
    "a FunctionCall": ("select 1", "call: 2078 | app.a | A | t", "app.a"),
    "SET in a function of pg_temp": (
        "select 1",
        f"create function pg_temp.mine() returns text language sql as $$ select {SETS} $$; select pg_temp.mine()",
    ),
    "a function that alters another": (
        "create function fz.alters() returns void language plpgsql as $$ begin execute 'create or replace function fz.mine() "
        f"returns text language sql as $b$ select {SETS.replace(chr(39), chr(39) * 2)} $b$'; end $$; "
        "create function fz.mine() returns text stable language sql as $$ select 'x'::text $$; select fz.alters()",
        "select fz.mine()",
    ),
}  # fmt: skip

UNTOLD = {
    "setseed": """
        0 select setseed(0.5)
        0 select random()
        1 select random() < 2
        0 select random()
        1 begin
        1 select random() < 2
        0 select random()
        1 commit
        0 select setseed(0.25)
        0 select random()
    """,
    "setseed in a function": """
        0 select fz.seed(0.5)
        1 select random() < 2
        0 select random()
        0 select random()
    """,
    "set_limit of pg_trgm": """
        0 select set_limit(0.9)
        1 select show_limit()
        0 select show_limit()
        0 select 'word' % 'wort'
        1 select 'word' % 'wort'
    """,
    "set_limit in a function": """
        0 create function fz.limits() returns real language plpgsql as $$ begin return set_limit(0.9); end $$
        0 select fz.limits()
        1 select show_limit()
        0 select show_limit()
    """,
    "a connection of dblink": """
        0 select dblink_connect('mine', format('host=127.0.0.1 port=%s user=fz_super dbname=%s', current_setting('port'), current_database()))
        1 select dblink_get_connections()
        0 select dblink_get_connections()
        0 select * from dblink('mine', 'select 1') as t (i int)
        1 select * from dblink('mine', 'select 1') as t (i int)
        0 select dblink_disconnect('mine')
        0 select dblink_get_connections()
    """,
    "a connection of dblink in a function": """
        0 create function fz.connects() returns text language plpgsql as $$ begin return dblink_connect('mine', format('host=127.0.0.1 port=%s user=fz_super dbname=%s', current_setting('port'), current_database())); end $$
        0 select fz.connects()
        1 select dblink_get_connections()
        0 select * from dblink('mine', 'select 1') as t (i int)
        0 login:
        0 select dblink_get_connections()
    """,
    "a temporary replication slot": """
        0 select 1 from pg_create_physical_replication_slot('slot_' || current_database(), true, true)
        1 select pg_drop_replication_slot('slot_' || current_database())
        1 select temporary from pg_replication_slots where slot_name = 'slot_' || current_database()
        0 login:
        1 select temporary from pg_replication_slots where slot_name = 'slot_' || current_database()
    """,
    "a temporary replication slot of a DO block": """
        0 do $$ begin perform pg_create_physical_replication_slot('slot_' || current_database(), true, true); end $$
        1 select pg_drop_replication_slot('slot_' || current_database())
        0 login:
        1 select count(*) from pg_replication_slots where slot_name = 'slot_' || current_database()
    """,
    "large objects": """
        0 begin
        0 select lo_create(424242)
        0 select lo_open(424242, 393216)
        0 select lowrite(0, 'abc')
        0 commit
        1 select lo_get(424242)
        0 select loread(0, 1)
        1 select lo_unlink(424242)
    """,
}


@pytest.fixture(scope="module")
def sides(sides: Sides) -> Sides:
    for database in (DIRECT, *ROUTED.values()):
        sides.sql(database, "create extension if not exists dblink; create extension if not exists pg_trgm")
    return sides


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", MADE)
def test_what_clients_make_runs_for_the_session_that_calls_it(sides: Sides, what: str, pool: int) -> None:
    making, saying, name = (*MADE[what], "app.a")[:3]
    setter = (
        f"create function fz.setter() returns trigger language plpgsql as $$ begin perform {SETS}; return new; end $$"
    )
    text = f"""
        1 {setter}
        1 {making}
        0 {saying}
        0 select current_setting('{name}', true)
        1 select current_setting('{name}', true)
        1 /* pgrouter: primary */ select current_setting('{name}', true)
        0 /* pgrouter: primary */ select current_setting('{name}', true)
    """
    assert str(sides.play(written(what, text, pool), fresh=True) or "") == ""


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", UNTOLD)
def test_what_no_query_tells_stays_with_its_session(sides: Sides, what: str, pool: int) -> None:
    story = written(what, UNTOLD[what], pool, (words.SUPERUSER,) * 2)
    assert str(sides.play(story, fresh=True) or "") == ""
