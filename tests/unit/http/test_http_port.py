"""The port: what requests get, whatever they are."""

from __future__ import annotations

import http.client
import socket
import time
from typing import TYPE_CHECKING

import pytest
from http_names import HEALTHY
from msgspec.structs import replace
from support.desk import VIEW

from pgrouter.errors import ConfigError
from pgrouter.http import connection as limits
from pgrouter.http.connection import is_token
from pgrouter.http.server import MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Front

TOKEN = "open sesame"
BEARER = f"Bearer {TOKEN}"
LEADERLESS = replace(VIEW, primary=None, leader=None, readers=(), no_primary="nobody holds the leader key")


@pytest.mark.parametrize("path", HEALTHY)
def test_health_checks_as_patroni_has_them(front: Front, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        reply = front.get(path, method)
        assert reply.status == 200
        assert bool(reply.body) == (method == "GET")
    assert front.get(path).json == {"status": "ok"}


def test_without_a_leader_only_live_is_healthy(front: Front) -> None:
    front.desk.monitor.view = LEADERLESS
    assert front.get("/live").status == 200
    for path in ("/ready", "/primary", "/replica", "/read-only"):
        for method in ("GET", "HEAD", "OPTIONS"):
            assert front.get(path, method).status == 503, path
    assert front.get("/primary").json == {"status": "unavailable", "reason": "nobody holds the leader key"}


def test_a_router_that_drains_is_not_ready(front: Front) -> None:
    front.desk.pools.drain()
    assert front.get("/live").status == 200
    for path in ("/ready", "/primary", "/replica", "/read-only"):
        assert front.get(path).json == {"status": "unavailable", "reason": "the router is shutting down"}


def test_a_lag_is_a_condition(front: Front) -> None:
    assert front.get("/replica?lag=4kB").status == 200
    assert front.get("/replica?lag=1kB").status == 503
    assert front.get("/replica?lag=much").status == 400


def test_the_cluster_is_a_superset_of_patronis(front: Front) -> None:
    found = front.get("/cluster").json
    assert [(one["name"], one["role"]) for one in found["members"]] == [
        ("pg1", "leader"),
        ("pg2", "replica"),
        ("pg3", "replica"),
    ]
    first, second, third = found["members"]
    assert (first["host"], first["port"], first["timeline"], first["state"]) == ("10.0.0.1", 5432, 3, "running")
    assert "lag" not in first
    assert (second["lag"], second["state"], second["tags"]) == (4096, "streaming", {"zone": "b", "clonefrom": "true"})
    assert (third["lag"], third["reason"], third["state"]) == ("unknown", "it does not answer", "unknown")
    assert "pause" not in found
    assert (found["primary"], found["readers"], found["router"]["draining"]) == ("pg1", ["pg2"], False)


def test_wrong_requests(front: Front) -> None:
    assert front.get("/nothing").status == 404
    reply = front.get("/cluster", "POST", b"{}")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert front.get("/cluster", "OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert front.get("/live", "POST", b"x" * (limits.MAX_BODY + 1)).status == 413
    assert front.say(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")  # no Host
    assert front.say(b"\x16\x03\x01\x02\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert front.say(b"GET /" + b"a" * limits.MAX_HEAD * 2).startswith(b"HTTP/1.1 431 ")
    assert front.say(b"GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert front.get("/live").status == 200


def test_a_token(open_front: Callable[..., Front]) -> None:
    front = open_front(token=TOKEN)
    reply = front.get("/cluster")
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    for wrong in ("", "Bearer", "Bearer no", f"Basic {TOKEN}", TOKEN, f"{BEARER}!", "Bearer \xe4"):
        assert front.get("/cluster", Authorization=wrong).status == 401
    assert front.get("/cluster", Authorization=BEARER).status == 200
    front.desk.monitor.view = LEADERLESS
    assert front.get("/primary").json == {"status": "unavailable"}
    assert "reason" in front.get("/primary", Authorization=BEARER).json


def test_tokens_are_compared() -> None:
    assert is_token(b"bearer  a b ", "a b")
    assert not is_token(b"Bearer ", "a")
    assert not is_token(b"Bearer a", "")


def test_one_connection_may_ask_again(front: Front) -> None:
    def work() -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        statuses = []
        for path in ("/live", "/nothing", "/cluster", "/live"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
        return statuses

    assert front.run(work) == [200, 404, 200, 200]


def test_thousands_of_requests_ahead_are_answered_one_by_one(front: Front) -> None:
    one = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert front.say(one * 3000 + last).count(b"HTTP/1.1 200 ") == 3001


def test_a_client_of_http_1_0(front: Front) -> None:
    got = front.say(b"GET /live HTTP/1.0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b'{"status":"ok"}\n')


def test_who_is_silent_is_closed(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port)) as sock:
        sock.sendall(b"GET /live HT")
        front.run(lambda: time.sleep(0.05))
        now = front.desk.poller.now
        front.server.tick(now + limits.REQUEST_S - 1)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        front.server.tick(now + limits.REQUEST_S + 1)
        sock.settimeout(5)
        assert sock.recv(1) == b""


def test_connections_are_limited_and_idle_ones_make_room(front: Front) -> None:
    def work() -> int:
        socks = [socket.create_connection(("127.0.0.1", front.port), timeout=10) for _ in range(MAX_CONNECTIONS + 5)]
        for sock in socks[-5:]:
            sock.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        served = sum(sock.recv(12) == b"HTTP/1.1 200" for sock in socks[-5:])
        for sock in socks:
            sock.close()
        return served

    assert front.run(work) == 5


def test_who_fills_all_connections_with_half_requests_keeps_them(front: Front) -> None:
    def work() -> bytes:
        socks = [socket.create_connection(("127.0.0.1", front.port), timeout=10) for _ in range(MAX_CONNECTIONS)]
        for sock in socks:
            sock.sendall(b"GET /")
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", front.port), timeout=10) as late:
            got = late.recv(1)
        for sock in socks:
            sock.close()
        return got

    assert front.run(work) == b""


def test_a_reload_changes_token_and_port(front: Front) -> None:
    settings = front.server._port.settings
    with front.server.reloading(replace(settings, token=TOKEN)):
        pass
    assert front.get("/cluster").status == 401
    with pytest.raises(RuntimeError), front.server.reloading(replace(settings, host="127.0.0.2", port=0)):
        raise RuntimeError
    assert front.get("/cluster").status == 401
    taken = socket.create_server(("127.0.0.1", 0))
    with (
        taken,
        pytest.raises(ConfigError, match="http: cannot listen"),
        front.server.reloading(replace(settings, port=taken.getsockname()[1])),
    ):
        pass
    assert front.get("/live").status == 200
    with front.server.reloading(None):
        pass
    with pytest.raises(ConnectionRefusedError):
        front.get("/live")
