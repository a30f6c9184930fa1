"""PCP's packets: a byte for the kind, a length that counts itself, and strings that end with NUL.

Source: Pgpool-II, src/libs/pcp/pcp.c, src/pcp_con/pcp_worker.c.
"""

from __future__ import annotations

from typing import NamedTuple

HEADER = 5
MOST_BYTES = 260  # of a client's packet (MAX_PCP_PACKET_LENGTH)
DONE = "CommandComplete"


class PcpError(Exception):
    """A command that fails. The client mistakes words that begin with S, M or D: messages begin with none of these."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class Packet(NamedTuple):
    """A client's packet."""

    kind: bytes
    body: bytes

    def words(self) -> list[str]:
        """Return the strings in it."""
        return [word.decode("utf-8", "replace") for word in self.body.split(b"\0") if word]


def taken(data: bytes) -> tuple[Packet | None, int]:
    """Return the first packet of `data` and how many bytes it has; None, 0: more are needed.

    Raises:
        PcpError: it is none.

    """
    if len(data) < HEADER:
        return None, 0
    size = int.from_bytes(data[1:HEADER], "big")
    if not HEADER - 1 <= size < MOST_BYTES:
        raise PcpError("invalid packet length")
    end = size + 1
    return (Packet(data[:1], data[HEADER:end]), end) if len(data) >= end else (None, 0)


def packet(kind: str, *words: str | bytes) -> bytes:
    """Return a packet of strings, and of bytes as they are."""
    body = b"".join(
        word if isinstance(word, bytes) else word.encode("utf-8", "replace").replace(b"\0", b"") + b"\0"
        for word in words
    )
    return kind.encode() + (len(body) + 4).to_bytes(4, "big") + body


def error(failed: PcpError, severity: str = "ERROR") -> bytes:
    """Return the packet that reports a failure."""
    fields = [f"S{severity}", "CXX000", f"M{failed.message}"]
    if failed.detail:
        fields.append(f"D{failed.detail}")
    return packet("E", *fields, "Fpcp", "L0", b"\0")
