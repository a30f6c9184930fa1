"""Keys derived in the background: the addresses take turns, and none has more than its share waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.auth.secret import Derivation
from pgrouter.proxy.derivations import MOST, MOST_OF_ONE, Derivations

if TYPE_CHECKING:
    from collections.abc import Callable


class Thread:
    """Runs what it is given when it is told to."""

    def __init__(self) -> None:
        self.works: list[tuple[Callable[[], object], Callable[[object], None]]] = []

    def aside(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        self.works.append((work, then))

    def run(self) -> None:
        ((work, then),) = self.works  # never more than one at a time
        self.works.clear()
        then(work())


def wanted(password: str) -> Derivation:
    return Derivation(password, b"salt", 1)


def test_the_addresses_take_turns() -> None:
    thread, done = Thread(), []
    derivations = Derivations(thread)
    for address, number in (("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1)):
        assert derivations.request(address, wanted(f"{address}{number}"), lambda _, a=address: done.append(a))
    for _ in range(5):
        thread.run()
    assert done == ["a", "a", "b", "c", "a"]  # the first one ran at once; the second was there before the others
    assert not thread.works


def test_the_same_is_derived_once() -> None:
    thread, keys = Thread(), []
    derivations = Derivations(thread)
    for address in "abca":
        assert derivations.request(address, wanted("same"), keys.append)
    thread.run()
    assert len(keys) == 4
    assert len({id(each) for each in keys}) == 1
    assert not thread.works


def test_how_many_may_wait() -> None:
    derivations = Derivations(Thread())
    # one more than may wait: the first is not waiting, it runs
    taken = [derivations.request("a", wanted(f"a{number}"), print) for number in range(MOST_OF_ONE + 2)]
    assert taken == [True] * (MOST_OF_ONE + 1) + [False]
    others = [derivations.request(f"b{number}", wanted(f"b{number}"), print) for number in range(MOST)]
    assert others.count(True) == MOST - MOST_OF_ONE - 1


def test_a_derivation_says_nothing_of_its_password() -> None:
    assert "secret" not in repr(wanted("secret"))
