"""Both halves of a login against each other: every auth.type, every kind of secret."""

from __future__ import annotations

import hashlib

import pytest
from auth_dialogue import talk
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.auth import md5, scram
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.errors import AuthenticationFailed, InvalidAuthorization, RouterError

TYPES = ("trust", "password", "md5", "scram-sha-256")
KINDS = ("plain", "md5", "scram")
PLAIN = PlainSecret("pw")


def stored(kind: str, user: str = "joe", password: str = "pw") -> PlainSecret | Md5Secret | ScramSecret:  # noqa: S107
    """Give a secret as a users file would hold it."""
    if kind == "plain":
        return PlainSecret(password)
    if kind == "md5":
        return Md5Secret(md5.password_digest(password, user))
    keys = scram.derive(password, b"0123456789abcdef", 4096)
    return ScramSecret(keys.salt, keys.iterations, keys.stored_key, keys.server_key)


IMPOSSIBLE = ("scram-sha-256", "md5")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auth_type", TYPES)
def test_the_right_password(auth_type: str, kind: str) -> None:
    if (auth_type, kind) == IMPOSSIBLE:
        with pytest.raises(AuthenticationFailed):
            talk(auth_type, "joe", stored(kind), PLAIN)
        return
    identity, hello = talk(auth_type, "joe", stored(kind), PLAIN)
    assert identity.user == "joe"
    assert hello.parameters == (("server_version", "18"),)
    assert (hello.pid, hello.key) == (7, b"\1\2\3\4")


@pytest.mark.parametrize("kind", [*KINDS, "unknown", "empty"])
@pytest.mark.parametrize("auth_type", TYPES[1:])
def test_the_wrong_password_reads_the_same_for_everybody(auth_type: str, kind: str) -> None:
    secret = {"unknown": None, "empty": PlainSecret("")}.get(kind, stored("plain"))
    secret = stored(kind) if kind in KINDS else secret
    with pytest.raises(AuthenticationFailed) as caught:
        talk(auth_type, "joe", secret, PlainSecret("wrong"))
    assert (caught.value.sqlstate, caught.value.severity) == ("28P01", "FATAL")
    assert str(caught.value) == 'password authentication failed for user "joe"'
    assert caught.value.detail == ""


@pytest.mark.parametrize("auth_type", TYPES[1:3])
def test_an_empty_password_is_never_right(auth_type: str) -> None:
    with pytest.raises(AuthenticationFailed):
        talk(auth_type, "joe", PlainSecret(""), PlainSecret(""))


# What a login leaves for the servers: by auth.type and kind of stored secret
LEFT = {
    ("password", "plain"): PlainSecret,
    ("password", "md5"): PlainSecret,
    ("password", "scram"): PlainSecret,
    ("md5", "plain"): PlainSecret,
    ("md5", "md5"): Md5Secret,
    ("md5", "scram"): scram.ScramKeys,
    ("scram-sha-256", "plain"): PlainSecret,
    ("scram-sha-256", "scram"): scram.ScramKeys,
}


@pytest.mark.parametrize(("auth_type", "kind"), LEFT)
def test_what_a_login_leaves_logs_in_where_it_can(auth_type: str, kind: str) -> None:
    identity, _ = talk(auth_type, "joe", stored(kind), PLAIN)
    left = identity.credential
    assert type(left) is LEFT[auth_type, kind]
    for at_server, works in {
        "password": {PlainSecret},
        "md5": {PlainSecret, Md5Secret},
        "scram-sha-256": {PlainSecret, scram.ScramKeys},
    }.items():
        server_secret = stored("scram") if at_server == "scram-sha-256" else stored("md5")
        if type(left) in works:
            talk(at_server, "joe", server_secret, left)
        else:
            with pytest.raises(InvalidAuthorization, match="cannot log in") as caught:
                talk(at_server, "joe", server_secret, left)
            assert "the router has only" in caught.value.detail


def test_scram_keys_of_another_salt_are_refused_with_the_reason() -> None:
    keys = scram.derive("pw", b"another salt....", 4096)
    with pytest.raises(InvalidAuthorization) as caught:
        talk("scram-sha-256", "joe", stored("scram"), keys)
    assert "not the one that the server has" in caught.value.detail


@pytest.mark.parametrize("auth_type", TYPES[1:])
def test_without_a_credential(auth_type: str) -> None:
    kind = "scram" if auth_type == "scram-sha-256" else "md5"
    with pytest.raises(InvalidAuthorization) as caught:
        talk(auth_type, "joe", stored(kind), None)
    assert "the router has no password" in caught.value.detail


characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
names = st.text(characters, min_size=1, max_size=20)
passwords = st.text(characters | st.sampled_from("\u00a0\u00ad\u0627\u2168\u00aa\udcff"), min_size=1, max_size=20)
# as it comes from bytes: their surrogates stand for what is not UTF-8
passwords = passwords.map(lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))


@settings(max_examples=60, deadline=None)
@given(names, passwords, st.sampled_from(sorted(LEFT)))
def test_any_user_and_password(user: str, password: str, how: tuple[str, str]) -> None:
    auth_type, kind = how
    identity, _ = talk(auth_type, user, stored(kind, user, password), PlainSecret(password))
    assert identity.user == user


@settings(max_examples=30, deadline=None)
@given(names, passwords, passwords, st.sampled_from(sorted(LEFT)))
def test_any_other_password_fails(user: str, password: str, other: str, how: tuple[str, str]) -> None:
    if scram.prepare(password) == scram.prepare(other):
        return
    auth_type, kind = how
    with pytest.raises(AuthenticationFailed):
        talk(auth_type, user, stored(kind, user, password), PlainSecret(other))


@pytest.mark.parametrize(("auth_type", "kind"), [how for how in LEFT if "md5" not in how])
def test_a_second_login_costs_no_pbkdf2_on_either_side(
    auth_type: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, credential = stored(kind), PlainSecret("pw")
    talk(auth_type, "joe", secret, credential)
    runs = []
    real = hashlib.pbkdf2_hmac
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *args: runs.append(args) or real(*args))
    talk(auth_type, "joe", secret, credential)
    assert runs == []
    with pytest.raises(RouterError):
        talk(auth_type, "joe", secret, PlainSecret("other"))
    # Another password is paid for: by whoever tries it, and by us if it came in clear and we only have keys
    assert len(runs) == (0 if (auth_type, kind) == ("password", "plain") else 1)


def test_an_unknown_user_costs_the_router_no_pbkdf2(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = PlainSecret("pw")
    for _ in range(2):
        with pytest.raises(AuthenticationFailed):
            talk("scram-sha-256", "nobody", None, credential)
        monkeypatch.setattr(hashlib, "pbkdf2_hmac", None)  # the salt is known now: whoever calls it fails
