"""The client's login when the client does not play by the rules."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from auth_dialogue import begin, message, say
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.auth import scram
from pgrouter.auth.client import EXCHANGES, client_login
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.auth.server import FOREIGN_REQUESTS
from pgrouter.errors import AuthenticationFailed, ProtocolViolation, RouterError
from pgrouter.protocol import codes

if TYPE_CHECKING:
    from pgrouter.auth.conversation import Conversation

PASSWORD, QUERY = ord("p"), ord("Q")
SECRETS = [PlainSecret("pw"), Md5Secret("0" * 32), ScramSecret(b"salt", 4096, bytes(32), bytes(32)), None]


def initial(data: bytes, mechanism: bytes = b"SCRAM-SHA-256", length: int | None = None) -> bytes:
    """Build the body of a SASLInitialResponse."""
    return mechanism + b"\0" + struct.pack("!i", len(data) if length is None else length) + data


def test_every_type_has_an_exchange_for_every_kind_of_secret() -> None:
    for auth_type in ("password", "md5", "scram-sha-256"):
        for secret in SECRETS[:3]:
            assert (auth_type, type(secret)) in EXCHANGES
    with pytest.raises(KeyError):
        next(client_login("hba", "joe", None))


def test_trust_asks_nothing() -> None:
    with pytest.raises(StopIteration) as over:
        next(client_login("trust", "joe", None))
    assert (over.value.value.user, over.value.value.final) == ("joe", b"")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("auth_type", ["password", "md5", "scram-sha-256"])
def test_another_message_than_a_password(auth_type: str, secret: PlainSecret | None) -> None:
    exchange, _ = begin(auth_type, "joe", secret)
    with pytest.raises(ProtocolViolation, match="response, got message type 81") as caught:
        say(exchange, (QUERY, b"select 1\0"))
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", ProtocolViolation, "invalid password packet size"),
        (b"pw", ProtocolViolation, "invalid password packet size"),
        (b"p\0w\0", ProtocolViolation, "invalid password packet size"),
        (b"pw\0\0", ProtocolViolation, "invalid password packet size"),
        (b"\0", AuthenticationFailed, "empty password returned by client"),
        (b"x" * 65535 + b"\0", ProtocolViolation, "invalid message length"),
    ],
)
@pytest.mark.parametrize("auth_type", ["password", "md5"])
def test_odd_passwords(auth_type: str, body: bytes, error: type[RouterError], words: str) -> None:
    exchange, _ = begin(auth_type, "joe", PlainSecret("pw"))
    with pytest.raises(error, match=words):
        say(exchange, (PASSWORD, body))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "insufficient data"),
        (b"SCRAM-SHA-256", "insufficient data"),
        (b"SCRAM-SHA-256\0\0\0\0", "insufficient data"),
        (initial(b"n,,n=,r=abc", b"SCRAM-SHA-256-PLUS"), "invalid SASL authentication mechanism"),
        (initial(b"n,,n=,r=abc", length=5), "wrong length"),
        (initial(b"n,,n=,r=abc", length=-1), "wrong length"),
        (initial(b""), "malformed SCRAM message"),
        (initial(b"p=tls-unique,,n=,r=abc"), "malformed SCRAM message"),
        (initial(b"n,,n=,r=" + b"a" * 2000), "invalid message length"),
    ],
)
def test_odd_initial_responses(body: bytes, words: str) -> None:
    exchange, request = begin("scram-sha-256", "joe", PlainSecret("pw"))
    assert request == (ord("R"), b"\0\0\0\x0aSCRAM-SHA-256\0\0")
    with pytest.raises(ProtocolViolation, match=words):
        say(exchange, (PASSWORD, body))


def test_a_client_may_be_asked_for_its_first_message() -> None:
    exchange, _ = begin("scram-sha-256", "joe", PlainSecret("pw"))
    assert message(say(exchange, (PASSWORD, initial(b"", length=-1)))) == (ord("R"), b"\0\0\0\x0b")
    _, challenge = message(say(exchange, (PASSWORD, b"n,,n=,r=abc")))
    assert challenge.startswith(b"\0\0\0\x0br=abc")


def test_a_proof_for_another_nonce() -> None:
    exchange, _ = begin("scram-sha-256", "joe", PlainSecret("pw"))
    say(exchange, (PASSWORD, initial(b"n,,n=,r=abc")))
    with pytest.raises(ProtocolViolation, match="malformed SCRAM message") as caught:
        say(exchange, (PASSWORD, b"c=biws,r=abc,p=AAAA"))
    assert caught.value.detail == "Nonce does not match."


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_in_the_exchange_tells_an_unknown_user(secret: PlainSecret | None) -> None:
    challenges = []
    for known in (secret, None):
        exchange, request = begin("scram-sha-256", "joe", known)
        _, challenge = message(say(exchange, (PASSWORD, initial(b"n,,n=,r=abc"))))
        parsed = scram.read_server_first(challenge[4:], scram.client_first(b"abc"))
        challenges.append((request, len(parsed.nonce), parsed.iterations))
        response = b"c=biws,r=" + parsed.nonce + b",p=" + scram.encode(bytes(32))
        with pytest.raises(AuthenticationFailed) as caught:
            say(exchange, (PASSWORD, response))
        challenges[-1] += (str(caught.value),)
    assert challenges[0] == challenges[1]


def test_the_salt_of_an_unknown_user_stays() -> None:
    salts = set()
    for _ in range(3):
        exchange, _ = begin("scram-sha-256", "nobody", None)
        _, challenge = message(say(exchange, (PASSWORD, initial(b"n,,n=,r=abc"))))
        salts.add(scram.read_server_first(challenge[4:], scram.client_first(b"abc")).salt)
    assert len(salts) == 1


def test_md5_salts_are_new_each_time() -> None:
    assert len({begin("md5", "joe", PlainSecret("pw"))[1] for _ in range(8)}) == 8


@settings(max_examples=200)
@given(
    st.sampled_from(["password", "md5", "scram-sha-256"]),
    st.sampled_from(range(len(SECRETS))),
    st.lists(st.tuples(st.just(PASSWORD) | st.integers(0, 255), st.binary(max_size=60)), min_size=3, max_size=3),
)
def test_any_bytes_end_in_a_clear_error(auth_type: str, number: int, said: list[tuple[int, bytes]]) -> None:
    exchange, _ = begin(auth_type, "joe", SECRETS[number])
    with pytest.raises((AuthenticationFailed, ProtocolViolation)) as caught:
        _say(exchange, said)
    assert caught.value.closes_client


def _say(exchange: Conversation, said: list[tuple[int, bytes]]) -> None:
    for each in said:
        say(exchange, each)


def test_request_codes_are_told_apart() -> None:
    ours = {codes.AUTH_OK, codes.AUTH_CLEARTEXT, codes.AUTH_MD5, codes.AUTH_SASL}
    assert not ours & set(FOREIGN_REQUESTS)
