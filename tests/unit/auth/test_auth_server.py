"""The login to a server when the server refuses, or does not play by the rules."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from auth_dialogue import WELCOME, frame, message, messages, say, start
from hypothesis import given
from hypothesis import strategies as st
from support.conversing import play

from pgrouter.auth import md5, scram
from pgrouter.auth.secret import PlainSecret
from pgrouter.auth.server import ServerHello, ServerRefused, server_login
from pgrouter.errors import InvalidAuthorization, RouterError, ServerLost

if TYPE_CHECKING:
    from pgrouter.auth.conversation import Conversation

R, S, K, Z, N, E = b"RSKZNE"
OK = (R, b"\0\0\0\0")
SASL = (R, b"\0\0\0\x0aSCRAM-SHA-256\0\0")
READY = (Z, b"I")
REFUSAL = b'SFATAL\0VFATAL\0C3D000\0Mdatabase "x" does not exist\0Dsome detail\0Htry\0Fpostinit.c\0\0'


def login(*said: tuple[int, bytes], credential: PlainSecret | None = None) -> ServerHello:
    """Log in at a server that says these messages whatever it hears."""
    server = start(server_login("joe", "db", (), credential))
    for each in said:
        assert server.result is None
        server.resume(each)
    return server.result


def test_the_startup_packet() -> None:
    packet = start(server_login("joe", "db", (("application_name", "caf\u00e9"),), None)).sends()
    body = b"user\0joe\0database\0db\0application_name\0caf\xc3\xa9\0\0"
    assert packet == struct.pack("!II", len(body) + 8, 196608) + body


def test_everything_that_a_server_may_say_of_itself() -> None:
    hello = login(
        (N, b"SNOTICE\0Mhello\0\0"),
        (ord("v"), b"\0\0\0\0\0\0\0\0"),
        OK,
        (S, b"server_version\0" + b"18.1\0"),
        (S, b"TimeZone\0Etc/UTC\0"),
        (N, b"SNOTICE\0Mhello\0\0"),
        (S, b"empty\0\0"),
        (K, b"\0\0\0\x2a" + bytes(32)),
        READY,
    )
    assert hello == ServerHello((("server_version", "18.1"), ("TimeZone", "Etc/UTC"), ("empty", "")), 42, bytes(32))
    assert "x00" not in repr(hello)


def test_a_server_without_a_key() -> None:
    assert login(OK, READY) == ServerHello((), 0, b"")


@pytest.mark.parametrize("before", [(), (OK,), (SASL,), (OK, (S, b"a\0b\0"))])
def test_a_refusal_keeps_the_servers_own_words(before: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(ServerRefused) as caught:
        login(*before, (E, REFUSAL), credential=PlainSecret("pw"))
    error = caught.value
    assert (error.sqlstate, error.severity, error.message) == ("3D000", "FATAL", 'database "x" does not exist')
    assert (error.detail, error.hint, error.body) == ("some detail", "try", REFUSAL)


def test_a_refusal_without_any_fields() -> None:
    with pytest.raises(ServerRefused) as caught:
        login((E, b"\0"))
    assert (caught.value.sqlstate, caught.value.severity, caught.value.body) == ("08P01", "FATAL", b"")


@pytest.mark.parametrize(
    "said",
    [
        [READY],
        [(R, b"")],
        [(R, b"\0\0\0\x05")],  # md5 without a salt
        [(R, b"\0\0\0\x63")],
        [(R, b"\0\0\0\x0b")],
        [OK, OK],
        [OK, (K, b"\0\0")],
        [OK, (ord("T"), b"")],
        [(R, b"\0\0\0\x03"), (R, b"\0\0\0\x03")],
        [SASL, OK],  # skips the proof that it knows the password
        [SASL, (R, b"\0\0\0\x0c")],
    ],
)
def test_servers_that_do_not_speak_the_protocol(said: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ServerLost, match="unexpected message") as caught:
        login(*said, credential=PlainSecret("pw"))
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [(b"\0\0\0\x07", "GSSAPI"), (b"\0\0\0\x09", "SSPI"), (b"\0\0\0\x0aOTHER\0\0", "an unknown SASL mechanism")],
)
def test_what_we_do_not_speak(request_: bytes, wanted: str) -> None:
    with pytest.raises(InvalidAuthorization) as caught:
        login((R, request_), credential=PlainSecret("pw"))
    assert wanted in caught.value.detail
    assert caught.value.sqlstate == "28000"


def _until_challenged(credential: PlainSecret) -> tuple[Conversation, bytes]:
    server = start(server_login("joe", "db", (), credential))
    server.sends()
    _, body = message(say(server, SASL))
    return server, body.split(b",r=")[1]


def test_a_server_that_does_not_know_the_password_itself() -> None:
    server, nonce = _until_challenged(PlainSecret("pw"))
    say(server, (R, b"\0\0\0\x0br=" + nonce + b"x,s=c2FsdA==,i=4096"))
    with pytest.raises(InvalidAuthorization, match="SCRAM exchange") as caught:
        say(server, (R, b"\0\0\0\x0cv=" + scram.encode(bytes(32))))
    assert caught.value.detail == "Incorrect server signature."


def test_a_server_that_wants_us_to_count_for_ever() -> None:
    server, nonce = _until_challenged(PlainSecret("pw"))
    with pytest.raises(InvalidAuthorization) as caught:
        say(server, (R, b"\0\0\0\x0br=" + nonce + b"x,s=c2FsdA==,i=2000000000"))
    assert "more than" in caught.value.detail


@given(st.lists(st.tuples(st.sampled_from([R, S, K, Z, N, ord("v")]), st.binary(max_size=30)), max_size=6))
def test_any_bytes_end_in_a_hello_or_a_clear_error(said: list[tuple[int, bytes]]) -> None:
    server = start(server_login("joe", "db", (), PlainSecret("pw")))
    server.sends()
    with contextlib.suppress(RouterError):
        for each in said:
            if server.result is not None:
                break
            answers = list(messages(say(server, each)))
            assert [code for code, _ in answers] in ([], [ord("p")])


def test_welcome_is_what_it_seems() -> None:
    assert [chr(code) for code, _ in messages(WELCOME)] == ["R", "S", "K", "Z"]
    assert frame("Z", b"I") in WELCOME


# -- whole logins, cut in any pieces

WORDS = frame("N", b"SNOTICE\0Mhello\0\0") + frame("S", b"TimeZone\0Etc/UTC\0")
SESSIONS = {
    "trust": (WELCOME, [], (7, b"\1\2\3\4")),
    "with a notice": (WELCOME[:9] + WORDS + WELCOME[9:], [], (7, b"\1\2\3\4")),
    "password": (frame("R", b"\0\0\0\3") + WELCOME, [b"p\0\0\0\7pw\0"], (7, b"\1\2\3\4")),
    "md5": (
        frame("R", b"\0\0\0\5salt") + WELCOME,
        [frame("p", md5.response(md5.password_digest("pw", "joe"), b"salt") + b"\0")],
        (7, b"\1\2\3\4"),
    ),
    "refused": (frame("R", b"\0\0\0\3") + frame("E", REFUSAL), [b"p\0\0\0\7pw\0"], "3D000"),
}


@given(st.sampled_from(sorted(SESSIONS)), st.lists(st.integers(0, 120), max_size=6) | st.just(list(range(120))))
def test_sessions_in_any_pieces(name: str, cuts: list[int]) -> None:
    says, hears, ends = SESSIONS[name]
    at = [0, *sorted(min(cut, len(says)) for cut in cuts), len(says)]
    played = play(server_login("joe", "db", (), PlainSecret("pw")), [says[i:j] for i, j in pairwise(at)])
    assert (played.sent[1:], played.requests, played.unread) == (hears, [], b"")
    if isinstance(ends, str):
        assert played.error.sqlstate == ends
    else:
        assert (played.result.pid, played.result.key) == ends
