"""The resources of a cluster: a directory (in memory if there is room), its reserved ports, and its reaper."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pgrouter.demo import reaper
from pgrouter.demo.processes import DemoError, make_directory

if TYPE_CHECKING:
    from types import TracebackType

# 3 members take 40 MB each plus WAL (wal_keep_size 128 MB); a disk under load is 5-10 times slower than memory.
ROOM_NEEDED_BYTES = 1024**3


class Workdir:
    """A new directory for one cluster; all processes started in it end with it, or with this process."""

    def __init__(self, name: str) -> None:
        base = Path(tempfile.mkdtemp(prefix=f"pgrouter-{name}-", dir=roomy_place()))
        self.path = make_directory(base, 0o755)
        self._reserved: list[socket.socket] = []
        self._reaper = start_reaper(self.path)

    def ports(self, wanted: int | tuple[int, ...]) -> tuple[int, ...]:
        """Reserve free ports of 127.0.0.1 (a number of them, or exactly these) until this directory is removed.

        The reservation is a socket that is bound and never listens: servers can bind the same port with SO_REUSEADDR,
        while the kernel and other test runs looking for a free port do not get it. DemoError if one is in use.
        """
        asked = (0,) * wanted if isinstance(wanted, int) else wanted
        return tuple(self._reserve(port) for port in asked)

    def _reserve(self, port: int) -> int:
        holder = socket.socket()
        self._reserved.append(holder)
        if port:
            refuse_served(port)
            # After a restart the demo's ports are in TIME_WAIT, which only SO_REUSEADDR ignores.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(f"port {port} is taken: {error.strerror}") from None
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return int(holder.getsockname()[1])

    def remove(self) -> None:
        """End every process of the directory, remove it, and release its ports."""
        reaper.end(str(self.path), spare=(self._reaper.pid, os.getpid()))
        for holder in self._reserved:
            holder.close()
        self._reserved.clear()
        shutil.rmtree(self.path, ignore_errors=True)
        self._reaper.kill()
        self._reaper.wait()


def refuse_served(port: int) -> None:
    """Raise DemoError if something listens there: a client would talk to the wrong server."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DemoError(f"port {port} is taken: something listens there already")


def roomy_place() -> Path:
    """Return the memory file system if it has room, else the directory for temporary files."""
    memory = Path("/dev/shm")  # noqa: S108  (mkdtemp creates the directory safely)
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_NEEDED_BYTES:
        return memory
    return Path(tempfile.gettempdir())


def start_reaper(path: Path) -> subprocess.Popen[bytes]:
    """Start the process that cleans up after us if we cannot."""
    me = os.getpid()
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", reaper.__file__, str(me), str(reaper.start_time(me)), str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


class Startable:
    """A context manager for what has `start` and `stop`: up inside, nothing left outside or after a failed start."""

    def start(self) -> None:
        """Start it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it, even if it is only partly started."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop."""
        self.stop()
