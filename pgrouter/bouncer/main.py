"""`pgrouter-bouncer [OPTIONS] CONFIG_FILE`: a router in PgBouncer's place, by its command line and its file.

SIGTERM stops accepting clients and ends when the last of them has left, SIGINT when all transactions are over, a second
one of either, and SIGQUIT, at once. SIGHUP reads the file again.

Source: PgBouncer 1.26, src/main.c.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pgrouter
from pgrouter import logs
from pgrouter.auth.files import AuthFiles
from pgrouter.bouncer import convert, process
from pgrouter.bouncer.members import REPLICAS
from pgrouter.bouncer.parameters import VERSION
from pgrouter.errors import ConfigError, RouterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgrouter.bouncer.convert import Ini
    from pgrouter.config.converted import Converted
    from pgrouter.config.settings import Settings

log = logging.getLogger("pgrouter.bouncer")

LOOK_UP_S = 15.0  # PgBouncer's dns_max_ttl: how often the names in PGROUTER_REPLICAS are looked up


class IniSource:
    """PgBouncer's file; see `config.load.Source`. The report is logged when it is new."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.name = str(path)
        self._path = path
        self._environment = environment
        self._report: tuple[str, ...] = ()
        self.members: object = None

    def read(self) -> Ini:
        """Return the file, or what images and operators give in its place."""
        return convert.load(self._path)

    def load(self) -> Settings:
        """See `Source`."""
        ini = self.read()
        converted = convert.converted(ini, self._environment)
        settings = converted.settings(Path.cwd())
        process.write_log_to(ini.text("logfile"))
        self._tell(converted)
        self.members = settings.cluster.members
        return settings

    def _tell(self, converted: Converted) -> None:
        if converted.report != self._report:
            self._report = converted.report
            for line in converted.report:
                log.warning("%s: %s", self.name, line, extra=logs.EVERY)

    def moved(self) -> bool:
        """Whether names stand for other members than they did when the file was last loaded."""
        try:
            members = convert.converted(self.read(), self._environment).settings(Path.cwd()).cluster.members
        except ConfigError:
            return False  # reported when it is loaded
        return members != self.members


class Lookup:
    """Looks up the names in PGROUTER_REPLICAS again, in a thread, and has the file loaded if they have moved."""

    def __init__(self, source: IniSource) -> None:
        self._source = source
        self._next_s = 0.0

    def tick(self, now: float) -> None:
        """Called ten times a second."""
        if now < self._next_s:
            return
        if self._next_s:
            threading.Thread(target=self._look, name="pgrouter-lookup", daemon=True).start()
        self._next_s = now + LOOK_UP_S

    def _look(self) -> None:
        if self._source.moved():
            os.kill(os.getpid(), signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher; return the exit code."""
    args = _arguments(list(sys.argv[1:] if argv is None else argv))
    os.environ.setdefault("PGAPPNAME", "pgrouter")
    path = Path(args.config).absolute()
    try:
        source = IniSource(path, os.environ)
        ini = source.read()
        if user := args.user or ini.text("user"):
            process.change_user(user)
        process.refuse_root()
        if args.quiet:
            process.be_quiet()
        convert.converted(ini, os.environ).settings(Path.cwd())  # while there is still somebody to read what is wrong
        pid_file = process.PidFile(ini.text("pidfile"))
        pid_file.check()
        if args.daemon:
            if not ini.text("pidfile"):
                raise ConfigError(["daemon needs pidfile configured"])  # noqa: TRY301  (one place reports)
            process.go_to_background()
        process.write_log_to(ini.text("logfile"))
        return _serve(source, pid_file, verbose=args.verbose)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{path}: {problem}\n")
        return 1


def _serve(source: IniSource, pid_file: process.PidFile, *, verbose: bool) -> int:
    handler = logs.start("debug" if verbose else "info")
    settings = source.load()
    AuthFiles.load(settings.auth)
    from pgrouter.app import Stop, serve  # noqa: PLC0415  (a wrong configuration is reported without importing everything)
    from pgrouter.net.loop import Loop  # noqa: PLC0415
    from pgrouter.proxy.data_plane import bug  # noqa: PLC0415

    if not verbose:
        logging.getLogger("pgrouter").setLevel(settings.log.level.upper())
    pid_file.write()
    log.info("process up: pgrouter %s in the place of PgBouncer %s, %s", pgrouter.__version__, VERSION, source.name)
    signals = {signal.SIGTERM: Stop.CLIENTS, signal.SIGINT: Stop.TRANSACTIONS, signal.SIGQUIT: Stop.NOTHING}
    loop = Loop(on_bug=bug)
    lookup = Lookup(source) if os.environ.get(REPLICAS) else None
    ticks = (handler.tick,) if lookup is None else (handler.tick, lookup.tick)
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # PAUSE and RESUME are for the console
        signal.signal(number, signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            code = runner.run(serve(source, settings, loop, *ticks, signals=signals))
    except (OSError, RouterError) as error:
        log.critical("cannot go on: %s", error)
        return 1
    log.info("stopped")
    return code


# -- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with PgBouncer's words and exit code."""
        if "required" in message:
            message = "no configuration file specified"
        self.exit(1, f'{self.prog}: {message}\nTry "{self.prog} --help" for more information.\n')


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="pgrouter-bouncer",
        description="pgrouter in the place of PgBouncer: with its configuration file.",
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG_FILE")
    parser.add_argument("-d", "--daemon", action="store_true", help="run in background (as a daemon)")
    parser.add_argument("-q", "--quiet", action="store_true", help="run quietly: nothing on stdout")
    parser.add_argument("-R", "--reboot", action="store_true", help="there is no takeover: as a start without it")
    parser.add_argument("-u", "--user", metavar="USERNAME", help="assume identity of USERNAME")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="increase verbosity")
    parser.add_argument("-V", "--version", action="version", version=_versions(), help="show version, then exit")
    return parser.parse_args(words)


def _versions() -> str:
    return f"PgBouncer {VERSION} (pgrouter {pgrouter.__version__})"


if __name__ == "__main__":
    sys.exit(main())
