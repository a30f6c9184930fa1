"""A stream to a PostgreSQL server for its whole life: it connects, logs in, and reports how it was lost.

Its owner is called each time: `move` when it is connected, `server_ready` when it is logged in, `server_closed`.
"""

from __future__ import annotations

from itertools import count

import cython

from pgrouter.auth.conversation import Conversation
from pgrouter.auth.secret import Derivation
from pgrouter.errors import RouterError, ServerLost
from pgrouter.net.poller import Poller
from pgrouter.net.stream import Stream
from pgrouter.server.states import STATE_NAMES

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.server.states import DIALLING, LOGGING_IN

# Messages that we read ourselves are buffered whole up to this size. A larger one ends a login; later it is streamed.
WHOLE = 256 * 1024

_ids = count(1)


class OutboundConnection(Stream):
    """A stream on which a login comes first: `on_connected` starts it, `login_data` feeds it."""

    def __init__(self, poller: Poller, owner, login) -> None:
        Stream.__init__(self, poller)
        self.owner = owner  # a MemberPool: its callbacks are called
        self.login = Conversation(login, WHOLE)  # of `auth.server.server_login`; None once it is over
        self.state = DIALLING
        self.hello = None  # what the server reported at login
        self.last_error = None  # fields of the FATAL before the connection closed
        self.created_at = poller.now
        self.connection_id = next(_ids)

    # -- login

    def on_connected(self) -> int:
        """Start the login."""
        self.owner.move(self, LOGGING_IN)
        return self.continue_login(None)

    def on_unreachable(self, why: str) -> int:
        """Called when the server cannot be reached."""
        return self.lose(ServerLost(f"could not connect to server: {why}"))

    def login_data(self, buf, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Feed whole messages to the login; return how far it got."""
        size: cython.Py_ssize_t
        while self.login is not None and self.login.reads:
            size = self.login.size_at(buf, pos, end)
            if size < 0:
                self.lose(ServerLost("the server does not speak PostgreSQL's protocol", sqlstate="08P01"))
                return end
            if size == 0 or size > end - pos:
                return pos
            if self.poller.late():  # thousands may come at once, from hundreds of servers
                self.put_off()
                return pos
            self.continue_login(self.login.read(buf, pos, size))
            if self.closed:
                return end
            pos += size
        return pos

    def continue_login(self, answer) -> int:
        """Continue the login with what it asked for: a message, or derived keys."""
        try:
            request = self.login.resume(answer)
        except RouterError as error:
            return self.lose(error)
        out: bytes = self.login.sends()
        if out:
            self.send_bytes(out)
        if request is None:
            self.hello = self.login.result
            self.login = None
            self.owner.server_ready(self)
        elif isinstance(request, Derivation):
            self.put_aside = True
            self.pause()
            self.poller.aside(request.run, self.derived)
        return 0

    def derived(self, keys) -> None:
        """Continue the login with the keys that the thread has derived."""
        if not self.closed:
            self.continue_login(keys)
            self.turn()

    # -- the end

    def on_eof(self, why: str) -> int:
        """The server closed the connection."""
        fields = self.last_error
        if fields is not None:
            error = ServerLost(fields.get("M", why), sqlstate=fields.get("C", ""), detail=fields.get("D", ""))
        else:
            error = ServerLost("server closed the connection unexpectedly", detail=why)
        return self.lose(error)

    def lose(self, error: RouterError) -> int:
        """Close the connection and report this to the pool."""
        if self.closed:
            return 0
        self.close()
        self.owner.server_closed(self, error)
        return 0

    def __repr__(self) -> str:
        return f"<S-{self.connection_id} {self.owner} {STATE_NAMES[self.state]}>"
