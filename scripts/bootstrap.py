"""Makes .venv ready: a virtual environment, pip in it, pgrouter with its test packages, the hot rooms compiled.

Standard library only, and no host is named here: pip and apt go where this machine's configuration sends them. Debian's
python3 has neither pip nor ensurepip; then pip comes out of the package python3-pip-whl, which apt downloads into a
directory of ours: that needs no root and changes nothing on the system.

PGROUTER_BUILD: auto (default: without a compiler pgrouter runs uncompiled, which is said loudly), require, skip.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "pgrouter-stamp"

SLOW = """
**********************************************************************************************
*** pgrouter is NOT COMPILED: {why}.
*** It runs, correct but SLOW. For full speed: apt-get install gcc python3-dev, then again.
**********************************************************************************************
"""


def main() -> int:
    """Bring .venv up to date; 0 when it is ready."""
    if os.environ.get("PGROUTER_BUILD", "auto") not in ("auto", "require", "skip"):
        return complain("PGROUTER_BUILD: expected auto, require or skip")
    lock = ROOT / "build" / "bootstrap.lock"
    try:
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as held:  # `make test` beside `make demo`: one installs, the other waits
            fcntl.flock(held, fcntl.LOCK_EX)
            bring_up_to_date()
    except (subprocess.CalledProcessError, OSError) as error:  # also: made by root before, and now by somebody else
        return complain(f"not ready: {error}")
    return 0


def bring_up_to_date() -> None:
    """Install and compile what has changed since the stamp was written."""
    packages, build = fingerprints()
    old = STAMP.read_text().split() if STAMP.exists() else []
    if len(old) != 3:  # a full disk may have left an empty one
        old = ["", "", ""]
    if old[:2] == [packages, build] and PYTHON.exists() and (old[2] != "yes" or all_compiled()):
        warn_if_slow(old[2])
        return
    started = time.monotonic()
    if old[0] != packages or not PYTHON.exists():
        install()
    compiled = compile_hot_rooms()
    STAMP.write_text(f"{packages} {build} {compiled}\n")
    say(f"ready in {time.monotonic() - started:.0f} s")
    warn_if_slow(compiled)


def fingerprints() -> tuple[str, str]:
    """Give what the packages depend on and what the compiled rooms depend on, each as a hash."""
    packages = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    packages.update((ROOT / "pyproject.toml").read_bytes())
    build = hashlib.sha256(f"{os.environ.get('PGROUTER_BUILD', 'auto')} {missing_for_build()}".encode())
    for path in [ROOT / "setup.py", *sorted((ROOT / "pgrouter").rglob("*.pxd")), *hot_rooms()]:
        build.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return packages.hexdigest(), build.hexdigest()


def hot_rooms() -> list[Path]:
    """Give the modules that are compiled: those with declarations beside them."""
    return [room for pxd in sorted((ROOT / "pgrouter").rglob("*.pxd")) if (room := pxd.with_suffix(".py")).exists()]


def all_compiled() -> bool:
    """Tell whether every hot room has its library: somebody may have tidied up."""
    return all(any(room.parent.glob(f"{room.stem}.*.so")) for room in hot_rooms())


def missing_for_build() -> str:
    """Name what this machine lacks to compile; empty if nothing."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) and not shutil.which("cc"):
        return "there is no C compiler"
    return "" if header.exists() else "Python's headers are missing"


def install() -> None:
    """Make .venv if there is none that fits, and bring its packages up to date."""
    works = "import sys, pip; sys.exit(sys.version != sys.argv[1])"
    if not PYTHON.exists() or not succeeds(str(PYTHON), "-c", works, sys.version):
        make_environment()
    build_needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    say("installing packages (150 MB, once)")
    pip("install", "--quiet", *build_needs)
    # Compiled afterwards, where it can be seen and where only what has changed is compiled again.
    os.environ["PGROUTER_BUILD"], asked = "skip", os.environ.get("PGROUTER_BUILD", "auto")
    pip("install", "--no-build-isolation", "--editable", f"{ROOT}[test]")
    os.environ["PGROUTER_BUILD"] = asked


def make_environment() -> None:
    """Make .venv with a pip in it, in the first way that this machine allows."""
    say(f"making a virtual environment with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    me = sys.executable
    if succeeds(me, "-c", "import ensurepip"):
        run(me, "-m", "venv", str(VENV))
        return
    run(me, "-m", "venv", "--without-pip", str(VENV))
    if succeeds(me, "-m", "pip", "--version") and succeeds(me, "-m", "pip", "--python", str(PYTHON), "install", "pip"):
        return
    if shutil.which("uv") and succeeds("uv", "pip", "install", "--python", str(PYTHON), "pip"):
        return
    pip_from_debian()


def pip_from_debian() -> None:
    """Install pip from Debian's package of its wheel, with directories of our own in place of apt's."""
    if not shutil.which("apt-get"):
        raise OSError("this Python has neither ensurepip nor pip; install them (Debian's package is python3-venv)")
    say("this Python comes without pip: fetching it with apt-get (nothing is installed on the system)")
    with tempfile.TemporaryDirectory(prefix="pgrouter-apt-") as name:
        there = Path(name)
        for needed in ("state/lists/partial", "cache/archives/partial"):
            (there / needed).mkdir(parents=True)
        options = {
            "Dir::State": there / "state", "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": there / "cache",
            "APT::Sandbox::User": "root",  # the user _apt could not enter our directory
        }  # fmt: skip
        apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        run(*apt, "update")
        run(*apt, "download", "python3-pip-whl", cwd=there)
        (package,) = there.glob("*.deb")
        run("dpkg-deb", "-x", str(package), str(there / "tree"))
        (wheel,) = there.glob("tree/usr/share/python-wheels/pip-*.whl")
        run(str(PYTHON), str(wheel / "pip"), "install", "--quiet", "--no-index", "--no-deps", str(wheel))


def compile_hot_rooms() -> str:
    """Compile what has changed, if this machine can; yes or no, and an error if it has to be yes."""
    asked, missing = os.environ.get("PGROUTER_BUILD", "auto"), missing_for_build()
    if asked == "require" and missing:
        raise OSError(f"PGROUTER_BUILD=require, and {missing}")
    can = asked != "skip" and not missing
    for library in (ROOT / "pgrouter").rglob("*.so"):
        if not can or is_outdated(library):
            library.unlink()
    if can:
        say("compiling the hot rooms (a minute at first, then only what has changed)")
        jobs = str(os.cpu_count() or 1)
        run(str(PYTHON), "setup.py", "--quiet", "build_ext", "--inplace", "--parallel", jobs, cwd=ROOT)
    asks = "import pgrouter; print(pgrouter.COMPILED)"
    answer = subprocess.run([PYTHON, "-c", asks], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    compiled = answer.stdout.strip() == "True"
    if asked == "require" and not compiled:
        raise OSError("PGROUTER_BUILD=require, and the hot rooms are not compiled: see above")
    return "yes" if compiled else "no"


def is_outdated(library: Path) -> bool:
    """Tell whether a compiled room is older than its source; if compiling fails, the source must run and not it."""
    source = library.with_name(library.name.partition(".")[0] + ".py")
    texts = [path for path in (source, source.with_suffix(".pxd")) if path.exists()]
    return source not in texts or max(text.stat().st_mtime for text in texts) > library.stat().st_mtime


def warn_if_slow(compiled: str) -> None:
    """Say loudly that the hot rooms run as plain Python."""
    if compiled != "yes":
        print(SLOW.format(why=missing_for_build() or "PGROUTER_BUILD=skip, or the build failed"), file=sys.stderr)


def pip(*arguments: str) -> None:
    """Run the environment's pip; its words go to the terminal, so that progress is visible."""
    run(str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments)


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command, check=True, cwd=cwd)  # noqa: S603  (commands of this file)


def succeeds(*command: str) -> bool:
    """Run a command quietly and tell whether it worked."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"pgrouter: {text}", file=sys.stderr, flush=True)


def complain(text: str) -> int:
    """Say why it is not ready."""
    say(text)
    return 1


if __name__ == "__main__":
    sys.exit(main())
