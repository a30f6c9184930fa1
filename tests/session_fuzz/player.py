"""One client of a story: sends a step and writes down what is said to it."""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from support.rawclient import COPY_DONE, DESCRIBE, SYNC, TERMINATE, Message, RawClient, bind, message, parse, query

if TYPE_CHECKING:
    from session_fuzz.story import Step

EXECUTE = message(b"E", b"\0" + bytes(4))
FIRST_USER_OID = 16384  # FirstNormalObjectId: of what is not PostgreSQL's own, and so not the same in two databases
OTHER_WORDS = {"55000", "25006"}  # currval() and lastval() are the router's to refuse, writes a standby's
OWN = re.compile(r"(?<=temp_)\d+|(?<=PID )\d+|\b(direct|routed\d)\b|(?<=slot_)(direct|routed\d)\b")
TIMEOUT_S = 8.0
# What the router says when all of its server connections are taken: PostgreSQL would not have waited.
WAITED = "no server connection became free in time"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to a step: messages in order, what ParameterStatus says by then, the status of the transaction."""

    said: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...] = ()
    status: str = ""

    @property
    def waited(self) -> bool:
        """Whether the router has refused to begin, since others have its server connections."""
        return any(WAITED in each for each in self.said)

    def lines(self) -> list[str]:
        """Give it for people to compare."""
        return [*self.said, f"status {self.status}", *(f"{name} = {value}" for name, value in self.parameters)]


class Player:
    """A client of one of the two sides."""

    def __init__(self, port: int, database: str, user: str, options: str) -> None:
        self.raw = RawClient(port, timeout_s=TIMEOUT_S)
        self.parameters: dict[str, str] = {}
        self.heard: list[str] = []  # notifications, whenever they came
        self.status = ""
        more = {"options": options} if options else {}
        self.login = self._answer(self.raw.login(user=user, database=database, application_name="fuzz", **more))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def server(self) -> int:
        """The process id that it was told at login."""
        return struct.unpack_from("!I", self.raw.key)[0] if self.raw.key else 0

    def play(self, step: Step) -> Answer:
        """Send the step and give the answer."""
        return self.ask(encoded(step))

    def ask(self, data: bytes) -> Answer:
        """Send messages of which the last asks for ReadyForQuery, and give all that is said up to it."""
        try:
            self.raw.send(data)
            said = self.raw.until_ready()
        except TimeoutError:
            return Answer(("no answer",))
        except OSError:
            said = []
        return self._answer(said)

    def close(self) -> None:
        """Leave."""
        with contextlib.suppress(OSError):
            self.raw.send(TERMINATE)
        self.raw.close()

    def _answer(self, said: list[Message]) -> Answer:
        status = "closed"
        written = []
        for each in said:
            if each.code == "S":
                name, value = each.body[:-1].decode("latin-1").split("\0")
                self.parameters[name] = value
            elif each.code == "A":
                self.heard.append(notification(each.body))
            elif each.code == "Z":
                status = each.body.decode()
            elif each.code not in "RK":
                written.append(text(each))
        self.status = status
        return Answer(tuple(written), tuple(sorted(self.parameters.items())), status)


def notification(body: bytes) -> str:
    """Write down a NotificationResponse, without whose it was."""
    channel, payload, _ = body[4:].decode("latin-1").split("\0")
    return f"{channel} {payload!r}"


def encoded(step: Step) -> bytes:
    """Give a step's messages."""
    first = step.texts[0].encode()
    rest = step.texts[1:]
    match step.kind:
        case "pipeline":
            data = b"".join(parse(sql) + bind() + DESCRIBE + EXECUTE for sql in step.texts) + SYNC
        case "parse" | "describe":
            describe = message(b"D", b"S" + first + b"\0") if step.kind == "describe" else b""
            data = parse(rest[0], step.texts[0]) + describe + SYNC
        case "close":
            data = message(b"C", b"S" + first + b"\0") + SYNC
        case "bind" | "binary":
            formats = b"\0\1\0\1" if step.kind == "binary" else b"\0\0"
            data = message(b"B", b"\0" + first + b"\0" + bytes(4) + formats) + EXECUTE + SYNC
        case "copy":
            data = query(step.texts[0]) + b"".join(message(b"d", f"{line}\n".encode()) for line in rest) + COPY_DONE
        case "call":
            arguments = b"".join(struct.pack("!I", len(each)) + each.encode() for each in rest)
            data = message(b"F", struct.pack("!IHH", int(first), 0, len(rest)) + arguments + bytes(2))
        case _:
            data = query(step.texts[0])
    return data


def text(said: Message) -> str:
    """Write down one message, without what two databases cannot have in common."""
    if said.code in "EN":
        fields = {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in said.body.split(b"\0") if part}
        words = "" if fields["C"] in OTHER_WORDS else fields["M"]
        return plain(f"{said.code} {fields['S']} {fields['C']} {words}")
    if said.code == "D":
        return f"D {values(said.body)}"
    if said.code == "T":
        return f"T {columns(said.body)}"
    if said.code == "t":
        return f"t {[oid(each) for each in struct.unpack_from(f'!{len(said.body) // 4}I', said.body, 2)]}"
    return plain(f"{said.code} {said.body.decode('latin-1')!r}") if said.body else said.code


def values(body: bytes) -> list[str | None]:
    """Give a row; bytes that are no UTF-8 are written as they are."""
    found: list[str | None] = []
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        size = struct.unpack_from("!i", body, at)[0]
        at += 4
        found.append(None if size < 0 else plain(body[at : at + size].decode("latin-1")))
        at += max(size, 0)
    return found


def columns(body: bytes) -> list[tuple[str, object, int]]:
    """Give the name, type and format of each column."""
    found = []
    at = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        end = body.index(0, at)
        type_oid, _, _, form = struct.unpack_from("!IhiH", body, end + 7)
        found.append((body[at:end].decode("latin-1"), oid(type_oid), form))
        at = end + 19
    return found


def oid(number: int) -> object:
    """Give an OID that is the same everywhere."""
    return number if number < FIRST_USER_OID else "user's"


def plain(line: str) -> str:
    """Leave out numbers of sessions, and the databases' names."""
    return OWN.sub("...", line)
