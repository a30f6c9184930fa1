"""Outstanding: the table walked cell by cell, then the cases that the table alone does not tell."""

from __future__ import annotations

import pytest

from pgrouter.protocol import codes
from pgrouter.protocol.outstanding import ANSWERS, Outstanding
from pgrouter.protocol.requests import (
    BIND,
    CHECK,
    CHECK_UNNAMED,
    CLOSE,
    CLOSE_NAMED,
    CLOSE_UNNAMED,
    COPY_END,
    DESCRIBE,
    EXECUTE,
    FAKE,
    FORWARD,
    FUNCTION,
    OUT_OF_SYNC,
    PARSE,
    PARSE_NAMED,
    PARSE_UNNAMED,
    QUERY,
    REFUSED,
    REFUSED_QUERY,
    SKIP,
    SYNC,
)

# The meanings in ANSWERS; compiled, they are C constants of the module
_, PART, ENDS, ABORTS = range(4)

KINDS = (
    QUERY, FUNCTION, PARSE, PARSE_NAMED, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, COPY_END, CLOSE_NAMED,
    REFUSED, REFUSED_QUERY, PARSE_UNNAMED, CLOSE_UNNAMED, CHECK, CHECK_UNNAMED,
)  # fmt: skip
NAMES = {
    QUERY: "Query", FUNCTION: "FunctionCall", PARSE: "Parse", PARSE_NAMED: "Parse named", BIND: "Bind",
    DESCRIBE: "Describe", EXECUTE: "Execute", CLOSE: "Close", SYNC: "Sync", COPY_END: "CopyDone",
    CLOSE_NAMED: "Close named", REFUSED: "refused", REFUSED_QUERY: "refused Query",
    PARSE_UNNAMED: "Parse unnamed", CLOSE_UNNAMED: "Close unnamed",
    CHECK: "our Describe", CHECK_UNNAMED: "Describe unnamed",
}  # fmt: skip
E_, Z, C, G = codes.ERROR_RESPONSE, codes.READY_FOR_QUERY, codes.COMMAND_COMPLETE, codes.COPY_IN_RESPONSE


def owing(*entries: int | tuple[int, int] | tuple[int, int, int]) -> Outstanding:
    """Make one that owes these: a kind (FORWARD), (kind, action) or (kind, action, ident)."""
    owed = Outstanding()
    for entry in entries:
        kind, *more = entry if isinstance(entry, tuple) else (entry, FORWARD)
        if kind in (CHECK, CHECK_UNNAMED):
            owed.push_check(kind, *more, *([1] if len(more) == 1 else []))
        else:
            owed.push(kind, *more)
    return owed


def kinds(owed: Outstanding) -> list[int]:
    return [kind for kind, _ in owed.pending()]


# -- the table


def test_every_request_is_in_the_table() -> None:
    assert set(ANSWERS) == set(KINDS)


def test_no_message_means_two_things() -> None:
    for meanings in ANSWERS.values():
        listed = [code for group in meanings.values() for code in group]
        assert len(listed) == len(set(listed))


@pytest.mark.parametrize("action", [FORWARD, SKIP], ids=["forward", "skip"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != COPY_END], ids=NAMES.get)
def test_each_cell(kind: int, action: int) -> None:
    for code in range(256):
        owed = owing((kind, action), SYNC)
        meaning = next((m for m, listed in ANSWERS[kind].items() if code in listed), None)
        given = owed.answer(code), kinds(owed)
        assert (
            given
            == {
                None: (OUT_OF_SYNC, [kind, SYNC]),
                PART: (action, [kind, SYNC]),
                ENDS: (action, [SYNC]),
                ABORTS: (FORWARD, [SYNC]),
            }[meaning]
        ), f"{NAMES[kind]} {chr(code)!r}"


def test_a_copy_done_never_has_an_answer() -> None:
    assert ANSWERS[COPY_END] == {}
    owed = owing(SYNC, COPY_END)
    owed.answer(Z)
    assert owed.count == 0


def test_nothing_owed_is_out_of_sync() -> None:
    assert {Outstanding().answer(code) for code in range(256)} == {OUT_OF_SYNC}


# -- errors


def test_an_error_drops_everything_up_to_the_sync() -> None:
    owed = owing(PARSE, BIND, EXECUTE, SYNC, PARSE, SYNC)
    assert owed.answer(E_) == FORWARD
    assert kinds(owed) == [SYNC, PARSE, SYNC]
    assert not owed.skipping


def test_an_error_before_the_sync_has_come_skips_what_comes_until_then() -> None:
    owed = owing(PARSE, BIND)
    owed.answer(E_)
    assert (owed.count, owed.skipping) == (0, True)
    for kind in (BIND, EXECUTE, QUERY, FUNCTION, DESCRIBE, CLOSE, COPY_END):
        owed.push(kind, FORWARD)
    assert (owed.count, owed.skipping) == (0, True)
    owed.push(SYNC, FORWARD)
    assert (kinds(owed), owed.skipping) == ([SYNC], False)
    owed.push(QUERY, FORWARD)
    assert kinds(owed) == [SYNC, QUERY]


def test_an_error_of_our_own_request_is_forwarded() -> None:
    owed = owing((PARSE, SKIP), BIND, EXECUTE, SYNC)
    assert owed.answer(E_) == FORWARD
    assert kinds(owed) == [SYNC]


def test_an_error_in_a_query_skips_nothing() -> None:
    owed = owing(QUERY, QUERY)
    assert owed.answer(E_) == FORWARD
    assert kinds(owed) == [QUERY, QUERY]
    assert owed.answer(Z) == FORWARD
    assert kinds(owed) == [QUERY]


def test_an_error_of_our_own_query_is_skipped() -> None:
    owed = owing((QUERY, SKIP), QUERY)
    assert owed.answer(E_) == SKIP
    assert owed.answer(Z) == SKIP
    assert owed.answer(Z) == FORWARD


def test_the_commit_of_an_implicit_transaction_may_fail_at_the_sync() -> None:
    owed = owing(EXECUTE, SYNC)
    assert [owed.answer(code) for code in (C, E_, Z)] == [FORWARD] * 3
    assert owed.count == 0


def test_what_was_refused_says_why_until_its_error() -> None:
    owed = owing(QUERY, (REFUSED_QUERY, FORWARD, 3), (REFUSED, FORWARD, 5), (BIND, FORWARD), SYNC)
    assert owed.refusal() == 0
    owed.answer(Z)
    assert owed.refusal() == 3
    assert [owed.answer(code) for code in (E_, Z)] == [FORWARD, FORWARD]
    assert owed.refusal() == 5
    assert owed.answer(E_) == FORWARD
    assert (owed.refusal(), kinds(owed), owed.take_events()) == (0, [SYNC], [])


def test_what_was_refused_behind_an_error_is_no_named_statement() -> None:
    owed = owing(BIND, (REFUSED, FORWARD, 5), SYNC)
    owed.answer(E_)
    assert (kinds(owed), owed.take_events()) == ([SYNC], [])


# -- named statements


def test_events_tell_what_became_of_named_statements_in_order() -> None:
    owed = owing((PARSE_NAMED, FORWARD, 7), (PARSE_NAMED, FAKE, 8), (PARSE_NAMED, FORWARD, 9), SYNC)
    owed.answer(codes.PARSE_COMPLETE)
    assert owed.take_fake() == PARSE_NAMED
    owed.answer(E_)
    assert owed.take_events() == [(PARSE_NAMED, 7, True), (PARSE_NAMED, 8, True), (PARSE_NAMED, 9, False)]
    assert owed.take_events() == []


def test_a_parse_behind_an_error_is_lost_sent_or_not() -> None:
    owed = owing(EXECUTE, (PARSE_NAMED, FORWARD, 1), (PARSE_NAMED, FAKE, 2))
    owed.answer(E_)
    owed.push(PARSE_NAMED, FORWARD, 3)
    owed.push(PARSE_NAMED, FAKE, 4)
    # 0: the server was never asked, and holds what it held
    assert owed.take_events() == [
        (PARSE_NAMED, 1, False),
        (PARSE_NAMED, 0, False),
        (PARSE_NAMED, 3, False),
        (PARSE_NAMED, 0, False),
    ]
    assert owed.fakes == 0


def test_our_own_parse_and_close_are_told_of_when_they_are_lost() -> None:
    owed = owing(EXECUTE, (PARSE, SKIP, 5), (CLOSE, SKIP, 6), (CLOSE, FORWARD), SYNC)
    owed.answer(E_)
    assert owed.take_events() == [(PARSE, 5, False), (CLOSE, 6, False)]


# -- forged answers


def test_a_fake_waits_for_its_turn() -> None:
    owed = owing(BIND, (CLOSE, FAKE), (PARSE_NAMED, FAKE, 3), SYNC)
    assert (owed.fakes, owed.take_fake()) == (2, 0)
    owed.answer(codes.BIND_COMPLETE)
    assert [owed.take_fake(), owed.take_fake(), owed.take_fake()] == [CLOSE, PARSE_NAMED, 0]
    assert (owed.fakes, kinds(owed)) == (0, [SYNC])


def test_fakes_behind_an_error_are_not_forged() -> None:
    owed = owing(BIND, (CLOSE, FAKE), SYNC, (CLOSE, FAKE), SYNC)
    owed.answer(E_)
    assert (owed.fakes, owed.take_fake()) == (1, 0)
    owed.answer(Z)
    assert owed.take_fake() == CLOSE


# -- COPY


def test_copy_in_a_query() -> None:
    owed = owing(QUERY)
    owed.answer(G)
    assert owed.copying
    owed.push(COPY_END, FORWARD)
    assert owed.answer(C) == FORWARD
    assert (owed.copying, kinds(owed)) == (False, [QUERY])
    assert owed.answer(Z) == FORWARD
    assert owed.count == 0


def test_a_query_may_copy_twice() -> None:
    owed = owing(QUERY, COPY_END, COPY_END, QUERY)
    for code in (G, C, G, C, Z):
        assert owed.answer(code) == FORWARD
    assert kinds(owed) == [QUERY]


@pytest.mark.parametrize("syncs", [0, 1, 3])
def test_a_sync_that_a_copy_reads_is_not_answered(syncs: int) -> None:
    """libpq sends it, with Execute, before it knows that the statement is a COPY."""
    owed = owing(EXECUTE, *[SYNC] * syncs)
    owed.answer(G)
    owed.push(COPY_END, FORWARD)
    owed.push(SYNC, FORWARD)
    owed.push(QUERY, FORWARD)
    owed.answer(C)
    assert kinds(owed) == [SYNC, QUERY]
    assert not owed.uncertain


def test_a_sync_that_a_simple_copy_reads_is_not_answered() -> None:
    owed = owing(QUERY)
    owed.answer(G)
    for kind in (SYNC, COPY_END, QUERY):
        owed.push(kind, FORWARD)
    assert [owed.answer(code) for code in (C, Z, Z)] == [FORWARD] * 3
    assert owed.count == 0


def test_a_failed_copy_before_its_end_was_sent() -> None:
    owed = owing(EXECUTE)
    owed.answer(G)
    assert owed.answer(E_) == FORWARD
    assert (owed.copying, owed.skipping, owed.count) == (False, True, 0)
    owed.push(COPY_END, FORWARD)
    owed.push(SYNC, FORWARD)
    assert (kinds(owed), owed.uncertain) == ([SYNC], False)


def test_a_failed_copy_after_its_end_was_sent() -> None:
    owed = owing(EXECUTE, COPY_END, SYNC)
    owed.answer(G)
    owed.answer(E_)
    assert (kinds(owed), owed.uncertain) == ([SYNC], False)


def test_a_failed_copy_with_a_sync_in_front_of_its_data_is_uncertain() -> None:
    owed = owing(EXECUTE, SYNC)
    owed.answer(G)
    owed.push(COPY_END, FORWARD)
    owed.push(SYNC, FORWARD)
    owed.answer(E_)
    assert (kinds(owed), owed.uncertain) == ([SYNC], True)


def test_a_failed_copy_in_a_query_goes_on_with_what_follows() -> None:
    owed = owing(QUERY)
    owed.answer(G)
    owed.push(COPY_END, FORWARD)
    owed.push(QUERY, FORWARD)
    assert [owed.answer(code) for code in (E_, Z)] == [FORWARD] * 2
    assert kinds(owed) == [QUERY]


@pytest.mark.parametrize("front", [QUERY, EXECUTE, PARSE, SYNC], ids=NAMES.get)
def test_a_copy_done_without_a_copy_is_ignored(front: int) -> None:
    owed = Outstanding()
    owed.push(COPY_END, FORWARD)
    assert owed.count == 0
    owed = owing(front, COPY_END, COPY_END, SYNC)
    owed.answer({QUERY: Z, EXECUTE: C, PARSE: codes.PARSE_COMPLETE, SYNC: Z}[front])
    assert kinds(owed) == [SYNC]


def test_a_copy_done_behind_a_fake_is_ignored() -> None:
    owed = owing((PARSE_NAMED, FAKE, 1), COPY_END, SYNC)
    assert owed.take_fake() == PARSE_NAMED
    assert owed.answer(Z) == FORWARD


def test_copy_out_needs_no_end() -> None:
    owed = owing(EXECUTE, SYNC)
    for code in (codes.COPY_OUT_RESPONSE, codes.COPY_DATA, codes.COPY_DATA, codes.COPY_DONE, C, Z):
        assert owed.answer(code) == FORWARD
    assert owed.count == 0


# -- the ring


@pytest.mark.parametrize("head", [0, 1, 17, 31])
@pytest.mark.parametrize("size", [31, 32, 33, 64, 65, 1000])
def test_the_ring_grows_wherever_its_head_is(head: int, size: int) -> None:
    owed = Outstanding()
    for _ in range(head):
        owed.push(SYNC, FORWARD)
        owed.answer(Z)
    pushed = [((QUERY, SYNC, BIND)[i % 3], i % 2) for i in range(size)]
    for kind, action in pushed:
        owed.push(kind, action)
    assert (owed.pending(), owed.count) == (pushed, size)


def test_the_ring_keeps_what_statements_entries_are_about() -> None:
    owed = owing(*[SYNC] * 20)
    for _ in range(20):
        owed.answer(Z)
    for ident in range(1, 101):
        owed.push(PARSE_NAMED, FORWARD, ident)
    for _ in range(100):
        owed.answer(codes.PARSE_COMPLETE)
    assert owed.take_events() == [(PARSE_NAMED, ident, True) for ident in range(1, 101)]


def test_a_cleared_one_is_as_new() -> None:
    owed = owing(EXECUTE, (PARSE_NAMED, FAKE, 1), SYNC)
    owed.answer(G)
    owed.answer(E_)
    owed.push(BIND, FORWARD)
    owed.clear()
    assert (owed.count, owed.fakes, owed.copying, owed.skipping, owed.uncertain) == (0, 0, False, False, False)
    assert owed.take_events() == []
    owed.push(QUERY, FORWARD)
    assert owed.answer(Z) == FORWARD
