"""What a reload changes."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.config.diff import NEEDS_RESTART, Changes, diff, needs_restart, taken, told
from pgrouter.config.load import parse
from pgrouter.config.settings import Settings

BASE = """
cluster:
  source: static
  members: [{name: a, host: h}]
  monitor: {password: one}
auth: {type: trust}
"""


def settings(text: str = "") -> Settings:
    """Give settings of the base and more sections."""
    return parse(BASE + text, Path())


def test_nothing_changed() -> None:
    assert diff(settings(), settings()) == Changes()
    assert not diff(settings(), settings())


def test_changes_are_named_and_parted() -> None:
    pool_and_log = "pool: {size: 5, wait_timeout: 1s}\nlog: {level: debug}\n"
    new = settings(f"listen: [{{port: 1}}]\nrouting: {{cache_bytes: 1}}\n{pool_and_log}")
    assert diff(settings(), new) == Changes(
        now=("pool.size", "pool.wait_timeout", "log.level"), restart=("listen", "routing.cache_bytes")
    )


def test_the_cluster_needs_a_restart_and_secrets_are_not_repeated() -> None:
    new = parse(BASE.replace("one", "two").replace("name: a", "name: b"), Path())
    changes = diff(settings(), new)
    assert changes == Changes(now=("cluster.members",), restart=("cluster.monitor.password",))
    assert "two" not in repr(changes)


def test_members_are_taken_while_the_source_is_the_same() -> None:
    other = BASE.replace("name: a", "name: b").replace("one", "two")
    assert taken(settings(), parse(other, Path())) == parse(BASE.replace("name: a", "name: b"), Path())
    etcd = "  source: etcd\n  etcd: {endpoints: ['a:1'], scope: x}"
    elsewhere = parse(other.replace("  source: static", etcd) + "pool: {size: 3}", Path())
    assert taken(settings(), elsewhere) == settings("pool: {size: 3}")


def test_a_section_that_comes_or_goes() -> None:
    with_etcd = parse(BASE.replace("  monitor", "  etcd: {endpoints: ['a:1'], scope: x}\n  monitor"), Path())
    assert diff(settings(), with_etcd).restart == ("cluster.etcd",)
    assert diff(with_etcd, settings()).restart == ("cluster.etcd",)


def test_every_root_that_needs_a_restart_is_a_setting() -> None:
    for root in NEEDS_RESTART:
        kind: type = Settings
        for part in root.split("."):
            (kind,) = (field.type for field in msgspec.structs.fields(kind) if field.encode_name == part)
        assert needs_restart(root)
        assert needs_restart(f"{root}.below")
        assert not needs_restart(f"{root}s")


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from(["debug", "info"]), st.sampled_from(["debug", "info"]))
def test_only_what_differs_is_named_whichever_way(size: int, other: int, level: str, other_level: str) -> None:
    old = settings(f"pool: {{size: {size}}}\nlog: {{level: {level}}}")
    new = settings(f"pool: {{size: {other}}}\nlog: {{level: {other_level}}}")
    names = [n for n, changed in (("pool.size", size != other), ("log.level", level != other_level)) if changed]
    assert list(diff(old, new).now) == names
    assert diff(old, new) == diff(new, old)


def test_what_is_to_be_forgotten_is_said_to_a_running_router() -> None:
    old = settings()
    new = msgspec.structs.replace(old, cluster=msgspec.structs.replace(old.cluster, forget_on_reload=True))
    assert diff(old, new) == Changes(now=("cluster.forget_on_reload",))
    assert taken(old, new).cluster.forget_on_reload


def test_what_has_become_of_a_setting_for_people() -> None:
    old = settings()
    new = settings("pool: {size: 7, idle_timeout: 5m}\nlog: {connections: false, file: /var/log/pgrouter.log}")
    assert {path: told(old, new, path) for path in diff(old, new).now} == {
        "pool.size": f"{old.pool.size} -> 7",
        "pool.idle_timeout": f"{old.pool.idle_timeout_s:g} -> 300",
        "log.connections": "yes -> no",
        "log.file": "none -> /var/log/pgrouter.log",
    }


def test_secrets_stay_secret_when_they_change() -> None:
    old, none = settings("http: {token: alpha}"), settings()
    new = settings("http: {token: beta}")
    assert told(old, new, "http.token") == "******** -> ********"
    assert told(old, settings("http: {}"), "http.token") == "******** -> none"
    for before, after in ((none, new), (new, none)):
        assert "beta" not in told(before, after, "http")
        assert "token=********" in told(before, after, "http")
