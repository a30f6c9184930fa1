"""What connections with the same startup packet share: the packet, and all that follows from it alone."""

from __future__ import annotations

from pgrouter.protocol import messages

NEWEST_MINOR = 2  # of protocol 3


class StartupTemplate:
    """A parsed startup packet (without its length); made once for all clients that send the same.

    Raises:
        ProtocolViolation: 08P01, see `messages.read_startup`.

    """

    def __init__(self, packet: bytes) -> None:
        startup = messages.read_startup(packet)
        minor = startup.protocol & 0xFFFF
        odd = minor > NEWEST_MINOR or startup.options
        self.parameters = startup.parameters
        self.user = startup.user
        self.database = startup.database or startup.user
        self.name = startup.application_name
        self.replicates = startup.replicates
        self.long_keys = minor >= NEWEST_MINOR
        # NegotiateProtocolVersion, if the client asks for what the router does not support
        self.negotiation = (
            messages.negotiate_protocol_version(min(minor, NEWEST_MINOR), startup.options) if odd else b""
        )
        # Set by the first login: the settings, and the pool of the database and user
        self.profile = None
        self.pool = None
