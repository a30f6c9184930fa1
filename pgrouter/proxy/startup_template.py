"""What all connections of one application have in common: their startup packet, and what follows from it alone."""

from __future__ import annotations

from pgrouter.protocol import messages

NEWEST_MINOR = 2  # of protocol 3


class StartupTemplate:
    """A startup packet (without its length), read; made once for all that send the same.

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
        # What has to be said first, if that is not the protocol that we speak
        self.negotiation = (
            messages.negotiate_protocol_version(min(minor, NEWEST_MINOR), startup.options) if odd else b""
        )
        # Of those that have logged in: their settings, and the pools of their database and user
        self.profile = None
        self.group = None
