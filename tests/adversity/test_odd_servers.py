"""A server that does not keep to the protocol: its client gets a clear error, the others nothing, the log no bug."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from support.front import BUG, rss_mb
from support.rawclient import RawClient, message, query, sqlstate, values
from support.router import MONITOR, RouterFactory
from support.scripted import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

OK = message(b"R", bytes(4))
READY = message(b"Z", b"I")
VERSION = message(b"S", b"server_version\0" + b"17.0\0")
HELLO = OK + VERSION + message(b"S", b"client_encoding\0UTF8\0") + message(b"K", b"\0\0\0\7key.")
NOTICE = message(b"N", b"SNOTICE\0C00000\0Mhello\0\0")
ENDLESS = 1 << 40

# By the database that is asked for: what is said instead of a greeting, how often, and what the client gets to hear.
GREETINGS: dict[str, tuple[bytes, int, bytes, str, str]] = {
    # name: before, repeated so often, after; SQLSTATE, what the message has
    "no_nul": (OK, 1, message(b"S", b"TimeZone") + READY, "08P01", "ParameterStatus"),
    "no_value": (OK, 1, message(b"S", b"TimeZone\0") + READY, "08P01", "ParameterStatus"),
    "no_name": (OK, 1, message(b"S", b"\0UTC\0") + READY, "08P01", "ParameterStatus"),
    "more_than_value": (OK, 1, message(b"S", b"TimeZone\0UTC\0more\0") + READY, "08P01", "ParameterStatus"),
    "empty_status": (OK, 1, message(b"S") + READY, "08P01", "ParameterStatus"),
    "no_sqlstate": (b"", 1, message(b"E", b"SFATAL\0Mgo away\0\0"), "08P01", "go away"),
    "no_fields": (b"", 1, message(b"E", b"\0"), "08P01", "refused the login"),
    "no_end": (b"", 1, message(b"E", b"SFATAL\0C28000\0Mgo away"), "28000", "go away"),
    "odd_sqlstate": (b"", 1, message(b"E", b"SFATAL\0C2800\0Mgo away\0\0"), "08P01", "go away"),
    "not_utf8": (b"", 1, message(b"E", b"SFATAL\0C28000\0Mca\xe9 \xff\0\0"), "28000", "ca"),
    "empty_error": (b"", 1, message(b"E"), "08P01", "refused the login"),
    "negative_length": (OK, 1, b"S\xff\xff\xff\xff" + bytes(100), "08P01", "protocol"),
    "zero_length": (OK, 1, b"S\0\0\0\0" + READY, "08P01", "protocol"),
    "huge_length": (OK, 1, b"S\x3f\xff\xff\xff" + bytes(100), "08P01", "protocol"),
    "twice_ok": (OK, 2, HELLO + READY, "08P01", "unexpected message"),
    "ready_before_ok": (b"", 1, READY, "08P01", "unexpected message"),
    "ready_without_status": (HELLO, 1, message(b"Z"), "08P01", "unexpected message"),
    "ready_in_a_transaction": (HELLO, 1, message(b"Z", b"T"), "08P01", "unexpected message"),
    "ready_in_nothing": (HELLO, 1, message(b"Z", b"\xff"), "08P01", "unexpected message"),
    "short_authentication": (b"", 1, message(b"R", b"\0\0"), "08P01", "unexpected message"),
    "rows": (OK, 1, message(b"D", b"\0\0") + READY, "08P01", "unexpected message"),
    "key_too_long": (OK, 1, message(b"K", b"\0\0\0\7" + bytes(300)) + READY, "08P01", "unexpected message"),
    "key_too_short": (OK, 1, message(b"K", b"\0\0") + READY, "08P01", "unexpected message"),
    "version_for_ever": (OK, 1, message(b"S", b"server_version\0" + b"9" * 50_000 + b"\0") + READY, "", ""),
    "endless_status": (OK, ENDLESS, message(b"S", b"a\0b\0"), "08P01", "too much"),
    "endless_notices": (b"", ENDLESS, NOTICE, "08P01", "too much"),
    "endless_notices_later": (OK, ENDLESS, NOTICE, "08P01", "too much"),
    "endless_negotiation": (b"", ENDLESS, message(b"v", bytes(8)), "08P01", "too much"),
    "big_status": (OK, 100, message(b"S", b"a\0" + b"b" * 200_000 + b"\0"), "08P01", "too much"),
    "http": (b"", 1, b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "08P01", "protocol"),
    "bye": (HELLO, 1, b"", "57P03", "no server is available"),
}  # fmt: skip

DESCRIBED = message(b"T", b"\0\1c\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0))
ROW = message(b"D", b"\0\1" + struct.pack("!i", 1) + b"1")
DONE = message(b"C", b"SELECT 1\0")
# By the statement that is asked for: the answer, and what comes of it.
ANSWERS: dict[str, tuple[bytes, str, str]] = {
    "status without NUL": (DESCRIBED + message(b"S", b"TimeZone") + ROW + DONE + READY, "08P01", "ParameterStatus"),
    "status without all": (message(b"S") + DESCRIBED + ROW + DONE + READY, "08P01", "ParameterStatus"),
    "status not in utf-8": (message(b"S", b"application_name\0caf\xe9\0") + DESCRIBED + ROW + DONE + READY, "", ""),
    "an error without sqlstate": (message(b"E", b"SERROR\0Mno\0\0") + READY, "", "no"),
    "an error without all": (message(b"E", b"\0") + READY, "", ""),
    "a notice without all": (message(b"N") + DESCRIBED + ROW + DONE + READY, "", ""),
    "a short notification": (message(b"A", b"\0") + DESCRIBED + ROW + DONE + READY, "", ""),
    "ready without status": (DESCRIBED + ROW + DONE + message(b"Z"), "08P01", "ReadyForQuery"),
    "ready twice": (DESCRIBED + ROW + DONE + READY + READY, "", ""),
    "a negative length": (DESCRIBED + b"D\xff\xff\xff\xfe" + bytes(50), "08P01", "length"),
    "no length": (DESCRIBED + b"D\0\0\0\0" + READY, "08P01", "length"),
    "authentication": (OK + READY, "", "unexpected message"),
    "a type that there is not": (message(b"!", b"x") + READY, "", "unexpected message"),
    "no end": (DESCRIBED + ROW[:-1], "", ""),
    "the end": (b"", "08006", "closed the connection"),
    "a parse": (message(b"1") + READY, "", "unexpected message"),
    "an abrupt copy": (message(b"G", b"\0\0\0") + message(b"G") + READY, "", ""),
}  # fmt: skip


class Odd(ScriptedServer):
    """Plays the case that the database's name or the statement names, except to the monitor."""

    def __init__(self) -> None:
        super().__init__()
        self.recovering = False
        self.database = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readexactly(4)
            packet = await reader.readexactly(struct.unpack("!i", head)[0] - 4)
            words = packet[4:].split(b"\0")
            said = dict(zip(words[::2], words[1::2], strict=False))
            database = said.get(b"database", b"").decode()
            if b"application_name" in said or not database:  # the monitor's, or a CancelRequest
                replayed = asyncio.StreamReader()
                replayed.feed_data(head + packet)
                pump = asyncio.create_task(_pump(reader, replayed))
                await super()._serve(replayed, writer)
                pump.cancel()
                return
            if database in GREETINGS:
                before, times, after, _, _ = GREETINGS[database]
                writer.write(before)
                many = min(times, 1000)
                for _ in range(times // many):
                    writer.write(after * many)
                    await writer.drain()
            else:
                writer.write(HELLO + READY)
                await self._answer_all(reader, writer)
        writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(5)
            text = (await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)).rstrip(b"\0").decode()
            if head[:1] == b"X":
                return
            if "pg_settings" in text or "client_encoding" in text:  # the router asks for the session's settings
                nonsense = b"".join(struct.pack("!i", 2) + b"zz" for _ in range(6))
                writer.write(DESCRIBED + message(b"D", b"\0\6" + nonsense) + DONE + READY)
                continue
            writer.write(ANSWERS[text][0] if text in ANSWERS else DESCRIBED + ROW + DONE + READY)
            if text in ("no end", "the end"):
                return


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamReader) -> None:
    while data := await source.read(1 << 16):
        sink.feed_data(data)
    sink.feed_eof()


@pytest.fixture(scope="module")
def odd() -> Iterator[Router]:
    """Give a router in front of such a server."""
    server, loop = Odd(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    members = [{"name": "odd", "host": "127.0.0.1", "port": server.port}]
    cluster = {"source": "static", "members": members, "monitor": MONITOR}
    pool = {"drain_timeout": "0.1s", "wait_timeout": "5s", "connect_timeout": "5s"}
    factory = RouterFactory()
    try:
        yield factory(
            {"cluster": cluster, "servers": {"tls": {"mode": "disable"}}, "auth": {"type": "trust"}, "pool": pool}
        )
    finally:
        factory.stop_all()
        factory.remove()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def sane(router: Router) -> None:
    """Others go on, and nothing was logged that ought not to be."""
    assert router.process.alive
    assert router.admin("SHOW VERSION")
    text = router.log_text()
    found = BUG.search(text)
    assert found is None, text[found.start() : found.start() + 3000]


@pytest.mark.parametrize("name", GREETINGS)
def test_a_greeting(odd: Router, name: str) -> None:
    *_, state, words = GREETINGS[name]
    before_mb = rss_mb(odd.process.pid)
    with RawClient(odd.port, timeout_s=20) as client:
        said = client.login(database=name)
        assert state.encode() in next((m.body for m in said if m.code == "E"), b"")
        if state:
            error = next(m.body for m in said if m.code == "E")
            assert words.encode() in error
            assert b"SFATAL\0" in error
    sane(odd)
    assert rss_mb(odd.process.pid) < before_mb + 20


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer(odd: Router, text: str) -> None:
    _, state, words = ANSWERS[text]
    with RawClient(odd.port, timeout_s=20) as client:
        client.login(database="sane")
        client.send(query(text))
        said = client.until_ready()
        errors = [m.body for m in said if m.code == "E"]
        if state:
            assert sqlstate(said) == state
        assert not words or words.encode() in errors[0]
        if said[-1].code == "Z" and text != "status not in utf-8":  # code has set it, so the settings are asked for
            assert values(client.ask("select 1")) == [["1"]]
    sane(odd)


@pytest.mark.parametrize("statement", ["set odd.thing = 'x'", "select set_config('odd.thing', 'x', false)"])
def test_nonsense_about_a_sessions_settings_ends_the_session(odd: Router, statement: str) -> None:
    with RawClient(odd.port, timeout_s=20) as client:
        client.login(database="sane")
        client.send(query(statement))
        said = client.until_closed()
        errors = [m.fields for m in said if m.code == "E"]
        assert [(error["C"], error["S"]) for error in errors] == [("08P01", "FATAL")]
        assert "malformed answer about the session" in errors[0]["M"]
    sane(odd)


def test_nonsense_about_the_settings_of_a_startup_packet_ends_the_login(odd: Router) -> None:
    with RawClient(odd.port, timeout_s=20) as client:
        said = client.login(database="sane", client_encoding="LATIN1")
        assert sqlstate(said) == "08P01"
        assert client.receive() is None
    sane(odd)
