"""Counters per database: they never fall, and averages are of the last period or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.admin.stats import PER, Counters, average
from pgrouter.server.states import ACTIVE, CLOSED

if TYPE_CHECKING:
    from support.desk import Desk

    from pgrouter.pool.pool import Pool

counters = st.builds(Counters, *[st.integers(0, 10**15)] * len(Counters._fields))


def work(desk: Desk, group: Pool, xacts: int) -> None:
    """Let a server connection do so many transactions of two queries and 3 ms, and end."""
    server = desk.server(group, "pg1", ACTIVE)
    server.xacts = xacts
    server.queries = 2 * xacts
    server.xact_s = 0.003 * xacts
    server.query_s = 0.001 * xacts
    server.owner.move(server, CLOSED)


def test_totals_are_per_database(desk: Desk) -> None:
    for user, database in (("alice", "app"), ("bob", "app"), ("bob", "other")):
        work(desk, desk.client(user, database).session.pool, 10)
    totals = desk.sampler.totals()
    assert {name: total.xact_count for name, total in totals.items()} == {"app": 20, "other": 10}
    assert totals["app"].query_count == 40
    assert totals["app"].xact_time == pytest.approx(60_000, abs=2)


def test_waiting_is_counted_with_the_group(desk: Desk) -> None:
    client = desk.client()
    client.waiting = True
    client.session.pool.waiting.add(client.peer, desk.poller.now, False)
    desk.wait(0.0015)
    client.session.pool.release(desk.server(client.session.pool, "pg1", ACTIVE))
    assert desk.sampler.totals()["app"].wait_time == pytest.approx(1500, abs=1)


def test_averages_before_the_first_sample_are_since_the_start(desk: Desk) -> None:
    work(desk, desk.client().session.pool, 40)
    desk.wait(10.0)
    average_of_app = desk.sampler.averages(desk.poller.now)["app"]
    assert (average_of_app.xact_count, average_of_app.query_count) == (4, 8)
    assert average_of_app.xact_time == pytest.approx(3000, abs=1)
    assert average_of_app.query_time == pytest.approx(500, abs=1)


def test_averages_forget_what_is_older_than_two_periods(desk: Desk) -> None:
    group = desk.client().session.pool
    work(desk, group, 6000)
    seen = []
    for _ in range(3):
        desk.wait(60.0)
        desk.sampler.tick(desk.poller.now)
        seen.append(desk.sampler.averages(desk.poller.now)["app"].xact_count)
    assert seen == [100, 0, 0]
    work(desk, group, 600)
    desk.wait(30.0)
    desk.sampler.tick(desk.poller.now)  # too early for a sample
    assert desk.sampler.averages(desk.poller.now)["app"].xact_count == 6
    assert desk.sampler.totals()["app"].xact_count == 6600


def test_a_database_that_appears_between_samples_has_averages(desk: Desk) -> None:
    desk.wait(60.0)
    desk.sampler.tick(desk.poller.now)
    work(desk, desk.client("bob", "new").session.pool, 60)
    assert desk.sampler.averages(desk.poller.now)["new"].xact_count == 1


@given(counters, st.floats(0.001, 1e6))
def test_averages_times_their_span_are_never_more_than_what_was_done(done: Counters, span_s: float) -> None:
    averaged = average(done, span_s)
    for name, value in averaged._asdict().items():
        times = getattr(done, PER[name]) if name in PER else span_s
        assert value * times <= getattr(done, name) * (1 + 1e-9)


def test_no_time_has_no_average() -> None:
    assert average(Counters(xact_count=5), 0.0) == Counters()


@given(counters, counters)
def test_minus_undoes_plus(one: Counters, other: Counters) -> None:
    assert one.plus(other).minus(other) == one
