"""What EXECUTE of a text that is put together runs, as far as that shows."""

from __future__ import annotations

import pytest

from pgrouter.routing import bodies, dynamic
from pgrouter.routing.catalog import ANY_NAME
from pgrouter.routing.classify import classify
from pgrouter.routing.statement import Effect

TYPES = {"int4": 23, "text": 25, "regclass": 2205}
VARIABLES = {"t": {25}, "n": {23}, "c": {2205}, "either": {23, 25}}
ANY = f'"{ANY_NAME}"'


@pytest.mark.parametrize(("expression", "text"), [
    ("'listen q'", "listen q"),
    ("'a' || 'b'", "ab"),
    ("'drop table ' || quote_ident(t)", f"drop table {ANY}"),
    ("'set x = ' || pg_catalog.quote_literal(t)", "set x = 'x'"),
    ("'set x = ' || quote_nullable(f(t))", "set x = 'x'"),
    ("format('drop table %I.%I', t, t)", f"drop table {ANY}.{ANY}"),
    ("format('comment on table %1$I is %2$L; drop table %1$I', t, t)",
     f"comment on table {ANY} is 'x'; drop table {ANY}"),
    ("format('select 1 %% 2')", "select 1 % 2"),
    ("format('%-10I', t)", ANY),
    ("format('select %s', 'a')", "select a"),
    ("format('table %s limit %s', c, n)", f"table {ANY} limit 1"),
    ("format('select ' || '%I', t)", "select " + ANY),
    ("concat('a', quote_ident(t))", f"a{ANY}"),
    ("'limit ' || n", "limit 1"),
    ("'table ' || t::regclass", f"table {ANY}"),
    ("'table ' || c::text", f"table {ANY}"),
    ("t", None),
    ("'x' || t", None),
    ("'x' || either", None),
    ("format('select %s', t)", None),
    ("format('select %I %s', t, t)", None),
    ("format(t, t)", None),
    ("format('%I')", None),
    ("format('%*I', n, t)", None),
    ("format('%x', t)", None),
    ("upper('listen q')", None),
    ("mine.quote_ident(t)", None),
    ("case when t = '' then 'a' end", None),
    ("coalesce(t, 'x')", None),
    ("'unclosed", None),
])  # fmt: skip
def test_a_text(expression: str, text: str | None) -> None:
    assert dynamic.text(expression, VARIABLES, TYPES) == text


def plpgsql(body: str) -> bodies.Body:
    definition = f"CREATE FUNCTION f(t text) RETURNS void LANGUAGE plpgsql AS $f$ {body} $f$"
    return bodies.read(definition, "plpgsql", TYPES, {})


@pytest.mark.parametrize(("body", "unread"), [
    ("begin execute 'select 1'; end", False),
    ("begin execute format('drop table %I', t); end", False),
    ("begin execute t; end", True),
    ("begin execute 'no SQL'; end", True),
    ("declare r record; begin for r in execute t loop null; end loop; end", True),
    ("declare r record; begin for r in execute 'select 1' loop null; end loop; end", False),
    ("declare c refcursor; begin open c for execute t; end", True),
    # Cut into words
    ("declare x app.item; begin update t set a = 1; end", False),
    ("declare x app.item; begin set a.b = 1; end", False),
    ("declare x app.item; begin perform set_config('a.b', t, false); end", False),
    ("declare x app.item; begin perform set_config(t, t, false); end", True),
    ("declare x app.item; begin execute 'select 1'; end", True),
    ("declare x app.item; begin perform setseed(1); end", True),
])  # fmt: skip
def test_what_of_a_body_nobody_can_read(body: str, unread: bool) -> None:  # noqa: FBT001
    assert plpgsql(body).unread is unread


def test_settings_of_a_body_that_is_cut_into_words() -> None:
    body = plpgsql("declare x app.item; begin set local a.b = 1; perform current_setting('c.d'); end")
    assert body.settings >= {"a.b", "c.d"}
    assert "set_config" in body.words
    assert "set_config" not in plpgsql("declare x app.item; begin update t set e = 1; end").words


def test_a_function_of_an_extension_that_no_catalog_has_yet() -> None:
    assert classify("select dblink_connect('mine', 'dbname=x')").effects & Effect.OTHER_STATE
    assert not classify("select dblink('dbname=x', 'select 1')").effects & Effect.OTHER_STATE
