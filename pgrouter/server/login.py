"""The login of a server connection, fed with its bytes."""

from __future__ import annotations

import cython

from pgrouter.auth.conversation import Conversation
from pgrouter.auth.encryption import StartTls
from pgrouter.auth.secret import Derivation
from pgrouter.errors import RouterError, ServerLost
from pgrouter.net.sealed import secure
from pgrouter.net.stream import Stream

# Messages that we read ourselves are buffered whole up to this size. A larger one ends a login; later it is streamed.
WHOLE = 256 * 1024


# What a server may say at a login: it reports some fifteen settings, and code that runs at logins may raise notices
MOST_MESSAGES = 1000
MOST_BYTES = 1024 * 1024


class ServerLogin:
    """Does what `auth.server.server_login` asks for, and calls `logged_in` or `lose` of its connection."""

    def __init__(self, connection: Stream, generator, attempt) -> None:
        self.connection = connection
        self.attempt = attempt  # see `auth.encryption`
        self.conversation = Conversation(generator, WHOLE)
        self.messages = 0  # and bytes that were read
        self.size = 0

    def feed(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Process whole messages; return how far it got."""
        size: cython.Py_ssize_t
        connection: Stream = self.connection
        while self.conversation.reads and not connection.closed:
            size = self.conversation.size_at(buf, pos, end)
            if size < 0:
                self.fail(ServerLost("the server does not speak PostgreSQL's protocol", sqlstate="08P01"))
                break
            if size == 0 or size > end - pos:
                return pos
            if connection.poller.late():  # thousands may come at once, from hundreds of servers
                connection.put_off()
                return pos
            self.messages += 1
            self.size += size
            if self.messages > MOST_MESSAGES or self.size > MOST_BYTES:
                self.fail(ServerLost("the server says too much at the login", sqlstate="08P01"))
                break
            self.go_on(self.conversation.read(buf, pos, size))
            pos += size
        return end if connection.closed else pos

    def go_on(self, answer) -> int:
        """Continue with what the generator asked for: a message, or derived keys; None at first."""
        connection: Stream = self.connection
        try:
            request = self.conversation.resume(answer)
        except RouterError as error:
            return self.fail(error)
        out: bytes = self.conversation.sends()
        if out:
            connection.send_bytes(out)
        if request is None:
            cython.cast(object, connection).logged_in(self.conversation.result)
        elif isinstance(request, StartTls):
            secure(connection, request.codec)
        elif isinstance(request, Derivation):
            connection.put_aside = True
            connection.pause()
            connection.poller.aside(request.run, self.derived)
        return 0

    def derived(self, keys) -> None:
        """Continue with the keys that a thread has derived."""
        if not self.connection.closed:
            self.go_on(keys)
            self.connection.turn()

    def fail(self, error: RouterError) -> int:
        """Give up."""
        return cython.cast(object, self.connection).lose(error)
