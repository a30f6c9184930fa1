"""`pgrouter convert FILE`: another pooler's configuration as YAML, which begins with what there is to say about it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from pgrouter.config.converted import Converted


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that can be converted."""

    suffix: str  # of files' names
    module: str  # has `convert(path, environment)`

    def convert(self, path: Path, environment: Mapping[str, str]) -> Converted:
        """Return a file's content as settings of ours; raises ConfigError with every problem."""
        function: Callable[[Path, Mapping[str, str]], Converted] = import_module(self.module).convert
        return function(path, environment)


KINDS = {
    "pgbouncer": Kind(".ini", "pgrouter.bouncer.convert"),
    "pgpool": Kind(".conf", "pgrouter.pgpool.convert"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help=" or ".join(f"{name}*{k.suffix}" for name, k in KINDS.items())
    )
    parser.add_argument("--from", dest="kind", choices=tuple(KINDS), help="whose file it is; default: by its name")
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="where to write the YAML; default: stdout")


def run(args: argparse.Namespace) -> int:
    """Convert a file; return the exit code."""
    kind = KINDS.get(args.kind) or kind_of(args.file)
    if kind is None:
        sys.stderr.write(f"{args.file}: what is it? --from {' or '.join(KINDS)}\n")
        return 1
    path = args.file.absolute()
    try:
        converted = kind.convert(path, os.environ)
        converted.settings(path.parent)
        text = converted.yaml(str(path))
        if args.output is None:
            sys.stdout.write(text)
        else:
            write(args.output, text)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{args.file}: {problem}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{args.output}: {error.strerror}\n")
        return 1
    for line in converted.report:
        sys.stderr.write(f"{args.file}: {line}\n")
    return 0


def kind_of(path: Path) -> Kind | None:
    """Return the kind of a file by its name."""
    return next((kind for name, kind in KINDS.items() if name in path.name or path.suffix == kind.suffix), None)


def write(path: Path, text: str) -> None:
    """Write a file that may contain passwords."""
    path.touch(0o600)
    path.write_text(text, "utf-8")
