"""Sets up .venv: a virtual environment with pip, pgrouter with the requested packages, and the compiled modules.

    bootstrap.py [router | build | demo | test]     default: test, which includes everything

`router` installs what `pgrouter run` needs, `demo` a cluster to try it on (PostgreSQL, etcd and Patroni as packages,
60 MB in all), `test` also the drivers and tools of the tests (Django, Node.js, a JDK, ...: 250 MB). `build` and `test`
compile the modules of the data path, which takes a minute; the others use what is already compiled, and recompile what
has changed. What is up to date is left alone. Each step is one line; the output of pip and the compiler goes to
build/bootstrap.log, and its end is shown if a step fails.

Standard library only, and no host is named here: pip and apt use this machine's configuration. Debian's python3 has
neither pip nor ensurepip; then pip comes from the package python3-pip-whl, which apt downloads into a directory of
ours: that needs no root and changes nothing on the system.

PGROUTER_BUILD: auto (default: without a compiler pgrouter runs uncompiled, with a loud warning), require (compile,
whatever is requested, or fail), skip.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "pgrouter-stamp"
LOG = ROOT / "build" / "bootstrap.log"
LOG_SHOWN = 4000  # bytes of the log shown if a step has failed

# What can be installed, each including those before it: the extra of pyproject.toml and roughly the download size
SETS = {"router": ("", "20 MB"), "demo": ("[demo]", "60 MB"), "test": ("[test]", "250 MB")}
WORDS = {"router": "router", "build": "router", "demo": "demo", "test": "test"}  # argument: packages it needs
COMPILED_FOR = ("build", "test")
PIP_PACKAGE = "python3-pip-whl"

SLOW = """
**********************************************************************************************
*** pgrouter is NOT COMPILED: {why}.
*** It runs, correct but SLOW. For full speed: apt-get install gcc python3-dev, then again.
**********************************************************************************************
"""
PLAIN = "runs as plain Python, enough for a look; `make build` (a minute, once{needs}) makes it several times faster"


def main(arguments: list[str]) -> int:
    """Bring .venv up to date; return 0 if it is ready."""
    word = arguments[0] if arguments else "test"
    if word not in WORDS or len(arguments) > 1:
        return complain(f"usage: bootstrap [{' | '.join(WORDS)}]")
    if os.environ.get("PGROUTER_BUILD", "auto") not in ("auto", "require", "skip"):
        return complain("PGROUTER_BUILD: expected auto, require or skip")
    lock = ROOT / "build" / "bootstrap.lock"
    try:
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as held:  # concurrent `make test` and `make demo`: one installs, the other waits
            fcntl.flock(held, fcntl.LOCK_EX)
            bring_up_to_date(WORDS[word], compiles=word in COMPILED_FOR)
    except (subprocess.CalledProcessError, OSError) as error:  # also if root created it and another user runs this
        return complain(f"not ready: {error}")
    return 0


def bring_up_to_date(wanted: str, *, compiles: bool) -> None:
    """Install and compile what has changed, or is newly requested, since the stamp was written."""
    packages, build = fingerprints()
    old = STAMP.read_text().split() if STAMP.exists() else []
    if len(old) != 4:  # a full disk may have left an empty file
        old = ["", "", "plain", "router"]
    wanted = max(wanted, old[3], key=list(SETS).index)  # what is installed stays
    compiles = compiles or old[2] != "plain" or os.environ.get("PGROUTER_BUILD", "auto") != "auto"
    installed = old[0] == packages and old[3] == wanted and PYTHON.exists()
    if installed and old[1] == build and compiles == (old[2] != "plain") and is_as_stamped(old[2]):
        warn_if_slow(old[2])
        return
    started = time.monotonic()
    LOG.write_text("")
    if not installed:
        install(wanted)
    compiled = compile_modules() if compiles else "plain"
    if not all_compiled():
        remove_libraries()  # all or none: compiled modules expect the others to be compiled
    STAMP.write_text(f"{packages} {build} {compiled} {wanted}\n")
    say(f"ready in {time.monotonic() - started:.0f} s")
    warn_if_slow(compiled)


def fingerprints() -> tuple[str, str]:
    """Return hashes of what the packages depend on and of what the compiled modules depend on."""
    packages = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    packages.update((ROOT / "pyproject.toml").read_bytes())
    build = hashlib.sha256(f"{os.environ.get('PGROUTER_BUILD', 'auto')} {missing_for_build()}".encode())
    for path in [ROOT / "setup.py", *sorted((ROOT / "pgrouter").rglob("*.p[xy][dx]")), *compiled_modules()]:
        build.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return packages.hexdigest(), build.hexdigest()


def compiled_modules() -> list[Path]:
    """Return the modules that setup.py compiles."""
    names = re.findall(r'^    "(pgrouter/[\w/]+\.py)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    return [ROOT / name for name in names]


def all_compiled() -> bool:
    """Whether every module to compile has its library, for this Python, none older than its source."""
    libraries = [module.with_suffix(sysconfig.get_config_var("EXT_SUFFIX")) for module in compiled_modules()]
    return all(library.exists() and not is_outdated(library) for library in libraries)


def is_as_stamped(compiled: str) -> bool:
    """Whether the libraries are as the stamp says: they may have been removed, or compiled by hand."""
    return all_compiled() or (compiled != "yes" and not any((ROOT / "pgrouter").rglob("*.so")))


def remove_libraries() -> None:
    """Remove all compiled libraries, so that every module runs from its source."""
    for library in (ROOT / "pgrouter").rglob("*.so"):
        library.unlink()


def missing_for_build() -> str:
    """Return what this machine lacks to compile; empty if nothing."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) and not shutil.which("cc"):
        return "there is no C compiler"
    return "" if header.exists() else "Python's headers are missing"


# -- packages


def install(wanted: str) -> None:
    """Create .venv unless there is a usable one, and bring its packages up to date."""
    works = "import sys, pip; sys.exit(sys.version != sys.argv[1])"
    if not PYTHON.exists() or not succeeds(str(PYTHON), "-c", works, sys.version):
        make_environment()
    build_needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    extra, size = SETS[wanted]
    # Compiling comes afterwards, when only what has changed is recompiled.
    environment = os.environ | {"PGROUTER_BUILD": "skip"}
    with Step(f"installing packages ({wanted}: up to {size}, once)") as step:
        pip(step, "install", *build_needs)
        pip(step, "install", "--no-build-isolation", "--editable", f"{ROOT}{extra}", environment=environment)


def pip(step: Step, *arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run the environment's pip; each package it starts on is progress."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-color", *arguments]
    # Most of what is installed is never imported: Python compiles the rest on import.
    step.run([*command, "--progress-bar=off", "--no-compile"], pip_progress, environment)


def pip_progress(line: str) -> str:
    """Return a short form of a line of pip's output; empty: not worth showing."""
    word, _, rest = line.strip().partition(" ")
    if word in ("Collecting", "Downloading", "Using") and rest:
        return f"{word.lower()} {rest.removeprefix('cached ').partition(' ')[0].partition('/')[0]}"
    return "unpacking" if line.startswith("Installing collected") else ""


def make_environment() -> None:
    """Create .venv with pip, in the first way that this machine supports."""
    with Step(f"making a virtual environment with Python {sys.version.split()[0]}") as step:
        shutil.rmtree(VENV, ignore_errors=True)
        me = sys.executable
        if succeeds(me, "-c", "import ensurepip"):
            step.run([me, "-m", "venv", str(VENV)])
            return
        step.run([me, "-m", "venv", "--without-pip", str(VENV)])
        theirs = [me, "-m", "pip"]
        if succeeds(*theirs, "--version") and succeeds(*theirs, "--python", str(PYTHON), "install", "pip"):
            return
        if shutil.which("uv") and succeeds("uv", "pip", "install", "--python", str(PYTHON), "pip"):
            return
    pip_from_debian()


def pip_from_debian() -> None:
    """Install pip from Debian's package of its wheel: apt's lists, or new ones in directories of our own."""
    if not shutil.which("apt-get"):
        raise OSError("this Python has neither ensurepip nor pip; install them (Debian's package is python3-venv)")
    with (
        Step("this Python comes without pip: fetching it with apt-get (nothing is installed on the system)") as step,
        tempfile.TemporaryDirectory(prefix="pgrouter-apt-") as name,
    ):
        there = Path(name)
        if not succeeds("apt-get", "download", PIP_PACKAGE, cwd=there):  # the system's lists are old or missing
            for needed in ("state/lists/partial", "cache/archives/partial"):
                (there / needed).mkdir(parents=True)
            options = {
                "Dir::State": there / "state", "Dir::State::status": "/var/lib/dpkg/status",
                "Dir::Cache": there / "cache",
                "APT::Sandbox::User": "root",  # the user _apt could not enter our directory
                "Acquire::Languages": "none",  # no translated descriptions
            }  # fmt: skip
            apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
            step.run([*apt, "update"])
            step.run([*apt, "download", PIP_PACKAGE], cwd=there)
        (package,) = there.glob("*.deb")
        step.run(["dpkg-deb", "-x", str(package), str(there / "tree")])
        (wheel,) = there.glob("tree/usr/share/python-wheels/pip-*.whl")
        step.run([str(PYTHON), str(wheel / "pip"), "install", "--no-compile", "--no-index", str(wheel)])


# -- compiling


def compile_modules() -> str:
    """Compile what has changed, if this machine can; return yes or no, or raise if it has to be yes."""
    asked, missing = os.environ.get("PGROUTER_BUILD", "auto"), missing_for_build()
    if asked == "require" and missing:
        raise OSError(f"PGROUTER_BUILD=require, and {missing}")
    if asked == "skip" or missing:
        remove_libraries()
        return "no"
    for library in (ROOT / "pgrouter").rglob("*.so"):
        if is_outdated(library):  # if compiling fails, it must not be used
            library.unlink()
    jobs = str(os.cpu_count() or 1)
    with Step(f"compiling {len(compiled_modules())} modules (a minute at first, then only what has changed)") as step:
        # Not --quiet: every compiler call is a line, and so is the progress.
        command = [str(PYTHON), "setup.py", "build_ext", "--inplace", "--parallel", jobs]
        step.run(command, compiler_progress())
    asks = "import pgrouter; print(pgrouter.COMPILED)"
    answer = subprocess.run([PYTHON, "-c", asks], capture_output=True, text=True, check=False, cwd=ROOT)  # noqa: S603
    compiled = answer.stdout.strip() == "True" and all_compiled()
    if asked == "require" and not compiled:
        raise OSError(f"PGROUTER_BUILD=require, and the modules are not compiled: see {LOG}")
    return "yes" if compiled else "no"


def compiler_progress() -> Callable[[str], str]:
    """Return a function that turns lines of Cython's and the compiler's output into progress."""
    counts = {"translated": 0, "compiled": 0}

    def progress(line: str) -> str:
        if line.startswith("building 'pgrouter."):
            counts["compiled"] += 1
        elif "Cythonizing" in line:
            counts["translated"] += 1
        else:
            return ""
        return ", ".join(f"{count} {done}" for done, count in counts.items() if count)

    return progress


def is_outdated(library: Path) -> bool:
    """Whether a compiled module is older than its source."""
    source = library.with_name(library.name.partition(".")[0] + ".py")
    texts = [path for path in (source, source.with_suffix(".pxd")) if path.exists()]
    return source not in texts or max(text.stat().st_mtime for text in texts) > library.stat().st_mtime


def warn_if_slow(compiled: str) -> None:
    """Report that the modules run as plain Python; loudly, if they should have been compiled."""
    missing = missing_for_build()
    if compiled == "no":
        why = missing or f"PGROUTER_BUILD=skip, or the build failed (see {LOG})"
        print(SLOW.format(why=why), file=sys.stderr)
    elif compiled == "plain" and not all_compiled():
        say(PLAIN.format(needs="; first: apt-get install gcc python3-dev" if missing else ""))


# -- steps


class Step:
    """One line that says what is being done, its progress (on a terminal), and in the end how long it took."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Show the title."""
        self._show(" ...")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Show the outcome and the time."""
        passed_s = time.monotonic() - self._started
        self._show(f": {'done' if kind is None else 'failed'} after {passed_s:.0f} s")
        print(file=sys.stderr, flush=True)

    def _show(self, text: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{f'pgrouter: {self._title}{text}'[:width]}", end="", file=sys.stderr, flush=True)
        else:  # not a terminal: only the beginning and the end
            print(f"pgrouter: {self._title}" if text == " ..." else text, end="", file=sys.stderr, flush=True)

    def run(
        self,
        command: list[str],
        progress: Callable[[str], str] | None = None,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Run a command that has to succeed; its output goes to the log, whose end is shown if it fails."""
        with LOG.open("a") as log, subprocess.Popen(  # noqa: S603  (commands of this file)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            cwd=cwd or ROOT, env=environment,
        ) as running:  # fmt: skip
            log.write(f"$ {' '.join(command)}\n")
            assert running.stdout is not None  # noqa: S101  (a pipe was asked for)
            for line in running.stdout:
                log.write(line)
                said = progress(line) if progress and self._live else ""
                if said:
                    self._show(f": {said}")
        if running.returncode:
            end = LOG.read_text()[-LOG_SHOWN:]
            print(f"\n{end}\npgrouter: all of it is in {LOG}", file=sys.stderr)
            raise subprocess.CalledProcessError(running.returncode, command)


def succeeds(*command: str, cwd: Path | None = None) -> bool:
    """Run a command quietly and return whether it succeeded."""
    return subprocess.run(command, check=False, capture_output=True, cwd=cwd).returncode == 0  # noqa: S603


def say(text: str) -> None:
    """Print a message for the user."""
    print(f"pgrouter: {text}", file=sys.stderr, flush=True)


def complain(text: str) -> int:
    """Print why it is not ready; return the exit code."""
    say(text)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
