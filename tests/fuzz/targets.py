"""What is fuzzed: functions of bytes that return, or raise what nobody's bytes may make the router raise."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import select
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from support.conversing import Played
from support.desk import Desk, opened
from support.rawclient import EXECUTE, SYNC, bind, message, parse, query, startup

from pgrouter.admin.protocol import ConsoleProtocol
from pgrouter.auth import pool_passwd, scram
from pgrouter.auth.account import Account
from pgrouter.auth.admission import Admission
from pgrouter.auth.hba import Arrival, Rules
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.secret import Md5Secret, PlainSecret, ScramSecret
from pgrouter.auth.server import server_login
from pgrouter.auth.users import UserStore
from pgrouter.cluster.etcd_keys import KeySpace
from pgrouter.cluster.patroni_keys import decode
from pgrouter.cluster.patroni_rest import NotPatroniError, read_answer
from pgrouter.config.settings import Cluster, MemberAddress, Reads, Settings
from pgrouter.errors import ConfigError, RouterError
from pgrouter.logs.lines import Formatter
from pgrouter.pcp.commands import Commands
from pgrouter.pcp.protocol import PcpError, taken
from pgrouter.pcp.status import Status
from pgrouter.pcp.users import PcpUsers
from pgrouter.pgpool.conf import parse as parse_conf
from pgrouter.pgpool.convert import Files, converted
from pgrouter.pgpool.report import report
from pgrouter.protocol import messages
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login import login
from pgrouter.proxy.login_responder import LoginResponder
from pgrouter.proxy.startup_template import StartupTemplate
from pgrouter.routing.explain import asks_pool
from pgrouter.routing.fingerprint import fingerprint
from pgrouter.server.states import ACTIVE
from pgrouter.topology import ClusterView, Member

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

MOST_KEPT = 2 * 1024 * 1024  # bytes of unfinished messages


class Target(NamedTuple):
    """What is called with bytes, and bytes to begin with."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def frames(data: bytes, codes: bytes) -> bytes:
    """Return `data` as messages of these types, so that most of them are well-formed; by its first bit, as it is."""
    if not data or data[0] & 1:
        return data[1:]
    out, at = b"", 1
    while at + 1 < len(data):
        size = data[at + 1]
        body = data[at + 2 : at + 2 + size]
        out += message(codes[data[at] % len(codes)].to_bytes(), body)
        at += 2 + size
    return out


def pieces(data: bytes) -> list[bytes]:
    """Cut bytes into one, two or many pieces, depending on them."""
    step = (1, 7, 64, 4096)[sum(data[-2:]) % 4]
    return [data[at : at + step] for at in range(0, len(data), step)]


# -- logins


class _Registry:
    application = StartupTemplate

    def is_console(self, database: str) -> bool:
        return database == "pgrouter"


KEYS = scram.derive("pw", b"0123456789abcdef", 1)
SECRETS = (
    ("scram-sha-256", ScramSecret(KEYS.salt, KEYS.iterations, KEYS.stored_key, KEYS.server_key)),
    ("scram-sha-256", None),
    ("md5", Md5Secret("0" * 32)),
    ("password", PlainSecret("pw")),
    ("trust", None),
)


def client_login(data: bytes) -> None:
    """A client's login, by its generator."""
    auth_type, secret = SECRETS[data[0] % len(SECRETS)] if data else SECRETS[0]
    rule = Rules.always(auth_type).rules[1]
    answers = {
        "LookUpUser": lambda who: Admission(
            rule, Arrival(who.user, who.database, "192.0.2.1"), Account(secret), UserMaps()
        ),
        "Welcome": lambda _: b"",
        "Derivation": lambda wanted: wanted.run(),
        "Encrypt": lambda request: request.tls,
    }
    played = Played(login(_Registry(), 1), answers)
    with contextlib.suppress(AssertionError):  # an impossible length: the responder refuses it
        for piece in pieces(data[1:]):
            played.hear(piece)


def server_bytes_at_login(data: bytes) -> None:
    """A server's side of a login."""
    played = Played(server_login("joe", "db", (), PlainSecret("pw")), {"Derivation": lambda _: KEYS})
    with contextlib.suppress(AssertionError):
        for piece in pieces(frames(data, b"RSKZNEv")):
            played.hear(piece)


def scram_both_sides(data: bytes) -> None:
    """Each message of SCRAM, as each side reads it."""
    first = scram.client_first(b"abc")
    challenge = scram.server_first(first, b"def", KEYS.salt, KEYS.iterations)
    for read in (
        scram.read_client_first,
        lambda text: scram.read_server_first(text, first),
        lambda text: scram.read_server_first(b"r=abc" + text, first),
        lambda text: scram.read_client_final(text, first, challenge, KEYS.stored_key).holds(KEYS.stored_key),
        lambda text: scram.read_client_final(b"c=biws,r=abcdef" + text, first, challenge, KEYS.stored_key),
        lambda text: scram.check_server_final(text, bytes(32)),
    ):
        with contextlib.suppress(scram.ScramError):
            assert read(data) is not True


def users_file(data: bytes) -> None:
    """A users file."""
    with contextlib.suppress(ConfigError):
        store = UserStore.parse(data.decode("utf-8", "surrogateescape"))
        assert len(store) >= 0


# -- connections


def client_bytes(data: bytes) -> None:
    """A client's bytes from the first one on, in a router without servers."""
    with opened() as desk:
        client = ClientConnection(desk.poller, desk.registry, "split")
        client.address = ("192.0.2.1", 5)
        client.responder = LoginResponder(client, "disable", None)
        far_end = desk.plug(client)
        desk.registry.arrived(client)
        _arrive(client, far_end, data)


def session_bytes(data: bytes) -> None:
    """A client's messages after its login, with idle servers that never answer."""
    with opened() as desk:
        client = desk.session()
        far_end = desk.plug(client)
        for member in ("pg1", "pg2"):
            server = desk.server(client.session.pool, member, ACTIVE)
            server.session.profile = client.session.profile
            desk.plug(server)
            client.session.pool.release(server)
        _arrive(client, far_end, frames(data, b"QPBDECSHFdcfXp"))


ASKED = (query("select 1"), parse("select 1", "a") + bind("a") + EXECUTE + SYNC, query("set x.y = 'z'"), query("begin"))


def server_bytes(data: bytes) -> None:
    """A server's answers to a client that has asked for something."""
    with opened() as desk:
        client = desk.session(mode="primary")
        far_end = desk.plug(client)
        server = desk.server(client.session.pool, "pg1", ACTIVE)
        server.session.profile = client.session.profile
        server.hello = SimpleNamespace(parameters=(("server_version", "17.0"),), pid=4711, key=b"1234")
        theirs = desk.plug(server)
        client.session.pool.release(server)
        asked = ASKED[data[0] % len(ASKED)] if data else ASKED[0]
        far_end.sendall(asked)
        client.on_event(select.EPOLLIN)
        assert client.link.server is server
        _arrive(server, theirs, frames(data[1:], b"RSKZNEACDTtn12sIGHWcdV"))


def _arrive(stream: object, far_end: socket.socket, data: bytes) -> None:
    for piece in pieces(data):
        if stream.closed:
            break
        try:
            far_end.sendall(piece)
        except OSError:
            break
        stream.on_event(select.EPOLLIN)
        _turns(stream)
        assert stream.buffered < MOST_KEPT
        with contextlib.suppress(OSError):
            far_end.recv(1 << 20)


def _turns(stream: object) -> None:
    """Do what was put off to the next round."""
    poller = stream.poller
    for _ in range(10):
        if not getattr(poller, "turns", None):
            break
        poller.waiting -= 1
        poller.turns.popleft().turn()


# -- the rest


def startup_packet(data: bytes) -> None:
    """A startup packet."""
    with contextlib.suppress(RouterError):
        template = StartupTemplate(data)
        assert isinstance(template.user, str)


def backend_messages(data: bytes) -> None:
    """What is read of servers' messages."""
    for read in (messages.read_parameter_status, messages.read_data_row):
        with contextlib.suppress(RouterError):
            read(data)
    messages.read_error(data)


def console(data: bytes) -> None:
    """A console's messages."""
    protocol = ConsoleProtocol(lambda command: command.run(_desk().context()) if not command.admin else ())
    at = frames(data, b"QPBDECSHF")
    while len(at) >= 5:
        length = int.from_bytes(at[1:5], "big")
        if length < 4 or length > len(at):
            break
        answer = protocol.on_message(at[0], at[5 : length + 1])
        assert len(answer) < MOST_KEPT
        at = at[length + 1 :]


@cache
def _desk() -> Desk:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(opened())


def etcd_keys(data: bytes) -> None:
    """Keys and messages of etcd, and Patroni's REST API."""
    text = data.decode("utf-8", "replace")
    names = ("leader", "members/a", "config", "history", "initialize", "status", "failover", "sync", "failsafe", "x")
    parts = text.split("\0")
    decode({names[ord(part[0]) % len(names)]: part[1:] for part in parts if part})
    with contextlib.suppress(NotPatroniError):
        read_answer(*[part.encode() for part in parts[:4]])
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            space = KeySpace("/service/demo/")
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # etcd's own gateway says that
                space.read(found)
            space.snapshot()


def statements(data: bytes) -> None:
    """The key of a statement."""
    key = fingerprint(data, 0, len(data))
    assert len(key) <= 2 * len(data) + 2


def log_line(data: bytes) -> None:
    """A line of the log about somebody with a name like this."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (data.decode("utf-8", "surrogateescape"),), None)
    assert len(Formatter().format(record).splitlines()) == 1


def pcp(data: bytes) -> None:
    """What a pcp_* tool sends, before and after it has proved who it is."""
    users, commands = PcpUsers({"joe": "0" * 32}), _pcp_commands()
    rest = data
    with contextlib.suppress(PcpError):
        while True:
            packet, size = taken(rest)
            if packet is None:
                break
            rest = rest[size:]
            words = packet.words()
            if len(words) > 1:
                assert not users.proves(words[0], words[1], b"salt")
            with contextlib.suppress(PcpError):
                assert len(commands.run(packet, "joe")) < MOST_KEPT


@cache
def _pcp_commands() -> Commands:
    member = Member(name="a", host="h", port=1)
    monitor = SimpleNamespace(
        view=ClusterView(members=(member,)), probes={}, detached=frozenset(), attach=str, detach=str
    )
    address = MemberAddress(name="a", host="h")
    app = SimpleNamespace(
        settings=Settings(cluster=Cluster(source="static", members=(address,))),
        monitor=monitor,
        pools=SimpleNamespace(groups={}, reads=Reads()),
        registry=SimpleNamespace(clients={}),
        poller=SimpleNamespace(now=0.0),
        reload=lambda: "RELOAD",
    )
    return Commands(app, Status(app), str)


def pgpool_conf(data: bytes) -> None:
    """pgpool.conf and pool_passwd."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ConfigError):
        conf = parse_conf(text)
        report(conf)
        converted(conf, Files(), UserStore.empty())
    for line in text.split("\n"):
        with contextlib.suppress(ValueError):
            pool_passwd.entry(line, "key")


def pool_shows(data: bytes) -> None:
    """Pgpool-II's commands in a session."""
    words = asks_pool(data)
    assert not words or words[0] in ("show", "pgpool")


LOGIN = startup(user="joe", database="db")
FIRST = message(b"p", b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc")
TARGETS = {
    "client_login": Target(
        client_login, (b"\0" + LOGIN + FIRST, b"\2" + LOGIN + message(b"p", b"md5\0"), b"\4" + LOGIN)
    ),
    "client_bytes": Target(client_bytes, (LOGIN + FIRST, b"\0\0\0\x08\x04\xd2\x16\x2f" + LOGIN)),
    "session_bytes": Target(session_bytes, (b"\1" + b"".join(ASKED), b"\0\0\x09select 1\0\6\0")),
    "server_bytes": Target(server_bytes, (b"\0\0\7\3C1\0\3\1I", b"\1\0\x0d\0\x0e\0\7\2x\0\3\1I", b"\2\1E\0\0\0\5\0")),
    "server_bytes_at_login": Target(server_bytes_at_login, (b"\0\0\4\0\0\0\0\1\4a\0b\0\2\x08abcdefgh\3\1I",)),
    "scram": Target(scram_both_sides, (b"n,,n=,r=abc", b"r=abcdef,s=AAAA,i=4096", b",p=AAAA", b"v=AAAA")),
    "users_file": Target(users_file, (b'"joe" "pw"\n; x\n"a""b" "md5' + b"0" * 32 + b'"\n',)),
    "startup_packet": Target(startup_packet, (LOGIN[4:],)),
    "backend_messages": Target(backend_messages, (b"a\0b\0", b"\0\1\0\0\0\1x", b"SERROR\0C42601\0Mx\0\0")),
    "console": Target(console, (b"\0\0\x0dshow clients\0", b"\0\1\x0ba\0show help\0\0\0")),
    "etcd_keys": Target(
        etcd_keys, (b'lpg0\0m{"conn_url":"postgres://h:1/x"}\0c{"ttl":20}', b'{"header":{"revision":"1"}}')
    ),
    "statements": Target(statements, (b"select 'a', $1 from \"T\" -- x\n where a in (1, 2)",)),
    "pcp": Target(pcp, tuple(message(bytes([kind]), b"0\0") for kind in b"MABCDdGHIJjLNOPTtVWZX")),
    "pgpool_conf": Target(
        pgpool_conf, (b"backend_hostname0 = 'a'\nsr_check_user = 'b' # x\nport = 5min\n", b"joe:TEXTa\\:b\njoe:AESAAAA")
    ),
    "pool_shows": Target(pool_shows, (b"show /* x */ pool_nodes;", b"pgpool set a to 'b'", b"PGPOOL SHOW all")),
    "log_line": Target(log_line, (b"joe\n",)),
}
