"""What the bodies of functions say: queries and variables of texts, numbers of trees."""

from __future__ import annotations

import re

import pytest

from pgrouter.routing import bodies
from pgrouter.routing.catalog import Catalog
from pgrouter.routing.findings import Findings
from pgrouter.routing.node_trees import references
from pgrouter.routing.tree import walk

TYPES = {"int4": 23, "text": 25, "_int4": 1007, "numeric": 1700}
ROWS = {"public.item": {"id": 23, "name": 25}, "app.item": {"id": 1700}}


def sql(body: str, head: str = "f(a integer, b text) RETURNS integer") -> bodies.Body:
    return bodies.read(f"CREATE FUNCTION {head} LANGUAGE sql AS $f$ {body} $f$", "sql", TYPES, ROWS)


def plpgsql(body: str, head: str = "f(a integer, b text) RETURNS integer") -> bodies.Body:
    return bodies.read(f"CREATE FUNCTION {head} LANGUAGE plpgsql AS $f$ {body} $f$", "plpgsql", TYPES, ROWS)


def looked_up(body: bodies.Body) -> tuple[set[str], set[str]]:
    """Give the names of functions and relations in its queries."""
    functions: set[str] = set()
    relations: set[str] = set()
    for query in body.queries:
        found = Findings(Catalog(), body.variables)
        walk(query, found)
        functions |= found.functions.keys()
        relations |= found.relations.keys()
    return functions, relations


def test_the_queries_of_sql() -> None:
    body = sql("select g(a) from t; select count(*) from u where h(b)")
    assert not body.why
    assert looked_up(body) == ({"g", "h", "count"}, {"t", "u"})
    assert body.variables["a"] == body.variables["$1"] == {23}
    assert body.variables["b"] == body.variables["$2"] == {25}


EVERYWHERE = """
<<outside>> DECLARE n int := in_declare(1); c CURSOR (k int) FOR SELECT in_cursor(k) FROM of_cursor; r record; x int[];
BEGIN
    SELECT in_select(id) INTO n FROM of_select WHERE id = a;
    n := in_assignment(n); x[in_subscript(1)] := 3; r.id = in_equals(1);
    FOR r IN SELECT * FROM of_for LOOP PERFORM in_perform(r.id); END LOOP;
    FOR r IN c(in_argument(3)) LOOP NULL; END LOOP;
    FOR i IN in_lower(1) .. in_upper(2) BY in_step(1) LOOP EXIT WHEN in_exit(i); CONTINUE WHEN in_continue(i); END LOOP;
    FOREACH n IN ARRAY in_array() LOOP NULL; END LOOP;
    WHILE in_while() LOOP NULL; END LOOP;
    IF in_if() THEN n := 1; ELSIF in_elsif() THEN n := 2; ELSE n := in_else(); END IF;
    CASE in_case() WHEN in_when() THEN NULL; ELSE RAISE NOTICE '%', in_raise() USING HINT = in_hint(); END CASE;
    ASSERT in_assert(), in_message();
    BEGIN n := in_block(); EXCEPTION WHEN division_by_zero THEN n := in_exception(); END;
    RETURN QUERY SELECT in_query() FROM of_query;
    RETURN NEXT in_next();
END
"""


def test_every_place_of_plpgsql_where_sql_stands_is_read() -> None:
    body = plpgsql(EVERYWHERE, "f(a integer) RETURNS SETOF integer")
    assert not body.why, body.why
    functions, relations = looked_up(body)
    wanted = set(re.findall(r"\bin_\w+", EVERYWHERE))
    assert {name for name in functions if name.startswith("in_")} == wanted
    assert relations == {"of_cursor", "of_select", "of_for", "of_query"}
    assert body.variables["n"] == {23}
    assert body.variables["x"] == {1007}
    assert body.variables["r"] == {None}


def test_rows_as_parameters_have_the_columns_of_their_table() -> None:
    body = sql("select r.id", "f(r public.item, s app.item, x app.other, VARIADIC y integer[]) RETURNS text")
    assert body.variables["r."] == {None}
    assert (body.variables["r.id"], body.variables["r.name"]) == ({23}, {25})
    assert body.variables["s.id"] == {1700}
    assert body.variables["x."] == {None}
    assert body.variables["y"] == body.variables["$4"] == {1007}


def test_columns_of_the_result_are_variables_without_a_number() -> None:
    body = plpgsql("BEGIN RETURN QUERY SELECT 1; END", "f(OUT o text, a integer) RETURNS text")
    assert (body.variables["o"], body.variables["$1"]) == ({25}, {23})
    body = plpgsql("BEGIN RETURN QUERY SELECT 1; END", "f(a integer) RETURNS TABLE(o text)")
    assert body.variables["o"] == {25}
    assert "$2" not in body.variables


def test_types_of_other_schemas_in_the_head_are_read() -> None:
    head = 'f(ä app.item, b "My Schema" . "Type"[], c integer) RETURNS SETOF app.item'
    body = plpgsql("BEGIN RETURN QUERY SELECT g(ä.id); END", head)
    assert (body.why, body.words) == ("", frozenset())
    assert looked_up(body)[0] == {"g"}
    assert body.variables["ä.id"] == {1700}


def test_what_cannot_be_parsed_is_cut_into_words() -> None:
    body = plpgsql("DECLARE x app.item; BEGIN RETURN 'ä' || NextVal(\"Sé\") ### x WHERE a != b; -- nothing\n END")
    assert not body.why
    assert {"nextval", "Sé", "###", "||", "item", "<>", "x"} <= body.words
    assert not {"ä", "nothing", "NextVal", ""} & body.words
    assert plpgsql("DECLARE x app.item; BEGIN EXECUTE b; END").why == "contains EXECUTE"
    assert plpgsql("DECLARE x app.item; BEGIN RETURN current_setting('a.b'); END").why


@pytest.mark.parametrize("body", [
    plpgsql("begin execute b into a; return a; end"),
    plpgsql("begin return query execute 'select 1'; end", "f() returns setof integer"),
    plpgsql("declare r record; begin for r in execute b loop null; end loop; end"),
    plpgsql("declare c refcursor; begin open c for execute b; end"),
    plpgsql("begin insert into t values (1); end"),
    plpgsql("begin call p(); end"),
    plpgsql("declare c cursor for select 1; begin open c; return 1; end"),
    plpgsql("begin commit; end"),
    plpgsql("begin set local work_mem = '1MB'; end"),
    plpgsql("begin lock table t; end"),
    sql("insert into t values (1) returning id"),
    sql("select 1; delete from t"),
    sql("select 'unclosed"),
    sql("notify x"),
])  # fmt: skip
def test_what_gives_a_body_away(body: bodies.Body) -> None:
    assert body.why


@pytest.mark.parametrize("body", [
    sql("select 'insert into t', E'execute'"),
    sql("values (1)"),
    plpgsql("begin return updated_at from t /* delete */; end"),
    plpgsql("begin null; end"),
])  # fmt: skip
def test_what_only_looks_like_it(body: bodies.Body) -> None:
    assert body.why == ""


def test_words_of_a_definition_are_all_of_them() -> None:
    found = bodies.words_of('DECLARE x "My Type"; y NOISY[] -- mood')
    assert found == {"declare", "x", "My Type", "y", "noisy", "mood"}


def test_a_tree_tells_numbers() -> None:
    found = references(
        "({QUERY :commandType 1 :hasForUpdate false :hasModifyingCTE false "
        ":rtable ({RANGETBLENTRY :rtekind 0 :relid 16390 :relkind r :lateral false :inh true} "
        "{RANGETBLENTRY :rtekind 0 :relid 16400 :inh false :relkind r}) "
        ":targetList ({FUNCEXPR :funcid 1574 :funcresulttype 20 :args <>} {AGGREF :aggfnoid 2803 :aggtype 20} "
        "{OPEXPR :opno 16500 :opfuncid 0} {ROWCOMPAREEXPR :opnos (o 97 16501)} {COERCETODOMAIN :resulttype 16391}) "
        ":sortClause ({SORTGROUPCLAUSE :eqop 96 :sortop 16502})})"
    )
    assert found.functions >= {1574, 2803}
    assert found.operators >= {16500, 97, 16501, 96, 16502}
    assert found.relations == {16390}
    assert found.only == {16400}
    assert 16391 in found.types
    assert found.why == ""


@pytest.mark.parametrize("part", [
    ":commandType 3", ":hasForUpdate true", ":hasModifyingCTE true", "{NEXTVALUEEXPR :seqid 16388}",
    ":funcid 2077 :args ({CONST :consttype 25 :location 1 :constvalue 12 [ 48 0 0 0 119 97 108 95 98 108 107 115 ]})",
    ":funcid 2077 :args ({VAR :varno 1 :location 30})",
])  # fmt: skip
def test_what_gives_a_tree_away(part: str) -> None:
    assert references("{QUERY " + part + "}").why


def test_a_setting_of_the_session_in_a_tree_is_fine() -> None:
    octets = " ".join(str(octet) for octet in b"\x30\0\0\0a.tenant")
    name = f"{{CONST :consttype 25 :location 40 :constvalue 12 [ {octets} ]}}"
    tree = f":funcid 3294 :args ({name} {{CONST :location 5}})"
    assert references(tree).why == ""


@pytest.mark.parametrize("number", [100, 101, 111, 130, 150, 400])
@pytest.mark.parametrize("mode", ["", "INOUT ", "OUT "])
def test_more_parameters_than_libpg_query_has_room_for(number: int, mode: str) -> None:
    """It writes behind its array of 100 input parameters, and crashes from 113 or so on: such a body is not parsed."""
    parameters = ", ".join(f"{mode}a{one} integer" for one in range(number))
    body = plpgsql("begin perform f(a0) from t; end", f"f({parameters}) RETURNS {'record' if mode else 'void'}")
    if number > 100 and mode != "OUT ":
        assert {"f", "t", "perform"} <= body.words
        assert not body.queries
    else:
        assert looked_up(body) == ({"f"}, {"t"})
