"""Writing never waits.

What is not taken at once, because nobody reads the pipe, is kept up to a limit and written by a thread, which ends when
there is no more of it. What is dropped is counted.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque

KEPT_BYTES = 4 * 1024 * 1024  # that wait to be read
AT_ONCE = select.PIPE_BUF  # a pipe that is writable takes this much without waiting (poll(2), pipe(7))
LAST_WAIT_S = 2.0  # for a reader, at the end


class Outlet:
    """A descriptor that is written to without waiting for whoever reads it. Safe to use in all threads."""

    def __init__(self, fd: int, most_bytes: int = KEPT_BYTES, *, ours: bool = False, whole: bool = False) -> None:
        self._fd = fd
        self._ours = ours  # it is closed in the end
        self._most_bytes = most_bytes
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._limited = not whole and not stat.S_ISREG(os.fstat(fd).st_mode)  # by what a reader takes
        self._state = threading.Condition()  # guards all that follows
        self._kept: deque[bytes] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._finishing = False
        self.dropped = 0  # lines, not reported yet

    def forget(self) -> None:
        """Called in a child process, which has none of the threads."""
        self._state = threading.Condition()
        self._kept.clear()
        self._bytes, self._thread = 0, None

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return self._thread is None

    def write(self, line: bytes) -> bool:
        """Write a line, now or later; whether that is possible."""
        with self._state:
            rest = line if self._thread is not None else self._write_now(line)
            if not rest:
                return True
            if len(rest) == len(line) and self._bytes + len(rest) > self._most_bytes:
                self.dropped += 1
                return False
            self._kept.append(rest)
            self._bytes += len(rest)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_rest, name="pgrouter-log", daemon=True)
                self._thread.start()
            return True

    def _write_now(self, line: bytes) -> bytes:
        """Write as much as is taken at once, and return the rest; a descriptor that fails loses the line."""
        try:
            while line and self._poll.poll(0):
                line = line[os.write(self._fd, line[:AT_ONCE] if self._limited else line) :]
        except BlockingIOError:
            pass
        except OSError:
            self.dropped += 1
            return b""
        return line

    def _write_rest(self) -> None:
        while True:
            with self._state:
                if not self._kept:
                    self._thread = None
                    self._state.notify_all()
                    if self._finishing:
                        self._close()
                    return
                line = self._kept.popleft()
                self._bytes -= len(line)
            while line:
                try:
                    line = line[os.write(self._fd, line) :]  # as long as it takes
                except BlockingIOError:
                    self._poll.poll()
                except OSError:
                    self.dropped += 1
                    break

    def flush(self, timeout_s: float = LAST_WAIT_S) -> None:
        """Wait until everything was written, but not for ever."""
        with self._state:
            self._state.wait_for(lambda: self._thread is None, timeout_s)

    def finish(self) -> None:
        """Write what is kept, and close the descriptor if it is ours: nothing more comes."""
        with self._state:
            self._finishing = True
            if self._thread is None:
                self._close()

    def _close(self) -> None:
        if self._ours:
            os.close(self._fd)
            self._ours = False
