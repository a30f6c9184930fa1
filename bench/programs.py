"""Finds the programs that pgrouter is compared with; what is missing is fetched or compiled into a cache of ours."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / "build" / "bench"  # `make clean` removes it
PLACES = ("/usr/sbin", "/usr/local/sbin")  # where Debian puts servers, and ordinary users do not look


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be started."""

    path: Path
    version: str
    libraries: str = ""  # directories with what it needs and the system does not have

    @property
    def env(self) -> dict[str, str]:
        """What its environment must have."""
        return {"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:3])


def find(name: str, package: str, asks_version: str) -> Program | str:
    """Give a program: the system's, or Debian's, fetched but not installed; else why there is none."""
    on_path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))
    if on_path:
        return probe(Path(on_path), "", asks_version)
    tree = CACHE / "debian" / package
    if not tree.exists():
        try:
            fetch(package, tree)
        except (OSError, subprocess.SubprocessError) as error:
            return f"not installed, and apt-get could not fetch {package}: {error}"
    found = shutil.which(name, path=os.pathsep.join(str(tree / place) for place in ("usr/sbin", "usr/bin")))
    if found is None:
        return f"Debian's package {package} has no {name}"
    libraries = os.pathsep.join(sorted({str(library.parent) for library in (tree / "usr/lib").rglob("*.so.*")}))
    return probe(Path(found), libraries, asks_version)


def probe(path: Path, libraries: str, asks_version: str) -> Program | str:
    """Give the program with its version; why not, if it does not run."""
    program = Program(path, "", libraries)
    asked = subprocess.run(
        [path, asks_version], env=os.environ | program.env, capture_output=True, text=True, check=False, timeout=10
    )
    said = asked.stdout + asked.stderr
    version = re.search(r"\d+\.\d+(\.\d+)?", said)
    return Program(path, version[0], libraries) if version else f"{path} does not run: {said.strip()[:200]}"


def fetch(package: str, tree: Path) -> None:
    """Unpack a Debian package and what it needs that is not installed; no root, nothing is changed on the system."""
    print(f"fetching {package} into {tree.parent} (nothing is installed on the system)", flush=True)
    place = CACHE / "apt"
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (place / needed).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State": place / "state", "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "root",  # the user _apt could not enter our directory
        "Debug::NoLocking": "1",  # the system's lock is root's
    }  # fmt: skip
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    made = tree.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    run(*apt, "update")
    planned = run(*apt, "install", "--print-uris", "--yes", "--no-install-recommends", package)
    run(*apt, "download", *re.findall(r"' ([^_\s]+)_\S+\.deb ", planned), cwd=made)
    for archive in made.glob("*.deb"):
        run("dpkg-deb", "-x", str(archive), str(made))
        archive.unlink()
    made.rename(tree)


def run(*argv: str, cwd: Path | None = None) -> str:
    """Run a program that has to succeed, and give its words."""
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True, timeout=120).stdout


def machine() -> str:
    """Name the machine that all of it runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores, {processor}, Linux {platform.release()}"


def relay() -> Program | str:
    """Compile the relay; why not, if there is no compiler."""
    source, target = Path(__file__).with_name("relay.c"), CACHE / "relay"
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return Program(target, "")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return "there is no C compiler"
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", target, source], check=True)
    return Program(target, "")


def python_in(checkout: Path) -> Path:
    """Give the Python that runs a checkout of pgrouter."""
    return checkout / ".venv" / "bin" / "python"


def version_of(checkout: Path) -> str:
    """Say what a checkout of pgrouter is: version, commit, compiled or not."""
    own = python_in(checkout)
    if not own.exists():
        raise SystemExit(f"{own} does not exist: `make build` there first")
    asks = "import pgrouter; print(pgrouter.__version__, 'compiled' if pgrouter.COMPILED else 'NOT COMPILED')"
    env = os.environ | {"PYTHONPATH": str(checkout)}
    said = subprocess.run([own, "-c", asks], env=env, cwd="/", capture_output=True, text=True, check=True).stdout
    commit = ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        log = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
        commit = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    return " ".join(f"{said} {commit}".split())
