"""pcp.conf: who may use the pcp_* tools. A line is `user:md5(password)`; lines that begin with # are comments."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LINE = re.compile(r"([^:]+):([0-9a-f]{32})\s*", re.ASCII)
NOBODY = "0" * 32


@dataclass(frozen=True, slots=True, repr=False)
class PcpUsers:
    """The digests of their passwords, by user."""

    digests: Mapping[str, str]

    @classmethod
    def load(cls, path: Path) -> PcpUsers:
        """Read a file.

        Raises:
            ConfigError: it cannot be read, or `FILE:LINE: what is wrong`.

        """
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError([f"pcp.users_file: {path}: {why}"]) from error
        found: dict[str, str] = {}
        problems = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                problems.append(f"pcp.users_file: {path}:{number}: expected user:md5 of the password (pg_md5)")
            else:
                found[match[1]] = match[2]
        if problems:
            raise ConfigError(problems)
        return cls(MappingProxyType(found))

    def proves(self, user: str, shown: str, salt: bytes) -> bool:
        """Whether a digest shows that the user knows the password; it takes as long whoever it is."""
        known = self.digests.get(user)
        expected = digest(known or NOBODY, user, salt)
        return hmac.compare_digest(expected.encode(), shown.encode("utf-8", "replace")) and known is not None


def digest(stored: str, user: str, salt: bytes) -> str:
    """Return what a client shows: MD5 over MD5(stored, user) and the salt. Source: src/auth/md5.c, pool_md5_encrypt."""
    inner = hashlib.md5(f"{stored}{user}".encode(), usedforsecurity=False).hexdigest()
    return hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()
