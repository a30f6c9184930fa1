"""What happens to the leader of a Patroni cluster: each is given the cluster and the member that leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from pgrouter.demo.patroni import Member, PatroniCluster


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
