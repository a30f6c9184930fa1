"""A pytest plugin that runs the Python source of the compiled modules.

    PGROUTER_PURE=1 python -m pytest -p tests.support.pure tests/unit/net ...

The compiled module and its source are side by side under one name, and Python prefers the compiled one. A finder in
front of all others returns the source of every module of pgrouter instead. Classes of compiled modules cannot be mixed
with those of uncompiled ones (a compiled class depends on the layout of its bases), so it is all or nothing, for a
whole
process: PGROUTER_PURE=1 in the environment.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

PURE = os.environ.get("PGROUTER_PURE", "") not in ("", "0")


class SourceFinder:
    """Finds the .py file of a compiled module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the source; None if it is not a compiled module of pgrouter."""
        if not name.startswith("pgrouter."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or spec.origin.endswith(".py"):
            return spec
        source = Path(spec.origin).with_name(name.rpartition(".")[2] + ".py")
        if not source.exists():
            raise ModuleNotFoundError(name)  # it is compiled only, and somebody can do without it
        return spec_from_file_location(name, source, loader=SourceFileLoader(name, str(source)))


def install() -> None:
    """Prefer sources from now on; RuntimeError if it is too late."""
    early = [name for name in sys.modules if name.startswith("pgrouter.")]
    if early:
        raise RuntimeError(f"PGROUTER_PURE: already imported: {', '.join(sorted(early))}")
    sys.meta_path.insert(0, SourceFinder())


if PURE:
    install()
