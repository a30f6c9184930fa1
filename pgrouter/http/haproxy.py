"""/stats;csv of HAProxy, for those who scrape that: a proxy for writes and one for reads, with the members as servers.

Source: HAProxy's management guide, "CSV format": fields that do not apply are empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.pool.read_order import rotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.metrics.snapshot import MemberNumbers, Snapshot

HEADER = (
    "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,act,bck,"
    "chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,check_status,"
    "check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,"
    "req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime"
)
FIELDS = HEADER.split(",")
FRONTEND, BACKEND, SERVER = range(3)
PROXIES = (("primary", "writes_waiting"), ("replica", "reads_waiting"))


def csv(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the lines."""
    yield f"# {HEADER},\n".encode()
    registry = snapshot.context.app.registry
    reads = rotation(snapshot.view, registry.settings.reads)
    clients = snapshot.clients.total() - snapshot.clients["login"]
    for number, (proxy, waiting) in enumerate(PROXIES, 2):
        writes = proxy == "primary"
        common: dict[str, object] = {"pxname": proxy, "pid": 1, "iid": number}
        yield _line(common | {
            "svname": "FRONTEND", "type": FRONTEND, "sid": 0, "status": "OPEN", "scur": clients,
            "slim": registry.settings.pool.max_clients, "stot": registry.logins,
        })  # fmt: skip
        members = [one for one in snapshot.members if one.member.writable == writes]
        serving = [one for one in members if writes or one.member.name in reads]
        for at, one in enumerate(members, 1):
            yield _line(common | _server(one) | {
                "svname": one.member.name, "type": SERVER, "sid": at, "status": "UP" if one in serving else "DOWN",
                "qcur": 0, "weight": 1, "act": 1, "bck": 0, "lbtot": one.done.xact_count, "last_chk": one.member.reason,
            })  # fmt: skip
        totals = {key: sum(_server(one)[key] for one in members) for key in ("scur", "stot", "bin", "bout")}
        yield _line(common | totals | {
            "svname": "BACKEND", "type": BACKEND, "sid": 0, "status": "UP" if serving else "DOWN",
            "qcur": sum(getattr(pool, waiting) for pool in snapshot.pools), "weight": len(serving),
            "act": len(serving), "bck": 0, "lbtot": totals["stot"],
        })  # fmt: skip


def _server(numbers: MemberNumbers) -> dict[str, int]:
    done = numbers.done
    return {
        "scur": numbers.servers["active"] + numbers.servers["being_canceled"],
        "stot": done.xact_count,
        "bin": done.received,
        "bout": done.sent,
    }


def _line(values: dict[str, object]) -> bytes:
    """Return a line; each ends with a comma."""
    return ("".join(f"{_field(values.get(name, ''))}," for name in FIELDS) + "\n").encode("utf-8", "backslashreplace")


def _field(value: object) -> str:
    text = str(value)
    if not any(special in text for special in ',"\r\n'):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'
