"""A real cluster on loopback: etcd and PostgreSQL members under Patroni.

Members start from copies of one template with standby.signal: Patroni adopts them, the first to take the leader key is
promoted and the others follow, without initdb or pg_basebackup. Patroni detaches its postmaster, so a member's two
processes are found separately: Patroni by the process started here, the postmaster by its data directory.
"""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pgrouter.demo import turbo
from pgrouter.demo.binaries import PostgresBinaries, find_postgres
from pgrouter.demo.etcd import EtcdCluster
from pgrouter.demo.postgres import Server, ServerOptions, postmaster
from pgrouter.demo.processes import DemoError, Process, spawn, until, write_file
from pgrouter.demo.template import PASSWORD, USER, template, within_reach
from pgrouter.demo.workdir import Startable, Workdir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Profile = Literal["default", "fast", "turbo"]

# (ttl, loop_wait, retry_timeout) in seconds; Patroni's defaults, the minimum it accepts, and the minimum that works.
PROFILES: dict[Profile, tuple[int, int, int]] = {"default": (30, 10, 10), "fast": (20, 1, 3), "turbo": (5, 1, 2)}


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """A line of `patronictl list`."""

    name: str
    role: str  # leader, replica, sync_standby
    state: str  # running, streaming, stopped, ...
    timeline: int | None
    lag_bytes: int | None  # None: not known, or the leader's own


@dataclass(frozen=True, slots=True, kw_only=True)
class PatroniOptions:
    """The configuration of a cluster under Patroni."""

    members: int = 3
    etcd_nodes: int = 1
    profile: Profile = "turbo"
    scope: str = "demo"
    server: ServerOptions = field(default_factory=ServerOptions)
    dcs: dict[str, Any] = field(default_factory=dict)  # additional dynamic configuration, e.g. failsafe_mode


class Member(Server):
    """A PostgreSQL server under Patroni."""

    def __init__(
        self, name: str, binaries: PostgresBinaries, workdir: Path, ports: tuple[int, int], cluster: PatroniCluster
    ) -> None:
        super().__init__(name, binaries, workdir, ports[0], cluster.options.server)
        self.rest_port = ports[1]
        self.patroni_log = workdir / f"{name}.patroni.log"
        self._cluster = cluster
        self._patroni: Process | None = None

    @property
    def alive(self) -> bool:
        """Whether the postmaster runs."""
        return postmaster(self.data) is not None

    @property
    def patroni_alive(self) -> bool:
        """Whether Patroni runs."""
        return self._patroni is not None and self._patroni.alive

    def create(self, primary_port: int | None = None) -> None:
        """Recreate the data directory; the member is a standby until it gets the leader key."""
        super().create(primary_port)
        write_file(self.data / "standby.signal", "")

    def launch(self) -> None:
        """Start Patroni, which starts PostgreSQL, and return at once."""
        config = write_file(self._workdir / f"{self.name}.yml", json.dumps(self._configuration(), indent=1))
        turbo_file = turbo.__file__
        program = ["-P", turbo_file] if self._cluster.options.profile == "turbo" else ["-m", "patroni"]
        # Patroni connects to localhost, which a chroot without /etc/hosts cannot resolve
        here = {"PGHOSTADDR": "127.0.0.1"}
        self._patroni = spawn([sys.executable, *program, config], self._workdir, self.patroni_log, here)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until Patroni shows it as the leader or as streaming."""
        until(lambda: self._cluster.is_healthy(self.name), timeout_s, f"{self.name} runs, see {self.patroni_log}", 0.05)

    def kill(self) -> None:
        """End Patroni and PostgreSQL at once (SIGKILL), as when the host dies."""
        self.kill_patroni()
        self.kill_postgres()

    def kill_patroni(self) -> None:
        """End Patroni alone; PostgreSQL keeps running, and nothing demotes a primary any more."""
        if self._patroni is not None and self._patroni.alive:
            self._patroni.signal(signal.SIGKILL)
            self._patroni.wait_gone(10)

    def kill_postgres(self) -> None:
        """End the postmaster and its backends; Patroni stays and restarts it or fails over."""
        if server := postmaster(self.data):
            server.kill()

    def freeze(self, *, postgres: bool = True) -> None:
        """Stop Patroni and PostgreSQL (or Patroni alone) with SIGSTOP, like a host that hangs."""
        self._signal(signal.SIGSTOP, postgres=postgres)

    def thaw(self) -> None:
        """End a freeze."""
        self._signal(signal.SIGCONT, postgres=True)

    def _signal(self, number: int, *, postgres: bool) -> None:
        if self._patroni is not None:
            self._patroni.signal(number)
        if postgres and (server := postmaster(self.data)):
            server.signal(number, descendants=True)

    def stop(self, mode: str = "fast", timeout_s: float = 30) -> None:  # noqa: ARG002  (Patroni has one mode only)
        """End Patroni with SIGTERM: it stops PostgreSQL and, as the leader, hands over leadership."""
        if self._patroni is not None:
            self._patroni.signal(signal.SIGTERM)
            self._patroni.wait_gone(timeout_s)

    def api(self, path: str, body: dict[str, Any] | None = None, method: str = "GET") -> tuple[int, str]:
        """Call Patroni's REST API: (HTTP status, text)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def _configuration(self) -> dict[str, Any]:
        """Return patroni.yml; JSON is YAML."""
        options = self._cluster.options
        ttl_s, loop_wait_s, retry_timeout_s = PROFILES[options.profile]
        login = {"username": USER, "password": PASSWORD}
        rest, sql = f"127.0.0.1:{self.rest_port}", f"127.0.0.1:{self.port}"
        shared = {name: options.server.settings()[name] for name in ("max_connections", "max_wal_senders")}
        dynamic = {
            "ttl": ttl_s, "loop_wait": loop_wait_s, "retry_timeout": retry_timeout_s,
            "maximum_lag_on_failover": 1048576,
            "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": shared},
        }  # fmt: skip
        return {
            "scope": options.scope, "namespace": "/service/", "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": etcd_section(self._cluster.etcd),
            "bootstrap": {"dcs": dynamic | options.dcs},
            "postgresql": {
                "listen": sql, "connect_address": sql, "use_unix_socket": False,
                "data_dir": str(self.data), "bin_dir": str(self._binaries.directory),
                "pgpass": str(self._workdir / f"{self.name}.pgpass"),
                "authentication": {"superuser": login, "replication": login, "rewind": login},
                "pg_hba": options.server.hba_lines(),
                "parameters": options.server.settings(),
                "create_replica_methods": ["basebackup"],
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
            },
        }  # fmt: skip


def etcd_section(etcd: EtcdCluster) -> dict[str, Any]:
    """Return the section of patroni.yml with etcd's endpoints and protocol."""
    section: dict[str, Any] = {"hosts": list(etcd.endpoints), "protocol": etcd.scheme}
    if place := etcd.certificates:
        files = {"cacert": "ca.crt", "cert": "client.crt", "key": "client.key"}
        section |= {name: str(place / file) for name, file in files.items()}
    return section


class PatroniCluster(Startable):
    """etcd and members pg0, pg1, ... under Patroni. A context manager: up inside, nothing left outside."""

    def __init__(
        self, options: PatroniOptions | None = None, *, progress: Callable[[str], None] = lambda _text: None
    ) -> None:
        """Find the programs and reserve ports; `progress` is called with a short text at each step of the start."""
        self.options = options or PatroniOptions()
        self.binaries = within_reach(find_postgres())
        self._progress = progress
        self._workdir = Workdir("patroni")
        self.etcd = EtcdCluster(self.options.etcd_nodes, workdir=self._workdir)
        self.members: list[Member] = []
        for _ in range(self.options.members):
            self._new_member()

    @property
    def workdir(self) -> Path:
        """Where data, configurations and logs are."""
        return self._workdir.path

    def reserve_port(self) -> int:
        """Return one more free port, reserved until the end."""
        return self._workdir.ports(1)[0]

    def _new_member(self) -> Member:
        rest_port, port = self._workdir.ports(2)
        member = Member(f"pg{len(self.members)}", self.binaries, self._workdir.path, (port, rest_port), self)
        self.members.append(member)
        return member

    def start(self) -> None:
        """Start etcd and all members and wait until one leads and the others stream (3-4 s on idle cores)."""
        self._progress("starting etcd")
        self.etcd.start()
        self._progress(f"preparing {len(self.members)} data directories (PostgreSQL {self.binaries.version})")
        template(self.binaries, self.options.server.stored)
        with ThreadPoolExecutor(len(self.members)) as pool:
            list(pool.map(Member.create, self.members))
        self._progress(f"starting {len(self.members)} members under Patroni")
        for member in self.members:
            member.launch()
        until(self.leader, 60, f"a leader, see {self.workdir}/*.log", 0.05)
        self._progress(f"{self.require_leader().name} leads, waiting for its replicas")
        self.wait_healthy()

    def stop(self) -> None:
        """End everything at once and remove the data."""
        self._workdir.remove()

    def status(self) -> tuple[MemberStatus, ...]:
        """Return the cluster's state from the first member that answers; empty if none does."""
        for member in self.members:
            try:
                code, text = member.api("/cluster") if member.patroni_alive else (0, "")
            except OSError:
                continue
            if code == 200:
                return tuple(decode_status(line) for line in json.loads(text)["members"])
        return ()

    def leader(self) -> Member | None:
        """Return the member that holds the leader key and runs as a primary."""
        leading = [s.name for s in self.status() if s.role == "leader" and s.state == "running"]
        return self.member(leading[0]) if leading else None

    def require_leader(self) -> Member:
        """Return the leader; DemoError if there is none now."""
        if member := self.leader():
            return member
        raise DemoError("nobody leads the cluster")

    def replicas(self) -> list[Member]:
        """Return the members that stream."""
        return [self.member(s.name) for s in self.status() if s.role != "leader" and s.state == "streaming"]

    def member(self, name: str) -> Member:
        """Find a member by name."""
        return next(member for member in self.members if member.name == name)

    def is_healthy(self, name: str) -> bool:
        """Whether Patroni shows a member as the running leader or as streaming."""
        good = ("running",), ("streaming",)
        return any(s.name == name and s.state in good[s.role != "leader"] for s in self.status())

    def wait_healthy(self, timeout_s: float = 60) -> None:
        """Wait until one member leads and all others stream."""
        until(self._all_healthy, timeout_s, f"a leader and streaming replicas, see {self.workdir}/*.log", 0.05)

    def _ends_pause(self) -> bool:
        leader = self.leader()
        try:
            return leader is not None and leader.api("/config", {"pause": None}, "PATCH")[0] == 200
        except OSError:
            return False  # just killed: the key still names it

    def _all_healthy(self) -> bool:
        states = sorted((s.role == "leader", s.state) for s in self.status())
        if states != [(False, "streaming")] * (len(self.members) - 1) + [(True, "running")]:
            return False
        return self.require_leader().accepts_writes  # the key is there 0.1-0.3 s before the promotion is done

    def add_member(self) -> Member:
        """Start one more member, which clones itself from the leader (pg_basebackup), and wait until it streams."""
        member = self._new_member()
        member.launch()
        member.wait_ready()
        return member

    def remove_member(self, member: Member) -> None:
        """Kill a member for good; its keys are deleted when its lease expires."""
        member.kill()
        self.members.remove(member)

    def switchover(self, to: Member | None = None, timeout_s: float = 30) -> Member:
        """Do a switchover like `patronictl switchover` (2.8 s) and return the new leader."""
        old = self.require_leader()
        wanted = {"leader": old.name} | ({"candidate": to.name} if to else {})
        status, text = old.api("/switchover", wanted, "POST")
        if status != 200:
            raise DemoError(f"switchover refused ({status}): {text}")
        return self.wait_leader_other_than(old, timeout_s)

    def wait_leader_other_than(self, old: Member, timeout_s: float = 60) -> Member:
        """Wait until another member leads and accepts writes."""
        until(lambda: (now := self.leader()) and now is not old, timeout_s, f"a leader other than {old.name}", 0.02)
        new = self.require_leader()
        until(lambda: new.accepts_writes, timeout_s, f"{new.name} accepts writes", 0.02)
        return new

    def heal(self) -> None:
        """Restore everything: etcd, frozen and killed members, no pause; wait until all is healthy.

        A member that is still broken after 30 s is recreated from the leader.
        """
        self.etcd.heal()
        for member in self.members:
            member.thaw()
            if not member.patroni_alive:
                member.launch()
        until(self._ends_pause, 60, "a leader that answers", 0.05)
        try:
            self.wait_healthy(30)
        except TimeoutError:
            for status in self.status():
                if not self.is_healthy(status.name):
                    self.member(status.name).api("/reinitialize", {"force": True}, "POST")
            self.wait_healthy()


def decode_status(line: dict[str, Any]) -> MemberStatus:
    """Parse a member of GET /cluster."""
    lag = line.get("lag")
    return MemberStatus(
        line["name"], line["role"], line["state"], line.get("timeline"), lag if isinstance(lag, int) else None
    )
