"""The source over Patroni's REST API: scripted Patronis that hang, lie and drip, and a real cluster under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.load import TABLE, Load
from support.router import rest_cluster
from test_cluster_etcd import make_certificates

from pgrouter.cluster.http import MOST_BYTES
from pgrouter.cluster.patroni import PatroniSource
from pgrouter.config.settings import Patroni, Tls
from pgrouter.demo.processes import until
from pgrouter.topology import ClusterView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from support.router import Router, RouterFactory

    from pgrouter.cluster.patroni_keys import Snapshot
    from pgrouter.demo.patroni import PatroniCluster

OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


class ScriptedPatroni:
    """Answers as the test wants: `leader` leads, unless `raw` is to be sent, or nothing."""

    def __init__(self, name: str, room: Room) -> None:
        self.name, self._room = name, room
        self.leader: str | None = "pg0"
        self.timeline = 1
        self.raw: bytes | None = None
        self.dead = False
        self.drips = False  # `raw` again and again, without end
        self.answers = asyncio.Event()  # cleared: questions are read and never answered
        self.answers.set()
        self.asked: list[bytes] = []  # heads of the questions
        self.port = 0
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._room.context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def die(self) -> None:
        """Break all connections, new ones at once. The socket stays: asyncio loses who is accepted while it closes."""
        self.dead = True
        for writer in list(self._clients):
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"{'https' if self._room.context else 'http'}://127.0.0.1:{self.port}"

    def polled(self) -> int:
        return sum(head.startswith(b"GET /cluster ") for head in self.asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dead:
            writer.transport.abort()
            return
        self._clients.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            await self.answers.wait()
            while self.drips and self.raw:
                writer.write(self.raw)
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(OK + self._body(head.split()[1].decode()) if self.raw is None else self.raw)
            await writer.drain()
        self._clients.discard(writer)
        writer.close()

    def _body(self, path: str) -> bytes:
        if path == "/config":
            return b'{"ttl": 20, "failsafe_mode": true}'
        if path == "/history":
            return b"[]"
        if path == "/patroni":
            return b'{"database_system_identifier": "7"}'
        members = [
            {
                "name": each.name,
                "role": "leader" if each.name == self.leader else "replica",
                "api_url": f"{each.url}/patroni",
                "host": "127.0.0.1",
                "port": 5432 + number,
                "timeline": self.timeline,
            }
            for number, each in enumerate(self._room.patronis)
        ]
        return json.dumps({"members": members}).encode()


class Room:
    """Three scripted Patronis and a source that begins with the first one's URL."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.patronis = [ScriptedPatroni(f"pg{number}", self) for number in range(3)]
        self.source: PatroniSource
        self.heard: list[Snapshot] = []
        self._news = asyncio.Event()

    def take(self) -> None:
        snapshot = self.source.current(ClusterView(), {})
        if snapshot is not None:
            self.heard.append(snapshot)
            self._news.set()

    async def until(self, true: Callable[[Snapshot], bool], within_s: float = 20) -> Snapshot:
        async with asyncio.timeout(within_s):
            while not (self.heard and true(self.heard[-1])):
                self._news.clear()
                await self._news.wait()
        return self.heard[-1]

    def all_name(self, leader: str | None, timeline: int) -> None:
        for each in self.patronis:
            each.leader, each.timeline = leader, timeline


@contextlib.asynccontextmanager
async def scripted(context: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[Room]:
    room = Room(context)
    for each in room.patronis:
        await each.start()
    urls = (room.patronis[0].url,)
    room.source = PatroniSource(Patroni(**{"urls": urls, "interval_s": 0.1, "request_timeout_s": 0.5, **settings}))
    room.source.start(room.take)
    try:
        yield room
    finally:
        began_s = time.monotonic()
        await room.source.stop()
        assert time.monotonic() - began_s < 5
        said = len(room.heard)
        await asyncio.sleep(0.05)
        assert len(room.heard) == said
        for each in room.patronis:
            each.answers.set()
            await each.stop()


def leads(name: str | None) -> Callable[[Snapshot], bool]:
    return lambda snapshot: snapshot.leader == name and snapshot.reachable


def test_one_url_leads_to_all_of_them() -> None:
    async def story() -> None:
        async with scripted() as room:
            snapshot = await room.until(lambda snapshot: snapshot.leader == "pg0" and bool(snapshot.system_id))
            assert [member.port for member in snapshot.members] == [5432, 5433, 5434]
            assert (snapshot.config.ttl_s, snapshot.config.failsafe) == (20, True)
            async with asyncio.timeout(20):
                while min(each.polled() for each in room.patronis) < 3:  # noqa: ASYNC110 (the servers count)
                    await asyncio.sleep(0.01)
            room.patronis[0].die()  # the one we were told of
            room.all_name("pg1", 2)
            await room.until(leads("pg1"))

    asyncio.run(story())


def test_a_url_of_no_member_is_asked_only_while_none_of_theirs_answers() -> None:
    async def story() -> None:
        async with scripted() as room:
            await room.until(leads("pg0"))
            name = room.patronis[0].url.replace("127.0.0.1", "localhost")
            other = PatroniSource(Patroni(urls=(name,), interval_s=0.05))
            other.start(lambda: None)
            own = {each.url for each in room.patronis}
            async with asyncio.timeout(20):
                while set(other._reports) != own:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for each in room.patronis:
                each.die()
            async with asyncio.timeout(20):
                while len(other._reports) != 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await other.stop()

    asyncio.run(story())


def test_one_that_hangs_delays_nobody() -> None:
    async def story() -> None:
        async with scripted(request_timeout_s=30, interval_s=0.05) as room:
            await room.until(leads("pg0"))
            room.patronis[0].answers.clear()
            began_s = time.monotonic()
            for number in (1, 2, 1):
                room.all_name(f"pg{number}", number)
                await room.until(leads(f"pg{number}"))
            assert time.monotonic() - began_s < 10

    asyncio.run(story())


def test_one_that_is_cut_off_is_not_believed() -> None:
    async def story() -> None:
        async with scripted(interval_s=0.02) as room:
            await room.until(leads("pg0"))
            for each in room.patronis[1:]:
                each.leader = None
            await room.until(leads(None))
            for each in room.patronis[1:]:
                each.leader, each.timeline = "pg1", 2
            await room.until(leads("pg1"))
            asked = room.patronis[0].polled()
            for each in room.patronis[1:]:
                each.die()
            async with asyncio.timeout(20):
                while room.patronis[0].polled() < asked + 10:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert room.heard[-1].leader == "pg1"
            assert room.heard[-1].timeline == 2

    asyncio.run(story())


def test_nobody_answers_and_then_somebody(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with scripted() as room:
            before = await room.until(leads("pg0"))
            for each in room.patronis:
                each.die()
            snapshot = await room.until(lambda snapshot: not snapshot.reachable)
            assert (snapshot.leader, snapshot.members) == ("pg0", before.members)  # what was last known
            room.patronis[2].dead = False
            snapshot = await room.until(leads("pg0"))
            assert snapshot.trouble == ""
            assert snapshot.leader_since_s == before.leader_since_s  # the same reign

    asyncio.run(story())
    assert "going on from what was last known" in caplog.text
    assert "is reachable again" in caplog.text


def test_nobody_was_ever_there() -> None:
    async def story() -> None:
        async with scripted(urls=("127.0.0.1:1", "nobody.invalid:8008")) as room:
            snapshot = await room.until(lambda snapshot: not snapshot.reachable, 30)
            assert snapshot.trouble == "Patroni's REST API cannot be reached"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "closed without an answer"),  # Patroni itself while its DCS is away
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n{}", "HTTP status 503"),
        (b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "HTTP status 302"),
        (OK + b"<html>", "no answer of Patroni"),
        (OK + b"[" * 100_000, "no answer of Patroni"),
        (b"\0" * 1000, "no answer in HTTP"),
    ],
)
def test_what_is_no_answer_is_a_failure(raw: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with scripted() as room:
            await room.until(leads("pg0"))
            for each in room.patronis:
                each.raw = raw
            await room.until(lambda snapshot: not snapshot.reachable)
            for each in room.patronis:
                each.raw = None
            await room.until(leads("pg0"))

    asyncio.run(story())
    assert why in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


def test_an_answer_without_end(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with scripted(request_timeout_s=0.7) as room:
            await room.until(leads("pg0"))
            for each in room.patronis:
                each.raw, each.drips = b"x" * 100_000, True
            await room.until(lambda snapshot: not snapshot.reachable)
            assert f"more than {MOST_BYTES} bytes" in caplog.text
            for each in room.patronis:
                each.raw = b" "  # and now a byte at a time
            async with asyncio.timeout(30):
                while "no answer in time" not in caplog.text:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            for each in room.patronis:
                each.drips, each.raw = False, None

    asyncio.run(story())


def test_refresh_asks_everybody_at_once() -> None:
    async def story() -> None:
        async with scripted(interval_s=60) as room:
            await room.until(leads("pg0"))
            await asyncio.sleep(0.3)
            room.all_name("pg1", 2)
            began_s = time.monotonic()
            room.source.refresh()
            await room.until(leads("pg1"))
            assert time.monotonic() - began_s < 5

    asyncio.run(story())


def test_the_others_are_asked_often_while_the_leaders_own_is_silent() -> None:
    async def story() -> None:
        async with scripted(interval_s=60) as room:
            await room.until(leads("pg0"))
            room.patronis[0].die()
            room.source.refresh()
            asked = room.patronis[1].polled()
            async with asyncio.timeout(20):
                while room.patronis[1].polled() < asked + 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_tls_and_a_password_that_never_goes_in_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    make_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "leaf.crt", tmp_path / "leaf.key")
    context.verify_mode = ssl.CERT_REQUIRED
    ours = Tls(ca=tmp_path / "ca.crt", cert=tmp_path / "leaf.crt", key=tmp_path / "leaf.key")
    login = {"username": "user", "password": "secret"}

    async def story() -> None:
        async with scripted(context, tls=ours, **login) as room:
            await room.until(leads("pg0"))
            assert all(b"Authorization: Basic dXNlcjpzZWNyZXQ=" in each.asked[0] for each in room.patronis)
            assert room.source.headers("http://127.0.0.1:1") == {}
        async with scripted(context, tls=Tls(cert=ours.cert, key=ours.key)) as room:
            await room.until(lambda snapshot: not snapshot.reachable)  # their certificate is nobody's
        async with scripted(context, tls=Tls(ca=tmp_path / "leaf.key")) as room:
            await room.until(lambda snapshot: not snapshot.reachable)  # no certificate at all

    asyncio.run(story())
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert "secret" not in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.ERROR]


@pytest.fixture
def front(router: RouterFactory, patroni: PatroniCluster) -> Router:
    patroni.require_leader().sql(TABLE)
    made = router({"cluster": rest_cluster(patroni), "pool": {"no_leader_timeout": "20s"}})
    until(lambda: leader_of(made) is not None, 30, "a primary")
    return made


def leader_of(router: Router) -> str | None:
    return next((row["name"] for row in router.admin("SHOW CLUSTER") if row["writable"]), None)


@pytest.mark.cluster
@pytest.mark.parametrize("event", ["switchover", pytest.param("kill", marks=pytest.mark.slow)])
def test_the_leader_changes_under_load(front: Router, patroni: PatroniCluster, event: str) -> None:
    old = patroni.require_leader()
    with Load(front) as load:
        load.wait_progress()
        patroni.switchover() if event == "switchover" else old.kill()
        until(lambda: leader_of(front) not in (None, old.name), 30, "the router has followed")
        load.wait_progress(20)
    assert not load.lost, load
    assert {state for _, state in load.errors} <= {"57P01", "08006", "57P02", "57P03", "40001"}, load
    assert Counter(kind for kind, _ in load.errors.elements())["write"] <= 6, load


@pytest.mark.cluster
@pytest.mark.slow
def test_routing_goes_on_while_no_patroni_answers(front: Router, patroni: PatroniCluster) -> None:
    for member in patroni.members:
        member.freeze(postgres=False)
    try:
        with Load(front) as load:
            until(lambda: not any(row["dcs_reachable"] for row in front.admin("SHOW CLUSTER")), 30, "out of reach")
            load.wait_progress()
            with front.connect() as late:
                late.execute("insert into written values (99, 1)")
    finally:
        for member in patroni.members:
            member.thaw()
    assert not load.errors, load
    assert not load.lost, load
    until(lambda: all(row["dcs_reachable"] for row in front.admin("SHOW CLUSTER")), 30, "heard again")
    assert front.log_contains("no Patroni answers; going on from what was last known")
