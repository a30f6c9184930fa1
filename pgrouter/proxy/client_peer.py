"""What a client does when its pool has a server for it, and at certain answers of its server."""

from __future__ import annotations

import cython

from pgrouter.errors import RouterError, ServerLost
from pgrouter.protocol import messages
from pgrouter.proxy import retry
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.dispatcher import Dispatcher
from pgrouter.proxy.error_counts import BY_SERVER
from pgrouter.proxy.link import MAX_BATCH, Link
from pgrouter.proxy.session import Session
from pgrouter.routing.statement import Effect
from pgrouter.server.connection import ServerConnection
from pgrouter.server.peer import Peer
from pgrouter.session.refusals import NO_SEQUENCES, OLD_PLAN_ROUTINE, REFUSALS
from pgrouter.session.timeouts import CANCELED, timed_out

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.protocol.codes import IDLE
    from pgrouter.routing.flags import WRITES
    from pgrouter.server.states import AWAITS_ANSWERS, DISCARDS, ON_LOSS

CODE = int(Effect.CODE)


class ClientPeer(Peer):
    """The client of a server connection."""

    def __init__(self, client: ClientConnection) -> None:
        Peer.__init__(self, client)
        self.client = client

    # -- from the pool

    def on_served(self, server) -> int:
        """Called when a server is free for us: send it what waits."""
        client: ClientConnection = self.client
        dispatcher: Dispatcher = client.dispatcher
        session: Session = client.session
        if client.responder is not None:
            client.responder.served(server)
            return 0
        client.waiting = False
        link: Link = client.link
        if link.batch.needs_own_server() and not session.owns_sequences(server):  # another client has written there
            if link.retry is None or not link.retry.inside:
                session.pool.release(server)
                return self.on_refused(REFUSALS[NO_SEQUENCES])
        if link.batch.may_use_replica() and not dispatcher.is_fresh(server):  # its member was added meanwhile
            session.pool.release(server)
            server = dispatcher.take_fresh()
        elif server.session.custom is not None:
            server = dispatcher.unacquainted(server)
        if server is None:
            client.waiting = True
            return 0
        link.begin(server)
        client.resume()
        return client.process_partial()

    def on_refused(self, error: RouterError) -> int:
        """Called when there is no server for what waits."""
        client: ClientConnection = self.client
        client.waiting = False
        if client.responder is not None:
            client.responder.refused(error)
            return 0
        client.registry.refuse(client, error)
        client.link.retry = None
        client.resume()
        return client.process_partial()

    # -- from the linked server

    def on_ready(self) -> int:
        """Called when nothing is outstanding."""
        if self.client.responder is not None:
            return self.heard()
        if self.client.link.server.captured is not None:
            return self.heard()
        return self.client.answered()

    def heard(self) -> int:
        """Called when a query of the router's own has been answered; an answer that makes no sense ends its server."""
        client: ClientConnection = self.client
        server: ServerConnection = client.link.server
        try:
            if client.responder is not None:
                client.responder.ready(server)
            elif server.status == IDLE:
                client.registry.sync.heard(client, server)
            else:
                return client.answered()
        except ServerLost as error:
            server.lose(error)
        return 0

    def on_waiting(self) -> int:
        """Resume forwarding: the server cannot answer until it gets this."""
        client: ClientConnection = self.client
        if client.buffered:
            if client.link.server is not None and client.link.server.session.changed is not None:
                retry.renew_changed(client, bytes(client.partial[:MAX_BATCH]))
            client.resume()
            return client.process_partial()
        return 0

    def on_server_lost(self, error: RouterError) -> int:
        """Called when the server is gone: report what is lost; the session goes on if PostgreSQL's would."""
        client: ClientConnection = self.client
        link: Link = client.link
        session: Session = client.session
        server: ServerConnection = link.server
        link.server = None
        link.idle_at = client.poller.now
        if link.batch.decided & WRITES and not link.on_replica:
            link.note_write()
        if session.pin is None:
            if client.responder is not None:
                client.responder.refused(error)
                return 0
            if client.registry.sync.is_unsent(server):
                link.batch.taken_back()
                return client.proceed()
        if client.registry.sync.is_precaution(server):
            session.pin = None
            link.batch.settled()
            return client.proceed()
        if server.replay.size > 0 and server.replay.why & ON_LOSS and session.pin is None:
            link.retry = retry.lost(client, server, error)
            return client.run_again()
        link.retry = None
        client.registry.server_lost(client, server, error)
        return client.proceed()

    # -- retries

    def may_retry(self, server: ServerConnection) -> cython.bint:
        """Whether the batch that has ended in an error has been recorded, and may not have been answered."""
        return server.replay.size > 0 or (server.replay.size == 0 and server.input_state == AWAITS_ANSWERS)

    def retry_with(self, again) -> cython.bint:
        """Let go of the server if the batch is retried (None: it is not); returns whether it is."""
        link: Link = self.client.link
        link.retry = again
        if again is None:
            return False
        link.server = None
        return True

    def on_error(self, sqlstate: str, routine: str) -> cython.bint:
        """Retry the batch if a replica has refused it or a plan is too old."""
        client: ClientConnection = self.client
        link: Link = client.link
        if link.retry is not None:
            link.retry.failed(sqlstate)
        elif client.responder is None and self.may_retry(link.server):
            if self.retry_with(retry.refused(client, link.server, sqlstate, routine)):
                return True
        if routine == OLD_PLAN_ROUTINE:
            client.session.statements.outdated()
        client.registry.errors.add(BY_SERVER, sqlstate)
        return False

    def on_changed(self, shared: object, known: bytes) -> cython.bint:
        """Handle a new description, after DDL: refuse what waits for it, run it on the primary, or stop sharing."""
        client: ClientConnection = self.client
        server: ServerConnection = client.link.server
        client.session.statements.outdated()
        if server.input_state == AWAITS_ANSWERS:
            return self.retry_with(retry.changed(client, server))
        server.session.changed = None
        client.session.statements.part(shared, known)
        return False

    def on_unnamed(self, ident: object, known: bytes | None) -> cython.bint:
        """Store the description that the client gets; a different one is handled as for a named statement."""
        client: ClientConnection = self.client
        server: ServerConnection = client.link.server
        if client.session.statements.heard_unnamed(server, ident, known):
            client.session.statements.outdated()
            return self.retry_with(retry.changed(client, server))
        return False

    def on_let_go(self, server) -> int:
        """Retry, without the server that has refused."""
        self.client.registry.let_go(self.client, server)
        return self.client.run_again()

    # -- what the client gets

    def on_words(self, error: bytes) -> bytes:
        """Return the error with the reason for a cancel, and with the client's names of its prepared statements."""
        client: ClientConnection = self.client
        if CANCELED in error and client.client_id in client.registry.timed_out:
            return messages.error_response(timed_out(client.session.pool.settings.query_timeout_s))[5:]
        return client.session.statements.in_clients_words(error)

    def on_named(self, events: list) -> int:
        """Apply the results of Parse and Close of prepared statements."""
        return self.client.session.statements.on_parse_results(events)

    def on_deallocated(self) -> int:
        """Forget what a DEALLOCATE or DISCARD ALL has deallocated."""
        return self.client.link.requester.deferred.deallocated(self.client.link.server)

    def on_parameter(self, body: bytes) -> bytes | None:
        """Return what the client gets for a ParameterStatus: the server does not know the startup values for RESET."""
        client: ClientConnection = self.client
        if client.responder is not None:
            return None
        if client.link.batch.touched is None and not self.watches & DISCARDS:  # so code has set it
            client.link.batch.effects |= CODE
        return client.registry.parameter(client, body) if client.session.startup_profile.values else None

    def on_notification(self, message: bytes) -> bytes:
        """Replace the server's pid with the one that the client got at login, which marks its own notifications.

        The two numbers are swapped: a server process whose pid happens to be the client's number is another session.
        """
        server: ServerConnection = self.client.link.server
        if server is None:
            return message
        if len(message) < 11:  # it has no pid, let alone the two strings after it
            return message
        ours = self.client.client_id
        pid = int.from_bytes(message[5:9], "big")
        other = {server.hello.pid: ours, ours: server.hello.pid}.get(pid)
        return message if other is None else message[:5] + other.to_bytes(4, "big") + message[9:]

    def before_ready(self) -> bytes:
        """Report settings that RESET has restored to the startup packet's values."""
        return self.client.registry.restored(self.client)
