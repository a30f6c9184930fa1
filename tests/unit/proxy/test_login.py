"""A client's login as a script: bytes in, requests and bytes out, cut in any pieces."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.conversing import Played, play

from pgrouter.auth import scram
from pgrouter.auth.account import Account, StoredSecret
from pgrouter.auth.admission import Admission
from pgrouter.auth.hba import Arrival, Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.secret import PlainSecret, ScramSecret
from pgrouter.auth.server import server_login
from pgrouter.errors import RouterError
from pgrouter.protocol import codes, messages
from pgrouter.proxy.login import CONSOLE, Cancellation, LookUpUser, Refusal, login
from pgrouter.proxy.startup_template import StartupTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIENT = 7
WELCOME = messages.AUTHENTICATION_OK + messages.parameter_status("server_version", "18.1")
READY = messages.READY_IDLE


class Registry:
    """What the login asks it at once."""

    application = StartupTemplate

    def is_console(self, database: str) -> bool:
        return database == "pgrouter"


def packet(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(rest), code) + rest


def startup(version: int = codes.PROTOCOL_3_0, **parameters: str) -> bytes:
    parameters = {"user": "joe", "database": "db"} | parameters
    words = b"".join(messages.cstring(name) + messages.cstring(value) for name, value in parameters.items())
    return packet(version, words + b"\0")


def admission(method: str, secret: StoredSecret | None = None) -> Callable[[LookUpUser], Admission]:
    """Let everybody authenticate by this method."""
    rule = Rules.always(method).rules[1]
    return lambda asked: Admission(rule, Arrival(asked.user, asked.database, "::1"), Account(secret), UserMaps())


def answers(**more: Any) -> dict[str, Callable[[Any], Any]]:
    return {"LookUpUser": admission("trust"), "Welcome": lambda _: WELCOME, "Encrypt": lambda _: False} | {
        name: (value if callable(value) else lambda _, value=value: value) for name, value in more.items()
    }


def key(size: int) -> bytes:
    """Give BackendKeyData up to the key, which is random."""
    return struct.pack("!BII", codes.BACKEND_KEY_DATA, 8 + size, CLIENT)


SSL, GSS = packet(codes.SSL_REQUEST), packet(codes.GSSENC_REQUEST)
ASKED = ["Introduce", "CheckEncryption", "LookUpUser"]
ADMITTED = [*ASKED, "Admit"]
TLS = {"Encrypt": lambda request: request.tls}
ENTERED = ["WaitForPool", "WaitForCatalog", "ApplySettings"]
COMPLETE = [*ADMITTED, *ENTERED, "Welcome"]
CLEARTEXT = messages.authentication(codes.AUTH_CLEARTEXT)
PASSWORD = {"LookUpUser": admission("password", PlainSecret("pw"))}
WRONG = Refusal(RouterError("no such role", sqlstate="22023"), False)
LATE = Refusal(RouterError("no such role yet", sqlstate="22023"), True)


@dataclass
class Script:
    """What the client says, what the login asks and says, how it ends."""

    says: bytes
    asks: list[str] = field(default_factory=list)
    hears: list[bytes] = field(default_factory=list)  # each send; the key is not compared
    ends: Any = None  # the class of the result, or an error's text
    given: dict[str, Any] = field(default_factory=dict)


SCRIPTS = {
    "trust": Script(startup(), COMPLETE, [WELCOME + key(4)], bytes),
    "a long key": Script(startup(codes.PROTOCOL_3_2), COMPLETE, [WELCOME + key(32)], bytes),
    "a newer protocol": Script(
        startup(codes.PROTOCOL_3_2 + 7, **{"_pq_.x": "1"}),
        COMPLETE,
        [messages.negotiate_protocol_version(2, ["_pq_.x"]) + WELCOME + key(32)],
        bytes,
    ),
    "neither TLS nor GSSAPI": Script(
        SSL + GSS + startup(), ["Encrypt", "Encrypt", *COMPLETE], [WELCOME + key(4)], bytes
    ),
    "TLS": Script(SSL + startup(), ["Encrypt", *COMPLETE], [WELCOME + key(4)], bytes, TLS),
    "GSSAPI, then TLS": Script(
        GSS + SSL + startup(), ["Encrypt", "Encrypt", *COMPLETE], [WELCOME + key(4)], bytes, TLS
    ),
    "GSSAPI in TLS": Script(SSL + GSS, ["Encrypt"], [], "unsupported frontend protocol 1234.5680", TLS),
    "TLS in TLS": Script(SSL + SSL, ["Encrypt"], [], "unsupported frontend protocol 1234.5679", TLS),
    "cancel in TLS": Script(SSL + packet(codes.CANCEL_REQUEST), ["Encrypt"], [], Cancellation, TLS),
    "TLS is asked for twice": Script(SSL + SSL, ["Encrypt"], [], "unsupported frontend protocol 1234.5679"),
    "GSSAPI is asked for twice": Script(
        GSS + SSL + GSS, ["Encrypt", "Encrypt"], [], "unsupported frontend protocol 1234.5680"
    ),
    "protocol 2": Script(packet(0x20000), [], [], "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"),
    "cancel": Script(packet(codes.CANCEL_REQUEST, b"\0\0\0\x2akey."), ends=Cancellation),
    "cancel after TLS was refused": Script(SSL + packet(codes.CANCEL_REQUEST), ["Encrypt"], [], Cancellation),
    "nobody": Script(startup(user=""), ends="no PostgreSQL user name specified"),
    "no packet": Script(packet(codes.PROTOCOL_3_0, b"user"), ends="invalid startup packet layout"),
    "replication": Script(
        startup(replication="database"), ["Introduce"], [], "replication connections do not pass through pgrouter"
    ),
    "a password": Script(
        startup() + messages.password(b"pw\0"), COMPLETE, [CLEARTEXT, WELCOME + key(4)], bytes, PASSWORD
    ),
    "a wrong password": Script(
        startup() + messages.password(b"no\0"), ASKED, [CLEARTEXT], 'failed for user "joe"', PASSWORD
    ),
    "console": Script(startup(database="pgrouter"), ADMITTED, [], type(CONSOLE)),
    "settings that a replica does not know yet": Script(
        startup(role="new"), [*ADMITTED, *ENTERED, "ApplySettings", "Welcome"], [WELCOME + key(4)], bytes,
        {"ApplySettings": lambda request: None if request.on_primary else LATE},
    ),
    "settings that nobody knows": Script(
        startup(role="odd"), [*ADMITTED, *ENTERED, "ApplySettings"], [], "no such role yet", {"ApplySettings": LATE}
    ),
    "settings that the primary refuses": Script(
        startup(role="odd"), [*ADMITTED, *ENTERED], [], "no such role", {"ApplySettings": WRONG}
    ),
}  # fmt: skip


def check(script: Script, pieces: Sequence[bytes]) -> None:
    played = play(login(Registry(), CLIENT), pieces, answers(**script.given))
    assert played.requests == script.asks
    sent = [each for each in played.sent if each]
    if script.ends is bytes:
        sent[-1] = sent[-1].removesuffix(played.result + READY)
    assert sent == script.hears
    assert played.unread == b""
    if isinstance(script.ends, str):
        assert script.ends in str(played.error)
    else:
        assert (type(played.result), played.error) == (script.ends, None)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str) -> None:
    check(SCRIPTS[name], [SCRIPTS[name].says])


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_byte_by_byte(name: str) -> None:
    check(SCRIPTS[name], [bytes([byte]) for byte in SCRIPTS[name].says])


@given(st.sampled_from(sorted(SCRIPTS)), st.lists(st.integers(0, 120), max_size=6))
def test_scripts_in_any_pieces(name: str, cuts: list[int]) -> None:
    says = SCRIPTS[name].says
    at = [0, *sorted(min(cut, len(says)) for cut in cuts), len(says)]
    check(SCRIPTS[name], [says[start:end] for start, end in pairwise(at)])


def test_a_cancel_request_is_passed_on_whole() -> None:
    long_key = bytes(range(32))
    result = play(login(Registry(), CLIENT), [packet(codes.CANCEL_REQUEST, b"\0\0\0\x2a" + long_key)]).result
    assert (result.client_id, result.key) == (42, long_key)


def test_the_log_names_a_client_before_it_is_refused_and_the_user_is_looked_up_in_its_database() -> None:
    seen = []
    given_ = answers(Introduce=lambda request: seen.append(request.startup.user))
    given_["LookUpUser"] = lambda request: seen.append((request.user, request.database)) or admission("trust")(request)
    play(login(Registry(), CLIENT), [startup(database="")], given_)
    assert seen == ["joe", ("joe", "joe")]


def too_many(_: Any) -> None:
    raise RouterError("sorry, too many clients already", sqlstate="53300")


def test_what_is_sent_before_a_refusal_is_not_lost() -> None:
    played = play(login(Registry(), CLIENT), [startup(codes.PROTOCOL_3_2 + 1)], answers(Admit=too_many))
    assert b"".join(played.sent) == messages.negotiate_protocol_version(2, [])
    assert played.error.sqlstate == "53300"


# -- SCRAM: the client is the router's own login to servers


def scram_login(**more: Any) -> Played:
    """Log in with SCRAM and return the router's side of it."""
    keys = scram.derive("pw", b"0123456789abcdef", 4096)
    secret = ScramSecret(keys.salt, keys.iterations, keys.stored_key, keys.server_key)
    router = Played(login(Registry(), CLIENT), answers(LookUpUser=admission("scram-sha-256", secret), **more))
    client = Played(server_login("joe", "db", (), PlainSecret("pw")), None)
    while router.error is None and client.result is None:
        router.hear(client.sent[-1])
        client.hear(router.sent[-1])
    return router


def test_the_final_scram_message_is_sent_with_the_welcome() -> None:
    router = scram_login()
    assert len(router.sent) == 3
    assert b"v=" in router.sent[-1]
    assert router.sent[-1].endswith(WELCOME + key(4) + router.result + READY)


def test_the_final_scram_message_is_sent_before_an_error() -> None:
    router = scram_login(ApplySettings=WRONG)
    assert router.error is WRONG.error
    assert b"v=" in router.sent[-1]
