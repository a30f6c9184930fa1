"""`pgrouter demo`: a real cluster on this machine, a router in front of it, clients, and a screen to watch them.

Boots etcd and PostgreSQL members under Patroni on loopback, starts `pgrouter run` as a process of its own, lets a
writer and some readers work through it, and in the end compares all members with what the writer was told. The exit
code is 0 only if every acknowledged row is on every member. Ctrl-C takes everything down; nothing stays behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import psycopg
from rich.console import Console
from rich.live import Live

from pgrouter.demo import screen
from pgrouter.demo.director import Director
from pgrouter.demo.keys import key_reader, read_key
from pgrouter.demo.observer import Observer, missing_rows
from pgrouter.demo.patroni import PatroniCluster, PatroniOptions
from pgrouter.demo.postgres import ServerOptions, conninfo
from pgrouter.demo.processes import DemoError, until, write_file
from pgrouter.demo.router import RouterProcess
from pgrouter.demo.template import MONITOR, PASSWORD, USER
from pgrouter.demo.workdir import refuse_served
from pgrouter.demo.workload import ANALYZE, OLD_ROWS, SETUP, TABLE, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.demo.patroni import Member
    from pgrouter.demo.screen import Picture

LOGIN = "demo"  # user, password and database of the clients
PORT = 6432
HTTP_PORT = 9127  # of the router's page
KILL_AFTER_S = 8.0  # with --failover
LOOK_EVERY_S = 0.25
LINE_EVERY_S = 2.0  # without a terminal
SETTLED_S = 3.0  # the workload continues this long after a failover, even if --seconds is over
CATCH_UP_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--failover", action="store_true", help=f"kill the leader after {KILL_AFTER_S:.0f} s")
    parser.add_argument("--seconds", type=float, help="end after that long (default: at Ctrl-C or q)")
    parser.add_argument("--port", type=int, help=f"the router's port (default: {PORT}, or a free one if it is taken)")
    parser.add_argument("--members", type=int, default=3, help="PostgreSQL servers (default: 3)")
    parser.add_argument("--plain", action="store_true", help="lines instead of a screen, as without a terminal")


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit code."""
    # Also if a shell started us in the background with Ctrl-C ignored; a closed terminal means the same.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    console = Console(force_terminal=False if args.plain else None, highlight=False)
    try:
        return Demo(args, console).run()
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    except (DemoError, TimeoutError, psycopg.Error) as error:
        console.print(f"the demo cannot go on: {error}", markup=False)
        return 1


def interrupt(_number: int, _frame: object) -> NoReturn:
    """Interrupt whatever is running."""
    raise KeyboardInterrupt


class Demo:
    """The parts of a running demo."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._args = args
        self._console = console
        self._started_s = time.monotonic()
        self._killed = False
        self._page = ""  # the router's, for a browser
        self._rates: tuple[float, dict[str, int], int] = (time.monotonic(), {}, 0)
        self._shown_rates: tuple[dict[str, float], float] = ({}, 0.0)

    def run(self) -> int:
        """Boot, let the clients work, compare, shut everything down."""
        # With synchronous_mode an acknowledged row is on two members, so a killed leader can take none with it.
        options = PatroniOptions(
            members=self._args.members,
            server=ServerOptions(parameters={"synchronous_commit": "on"}),
            dcs={"synchronous_mode": self._args.members > 1},
        )
        port = self._wanted_port()
        cluster = PatroniCluster(options, progress=self._progress)
        try:
            self._progress(f"working in {cluster.workdir} (logs, data; removed in the end)")
            cluster.start()
            self._progress("creating the demo's database")
            prepare(cluster)
            self._progress("starting pgrouter")
            http_port = self._free(HTTP_PORT) or cluster.reserve_port()
            router = start_router(cluster, port or cluster.reserve_port(), http_port)
            self._progress("ready")
            self._page = f"http://127.0.0.1:{http_port}/"
            return self._work(cluster, router)
        finally:
            self._progress("taking everything down")
            cluster.stop()  # everything started in its directory, the router too

    def _wanted_port(self) -> int | None:
        """Return the router's port; None: any free one. DemoError if the requested one is in use."""
        if self._args.port is not None:
            refuse_served(self._args.port)
            return int(self._args.port)
        return self._free(PORT)

    def _free(self, port: int) -> int | None:
        """Return a port, None if it is in use."""
        try:
            refuse_served(port)
        except DemoError as taken:
            self._progress(f"{taken}; another one is used")
            return None
        return port

    def _work(self, cluster: PatroniCluster, router: RouterProcess) -> int:
        port = router.ports[0]
        workload = Workload(conninfo(port, LOGIN, LOGIN, LOGIN))
        observer = Observer(cluster, LOGIN)
        director = Director(cluster, workload)
        psql = f"PGPASSWORD={LOGIN} psql -h 127.0.0.1 -p {port} -U {LOGIN} {LOGIN}"
        observer.start()
        workload.start()
        self._started_s = time.monotonic()
        director.tell(f"{cluster.require_leader().name} leads; the router listens on 127.0.0.1:{port}")

        def picture(*, keys: bool = False) -> Picture:
            return self._picture(psql, observer, workload, director, keys=keys)

        with contextlib.suppress(KeyboardInterrupt):
            self._watch(picture, director, router)
        self._progress("comparing all members with what the writer was told (Ctrl-C again: leave at once)")
        ended = workload.stop()
        verdict, agreed = compare(cluster, workload)
        observer.stop()
        faults = workload.faults_since(0.0)
        self._console.print(screen.summary(picture(), director.changes, faults, verdict), markup=False, soft_wrap=True)
        for line in router.complaints():
            self._console.print(f"the router's log: {line}", markup=False, soft_wrap=True)
        if not ended:
            self._console.print("a client still waits for an answer")
        return 0 if agreed and ended and not director.failed else 1

    def _watch(self, picture: Callable[..., Picture], director: Director, router: RouterProcess) -> None:
        """Show what happens until the time is over or the user ends it."""
        live = self._console.is_terminal
        with key_reader(wanted=live) as next_key, contextlib.ExitStack() as stack:
            if live:
                show = stack.enter_context(Live(console=self._console, auto_refresh=False))
            else:
                self._console.print(f"in another terminal:  {picture().psql}", soft_wrap=True)
                self._console.print(f"in a browser:  {picture().page}", soft_wrap=True)
            reporter = Reporter(self._console)
            while not self._is_over(director):
                if live:
                    show.update(screen.draw(picture(keys=next_key is read_key), self._console.height), refresh=True)
                else:
                    reporter.report(picture())
                if read_and_act(next_key(LOOK_EVERY_S), director):
                    return
                self._kill_in_time(director)
                if not router.alive:
                    raise DemoError(f"the router ended, see {router.log}:\n{router.log.read_text()[-2000:]}")
            if not live:
                reporter.report(picture(), last=True)

    def _kill_in_time(self, director: Director) -> None:
        if self._args.failover and not self._killed and self._elapsed_s() > self._kill_after_s():
            self._killed = True
            director.fail_over()

    def _kill_after_s(self) -> float:
        return min(KILL_AFTER_S, (self._args.seconds or KILL_AFTER_S * 3) / 3)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _is_over(self, director: Director) -> bool:
        """Whether the requested time is over; a leader change in progress may still finish, and be shown."""
        if self._args.seconds is None or self._elapsed_s() < self._args.seconds:
            return False
        if self._args.failover and not self._killed:
            return False
        settled_s = director.events[-1].at_s + SETTLED_S if director.changes else 0.0
        return not director.busy and self._elapsed_s() > settled_s

    def _picture(self, psql: str, observer: Observer, workload: Workload, director: Director, *, keys: bool) -> Picture:
        sights, totals = observer.sights, workload.totals()
        reads_per_s, writes_per_s = self._per_second({s.name: s.reads for s in sights}, totals.writes)
        return screen.Picture(
            elapsed_s=self._elapsed_s(), psql=psql, page=self._page, sights=sights, totals=totals,
            reads_per_s=reads_per_s, writes_per_s=writes_per_s, events=tuple(director.events), keys=keys,
        )  # fmt: skip

    def _per_second(self, reads: dict[str, int], writes: int) -> tuple[dict[str, float], float]:
        """Return rates over the last two seconds (PostgreSQL publishes its counters about once a second)."""
        then, old_reads, old_writes = self._rates
        passed_s = time.monotonic() - then
        if passed_s > LINE_EVERY_S:
            per_s = {name: (count - old_reads.get(name, count)) / passed_s for name, count in reads.items()}
            self._shown_rates = per_s, (writes - old_writes) / passed_s
            self._rates = time.monotonic(), reads, writes
        return self._shown_rates

    def _progress(self, text: str) -> None:
        self._console.print(f"{self._elapsed_s():6.1f} s  {text}", markup=False, soft_wrap=True)
        sys.stdout.flush()


class Reporter:
    """Prints events as they happen and a line every other second, for output that cannot be redrawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._next_line_s = 0.0

    def report(self, picture: Picture, *, last: bool = False) -> None:
        """Print what is new."""
        for event in picture.events[self._told :]:
            self._print(f"{event.at_s:6.1f} s  {'!! ' if event.bad else '-- '}{event.text}")
        self._told = len(picture.events)
        if last or picture.elapsed_s >= self._next_line_s:
            self._next_line_s = picture.elapsed_s + LINE_EVERY_S
            self._print(screen.line(picture))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
        sys.stdout.flush()


def read_and_act(key: str, director: Director) -> bool:
    """Do what a key stands for; return True for quit."""
    if key == "f":
        director.fail_over()
    elif key == "s":
        director.switch_over()
    return key == "q"


def prepare(cluster: PatroniCluster) -> None:
    """Create the clients' user, database and table, and wait until every member has them."""
    leader = cluster.require_leader()
    leader.sql(f"create role {LOGIN} login password '{LOGIN}'")
    leader.sql(f"create database {LOGIN} owner {LOGIN}")
    leader.sql(f"set role {LOGIN}; {SETUP}", LOGIN)
    leader.sql(ANALYZE, LOGIN)
    for replica in cluster.replicas():
        until(partial(has_rows, replica), CATCH_UP_S, f"{replica.name} has the demo's rows")


def has_rows(member: Member) -> bool:
    """Whether a member has the demo's first rows."""
    with contextlib.suppress(psycopg.Error):
        return bool(member.sql(f"select count(*) = {OLD_ROWS} from {TABLE}", LOGIN)[0][0])  # noqa: S608
    return False


def start_router(cluster: PatroniCluster, port: int, http_port: int) -> RouterProcess:
    """Write the router's settings into the cluster's directory and start the router."""
    users = f'"{LOGIN}" "{LOGIN}"\n"{USER}" "{PASSWORD}"\n'
    settings = {
        "listen": [{"host": "127.0.0.1", "port": port}],
        "cluster": {
            "source": "etcd",
            "etcd": {"endpoints": list(cluster.etcd.endpoints), "scope": cluster.options.scope},
            "monitor": {"user": MONITOR, "password": MONITOR, "database": "postgres"},
        },
        "auth": {"type": "scram-sha-256", "users_file": "users.txt"},
        "admin": {"admin_users": [LOGIN]},
        "http": {"host": "127.0.0.1", "port": http_port},
    }
    write_file(cluster.workdir / "users.txt", users)
    config = write_file(cluster.workdir / "pgrouter.yml", json.dumps(settings, indent=1))  # JSON is YAML
    router = RouterProcess(config, cluster.workdir)
    router.start()
    return router


def compare(cluster: PatroniCluster, workload: Workload) -> tuple[str, bool]:
    """Compare every member with what the writer had acknowledged, until they agree or time is up."""
    acknowledged = workload.acknowledged()
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        verdict, agreed = compare_once(cluster, acknowledged)
        if agreed or time.monotonic() > deadline:
            return verdict, agreed
        time.sleep(LOOK_EVERY_S)


def compare_once(cluster: PatroniCluster, acknowledged: set[int]) -> tuple[str, bool]:
    """Return a summary, and whether all members have every acknowledged row and the same number of rows."""
    counts: dict[str, int] = {}
    for member in cluster.members:
        try:
            missing, counts[member.name] = missing_rows(member, LOGIN, acknowledged)
        except psycopg.Error as error:
            return f"{member.name} does not answer: {error}", False
        if missing:
            return f"{member.name} lacks {len(missing)} of {len(acknowledged)} acknowledged rows", False
    if len(set(counts.values())) > 1:
        return f"the members differ: {counts}", False
    return f"all {len(acknowledged)} acknowledged rows are on all {len(counts)} members", True


def main() -> int:
    """Run the demo without the command `pgrouter`."""
    parser = argparse.ArgumentParser(prog="pgrouter demo", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
