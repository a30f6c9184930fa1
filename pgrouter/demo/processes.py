"""Starts programs: never as root, in a session of their own, identified by pid and start time.

postgres and initdb refuse to run as root, and initdb refuses a user without a passwd entry, so root starts everything
as an existing ordinary user ($PGROUTER_DEMO_USER, postgres, nobody). There are two pitfalls: HOME must change too
(libpq looks for ~/.postgresql and treats "Permission denied" as an error), and a virtual environment under /root (mode
700) is inaccessible to that user unless it keeps the one capability that bypasses file modes for reading.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pgrouter.demo.reaper import MARK, start_time, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")

# The bits of CapBnd in /proc/self/status (linux/capability.h). Docker's default set has the first but not the second.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


class DemoError(Exception):
    """The cluster on loopback cannot be started or used; the text is for the person who started it."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was started here, never confused with a later one with the same pid."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs (a stopped process counts as running, a zombie does not)."""
        with contextlib.suppress(OSError):
            os.waitpid(self.pid, os.WNOHANG)  # a child of ours would stay a zombie until it is reaped
        return start_time(self.pid) == self.started

    def signal(self, number: int, *, descendants: bool = False) -> None:
        """Send a signal, optionally to all descendants; processes that are gone are ignored."""
        if not self.alive:
            return
        for pid in tree(self.pid) if descendants else [self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it and all its descendants at once (SIGKILL) and wait until their sockets are free."""
        family = [Process(pid, started) for pid in tree(self.pid) if (started := start_time(pid)) is not None]
        if not self.alive:
            return
        for member in family:
            member.signal(signal.SIGKILL)
        until(lambda: not any(member.alive for member in family), 10, f"the end of process {self.pid}")

    def wait_gone(self, timeout_s: float) -> None:
        """Wait for its end; TimeoutError if it takes too long."""
        until(lambda: not self.alive, timeout_s, f"the end of process {self.pid}")


def process(pid: int) -> Process | None:
    """Return a running process, None if it is gone."""
    started = start_time(pid)
    return None if started is None else Process(pid, started)


def until(condition: Callable[[], T], timeout_s: float, what: str, step_s: float = 0.01) -> T:
    """Wait for the condition and return its first true value; TimeoutError names what was expected."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(step_s)


def service_user() -> pwd.struct_passwd | None:
    """Return the user that servers run as; None if that is us."""
    if os.geteuid() != 0:
        return None
    for name in (os.environ.get("PGROUTER_DEMO_USER"), "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            if name:
                return pwd.getpwnam(name)
    raise DemoError("started as root, and there is no user postgres or nobody to run PostgreSQL as")


def own(*paths: Path) -> None:
    """Change the owner of files and directories (not of their contents) to the service user."""
    if user := service_user():
        for path in paths:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def make_directory(path: Path, mode: int = 0o700) -> Path:
    """Create a directory that belongs to the service user."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    own(path)
    return path


def write_file(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file that belongs to the service user."""
    path.write_text(text)
    path.chmod(mode)
    own(path)
    return path


def spawn(argv: Sequence[str | Path], workdir: Path, log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Start a server, never as root; its log is appended to a file."""
    log.touch()
    own(log)
    return spawn_as_self(command(argv), output=log, errors=log, env=environment(workdir, env))


def spawn_as_self(argv: Sequence[str | Path], *, output: Path, errors: Path, env: Mapping[str, str]) -> Process:
    """Start a program as the current user, in a session of its own so that Ctrl-C does not reach it."""
    with output.open("ab") as out, errors.open("ab") as err:
        child = subprocess.Popen(  # noqa: S603  (our own programs)
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/", env=env, start_new_session=True
        )
    child.returncode = 0  # Process reaps it; Popen must not complain about a running child
    started = start_time(child.pid)
    if started is None:
        raise DemoError(f"{argv[0]} ended at once, see {errors}")
    return Process(child.pid, started)


def run(argv: Sequence[str | Path], workdir: Path, env: Mapping[str, str] | None = None, timeout_s: float = 120) -> str:
    """Run a program to its end and return its standard output; DemoError with its output if it fails."""
    done = subprocess.run(  # noqa: S603
        command(argv),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd="/",
        env=environment(workdir, env),
    )
    if done.returncode:
        raise DemoError(f"{argv[0]} failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def environment(workdir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a server: the service user's, without the settings of other clusters."""
    servers = own_environment(workdir) | {"HOME": str(workdir), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if user := service_user():
        servers |= {"USER": user.pw_name, "LOGNAME": user.pw_name}
    return servers | dict(extra or {})


def own_environment(workdir: Path) -> dict[str, str]:
    """Return our environment with the reaper's mark, without the settings of other clusters."""
    foreign = re.compile(r"PG(?!ROUTER_)|PATRONI|ETCD")  # libpq's, Patroni's and etcd's variables
    return {k: v for k, v in os.environ.items() if not foreign.match(k)} | {MARK: str(workdir)}


def command(argv: Sequence[str | Path]) -> list[str]:
    """Prefix a command with what drops root; `setpriv` execs, so the pid is the program's."""
    name = str(argv[0])
    plain = [shutil.which(name) or name, *(str(a) for a in argv[1:])]
    user = service_user()
    if user is None:
        return plain
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DemoError("started as root, and there is no setpriv (util-linux) to run PostgreSQL as another user")
    drop = [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not reachable([plain[0], sys.prefix, sys.base_prefix, Path(__file__)]):
        capability = read_capability(Path("/proc/self/status").read_text())
        drop += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    return [*drop, *plain]


def reachable(paths: Iterable[str | Path]) -> bool:
    """Whether any user can read these paths, symbolic links resolved."""
    for path in paths:
        real = Path(os.path.realpath(path))
        if not real.stat().st_mode & 0o004 or not all(p.stat().st_mode & 0o001 for p in real.parents):
            return False
    return True


def read_capability(status: str) -> str:
    """Return the smallest capability in /proc/self/status' bounding set that bypasses file modes for reading."""
    line = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    allowed = int(line.split()[1], 16)
    for name, bit in (("dac_read_search", CAP_DAC_READ_SEARCH), ("dac_override", CAP_DAC_OVERRIDE)):
        if allowed >> bit & 1:
            return name
    raise DemoError(
        f"started as root, and {sys.prefix} cannot be read by the user that PostgreSQL must run as: "
        "move the checkout to a directory that everybody can read, or run as an ordinary user"
    )
