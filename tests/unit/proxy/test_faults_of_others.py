"""Faults in the logins of PgBouncer, Pgpool-II, PostgreSQL and drivers that became CVEs: none of their kinds here.

Each case sends what has crashed, stalled or opened one of them, and what must come of it is PostgreSQL's answer.
"""

from __future__ import annotations

import base64
import struct
import time
from typing import TYPE_CHECKING

import pytest
from support.conversing import play
from support.rawclient import message, query, startup

from pgrouter.auth import scram
from pgrouter.auth.files import AuthFiles
from pgrouter.auth.hba import Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.auth.server import server_login
from pgrouter.auth.users import UserStore
from pgrouter.config.settings import Auth
from pgrouter.errors import ConfigError, InvalidAuthorization, ServerLost
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login_responder import LoginResponder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from support.desk import Desk

from msgspec.structs import replace

KEYS = scram.derive("pw", b"0123456789abcdef", 4096)
SECRET = ScramSecret(KEYS.salt, KEYS.iterations, KEYS.stored_key, KEYS.server_key)
USERS = {
    "joe": SECRET,
    "admin": SECRET,
    "plain": PlainSecret("pw"),
    "empty": PlainSecret(""),
    "md5": Md5Secret("0" * 32),
}
LOGIN = startup(user="joe", database="db")


def sasl(data: bytes, length: int | None = None, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    """Return a SASLInitialResponse that claims to have this length."""
    return message(b"p", mechanism + b"\0" + struct.pack("!i", len(data) if length is None else length) + data)


class Door:
    """A client in front of a router with these users."""

    def __init__(self, desk: Desk, auth_type: str = "scram-sha-256") -> None:
        registry = desk.registry
        settings = replace(registry.settings, auth=Auth(type=auth_type))
        registry.reload(settings)
        files = AuthFiles(UserStore(USERS), Rules.always(auth_type), UserMaps(), None)
        registry.access.reload(files)
        self.client = ClientConnection(desk.poller, registry, "split")
        self.client.address = ("192.0.2.1", 5)
        self.client.responder = LoginResponder(self.client, "disable", None)
        self.far_end: socket.socket = desk.plug(self.client)
        registry.arrived(self.client)

    def says(self, data: bytes) -> bytes:
        """Send bytes; return what comes."""
        self.far_end.sendall(data)
        self.client.on_event(1)
        try:
            return self.far_end.recv(65536)
        except BlockingIOError:
            return b""

    def is_refused(self, data: bytes, state: bytes = b"C08P01\0") -> bool:
        """Whether that ends the connection with this SQLSTATE."""
        said = self.says(data)
        return b"SFATAL\0" in said and state in said and self.client.closed


CHALLENGED = sasl(b"n,,n=,r=abc")
BAD_MESSAGES = {
    # PgBouncer CVE-2026-107350: a second StartupMessage during SCRAM changed who the proof was for
    "a second startup packet": startup(user="admin", database="db"),
    "a query": query("select 1"),
    # PgBouncer CVE-2026-6664, -6668, -107348: lengths that overflow
    "a length above 2^31": b"p\xff\xff\xff\xff" + bytes(20),
    "the length 2^31": b"p\x80\0\0\0",
    "the length 2^31 - 1": b"p\x7f\xff\xff\xff",
    "no length": b"p\0\0\0\0",
    "a length of 3": b"p\0\0\0\x03",
    "an initial response with a negative length": sasl(b"n,,n=,r=abc", -2),
    "an initial response with a huge length": sasl(b"n,,n=,r=abc", 2**31 - 1),
    "an initial response that is shorter": sasl(b"n,,n=,r=abc", 5),
    "an initial response that is longer": sasl(b"n,,n=,r=abc", 500),
    "no initial response but bytes": sasl(b"n,,n=,r=abc", -1),
    "a mechanism without an end": message(b"p", b"SCRAM-SHA-256"),
    "a mechanism and no length": message(b"p", b"SCRAM-SHA-256\0\0\0"),
    "nothing": message(b"p"),
    "another mechanism": sasl(b"n,,n=,r=abc", mechanism=b"PLAIN"),
    "channel binding without TLS": sasl(b"n,,n=,r=abc", mechanism=b"SCRAM-SHA-256-PLUS"),
    "a message over PG_MAX_SASL_MESSAGE_LENGTH": sasl(b"n,,n=,r=" + b"x" * 1100),
    "a NUL in the nonce": sasl(b"n,,n=,r=a\0bc"),
    "an empty nonce": sasl(b"n,,n=,r="),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_message_that_does_not_belong_into_an_authentication(desk: Desk, name: str) -> None:
    door = Door(desk)
    assert door.says(LOGIN).startswith(b"R")
    assert door.is_refused(BAD_MESSAGES[name])
    assert not desk.registry.clients
    assert not desk.registry.strangers


def _final(nonce: bytes, proof: bytes) -> bytes:
    return message(b"p", b"c=biws,r=" + nonce + b",p=" + proof)


ZEROS = base64.b64encode(bytes(32))
BAD_PROOFS: dict[str, Callable[[bytes], bytes]] = {
    "only our half of the nonce": lambda _: _final(b"abc", ZEROS),
    "a longer nonce": lambda nonce: _final(nonce + b"x", ZEROS),
    "a shorter nonce": lambda nonce: _final(nonce[:-1], ZEROS),
    "another binding": lambda nonce: message(b"p", b"c=eSws,r=" + nonce + b",p=" + ZEROS),
    "no proof": lambda nonce: message(b"p", b"c=biws,r=" + nonce),
    "an empty proof": lambda nonce: _final(nonce, b""),
    "a proof of 31 bytes": lambda nonce: _final(nonce, base64.b64encode(bytes(31))),
    "a proof of 64 bytes": lambda nonce: _final(nonce, base64.b64encode(bytes(64))),
    "base64 without its end": lambda nonce: _final(nonce, ZEROS.rstrip(b"=")),
    "base64 with more behind its end": lambda nonce: _final(nonce, ZEROS + b"AAAA"),
    "base64 with a newline": lambda nonce: _final(nonce, ZEROS + b"\n"),
    "base64 with a space": lambda nonce: _final(nonce, b" " + ZEROS),
    "base64 for URLs": lambda nonce: _final(nonce, b"_" + ZEROS[1:]),
    "a NUL behind the proof": lambda nonce: _final(nonce, ZEROS + b"\0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PROOFS)
def test_a_proof_that_is_none(desk: Desk, name: str) -> None:
    door = Door(desk)
    door.says(LOGIN)
    nonce = door.says(CHALLENGED).partition(b"r=")[2].partition(b",")[0]
    assert door.is_refused(BAD_PROOFS[name](nonce))


def test_a_proof_of_zeros_is_a_wrong_password(desk: Desk) -> None:
    door = Door(desk)
    door.says(LOGIN)
    nonce = door.says(CHALLENGED).partition(b"r=")[2].partition(b",")[0]
    assert door.is_refused(_final(nonce, ZEROS), b"C28P01\0")


def test_the_name_in_a_scram_message_is_not_who_logs_in(desk: Desk) -> None:
    """PostgreSQL ignores it, too: whoever the startup packet has named must have the password."""
    door = Door(desk)
    door.says(startup(user="nobody", database="db"))
    assert b"r=abc" in door.says(sasl(b"n,,n=joe,r=abc"))
    assert door.client.info.user == "nobody"


@pytest.mark.parametrize("auth_type", ["password", "md5", "scram-sha-256"])
def test_a_password_before_the_startup_packet(desk: Desk, auth_type: str) -> None:
    """PgBouncer CVE-2015-4054: a crash."""
    assert Door(desk, auth_type).is_refused(message(b"p", b"pw\0"))


@pytest.mark.parametrize("user", ["empty", "nobody", "plain", "joe", "md5"])
def test_an_empty_password_is_never_right(desk: Desk, user: str) -> None:
    """Pgpool-II and LDAP: an empty password was taken for a login without one."""
    door = Door(desk, "password")
    door.says(startup(user=user, database="db"))
    assert door.is_refused(message(b"p", b"\0"), b"C28P01\0")
    door = Door(desk, "password")
    door.says(startup(user=user, database="db"))
    assert door.is_refused(message(b"p", b""))


@pytest.mark.parametrize("body", [b"pw", b"pw\0pw\0", b"p\0w\0", b"\0\0"])
def test_a_password_is_one_string(desk: Desk, body: bytes) -> None:
    door = Door(desk, "password")
    door.says(startup(user="plain", database="db"))
    assert door.is_refused(message(b"p", body))


@pytest.mark.parametrize(
    "options", ["-c=", "-c =x", "-c", "--=", "-", "-c a=", "-c\\", "--a", "-c ==" * 200, "\\" * 999]
)
def test_options_without_a_name(desk: Desk, options: str) -> None:
    """PgBouncer CVE-2026-107349: an endless loop before the password."""
    begun = time.process_time()
    door = Door(desk, "trust")
    door.says(startup(user="plain", database="db", options=options))
    assert time.process_time() - begun < 0.5


def test_settings_of_a_startup_packet_wait_for_the_password(desk: Desk) -> None:
    """PgBouncer CVE-2025-12819: search_path of a stranger's startup packet was set for the auth_query."""
    door = Door(desk)
    assert door.says(startup(user="joe", database="db", search_path="evil")).startswith(b"R")
    assert not desk.pools.groups
    assert door.client.session.profile is None


def test_long_names_are_not_cut_into_others(desk: Desk) -> None:
    """Names of 63 bytes and more: `joe` and what only begins like it are two users."""
    long = "n" * 63
    assert UserStore.parse(f'"{long}" "pw"').get(long + "x") is None
    door = Door(desk)
    door.says(startup(user="joe" + "x" * 5000, database="db"))
    assert len(door.client.info.user) == 5003


@pytest.mark.parametrize("packet", [
    struct.pack("!II", 8, 196608), struct.pack("!II", 4, 196608), struct.pack("!II", 0x80000008, 196608),
    struct.pack("!II", 12, 196608) + b"user", struct.pack("!II", 10001, 196608) + bytes(20),
    struct.pack("!II", 10, 196608) + b"\0\0", startup(user="joe")[:-1] + b"x",
], ids=repr)  # fmt: skip
def test_startup_packets_with_impossible_lengths(desk: Desk, packet: bytes) -> None:
    assert Door(desk).is_refused(packet)


# -- what servers may send


def _challenge(text: bytes) -> bytes:
    return message(b"R", struct.pack("!I", 11) + text)


OFFER = message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0")


@pytest.mark.parametrize("make", [
    lambda nonce: b"r=" + nonce + b"x" * 100_000 + b",s=AAAA,i=4096",  # PgBouncer CVE-2026-6665: a stack overflow
    lambda nonce: b"r=" + nonce + b"x,s=" + b"A" * 200_000 + b",i=4096",  # PostgreSQL CVE-2019-10164
    lambda nonce: b"r=" + nonce + b"x,s=AAAA,i=2147483647",  # pgjdbc CVE-2026-42198: years of PBKDF2
    lambda nonce: b"r=" + nonce + b"x,s=AAAA,i=0",
    lambda nonce: b"r=" + nonce + b"x,s=AAAA,i=-1",
    lambda nonce: b"r=" + nonce + b"x,s=AAAA,i=99999999999999999999",
    lambda nonce: b"r=" + nonce + b",s=AAAA,i=4096",  # nothing of the server's own: a replay
    lambda _: b"",
], ids=range(8))  # fmt: skip
def test_a_servers_challenge(make: Callable[[bytes], bytes]) -> None:
    played = play(server_login("joe", "db", (), PlainSecret("pw")), [OFFER])
    nonce = played.sent[-1].partition(b"r=")[2]
    begun = time.process_time()
    played.hear(_challenge(make(nonce)))
    assert time.process_time() - begun < 0.5
    if played.error is None:  # long, but no more than that: the proof follows
        assert played.sent[-1][:1] == b"p"
        played.hear(message(b"R", struct.pack("!I", 12) + b"v=" + base64.b64encode(bytes(32))))
    assert isinstance(played.error, InvalidAuthorization)


@pytest.mark.parametrize("request_", [3, 5, 0])
def test_a_server_that_asks_for_less_in_the_middle_of_scram(request_: int) -> None:
    """A rogue server asks for the password in clear, or for nothing, when SCRAM has begun."""
    played = play(server_login("joe", "db", (), PlainSecret("pw")), [OFFER])
    played.hear(message(b"R", struct.pack("!I", request_) + (b"salt" if request_ == 5 else b"")))
    assert isinstance(played.error, ServerLost)
    assert not any(b"pw" in sent for sent in played.sent)


# -- what a users file may have


@pytest.mark.parametrize("secret", [
    "SCRAM-SHA-256$", "SCRAM-SHA-256$4096", "SCRAM-SHA-256$0:AAAA$AAAA:AAAA", "SCRAM-SHA-256$-1:AAAA$AAAA:AAAA",
    "SCRAM-SHA-256$4096:$AAAA:AAAA", "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", "SCRAM-SHA-256$99999999999:AAAA$A:A",
    f"SCRAM-SHA-256$4096:AAAA${ZEROS.decode()}:{ZEROS.decode()[:-4]}",
])  # fmt: skip
def test_a_malformed_secret_is_no_password(secret: str) -> None:
    """Taken for a plain password, it would be one: whoever can read the file's form could log in with it."""
    with pytest.raises(ConfigError):
        UserStore.parse(f'"joe" "{secret}"')
