"""etcd's messages as they were recorded from 3.4.23 and 3.5.1, without an etcd."""

from __future__ import annotations

import base64

import pytest

from pgrouter.cluster.etcd import MOST_BACKOFF_S, backoff_s, prefix_of
from pgrouter.cluster.etcd_keys import KeySpace, WatchLostError
from pgrouter.cluster.http import cause_of
from pgrouter.cluster.patroni_keys import absence
from pgrouter.config.settings import Etcd

PREFIX = "/service/demo/"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def put(key: str, value: str, revision: int) -> dict[str, object]:
    kv = {"key": b64(PREFIX + key), "value": b64(value), "mod_revision": str(revision)}
    return {"result": {"header": {"revision": str(revision)}, "events": [{"kv": kv}]}}


def delete(key: str, revision: int) -> dict[str, object]:
    event = {"type": "DELETE", "kv": {"key": b64(PREFIX + key), "mod_revision": str(revision)}}
    return {"result": {"header": {"revision": str(revision)}, "events": [event]}}


def keys() -> KeySpace:
    space = KeySpace(PREFIX)
    kv = {"key": b64(PREFIX + "leader"), "value": b64("pg0"), "mod_revision": "5", "create_revision": "5"}
    space.read({"header": {"revision": "9"}, "kvs": [kv], "count": "1"})
    return space


def test_a_read_and_a_watch() -> None:
    space = keys()
    snapshot, reign = space.snapshot()
    assert (snapshot.leader, snapshot.revision, reign) == ("pg0", 9, 5)
    assert not space.change({"result": {"header": {"revision": "9"}, "created": True}})
    assert space.change(delete("leader", 10))
    assert space.snapshot()[0].leader is None
    assert space.change(put("leader", "pg1", 11))
    snapshot, reign = space.snapshot()
    assert (snapshot.leader, snapshot.revision, reign) == ("pg1", 11, 11)


def test_a_read_forgets_what_is_gone() -> None:
    space = keys()
    space.read({"header": {"revision": "12"}})
    assert space.snapshot() == (space.snapshot()[0], 0)
    assert space.snapshot()[0].leader is None


def test_an_empty_value_has_no_field() -> None:
    space = keys()
    kv = {"key": b64(PREFIX + "initialize"), "mod_revision": "10"}
    space.change({"result": {"header": {"revision": "10"}, "events": [{"kv": kv}]}})
    assert space.snapshot()[0].system_id == ""


def test_deleting_twice_is_no_error() -> None:
    space = keys()
    space.change(delete("leader", 10))
    assert space.change(delete("leader", 10))


@pytest.mark.parametrize(
    ("message", "because"),
    [
        ({"error": {"grpc_code": 14, "http_code": 503, "message": "etcdserver: no leader"}}, "no leader"),
        ({"error": {"grpc_code": 16}}, "16"),
        ({"result": {"header": {}, "canceled": True, "compact_revision": "611"}}, "compacted at revision 611"),
        ({"result": {"header": {}, "created": True, "canceled": True, "cancel_reason": "denied"}}, "denied"),
    ],
)
def test_a_watch_that_cannot_go_on(message: dict[str, object], because: str) -> None:
    with pytest.raises(WatchLostError, match=because):
        keys().change(message)


@pytest.mark.parametrize(
    ("namespace", "scope", "prefix"),
    [
        ("/service", "demo", "/service/demo/"),
        ("/service/", "demo", "/service/demo/"),
        ("service", "demo", "/service/demo/"),
        ("/db/prod/", "/demo/", "/db/prod/demo/"),
        ("/", "demo", "/demo/"),
        ("", "demo", "/demo/"),
    ],
)
def test_prefixes(namespace: str, scope: str, prefix: str) -> None:
    assert prefix_of(Etcd(endpoints=("x:1",), namespace=namespace, scope=scope)) == prefix


def test_the_range_ends_before_a_scope_with_the_same_beginning() -> None:
    span = KeySpace(PREFIX).range
    first, end = (base64.b64decode(span[part]).decode() for part in ("key", "range_end"))
    assert first <= "/service/demo/leader" < end
    assert not first <= "/service/demo2/leader" < end


def test_backoff() -> None:
    assert [backoff_s(lost, 3) for lost in range(3)] == [0.0, 0.0, 0.0]
    assert 0 < backoff_s(3, 3) <= 0.05
    assert MOST_BACKOFF_S / 2 <= backoff_s(10_000, 1) <= MOST_BACKOFF_S


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "there are no keys below /service/demo/"),
        ({"0/leader", "2/members/x"}, "/service/demo/ has the Citus groups 0, 2 below it"),
        ({"members/pg0", "0/leader"}, ""),
        ({"config"}, ""),
    ],
)
def test_why_a_prefix_has_no_leader(keys: set[str], said: str) -> None:
    assert absence(keys, "/service/demo/").startswith(said)
    assert bool(absence(keys, "/service/demo/")) == bool(said)


POOL = "HTTPConnectionPool(host='e', port=1): "
TRIED = POOL + "Max retries exceeded with url: /v3/kv/range (Caused by "
AGAIN = TRIED + "NewConnectionError(\"HTTPConnection(host='e', port=1): "
UNKNOWN = TRIED + "NameResolutionError(\"HTTPConnection(host='e', port=1): "
LATE = TRIED + "ConnectTimeoutError(<HTTPConnection(host='e', port=1) at 0x7f84>, '"


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (AGAIN + '{}"))', "Failed to establish a new connection: [Errno 111] Connection refused"),
        (UNKNOWN + '{}"))', "Failed to resolve 'e' ([Errno -2] Name or service not known)"),
        (LATE + "{}'))", "Connection to e timed out. (connect timeout=1.0)"),
        (POOL + "{}", "Read timed out. (read timeout=2.0)"),
        ("{}", "etcdserver: no leader"),
    ],
)
def test_trouble_is_said_without_what_it_was_wrapped_in(wrapped: str, said: str) -> None:
    """And without addresses of objects, or each would be news."""
    assert cause_of(wrapped.format(said)) == said
