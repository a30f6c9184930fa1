"""What bodies refer to: words of texts, numbers of trees."""

from __future__ import annotations

import pytest

from pgrouter.routing import bodies


def test_words_are_as_the_parser_folds_them() -> None:
    found = bodies.of_text("BEGIN RETURN 'ä' || NextVal(\"Sé\") ### x::mood WHERE a != b; -- nothing\n END")
    assert {"nextval", "Sé", "###", "||", "mood", "<>", "x"} <= found.words
    assert not {"ä", "nothing", "NextVal"} & found.words
    assert found.why == ""


def test_relations_are_words_where_a_from_list_has_them() -> None:
    found = bodies.of_text(
        "select s.a, f(t.b) from one s join public.two t on true, three, lateral (select * from only four)"
        " where x in (table five)"
    )
    assert {"one", "two", "three", "four", "five"} <= found.sources
    assert not {"s", "t"} & found.sources


@pytest.mark.parametrize("text", [
    "begin execute q into n; return n; end",
    "begin return query execute 'select 1'; end",
    "insert into t values (1)",
    "with w as (delete from t returning 1) select * from w",
    "select * from t for update",
    "select U&\"\\006Eextval\"('s')",
    "select 'unclosed",
    "select current_setting('transaction_read_only')",
    "select current_setting(name)",
])  # fmt: skip
def test_what_gives_a_body_away(text: str) -> None:
    assert bodies.of_text(text).why


@pytest.mark.parametrize("text", [
    "select current_setting('app.tenant', true)",
    "select current_setting('work_mem')",
    "select 'insert into t', E'execute'",
    "select updated_at, inserted from t /* delete */",
])  # fmt: skip
def test_what_only_looks_like_it(text: str) -> None:
    assert bodies.of_text(text).why == ""


def test_a_tree_tells_numbers() -> None:
    found = bodies.of_tree(
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
    assert bodies.of_tree("{QUERY " + part + "}").why


def test_a_setting_of_the_session_in_a_tree_is_fine() -> None:
    octets = " ".join(str(octet) for octet in b"\x30\0\0\0a.tenant")
    name = f"{{CONST :consttype 25 :location 40 :constvalue 12 [ {octets} ]}}"
    tree = f":funcid 3294 :args ({name} {{CONST :location 5}})"
    assert bodies.of_tree(tree).why == ""
