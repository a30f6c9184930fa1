"""`pgrouter-bouncer [OPTIONS] CONFIG_FILE`: a router in PgBouncer's place, by its command line and its file.

SIGTERM stops accepting clients and ends when the last of them has left, SIGINT when all transactions are over, a second
one of either, and SIGQUIT, at once. SIGHUP reads the file again.

Source: PgBouncer 1.26, src/main.c.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pgrouter.admin.views.router import NAME
from pgrouter.auth.files import AuthFiles
from pgrouter.bouncer import convert, process
from pgrouter.bouncer.environment import generated
from pgrouter.bouncer.members import REPLICAS
from pgrouter.bouncer.parameters import PARAMETERS
from pgrouter.config.change import changed
from pgrouter.config.diff import diff
from pgrouter.errors import ConfigError, RouterError
from pgrouter.logs import handler as logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgrouter.app import App
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
        self._set: Mapping[str, str] = {}  # on the console
        self.members: object = None

    def read(self) -> Ini:
        """Return the file; if it is missing, what the image's entrypoint would write."""
        made = None if self._path.exists() else generated(self._environment)
        if made is None:
            return convert.load(self._path, changes=self._set)
        process.complete(made)
        return convert.load(self._path, lambda _: made.ini, self._set)

    def load(self) -> Settings:
        """See `Source`."""
        self._set = {}
        converted = convert.converted(self.read(), self._environment)
        settings = converted.settings(Path.cwd())
        self._tell(converted)
        self.members = settings.cluster.members
        return settings

    def changed(self, settings: Settings, key: str, text: str, name: str) -> Settings:
        """See `Source`: PgBouncer's names mean what they mean in its file."""
        if name.lower() not in PARAMETERS:
            return changed(settings, key, text, Path.cwd())
        before, self._set = self._set, {**self._set, name.lower(): text}
        try:
            new = self._settings()
        except ConfigError:
            self._set = before
            raise
        asked, self._set = self._set, before
        # How the router itself logs in is derived from the same settings: that it stays as it is, is nobody's concern
        if any(not path.startswith("cluster.monitor") for path in diff(self._settings(), new).restart):
            raise RouterError(f'parameter "{name}" cannot be changed without restarting the server', sqlstate="55P02")
        self._set = asked
        return new

    def _settings(self) -> Settings:
        return convert.converted(self.read(), self._environment).settings(Path.cwd())

    def _tell(self, converted: Converted) -> None:
        if converted.report != self._report:
            self._report = converted.report
            for line in converted.report:
                log.warning("%s: %s", self.name, line, extra=logs.EVERY)

    def moved(self) -> bool:
        """Whether names stand for other members than they did when the file was last loaded."""
        try:
            members = self._settings().cluster.members
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
        settings = convert.converted(ini, os.environ).settings(Path.cwd())
        AuthFiles.load(settings.auth)  # while there is still somebody to read what is wrong
        pid_file = process.PidFile(ini.text("pidfile"))
        pid_file.check()
        if args.daemon:
            if not ini.text("pidfile"):
                raise ConfigError(["daemon needs pidfile configured"])  # noqa: TRY301  (one place reports)
            process.go_to_background()
        return _serve(source, settings, pid_file, verbose=args.verbose)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{path}: {problem}\n")
        return 1


def _serve(source: IniSource, settings: Settings, pid_file: process.PidFile, *, verbose: bool) -> int:
    try:
        handler = logs.start(settings.log)
    except OSError as error:
        raise ConfigError([f"logfile: cannot write there: {error}"]) from None
    from pgrouter.app import App, run  # noqa: PLC0415  (a wrong configuration is reported without importing everything)
    from pgrouter.proxy.drain import Shutdown  # noqa: PLC0415

    if verbose:
        logging.getLogger("pgrouter").setLevel(logging.DEBUG)
    settings = source.load()
    pid_file.write()
    log.info("process up: %s, %s", NAME, source.name)
    signals: dict[signal.Signals, Callable[[App], None]] = {
        signal.SIGTERM: partial(App.request_stop, how=Shutdown.CLIENTS),
        signal.SIGINT: App.request_stop,
        signal.SIGQUIT: partial(App.request_stop, how=Shutdown.NOW),
        signal.SIGUSR1: _pause,
        signal.SIGUSR2: _resume,
    }
    lookup = Lookup(source) if os.environ.get(REPLICAS) else None
    ticks = () if lookup is None else (lookup.tick,)
    return run(source, settings, handler, *ticks, signals=signals)


def _pause(app: App) -> None:
    if app.operator.is_paused(None):
        log.info("got SIGUSR1, but already paused/suspended")
    else:
        app.operator.pause(None)


def _resume(app: App) -> None:
    if app.operator.is_paused(None):
        app.operator.resume(None)
    else:
        log.info("got SIGUSR2, but not paused/suspended")


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
    parser.add_argument("-V", "--version", action="version", version=NAME, help="show version, then exit")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
