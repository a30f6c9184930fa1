"""A deployment on loopback: its servers on its own ports, the router of configs/ between, a shell for its steps.

It runs in a network namespace of its own, so that its ports are free whatever else runs on the machine. `docker exec
NODE` becomes the same command beside that node's port, `docker stop NODE` stops the server, and so on. Where the
configuration has certificates towards etcd, etcd wants them: those of docker/make-certificates, in tls/. The router
shows another of those to clients that ask for TLS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from bench import programs
from pgrouter.demo.etcd import EtcdCluster
from pgrouter.demo.patroni import PatroniCluster, PatroniOptions
from pgrouter.demo.postgres import Server, ServerOptions
from pgrouter.demo.processes import run, until
from pgrouter.demo.router import RouterProcess
from pgrouter.demo.streaming import StreamingCluster, has_replayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.steps import Deployment, Step

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "deployments"
STEP_S = 180.0  # a guard: a thousand SCRAM logins are twelve seconds of processor time
EXPORTER = "prometheus-postgres-exporter"  # program and Debian's package
PCP = "pcp_attach_node"
# Passwords are proved to the router, which has them from users.txt; the servers trust this machine
HBA = ("host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
PARAMETERS = {"shared_preload_libraries": "pg_stat_statements"}

PATRONI_YML = "/etc/patroni/patroni.yml"

NODE = re.compile(r"(?:docker|docker-compose|docker compose) (stop|start|restart|up -d) (\S+)")
PROMOTE = re.compile(r"docker exec (\S+) pg_ctl promote")
CLONE = re.compile(r"docker exec (\S+) pg_basebackup -h \S+ -U (\S+) -D \S+")
RELOAD = re.compile(r"docker kill --signal=HUP (\S+)")
EXEC = re.compile(r"docker exec((?: -i| -t| -it| -e \S+)*) (\S+) ")


class Stage:
    """A deployment that runs. A context manager."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.options = ServerOptions(hba=HBA, parameters=PARAMETERS, max_connections=100)
        self.cluster = self._make_cluster()
        self.nodes: dict[str, Server] = dict(zip(deployment.nodes, self._servers(), strict=True))
        for name, server in self.nodes.items():
            server.name = name  # cluster_name and application_name, too
        self.primary = next(iter(self.nodes.values()))
        self.router: RouterProcess | None = None

    def _make_cluster(self) -> StreamingCluster | PatroniCluster:
        return StreamingCluster(options=self.options, ports=tuple(self.deployment.nodes.values()))

    def _servers(self) -> Sequence[Server]:
        assert isinstance(self.cluster, StreamingCluster)
        return self.cluster.servers

    def __enter__(self) -> Self:
        """Start everything."""
        try:
            self.cluster.start()
            self._prepare()
            self.router = RouterProcess(self._configuration(), self.cluster.workdir)
            self.router.start()
        except BaseException:
            self.cluster.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave nothing."""
        self.cluster.stop()  # and the router, which was started in its directory

    def _prepare(self) -> None:
        one = self.deployment
        if one.owner != "postgres":
            self.primary.sql(f"create role {one.owner} login {'superuser' if one.superuser else ''}")
        if one.database != "postgres":
            self.primary.sql(f"create database {one.database} owner {one.owner}")
        self.primary.sql("create role replicator login replication")
        for statement in one.prepare:
            self.primary.sql(f"set role {one.owner}; {statement}", one.database)
        for slot, standby in zip(one.slots, list(self.nodes.values())[1:], strict=False):
            self.primary.sql(f"select pg_create_physical_replication_slot('{slot}')")
            standby.sql(f"alter system set primary_slot_name = '{slot}'")
            standby.sql("select pg_reload_conf()")
        # The end of a record that is flushed with its commit: pg_current_wal_lsn() may be in the middle of one.
        lsn = self.primary.sql("select pg_logical_emit_message(true, 'pgrouter', 'caught up')")[0][0]
        for standby in list(self.nodes.values())[1:]:
            until(partial(has_replayed, standby, lsn), 30, f"{standby.name} replayed {lsn}")

    def _configuration(self) -> Path:
        """Copy the deployment's configuration; of it only the members' addresses are this machine's."""
        place = self.cluster.workdir / "etc"
        shutil.copytree(CONFIGS, place)
        path = place / f"{self.deployment.name}.yml"
        settings: dict[str, Any] = yaml.safe_load(path.read_text())
        self._point_at_this_machine(settings["cluster"])
        certificates = self._certificates(self.cluster.workdir)
        if not (place / "tls").exists():
            shutil.copytree(certificates, place / "tls")
        for listener in settings["listen"]:
            listener["tls"] = {"cert": "tls/router.crt", "key": "tls/router.key"}
        settings["cluster"]["monitor"] |= {"password": "pgrouter", "interval": 0.2}  # the role of the servers' template
        path.write_text(yaml.safe_dump(settings))
        return path

    def _point_at_this_machine(self, section: dict[str, Any]) -> None:
        members = section["members"]
        assert [member["name"] for member in members] == list(self.deployment.members or self.deployment.nodes)
        for member, port in zip(members, self.deployment.nodes.values(), strict=True):
            member |= {"host": "127.0.0.1", "port": port}

    def _certificates(self, workdir: Path) -> Path:
        """Make certificates with the script for the deployments, once."""
        if not (workdir / "tls").exists():
            script = shutil.copy(ROOT / "docker" / "make-certificates", workdir)
            subprocess.run([script], check=True, capture_output=True, timeout=STEP_S)
        return workdir / "tls"

    @property
    def router_port(self) -> int:
        """Give the router's first port."""
        assert self.router is not None
        return self.router.ports[0]

    def node(self, name: str) -> Server:
        """Give a node by one of its names in the commands."""
        return self.nodes[self.deployment.aliases.get(name, name)]

    def port(self, name: str) -> int:
        """Give the port that stands for a container's name, or for a port's number."""
        if name.isdigit():
            return int(name)
        return self.router_port if name in self.deployment.routers else self.node(name).port

    def play(self, step: Step) -> tuple[int, str]:
        """Run a step; gives its exit code and all that it said."""
        if node := NODE.fullmatch(step.command):
            return self._node(node[1], node[2])
        if promoted := PROMOTE.fullmatch(step.command):
            self.node(promoted[1]).promote()
            return 0, "server promoted"
        if cloned := CLONE.fullmatch(step.command):
            return self._clone(cloned[1], cloned[2])
        if RELOAD.fullmatch(step.command):
            return self._reload()
        if step.on:
            argv = ["psql", "-h", "127.0.0.1", "-p", str(self.port(step.on)), "-U", self.deployment.owner, "-X"]
            return self._shell([*argv, "-d", self.deployment.database, "-c", step.command])
        return self._shell(["sh", "-c", EXEC.sub(self._beside, step.command.replace(PATRONI_YML, self._patroni_yml))])

    @property
    def _patroni_yml(self) -> str:
        return str(self.cluster.workdir / f"{self.primary.name}.yml")

    def _beside(self, found: re.Match[str]) -> str:
        """Give what stands for `docker exec`: the same command, with the container's server as its own."""
        variables = " ".join(re.findall(r"-e (\S+)", found[1]))
        return f"env PGHOST=127.0.0.1 PGPORT={self.port(found[2])} {variables} "

    def _node(self, verb: str, name: str) -> tuple[int, str]:
        if verb == "up -d":  # its volume removed, and cloned from whoever is the primary now
            assert isinstance(self.cluster, StreamingCluster)
            heir = next(server for server in self.cluster.servers if server.accepts_writes)
            self.cluster.follow(self.node(name), heir, rewind=True)
            return 0, name
        one = self.router if name in self.deployment.routers else self.node(name)
        assert one is not None
        if verb != "start":
            one.stop()
        if verb == "restart" and isinstance(one, RouterProcess):
            one.output.unlink()  # its old ready line
        if verb != "stop":
            one.start()
        return 0, name

    def _clone(self, name: str, user: str) -> tuple[int, str]:
        """Take a base backup of whoever is the primary now, and start it as a new standby."""
        assert isinstance(self.cluster, StreamingCluster)
        binaries, workdir = self.cluster.binaries, self.cluster.workdir
        primary = next(server for server in self.nodes.values() if server.accepts_writes)
        new = Server(name, binaries, workdir, self.deployment.later[name], self.options)
        source = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", user]
        run([binaries.program("pg_basebackup"), *source, "-D", new.data, "-c", "fast"], workdir)
        self.cluster.follow(new, primary)
        self.nodes[name] = new
        return 0, name

    def _reload(self) -> tuple[int, str]:
        """Write the nodes that came later into the router's file and have it read again."""
        assert self.router is not None
        settings: dict[str, Any] = yaml.safe_load(self.router.config.read_text())
        for name, port in self.deployment.later.items():
            settings["cluster"]["members"].append({"name": name, "host": "127.0.0.1", "port": port})
        self.router.config.write_text(yaml.safe_dump(settings))
        self.router.reload()
        return 0, "reloaded"

    def _shell(self, argv: list[str]) -> tuple[int, str]:
        programs = [Path(sys.executable).parent, self.cluster.binaries.directory, *exporter_place(), *pcp_place()]
        path = ":".join([*map(str, programs), os.environ["PATH"]])
        passwords = dict(re.findall(r'^"(\w+)" "(.+)"$', (CONFIGS / "users.txt").read_text(), re.MULTILINE))
        secrets = self.cluster.workdir / ".pcppass"
        secrets.write_text("*:*:admin:adminpassword\n")
        secrets.chmod(0o600)
        password = passwords[self.deployment.owner]
        own = {"PATH": path, "PCPPASSFILE": str(secrets), "PGPASSWORD": password, "PAGER": "cat"}
        environment = os.environ | own
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env=environment, timeout=STEP_S,
                stdin=subprocess.DEVNULL, cwd=self.cluster.workdir,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return 124, f"not within {STEP_S:.0f} s"
        return done.returncode, done.stdout + done.stderr


class PatroniStage(Stage):
    """A deployment under Patroni, with a ttl of 20 s in place of 30 s; the first node leads at first."""

    def _make_cluster(self) -> PatroniCluster:
        one = self.deployment
        scope = self._etcd_settings["scope"]
        options = PatroniOptions(
            members=len(one.nodes), etcd_nodes=len(one.etcd), scope=scope, server=self.options, profile="fast"
        )
        cluster = PatroniCluster(options)
        cluster.etcd = EtcdCluster(
            len(one.etcd), ports=one.etcd, workdir=cluster._workdir, certificates=self._of_etcd(cluster.workdir)
        )
        for member, port, rest in zip(cluster.members, one.nodes.values(), one.rest, strict=True):
            member.port, member.rest_port = port, rest
        return cluster

    def _servers(self) -> Sequence[Server]:
        assert isinstance(self.cluster, PatroniCluster)
        return self.cluster.members

    def _prepare(self) -> None:
        assert isinstance(self.cluster, PatroniCluster)
        if self.cluster.require_leader() is not self.primary:
            self.cluster.switchover(self.cluster.member(self.primary.name))
            self.cluster.wait_healthy()
        super()._prepare()

    @property
    def _etcd_settings(self) -> dict[str, Any]:
        return yaml.safe_load((CONFIGS / f"{self.deployment.name}.yml").read_text())["cluster"]["etcd"]

    def _of_etcd(self, workdir: Path) -> Path | None:
        """Give certificates for etcd where the configuration has some."""
        return self._certificates(workdir) if "tls" in self._etcd_settings else None

    def _point_at_this_machine(self, section: dict[str, Any]) -> None:
        """Have etcd's endpoints here, and the certificates beside the configuration."""
        assert isinstance(self.cluster, PatroniCluster)
        etcd = self.cluster.etcd
        section["etcd"]["endpoints"] = [f"{etcd.scheme}://127.0.0.1:{port}" for port in self.deployment.etcd]
        if etcd.certificates is not None:
            shutil.copytree(etcd.certificates, self.cluster.workdir / "etc" / "tls")

    def _node(self, verb: str, name: str) -> tuple[int, str]:
        if "etcd" not in name:
            return super()._node(verb, name)
        assert isinstance(self.cluster, PatroniCluster)
        number = int(name[-1]) - 1
        if verb == "stop":
            self.cluster.etcd.kill(number)
        else:
            self.cluster.etcd.launch(number)
        return 0, name


@cache
def exporter_place() -> list[Path]:
    """Give the directory of postgres_exporter, fetched if the system has none; [] where it cannot be."""
    found = programs.find(EXPORTER, EXPORTER, "--version")
    return [] if isinstance(found, str) else [found.path.parent]


@cache
def pcp_place() -> list[Path]:
    """Give a directory with Pgpool-II's pcp_attach_node, fetched if the system has none; [] where it cannot be."""
    found = programs.find(PCP, "pgpool2", "--version")
    if isinstance(found, str):
        return []
    if not found.libraries:
        return [found.path.parent]
    place = programs.CACHE / "pcp"
    place.mkdir(exist_ok=True)
    script = place / PCP  # what it needs must not be what psql gets
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={found.libraries} exec {found.path} "$@"\n')
    script.chmod(0o755)
    return [place]


def stage(deployment: Deployment) -> Stage:
    """Give the stage that a deployment plays on."""
    return PatroniStage(deployment) if deployment.etcd else Stage(deployment)
