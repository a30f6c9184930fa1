"""Ends every process of a work directory, and removes the directory, when the process that owns it is gone.

Run as a program of its own (`python reaper.py PID START_TIME WORKDIR`), in a session of its own: it waits for the owner
and then cleans up, so nothing survives Ctrl-C, a crash or `kill -9` of a test run. PR_SET_PDEATHSIG cannot do this:
it fires when the starting *thread* ends, does nothing to a stopped process, and Patroni detaches its postmaster.

A process belongs to a work directory if it was started with MARK=WORKDIR in its environment, or descends from one that
was: that works for daemons that left their parent, too, and no list of pids is needed. Imports only the standard
library: it starts in 20 ms and depends on nothing that could break.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "PGROUTER_WORKDIR"
PROC = Path("/proc")
IPC_RMID = 0  # linux/ipc.h


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone.

    A pid alone does not identify a process, together with this number it does. The first thread of a killed program is
    a zombie before its other threads have released the sockets (seen with etcd), so a zombie counts as gone only if no
    other thread is left.
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z" and len(list((PROC / str(pid) / "task").iterdir())) <= 1:
            return None
    except OSError:
        return None
    return int(fields[19])


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):  # gone in the meantime: no descendants any more
            for children in (PROC / str(parent) / "task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(child) for child in children.read_text().split()]
    return found


def belongs(pid: int, mark: bytes) -> bool:
    """Whether a process was started with this in its environment."""
    try:
        return mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def processes_of(workdir: str, spare: tuple[int, ...] = ()) -> dict[int, int]:
    """Return pid -> start time of all processes of a work directory, descendants included."""
    mark = f"{MARK}={workdir}".encode()
    pids = {int(entry.name) for entry in PROC.glob("[0-9]*")} - set(spare)
    roots = [pid for pid in pids if belongs(pid, mark)]
    everyone = {pid for root in roots for pid in tree(root)} - set(spare)
    return {pid: started for pid in everyone if (started := start_time(pid)) is not None}


def end(workdir: str, spare: tuple[int, ...] = (), timeout_s: float = 10.0) -> bool:
    """Kill all processes of a work directory, repeatedly until none is left; False if some would not die."""
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    while left := processes_of(workdir, spare):
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        killed.update(left)
        time.sleep(0.02)
    for pid in killed:
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)  # a child of ours would stay a zombie
    for data in Path(workdir).glob("*/"):
        remove_shared_memory(data)
    return True


def remove_shared_memory(data: Path) -> None:
    """Remove the System V segment that a killed server left behind; there may be only 4096 of them on a machine.

    Line 7 of postmaster.pid is the segment's key and id (PostgreSQL: src/include/utils/pidfile.h).
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int((data / "postmaster.pid").read_text().splitlines()[6].split()[1])
        ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)


def wait_for(owner: int, started: int) -> None:
    """Wait until the process has ended."""
    try:
        handle = os.pidfd_open(owner)
    except OSError:  # already gone, or a kernel without pidfd
        handle = None
    if handle is not None and start_time(owner) == started:
        select.select([handle], [], [])  # readable when the process has ended
    while start_time(owner) == started:
        time.sleep(0.2)


def main() -> None:
    """Wait for the owner's end, then clean up."""
    owner, started, workdir = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    wait_for(owner, started)
    end(workdir, spare=(os.getpid(),))
    shutil.rmtree(workdir, ignore_errors=True)


if __name__ == "__main__":
    main()
