"""Clients for what pgbench cannot do: COPY, and thousands that are idle. They know just enough of the protocol.

    python -m bench.wire --port 6432 --user bench --clients 4 --seconds 2 --log FILE

runs COPY over and over, and writes a line for each as `pgbench --log` does.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import struct
import time
from pathlib import Path

from bench.cases import COPY

READY = b"Z\0\0\0\5I"
BUFFER = bytearray(1 << 20)


class Client:
    """One connection to where nobody is asked for a password."""

    def __init__(self, port: int, user: str, database: str = "postgres") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        words = b"".join(word.encode() + b"\0" for word in ("user", user, "database", database))
        self.socket.sendall(struct.pack("!II", len(words) + 9, 3 << 16) + words + b"\0")
        self.wait_ready()
        self.started_us = 0
        self.tail = b""

    def ask(self, sql: str) -> None:
        """Send a statement."""
        text = sql.encode() + b"\0"
        self.started_us, self.tail = time.time_ns() // 1000, b""
        self.socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)

    def read_on(self) -> bool:
        """Take what has come; True when the answer is complete."""
        length = self.socket.recv_into(BUFFER)
        if not length:
            raise ConnectionError("the server closed the connection")
        self.tail = (self.tail + BUFFER[max(0, length - 6) : length])[-6:]
        return self.tail == READY

    def wait_ready(self) -> None:
        """Wait for the end of an answer; ConnectionError if it is an error."""
        answer = b""
        while not answer.endswith(READY):
            read = self.socket.recv(65536)
            answer += read
            if not read or answer.startswith(b"E"):
                raise ConnectionError(answer[:200].decode("latin-1") or "the server closed the connection")


def copy_on(port: int, user: str, clients: int, seconds: float, log: Path) -> None:
    """Let some clients copy for some time."""
    everybody = [Client(port, user) for _ in range(clients)]
    waiting = selectors.DefaultSelector()
    for number, client in enumerate(everybody):
        waiting.register(client.socket, selectors.EVENT_READ, (number, client))
        client.ask(COPY)
    stop_s = time.time() + seconds
    with log.open("w") as lines:
        while time.time() < stop_s:
            for key, _ in waiting.select(1):
                number, client = key.data
                if client.read_on():
                    now_us = time.time_ns() // 1000
                    second, rest = divmod(now_us, 1_000_000)
                    lines.write(f"{number} 0 {now_us - client.started_us} 0 {second} {rest}\n")
                    client.ask(COPY)


def idle(port: int, user: str, clients: int) -> list[Client]:
    """Connect so many clients, each of which has asked once; the caller lets them go."""
    everybody = []
    for _ in range(clients):
        client = Client(port, user)
        client.ask("select 1")
        client.wait_ready()
        everybody.append(client)
    return everybody


def main() -> None:
    """Copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--log", type=Path, required=True)
    args = parser.parse_args()
    copy_on(args.port, args.user, args.clients, args.seconds, args.log)


if __name__ == "__main__":
    main()
