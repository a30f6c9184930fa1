"""SCRAM-SHA-256-PLUS on both sides, and what servers may ask for."""

from __future__ import annotations

import struct

import pytest
from auth_dialogue import WELCOME, message, messages, say, start

from pgrouter.auth import scram
from pgrouter.auth.client import client_login
from pgrouter.auth.encryption import Attempt, Encryption
from pgrouter.auth.require import METHODS, allowed, libpq_rule
from pgrouter.auth.secret import PlainSecret, parse_secret
from pgrouter.auth.server import server_login
from pgrouter.errors import InvalidAuthorization, ProtocolViolation, RouterError

PASSWORD, ASKED = ord("p"), ord("R")
CHANNEL, OTHER = b"c" * 32, b"o" * 32
PLAIN = PlainSecret("pw")


class Codec:
    """A connection with TLS."""

    def __init__(self, channel: bytes) -> None:
        self.channel = channel

    def binding(self) -> bytes:
        return self.channel

    def alpn(self) -> str:
        return "postgresql"


class Context:
    def __init__(self, channel: bytes) -> None:
        self.channel = channel

    def connect(self, host: str) -> Codec:
        assert host == "pg1"
        return Codec(self.channel)


def over_tls(channel: bytes) -> Attempt:
    return Attempt("pg1", Context(channel), direct=True)  # type: ignore[arg-type]


def talk(ours: bytes, theirs: bytes, *, offer: bytes = b"") -> list[bytes]:
    """Log in at a server whose end of the connection has `theirs`; return what we said. `offer` replaces its offer."""
    server = start(client_login("scram-sha-256", "joe", PLAIN, binding=theirs))
    router = start(server_login("joe", "db", (), PLAIN, over_tls(ours)))
    router.resume(None)  # TLS is established
    router.sends()
    said = []
    while True:
        out = server.sends() if server.result is None else server.result.final + WELCOME
        if offer and out.startswith(b"R") and b"SCRAM" in out:
            out = struct.pack("!cI", b"R", len(offer) + 8) + b"\0\0\0\x0a" + offer
        said += [say(router, each) for each in messages(out)]
        if router.result is not None:
            return said
        server.resume(message(said[-1]))


def test_both_sides_bind_to_their_channel() -> None:
    said = talk(CHANNEL, CHANNEL)
    assert said[0][5:].startswith(b"SCRAM-SHA-256-PLUS\0")
    assert b"p=tls-server-end-point,,n=,r=" in said[0]
    assert scram.encode(b"p=tls-server-end-point,," + CHANNEL) in said[1]


def test_another_channel_is_somebody_in_between() -> None:
    with pytest.raises(InvalidAuthorization, match="SCRAM channel binding check failed"):
        talk(CHANNEL, OTHER)


def test_an_offer_without_binding_that_the_server_did_not_make() -> None:
    with pytest.raises(InvalidAuthorization, match="SCRAM channel binding negotiation error") as caught:
        talk(CHANNEL, CHANNEL, offer=b"SCRAM-SHA-256\0\0")
    assert "does support channel binding" in caught.value.detail


@pytest.mark.parametrize(("ours", "theirs"), [(CHANNEL, b""), (b"", b""), (b"", CHANNEL)])
def test_without_binding_on_either_side_it_is_not_used(ours: bytes, theirs: bytes) -> None:
    said = talk(ours, theirs)
    assert said[0][5:].startswith(b"SCRAM-SHA-256\0")
    assert (b"y,,n=" if ours else b"n,,n=") in said[0]


def test_clients_are_offered_both_in_postgresqls_order() -> None:
    assert message(start(client_login("scram-sha-256", "joe", PLAIN, binding=CHANNEL)).sends()) == (
        ASKED,
        b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
    )


@pytest.mark.parametrize(
    ("mechanism", "first", "words"),
    [
        (b"SCRAM-SHA-256-PLUS", b"n,,n=,r=abc", "does not include channel binding data"),
        (b"SCRAM-SHA-256-PLUS", b"y,,n=,r=abc", "does not include channel binding data"),
        (b"SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abc", "Unsupported SCRAM channel-binding type"),
        (b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,a=x,n=,r=abc", "authorization identity"),
        (b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point", "authorization identity"),
        (b"SCRAM-SHA-256-PLUS", b"", "channel-binding flag"),
        (b"SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc", "includes channel binding data"),
    ],
)
def test_first_messages_that_do_not_fit_their_mechanism(mechanism: bytes, first: bytes, words: str) -> None:
    exchange = start(client_login("scram-sha-256", "joe", PLAIN, binding=CHANNEL))
    exchange.sends()
    with pytest.raises(ProtocolViolation, match="malformed SCRAM message") as caught:
        say(exchange, (PASSWORD, mechanism + b"\0" + struct.pack("!I", len(first)) + first))
    assert words in caught.value.detail


def test_scram_keys_pass_through_a_bound_exchange() -> None:
    keys = scram.derive("pw", b"0123456789abcdef", 4096)
    stored = "SCRAM-SHA-256$4096:{}${}:{}".format(
        *(scram.encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    )
    server = start(client_login("scram-sha-256", "joe", parse_secret(stored), binding=CHANNEL))
    router = start(server_login("joe", "db", (), PLAIN, over_tls(CHANNEL)))
    router.resume(None)
    router.sends()
    while server.result is None:
        for each in messages(server.sends()):
            server.resume(message(say(router, each)))
    assert server.result.credential == keys


# -- what servers may ask for

REQUESTS = {
    "none": b"\0\0\0\0",
    "password": b"\0\0\0\3",
    "md5": b"\0\0\0\5salt",
    "scram-sha-256": b"\0\0\0\x0aSCRAM-SHA-256\0\0",
}


@pytest.mark.parametrize(
    ("rule", "private", "expected"),
    [
        ((), False, METHODS - {"password"}),
        ((), True, METHODS),
        (("scram-sha-256",), True, {"scram-sha-256"}),
        (("password", "md5"), False, {"password", "md5"}),
        (("!none", "!md5"), False, {"password", "scram-sha-256"}),
    ],
)
@pytest.mark.parametrize("method", REQUESTS)
def test_what_a_server_may_ask_for(rule: tuple[str, ...], *, private: bool, expected: set[str], method: str) -> None:
    found = allowed(rule, private=private)
    assert found == expected
    router = start(server_login("joe", "db", (), PLAIN, Attempt(allowed=found)))
    router.sends()
    if method in expected:
        say(router, (ASKED, REQUESTS[method]))
        return
    with pytest.raises(InvalidAuthorization, match='cannot log in to the server as user "joe"') as caught:
        say(router, (ASKED, REQUESTS[method]))
    assert "which is not allowed here" in caught.value.detail
    assert f"{method}" in caught.value.hint
    assert router.sends() == b""


def test_which_connections_are_private() -> None:
    def may_be_clear(mode: str, host: str) -> bool:
        attempt: Attempt | None = Encryption(mode, None if mode == "disable" else Context(b"")).at(host)  # type: ignore[arg-type]
        found = set()
        while attempt is not None:
            found.add("password" in attempt.allowed)
            attempt = attempt.then
        (same,) = found
        return same

    modes = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
    assert [mode for mode in modes if may_be_clear(mode, "pg1")] == ["verify-ca", "verify-full"]
    assert all(may_be_clear(mode, "/run/postgresql") for mode in modes)


def test_libpq_gets_the_same_rule() -> None:
    assert libpq_rule((), private=False) == "!password"
    assert libpq_rule((), private=True) == ""
    assert libpq_rule(("md5", "scram-sha-256"), private=False) == "md5,scram-sha-256"


def test_the_errors_are_for_people() -> None:
    router = start(server_login("joe", "db", (), PLAIN, Attempt(allowed=allowed((), private=False))))
    router.sends()
    with pytest.raises(RouterError) as caught:
        say(router, (ASKED, REQUESTS["password"]))
    assert caught.value.detail == "The server asks for the password in clear, which is not allowed here."
    assert "servers.require_auth: [md5, none, password, scram-sha-256]" in caught.value.hint
