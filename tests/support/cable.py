"""A cable between a router and a server that can be cut: data is held back, and no connection is closed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from concurrent.futures import Future

AT_ONCE = 65536


class Cable:
    """Forwards TCP connections to a port on loopback, from a thread of its own; a context manager."""

    def __init__(self, to_port: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._ways: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._listen()).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._in_loop(self._end()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Stop forwarding."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Resume forwarding, starting with what was held back."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def _in_loop(self, work: object) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._whole.set()
        self._server = await asyncio.start_server(self._connected, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        for way in list(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        for end in self._ends:  # also where nobody has read what was written
            end.transport.abort()
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._join(reader, writer))
        self._ways.add(task)
        task.add_done_callback(self._ways.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        with contextlib.suppress(OSError), contextlib.closing(writer):
            await self._whole.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._ends.add(far_writer)
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(AT_ONCE):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
