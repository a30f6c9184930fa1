r"""Users and their secrets from a file in the format of Pgpool-II's pool_passwd.

A line is `user:secret`; a colon inside either is written `\:`. A secret is `md5...`, `SCRAM-SHA-256$...`, `TEXT` and
the password, `AES` and the password encrypted with the key file's content, or else the password itself.

Source: Pgpool-II, src/auth/pool_passwd.c, src/utils/ssl_utils.c (aes_init: OpenSSL's EVP_BytesToKey with SHA-1, once
and without salt; AES-256-CBC).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from typing import TYPE_CHECKING

from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret, parse_secret
from pgrouter.auth.text import as_bytes, as_text
from pgrouter.auth.users import UserStore
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

AES_KEY_BYTES, AES_BLOCK_BYTES = 32, 16
MOST_KEY_BYTES = 255  # of the key file, as there (MAX_POOL_KEY_LEN)

_FIELD = re.compile(r"((?:[^:\\]|\\.)*):", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Entry = PlainSecret | Md5Secret | ScramSecret


def load(path: Path, key_path: Path | None) -> UserStore:
    """Read a file; `key_path` is needed for AES entries only.

    Raises:
        ConfigError: it cannot be read, or `FILE:LINE: what is wrong` for every line that cannot be used.

    """
    try:
        text = as_text(path.read_bytes())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    key: str | None = None

    def read(line: str) -> tuple[str, Entry]:
        nonlocal key
        if key is None and _is_aes(line):
            key = _key(key_path)
        return entry(line.removesuffix("\r"), key or "")

    lines = text.removesuffix("\n").split("\n")
    return UserStore.of_lines((line if line.strip() and line[0] != "#" else "" for line in lines), read, str(path))


def entry(line: str, key: str) -> tuple[str, Entry]:
    """Return a line's user and secret.

    Raises:
        ValueError: it is not one that can be used; the message repeats no secret.

    """
    fields = _fields(line)
    if len(fields) < 2 or not fields[0]:
        raise ValueError("expected user:password")
    if fields[1].startswith("SCRAM-SHA-256$"):  # has colons of its own
        return fields[0], parse_secret(":".join(fields[1:]))
    if len(fields) > 2:
        raise ValueError(
            f'"{fields[0]}" is mapped to another user of the servers, which is not supported: '
            "set databases[].user, or remove the mapping"
        )
    user, secret = fields
    if secret.startswith("TEXT"):
        return user, PlainSecret(secret.removeprefix("TEXT"))
    if secret.startswith("AES"):
        return user, PlainSecret(decrypt(secret.removeprefix("AES"), key))
    return user, parse_secret(secret)


def decrypt(text: str, key: str) -> str:
    """Return the password that pg_enc encrypted.

    Raises:
        ValueError: not with this key.

    """
    try:
        from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415  (an extra)
            Cipher,
            algorithms,
            modes,
        )
    except ImportError:
        raise ValueError("AES entries need the package cryptography: pip install 'pgrouter[pgpool]'") from None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("the AES entry is not base64") from None
    if not data or len(data) % AES_BLOCK_BYTES:
        raise ValueError("the AES entry is not a whole number of blocks")
    material = _bytes_to_key(as_bytes(key))
    cipher = Cipher(algorithms.AES(material[:AES_KEY_BYTES]), modes.CBC(material[AES_KEY_BYTES:]))
    decryptor = cipher.decryptor()
    plain = decryptor.update(data) + decryptor.finalize()
    padding = plain[-1]
    if not 1 <= padding <= AES_BLOCK_BYTES or plain[-padding:] != bytes([padding]) * padding:
        raise ValueError("the AES entry was encrypted with another key")
    return as_text(plain[:-padding])


def _bytes_to_key(key: bytes) -> bytes:
    """Return key and initialization vector, as EVP_BytesToKey does."""
    material, block = b"", b""
    while len(material) < AES_KEY_BYTES + AES_BLOCK_BYTES:
        block = hashlib.sha1(block + key, usedforsecurity=False).digest()
        material += block
    return material[: AES_KEY_BYTES + AES_BLOCK_BYTES]


def _is_aes(line: str) -> bool:
    fields = _fields(line)
    return len(fields) > 1 and fields[1].startswith("AES")


def _key(path: Path | None) -> str:
    """Return the key file's content: its first line, as there. Raises ValueError."""
    if path is None:
        raise ValueError("an AES entry needs a key file (auth.pool_key_file, PGPOOLKEYFILE, -k)")
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"the key file {path} must be readable by its owner alone (0600)")
        text = as_text(path.read_bytes())
    except OSError as error:
        raise ValueError(f"the key file {path} cannot be read: {error.strerror or error}") from None
    key = text.partition("\n")[0].removesuffix("\r")
    if not key or len(key) > MOST_KEY_BYTES:
        raise ValueError(f"the key file {path} must begin with a line of 1 to {MOST_KEY_BYTES} characters")
    return key


def _fields(line: str) -> list[str]:
    return [_ESCAPED.sub(r"\1", field) for field in _FIELD.findall(f"{line}:")]
