"""Pgpool-II's pool_passwd: every kind of entry, and what is wrong with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgrouter.auth import pool_passwd
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SCRAM = (
    "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"
    "bpSY5Ze9NUH+I35LC3gVq+DpBfK46iXBxvhAKqVu9pE=:VpYlBuxyzeCI1KnctrefdljpB1mk3Gp7sBI/t11+NkQ="
)
# `printf 'secret' | openssl enc -aes-256-cbc -md sha1 -nosalt -k test-key -a`
AES = "AESpw42nqdGYv7mF2FH7hBfEQ=="


def test_every_kind_of_entry(tmp_path: Path) -> None:
    path = tmp_path / "pool_passwd"
    digest = "0" * 32
    path.write_text(f"plain:secret\nmarked:TEXTmd5really\nold:md5{digest}\n# no\n\nnew:{SCRAM}\nodd\\:name:a\\:b\n")
    users = pool_passwd.load(path, None)
    assert users.get("plain") == PlainSecret("secret")
    assert users.get("marked") == PlainSecret("md5really")
    assert users.get("old") == Md5Secret(digest)
    assert isinstance(users.get("new"), ScramSecret)
    assert users.get("odd:name") == PlainSecret("a:b")
    assert len(users) == 5


def test_encrypted_entries(tmp_path: Path) -> None:
    path, key = tmp_path / "pool_passwd", tmp_path / ".pgpoolkey"
    path.write_text(f"app:{AES}\n")
    key.write_text("test-key\n")
    key.chmod(0o600)
    assert pool_passwd.load(path, key).get("app") == PlainSecret("secret")
    key.write_text("another\n")
    with pytest.raises(ConfigError, match="another key"):
        pool_passwd.load(path, key)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path, key = tmp_path / "pool_passwd", tmp_path / ".pgpoolkey"
    path.write_text(f"app:{AES}\n")
    key.write_text("test-key")
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="0600"):
        pool_passwd.load(path, key)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nobody", "expected user:password"),
        (":secret", "expected user:password"),
        ("a:b:c:d", "mapped to another user"),
        ("a:SCRAM-SHA-256$x", "malformed SCRAM secret"),
        ("a:AES!!", "not base64"),
        ("a:AESAAAA", "whole number of blocks"),
        ("a:b\na:c", "given twice"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, line: str, problem: str) -> None:
    path, key = tmp_path / "pool_passwd", tmp_path / ".pgpoolkey"
    path.write_text(line)
    key.write_text("test-key")
    key.chmod(0o600)
    with pytest.raises(ConfigError, match=problem):
        pool_passwd.load(path, key)


def test_an_entry_that_needs_a_key_and_has_none(tmp_path: Path) -> None:
    path = tmp_path / "pool_passwd"
    path.write_text(f"app:{AES}")
    with pytest.raises(ConfigError, match="needs a key file"):
        pool_passwd.load(path, None)
