"""PostgreSQL's md5 password exchange: a digest of password and user name, salted once per login.

Source: protocol chapter, "AuthenticationMD5Password".
"""

from __future__ import annotations

import hashlib

from pgrouter.auth.text import as_bytes

SALT_BYTES = 4


def password_digest(password: str, user: str) -> str:
    """Return the 32 hex digits that PostgreSQL stores (after the prefix md5) for a password."""
    return _md5(as_bytes(password) + as_bytes(user))


def response(digest: str, salt: bytes) -> bytes:
    """Return a client's answer to a salt, without the final NUL."""
    return b"md5" + _md5(digest.encode() + salt).encode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
