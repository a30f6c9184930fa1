"""What a login asks of its peer, as numbers: what it reads next (see `auth.conversation`)."""

from __future__ import annotations

READ_PACKET = 1  # a packet without a type, as connections begin: it is sent the body
READ_MESSAGE = 2  # a message: it is sent (type, body)
READ_BYTE = 3  # a single byte, the answer to SSLRequest: it is sent its number
