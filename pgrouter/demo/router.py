"""`pgrouter run` as a separate process that accepts clients."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pgrouter
from pgrouter.demo.processes import DemoError, Process, own_environment, spawn_as_self, until

CODE = Path(pgrouter.__file__).parent.parent  # start the router of this very code, installed or not
PROGRAM = "import sys; from pgrouter.cli.main import main; sys.exit(main())"
READY = re.compile(r"^pgrouter ready: (\S+):(\d+)$", re.MULTILINE)


class RouterProcess:
    """One router: started with a configuration file, stopped by SIGTERM."""

    def __init__(self, config: Path, workdir: Path, program: str = PROGRAM) -> None:
        self.config = config
        self.program = program
        self.output = config.with_suffix(".out")
        self.log = config.with_suffix(".log")
        self._workdir = workdir
        self._process: Process | None = None

    def start(self, timeout_s: float = 20) -> None:
        """Start it and wait for its ready line; DemoError with its last output if it ends instead."""
        self.output.unlink(missing_ok=True)  # the ready line of an earlier start
        self._process = spawn_as_self(
            [sys.executable, "-c", self.program, "run", "--config", self.config],
            output=self.output, errors=self.log, env=own_environment(self._workdir) | {"PYTHONPATH": str(CODE)},
        )  # fmt: skip
        until(self._is_ready, timeout_s, f"pgrouter ready, see {self.log}")

    def _is_ready(self) -> bool:
        if not self.alive:
            raise DemoError("pgrouter ended:\n" + "\n".join(self.log.read_text().splitlines()[-20:]))
        return bool(self.ports)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        """Its process id; DemoError if it was never started."""
        if self._process is None:
            raise DemoError("pgrouter was not started")
        return self._process.pid

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports on which it accepts clients, in the order of `listen`."""
        return tuple(int(port) for _host, port in READY.findall(self.output.read_text()))

    def complaints(self, at_most: int = 5) -> list[str]:
        """Return the first lines of its log that report errors of its own."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if " ERROR " in line or " CRITICAL " in line or "Error: " in line][:at_most]

    def reload(self) -> None:
        """Make it reload its file (SIGHUP)."""
        if self._process is not None:
            self._process.signal(signal.SIGHUP)

    def stop(self, timeout_s: float = 10) -> None:
        """Make it drain and end (SIGTERM); if it does not end in time it is killed, with TimeoutError."""
        if self._process is None or not self._process.alive:
            return
        self._process.signal(signal.SIGTERM)
        try:
            self._process.wait_gone(timeout_s)
        finally:
            self._process.kill()

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
