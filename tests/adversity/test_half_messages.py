"""A server that dies within a message: nothing is written behind the half that its client has got."""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from support.rawclient import RawClient, query
from support.router import MONITOR, RouterFactory
from support.scripted import ScriptedServer, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

HALF = 64
ROW = b"\0\1" + struct.pack("!i", 80) + b"x" * 80
DESCRIPTION = b"\0\1c\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)


class Cut(ScriptedServer):
    """Answers its clients with a row that lacks its end; then it hangs up, or waits to be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.recovering = False
        self.asked = threading.Event()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.application_name.startswith("pgrouter"):
            return await super()._talk(reader, writer)
        head = await reader.readexactly(5)
        await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        writer.write(message(b"T", DESCRIPTION) + message(b"D", ROW)[:-HALF])
        await writer.drain()
        self.asked.set()
        await asyncio.sleep(0.5)
        return None


@pytest.fixture
def cut() -> Iterator[Router]:
    """Give a router in front of such a server."""
    server, loop = Cut(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    members = [{"name": "cut", "host": "127.0.0.1", "port": server.port}]
    cluster = {"source": "static", "members": members, "monitor": MONITOR}
    factory = RouterFactory()  # and no look at its log: such a server cannot say what is in its catalog
    try:
        yield factory({"cluster": cluster, "auth": {"type": "trust"}, "pool": {"drain_timeout": "0.1s"}})
    finally:
        factory.stop_all()
        factory.remove()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.mark.parametrize("end", ["server", "kill", "shutdown"])
def test_nothing_follows_half_a_row(cut: Router, end: str) -> None:
    with RawClient(cut.port) as client:
        client.login()
        client.send(query("select c from t"))
        expected = message(b"T", DESCRIPTION) + message(b"D", ROW)[:-HALF]
        got = b""
        while len(got) < len(expected):
            got += client.sock.recv(1 << 16)
        if end == "kill":
            number = next(row["id"] for row in cut.admin("SHOW CLIENTS") if row["database"] != "pgrouter")
            cut.admin(f"KILL_CLIENT {number}")
        elif end == "shutdown":
            cut.process.stop()
        while more := client.sock.recv(1 << 16):
            got += more
        assert got == expected
        if end == "shutdown":
            cut.start()
