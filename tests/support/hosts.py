"""A test's own list of host names for a router, which may change while it runs.

All names are looked up with socket.getaddrinfo: the members' for its own connections and for clients', and etcd's.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from pgrouter.demo.router import PROGRAM


class Hosts:
    """Names and their addresses, in the order to be tried; a name without any cannot be resolved."""

    def __init__(self, file: Path, **addresses: list[str]) -> None:
        self._file = file
        self.set(**addresses)

    def set(self, **addresses: list[str]) -> None:
        """Set all names and their addresses from now on; in a name `_` stands for a dot."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({name.replace("_", "."): found for name, found in addresses.items()}))
        new.rename(self._file)

    @property
    def program(self) -> str:
        """The router's program, with this list instead of the system's."""
        here, file = str(Path(__file__).parent.parent), str(self._file)
        return f"import sys; sys.path.append({here!r}); from support.hosts import use; use({file!r}); {PROGRAM}"


def use(file: str) -> None:
    """Resolve names from this file."""
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        names = json.loads(Path(file).read_text())
        if not isinstance(text, str) or "." not in text or text.replace(".", "").isdigit():
            return system(host, port, *more, **named)
        if not names.get(text):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [entry for address in names[text] for entry in system(address, port, *more, **named)]

    socket.getaddrinfo = getaddrinfo
