"""Shared statements: one for each text, counted, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.session import prepared
from pgrouter.session.prepared import AT_ONCE, Names, SharedStatements, renamed


def test_one_text_is_one_statement() -> None:
    known = SharedStatements()
    one = known.acquire(b"select 1\0\0\0", "class")
    assert known.acquire(b"select 1\0\0\0", "class") is one
    assert known.acquire(b"select 2\0\0\0", "class") is not one
    assert (one.users, one.statement) == (2, "class")


def test_types_belong_to_the_text() -> None:
    known = SharedStatements()
    assert known.acquire(b"select $1\0\0\1\0\0\0\x17", None) is not known.acquire(b"select $1\0\0\0", None)


def test_settings_that_decide_the_meaning_belong_to_it() -> None:
    known = SharedStatements()
    one = known.acquire(b"select date '1/2/3'\0\0\0", None, None, (("datestyle", "ISO, DMY"),))
    assert known.acquire(b"select date '1/2/3'\0\0\0", None, None, (("datestyle", "ISO, DMY"),)) is one
    assert known.acquire(b"select date '1/2/3'\0\0\0", None) is not one
    alone = known.acquire(b"select 1\0\0\0", None, None, object())
    assert known.acquire(b"select 1\0\0\0", None, None, object()) is not alone


def test_what_is_renewed_is_shared_no_more_and_forgotten_with_its_users() -> None:
    known = SharedStatements()
    old, unused = known.acquire(b"select 1\0\0\0", None), known.acquire(b"select 2\0\0\0", None)
    known.release(unused)
    known.renew()
    new = known.acquire(b"select 1\0\0\0", None)
    assert new is not old
    assert new.ident != old.ident
    known.release(old)
    assert known.acquire(b"select 1\0\0\0", None) is new
    assert len(known) == 1


def test_its_messages() -> None:
    shared = SharedStatements().acquire(b"select 1\0\0\0", None)
    name = b"pgrouter_%d" % shared.ident
    assert shared.parse == b"P" + (4 + len(name) + 1 + 11).to_bytes(4, "big") + name + b"\0select 1\0\0\0"
    assert shared.close() == b"C" + (4 + 1 + len(name) + 1).to_bytes(4, "big") + b"S" + name + b"\0"


def test_one_that_nobody_uses_stays_known_for_a_while() -> None:
    known = SharedStatements()
    shared = known.acquire(b"select 1\0\0\0", None)
    known.release(shared)
    assert known.acquire(b"select 1\0\0\0", None) is shared


def test_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "UNUSED_KEPT", 2)
    known = SharedStatements()
    made = [known.acquire(b"%d\0\0\0" % i, None) for i in range(4)]
    for shared in made[1:]:
        known.release(shared)
    assert len(known) == 3
    again = [known.acquire(b"%d\0\0\0" % i, None) for i in (0, 2, 3, 1)]
    assert [shared is made[i] for shared, i in zip(again, (0, 2, 3, 1), strict=True)] == [True, True, True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=200))
def test_it_knows_what_is_used_and_a_bounded_rest(calls: list[tuple[bool, int]]) -> None:
    known = SharedStatements()
    held: list = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "UNUSED_KEPT", 3)
        for takes, number in calls:
            if takes:
                held.append(known.acquire(b"%d\0" % number, None))
            elif held:
                known.release(held.pop(number % len(held)))
            used = {id(shared) for shared in held}
            assert all(shared.users == sum(other is shared for other in held) for shared in held)
            assert len(used) <= len(known) <= len(used) + 3


def test_names_are_found_by_the_numbers_of_their_statements() -> None:
    shared = SharedStatements()
    names = Names()
    one, other = shared.acquire(b"select 1\0\0\0", None), shared.acquire(b"select 2\0\0\0", None)
    names[b"a"] = one
    names[b"b"] = shared.acquire(b"select 1\0\0\0", None)
    names[b"c"] = other
    assert names.name_of(one.ident) in (b"a", b"b")
    names.pop(b"a")
    assert names.name_of(one.ident) == b"b"
    names[b"b"] = other
    assert names.name_of(one.ident) is None
    del names[b"c"]
    assert names.name_of(other.ident) == b"b"
    error = b'Mprepared statement "pgrouter_%d" is not "pgrouter_99" or "pgrouter_%d"\0' % (other.ident, other.ident)
    assert renamed(error, names.name_of) == b'Mprepared statement "b" is not "pgrouter_99" or "b"\0'


def test_very_many_names_are_let_go_of_bit_by_bit() -> None:
    shared = SharedStatements()
    many, few = Names(), Names()
    for number in range(AT_ONCE + 1):
        many[b"%d" % number] = shared.acquire(b"select %d\0\0\0" % number, None)
    few[b"a"] = held = shared.acquire(b"select 0\0\0\0", None)
    assert held.users == 2
    shared.release_all(many)
    assert len(many) == AT_ONCE + 1
    shared.let_go()
    shared.let_go()
    assert len(many) == 0
    assert held.users == 1
    shared.release_all(few)
    assert held.users == 0
