"""PCP without sockets: packets, passwords, node numbers and states."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.config.settings import ReaderSettings, Reads
from pgrouter.errors import ConfigError
from pgrouter.pcp.nodes import Status, nodes, numbers
from pgrouter.pcp.protocol import PcpError, error, packet, taken
from pgrouter.pcp.shows import table
from pgrouter.pcp.users import PcpUsers, digest
from pgrouter.topology import ClusterView, Member, Role

if TYPE_CHECKING:
    from pathlib import Path

STORED = hashlib.md5(b"pcpadmin", usedforsecurity=False).hexdigest()


def test_the_digest_that_a_client_shows() -> None:
    assert digest(STORED, "admin", bytes([1, 2, 3, 4])) == "ac9e8020e0ae5fadda9bfa4cb6df83c9"


def test_users(tmp_path: Path) -> None:
    path = tmp_path / "pcp.conf"
    path.write_text(f"# comment\n\nadmin:{STORED}\n")
    users = PcpUsers.load(path)
    assert users.proves("admin", digest(STORED, "admin", b"salt"), b"salt")
    assert not users.proves("admin", digest(STORED, "admin", b"salt"), b"tlas")
    assert not users.proves("nobody", digest("0" * 32, "nobody", b"salt"), b"salt")
    path.write_text("admin:secret\n:x\n")
    with pytest.raises(ConfigError) as caught:
        PcpUsers.load(path)
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [f"{path}:1", f"{path}:2"]


def test_packets() -> None:
    made = packet("I", "1", "x\0y")
    assert made == b"I\0\0\0\x091\0xy\0"
    found, size = taken(made + b"rest")
    assert found is not None
    assert (found.kind, found.words(), size) == (b"I", ["1", "xy"], len(made))
    for end in range(len(made)):
        assert taken(made[:end]) == (None, 0)
    for wrong in (b"I\0\0\0\3", b"I\0\0\1\4", b"I\xff\xff\xff\xff"):
        with pytest.raises(PcpError, match="invalid packet length"):
            taken(wrong)


def test_errors_are_fields_as_postgresqls() -> None:
    assert error(PcpError("x", "y"))[5:] == b"SERROR\0CXX000\0Mx\0Dy\0Fpcp\0L0\0\0"


def view(*names: str, primary: str | None = None) -> ClusterView:
    return ClusterView(members=tuple(Member(name=name, host="h", port=1) for name in names), primary=primary)


def test_numbers() -> None:
    assert numbers(view("a", "b")) == {"a": 0, "b": 1}
    assert numbers(view("backend2", "backend0")) == {"backend2": 2, "backend0": 0}
    assert numbers(view("backend2", "b")) == {"backend2": 0, "b": 1}


def report(role: Role, *, streaming: bool = False) -> ServerReport:
    return ServerReport(role=role, system_id="1", timeline=1, streaming=streaming)


def test_states() -> None:
    probes = {
        "a": Probe(report=report(Role.PRIMARY)),
        "b": Probe().answered(report(Role.REPLICA, streaming=True)),
        "c": Probe(failures=3),
    }
    weights = tuple(ReaderSettings(name=name, weight=weight) for name, weight in (("a", 1), ("b", 2), ("c", 1)))
    reads = Reads(balance="weighted", primary="always", members=weights)
    found = nodes(view("a", "b", "c", "d", primary="a"), probes, reads, frozenset("b"), {"a": 2})
    assert [node.status for node in found] == [Status.UP, Status.DOWN, Status.DOWN, Status.WAITING]
    assert [node.pg_status for node in found] == ["up", "up", "down", "unknown"]
    assert [node.role for node in found] == ["primary", "standby", "standby", "standby"]
    assert [node.pg_role for node in found] == ["primary", "standby", "unknown", "unknown"]
    assert [node.replication_state for node in found] == ["", "streaming", "", ""]
    assert [round(node.share, 3) for node in found] == [0.2, 0.4, 0.2, 0.2]
    only_replicas = nodes(view("a", "b", primary="a"), probes, Reads(), frozenset(), {})
    assert [node.share for node in only_replicas] == [0.0, 1.0]


def test_rows_as_sql_are_quoted() -> None:
    assert table(("a", "b"), [("it's", "\\")]) == "SELECT * FROM (VALUES (E'it''s', E'\\\\')) AS pool(\"a\", \"b\")"
    assert table(("a",), []) == 'SELECT NULL::text AS "a" WHERE false'
