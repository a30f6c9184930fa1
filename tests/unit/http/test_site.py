"""HAProxy's statistics, pools, events and the page."""

from __future__ import annotations

import csv
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from support.desk import VIEW

from pgrouter.http import server as limits
from pgrouter.http.connection import MAX_UNSENT
from pgrouter.http.events import KEPT, History, changes
from pgrouter.http.site import MAX_FOLLOWERS
from pgrouter.server.states import ACTIVE, IDLE_STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Front

    from pgrouter.topology import ClusterView

HEADLESS = replace(VIEW, number=8, primary=None, leader=None, no_primary="nobody holds the leader key")
OTHER = replace(VIEW, number=9, primary="pg2", leader="pg2", readers=("pg1",))


def statistics(front: Front) -> dict[tuple[str, str], dict[str, str]]:
    """Read /stats;csv as scrapers do."""
    text = front.get("/stats;csv").body.decode()
    assert text.startswith("# pxname,svname,")
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {(row["pxname"], row["svname"]): row for row in rows}


def test_haproxys_statistics(front: Front) -> None:
    group = front.desk.client().session.pool
    front.desk.server(group, "pg1", ACTIVE)
    front.desk.server(group, "pg2", IDLE_STATE)
    found = statistics(front)
    assert list(found) == [
        ("primary", "FRONTEND"), ("primary", "pg1"), ("primary", "BACKEND"),
        ("replica", "FRONTEND"), ("replica", "pg2"), ("replica", "pg3"), ("replica", "BACKEND"),
    ]  # fmt: skip
    assert [(row["status"], row["type"]) for row in found.values()] == [
        ("OPEN", "0"), ("UP", "2"), ("UP", "1"), ("OPEN", "0"), ("UP", "2"), ("DOWN", "2"), ("UP", "1"),
    ]  # fmt: skip
    assert (found["primary", "FRONTEND"]["scur"], found["primary", "pg1"]["scur"]) == ("1", "1")
    assert (found["replica", "pg2"]["scur"], found["replica", "BACKEND"]["act"]) == ("0", "1")
    assert found["replica", "pg3"]["last_chk"] == "it does not answer"
    front.desk.monitor.view = replace(HEADLESS, members=tuple(replace(one, writable=False) for one in VIEW.members))
    assert statistics(front)["primary", "BACKEND"]["status"] == "DOWN"


def test_a_reason_may_have_commas_and_quotes(front: Front) -> None:
    odd = replace(VIEW.members[2], reason='it says "no", and\nmore')
    front.desk.monitor.view = replace(VIEW, members=(*VIEW.members[:2], odd))
    text = front.get("/;csv").body.decode().removeprefix("# ")
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert next(row for row in rows if row["svname"] == "pg3")["last_chk"] == odd.reason


def test_the_busiest_pools(front: Front) -> None:
    for number in range(450):
        pool = front.desk.client("u", f"db{number}").session.pool
        pool.departed.xacts = number
    late = front.desk.client("late", "db")
    late.session.pool.waiting.add(late.peer, front.desk.poller.now, True)
    found = front.get("/pools").json
    assert found["pools_in_all"] == 451
    assert [pool["database"] for pool in found["pools"][:3]] == ["db", "db449", "db448"]
    assert len(found["pools"]) == 50
    assert found["pools"][0]["waiting"] == 1


@pytest.mark.parametrize(("path", "kind"), [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/java")])
def test_the_page_is_there_without_a_token(open_front: Callable[..., Front], path: str, kind: str) -> None:
    reply = open_front(token="x").get(path)
    assert (reply.status, reply.headers["Content-Type"].startswith(kind)) == (200, True)
    assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
    assert b"//" not in reply.body.replace(b"// ", b"")  # nothing comes from elsewhere


# -- events


def kinds(before: ClusterView, after: ClusterView) -> list[tuple[str, Any]]:
    return [(event.kind, event.data.get("to", event.data.get("name"))) for event in changes(before, after)]


def test_changes() -> None:
    assert kinds(VIEW, HEADLESS) == [("leader", None), ("primary", None)]
    assert kinds(VIEW, OTHER) == [("leader", "pg2"), ("primary", "pg2")]
    lagging = replace(VIEW, members=(VIEW.members[0], replace(VIEW.members[1], lag_bytes=1), VIEW.members[2]))
    assert kinds(VIEW, lagging) == []
    fewer = replace(VIEW, number=8, members=VIEW.members[:2])
    assert kinds(VIEW, fewer) == [("member", "pg3")]
    assert kinds(fewer, VIEW) == [("member", "pg3")]


def test_the_history_tells_how_long_there_was_no_primary_and_is_bounded() -> None:
    history = History(VIEW, 0.0)
    assert history.follow(VIEW, 1.0, 0.0) == []
    history.follow(HEADLESS, 5.0, 1_700_000_000.0)
    (leader, primary) = history.follow(OTHER, 7.5, 1_700_000_002.5)
    assert leader.startswith(b"id: 3\nevent: leader\ndata: {")
    told = json.loads(primary.partition(b"data: ")[2])
    assert told == {
        "time": "2023-11-14T22:13:22.500+00:00", "from": None, "to": "pg2", "reason": "", "after_seconds": 2.5,
    }  # fmt: skip
    for number in range(10, 10 + KEPT):
        history.follow(replace(HEADLESS if number % 2 else OTHER, number=number), 8.0, 0.0)
    assert history.kept().count(b"event: ") == KEPT


class Follower:
    """A client of /events."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.sock = socket.create_connection(("127.0.0.1", front.port), timeout=10)
        self.sock.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        self.got = b""

    def until(self, words: bytes) -> None:
        """Read until these words have come."""

        def work() -> None:
            while words not in self.got:
                piece = self.sock.recv(65536)
                if not piece:
                    raise AssertionError(f"closed: {self.got[-500:]!r}")
                self.got += piece

        self.front.run(work)


def test_events_are_pushed(front: Front) -> None:
    follower = Follower(front)
    follower.until(b"event: cluster")
    assert b"text/event-stream" in follower.got
    front.desk.monitor.view = HEADLESS
    follower.until(b"event: primary")
    front.desk.monitor.view = OTHER
    follower.until(b'"to":"pg2"')
    follower.until(b'"primary":"pg2"')  # the cluster as it is now
    later = Follower(front)
    later.until(b'"to":"pg2"')  # what has happened before
    front.desk.wait(limits.PING_S + 1)
    follower.until(b": still here")
    for one in (follower, later):
        one.sock.close()
    front.run(lambda: time.sleep(0.1))
    assert not front.server._followers


def test_followers_are_limited(front: Front) -> None:
    followers = [Follower(front) for _ in range(MAX_FOLLOWERS)]
    for follower in followers:
        follower.until(b"event: cluster")
    reply = front.get("/events")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
    assert front.get("/live").status == 200
    for follower in followers:
        follower.sock.close()


def test_a_follower_that_does_not_read_is_given_up(front: Front) -> None:
    follower = Follower(front)
    follower.until(b"event: cluster")
    (connection,) = front.server._followers
    for _ in range(200):
        connection.push(b"x" * MAX_UNSENT)
        assert connection.unsent() <= 2 * MAX_UNSENT + 100
    assert connection.closed
    follower.sock.close()
