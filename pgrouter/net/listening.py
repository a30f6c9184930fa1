"""Listening sockets: of an address, or a Unix socket as PostgreSQL names it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path

BACKLOG = 1024  # the kernel's own limit (net.core.somaxconn) is usually 4096


def every_address(hosts: str, port: int) -> list[str]:
    """Return the IP addresses that `hosts` stands for: names and addresses separated by commas, * for all.

    Raises:
        OSError: a name cannot be resolved.

    """
    found: dict[str, None] = {}
    for host in (part.strip() for part in hosts.split(",")):
        if host == "*":
            found |= dict.fromkeys(("0.0.0.0", "::") if Path("/proc/net/if_inet6").exists() else ("0.0.0.0",))  # noqa: S104
        else:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            found |= dict.fromkeys(info[4][0] for info in infos)
    return list(found)


def tcp_socket(address: str, port: int) -> socket.socket:
    """Return a socket that listens at an IP address; port 0: the kernel picks one.

    Raises:
        OSError: the address is in use, or not of this machine.

    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.create_server((address, port), family=family, backlog=BACKLOG)
    sock.setblocking(False)
    return sock


class UnixSocket:
    """A Unix socket, and the lock file by which PostgreSQL (and another router) sees that the name is taken."""

    def __init__(self, directory: Path, port: int, permissions: int) -> None:
        """Listen at DIRECTORY/.s.PGSQL.PORT.

        Raises:
            OSError: EADDRINUSE, another process has it; the directory is missing, or not ours to write to.

        """
        self.path = directory / f".s.PGSQL.{port}"
        self._lock_path = Path(f"{self.path}.lock")
        self._lock = self._taken(port)
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.path.unlink(missing_ok=True)  # of a process that was killed: the lock shows that nobody has it
            self.sock.bind(str(self.path))
            self.path.chmod(permissions)  # nobody can connect before `listen`
            self.sock.listen(BACKLOG)
            self.sock.setblocking(False)
        except BaseException:
            self.close()
            raise

    def _taken(self, port: int) -> int:
        """Lock the name, and leave what postgres looks for: the process's number in the first line."""
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = os.read(fd, 32).split(b"\n", 1)[0].strip(b"-")
            if owner.isdigit() and int(owner) != os.getpid() and _is_alive(int(owner)):
                raise BlockingIOError  # noqa: TRY301  (postgres does not use flock)
        except BlockingIOError:
            os.close(fd)
            raise OSError(errno.EADDRINUSE, f"another process has the socket {self.path}") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n{self.path.parent}\n0\n{port}\n".encode(), 0)
        return fd

    def close(self) -> None:
        """Stop listening and remove the files. May be called twice."""
        if self._lock >= 0:
            self.sock.close()
            for path in (self.path, self._lock_path):
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(self._lock)
            self._lock = -1


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
