"""The states of a client connection: where its next bytes go, see `proxy.client.ClientConnection.state`."""

from __future__ import annotations

IDLE = 0  # to the scanner: a batch begins
WAITING = 1  # nowhere: a batch waits for a server
LINKED = 2  # to the server
BLOCKED = 3  # nowhere: the server has to answer the router first, or must not begin a transaction
RESPONDING = 4  # to a responder: login, console, a failed transaction, a refused batch
SKIPPING = 5  # nowhere, they are the rest of a message that is discarded
CONGESTED = 6  # nowhere: the client does not read our answers
