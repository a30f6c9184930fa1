"""Patroni's REST API as data: the answers of one Patroni -> the same `Snapshot` as from its keys. Pure and tolerant.

Patroni builds GET /cluster from the keys in its DCS, so the keys are rebuilt from it here and `patroni_keys.decode`
parses them: one place knows what they mean. Both dialects give the same result: 3.x (replicas `running`, no positions)
and 4.x (`streaming`, `quorum_standby`).

What /cluster lacks comes from other answers, if available: /config (ttl, failsafe mode, standby cluster),
/history (timelines) and /patroni (the system identifier). A scheduled switchover is shown, an
immediate one is not, and a leader whose own key is gone is not a leader here.

Source: Patroni's `cluster_as_json` in patroni/utils.py and `do_GET_*` in patroni/api.py, 3.0.2 to 4.1.5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pgrouter.cluster.patroni_keys import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgrouter.cluster.patroni_keys import Snapshot

LEADERS = ("leader", "standby_leader")
SYNCHRONOUS = ("sync_standby", "quorum_standby")
CARRIED = ("state", "timeline", "tags")  # fields of a member that are copied unchanged
SOME_POSITION = 1  # for a running member: a key without a position would mean a leader that has begun to stop
MOST_MEMBERS = 100  # of one cluster; the rest of a longer list is ignored


class NotPatroniError(ValueError):
    """The answer is not one of Patroni's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one Patroni says: the cluster, and where each member's own Patroni can be reached."""

    snapshot: Snapshot
    urls: Mapping[str, str]  # member -> http://host:port
    scope: str = ""  # from 4.x on


def read_answer(cluster: bytes, config: bytes = b"", history: bytes = b"", patroni: bytes = b"") -> Answer:
    """Parse the bodies of GET /cluster, /config, /history and /patroni; all but the first may be missing.

    Raises NotPatroniError if the first is not a cluster.
    """
    data = _json(cluster)
    if not isinstance(data, dict) or not isinstance(data.get("members"), list):
        raise NotPatroniError("this is no answer of Patroni to GET /cluster")
    try:
        return _answer(data, config, history, patroni)
    except RecursionError:
        raise NotPatroniError("the answer is nested too deeply") from None


def _answer(data: Mapping[str, Any], config: bytes, history: bytes, patroni: bytes) -> Answer:
    members = [each for each in data["members"][:MOST_MEMBERS] if isinstance(each, dict) and _text(each.get("name"))]
    leader = next((each for each in members if each.get("role") in LEADERS), None)
    keys = {f"members/{each['name']}": _member_key(each) for each in members}
    keys |= {
        "leader": leader["name"] if leader else "",
        "initialize": _text(_object(patroni).get("database_system_identifier")),
        "config": _config_key(_object(config), data, leader),
        "history": history.decode("utf-8", "replace"),
        "failover": _failover_key(data),
        "sync": _sync_key(members, leader),
    }
    urls = {each["name"]: url for each in members if (url := base_url(_text(each.get("api_url"))))}
    return Answer(snapshot=decode(keys), urls=urls, scope=_text(data.get("scope")))


def base_url(url: str, scheme: str = "") -> str:
    """Return `http://host:port` of a URL, "" if it is not one; `scheme` is for a URL without."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        scheme, host, port = parts.scheme or scheme, parts.hostname, parts.port
    except ValueError:
        return ""
    if scheme not in ("http", "https") or not host or not url.isprintable():
        return ""
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port or (443 if scheme == 'https' else 80)}"


def _member_key(member: Mapping[str, Any]) -> str:
    host, port = _text(member.get("host")), member.get("port") or 5432
    role = "primary" if member.get("role") == "leader" else member.get("role")
    key = {name: member[name] for name in CARRIED if name in member}
    if member.get("state") in ("running", "streaming"):
        key["xlog_location"] = SOME_POSITION
    return json.dumps(key | {"role": role, "conn_url": f"postgres://{f'[{host}]' if ':' in host else host}:{port}/"})


def _config_key(config: Mapping[str, Any], cluster: Mapping[str, Any], leader: Mapping[str, Any] | None) -> str:
    """Return /config, which may be old, updated with what /cluster itself says."""
    standby = bool(config.get("standby_cluster")) if leader is None else leader["role"] == "standby_leader"
    said = {"pause": cluster.get("pause"), "standby_cluster": {"said": True} if standby else None}
    return json.dumps({**config, **said})


def _failover_key(cluster: Mapping[str, Any]) -> str:
    asked = cluster.get("scheduled_switchover")
    if not isinstance(asked, dict):
        return ""
    return json.dumps({"leader": asked.get("from"), "member": asked.get("to"), "scheduled_at": asked.get("at")})


def _sync_key(members: list[dict[str, Any]], leader: Mapping[str, Any] | None) -> str:
    standbys = [each["name"] for each in members if each.get("role") in SYNCHRONOUS]
    return json.dumps({"leader": leader["name"], "sync_standby": ",".join(standbys)}) if leader and standbys else ""


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError):
        return None


def _object(body: bytes) -> dict[str, Any]:
    data = _json(body)
    return data if isinstance(data, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
