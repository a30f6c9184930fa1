"""Outstanding against PostgreSQL's message flow: whatever a client sends, nothing is owed in the end.

`Server` is PostgreSQL as far as its message flow goes: it reads requests one by one, answers, skips to Sync after an
error, and reads everything while it copies. `Client` sends random requests, some of which the router answers itself
(FAKE) or adds (SKIP). Both write down what each answer is for, and `Outstanding` has to agree.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from pgrouter.protocol import codes
from pgrouter.protocol.outstanding import Outstanding
from pgrouter.protocol.requests import (
    BIND,
    CLOSE,
    COPY_END,
    DESCRIBE,
    EXECUTE,
    FAKE,
    FORWARD,
    FUNCTION,
    PARSE,
    PARSE_NAMED,
    QUERY,
    SKIP,
    SYNC,
)

Z, E, G = codes.READY_FOR_QUERY, codes.ERROR_RESPONSE, codes.COPY_IN_RESPONSE
# What one statement says before its CommandComplete
ROWS = ((), (codes.DATA_ROW,), (codes.DATA_ROW, codes.DATA_ROW))
COPY_OUT = (codes.COPY_OUT_RESPONSE, codes.COPY_DATA, codes.COPY_DONE)
GOOD = {
    PARSE: (codes.PARSE_COMPLETE,),
    PARSE_NAMED: (codes.PARSE_COMPLETE,),
    BIND: (codes.BIND_COMPLETE,),
    DESCRIBE: (codes.PARAMETER_DESCRIPTION, codes.ROW_DESCRIPTION),
    CLOSE: (codes.CLOSE_COMPLETE,),
}
COPY_DATA = -1  # on the wire, and no request


@dataclass(frozen=True)
class Request:
    """One message to the server: what it is, what becomes of its answer, and how it will go."""

    kind: int
    action: int = FORWARD
    ident: int = 0
    fails: bool = False
    statements: tuple[str, ...] = ("rows",)  # of a Query or Execute: rows, copy out, copy in, empty, suspended
    rows: tuple[int, ...] = ()


@dataclass
class Server:
    """PostgreSQL's message flow. `said` collects (message type, the request it answers)."""

    inbox: deque[Request] = field(default_factory=deque)
    said: deque[tuple[int, Request]] = field(default_factory=deque)
    skipping: bool = False
    at_work: Request | None = None  # a statement that waits for the client's data
    left: tuple[str, ...] = ()  # statements of it that come after

    def step(self) -> bool:
        """Read one request, if there is one."""
        if not self.inbox:
            return False
        request = self.inbox.popleft()
        if self.at_work is not None:
            self._copy(request)
        elif request.kind in (COPY_DATA, COPY_END):
            pass  # nothing is being copied
        elif self.skipping and request.kind != SYNC:
            pass
        else:
            self._handle(request)
        return True

    def _say(self, request: Request, *kinds: int) -> None:
        self.said += [(kind, request) for kind in kinds]

    def _handle(self, request: Request) -> None:
        if request.kind == SYNC:
            self.skipping = False
            self._say(request, *([E] if request.fails else []), Z)
        elif request.kind == FUNCTION:
            self._say(request, E if request.fails else codes.FUNCTION_CALL_RESPONSE, Z)
        elif request.kind in GOOD:
            if request.fails:
                self._fail(request)
            else:
                self._say(request, *GOOD[request.kind])
        else:
            self._run(request, request.statements)

    def _run(self, request: Request, statements: tuple[str, ...]) -> None:
        for number, statement in enumerate(statements):
            if statement == "copy in":
                self._say(request, G)
                self.at_work, self.left = request, statements[number + 1 :]
                return
            if request.fails and number == len(statements) - 1:
                self._say(request, *request.rows)
                self._fail(request)
                return
            if statement == "empty":
                self._say(request, codes.EMPTY_QUERY_RESPONSE)
            elif statement == "suspended" and request.kind == EXECUTE:
                self._say(request, *request.rows, codes.PORTAL_SUSPENDED)
            else:
                self._say(request, *(COPY_OUT if statement == "copy out" else request.rows), codes.COMMAND_COMPLETE)
        if request.kind == QUERY:
            self._say(request, Z)

    def _copy(self, request: Request) -> None:
        work = self.at_work
        if request.kind == SYNC or (request.kind == COPY_DATA and not request.fails):
            return  # PostgreSQL ignores a Sync there
        self.at_work = None
        if request.kind == COPY_END and not request.fails:
            self._say(work, codes.COMMAND_COMPLETE)
            if self.left or work.kind == QUERY:
                self._run(work, self.left)
        else:  # CopyFail, or bad data
            self._fail(work)

    def _fail(self, request: Request) -> None:
        self._say(request, E)
        if request.kind == QUERY:
            self._say(request, Z)
        else:
            self.skipping = True


class Talk:
    """A client, the router's account and a server, with answers on their way."""

    def __init__(self) -> None:
        self.outstanding = Outstanding()
        self.server = Server()
        self.forged: list[int] = []
        self.events: list[tuple[int, int, bool]] = []
        self.expected: list[tuple[int, int, bool]] = []

    def send(self, request: Request) -> None:
        """Enter a request, and put it on the wire unless its answer is forged."""
        if request.kind != COPY_DATA:
            self.outstanding.push(request.kind, request.action, request.ident)
        if request.action != FAKE:
            self.server.inbox.append(request)
        self.forge()

    def forge(self) -> None:
        """Take the forged answers that are due."""
        while kind := self.outstanding.take_fake():
            self.forged.append(kind)

    def hear(self) -> None:
        """Receive one message of the server: it must be taken for what it is."""
        code, request = self.server.said.popleft()
        aborts = code == E and request.kind not in (QUERY, FUNCTION, SYNC)
        given = self.outstanding.answer(code)
        assert given == (FORWARD if aborts else request.action), (chr(code), request, self.outstanding.pending())
        self.forge()

    def settle(self) -> None:
        """Let the server read and answer everything."""
        while self.server.step() or self.server.said:
            while self.server.said:
                self.hear()


idents = count(1)
statements = st.lists(st.sampled_from(["rows", "rows", "copy out", "empty"]), min_size=1, max_size=3).map(tuple)
rows = st.sampled_from(ROWS)
fails = st.sampled_from([False, False, False, True])
actions = st.sampled_from([FORWARD, FORWARD, SKIP])

extended = st.one_of(
    st.builds(Request, st.sampled_from([PARSE, BIND, DESCRIBE]), actions, fails=fails),
    st.builds(Request, st.just(PARSE_NAMED), st.sampled_from([FORWARD, FAKE]), st.integers(1, 9), fails=fails),
    st.builds(Request, st.just(CLOSE), st.sampled_from([FORWARD, FAKE])),
    st.builds(
        Request,
        st.just(EXECUTE),
        fails=fails,
        statements=st.sampled_from([("rows",), ("copy out",), ("empty",), ("suspended",)]),
        rows=rows,
    ),
)
# A Sync fails when the commit of the implicit transaction does.
sync = st.builds(Request, st.just(SYNC), fails=fails)
batch = st.tuples(st.lists(extended, max_size=5), sync).map(lambda parts: [*parts[0], parts[1]])
simple = st.one_of(
    st.builds(Request, st.just(QUERY), actions, fails=fails, statements=statements, rows=rows),
    st.builds(Request, st.just(FUNCTION), fails=fails),
    st.builds(Request, st.just(COPY_END)),  # without a copy
    st.just(Request(COPY_DATA)),
).map(lambda request: [request])

data = st.lists(st.builds(Request, st.just(COPY_DATA), fails=fails), max_size=2)
end = st.builds(Request, st.just(COPY_END), fails=fails)


@st.composite
def copy(draw: st.DrawFn) -> list[Request]:
    """A COPY as clients do it: simple, extended, and extended as libpq does, with a Sync in front of the data."""
    how = draw(st.sampled_from(["simple", "simple with Sync", "extended", "libpq"]))
    after = draw(st.sampled_from([(), ("rows",)]))
    if how.startswith("simple"):
        query = Request(QUERY, statements=("rows", "copy in", *after))
        ignored = [Request(SYNC)] if "Sync" in how else []
        # Bad data in front of a Sync could not be told from bad data behind it: that is `uncertain`.
        return [query, *[Request(COPY_DATA)] * len(ignored), *ignored, *draw(data), draw(end)]
    head = [Request(PARSE), Request(BIND), Request(EXECUTE, statements=("copy in",))]
    return [*head, *([Request(SYNC)] if how == "libpq" else []), *draw(data), draw(end), Request(SYNC)]


history = st.lists(st.one_of(batch, simple, copy()), max_size=12).map(lambda parts: [r for part in parts for r in part])


@settings(max_examples=400, deadline=None)
@given(history, st.data())
def test_nothing_is_owed_when_all_is_answered(requests: list[Request], choice: st.DataObject) -> None:
    """Client, server and wire take their turns in any order."""
    talk = Talk()
    waiting = deque(requests)
    pace = choice.draw(st.lists(st.sampled_from("csh"), min_size=1, max_size=20), label="turns")
    while waiting or talk.server.inbox or talk.server.said:
        for turn in pace:
            if turn == "c" and waiting:
                talk.send(waiting.popleft())
            elif turn == "s":
                talk.server.step()
            elif turn == "h" and talk.server.said:
                talk.hear()
        if waiting and "c" not in pace:
            talk.send(waiting.popleft())
        if "s" not in pace:
            talk.server.step()
        if "h" not in pace and talk.server.said:
            talk.hear()
    assert talk.outstanding.count == 0
    assert talk.outstanding.fakes == 0
    assert not talk.outstanding.copying
    assert talk.outstanding.skipping == talk.server.skipping


@settings(max_examples=200, deadline=None)
@given(history)
def test_every_named_parse_is_told_of_once_and_in_order(requests: list[Request]) -> None:
    talk = Talk()
    for request in requests:
        talk.send(request)
    talk.settle()
    told = [event for event in talk.outstanding.take_events() if event[0] == PARSE_NAMED]
    named = [request for request in requests if request.kind == PARSE_NAMED]
    assert len(told) == len(named)
    for (_, ident, done), request in zip(told, named, strict=True):
        assert ident in (request.ident, 0)
        assert not (ident == 0 and (done or request.action != FAKE))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.integers(0, 2), st.integers(0, 9)), max_size=200))
def test_whatever_is_pushed_and_answered_it_never_breaks(calls: list[tuple[int, int, int]]) -> None:
    owed = Outstanding()
    for kind, action, code in calls:
        owed.push(kind, action if kind in (PARSE_NAMED, CLOSE) else action % FAKE, kind)  # nothing else is forged
        owed.answer(b"ZECDG123nT"[code])
        owed.take_fake()
        pending = owed.pending()
        assert owed.count == len(pending)
        assert owed.fakes == sum(action == FAKE for _, action in pending)
        assert not (owed.skipping and owed.count)
