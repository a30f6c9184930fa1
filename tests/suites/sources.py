"""The suites' sources and an environment for each, fetched and made once, in .oracle/suites."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from oracle import source

if TYPE_CHECKING:
    from suites.table import Suite

# PyPI has psycopg without its tests, Debian's source package has all of the repository; or a checkout is named.
DEBIAN = {"psycopg": "psycopg3"}
TOLD = {"psycopg": "PGROUTER_PSYCOPG3_SOURCE"}


def unpacked(suite: Suite, cache: Path) -> Path:
    """Give the directory with the suite's source, without the code that is installed in its environment."""
    place = cache / "source" / suite.project
    if not place.exists():
        making = place.with_suffix(".new")
        shutil.rmtree(making, ignore_errors=True)
        told = os.environ.get(TOLD.get(suite.project, ""))
        if told:
            shutil.copytree(told, making, ignore=shutil.ignore_patterns(".git"))
        else:
            with tarfile.open(archive(suite, cache)) as tar:
                tar.extractall(making, filter="data")
            (making,) = making.iterdir()
        making.rename(place)
        shutil.rmtree(place.with_suffix(".new"), ignore_errors=True)
    if suite.shadows and (place / suite.shadows).exists():
        (place / suite.shadows).rename(place / f"{suite.shadows}.away")
    return place


def archive(suite: Suite, cache: Path) -> Path:
    """Fetch the source distribution."""
    downloads = cache / "download"
    if suite.project in DEBIAN:
        return source.download(downloads, DEBIAN[suite.project])
    path = downloads / f"{suite.project}-{suite.version}.tar.gz"
    if not path.exists():
        pip(Path(sys.executable), "download", "--no-deps", "--no-binary", suite.project, "--dest", str(downloads),
            f"{suite.project}=={suite.version}")  # fmt: skip
    return path


def version(suite: Suite, place: Path) -> str:
    """Give the version of the source: the table's, unless a directory has been named or Debian has another."""
    described = place / f"{suite.shadows}.away/pyproject.toml"
    if suite.project in DEBIAN and described.exists():
        return re.search(r'^version = "(.+?)(?:\.dev\d+)?"', described.read_text(), re.MULTILINE)[1]
    return suite.version


def environment(suite: Suite, place: Path, cache: Path) -> Path:
    """Give the python of the suite's own virtual environment."""
    packages = [package.format(version=version(suite, place)) for package in suite.packages]
    directory = cache / "venv" / suite.project
    python, stamp = directory / "bin/python", directory / "packages"
    if not stamp.exists() or stamp.read_text().split() != packages:
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip(python, "install", *packages)
        stamp.write_text("\n".join(packages))
    return python


def pip(python: Path, *arguments: str) -> None:
    """Let pip do something; what it says is shown when it fails."""
    done = subprocess.run([str(python), "-m", "pip", "-q", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise source.SourceError(f"pip {' '.join(arguments)}: {done.stdout}{done.stderr}")
