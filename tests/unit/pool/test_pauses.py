"""Which databases are paused after what an operator has said, and the words of refusals."""

from __future__ import annotations

import pytest

from pgrouter.errors import RouterError
from pgrouter.pool.pauses import Pauses


def said(*commands: str) -> Pauses:
    """Give the state after commands: `pause`, `resume` or `kill`, and a database, or nothing for all."""
    pauses = Pauses()
    for command in commands:
        verb, _, name = command.partition(" ")
        if verb == "kill":
            pauses.kill({name} if name else {"a", "b"})  # there are these two
        else:
            getattr(pauses, verb)(name or None)
    return pauses


@pytest.mark.parametrize(
    ("commands", "paused"),
    [
        ((), ""),
        (("pause",), "abc"),
        (("pause a",), "a"),
        (("pause a", "pause a"), "a"),
        (("pause a", "pause"), "abc"),
        (("pause a", "pause", "resume"), "a"),
        (("pause", "resume"), ""),
        (("pause a", "resume a"), ""),
        (("pause a", "pause b", "resume a"), "b"),
        (("kill",), "ab"),
        (("kill", "resume a"), "b"),
        (("kill", "resume"), ""),
        (("pause a", "kill", "resume"), "a"),
        (("kill", "resume a", "pause a", "resume"), "a"),
    ],
)
def test_which_databases_are_paused(commands: tuple[str, ...], paused: str) -> None:
    pauses = said(*commands)
    assert "".join(name for name in "abc" if pauses.covers(name)) == paused


def test_who_is_not_let_in() -> None:
    pauses = Pauses()
    pauses.pause(None)
    assert pauses.refusal("a") is None
    pauses.disabled.add("a")
    refusal = pauses.refusal("a")
    assert refusal is not None
    assert (refusal.message, refusal.sqlstate, refusal.severity) == ('database "a" is disabled', "08P01", "FATAL")
    assert pauses.refusal("b") is None
    pauses.closing = True
    assert {getattr(pauses.refusal(name), "sqlstate", None) for name in "ab"} == {"57P03"}


@pytest.mark.parametrize(
    ("before", "command", "words"),
    [
        (("pause",), "pause", "already paused"),
        (("pause",), "pause a", "already paused"),
        (("pause",), "kill", "already paused"),
        ((), "resume", "pooler is not paused"),
        (("pause a",), "resume", "pooler is not paused"),
        (("pause a",), "resume b", "database b is not paused"),
        (("pause",), "resume a", "database a is not paused"),
    ],
)
def test_what_cannot_be_done_now(before: tuple[str, ...], command: str, words: str) -> None:
    said(*before)
    with pytest.raises(RouterError) as caught:
        said(*before, command)
    assert (caught.value.message, caught.value.sqlstate) == (words, "55000")
