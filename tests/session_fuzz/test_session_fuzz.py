"""A short run of `make fuzz-session`, from the same seeds every time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from session_fuzz.sides import Answer, Known, known_differences
from session_fuzz.story import Step, story, written

if TYPE_CHECKING:
    from session_fuzz.sides import Sides

pytestmark = pytest.mark.pg

SECONDS = 20


@pytest.mark.slow
def test_random_sessions_are_answered_as_postgresql_answers_them(sides: Sides) -> None:
    end = time.monotonic() + SECONDS
    steps, waits, number = sides.steps, sides.waits, 0
    while time.monotonic() < end:
        number += 1
        difference = sides.difference(story(f"short{number}"))
        assert difference is None, str(difference)
    assert sides.waits - waits < (sides.steps - steps) / 4, "most of it was played"


FOUND = {  # by this fuzz, once: texts, and the options of the clients
    "what a failed transaction on a replica has refused": ("""
        0 pipeline: begin read only
        0 deallocate p2
        0 select fz.computed_set('app.a', 'B')
        0 commit
        0 start transaction isolation level serializable read only
        0 commit
    """, ()),
    "who acts, behind a RESET of who began": ("""
        1 pipeline: begin read write
        1 pipeline: reset session authorization
        1 select current_user, session_user
        1 show role
        1 rollback
        1 select current_user, session_user
        0 select 1
    """, ("", "-c role=fz_one")),
    "a name that was closed, behind a Parse of it that was refused": ("""
        0 create temp table q (a int)
        0 describe: s2 | select 1
        0 describe: s2 | select 2
        0 close: s2
        0 bind: s2
        0 describe: s2 | select 3
        0 bind: s2
    """, ()),
    "a name that was closed, behind an EXECUTE of it": ("""
        0 create temp table q (a int)
        0 describe: s2 | select 1
        0 execute s2
        0 close: s2
        0 bind: s2
        0 select name from pg_prepared_statements
    """, ()),
    "a name that was closed and belongs to a PREPARE since": ("""
        0 create temp table q (a int)
        0 describe: s2 | select 1
        0 execute s2
        0 close: s2
        0 prepare s2 as select 4
        0 bind: s2
        0 deallocate s2
        0 bind: s2
    """, ()),
    "what a server holds in other words than others": ("""
        0 create table if not exists fz.made (a int, b text)
        0 describe: s3 | select a, b from fz.made
        1 pipeline: do $$ begin create temp table if not exists tmp1 (i int, v text); end $$
        0 alter table fz.made alter a type float4
        0 bind: s3
    """, ()),
    "DEALLOCATE takes a snapshot": ("""
        0 begin isolation level repeatable read read only
        0 deallocate all
        0 set transaction_read_only = off
        0 rollback
    """, ()),
    "the word of a SET behind code": ("""
        0 begin
        0 select fz.sql_set('x y')
        0 set default_transaction_read_only = off
        0 commit
    """, ("-c default_transaction_read_only=on",)),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(sides: Sides, name: str) -> None:
    text, options = FOUND[name]
    told = written(name, text, 2)
    difference = sides.difference(replace(told, options=options or told.options))
    assert difference is None, str(difference)


def test_a_difference_is_found_and_made_short(sides: Sides) -> None:
    """The databases' names are not the same."""
    text = """
        0 select 1
        1 select * from fz.t order by id
        0 begin
        0 select length(current_database())
        0 commit
    """
    found = sides.difference(written("found", text, 2))
    assert found is not None
    assert [step.texts for step in found.steps] == [("select length(current_database())",)]


def test_stories_come_from_their_seeds() -> None:
    assert story("one") == story("one")
    assert story("one").steps != story("two").steps


def test_known_differences_are_read() -> None:
    first: Known = known_differences()[0]
    direct, routed = Answer(("D ['5']",)), Answer(("E ERROR 55000 gone",))
    assert first.reason
    assert first.covers(Step(0, "query", ("select currval('s')",)), direct, routed)
    assert not first.covers(Step(0, "query", ("select currval('s')",)), direct, direct)
