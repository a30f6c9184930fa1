"""What a daemon does before it serves: its user, its process id in a file, its log, and the background.

Source: PgBouncer 1.26, src/main.c, main(), go_daemon(), check_pidfile(), write_pidfile(); lib/usual/daemon.c,
change_user().
"""

from __future__ import annotations

import atexit
import logging
import os
import pwd
from pathlib import Path

from pgrouter.errors import ConfigError

log = logging.getLogger("pgrouter.bouncer")


def change_user(name: str) -> None:
    """Become another user, with its groups.

    Raises:
        ConfigError: there is no such user, or we may not.

    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError([f"could not find user '{name}' to switch to"]) from None
    if os.geteuid() == user.pw_uid:
        return
    try:
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except PermissionError as error:
        raise ConfigError([f"failed to reset groups: {error.strerror}: only root can become '{name}'"]) from None


def refuse_root() -> None:
    """Refuse to serve as root.

    Raises:
        ConfigError: we are root.

    """
    if os.getuid() == 0:
        raise ConfigError(["pgrouter should not run as root: -u USER, or user = USER in the file, names another user"])


class PidFile:
    """The file with our process id; "": none."""

    def __init__(self, name: str) -> None:
        self._path = Path(name) if name else None

    def check(self) -> None:
        """Remove the file of a process that is gone.

        Raises:
            ConfigError: the process runs.

        """
        if self._path is None:
            return
        try:
            text = self._path.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError([f"could not open pidfile '{self._path}': {error.strerror}"]) from None
        if not text.isdigit() or _runs(int(text)):
            raise ConfigError([f"pidfile '{self._path}' exists, another instance running?"])
        log.info("stale pidfile, removing")
        self._path.unlink()

    def write(self) -> None:
        """Write the file, and remove it at the end.

        Raises:
            ConfigError: it cannot be written.

        """
        if self._path is None:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError([f"could not open pidfile '{self._path}': {error.strerror}"]) from None
        os.write(fd, f"{os.getpid()}\n".encode())
        os.close(fd)
        atexit.register(self._path.absolute().unlink, missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_log_to(name: str) -> None:
    """Append all that goes to stderr to a file from now on; "": leave it. Called again by a reload (logrotate).

    Raises:
        ConfigError: it cannot be written.

    """
    if not name:
        return
    try:
        fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([f"could not open logfile: {name}: {error.strerror}"]) from None
    os.dup2(fd, 2)
    os.close(fd)


def be_quiet() -> None:
    """Write nothing to stdout."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def go_to_background() -> None:
    """Continue without a terminal, in a session of our own; what started us ends."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for in_new_session in (True, False):  # the second time so that no terminal can be taken
        if os.fork() > 0:
            os._exit(0)
        if in_new_session:
            os.setsid()
