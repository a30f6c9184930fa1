"""Answers in HTTP, whole and broken."""

from __future__ import annotations

import pytest

from pgrouter.cluster.http import HttpError, read_body

PATRONI = b"HTTP/1.0 200 OK\r\nServer: BaseHTTP/0.6 Python/3.11.7\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (PATRONI + b'{"members": []}', b'{"members": []}'),
        (PATRONI, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokand more", b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    ],
)
def test_an_answer(answer: bytes, body: bytes) -> None:
    assert read_body(answer) == body


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.0 401 Unauthorized\r\n\r\nno", "HTTP status 401"),
        (b"HTTP/1.0 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "HTTP status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "no answer in HTTP: IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok", "no answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer in HTTP: BadStatusLine"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "no answer in HTTP: BadStatusLine"),
        (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "no answer in HTTP: HTTPException"),
        (b"HTTP/1.0 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "no answer in HTTP: LineTooLong"),
    ],
)
def test_what_is_none(answer: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why):
        read_body(answer)
