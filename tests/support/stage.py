"""Stories that are run twice, on a direct connection and through the router, with the same result."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from pgrouter.demo.postgres import ServerOptions
from support.rawclient import Message, RawClient, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from pgrouter.demo.streaming import StreamingCluster
    from support.router import Router

TRUST = ServerOptions(hba=("host all postgres 127.0.0.1/32 trust",))
DATABASES = ("direct", "routed")


def describe(name: str, kind: str = "S") -> bytes:
    return message(b"D", f"{kind}{name}\0".encode())


def close(name: str) -> bytes:
    return message(b"C", f"S{name}\0".encode())


def execute(portal: str) -> bytes:
    return message(b"E", portal.encode() + bytes(5))


def bind(name: str = "", portal: str = "", *given: bytes, binary: bool = False) -> bytes:
    """Return a Bind with these values; they and the results in binary or text format."""
    body = f"{portal}\0{name}\0".encode() + struct.pack("!HHH", 1, binary, len(given))
    body += b"".join(struct.pack("!i", len(value)) + value for value in given)
    return message(b"B", body + struct.pack("!HH", 1, binary))


class Heard(NamedTuple):
    """The comparable part of an answer: a refused Describe may or may not have reported parameters."""

    codes: str
    rows: list[bytes]
    columns: list[bytes]
    error: tuple[str, ...]


def heard(said: list[Message]) -> Heard:
    errors = tuple(
        f"{m.fields['C']} {m.fields['M']} {m.fields['R'] if m.fields['C'] == '0A000' else ''}"
        for m in said if m.code == "E"
    )  # fmt: skip
    return Heard(
        "".join(m.code for m in said).replace("tE", "E"), [m.body for m in said if m.code in "DC"],
        [name for m in said if m.code == "T" for name in names(m.body)], errors,
    )  # fmt: skip


def names(columns: bytes) -> Iterator[bytes]:
    """Yield each column's name and the length of its type."""
    at = 2
    for _ in range(struct.unpack_from("!H", columns)[0]):
        end = columns.index(0, at) + 1
        yield columns[at:end] + columns[end + 10 : end + 12]
        at = end + 18


class Stage:
    """Runs the same story on PostgreSQL and on the router."""

    def __init__(self, cluster: StreamingCluster, router: Router, stack: ExitStack) -> None:
        self.cluster, self.router, self.stack = cluster, router, stack
        self.ports = {"direct": cluster.primary.port, "routed": router.port}

    def both(self, play: Callable[[str], Any]) -> None:
        """Run it directly and through the router, and compare what `play` returns."""
        direct = play("direct")
        routed = play("routed")
        assert routed == direct

    def client(self, database: str, **more: str) -> RawClient:
        client = self.stack.enter_context(RawClient(self.ports[database]))
        client.login(database=database, **more)
        return client

    def admin(self, database: str, *texts: str) -> None:
        """Do something bypassing the router."""
        for text in texts:
            self.cluster.primary.sql(text, dbname=database)
        self.cluster.wait_caught_up()

    def occupied(self, database: str) -> RawClient:
        """Occupy a server connection, so that the next client gets another one if there are several."""
        client = self.client(database)
        if self.router.several:
            client.ask("begin; select txid_current()")
        return client

    def elsewhere(self, database: str, client: RawClient, data: bytes) -> list[Heard]:
        """Send it twice: on the last used server connection, and on another one."""
        answers = [asked(client, data)]
        with RawClient(self.ports[database]) as other:
            other.login(database=database)
            if database == "routed" and self.router.several:
                other.ask("begin; select txid_current()")
            answers.append(asked(client, data))
        return answers


def asked(client: RawClient, data: bytes) -> Heard:
    client.send(data)
    return heard(client.until_ready())
