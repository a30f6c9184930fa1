"""One GET over HTTP or HTTPS: asyncio does the IO, the standard library's http.client parses the answer.

One connection per request, because Patroni's server (HTTP/1.0) closes it anyway. The caller limits the time; here only
the size is limited, so that no server can fill the memory. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

MOST_BYTES = 1024 * 1024  # a member takes about 300 bytes of /cluster
PIECE = 64 * 1024
# In an error of requests: `... (Caused by NewConnectionError("HTTPConnection(...): Failed to establish a new ..."))`
CAUSE = re.compile(r"((?:Failed to (establish|resolve)|Connection to|Read timed out|\[SSL).*?)(['\"]\)+)?$", re.DOTALL)


class HttpError(Exception):
    """There is no usable answer; the text says why, in one line."""


async def get(
    url: str, path: str, *, context: ssl.SSLContext | None, headers: Mapping[str, str], connect_timeout_s: float
) -> bytes:
    """Return the body of GET `path` at `url` (`http://host:port`); `context` is for https.

    Raises HttpError or OSError (which includes ssl.SSLError and TimeoutError).
    """
    parts = urlsplit(url)
    secure = context if parts.scheme == "https" else None
    async with asyncio.timeout(connect_timeout_s):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=secure)
    try:
        lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return read_body(await _all(reader))
    finally:
        writer.transport.abort()  # nothing more to send, and no waiting for a peer that hangs


async def _all(reader: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while piece := await reader.read(PIECE):
        data += piece
        if len(data) > MOST_BYTES:
            raise HttpError(f"the answer has more than {MOST_BYTES} bytes")
    return bytes(data)


def read_body(answer: bytes) -> bytes:
    """Return the body of a complete answer with status 200.

    Raises HttpError for any other status, and for anything that is not an HTTP answer.
    """
    if not answer:
        raise HttpError("the connection was closed without an answer")
    response = http.client.HTTPResponse(_Received(answer))  # type: ignore[arg-type] # all it wants is makefile()
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ValueError) as error:
        raise HttpError(f"no answer in HTTP: {type(error).__name__}") from error
    if response.status != http.client.OK:
        raise HttpError(f"HTTP status {response.status}")
    return body


class _Received:
    """A stand-in for http.client's socket: bytes that have all arrived."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def cause_of(text: str) -> str:
    """Extract the cause from an error message of requests, without the objects wrapped around it."""
    found = CAUSE.search(text)
    return found[1] if found else text
