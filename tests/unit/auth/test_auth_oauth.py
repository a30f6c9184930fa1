"""OAUTHBEARER: tokens that are accepted and those that are not, and clients that do not play by the rules."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from auth_dialogue import message, say, start
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jws

from pgrouter.auth.account import Account
from pgrouter.auth.admission import Admission, authenticate
from pgrouter.auth.hba import Arrival, Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.oauth import TokenError, TokenVerifier, bearer_login
from pgrouter.config.settings import Oauth
from pgrouter.errors import ConfigError, InvalidAuthorization, ProtocolViolation, RouterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgrouter.auth.conversation import Conversation

ISSUER, SCOPE, NOW = "https://issuer.example/", "openid db", 1_800_000_000
PASSWORD, ASKED = ord("p"), ord("R")
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"}, auto_kid=False)
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"}, auto_kid=False)
STRANGER = jwk.ECKey.generate_key("P-256", {"kid": "ec"}, auto_kid=False)
SHARED = jwk.OctKey.generate_key(256, {"kid": "oct"}, auto_kid=False)
GOOD: dict[str, Any] = {
    "iss": ISSUER, "sub": "joe", "exp": NOW + 60, "nbf": NOW - 60, "aud": ["db", "x"], "scope": "email openid db"
}  # fmt: skip


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenVerifier]:
    path = tmp_path_factory.mktemp("oauth") / "jwks.json"
    keys = [RSA.as_dict(private=False), EC.as_dict(private=False), SHARED.as_dict(private=True)]
    path.write_text(json.dumps({"keys": keys}))
    found = TokenVerifier.load(Oauth(jwks_file=path, audience="db"))
    assert found is not None
    return found


def token(key: Any = EC, alg: str = "ES256", kid: str = "ec", **claims: Any) -> str:
    payload = {name: value for name, value in (GOOD | claims).items() if value is not None}
    return jws.serialize_compact({"alg": alg, "kid": kid}, json.dumps(payload), key, algorithms=[alg])


def test_a_good_token_is_its_subjects(verifier: TokenVerifier) -> None:
    for good in (token(), token(RSA, "RS256", "rsa"), token(RSA, "PS256", "rsa"), token(aud="db"), token(nbf=None)):
        assert verifier.subject(good, ISSUER, SCOPE, NOW) == "joe"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (token(STRANGER), "not valid"),
        (token(SHARED, "HS256", "oct"), "not valid"),
        (token(kid="none"), "not valid"),
        (token()[:-8] + "AAAAAAAA", "not valid"),
        (token().rpartition(".")[0] + ".", "not valid"),
        ("e30.e30.", "not valid"),
        ("", "not valid"),
        ("a.b.c.d.e", "not valid"),
        (token(iss="https://other.example"), "another issuer"),
        (token(iss=None), "another issuer"),
        (token(exp=NOW - 3600), "expired"),
        (token(exp=None), "expired"),
        (token(exp="soon"), "expired"),
        (token(nbf=NOW + 3600), "not valid yet"),
        (token(aud="other"), "another audience"),
        (token(aud=None), "another audience"),
        (token(scope="openid"), "lacks a scope"),
        (token(scope=None), "lacks a scope"),
        (token(scope={"a": 1}), "lacks a scope"),
        (token(sub=None), "has no sub"),
        (token(sub=5), "has no sub"),
    ],
)
def test_tokens_that_are_not_accepted(verifier: TokenVerifier, bad: str, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        verifier.subject(bad, ISSUER, SCOPE, NOW)


def test_unsigned_tokens_are_not_accepted(verifier: TokenVerifier) -> None:
    head = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    with pytest.raises(TokenError):
        verifier.subject(f"{head}.{token().split('.')[1]}.", ISSUER, SCOPE, NOW)


@given(st.text() | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_any_text_is_no_token(verifier: TokenVerifier, text: str) -> None:
    with pytest.raises(TokenError):
        verifier.subject(text, ISSUER, SCOPE, NOW)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}', '{"keys": [5]}']
)
def test_files_without_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "jwks.json").write_text(text)
    with pytest.raises(ConfigError, match=r"jwks\.json"):
        TokenVerifier.load(Oauth(jwks_file=tmp_path / "jwks.json"))


# -- the exchange


def initial(body: bytes, mechanism: bytes = b"OAUTHBEARER") -> tuple[int, bytes]:
    return PASSWORD, mechanism + b"\0" + struct.pack("!I", len(body)) + body


def bearer(value: str) -> tuple[int, bytes]:
    return initial(b"n,,\1auth=" + value.encode() + b"\1\1")


def begun(verifier: TokenVerifier) -> Conversation:
    exchange = start(bearer_login(verifier, ISSUER, SCOPE))
    assert message(exchange.sends()) == (ASKED, b"\0\0\0\x0aOAUTHBEARER\0\0")
    return exchange


@pytest.fixture
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)


@pytest.mark.usefixtures("_now")
def test_a_client_with_a_token(verifier: TokenVerifier) -> None:
    for said in (
        bearer(f"Bearer {token()}"),
        bearer(f"bearer  {token()}"),
        initial(b"y,,\1host=x\1auth=Bearer " + token().encode() + b"\1\1"),
    ):
        exchange = begun(verifier)
        assert say(exchange, said) == b""
        assert exchange.result == "joe"


@pytest.mark.parametrize("value", ["", f"Bearer {token(STRANGER)}", "Basic x", "Bearer a b"])
def test_a_client_without_one_is_told_where_to_get_it(verifier: TokenVerifier, value: str) -> None:
    exchange = begun(verifier)
    kind, body = message(say(exchange, bearer(value)))
    assert (kind, body[:4]) == (ASKED, b"\0\0\0\x0b")
    assert json.loads(body[4:]) == {
        "status": "invalid_token",
        "openid-configuration": "https://issuer.example/.well-known/openid-configuration",
        "scope": SCOPE,
    }
    with pytest.raises(TokenError):
        say(exchange, (PASSWORD, b"\1"))


@pytest.mark.parametrize(
    "said",
    [
        (ord("Q"), b""),
        (PASSWORD, b""),
        (PASSWORD, b"SCRAM-SHA-256\0\0\0\0\0"),
        initial(b""),
        initial(b"n"),
        initial(b"n,,"),
        initial(b"n,,\1auth=Bearer x\1"),
        initial(b"n,,\1\1"),
        initial(b"n,,\1auth=a\1auth=b\1\1"),
        initial(b"n,,\1auth\1\1"),
        initial(b"n,,\1auth=\0\1\1"),
        initial(b"n,a=joe,\1auth=x\1\1"),
        initial(b"p=tls-server-end-point,,\1auth=x\1\1"),
        initial(b"x" * 70000),
    ],
)
def test_what_is_malformed_is_a_clear_error(verifier: TokenVerifier, said: tuple[int, bytes]) -> None:
    exchange = begun(verifier)
    with pytest.raises((ProtocolViolation, InvalidAuthorization)) as caught:
        say(exchange, said)
    assert caught.value.closes_client


@given(st.binary(max_size=80))
def test_any_bytes_end_in_a_clear_error(verifier: TokenVerifier, data: bytes) -> None:
    exchange = begun(verifier)
    with pytest.raises((RouterError, TokenError)):
        _say(exchange, initial(b"n,,\1auth=" + data + b"\1\1"), (PASSWORD, b"\1"))


def _say(exchange: Conversation, *said: tuple[int, bytes]) -> None:
    for each in said:
        say(exchange, each)


@pytest.mark.usefixtures("_now")
@pytest.mark.parametrize(("user", "subject", "accepted"), [("joe", "joe", True), ("jim", "joe", False)])
def test_the_subject_has_to_be_the_user(
    verifier: TokenVerifier, tmp_path: Path, user: str, subject: str, *, accepted: bool
) -> None:
    hba = tmp_path / "pg_hba.conf"
    hba.write_text(f'host all all all oauth issuer={ISSUER} scope="{SCOPE}"\n')
    arrival = Arrival(user, "db", "::1")
    rule = Rules.load(hba).match(arrival).rule
    assert rule is not None
    exchange = start(authenticate(Admission(rule, arrival, Account(None), UserMaps(), verifier)))
    said = bearer(f"Bearer {token(sub=subject)}")
    if accepted:
        say(exchange, said)
        assert exchange.result.user == user
    else:
        with pytest.raises(InvalidAuthorization, match='OAuth bearer authentication failed for user "jim"'):
            say(exchange, said)
