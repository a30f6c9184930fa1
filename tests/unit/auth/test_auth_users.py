"""The users file, and what is kept secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgrouter.auth import md5, scram
from pgrouter.auth.client import ClientIdentity
from pgrouter.auth.secret import AT_ONCE, Md5Secret, PlainSecret, ScramSecret, parse_secret, scram_secret
from pgrouter.auth.users import UserStore
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SCRAM = (
    "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$"
    "JKSvR6KAcNMV7AT6jVHMRVzxONzGBIcPFTpuNWvu5lQ=:Bcrc0v6Z1hgaZpyA1t5BTWL58d2f4PKcrXDYfSbqKp8="
)
MD5 = "md5" + md5.password_digest("pw", "joe")


def test_the_three_kinds_of_secrets_and_comments() -> None:
    text = f'\ufeff; comment\n# another\n\n"a" "pw"\n  "b"\t"{MD5}"   \n"c" "{SCRAM}" "more" words\r\n'
    store = UserStore.parse(text)
    assert store.get("a") == PlainSecret("pw")
    assert store.get("b") == Md5Secret(MD5[3:])
    secret = store.get("c")
    assert isinstance(secret, ScramSecret)
    assert (secret.salt, secret.iterations, len(secret.stored_key)) == (bytes(range(16)), 4096, 32)
    assert store.get("d") is None
    assert len(store) == 3


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_names_and_passwords_come_back_as_they_were_written(users: dict[str, str]) -> None:
    def keep(text: str) -> str:
        return text.replace("\n", "").replace("\0", "").replace("\r", "")

    users = {name: keep(secret) for name, secret in ((keep(n), s) for n, s in users.items()) if name}
    assume(not any(secret.startswith("SCRAM-SHA-256$") for secret in users.values()))  # which has to be well made
    lines = ['"{}" "{}"'.format(*(part.replace('"', '""') for part in pair)) for pair in users.items()]
    store = UserStore.parse("\n".join(lines))
    assert {name: store.get(name) for name in users} == {n: parse_secret(s) for n, s in users.items()}


def test_bytes_that_are_not_utf8_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes(b'"joe" "caf\xe9"\n')
    secret = UserStore.load(path).get("joe")
    assert isinstance(secret, PlainSecret)
    assert scram.prepare(secret.password) == b"caf\xe9"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("joe pw", "expected"),
        ('"joe"', "expected"),
        ('"joe" "p"w"', "expected"),
        ('"joe""pw"', "expected"),
        ('"" "pw"', "empty"),
        ('"joe" "SCRAM-SHA-256$4096:AAAA"', "malformed SCRAM secret"),
        ('"joe" "SCRAM-SHA-256$4096:AAAA$AAAA:A"', "base64"),
        ('"joe" "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA"', "32 bytes"),
        (f'"joe" "{SCRAM.replace("4096", "9999999999")}"', "iterations"),
        ('"joe" "p\0w"', "NUL"),
        ('"first" "again"', "given twice"),
    ],
)
def test_lines_that_cannot_be_used(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        UserStore.parse(f'"first" "hunter2"\n{line}\nwhat\n', "users.txt")
    assert [problem.split(" ")[0] for problem in caught.value.problems] == ["users.txt:2:", "users.txt:3:"]
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        UserStore.load(tmp_path / "users.txt")


def test_nothing_prints_a_secret() -> None:
    keys = scram.derive("hunter2", b"salt" * 4, 4096)
    store = UserStore.parse(f'"a" "hunter2"\n"b" "{MD5}"\n"c" "{SCRAM}"\n')
    shown = repr([store, *store.secrets.values(), keys, ClientIdentity("a", store.get("a"))])
    assert "hunter2" not in shown
    assert MD5[3:] not in shown
    assert "salt" not in shown
    assert "x05" not in shown


def test_malformed_scram_and_md5_are_told_apart_as_postgresql_does() -> None:
    assert parse_secret("md5" + "0" * 32) == Md5Secret("0" * 32)
    assert parse_secret("md5" + "0" * 31) == PlainSecret("md5" + "0" * 31)
    assert parse_secret("md5" + "G" * 32) == PlainSecret("md5" + "G" * 32)


def test_what_logs_in_to_servers() -> None:
    store = UserStore.parse(f'"a" "pw"\n"b" "{MD5}"\n"c" "{SCRAM}"\n"empty" ""\n')
    assert store.credential("a", None) == PlainSecret("pw")
    assert store.credential("b", None) == store.get("b")
    assert store.credential("c", None) is None
    assert store.credential("empty", None) is None
    assert store.credential("nobody", ClientIdentity("nobody")) is None
    proven = PlainSecret("told")
    assert store.credential("c", ClientIdentity("c", proven)) is proven


def test_a_secret_remembers_few_derivations() -> None:
    secret = PlainSecret("pw")
    first = secret.keys(b"a" * 16, 1)
    assert secret.keys(b"a" * 16, 1) is first
    for number in range(20):
        secret.keys(bytes([number]) * 16, 1)
    assert len(secret._derived) == 8
    assert secret == PlainSecret("pw")


def test_a_mock_secret_looks_like_a_derived_one() -> None:
    known, unknown = scram_secret("joe", PlainSecret("pw")), scram_secret("joe", None)
    assert (known.salt, known.iterations) == (unknown.salt, unknown.iterations)
    assert scram_secret("joe", PlainSecret("")).stored_key != scram_secret("joe", PlainSecret("")).stored_key


def test_keys_of_many_iterations_are_derived_by_somebody_else_and_only_once() -> None:
    secret = PlainSecret("pw")
    waits = secret.derived(b"a" * 16, AT_ONCE + 1)
    derivation = next(waits)
    assert "pw" not in repr(derivation)
    with pytest.raises(StopIteration) as over:
        waits.send(derivation.run())
    assert over.value.value == scram.derive("pw", b"a" * 16, AT_ONCE + 1)
    for iterations in (AT_ONCE, AT_ONCE + 1):
        with pytest.raises(StopIteration):
            next(secret.derived(b"a" * 16, iterations))
