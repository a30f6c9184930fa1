"""The server side of the protocol without IO: messages of a console's client in, bytes out, piece by piece.

Both query protocols: a simple Query with any number of commands, and Parse, Bind, Describe, Execute, Close with named
statements and portals, row limits and result formats; after an error, messages are ignored up to Sync. A transaction
is tracked for ReadyForQuery only: there is nothing to roll back, so an error does not fail it.

An answer may have any length, so it is generated lazily: row by row, and each command when its turn comes.

Source: protocol chapter, "Message Flow".
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgrouter.admin import commands
from pgrouter.admin.result import BINARY_FORMAT, data_row, encoders, expand_formats, row_description
from pgrouter.errors import FeatureNotSupported, RouterError
from pgrouter.protocol import codes, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgrouter.admin.command import Command
    from pgrouter.admin.result import Row

# A driver keeps hundreds at most (psycopg 100, asyncpg 100, JDBC 256).
MAX_STATEMENTS = 1000
MAX_NAME = 1000  # characters of the name of a statement or portal: a client may have MAX_STATEMENTS of each
MAX_PARAMETERS = 1000  # of a statement; no command uses any

_READY_AFTER = frozenset({codes.QUERY, codes.FUNCTION_CALL, codes.SYNC})
_PORTAL_SUSPENDED = messages.message(codes.PORTAL_SUSPENDED, b"")


@dataclass(frozen=True, slots=True)
class Statement:
    """A Parse: its command (None: an empty text) and the parameter types that it declares."""

    command: Command | None
    oids: tuple[int, ...] = ()


@dataclass(slots=True)
class Portal:
    """A Bind: a command with result formats and, once it has run, the rows still to be sent."""

    command: Command | None
    formats: tuple[int, ...] = ()
    rows: Iterator[Row | None] | None = field(default=None)


class Body:
    """Reads a message's body from left to right."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def string(self) -> str:
        """Read up to a NUL."""
        end = self._data.find(b"\0", self._pos)
        if end < 0:
            raise _malformed()
        raw, self._pos = self._data[self._pos : end], end + 1
        return raw.decode("utf-8", "replace")

    def number(self, form: str) -> int:
        """Read one number, `form` as in struct."""
        try:
            (value,) = struct.unpack_from(form, self._data, self._pos)
        except struct.error:
            raise _malformed() from None
        self._pos += struct.calcsize(form)
        return int(value)

    def numbers(self, form: str) -> tuple[int, ...]:
        """Read an int16 count and as many numbers, `form` as in struct."""
        count = self.number("!H")
        try:
            values = struct.unpack_from(f"!{count}{form}", self._data, self._pos)
        except struct.error:
            raise _malformed() from None
        self._pos += struct.calcsize(f"!{count}{form}")
        return values

    def skip_value(self) -> None:
        """Skip a parameter value."""
        size = self.number("!i")
        if size > len(self._data) - self._pos:
            raise _malformed()
        self._pos += max(0, size)


class ConsoleProtocol:
    """One client's session with the console. `execute` runs a command and yields its rows; None: not ready yet."""

    def __init__(self, execute: Callable[[Command], Iterable[Row | None]]) -> None:
        self._execute = execute
        self._statements: dict[str, Statement] = {}
        self._portals: dict[str, Portal] = {}
        self._skipping = False
        self._status = b"I"
        self._answers: dict[int, Callable[[Body], Iterable[bytes | None]]] = {
            codes.PARSE: self._parse,
            codes.BIND: self._bind,
            codes.DESCRIBE: self._describe,
            codes.EXECUTE: self._run_portal,
            codes.CLOSE: self._close,
            codes.QUERY: self._query,
            codes.FUNCTION_CALL: self._function_call,
            codes.SYNC: lambda _: (),
        }

    def on_message(self, code: int, body: bytes) -> bytes:
        """Return the whole answer to one frontend message that nothing has to wait for."""
        return b"".join(piece or b"" for piece in self.answer(code, body))

    def answer(self, code: int, body: bytes) -> Generator[bytes | None, None, None]:
        """Yield the answer to one frontend message in small pieces; None: a command waits, ask again a little later.

        It must be exhausted before the next message is answered; a RouterError that is thrown while a command waits
        ends that. The caller handles Terminate.
        """
        if code == codes.SYNC:
            self._skipping = False
        answer = self._answers.get(code)
        if self._skipping or answer is None:  # Flush, and CopyData outside COPY: PostgreSQL ignores them too
            return
        try:
            yield from answer(Body(body))
        except RouterError as error:
            yield messages.error_response(error)
            self._skipping = code not in _READY_AFTER
        if code in _READY_AFTER:
            yield self._ready()

    def _ready(self) -> bytes:
        if self._status == b"I":
            self._portals.clear()  # they end with their transaction
        return messages.message(codes.READY_FOR_QUERY, self._status)

    # -- simple protocol

    def _query(self, body: Body) -> Iterator[bytes | None]:
        found = yield from _parsed(body.string())
        if not found:
            yield messages.EMPTY_QUERY
        for command in found:
            rows = self._run(command)
            if command.columns is not None:
                yield row_description(command.columns)
                encode = encoders(command.columns)
                for row in rows:
                    yield b"" if row is None else data_row(encode, row)
            else:
                yield from _waiting(rows)
            yield messages.command_complete(command.tag)

    def _function_call(self, _body: Body) -> Iterable[bytes]:
        raise FeatureNotSupported("the console has no functions")

    def _run(self, command: Command) -> Iterable[Row | None]:
        rows = self._execute(command)
        self._status = command.status or self._status
        if command.closes == commands.ALL_STATEMENTS:
            self._statements.clear()
        elif command.closes:
            self._statements.pop(command.closes, None)
        return rows

    # -- extended protocol

    def _parse(self, body: Body) -> Iterator[bytes]:
        name = _name(body)
        found = yield from _parsed(body.string())
        if len(found) > 1:
            raise RouterError("cannot insert multiple commands into a prepared statement", sqlstate="42601")
        if name not in self._statements and len(self._statements) >= MAX_STATEMENTS:
            raise RouterError(f"more than {MAX_STATEMENTS} prepared statements", sqlstate="53400")
        oids = body.numbers("I")
        if len(oids) > MAX_PARAMETERS:
            raise RouterError(f"more than {MAX_PARAMETERS} parameters", sqlstate="54000")
        self._statements[name] = Statement(found[0] if found else None, oids)
        yield messages.PARSE_COMPLETE

    def _bind(self, body: Body) -> Iterable[bytes]:
        portal = _name(body)
        command = self._statement(body.string()).command
        body.numbers("h")
        values = body.number("!H")
        if values > MAX_PARAMETERS:
            raise RouterError(f"more than {MAX_PARAMETERS} parameters", sqlstate="54000")
        for _ in range(values):  # no command uses any
            body.skip_value()
        described = command.columns if command is not None and command.columns is not None else ()
        wanted = body.numbers("h")
        formats = expand_formats(wanted, len(described))
        if formats is None:
            raise RouterError(
                f"bind message has {len(wanted)} result formats but query has {len(described)} columns",
                sqlstate="08P01",
            )
        if any(number not in (0, BINARY_FORMAT) for number in formats):
            raise RouterError("unsupported format code", sqlstate="22023")
        if portal not in self._portals and len(self._portals) >= MAX_STATEMENTS:
            raise RouterError(f"more than {MAX_STATEMENTS} portals", sqlstate="53400")
        self._portals[portal] = Portal(command, formats)
        return (messages.BIND_COMPLETE,)

    def _describe(self, body: Body) -> Iterable[bytes]:
        kind, name = chr(body.number("!B")), body.string()
        if kind == "P":
            portal = self._portal(name)
            return (_described(portal.command, portal.formats),)
        statement = self._statement(name)
        oids = struct.pack(f"!H{len(statement.oids)}I", len(statement.oids), *statement.oids)
        return messages.message(codes.PARAMETER_DESCRIPTION, oids), _described(statement.command, ())

    def _run_portal(self, body: Body) -> Iterator[bytes | None]:
        name, limit = body.string(), body.number("!i")
        portal = self._portal(name)
        command = portal.command
        if command is None:
            yield messages.EMPTY_QUERY
            return
        if portal.rows is None:
            portal.rows = iter(self._run(command))
        elif command.columns is None:
            raise RouterError(f'portal "{name}" cannot be run anymore', sqlstate="55000")
        if command.columns is not None:
            encode = encoders(command.columns, portal.formats)
            given = 0
            for row in portal.rows:
                yield b"" if row is None else data_row(encode, row)
                given += row is not None
                if given == limit:
                    yield _PORTAL_SUSPENDED
                    return
        else:
            yield from _waiting(portal.rows)
        yield messages.command_complete(command.tag)

    def _close(self, body: Body) -> Iterable[bytes]:
        kind, name = chr(body.number("!B")), body.string()
        closed = self._portals if kind == "P" else self._statements
        closed.pop(name, None)
        return (messages.CLOSE_COMPLETE,)

    def _statement(self, name: str) -> Statement:
        statement = self._statements.get(name)
        if statement is None:
            raise RouterError(f'prepared statement "{name}" does not exist', sqlstate="26000")
        return statement

    def _portal(self, name: str) -> Portal:
        portal = self._portals.get(name)
        if portal is None:
            raise RouterError(f'portal "{name}" does not exist', sqlstate="34000")
        return portal


def _waiting(steps: Iterable[Row | None]) -> Generator[None, None, None]:
    """Run a command without rows; a None is passed on, and so is an error that is thrown meanwhile."""
    if isinstance(steps, Generator):
        yield from steps
    else:
        for _ in steps:
            yield None


def _parsed(text: str) -> Generator[bytes, None, list[Command]]:
    """Return the commands in a text; nothing is sent meanwhile, but others have their turn."""
    found = []
    for command in commands.parsing(text):
        if command is not None:
            found.append(command)
        yield b""
    return found


def _described(command: Command | None, formats: tuple[int, ...]) -> bytes:
    if command is None or command.columns is None:
        return messages.NO_DATA
    return row_description(command.columns, formats)


def _name(body: Body) -> str:
    name = body.string()
    if len(name) > MAX_NAME:
        raise RouterError(f"a name has at most {MAX_NAME} characters here", sqlstate="54000")
    return name


def _malformed() -> RouterError:
    return RouterError("invalid message format", sqlstate="08P01")
