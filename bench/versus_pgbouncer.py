"""CPU per transaction of pgrouter and of PgBouncer, measured in one interleaved run on real servers.

    .venv/bin/python bench/versus_pgbouncer.py [--rounds 5] [--seconds 3] [--clients 16] [--json FILE]

A primary and two streaming standbys are started, pgrouter in front of all three (parsing, routing and balancing always
on, as for any user) and PgBouncer (Debian's, if it is installed) in front of the first standby. Each round runs the
same pgbench against both, one after the other, so that the machine's drift hits both alike. The figure is the proxy's
own user and system time divided by the transactions of the run: far steadier than transactions per second, and the
ratio of two neighbours is steadier still.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg
import yaml

import pgrouter
from pgrouter.demo.postgres import PASSWORD, USER
from pgrouter.demo.processes import spawn, until, write_file
from pgrouter.demo.router import RouterProcess
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.demo.workdir import Workdir

TICKS = os.sysconf("SC_CLK_TCK")

CASES = {
    "select-only, simple": ["-S", "-M", "simple"],
    "select-only, extended": ["-S", "-M", "extended"],
    "select-only, prepared": ["-S", "-M", "prepared"],
}
# PgBouncer before 1.21 has no prepared statements in transaction mode
ONLY_PGROUTER = ("select-only, prepared",)


@dataclass
class Figures:
    """What one subject needed in one case, a number a round."""

    cpu_us: list[float] = field(default_factory=list)  # own user + system time per transaction
    tps: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """A proxy that is measured."""

    name: str
    port: int
    pid: int

    def cpu_s(self) -> float:
        """Give the process's user and system time so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def measure(self, pgbench: str, case: list[str], clients: int, seconds: int, figures: Figures) -> None:
        """Run pgbench once and note the figures."""
        before = self.cpu_s()
        done = subprocess.run(
            [pgbench, "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-n", *case,
             "-c", str(clients), "-T", str(seconds), "postgres"],
            env=os.environ | {"PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=True,
        )
        spent = self.cpu_s() - before
        count = int(re.search(r"actually processed: (\d+)", done.stdout)[1])
        figures.cpu_us.append(spent / count * 1e6)
        figures.tps.append(float(re.search(r"tps = ([\d.]+)", done.stdout)[1]))
        figures.latency_ms.append(float(re.search(r"latency average = ([\d.]+)", done.stdout)[1]))


def start_pgrouter(cluster: StreamingCluster, workdir: Path) -> Subject:
    """Start the router with its defaults; clients are trusted, as PgBouncer's are."""
    users = write_file(workdir / "users.txt", f'"{USER}" "{PASSWORD}"\n')
    settings = {
        "listen": [{"host": "127.0.0.1", "port": 0}],
        "cluster": {
            "source": "static",
            "members": [{"name": s.name, "host": "127.0.0.1", "port": s.port} for s in cluster.servers],
            "monitor": {"user": USER, "password": PASSWORD},
        },
        "auth": {"type": "trust", "users_file": str(users)},
        "log": {"level": "warning"},
    }
    router = RouterProcess(write_file(workdir / "pgrouter.yml", yaml.safe_dump(settings)), workdir)
    router.start()
    return Subject("pgrouter", router.ports[0], router.pid)


def start_pgbouncer(cluster: StreamingCluster, directory: Workdir) -> Subject | None:
    """Start PgBouncer in front of the first standby; None when it is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        return None
    (port,) = directory.ports(1)
    users = write_file(directory.path / "userlist.txt", f'"{USER}" "{PASSWORD}"\n', 0o644)
    config = f"""\
[databases]
postgres = host=127.0.0.1 port={cluster.standbys[0].port} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 20
max_client_conn = 2000
"""
    ini = write_file(directory.path / "pgbouncer.ini", config, 0o644)
    process = spawn([program, "-q", ini], directory.path, directory.path / "pgbouncer.log")
    subject = Subject("pgbouncer", port, process.pid)
    until(lambda: _answers(port), 10, "pgbouncer answers")
    return subject


def _answers(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user=USER, dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def table(results: dict[str, dict[str, Figures]], rounds: int) -> str:
    """Lay out medians, and the ratio of neighbours with its spread."""
    head = f"{'case':24} {'proxy':10} {'CPU us/tx':>10} {'tx/s':>8} {'latency ms':>11}"
    lines = [f"{head}   ratio of CPU (min - max of {rounds})"]
    for case, subjects in results.items():
        for name, figures in subjects.items():
            cpu_us, tps, latency_ms = map(statistics.median, (figures.cpu_us, figures.tps, figures.latency_ms))
            line = f"{case:24} {name:10} {cpu_us:10.1f} {tps:8.0f} {latency_ms:11.3f}"
            if name == "pgrouter" and "pgbouncer" in subjects:
                pairs = zip(figures.cpu_us, subjects["pgbouncer"].cpu_us, strict=True)
                ratios = sorted(ours / theirs for ours, theirs in pairs)
                line += f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"
            lines.append(line)
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU per transaction: pgrouter and PgBouncer, interleaved.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of one pgbench run")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    directory = Workdir("bench")
    try:
        with StreamingCluster() as cluster:
            pgbench = str(cluster.binaries.directory / "pgbench")
            env = os.environ | {"PGPASSWORD": PASSWORD}
            init = [pgbench, "-h", "127.0.0.1", "-p", str(cluster.primary.port), "-U", USER, "-iqs", "5", "postgres"]
            subprocess.run(init, env=env, capture_output=True, check=True)
            cluster.wait_caught_up()
            subjects = [start_pgrouter(cluster, directory.path), start_pgbouncer(cluster, directory)]
            if subjects[1] is None:
                print("PgBouncer is not installed (apt-get install pgbouncer): measuring pgrouter alone")
            results: dict[str, dict[str, Figures]] = {}
            for case, words in CASES.items():
                able = [s for s in subjects if s and (s.name == "pgrouter" or case not in ONLY_PGROUTER)]
                results[case] = {s.name: Figures() for s in able}
                for _ in range(args.rounds):
                    for subject in able:
                        figures = results[case][subject.name]
                        subject.measure(pgbench, words, args.clients, args.seconds, figures)
    finally:
        directory.remove()
    build = "compiled" if pgrouter.COMPILED else "not compiled"
    print(f"pgrouter {pgrouter.__version__} ({build}), {args.clients} clients, {os.cpu_count()} cores")
    print(table(results, args.rounds))
    if args.json:
        plain = {case: {name: asdict(f) for name, f in subjects.items()} for case, subjects in results.items()}
        args.json.write_text(json.dumps({"compiled": pgrouter.COMPILED, "results": plain}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
