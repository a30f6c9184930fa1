"""One target under atheris, in a process of its own: python -m fuzz.run TARGET DIRECTORY... [-option=value...]."""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["pgrouter"]):
    from fuzz.targets import TARGETS

logging.disable(logging.CRITICAL)
target = TARGETS[sys.argv[1]]
atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
atheris.Fuzz()
