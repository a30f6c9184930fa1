"""Patroni's keys as data: `{key: value}` below /<namespace>/<scope>/ -> `Snapshot`. Pure and tolerant.

Nothing here raises: what cannot be parsed becomes a valid empty value (no leader, no address, timeline 0), because one
malformed key must not hide the others from the router. Both dialects are understood: 3.x (role `master`, replicas
`running`, status `{"optime": N}`, before that `optime/leader`) and 4.x (role `primary`, `replication_state`).

Only `leader` says who leads. `members/X` still says role=primary long after X lost the key (seen with SIGTERM, with
pause, and vice versa for 1-2 s after each promotion), so its role is for people, never for decisions.

Source: Patroni's patroni/dcs/__init__.py for the shapes of the values.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ROLE_OF_WORD = MappingProxyType({"master": "primary", "promoted": "primary"})  # other roles are used as they are
NO_WORDS = frozenset({"", "false", "no", "off", "0", "none"})  # a tag set to one of these is not set
MEMBERS = "members/"
GROUP_KEY = re.compile(r"[0-9]{1,9}/")
DEFAULT_TTL_S = 30  # Patroni's own


class DcsMember(Struct, frozen=True, kw_only=True, gc=False):
    """One `members/X` key: what its Patroni reports, up to loop_wait old."""

    name: str
    host: str = ""  # empty: no usable conn_url
    port: int = 0
    role: str = ""  # primary, replica, standby_leader, demoted ...
    state: str = ""  # running, starting, stopped ...; `streaming` when it runs and its receiver streams
    timeline: int = 0
    replay_lsn: int = 0
    tags: tuple[tuple[str, str], ...] = ()


class Switchover(Struct, frozen=True, kw_only=True, gc=False):
    """The `failover` key while a switchover or failover is asked for."""

    leader: str = ""
    candidate: str = ""
    scheduled_at: str = ""  # empty: at once


class SyncState(Struct, frozen=True, kw_only=True, gc=False):
    """The `sync` key: which standbys confirm commits."""

    leader: str = ""
    standbys: tuple[str, ...] = ()
    quorum: int = 0


class DcsConfig(Struct, frozen=True, kw_only=True, gc=False):
    """The parts of `config` that a router cares about."""

    ttl_s: int = DEFAULT_TTL_S
    paused: bool = False
    failsafe: bool = False
    synchronous: bool = False
    standby_cluster: bool = False


class Snapshot(Struct, frozen=True, kw_only=True, gc=False):
    """What a source says about the cluster at one moment, and how current that is."""

    members: tuple[DcsMember, ...] = ()  # in a stable order
    leased: bool = True  # member keys expire with their Patroni: a missing key does not mean a missing server
    leader: str | None = None
    system_id: str = ""  # the cluster's; empty: not known
    timeline: int = 0  # the least that can be in use (from `history`); 0: not known
    optime: int = 0  # last WAL position that the leader reported
    config: DcsConfig = field(default_factory=DcsConfig)
    switchover: Switchover | None = None
    sync: SyncState = field(default_factory=SyncState)
    failsafe_members: tuple[str, ...] = ()
    # Added by the source, in the router's own monotonic seconds.
    revision: int = 0
    heard_s: float = 0.0  # when the DCS last confirmed all of this
    read_s: float = 0.0  # when that was asked for which says it: what was sent before may have waited in a buffer
    leader_since_s: float = 0.0  # when this reign of this leader was first seen
    switchover_since_s: float = 0.0  # when this `switchover` was first seen
    reachable: bool = True
    trouble: str = ""  # why it is not reachable, or why no leader is named
    hold: str = ""  # why writes are held although there is a leader, see `cluster.switchover`; set by the monitor
    detached: frozenset[str] = frozenset()  # members that an operator gives no reads; set by the monitor


def decode(keys: Mapping[str, str]) -> Snapshot:
    """Parse one cluster's keys, without their prefix: `{"leader": "pg0", "members/pg0": "{...}", ...}`."""
    return Snapshot(
        members=tuple(
            _member(key[len(MEMBERS) :], value) for key, value in sorted(keys.items()) if _is_member_key(key)
        ),
        leader=_name(keys.get("leader")) or None,
        system_id=_system_id(keys.get("initialize")),
        timeline=_timeline(keys.get("history")),
        optime=_optime(keys),
        config=_config(keys.get("config")),
        switchover=_switchover(keys.get("failover")),
        sync=_sync(keys.get("sync")),
        failsafe_members=tuple(sorted(filter(None, map(_name, _object(keys.get("failsafe")))))),
    )


def absence(keys: Collection[str], prefix: str) -> str:
    """Return why there is no leader if the keys show that `prefix` is not a cluster's; empty: it may be one.

    Citus: Patroni keeps each group's keys below the group's number, 0 being the coordinator's.
    """
    groups = sorted({int(key.split("/", 1)[0]) for key in keys if GROUP_KEY.match(key)})
    if groups and not any(_is_member_key(key) for key in keys):
        scope = prefix.strip("/").rsplit("/", 1)[-1]
        return (
            f"{prefix} has the Citus groups {', '.join(map(str, groups))} below it and no cluster of its own: "
            f"cluster.etcd.scope has to name one of them, {scope}/{groups[0]} say (0 is the coordinator)"
        )
    return "" if keys else f"there are no keys below {prefix}: are cluster.etcd.namespace and scope those of Patroni?"


def is_set(tags: tuple[tuple[str, str], ...], tag: str) -> bool:
    """Whether a member carries a yes/no tag such as `noloadbalance`."""
    return any(name == tag and value.lower() not in NO_WORDS for name, value in tags)


def _is_member_key(key: str) -> bool:
    return key.startswith(MEMBERS) and bool(_name(key[len(MEMBERS) :])) and key.count("/") == 1


def _member(name: str, value: str) -> DcsMember:
    data = _object(value)
    host, port = _address(data.get("conn_url"))
    role = _text(data.get("role"))
    state = _text(data.get("state"))
    if state == "running" and data.get("replication_state"):
        state = _text(data.get("replication_state"))
    return DcsMember(
        name=name,
        host=host,
        port=port,
        role=ROLE_OF_WORD.get(role, role),
        state=state,
        timeline=_int(data.get("timeline"), most=2**32 - 1),
        replay_lsn=_int(data.get("replay_lsn")) or _int(data.get("xlog_location")),
        tags=_tags(data.get("tags")),
    )


def _address(url: object) -> tuple[str, int]:
    """Extract host and port from `postgres://host:port/postgres`; ("", 0) if there are none."""
    try:
        parts = urlsplit(_text(url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return "", 0
    if not host or parts.scheme not in ("postgres", "postgresql"):
        return "", 0
    return host, 5432 if port is None else port


def _tags(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        return ()
    pairs = ((_name(tag), str(word).lower() if isinstance(word, bool) else _text(word)) for tag, word in value.items())
    return tuple(sorted((tag, word) for tag, word in pairs if tag))


def _config(value: str | None) -> DcsConfig:
    data = _object(value)
    return DcsConfig(
        ttl_s=_int(data.get("ttl")) or DEFAULT_TTL_S,
        paused=_flag(data.get("pause")),
        failsafe=_flag(data.get("failsafe_mode")),
        synchronous=_flag(data.get("synchronous_mode")),
        standby_cluster=isinstance(data.get("standby_cluster"), dict) and bool(data["standby_cluster"]),
    )


def _switchover(value: str | None) -> Switchover | None:
    data = _object(value)
    asked = Switchover(
        leader=_name(data.get("leader")),
        candidate=_name(data.get("member")),
        scheduled_at=_text(data.get("scheduled_at")),
    )
    return None if asked == Switchover() else asked


def _sync(value: str | None) -> SyncState:
    data = _object(value)
    standbys = (_name(name.strip()) for name in _text(data.get("sync_standby")).split(","))
    return SyncState(
        leader=_name(data.get("leader")),
        standbys=tuple(name for name in standbys if name),
        quorum=_int(data.get("quorum")),
    )


def _timeline(history: str | None) -> int:
    """Return the timeline after the last one that ended: `history` is `[[timeline, lsn, reason, ...], ...]`."""
    lines = _json(history)
    if not isinstance(lines, list):
        return 0
    ended = [_int(line[0], most=2**32 - 1) for line in lines if isinstance(line, list) and line]
    return max(ended, default=0) + 1 if any(ended) else 0


def _optime(keys: Mapping[str, str]) -> int:
    status = _json(keys.get("status"))
    if isinstance(status, dict):
        return _int(status.get("optime"))
    return _int(status) or _int(_json(keys.get("optime/leader")))


def _system_id(value: str | None) -> str:
    """Parse `initialize`: empty while the first member bootstraps, then the system identifier in digits."""
    text = (value or "").strip()
    return text if text.isascii() and text.isdigit() and len(text) <= len(str(2**64)) else ""


def _json(value: str | None) -> Any:
    try:
        return json.loads(value or "null")
    except (ValueError, RecursionError):  # RecursionError: a value of 100,000 brackets
        return None


def _object(value: str | None) -> dict[str, Any]:
    data = _json(value)
    return data if isinstance(data, dict) else {}


def _int(value: object, most: int = 2**64 - 1) -> int:
    """Return a count, position or timeline; anything else is 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(most)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most else 0


def _flag(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("true", "on", "yes", "1", "quorum"))


def _text(value: object) -> str:
    """Return a string or number as text that can be shown and logged: one line, valid UTF-8."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    text = value if isinstance(value, str) else ""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def _name(value: object) -> str:
    """Return a member's or tag's name, "" if it is not printable."""
    return value if isinstance(value, str) and value.isprintable() else ""
