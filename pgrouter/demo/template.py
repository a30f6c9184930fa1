"""Initialized data directories, created once per PostgreSQL version, kept in a cache, copied for every new server.

The cache also keeps a copy of PostgreSQL itself if it is in a place that the servers' user cannot access, such as
root's virtual environment under /root. Capabilities do not help there: initdb and postgres use access(2), which ignores
them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgrouter.demo.processes import DemoError, make_directory, own, reachable, run, service_user, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.demo.binaries import PostgresBinaries

USER = PASSWORD = "postgres"  # noqa: S105  (of throw-away servers on loopback)
MONITOR = "pgrouter"  # name and password of the router's own role
# All that the router needs to follow a cluster
MONITOR_ROLE = f"CREATE ROLE {MONITOR} LOGIN PASSWORD '{MONITOR}' IN ROLE pg_monitor\n"

Stored = Literal["scram-sha-256", "md5"]


def template(binaries: PostgresBinaries, stored: Stored) -> Path:
    """Return an initialized, never started data directory, created on first use (1 s)."""
    with locked_cache() as cache:
        wanted = cache / f"data{binaries.major}-{key(binaries, stored)}"
        if not wanted.exists():
            made = make_directory(_unmade(cache))
            initdb(binaries, made, stored)
            made.rename(wanted)
    return wanted


def within_reach(binaries: PostgresBinaries) -> PostgresBinaries:
    """Return binaries that the servers' user can run: these, or a copy (42 MB, created once)."""
    if service_user() is None or reachable([binaries.program("postgres")]):
        return binaries
    with locked_cache() as cache:
        wanted = cache / f"postgresql{binaries.major}-{key(binaries)}"
        if not wanted.exists():
            made = _unmade(cache)
            subprocess.run(["cp", "-a", binaries.directory.parent, made], check=True)  # noqa: S603, S607
            make_directory(made, 0o755).rename(wanted)
    return replace(binaries, directory=wanted / binaries.directory.name)


def _unmade(cache: Path) -> Path:
    """Return an empty place to build something, without leftovers of an earlier process with this pid."""
    place = cache / f"new-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    return place


@contextmanager
def locked_cache() -> Iterator[Path]:
    """Yield the cache directory, locked against other processes; it is safe to delete at any time."""
    told = os.environ.get("PGROUTER_DEMO_CACHE")
    cache = Path(told) if told else Path(tempfile.gettempdir()) / f"pgrouter-cache-{os.geteuid()}"
    refuse_foreign(cache)
    make_directory(cache, 0o755)
    with (cache / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def refuse_foreign(cache: Path) -> None:
    """Raise DemoError if another user created the directory: its contents get executed."""
    user = service_user()
    if cache.is_symlink() or (cache.exists() and cache.stat().st_uid not in {os.geteuid(), user and user.pw_uid}):
        raise DemoError(f"{cache} belongs to another user; remove it, or set PGROUTER_DEMO_CACHE to another directory")


def key(binaries: PostgresBinaries, *more: str) -> str:
    """Return a key for this PostgreSQL and this layout of the cache."""
    return hashlib.sha256(" ".join([str(binaries.directory), binaries.version, *more, "3"]).encode()).hexdigest()[:12]


def initdb(binaries: PostgresBinaries, data: Path, stored: Stored) -> None:
    """Initialize a data directory with the superuser postgres/postgres and the router's role."""
    secret = write_file(data.with_suffix(".password"), PASSWORD + "\n")
    options = ["-U", USER, f"--pwfile={secret}", "-A", stored, "-E", "UTF8", "--locale=C", "--data-checksums"]
    run([binaries.program("initdb"), "-D", data, *options, "--no-sync", "--no-instructions"], data)
    secret.unlink()
    role = write_file(data.with_suffix(".sql"), MONITOR_ROLE)  # the single-user mode reads lines
    run(["sh", "-c", 'exec "$0" --single -D "$1" postgres < "$2"', binaries.program("postgres"), data, role], data)
    role.unlink()


def copy_template(source: Path, target: Path) -> None:
    """Copy a data directory, keeping its owner; `cp` is four times faster than shutil for its 970 files."""
    # Never hard links: the server modifies these files in place.
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)  # noqa: S603, S607
    own(target)
