"""One HTTP connection: h11 says what the bytes mean, a site answers, one request after the other.

An answer is made in parts, each when the one before it has been taken and other streams have had their turn, so a long
one, or a client that reads slowly, holds neither the loop nor memory. While an answer is due, nothing is read.
"""

from __future__ import annotations

import hmac
import math
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import h11

from pgrouter.http.message import Answer, Request, failure
from pgrouter.net.bytes_stream import BytesStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.net.poller import Poller

MAX_HEAD = 16 * 1024  # of a request, in bytes
MAX_BODY = 64 * 1024  # read and discarded
CHUNK = 64 * 1024  # of an answer, sent at once
MAX_UNSENT = 256 * 1024  # events that a client has not taken; then it is given up
REQUEST_S = 10.0  # from the first byte, or the connection, to the end of the request
IDLE_S = 75.0  # between two requests
TAKE_S = 30.0  # to take a part of an answer
LINGER_S = 1.0  # for the rest of a request that was refused: closing at once would destroy the answer to it

FIXED = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)


class State(Enum):
    """What a connection does."""

    READING = "a request, or waiting for one"
    ANSWERING = "nothing is read"
    FOLLOWING = "gets events; what it sends is discarded"
    LINGERING = "its request was refused; what it sends is discarded"
    LEAVING = "it gets the rest of its last answer"


class Owner(Protocol):
    """What a connection needs of its server."""

    @property
    def token(self) -> str:
        """What requests have to show; "": nothing."""

    @property
    def wants_certificate(self) -> bool:
        """Whether clients need a certificate."""

    def answer(self, request: Request) -> Answer:
        """Answer a request."""

    def follows(self, connection: HttpConnection) -> None:
        """Called when a connection gets events from now on."""

    def left(self, connection: HttpConnection) -> None:
        """Called when a connection is closed."""


class HttpConnection(BytesStream):
    """A client of the HTTP port."""

    def __init__(self, poller: Poller, owner: Owner) -> None:
        BytesStream.__init__(self, poller)
        self._owner = owner
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._head: h11.Request | None = None
        self._body = 0  # bytes of the request's
        self._answer: Iterator[bytes | None] | None = None  # the rest of the answer
        self._stays = False
        self._barred = False  # it has no certificate, and needs one
        self.state = State.READING
        self.idle_at = poller.now  # since when it has waited for a request
        self.deadline = poller.now + REQUEST_S

    @property
    def idle(self) -> bool:
        """Whether it waits for a request that has not begun."""
        return self.state is State.READING and self._http.their_state is h11.IDLE and not self._http.trailing_data[0]

    # -- bytes

    def on_secured(self) -> int:
        """Called when the handshake is over."""
        self._barred = self._owner.wants_certificate and self.sealed.codec.peer_names() is None
        return 0

    def on_bytes(self, data: bytes) -> int:
        """Read a request."""
        if self.state in (State.READING, State.ANSWERING):
            if self.idle:
                self.deadline = self.poller.now + REQUEST_S
            self._http.receive_data(data)
            self._go_on()
        return len(data)

    def on_drained(self) -> int:
        """Continue the answer."""
        if self.state is State.LEAVING:
            return self.close()
        self._go_on()
        return 0

    def turn(self) -> int:
        """Continue the work that was put off."""
        self.put_aside = False
        self._go_on()
        return 0

    def close(self) -> int:
        """Close the connection."""
        if not self.closed:
            BytesStream.close(self)
            self._answer = None
            self._owner.left(self)
        return 0

    # -- requests and answers

    def _go_on(self) -> None:
        """Read requests and answer them until nothing is left to do, others are due, or the client has to catch up."""
        while not self.closed and not self.put_aside and self.state in (State.READING, State.ANSWERING):
            if self.poller.late():
                self.pause()  # requests that arrive faster than they are answered stay in the socket
                self.put_off()
            elif self.unsent():
                self.pause()
                return
            elif self.state is State.ANSWERING:
                self._send_part()
            elif not self._read_request():
                self.resume()
                return

    def _read_request(self) -> bool:
        """Read until a request is complete, and begin to answer it; whether there was one, or one was refused."""
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(failure(error.error_status_hint, str(error)))
            return True
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return False
        if isinstance(event, h11.Request):
            self._head, self._body = event, 0
        elif isinstance(event, h11.Data):
            self._body += len(event.data)
            if self._body > MAX_BODY:
                self._refuse(failure(413, f"a request has at most {MAX_BODY} bytes"))
        elif isinstance(event, h11.EndOfMessage):
            self._respond()
        else:  # it says that it will send nothing more
            self.close()
        return True

    def _respond(self) -> None:
        request = self._request()
        if request is None:
            self._begin(failure(400, "what is asked for cannot be read"))
        elif self._barred:
            self._begin(failure(403, "a client certificate is needed"))
        else:
            self._begin(self._owner.answer(request))

    def _request(self) -> Request | None:
        assert self._head is not None  # noqa: S101  (h11 sees to that)
        headers = dict(self._head.headers)
        try:
            target = urlsplit(self._head.target.decode("ascii"))
            query = dict(parse_qsl(target.query, max_num_fields=16))
        except ValueError:
            return None
        accept = headers.get(b"accept", b"").decode("latin-1")
        shown = headers.get(b"authorization", b"")
        authorized = not self._owner.token or is_token(shown, self._owner.token)
        return Request(self._head.method.decode("ascii"), target.path, query, accept, authorized)

    def _refuse(self, answer: Answer) -> None:
        """Answer a request that will not be read to its end, and close."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._begin(answer._replace(headers=(*answer.headers, ("Connection", "close"))))
        else:
            self.close()

    def _begin(self, answer: Answer) -> None:
        self.state = State.ANSWERING
        self._stays = answer.stays
        headers: list[tuple[str, str]] = [*FIXED, *answer.headers]
        if answer.body or answer.stays:
            headers.append(("Content-Type", answer.kind))
        if isinstance(answer.body, bytes):
            self._answer = iter((answer.body,))
            if not answer.stays:
                headers.append(("Content-Length", str(len(answer.body))))
        else:
            self._answer = answer.body
        if self._head is not None and self._head.method == b"HEAD":
            self._answer, self._stays = iter(()), False
        self._push(self._http.send(h11.Response(status_code=answer.status, headers=headers)))

    def _send_part(self) -> None:
        """Send the next part of the answer, and what follows its end."""
        assert self._answer is not None  # noqa: S101  (by the state)
        out = bytearray()
        ended = True
        for piece in self._answer:
            out += piece or b""
            if len(out) >= CHUNK or self.poller.late():
                ended = False
                break
        if out:
            self._push(self._http.send(h11.Data(bytes(out))))
        if ended and not self.closed:
            self._answer = None
            self._end()

    def _end(self) -> None:
        if self._stays:
            self.state, self.deadline = State.FOLLOWING, math.inf
            self.resume()
            self._owner.follows(self)
            return
        self._push(self._http.send(h11.EndOfMessage()))
        self._head = None
        if self.closed:
            return
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.state, self.idle_at = State.READING, self.poller.now
            self.deadline = self.idle_at + IDLE_S
        elif self._http.their_state in (h11.SEND_BODY, h11.ERROR):
            self.state, self.deadline = State.LINGERING, self.poller.now + LINGER_S
            self.resume()
        elif self.unsent():
            self.state = State.LEAVING
        else:
            self.close()

    def push(self, data: bytes) -> None:
        """Send an event; a client that does not take them is given up."""
        if not self.closed:
            if self.unsent() > MAX_UNSENT:
                self.close()
            else:
                self._push(self._http.send(h11.Data(data)))

    def _push(self, data: Any) -> None:
        self.deadline = max(self.deadline, self.poller.now + TAKE_S)
        if data and self.send_bytes(data) < 0:
            self.close()


def is_token(header: bytes, token: str) -> bool:
    """Whether a header `Authorization` shows the token; it takes as long whatever it shows."""
    scheme, _, shown = header.partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), token.encode())
