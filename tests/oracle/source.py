"""PostgreSQL's own regression SQL, from Debian's source package; fetched once into a cache, never kept here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "postgresql-{major}"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT_SOURCES = f"deb-src [signed-by={KEYRING}] http://deb.debian.org/debian {{release}} main\n"
WANTED = re.compile(
    r"[^/]+/(src/test/regress/(sql|data|[a-z]*_schedule)|contrib/[^/]+/(sql|data|Makefile)|src/pl/plpgsql/src/(sql|data)"
    r"|src/test/isolation/(specs|[a-z]*_schedule))(/|$)"
)


class SourceError(RuntimeError):
    """The source cannot be had; the text says what was tried and how to help."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Scripts that build on one another in one database, in order."""

    name: str
    directory: Path  # that holds sql/ and data/
    scripts: tuple[Path, ...]


def find(cache: Path, major: int) -> Path:
    """Give the unpacked source: $PGROUTER_PG_SOURCE, or Debian's package of the servers' version."""
    if told := os.environ.get("PGROUTER_PG_SOURCE"):
        return Path(told)
    place = cache / f"source{major}"
    if not (place / "src/test/isolation").exists():
        unpack(download(cache / "download", PACKAGE.format(major=major)), place)
    return place


def download(place: Path, package: str) -> Path:
    """Fetch a source package with apt-get, which needs no root and no change to the machine's own sources."""
    for directory in ("lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    release = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", Path("/etc/os-release").read_text(), re.MULTILINE))
    (place / "sources.list").write_text(APT_SOURCES.format(release=release.get("VERSION_CODENAME", "bookworm")))
    settings = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",  # else apt wants the directory to be another user's
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    for command in (["update"], ["source", "--download-only", package]):
        done = subprocess.run(
            ["apt-get", *options, *command], cwd=place, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise SourceError(f"apt-get {' '.join(command)}: {done.stderr.strip()}\nor set {told_by(package)}")
    return next(place.glob(f"{package}_*.orig.tar.*"))


def told_by(package: str) -> str:
    """Give the variable of the environment that may name a directory with the package's source."""
    return "PGROUTER_PG_SOURCE" if package.startswith("postgresql") else f"PGROUTER_{package.upper()}_SOURCE"


def unpack(archive: Path, place: Path) -> None:
    """Unpack the regression files only."""
    making = place.with_suffix(".new")
    shutil.rmtree(making, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            if WANTED.match(member.name):
                member.name = member.name.partition("/")[2]
                tar.extract(member, making, filter="data")
    shutil.rmtree(place, ignore_errors=True)  # of a time when less was wanted
    making.rename(place)


def suites(source: Path, installed: set[str]) -> Iterator[Suite]:
    """Give the core suite in the order of its schedule, plpgsql's, and those of the extensions that are installed."""
    core = source / "src/test/regress"
    schedule = re.findall(r"^test: (.*)$", (core / "parallel_schedule").read_text(), re.MULTILINE)
    names = [name for group in schedule for name in group.split()]
    yield Suite("core", core, tuple(core / f"sql/{name}.sql" for name in names))
    plpgsql = source / "src/pl/plpgsql/src"
    yield Suite("plpgsql", plpgsql, tuple(sorted(plpgsql.glob("sql/*.sql"))))
    for directory in sorted((source / "contrib").iterdir()):
        makefile = (directory / "Makefile").read_text() if (directory / "Makefile").exists() else ""
        listed = re.search(r"^REGRESS\s*=\s*((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
        order = listed[1].replace("\\\n", " ").split() if listed else []
        scripts = [path for name in order if (path := directory / f"sql/{name}.sql").exists()]
        if scripts and directory.name in installed:
            yield Suite(directory.name, directory, tuple(scripts))
