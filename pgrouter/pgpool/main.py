"""`pgrouter-pgpool [OPTIONS] [stop | reload]`: a router in Pgpool-II's place, by its command line and its files.

SIGTERM stops accepting clients and ends when the last of them has left (in a container: when all transactions are
over), SIGINT when all transactions are over, SIGQUIT at once. SIGHUP reads the files again.

Source: Pgpool-II 4.7, src/main/main.c.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pgrouter
from pgrouter.auth.files import AuthFiles
from pgrouter.bouncer import process
from pgrouter.config.change import changed
from pgrouter.errors import ConfigError
from pgrouter.logs import handler as logs
from pgrouter.pcp.users import PcpUsers
from pgrouter.pgpool import conf as pgpool_conf
from pgrouter.pgpool.container import Container
from pgrouter.pgpool.convert import Given, convert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgrouter.config.converted import Converted
    from pgrouter.config.settings import Settings

log = logging.getLogger("pgrouter.pgpool")

VERSION = "4.7.2"  # whose place it takes
PLACES = ("/etc/pgpool2/pgpool.conf", "/etc/pgpool-II/pgpool.conf", "/usr/local/etc/pgpool.conf")
PID_FILE = "/var/run/pgpool/pgpool.pid"
MODES = {
    **dict.fromkeys(("s", "smart"), signal.SIGTERM),
    **dict.fromkeys(("f", "fast"), signal.SIGINT),
    **dict.fromkeys(("i", "immediate"), signal.SIGQUIT),
}
PAUSE_S = 0.1


class PgpoolSource:
    """Pgpool-II's files; see `config.load.Source`. What there is to say about them is logged when it is new."""

    def __init__(self, path: Path, given: Given, environment: Mapping[str, str]) -> None:
        self.name = str(path)
        self._path = path
        self._given = given
        self._environment = environment
        self._report: tuple[str, ...] = ()

    def read(self) -> Settings:
        """Return the settings after reading all that they refer to, and say nothing. Raises ConfigError."""
        settings = self._convert().settings(self._path.parent)
        AuthFiles.load(settings.auth)
        if settings.pcp is not None:
            PcpUsers.load(settings.pcp.users_file)
        return settings

    def load(self) -> Settings:
        """See `Source`."""
        converted = self._convert()
        settings = converted.settings(self._path.parent)
        if converted.report != self._report:
            self._report = converted.report
            for line in converted.report:
                loud = line.startswith("ATTENTION")
                log.log(logging.WARNING if loud else logging.INFO, "%s: %s", self.name, line, extra=logs.EVERY)
        return settings

    def changed(self, settings: Settings, key: str, text: str, name: str) -> Settings:  # noqa: ARG002  (Source)
        """See `Source`."""
        return changed(settings, key, text, self._path.parent)

    def _convert(self) -> Converted:
        return convert(self._path, self._environment, self._given)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher; return the exit code."""
    args = _arguments(list(sys.argv[1:] if argv is None else argv))
    container = None
    try:
        if args.file is None:
            container = Container.of(os.environ)
        path = container.path if container else _path(args.file)
        if args.action:
            return _signal(path, args.action, args.mode)
        given = Given(_absolute(args.hba_file), _absolute(args.pcp_file), _absolute(args.key_file))
        source = PgpoolSource(path, given, os.environ)
        pid_file = process.PidFile(pid_file_of(path))
        pid_file.check()
        source.read()  # while there is still somebody to read what is wrong
        if not args.foreground and container is None:
            process.go_to_background()
        level = "debug" if args.debug else None
        return serve_source(source, pid_file, level=level, patient=container is None)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"pgrouter-pgpool: {problem}\n")
        return 1
    finally:
        if container:
            container.close()


def serve_source(
    source: PgpoolSource, pid_file: process.PidFile | None = None, *, level: str | None = None, patient: bool = False
) -> int:
    """Run a router in the foreground; return the exit code. `patient`: SIGTERM waits for clients to leave.

    Raises:
        ConfigError: with every problem.

    """
    settings = source.read()
    try:
        handler = logs.start(settings.log)
    except OSError as error:
        raise ConfigError([f"the log cannot be written: {error}"]) from None
    settings = source.load()
    from pgrouter import app  # noqa: PLC0415  (a wrong file is reported without importing everything)
    from pgrouter.proxy.drain import Shutdown  # noqa: PLC0415

    if level is not None:
        logging.getLogger("pgrouter").setLevel(level.upper())
    if pid_file is not None:
        pid_file.write()
    log.info("pgrouter %s in the place of Pgpool-II %s, %s", pgrouter.__version__, VERSION, source.name)
    signals: dict[signal.Signals, Callable[[app.App], None]] = {
        signal.SIGTERM: partial(app.App.request_stop, how=Shutdown.CLIENTS if patient else Shutdown.SERVERS),
        signal.SIGINT: app.App.request_stop,
        signal.SIGQUIT: partial(app.App.request_stop, how=Shutdown.NOW),
    }
    return app.run(source, settings, handler, signals=signals)


def pid_file_of(path: Path) -> str:
    """Return the name of the file with the process id; "" if it is the usual one and its directory does not exist."""
    conf = pgpool_conf.read(path)
    if conf.given("pid_file_name"):
        return conf.get("pid_file_name").text
    return PID_FILE if os.access(Path(PID_FILE).parent, os.W_OK) else ""


def _path(name: str | None) -> Path:
    if name is not None:
        return Path(name).absolute()
    found = next((path for path in map(Path, PLACES) if path.is_file()), None)
    if found is None:
        raise ConfigError([f"no configuration file: -f FILE, or one of {', '.join(PLACES)}"])
    return found


def _absolute(name: str | None) -> Path | None:
    return None if name is None else Path(name).absolute()


# -- stop and reload


def _signal(path: Path, action: str, mode: str) -> int:
    name = pid_file_of(path)
    try:
        pid = int(Path(name).read_text("ascii", "replace")) if name else 0
    except (OSError, ValueError):
        pid = 0
    if pid <= 0:
        raise ConfigError([f"could not read pid file {name or PID_FILE}: is it running?"])
    try:
        os.kill(pid, signal.SIGHUP if action == "reload" else MODES[mode])
    except ProcessLookupError:
        raise ConfigError([f"process {pid} of pid file {name} does not run"]) from None
    except PermissionError:
        raise ConfigError([f"process {pid} is not ours to {action}"]) from None
    if action == "stop":
        sys.stderr.write("stop request sent to pgpool. waiting for termination...")
        while _runs(pid):
            time.sleep(PAUSE_S)
        sys.stderr.write("done.\n")
    return 0


def _runs(pid: int) -> bool:
    """Whether a process has not ended yet; one that has, and waits for its parent to notice, does not run."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # it has ended meanwhile
        return False
    return not stat.rpartition(")")[2].startswith(" Z")


# -- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with Pgpool-II's exit code."""
        self.exit(1, f'{self.prog}: {message}\nTry "{self.prog} --help" for more information.\n')


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="pgrouter-pgpool",
        description="pgrouter in the place of Pgpool-II: with its configuration files.",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=("stop", "reload"), help="of the one that runs, by its pid file")
    parser.add_argument("-f", "--config-file", dest="file", metavar="FILE", help="pgpool.conf")
    parser.add_argument("-a", "--hba-file", metavar="FILE", help="pool_hba.conf")
    parser.add_argument("-k", "--key-file", metavar="FILE", help="the key of pool_passwd's AES entries")
    parser.add_argument("-F", "--pcp-file", metavar="FILE", help="pcp.conf")
    parser.add_argument("-n", "--dont-detach", dest="foreground", action="store_true", help="run in the foreground")
    parser.add_argument("-m", "--mode", choices=tuple(MODES), default="smart", help="stop: when; default: smart")
    parser.add_argument("-d", "--debug", action="store_true", help="debug mode")
    for short, name in (("-D", "--discard-status"), ("-C", "--clear-oidmaps"), ("-x", "--debug-assertions")):
        parser.add_argument(short, name, action="store_true", help="there is nothing of that kind here: ignored")
    parser.add_argument("-v", "--version", action="version", version=_versions(), help="print the version, and exit")
    return parser.parse_args(words)


def _versions() -> str:
    return f"pgpool-II version {VERSION} (pgrouter {pgrouter.__version__})"


if __name__ == "__main__":
    sys.exit(main())
