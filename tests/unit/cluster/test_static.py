"""Who leads when nobody but the servers themselves says so."""

from __future__ import annotations

from msgspec.structs import replace

from pgrouter.cluster.health import LOST_AFTER, Probe, ServerReport
from pgrouter.cluster.merge import merge
from pgrouter.cluster.patroni_keys import DcsMember
from pgrouter.cluster.static import elect
from pgrouter.topology import ClusterView, Role

MEMBERS = tuple(DcsMember(name=f"pg{i}", host="127.0.0.1", port=i + 1) for i in range(3))


class Servers:
    """What three servers say, and the view that follows."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.probes: dict[str, Probe] = {}
        self.view = ClusterView()

    def says(self, name: str, role: Role, timeline: int, system_id: str = "7", started: str = "") -> ClusterView:
        self.now_s += 1
        facts = {"streaming": role is Role.REPLICA, "asked_s": self.now_s, "answered_s": self.now_s, "started": started}
        report = ServerReport(role=role, timeline=timeline, system_id=system_id, **facts)
        self.probes[name] = self.probes.get(name, Probe()).answered(report)
        return self._merge()

    def fails(self, name: str) -> ClusterView:
        self.probes[name] = self.probes.get(name, Probe()).failed("refused")
        return self._merge()

    def _merge(self) -> ClusterView:
        self.view = merge(self.view, elect(MEMBERS, self.view, self.probes), self.probes)
        again = merge(self.view, elect(MEMBERS, self.view, self.probes), self.probes)
        assert again is self.view
        return self.view


def steady() -> Servers:
    servers = Servers()
    servers.says("pg0", Role.PRIMARY, 1)
    servers.says("pg1", Role.REPLICA, 1)
    servers.says("pg2", Role.REPLICA, 1)
    return servers


def test_the_first_election_hears_everybody() -> None:
    servers = Servers()
    servers.says("pg0", Role.PRIMARY, 1)
    assert servers.view.primary is None
    servers.says("pg1", Role.PRIMARY, 2)
    assert servers.view.no_primary == "pg2 not heard yet"
    servers.fails("pg2")
    assert servers.view.primary == "pg1"


def test_pg_promote_by_hand_after_a_crash() -> None:
    servers = steady()
    assert (servers.view.primary, servers.view.readers) == ("pg0", ("pg1", "pg2"))
    for _ in range(LOST_AFTER):
        servers.fails("pg0")
    assert servers.view.no_primary == "no member says it is primary"
    assert servers.view.readers == ("pg1", "pg2")
    servers.says("pg2", Role.PRIMARY, 2)
    assert servers.view.primary == "pg2"
    servers.says("pg0", Role.PRIMARY, 1)  # the old one is started again
    assert servers.view.primary == "pg2"


def test_promotion_while_the_old_one_lives() -> None:
    servers = steady()
    servers.says("pg1", Role.PRIMARY, 2)
    assert servers.view.primary == "pg1"
    assert servers.view.member("pg0").reason == "says it is primary but does not lead: gets nothing"


def test_one_failure_keeps_the_leader() -> None:
    servers = steady()
    before = servers.view
    assert servers.fails("pg0") is before


def test_two_on_one_timeline() -> None:
    servers = steady()
    servers.says("pg1", Role.PRIMARY, 2)
    servers.says("pg2", Role.PRIMARY, 2)
    assert servers.view.primary == "pg1"  # it led
    fresh = Servers()
    for name in ("pg0", "pg1", "pg2"):
        fresh.says(name, Role.PRIMARY, 2)
    assert fresh.view.primary is None
    assert fresh.view.no_primary == "pg0, pg1, pg2 say they are primary on timeline 2"


def test_two_clusters_in_one_list() -> None:
    servers = Servers()
    servers.says("pg0", Role.PRIMARY, 1, "7")
    servers.says("pg1", Role.PRIMARY, 5, "8")
    servers.says("pg2", Role.REPLICA, 1, "7")
    assert servers.view.no_primary == "pg0, pg1 say they are primary, of different clusters"


def test_a_stranger_with_a_newer_timeline_takes_nothing() -> None:
    servers = steady()
    servers.says("pg1", Role.PRIMARY, 9, "8")
    assert servers.view.primary == "pg0"


def test_an_older_timeline_never_leads_again() -> None:
    servers = steady()
    servers.says("pg1", Role.PRIMARY, 2)
    for _ in range(LOST_AFTER):
        servers.fails("pg1")
    assert servers.view.primary is None  # pg0 still says that it is primary, on timeline 1


def test_after_pg_upgrade_it_says_what_is_so_and_forgets_when_told() -> None:
    servers = steady()
    servers.says("pg0", Role.PRIMARY, 1, "8")
    assert servers.view.primary is None
    said = servers.view.no_primary
    assert said.startswith("pg0 says it is primary, but has the system identifier 8 and the cluster had 7")
    assert "RELOAD FORGET CLUSTER" in said
    servers.view = replace(servers.view, system_id="", timeline=0, lsn=0)  # as Monitor.forget does
    assert servers.says("pg0", Role.PRIMARY, 1, "8").primary == "pg0"
    assert servers.view.readers == ()
    servers.says("pg1", Role.REPLICA, 1, "8")
    assert servers.view.readers == ("pg1",)


def test_when_only_an_older_timeline_is_left() -> None:
    servers = steady()
    servers.says("pg1", Role.PRIMARY, 2)
    for _ in range(LOST_AFTER):
        servers.fails("pg1")
    servers.says("pg0", Role.PRIMARY, 1)
    said = servers.view.no_primary
    assert said.startswith("pg0 says it is primary on timeline 1, but timeline 2 was in use")


def test_one_server_under_two_names_is_one_primary() -> None:
    """The address that vip-manager moves, listed beside the server's own."""
    servers = Servers()
    for name in ("pg0", "pg1"):
        servers.says(name, Role.PRIMARY, 1, started="1700000000000001")
    servers.says("pg2", Role.REPLICA, 1, started="1700000000000002")
    assert (servers.view.primary, servers.view.readers) == ("pg0", ("pg2",))
