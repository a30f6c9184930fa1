"""A scripted PostgreSQL: answers as a test wants, as far as a monitor's queries go."""

from __future__ import annotations

import asyncio
import contextlib
import struct

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
FATAL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


class ScriptedServer:
    """Answers like a PostgreSQL in the state that the test wants, as far as a monitor's queries go."""

    def __init__(self) -> None:
        self.recovering, self.timeline, self.system_id, self.streaming = True, 1, "7", True
        self.defaults, self.started = "d", ""
        self.password_is_wrong = False
        self.answers = asyncio.Event()  # cleared: queries are read and never answered
        self.answers.set()
        self.greeting = b""  # instead of an answer to the startup packet
        self.hangs_up_s: float | None = None  # after a query that gets no answer; once
        self.in_pieces = False  # answers are sent byte by byte
        self.reads = asyncio.Event()  # cleared: nothing is read
        self.reads.set()
        self.logins = self.questions = self.cancels = self.ends = 0
        self.application_name = ""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._ends: set[asyncio.StreamWriter] = set()  # those that have left, too

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: open connections break, new ones are refused."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._clients):
                writer.close()
            await asyncio.sleep(0)
            for writer in list(self._ends):  # also where nobody has read what was written
                writer.transport.abort()
            self._ends.clear()
            await asyncio.sleep(0)
            await self._server.wait_closed()
            self._server = None

    def terminate(self) -> None:
        """Cut the connections, as pg_terminate_backend does."""
        for writer in list(self._clients):
            writer.close()

    def say(self, *messages: bytes) -> None:
        """Send unsolicited messages to all that are connected."""
        for writer in list(self._clients):
            writer.write(b"".join(messages))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        self._ends.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                if await self._login(reader, writer):
                    await self._talk(reader, writer)
        finally:
            self.ends += 1
            self._clients.discard(writer)
            writer.close()

    async def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while True:
            length = struct.unpack("!i", await reader.readexactly(4))[0]
            body = await reader.readexactly(length - 4)
            code = struct.unpack("!i", body[:4])[0]
            if code == CANCEL_REQUEST:
                self.cancels += 1
                return False
            if code != SSL_REQUEST:
                break
            writer.write(b"N")
        self.logins += 1
        await self.answers.wait()
        if self.greeting:
            writer.write(self.greeting)
            return False
        if self.password_is_wrong:
            error = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0"
            writer.write(message(b"E", error))
            return False
        parts = body[4:].split(b"\0")
        self.application_name = dict(zip(parts[::2], parts[1::2], strict=False)).get(b"application_name", b"").decode()
        settings = {"client_encoding": "UTF8", "server_version": "15.0", "standard_conforming_strings": "on"}
        writer.write(message(b"R", struct.pack("!i", 0)))
        for name, value in settings.items():
            writer.write(message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(message(b"Z", b"I"))
        return True

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.reads.wait()
            kind, length = struct.unpack("!ci", await reader.readexactly(5))
            question = await reader.readexactly(length - 4)
            if kind == b"X":
                return
            if kind != b"Q":
                continue
            if b"set_config" in question:  # part of the login
                writer.write(_row([""]))
                continue
            self.questions += 1
            if self.hangs_up_s is not None:
                after_s, self.hangs_up_s = self.hangs_up_s, None
                await asyncio.sleep(after_s)
                return
            await self.answers.wait()
            size = 1 if self.in_pieces else 1 << 20
            answer = self._answer()
            for start in range(0, len(answer), size):
                writer.write(answer[start : start + size])
                await asyncio.sleep(0)

    def _answer(self) -> bytes:
        values = ["t" if self.recovering else "f", self.system_id, str(self.timeline), "1000"]
        values += ["1000", "t"] if self.recovering and self.streaming else ["", ""]
        return _row([*values, self.defaults, "t", self.started])


def _row(values: list[str]) -> bytes:
    columns = b"".join(b"c\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0) for _ in values)
    row = b"".join(struct.pack("!i", len(value)) + value.encode() for value in values)
    head = struct.pack("!h", len(values))
    parts = (
        message(b"T", head + columns),
        message(b"D", head + row),
        message(b"C", b"SELECT 1\0"),
        message(b"Z", b"I"),
    )
    return b"".join(parts)
