"""SCRAM against the RFC's own example, against scramp, and against malformed messages."""

from __future__ import annotations

import base64
import contextlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism

from pgrouter.auth import scram

# RFC 7677, section 3
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_NONCE = b"rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_rfcs_example_as_a_client() -> None:
    keys = scram.derive("pencil", SALT, 4096)
    first = scram.client_first(CLIENT_NONCE, b"user")
    challenge = scram.read_server_first(SERVER_FIRST, first)
    final, signature = scram.client_final(keys, first, challenge)
    assert (first.message, final) == (CLIENT_FIRST, CLIENT_FINAL)
    scram.check_server_final(SERVER_FINAL, signature)


def test_the_rfcs_example_as_a_server() -> None:
    keys = scram.derive("pencil", SALT, 4096)
    first = scram.read_client_first(CLIENT_FIRST)
    challenge = scram.server_first(first, SERVER_NONCE, SALT, 4096)
    proof = scram.read_client_final(CLIENT_FINAL, first, challenge, keys.stored_key)
    assert challenge.message == SERVER_FIRST
    assert proof.holds(keys.stored_key)
    assert proof.client_key == keys.client_key
    assert scram.server_final(proof, keys.server_key) == SERVER_FINAL


def test_scramp_logs_in_at_our_server() -> None:
    keys = scram.derive("pencil", SALT, 4096)
    client = ScramClient(["SCRAM-SHA-256"], "user", "pencil")
    first = scram.read_client_first(client.get_client_first().encode())
    challenge = scram.server_first(first, scram.new_nonce(), SALT, 4096)
    client.set_server_first(challenge.message.decode())
    proof = scram.read_client_final(client.get_client_final().encode(), first, challenge, keys.stored_key)
    assert proof.holds(keys.stored_key)
    client.set_server_final(scram.server_final(proof, keys.server_key).decode())


@pytest.mark.parametrize(("password", "right"), [("pencil", True), ("Pencil", False)])
def test_our_client_logs_in_at_scramp(*, password: str, right: bool) -> None:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    info = mechanism.make_auth_info("pencil")
    server = mechanism.make_server(lambda _: info)
    first = scram.client_first(scram.new_nonce(), b"user")
    server.set_client_first(first.message.decode())
    challenge = scram.read_server_first(server.get_server_first().encode(), first)
    final, signature = scram.client_final(scram.derive(password, challenge.salt, 4096), first, challenge)
    if right:
        server.set_client_final(final.decode())
        scram.check_server_final(server.get_server_final().encode(), signature)
    else:
        with pytest.raises(ScramException):
            server.set_client_final(final.decode())


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", b"pencil"),
        ("a b\x07", b"a b\x07"),  # PostgreSQL leaves ASCII alone, control characters too
        ("I\u00adX", b"IX"),  # RFC 4013, section 3
        ("\u2168", b"IX"),
        ("\u00aa", b"a"),
        ("\u00a0", b" "),
        ("\u0627\u0031", "\u0627\u0031".encode()),  # prohibited (bidi): PostgreSQL takes it as it is
        ("\u0221", "\u0221".encode()),  # unassigned in Unicode 3.2
        ("\u00ad", "\u00ad".encode()),  # nothing would be left
        ("\udcff", b"\xff"),  # was not UTF-8
    ],
)
def test_passwords_are_prepared_as_postgresql_does(password: str, prepared: bytes) -> None:
    assert scram.prepare(password) == prepared


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "channel-binding flag"),
        (b"n", "channel-binding flag"),
        (b"n,", "channel-binding flag"),
        (b"x,,n=,r=abc", "channel-binding flag"),
        (b"p=tls-server-end-point,,n=,r=abc", "without channel binding"),
        (b"n,a=joe,n=,r=abc", "authorization identity"),
        (b"n,,m=1,n=,r=abc", "extension"),
        (b"n,,", 'attribute "n"'),
        (b"n,,r=abc", 'attribute "n"'),
        (b"n,,n=", 'attribute "r"'),
        (b"n,,n=,r=", "nonce"),
        (b"n,,n=,r=a b", "nonce"),
        (b"n,,n=,r=a\xff", "nonce"),
    ],
)
def test_malformed_first_messages(message: bytes, why: str) -> None:
    with pytest.raises(scram.ScramError, match=why):
        scram.read_client_first(message)


def test_flag_y_and_unknown_extensions_are_accepted() -> None:
    first = scram.read_client_first(b"y,,n=joe,r=abc,x=1")
    assert (first.gs2_header, first.bare, first.nonce) == (b"y,,", b"n=joe,r=abc,x=1", b"abc")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", 'attribute "r"'),
        (b"e=other-error", 'attribute "r"'),
        (b"r=abcdef", 'attribute "s"'),
        (b"r=abc,s=AAAA,i=4096", "Nonce does not match"),  # ours, but nothing added
        (b"r=xyzdef,s=AAAA,i=4096", "Nonce does not match"),
        (b"r=abcdef,s=A,i=4096", "salt is not valid base64"),
        (b"r=abcdef,s=,i=4096", "Malformed salt"),
        (b"r=abcdef,s=AAAA,i=0", "iteration"),
        (b"r=abcdef,s=AAAA,i=-5", "iteration"),
        (b"r=abcdef,s=AAAA,i=1e9", "iteration"),
        (b"r=abcdef,s=AAAA,i=1000001", "more than"),
    ],
)
def test_malformed_challenges(message: bytes, why: str) -> None:
    with pytest.raises(scram.ScramError, match=why):
        scram.read_server_first(message, scram.client_first(b"abc"))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "proof is missing"),
        (b"c=biws,r=abcdef", "proof is missing"),
        (b"c=eSws,r=abcdef,p=AAAA", "channel-binding attribute"),
        (b"c=biws,r=abcdex,p=AAAA", "Nonce does not match"),
        (b"r=abcdef,p=AAAA", 'attribute "c"'),
        (b"c=biws,p=AAAA", 'attribute "r"'),
        (b"c=biws,r=abcdef,p=AAA", "proof is not valid base64"),
        (b"c=biws,r=abcdef,p=AAAA", "Malformed proof"),
        (b"c=biws,r=abcdef,p=" + base64.b64encode(bytes(32)) + b",x=1", "proof is not valid base64"),
    ],
)
def test_malformed_responses(message: bytes, why: str) -> None:
    first = scram.client_first(b"abc")
    challenge = scram.server_first(first, b"def", SALT, 4096)
    with pytest.raises(scram.ScramError, match=why):
        scram.read_client_final(message, first, challenge, bytes(32))


@pytest.mark.parametrize("message", [b"", b"v=", b"v=AAAA", b"e=invalid-proof", b"v=" + base64.b64encode(bytes(32))])
def test_a_server_without_the_right_signature(message: bytes) -> None:
    with pytest.raises(scram.ScramError):
        scram.check_server_final(message, bytes(31) + b"\1")


@given(st.binary(max_size=120))
def test_no_bytes_do_more_than_a_clear_error(data: bytes) -> None:
    first = scram.client_first(b"abc")
    challenge = scram.server_first(first, b"def", SALT, 4096)
    with contextlib.suppress(scram.ScramError):
        assert scram.read_client_first(data).message == data
    with contextlib.suppress(scram.ScramError):
        assert scram.read_server_first(b"r=abcdef," + data, first).nonce == b"abcdef"
    with contextlib.suppress(scram.ScramError):
        assert not scram.read_client_final(b"c=biws,r=abcdef" + data, first, challenge, bytes(32)).holds(bytes(32))
    with pytest.raises(scram.ScramError):
        scram.check_server_final(b"v=" + data, bytes(32))


def test_salts_without_a_secret_are_stable_and_differ_by_user() -> None:
    assert scram.salt_for("joe") == scram.salt_for("joe")
    assert scram.salt_for("joe") != scram.salt_for("jim")
    assert len(scram.salt_for("joe")) == 16


@given(st.binary(min_size=scram.KEY_BYTES, max_size=scram.KEY_BYTES), st.binary(max_size=300))
def test_an_hmac_whose_key_is_remembered_is_an_hmac(key: bytes, text: bytes) -> None:
    expected = hmac.digest(key, text, "sha256")
    proof = scram.Proof(b"", text)
    assert [scram.server_final(proof, key) for _ in range(2)] == [b"v=" + scram.encode(expected)] * 2


@pytest.mark.parametrize("message", [b"n,,n=,r=abc", b"y,,n=joe,r=a=b+c/d", b"n,,n=\n,r=~", b"n,,n=x,r=abc,x=1"])
def test_usual_and_unusual_first_messages_are_taken_apart_alike(message: bytes) -> None:
    first = scram.read_client_first(message)
    assert (first.gs2_header, first.bare) == (message[:3], message[3:])
    assert first.nonce == message.split(b"r=")[1].split(b",")[0]
