"""A router under test: `pgrouter run` with settings from a dict, and what tests need from it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import yaml
from psycopg.rows import dict_row

from pgrouter.demo import template
from pgrouter.demo.postgres import conninfo
from pgrouter.demo.router import PROGRAM, RouterProcess
from pgrouter.demo.template import PASSWORD, USER
from pgrouter.demo.workdir import Workdir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pgrouter.demo.etcd import EtcdCluster
    from pgrouter.demo.patroni import PatroniCluster
    from pgrouter.demo.postgres import Server

Settings = dict[str, Any]

MONITOR: Settings = {"user": template.MONITOR, "password": template.MONITOR, "database": "postgres", "interval": 0.2}


def static_cluster(servers: Sequence[Server]) -> Settings:
    """Return the `cluster` section for servers without Patroni."""
    members = [{"name": server.name, "host": "127.0.0.1", "port": server.port} for server in servers]
    return {"source": "static", "members": members, "monitor": MONITOR}


def etcd_cluster(etcd: EtcdCluster, scope: str = "demo") -> Settings:
    """Return the `cluster` section for Patroni's keys in an etcd."""
    return {"source": "etcd", "etcd": {"endpoints": list(etcd.endpoints), "scope": scope}, "monitor": MONITOR}


def patroni_cluster(cluster: PatroniCluster) -> Settings:
    """Return the `cluster` section for a cluster under Patroni."""
    return etcd_cluster(cluster.etcd, cluster.options.scope)


def rest_cluster(cluster: PatroniCluster) -> Settings:
    """Return the `cluster` section for the same through Patroni's REST API: one member's URL is enough to start."""
    urls = [f"http://127.0.0.1:{cluster.members[0].rest_port}"]
    return {"source": "patroni", "patroni": {"urls": urls}, "monitor": MONITOR}


class Router:
    """A router on a free port; by default with SCRAM and the user postgres, who may use the console."""

    def __init__(
        self,
        settings: Settings,
        *,
        users: Mapping[str, str] | None,
        number: int,
        workdir: Workdir,
        program: str = PROGRAM,
    ) -> None:
        directory = workdir.path
        users_file = directory / f"router{number}.users"
        users_file.write_text("".join(f'"{name}" "{secret}"\n' for name, secret in (users or {USER: PASSWORD}).items()))
        users_file.chmod(0o600)
        base: Settings = {
            "listen": [{"host": "127.0.0.1", "port": 0}],
            "auth": {"type": "scram-sha-256", "users_file": str(users_file)},
            "admin": {"admin_users": [USER]},
        }
        auth = base["auth"] | settings.get("auth", {})
        self.settings = base | settings | {"auth": auth}
        self.process = RouterProcess(directory / f"router{number}.yml", directory, program)
        self.write_settings()

    def write_settings(self) -> None:
        """Write the configuration file; after a change in `settings`, `process.reload()` makes the router read it."""
        self.process.config.write_text(yaml.safe_dump(self.settings))
        self.process.config.chmod(0o600)

    @property
    def port(self) -> int:
        """The first listener's port."""
        return self.process.ports[0]

    @property
    def http_port(self) -> int:
        """The HTTP port, which is opened before the others."""
        return int(re.findall(r"http: listens on \S+:(\d+)", self.log_text())[-1])

    def start(self) -> None:
        """Start it and wait until it accepts clients."""
        self.process.start()

    def stop(self) -> None:
        """Make it drain and end."""
        self.process.stop()

    def dsn(self, dbname: str = "postgres", user: str = USER, password: str = PASSWORD, **more: str | int) -> str:
        """Return libpq's connection string."""
        return " ".join([conninfo(self.port, dbname, user, password), *(f"{k}={v}" for k, v in more.items())])

    def connect(self, dbname: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        """Open a connection in autocommit mode; the caller closes it."""
        return psycopg.connect(self.dsn(dbname, **({"connect_timeout": 30} | more)), autocommit=True)

    def admin(self, command: str) -> list[dict[str, Any]]:
        """Run a console command and return its rows by column name."""
        with psycopg.connect(self.dsn("pgrouter"), autocommit=True, connect_timeout=30) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(command.encode(), prepare=False)
            return cursor.fetchall() if cursor.description else []

    def log_text(self) -> str:
        """Return all that it has logged."""
        return self.process.log.read_text()

    def log_contains(self, pattern: str) -> bool:
        """Whether a line of the log matches a regular expression."""
        return re.search(pattern, self.log_text(), re.MULTILINE) is not None


class RouterFactory:
    """Starts routers and stops them all in the end."""

    def __init__(self) -> None:
        self._workdir = Workdir("router")
        self._started: list[Router] = []
        self._count = 0

    def __call__(self, settings: Settings, *, users: Mapping[str, str] | None = None, program: str = PROGRAM) -> Router:
        """Start a router with these settings; defaults: a free port, SCRAM, the user postgres."""
        self._count += 1
        router = Router(settings, users=users, number=self._count, workdir=self._workdir, program=program)
        self._started.append(router)
        router.start()
        return router

    def stop_all(self) -> None:
        """End the routers started so far; an error if one of them had to be killed."""
        routers, self._started = self._started, []
        for router in routers:
            router.stop()

    def remove(self) -> None:
        """End everything and remove the files."""
        self._workdir.remove()


@contextmanager
def trusting(servers: Sequence[Server], mode: str, size: int, log: Path) -> Iterator[int]:
    """Yield the port of a router in front of the servers with trust authentication; its log is copied to `log`."""
    factory = RouterFactory()
    started = None
    try:
        started = factory({
            "cluster": static_cluster(servers),
            "auth": {"type": "trust"},
            "pool": {"mode": mode, "size": size},
        })  # fmt: skip
        yield started.port
    finally:
        if started:
            log.write_text(started.log_text())
        factory.stop_all()
