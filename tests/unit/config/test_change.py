"""One setting of a running router is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgrouter.config.change import changed
from pgrouter.config.settings import Admin, Auth, Cluster, MemberAddress, Settings
from pgrouter.errors import ConfigError, RouterError

SETTINGS = Settings(
    cluster=Cluster(source="static", members=(MemberAddress(name="a", host="h"),)),
    auth=Auth(type="trust"),
    admin=Admin(stats_users=("watcher",)),
)
HERE = Path("/etc/pgrouter")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("pool.size", "7", 7),
        ("pool.wait_timeout", "1500ms", 1.5),
        ("pool.wait_timeout", "0.5", 0.5),
        ("pool.max_logins", "null", None),
        ("pool.mode", "session", "session"),
        ("log.connections", "0", False),
        ("log.connections", "YES", True),
        ("tcp.keepcnt", "5", 5),
        ("admin.admin_users", "alice, bob", ("alice", "bob")),
        ("admin.stats_users", "", ()),
        ("reads.zone", "7", "7"),
        ("auth.oauth.audience", "a: b", "a: b"),
    ],
)
def test_a_value_is_read_as_in_the_file(key: str, text: str, expected: object) -> None:
    settings = changed(SETTINGS, key, text, HERE)
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name if hasattr(value, name) else f"{name}_s")
    assert value == expected


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("pool.size", "many", "pool.size: expected int"),
        ("pool.size", "0", "pool.size: expected int >= 1"),
        ("pool.size", "[1]", "pool.size: expected int"),
        ("pool.size", "{", "pool.size: expected int"),
        ("pool.mode", "fast", "pool.mode: expected one of transaction"),
        ("log.connections", "maybe", "log.connections: expected bool"),
        ("auth.query_password", "x", "auth.query_password: a console cannot set it"),
        ("pool.overrides", "x", "pool.overrides: a console cannot set it"),
        ("auth.type", "hba", "auth.hba_file: required"),
    ],
)
def test_a_value_that_cannot_be_used(key: str, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(SETTINGS, key, text, HERE)
    assert caught.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("key", "sqlstate"),
    [
        ("nonsense", "42704"),
        ("pool", "42704"),
        ("pool.nonsense", "42704"),
        ("pool.size.x", "42704"),
        ("", "42704"),
        ("routing.cache_bytes", "55P02"),
        ("cluster.monitor.interval", "55P02"),
    ],
)
def test_what_cannot_be_changed(key: str, sqlstate: str) -> None:
    with pytest.raises(RouterError) as caught:
        changed(SETTINGS, key, "1", HERE)
    assert caught.value.sqlstate == sqlstate
