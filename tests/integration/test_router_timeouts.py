"""Time limits of clients: who is ended, with which words, and what becomes of the server."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, RawClient, bind, codes, parse, query, sqlstate, values
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

LIMITS = {"query_timeout": "500ms", "idle_transaction_timeout": "600ms", "transaction_timeout": "1500ms"}
LATE_S = 1.5  # on a busy machine

ON_PRIMARY = "/*pgrouter: primary*/ "


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    pool = {"size": 1} | LIMITS
    with running(
        {"cluster": static_cluster(_streaming_cluster.servers), "auth": {"type": "trust"}, "pool": pool}
    ) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


@contextmanager
def client(router: Router) -> Iterator[RawClient]:
    with RawClient(router.port, timeout_s=20) as raw:
        raw.login()
        yield raw


def backend(raw: RawClient) -> Any:
    return values(raw.ask("/* pgrouter: primary */ select pg_backend_pid()"))[0][0]


def test_idle_in_a_transaction(front: Router) -> None:
    with client(front) as a, client(front) as b:
        pid = backend(a)
        a.ask("begin")
        a.ask("create table timeouts_gone (i int)")
        began = time.monotonic()
        said = a.until_closed()
        assert 0.5 < time.monotonic() - began < 0.6 + LATE_S
        assert codes(said) == "E"
        fields = said[0].fields
        assert (fields["S"], fields["C"]) == ("FATAL", "25P03")
        assert fields["M"] == "terminating connection due to idle-in-transaction timeout"
        assert backend(b) == pid  # the only one, rolled back and used again
        assert values(b.ask("/* pgrouter: primary */ select to_regclass('timeouts_gone')")) == [[None]]


def test_idle_in_a_transaction_that_only_a_missing_sync_keeps_open(front: Router) -> None:
    with client(front) as a, client(front) as b:
        a.send(parse("create table timeouts_gone (i int)") + bind() + EXECUTE + FLUSH)
        said = a.until_closed()
        assert codes(said) == "12CE"
        assert sqlstate(said) == "25P03"
        assert values(b.ask("/* pgrouter: primary */ select to_regclass('timeouts_gone')")) == [[None]]


def test_a_transaction_that_goes_on_is_not_idle(front: Router) -> None:
    with client(front) as a:
        a.ask("begin")
        for _ in range(4):
            time.sleep(0.25)
            assert values(a.ask("select 1")) == [["1"]]
        assert codes(a.ask("commit")) == "CZ"


def test_a_long_query_is_cancelled_and_the_session_lives(front: Router) -> None:
    with client(front) as a:
        began = time.monotonic()
        said = a.ask("select pg_sleep(15)")
        assert 0.4 < time.monotonic() - began < 0.5 + LATE_S
        error = next(m for m in said if m.code == "E").fields
        assert (error["S"], error["C"]) == ("ERROR", "57014")
        assert error["M"] == "canceling statement due to query timeout"
        assert error["R"] == "pgrouter"
        assert values(a.ask("select 2")) == [["2"]]


def test_a_long_query_in_a_transaction_fails_it(front: Router) -> None:
    with client(front) as a:
        a.ask("begin")
        assert sqlstate(a.ask("select pg_sleep(15)")) == "57014"
        assert sqlstate(a.ask("select 1")) == "25P02"
        assert codes(a.ask("rollback")) == "CZ"


def test_each_batch_of_a_pipeline_has_its_own_time(front: Router) -> None:
    one = parse("select pg_sleep(0.2)") + bind() + EXECUTE
    with client(front) as a:
        a.send((one + SYNC) * 5)
        for _ in range(5):
            assert codes(a.until_ready()) == "12DCZ"
        a.send((one + FLUSH) * 5 + SYNC)
        assert codes(a.until_ready()) == "12DC" * 5 + "Z"
        a.send(one * 5 + SYNC)  # PostgreSQL keeps its answers back until the Sync: this is one
        assert sqlstate(a.until_ready()) == "57014"


@contextmanager
def stubborn(a: RawClient) -> Iterator[None]:
    """Have the only server connection run what no cancel request ends: its process is stopped."""
    ((pid,),) = values(a.ask(ON_PRIMARY + "select pg_backend_pid()"))
    a.send(query(ON_PRIMARY + "select pg_sleep(8)"))
    time.sleep(0.1)
    os.kill(int(pid or 0), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(int(pid or 0), signal.SIGCONT)


def test_what_is_not_cancelled_may_still_be_too_long_a_transaction(front: Router) -> None:
    with client(front) as a, stubborn(a):
        began = time.monotonic()
        said = a.until_ready()
        assert time.monotonic() - began < 1.5 + LATE_S
        assert sqlstate(said) == "25P04"


def test_a_server_that_does_not_answer_the_cancel_is_given_up(
    router: RouterFactory, streaming: StreamingCluster
) -> None:
    patient = router({
        "cluster": static_cluster(streaming.servers), "auth": {"type": "trust"},
        "pool": {"size": 1, "query_timeout": "500ms"},
    })  # fmt: skip
    with client(patient) as a:
        began = time.monotonic()
        with stubborn(a):
            said = a.until_ready()
        assert 5 < time.monotonic() - began < 7.5
        error = next(m for m in said if m.code == "E").fields
        assert (error["S"], error["C"]) == ("ERROR", "57014")
        assert values(a.ask("select 2")) == [["2"]]


def test_a_long_transaction(front: Router) -> None:
    with client(front) as a, client(front) as b:
        a.ask("begin")
        began = time.monotonic()
        said = []
        while not (said and said[-1].code != "Z"):
            time.sleep(0.1)
            a.send(query("select 1"))
            said = a.until_ready()
        assert 1.3 < time.monotonic() - began < 1.5 + LATE_S
        assert (said[-1].fields["S"], sqlstate(said)) == ("FATAL", "25P04")
        assert said[-1].fields["M"] == "terminating connection due to transaction timeout"
        assert values(b.ask("select 3")) == [["3"]]


def test_short_transactions_of_a_pinned_session_are_no_long_one(front: Router) -> None:
    with client(front) as a:
        a.ask("create temp table timeouts_pin (i int)")
        over = time.monotonic() + 2.5
        while time.monotonic() < over:
            a.send(query("begin") + query("insert into timeouts_pin values (1)") + query("commit"))
            assert [codes(a.until_ready()) for _ in range(3)] == ["CZ"] * 3
        assert codes(a.ask("select 1 from timeouts_pin limit 1")) == "TDCZ"


@pytest.mark.parametrize("pinned", [False, True])
def test_an_idle_session(router: RouterFactory, streaming: StreamingCluster, pinned: bool) -> None:  # noqa: FBT001
    hasty = router({
        "cluster": static_cluster(streaming.servers), "auth": {"type": "trust"},
        "pool": {"size": 1, "client_idle_timeout": "700ms"},
    })  # fmt: skip
    with client(hasty) as a, client(hasty) as b:
        if pinned:
            a.ask("create temp table timeouts_idle (i int)")
        for _ in range(4):  # busy, or in a transaction
            time.sleep(0.3)
            assert values(a.ask("select 1")) == [["1"]]
        a.ask("begin")
        time.sleep(1.2)
        a.ask("commit")
        began = time.monotonic()
        said = a.until_closed()
        assert 0.6 < time.monotonic() - began < 0.7 + LATE_S
        assert [(m.fields["S"], m.fields["C"], m.fields["M"]) for m in said] == [
            ("FATAL", "57P05", "terminating connection due to idle-session timeout")
        ]
        assert sqlstate(b.until_closed()) == "57P05"  # it has said nothing at all
    with client(hasty) as c:
        assert values(c.ask("/* pgrouter: primary */ select to_regclass('timeouts_idle')")) == [[None]]


def test_limits_can_be_reloaded(router: RouterFactory, streaming: StreamingCluster) -> None:
    changing = router({
        "cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}, "pool": {"size": 1},
    })  # fmt: skip
    with client(changing) as a:
        assert codes(a.ask("select pg_sleep(0.7)")) == "TDCZ"
        changing.settings["pool"]["query_timeout"] = "300ms"
        changing.write_settings()
        changing.process.reload()
        until(lambda: _config(changing, "pool.query_timeout") == "0.3", 10, "the limit is known")
        assert sqlstate(a.ask("select pg_sleep(5)")) == "57014"


def _config(router: Router, key: str) -> str:
    with psycopg.connect(f"host=127.0.0.1 port={router.port} user=postgres dbname=pgrouter", autocommit=True) as c:
        return next(row[1] for row in c.execute("SHOW CONFIG", prepare=False) if row[0] == key)
