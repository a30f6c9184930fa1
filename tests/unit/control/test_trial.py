"""Bodies that crash the parser cost a process, not the router."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from pgrouter.control import trial
from pgrouter.routing import bodies
from pgrouter.routing.catalog_facts import Function

if TYPE_CHECKING:
    from collections.abc import Sequence

PARENT = os.getpid()


def row(oid: int, definition: str) -> Function:
    return Function(
        oid, "public", f"f{oid}", "f", "s", "plpgsql", 0, 0, False, (), 23, definition, (), (), (), False, "", ()
    )  # fmt: skip


class Facts(msgspec.Struct):
    functions: list[Function]
    builtin_types: dict[str, int]


def facts(definitions: Sequence[str]) -> Facts:
    return Facts([row(oid, text) for oid, text in enumerate(definitions, 1)], {})


@pytest.fixture(autouse=True)
def parser(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Crash at some texts, and never in this process."""

    def read(definition: str, *_: object) -> None:
        if definition.startswith("crash"):
            assert os.getpid() != PARENT
            os.kill(os.getpid(), signal.SIGSEGV)
        if definition.startswith("hang"):
            time.sleep(60)
        if definition.startswith("raise"):
            raise ValueError

    monkeypatch.setattr(bodies, "read", read)
    monkeypatch.setattr(trial, "PATIENCE_S", 1.0)
    return SimpleNamespace(read=read)


@pytest.mark.parametrize(("definitions", "crashing"), [
    ((), []),
    (("a", "b", "c"), []),
    (("crash",), [1]),
    (("a", "crash 1", "b", "crash 2", "crash 3"), [2, 4, 5]),
    (("hang", "a"), [1]),
    (("raise", "a"), []),
    (("", "a"), []),
    (("crash",) * 30 + ("a",), list(range(1, 32))),  # too many: nobody tries the rest
])  # fmt: skip
def test_what_crashes_is_not_read(definitions: tuple[str, ...], crashing: list[int]) -> None:
    found = trial.harmless(facts(definitions), set())
    assert [one.oid for one in found.functions if one.language != "plpgsql"] == crashing
    assert all(not one.definition for one in found.functions if one.oid in crashing)
    assert [one.oid for one in found.functions] == list(range(1, len(definitions) + 1))


def test_what_was_tried_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: set[int] = set()
    trial.harmless(facts(["a", "b", "crash"]), tried)
    forks = []
    monkeypatch.setattr(trial, "_tried", lambda rows, _: forks.append([one.definition for one in rows]) or len(rows))
    trial.harmless(facts(["b", "a"]), tried)
    assert forks == []
    trial.harmless(facts(["b", "new", "crash"]), tried)
    assert forks == [["new", "crash"]]


def test_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: pids.append(fork()) or pids[-1])
    trial.harmless(facts(["a", "crash", "b"]), set())
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
