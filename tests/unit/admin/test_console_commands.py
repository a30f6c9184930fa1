"""The console's language: what is a command, what is a driver's small talk, what is an error."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgrouter.admin.commands import MAX_TEXT, UNSUPPORTED, parse, split
from pgrouter.admin.driver_queries import HARMLESS, SELECTS, SETTINGS
from pgrouter.admin.operations import ABOUT
from pgrouter.admin.views import VIEWS
from pgrouter.errors import RouterError
from pgrouter.proxy.drain import Shutdown

if TYPE_CHECKING:
    from support.desk import Desk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ;; \n;", []),
        ("-- nothing", []),
        ("show pools", [["show", "pools"]]),
        ("SHOW\tPOOLS ; ", [["SHOW", "POOLS"]]),
        ("show/* a ; b */pools;reload", [["show", "pools"], ["reload"]]),
        ("show pools -- what; ever\n; reload", [["show", "pools"], ["reload"]]),
        ("set a = 'x;y''z'; show b", [["set", "a", "=", "'x;y''z'"], ["show", "b"]]),
        ('deallocate "a;b"', [["deallocate", '"a;b"']]),
        ("set a=-1", [["set", "a=-1"]]),
        ("show a /* not closed", [["show", "a"]]),
        ("it's", [["it's"]]),
    ],
)
def test_split(text: str, expected: list[list[str]]) -> None:
    assert split(text) == expected


@given(st.text(alphabet="ab;'\"-/* \n") | st.text())
@example("a" * 1000 + "'" * 1001)
def test_no_text_is_too_strange_to_be_split(text: str) -> None:
    for words in split(text):
        assert words
        assert not any(re.search(r"[ \n]", word) for word in words)


@given(
    view=st.sampled_from(sorted(VIEWS)),
    gaps=st.lists(st.sampled_from([" ", "\n", "\t", "/* ; */", "-- ;\n"]), min_size=3, max_size=3),
    lower=st.booleans(),
)
def test_case_spaces_and_comments_do_not_matter(view: str, gaps: list[str], *, lower: bool) -> None:
    text = f"{gaps[0]}SHOW{gaps[1]}{view}{gaps[2]};"
    (command,) = parse(text.lower() if lower else text)
    assert command.run is VIEWS[view].rows
    assert command.columns is VIEWS[view].columns
    assert not command.admin


@pytest.mark.parametrize("text", [r"\d", "SELECT * FROM t", "SHOW", "SHOW bogus", "show pools all", "reload now", "x"])
def test_anything_else_is_a_syntax_error_with_a_way_out(text: str) -> None:
    with pytest.raises(RouterError) as caught:
        parse(text)
    assert (caught.value.sqlstate, caught.value.hint, caught.value.closes_client) == ("42601", "SHOW HELP", False)
    assert f'"{text}"' in caught.value.message


def test_a_long_unknown_command_is_not_repeated_in_full() -> None:
    with pytest.raises(RouterError) as caught:
        parse("insert into t values " + "(1), " * 1000)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize("piece", ["/*", "'", '"', "--", "-", ";", "show pools;", "'a\""])
def test_a_huge_text_is_refused_at_once(piece: str) -> None:
    with pytest.raises(RouterError) as caught:
        parse(piece * (MAX_TEXT // len(piece) + 1))
    assert caught.value.sqlstate == "54000"
    begun = time.process_time()
    split(piece * (MAX_TEXT // len(piece)))
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("verb", sorted(UNSUPPORTED))
def test_pgbouncers_other_commands_are_said_to_be_unsupported(verb: str) -> None:
    with pytest.raises(RouterError) as caught:
        parse(f"{verb} db")
    assert caught.value.sqlstate == "0A000"


def test_one_bad_command_spoils_the_text() -> None:
    with pytest.raises(RouterError):
        parse("reload; bogus")


@pytest.mark.parametrize("verb", sorted(HARMLESS))
def test_small_talk_is_acknowledged(desk: Desk, verb: str) -> None:
    (command,) = parse(f"{verb} whatever = 'x'")
    assert (command.tag, command.columns, command.admin) == (HARMLESS[verb], None, False)
    assert list(command.run(desk.context())) == []


@pytest.mark.parametrize("text", ["SELECT 1", "select  version();", "SELECT pg_catalog.version()", "select USER"])
def test_selects_that_drivers_send(desk: Desk, text: str) -> None:
    (command,) = parse(text)
    ((value,),) = command.run(desk.context(desk.client("boss", "pgrouter", console=True)))
    assert command.tag == "SELECT 1"
    assert value == 1 or "pgrouter" in value or value == "boss"


def test_every_probe_has_an_answer_of_its_type(desk: Desk) -> None:
    context = desk.context(desk.client("boss", "pgrouter", console=True))
    for probe in SELECTS.values():
        value = probe.value(context)
        assert value is None or probe.column.type.binary(value) is not None


@pytest.mark.parametrize("name", ["client_encoding", "TRANSACTION ISOLATION LEVEL", "Standard_Conforming_Strings"])
def test_show_of_a_setting(desk: Desk, name: str) -> None:
    (command,) = parse(f"SHOW {name};")
    assert list(command.run(desk.context())) == [(SETTINGS[name.lower()],)]
    assert [column.name for column in command.columns] == [name.lower().replace(" ", "_")]


@pytest.mark.parametrize(
    ("text", "tag", "status"),
    [
        ("begin", "BEGIN", b"T"),
        ("START TRANSACTION READ ONLY", "START TRANSACTION", b"T"),
        ("commit", "COMMIT", b"I"),
        ("end", "COMMIT", b"I"),
        ("rollback", "ROLLBACK", b"I"),
        ("ROLLBACK TO SAVEPOINT a", "ROLLBACK", b""),
    ],
)
def test_transactions_change_only_the_status(text: str, tag: str, status: bytes) -> None:
    (command,) = parse(text)
    assert (command.tag, command.status) == (tag, status)


def test_help_names_every_view_and_action(desk: Desk) -> None:
    (command,) = parse("show help")
    listed = [row[0] for row in command.run(desk.context())]
    actions = {"SHOW HELP", "RELOAD", "RELOAD FORGET CLUSTER", *ABOUT}
    assert {f"SHOW {view}" for view in VIEWS} | actions == set(listed)


def test_reload_and_shutdown_reach_the_application(desk: Desk) -> None:
    for text in (
        "RELOAD",
        "reload forget cluster",
        "shutdown wait_for_clients",
        "shutdown Wait_For_Servers",
        "shutdown",
    ):
        (command,) = parse(text)
        assert command.admin
        assert command.run(desk.context()) == ()
    assert (desk.reloads, desk.monitor.forgets) == (2, 1)
    assert desk.stops == [Shutdown.CLIENTS, Shutdown.SERVERS, Shutdown.NOW]


@pytest.mark.parametrize("form", ["KILL_CLIENT {}", "kill_client C-{}", "kill_client '{}'"])
def test_kill_client_ends_that_one(desk: Desk, form: str) -> None:
    victim, other = desk.client(), desk.client()
    end = desk.plug(victim)
    (command,) = parse(form.format(victim.client_id))
    assert command.admin
    command.run(desk.context())
    assert victim.closed
    assert b"C57P01\0" in end.recv(4096)
    assert not other.closed
    assert list(desk.registry.clients) == [other.client_id]


def test_kill_client_ends_one_that_is_logging_in(desk: Desk) -> None:
    victim = desk.stranger()
    desk.plug(victim)
    parse(f"kill_client {victim.client_id}")[0].run(desk.context())
    assert victim.closed
    assert not desk.registry.logging_in


def test_kill_client_of_nobody(desk: Desk) -> None:
    with pytest.raises(RouterError) as caught:
        parse("kill_client 999999999")[0].run(desk.context())
    assert caught.value.sqlstate == "42704"


@pytest.mark.parametrize("text", ["kill_client", "kill_client alice", "kill_client 1 2 x", "kill_client -1"])
def test_kill_client_needs_an_id(text: str) -> None:
    with pytest.raises(RouterError) as caught:
        parse(text)
    assert caught.value.sqlstate == "42601"
