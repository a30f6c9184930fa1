"""Things that happen to the leader of a Patroni cluster: functions of the cluster and its leader."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from pgrouter.demo.patroni import Member, PatroniCluster


def configure(cluster: PatroniCluster, change: dict[str, Any]) -> None:
    """Change Patroni's dynamic configuration, through any member that answers: one just started does not yet."""
    alive = [member for member in cluster.members if member.patroni_alive]
    until(lambda: any(_configured(member, change) for member in alive), 20, "a Patroni that takes the configuration")


def _configured(member: Member, change: dict[str, Any]) -> bool:
    with contextlib.suppress(OSError):
        return member.api("/config", change, "PATCH")[0] == 200
    return False


def wait_synchronous(cluster: PatroniCluster) -> None:
    """Wait for a synchronous replica: without one Patroni rightly does not fail over."""
    roles = ("sync_standby", "quorum_standby")
    until(lambda: any(line.role in roles for line in cluster.status()), 30, "a synchronous replica")


def kill_node(cluster: PatroniCluster, old: Member) -> None:
    old.kill()
    cluster.wait_leader_other_than(old)


def hand_over(cluster: PatroniCluster, _old: Member) -> None:
    cluster.switchover()


def stop_node(cluster: PatroniCluster, old: Member) -> None:
    old.stop()
    cluster.wait_leader_other_than(old)


def hang_node(cluster: PatroniCluster, old: Member) -> None:
    old.freeze()
    until(lambda: any(m is not old and not m.in_recovery for m in cluster.members if m is not old), 60, "a new leader")


def kill_postgres(_cluster: PatroniCluster, old: Member) -> None:
    old.kill_postgres()
