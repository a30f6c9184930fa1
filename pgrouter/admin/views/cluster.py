"""SHOW CLUSTER: the members as the router sees them now, with the state of the whole cluster in each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.admin.result import columns
from pgrouter.admin.stats import Counters, member_totals
from pgrouter.server.states import ACTIVE, DIALLING, IDLE_STATE, LOGGING_IN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.admin.context import Context
    from pgrouter.admin.result import Row
    from pgrouter.cluster.health import Probe
    from pgrouter.topology import Member

CLUSTER = columns(
    "name host port:int role leader:bool writable:bool readable:bool timeline:int lag_bytes:int state "
    "xact_count:int query_count:int sv_active:int sv_idle:int sv_login:int tags reason "
    "source dcs_reachable:bool dcs_time paused:bool standby_cluster:bool leader_time lag_ms:int unseen"
)


def cluster(context: Context) -> Iterator[Row]:
    """Yield a row per member, in the order of the cluster view."""
    for member in context.app.monitor.view.members:
        yield _row(context, member)


def _row(context: Context, member: Member) -> Row:
    monitor = context.app.monitor
    pools = [group.members[member.name] for group in context.app.pools.groups.values() if member.name in group.members]
    done = Counters()
    for pool in pools:
        done = done.plus(member_totals(pool))
    states = [server.state for pool in pools for server in pool.servers]
    return (
        member.name,
        member.host,
        member.port,
        str(member.role),
        member.leader,
        member.writable,
        member.readable,
        member.timeline or None,
        member.lag_bytes,
        member.state,
        done.xact_count,
        done.query_count,
        states.count(ACTIVE),
        states.count(IDLE_STATE),
        states.count(DIALLING) + states.count(LOGGING_IN),
        " ".join(f"{name}={value}" for name, value in member.tags),
        member.reason,
        monitor.source_name,
        monitor.view.dcs_reachable,
        context.time(monitor.dcs_since_s),
        monitor.view.paused,
        monitor.view.standby,
        context.time(monitor.leader_since_s),
        None if member.lag_s is None else round(member.lag_s * 1000),
        _unseen(monitor.probes.get(member.name)),
    )


def _unseen(probe: Probe | None) -> str:
    return "" if probe is None or probe.report is None else probe.report.unseen
