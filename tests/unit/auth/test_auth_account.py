"""Users without a secret look like users with one: on the wire, and in what is computed for them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from auth_dialogue import begin, message, say

from pgrouter.auth import md5, scram
from pgrouter.auth.account import decoy, typical
from pgrouter.auth.secret import Derivation, Md5Secret, PlainSecret, ScramSecret
from pgrouter.errors import AuthenticationFailed

if TYPE_CHECKING:
    from pgrouter.auth.account import StoredSecret
    from pgrouter.auth.conversation import Conversation

PASSWORD, ASKED = ord("p"), ord("R")


def scram_secret(iterations: int = 4096) -> ScramSecret:
    keys = scram.derive("pw", b"0123456789abcdef", iterations)
    return ScramSecret(keys.salt, keys.iterations, keys.stored_key, keys.server_key)


SECRETS: dict[str, StoredSecret] = {
    "plain": PlainSecret("pw"),
    "md5": Md5Secret(md5.password_digest("pw", "joe")),
    "scram": scram_secret(),
    "scram of many iterations": scram_secret(20000),
}


def _answer(exchange: Conversation, answer: bytes, computed: list[Any]) -> None:
    request = exchange.resume((PASSWORD, answer))
    while isinstance(request, Derivation):
        computed.append(request.run().iterations)
        request = exchange.resume(request.run())


def conversation(method: str, user: str, secret: StoredSecret) -> list[Any]:
    """Give a wrong password; return what the client hears, without what is random, and what was computed."""
    exchange, asked = begin(method, user, secret)
    kind = int.from_bytes(asked[1][:4], "big")
    heard: list[Any] = [asked if kind == 10 else (asked[0], kind)]
    if kind == 10:
        first = b"n,,n=,r=abc"
        initial = b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first
        challenge = message(say(exchange, (PASSWORD, initial)))[1][4:]
        parsed = scram.read_server_first(challenge, scram.client_first(b"abc"))
        heard.append((len(parsed.nonce), len(parsed.salt), parsed.iterations))
        answer = b"c=biws,r=" + parsed.nonce + b",p=" + scram.encode(bytes(32))
    else:
        answer = b"wrong\0" if kind == 3 else b"md5" + b"0" * 32 + b"\0"
    with pytest.raises(AuthenticationFailed) as caught:
        _answer(exchange, answer, heard)
    return [*heard, caught.value.sqlstate, caught.value.message.replace(user, "USER")]


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_an_unknown_user_is_like_others(method: str, kind: str) -> None:
    known = SECRETS[kind]
    if (method, kind) == ("scram-sha-256", "md5"):
        known = scram_secret()  # an md5 secret cannot serve; then it looks like the default
    made_up = decoy(method, "nobody", SECRETS[kind])
    assert conversation(method, "nobody", made_up) == conversation(method, "joe", known)


def test_no_password_satisfies_a_decoy() -> None:
    for secret in SECRETS.values():
        made_up = decoy("password", "joe", secret)
        if not isinstance(made_up, ScramSecret):
            assert made_up.proves("joe", "pw") is None
            assert made_up.proves("joe", "") is None


def test_what_most_secrets_are_like() -> None:
    assert typical([]) is None
    assert typical([PlainSecret("a"), SECRETS["scram"], scram_secret()]) in (SECRETS["scram"], scram_secret())
    found = typical([scram_secret(20000), scram_secret(20000), SECRETS["scram"]])
    assert isinstance(found, ScramSecret)
    assert found.iterations == 20000
