"""Run PgBouncer's own tests with BOUNCER_EXE pointing at the launcher, and say which functions pass.

The source is fetched (PGBOUNCER_SOURCE: a directory or an address that git can clone), with a virtual environment for
its tests, into a directory that stays (--directory). Words behind `--` are pytest's: files, -k.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from pgrouter.demo.processes import command, service_user

SOURCE = "https://github.com/pgbouncer/pgbouncer"
TOOLS = ("pytest", "pytest-asyncio>=1", "pytest-timeout", "pytest-xdist", "psycopg[binary]", "filelock")
LOOPS = ("-o", "asyncio_default_fixture_loop_scope=function")  # newer releases of pytest-asyncio warn without it
FEATURES = "ldap_support = no\ntls_support = yes\n"  # as PgBouncer's configure would write them
CODE = Path(__file__).parents[2]
LAUNCHER = f"""#!/bin/sh
PYTHONPATH={CODE} exec {sys.executable} -c 'import sys; from pgrouter.bouncer.main import main; sys.exit(main())' "$@"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("/tmp/pgrouter-bouncer-suite"))  # noqa: S108
    parser.add_argument("--processes", default="2")
    parser.add_argument("words", nargs="*", help="pytest's own")
    args = parser.parse_args()
    prepare(args.directory)
    report = args.directory / "report.xml"
    report.unlink(missing_ok=True)
    run_suite(args.directory, report, ["-n", args.processes, *args.words])
    return tell(report)


def prepare(directory: Path) -> None:
    """Fetch the source and what its tests need, once."""
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / "source"
    if not source.exists():
        where = os.environ.get("PGBOUNCER_SOURCE", SOURCE)
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", where, source], check=True)
    (source / "config.mak").write_text(FEATURES)
    if not (directory / "venv").exists():
        venv.create(directory / "venv", with_pip=True)
        subprocess.run([directory / "venv/bin/pip", "install", "--quiet", *TOOLS], check=True)
    launcher = directory / "pgrouter-bouncer"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    for path in (directory / "tmp", directory / "home"):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    if user := service_user():
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", directory], check=True)


def run_suite(directory: Path, report: Path, words: list[str]) -> None:
    """Run the tests as an ordinary user: PostgreSQL does not start as root."""
    python = str(directory / "venv/bin/python")
    argv = [python, "-m", "pytest", "-q", "--tb=native", "--assert=plain", *LOOPS, f"--junitxml={report}"]
    argv += ["--basetemp", str(directory / "tmp/t"), *words]
    servers = os.environ.get("PGBIN", "")
    environment = {
        "BOUNCER_EXE": str(directory / "pgrouter-bouncer"),
        "PATH": f"{servers}:{os.environ['PATH']}" if servers else os.environ["PATH"],
        "HOME": str(directory / "home"),
        "LC_ALL": "C.UTF-8",
    }
    with (directory / "output").open("w") as output:
        subprocess.run(
            command(argv), cwd=directory / "source/test", env=environment, stdout=output, stderr=output, check=False
        )


def tell(report: Path) -> int:
    """Print the outcome of each function, the worst of its cases, and the counts."""
    outcomes: dict[str, tuple[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (written by pytest, just now)
        name = f"{case.get('classname', '').split('.')[-1]}::{case.get('name', '').split('[')[0]}"
        bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        kind = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "failed"
        if name not in outcomes or kind == "failed" or outcomes[name][0] == "skipped":
            why = "" if bad is None else (bad.get("message") or "").splitlines()[0][:150]
            outcomes[name] = (kind, why)
    for name, (kind, why) in sorted(outcomes.items()):
        if kind != "passed":
            print(f"{kind} {name}: {why}")
    counts = Counter(kind for kind, _ in outcomes.values())
    print(f"{len(outcomes)} functions: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
