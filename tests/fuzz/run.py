"""One target under atheris, in a process of its own: python -m fuzz.run TARGET DIRECTORY... [-option=value...]."""

from __future__ import annotations

import gc
import logging
import sys
from itertools import count

import atheris

with atheris.instrument_imports(include=["pgrouter"]):
    from fuzz.targets import TARGETS

logging.disable(logging.CRITICAL)
target = TARGETS[sys.argv[1]]
runs = count(1)


def run(data: bytes) -> None:
    """Run it; routers of earlier runs do not pile up."""
    target.run(data)
    if next(runs) % 500 == 0:
        gc.collect()


atheris.Setup([sys.argv[0], *sys.argv[2:]], run)
atheris.Fuzz()
