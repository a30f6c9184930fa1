#!/usr/bin/env python3
"""Whether the router answers: the first listener of the configuration, asked for SSL as every client begins.

PostgreSQL's protocol answers SSLRequest with one byte before any login, so this needs no user and no password.
"""

import socket
import sys
from pathlib import Path

from pgrouter.config.load import load

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
HERE = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (the file says so)

settings = load(Path(sys.argv[1] if len(sys.argv) > 1 else "/etc/pgrouter/pgrouter.yml"))
first = settings.listen[0]
with socket.create_connection((HERE.get(first.host, first.host), first.port), timeout=2) as sock:
    sock.sendall(SSL_REQUEST)
    sys.exit(sock.recv(1) not in (b"N", b"S"))
