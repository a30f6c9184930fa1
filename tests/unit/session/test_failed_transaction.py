"""A session without a server: what it says to each message, step by step."""

# ruff: noqa: E501  (tables: a step is a line)

from __future__ import annotations

import pytest

from pgrouter.errors import ServerLost
from pgrouter.protocol import codes, messages
from pgrouter.session.failed_transaction import FailedTransaction, after_loss

LOST = ServerLost("gone")
ENDINGS = {b"rollback": "ROLLBACK", b"commit": "COMMIT", b"rollback; insert": "ROLLBACK", b"commit; insert": "COMMIT",
           b"commit and chain": "COMMIT"}  # fmt: skip
LEFT = "a server's"

QUERY, SYNC, FLUSH = codes.QUERY, codes.SYNC, codes.FLUSH
PARSE, BIND, DESCRIBE, EXECUTE, CLOSE = codes.PARSE, codes.BIND, codes.DESCRIBE, codes.EXECUTE, codes.CLOSE


class Statements:
    """Knows ROLLBACK and COMMIT, also as the prepared statements `r` and `c`."""

    def __init__(self) -> None:
        self.known = {b"r": "ROLLBACK", b"c": "COMMIT"}

    def ends(self, code: int, body: bytes) -> str:
        words = body.split(b"\0")
        if code in (BIND, DESCRIBE):
            return self.known.get(words[1] if code == BIND else words[0][1:], "")
        return ENDINGS.get(words[0] if code == QUERY else words[1], "")

    def goes_on(self, code: int, body: bytes) -> bool:
        words = body.split(b"\0")
        return code in (QUERY, PARSE) and b" " in words[0 if code == QUERY else 1]

    def define(self, body: bytes) -> bool:
        name, text = body.split(b"\0")[:2]
        if name and name in self.known:
            return False
        self.known[name] = ENDINGS[text]
        return True

    def close(self, body: bytes) -> None:
        if body[:1] == b"S":
            self.known.pop(body[1:-1], None)


def told(answer: bytes | None) -> str:
    """Write messages down: types, with SQLSTATEs and transaction states."""
    if answer is None:
        return LEFT
    words, at = [], 0
    while at < len(answer):
        size = 1 + int.from_bytes(answer[at + 1 : at + 5], "big")
        kind, body = chr(answer[at]), answer[at + 5 : at + size]
        detail = {"E": lambda b: messages.read_error(b)["C"], "Z": bytes.decode, "C": lambda b: b[:-1].decode()}
        words.append(kind + (detail[kind](body) if kind in detail else ""))
        at += size
    return " ".join(words)


def q(sql: bytes) -> tuple[int, bytes]:
    return QUERY, sql + b"\0"


def p(sql: bytes, name: bytes = b"") -> tuple[int, bytes]:
    return PARSE, name + b"\0" + sql + b"\0\0\0"


BOUND = (BIND, b"\0\0\0\0\0\0\0\0")
BOUND_R = (BIND, b"\0r\0\0\0\0\0\0\0")
BOUND_C = (BIND, b"\0c\0\0\0\0\0\0\0")
DONE = (EXECUTE, b"\0\0\0\0\0")
S: tuple[int, bytes] = (SYNC, b"")
H: tuple[int, bytes] = (FLUSH, b"")

STORIES = {
    "one error, and the session goes on": (
        {"error": LOST}, [(q(b"select 1"), "E08006 ZI", True)],
    ),
    "one error in the extended protocol": (
        {"error": LOST}, [(p(b"select 1"), "E08006", False), (BOUND, "", False), (DONE, "", False), (S, "ZI", True)],
    ),
    "a Flush is nothing": ({"error": LOST}, [(H, "", False), (p(b"x"), "E08006", False), (H, "", False), (S, "ZI", True)]),
    "a function call": ({"error": LOST}, [((codes.FUNCTION_CALL, b""), "E08006 ZI", True)]),
    "an answered error, the Sync still to come": (
        {"error": None, "skipping": True}, [(BOUND, "", False), (DONE, "", False), (q(b"x"), "", False), (S, "ZI", True)],
    ),
    "what a COPY still sends is ignored": (
        {"error": LOST}, [((codes.COPY_DATA, b"x"), "", False), ((codes.COPY_DONE, b""), "", False), (q(b"x"), "E08006 ZI", True)],
    ),
    "a lost transaction refuses until ROLLBACK": (
        {"error": None, "failed": True},
        [(q(b"select 1"), "E25P02 ZE", False), (q(b"insert"), "E25P02 ZE", False), (q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "COMMIT of a lost transaction is a ROLLBACK": (
        {"error": None, "failed": True}, [(q(b"commit"), "CROLLBACK ZI", True)],
    ),
    "lost while idle in a transaction: the next statement hears of it first": (
        {"error": LOST, "failed": True},
        [(q(b"select 1"), "E08006 ZE", False), (q(b"select 1"), "E25P02 ZE", False), (q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "lost while idle in a transaction: COMMIT must not look as if it had worked": (
        {"error": LOST, "failed": True}, [(q(b"commit"), "E08006 ZI", True)],
    ),
    "lost while idle in a transaction: ROLLBACK has what it wants": (
        {"error": LOST, "failed": True}, [(q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "lost while idle in a transaction: COMMIT in the extended protocol": (
        {"error": LOST, "failed": True},
        [(p(b"commit"), "1", False), (BOUND, "2", False), ((DESCRIBE, b"P\0"), "n", False), (DONE, "E08006", False),
         (DONE, "", False), (S, "ZI", True)],
    ),
    "lost while idle in a transaction: COMMIT by the name of a prepared statement": (
        {"error": LOST, "failed": True}, [(BOUND_C, "2", False), (DONE, "E08006", False), (S, "ZI", True)],
    ),
    "lost while idle in a transaction: a COMMIT that is only parsed has told nobody": (
        {"error": LOST, "failed": True},
        [(p(b"commit"), "1", False), (S, "ZE", False), (q(b"select 1"), "E08006 ZE", False),
         (q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "lost while idle in a transaction: ROLLBACK in the extended protocol": (
        {"error": LOST, "failed": True}, [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "COMMIT behind a statement that has heard of it": (
        {"error": LOST, "failed": True},
        [(p(b"select 1"), "E08006", False), (p(b"commit"), "", False), (BOUND, "", False), (DONE, "", False), (S, "ZE", False),
         (q(b"commit"), "CROLLBACK ZI", True)],
    ),
    "ROLLBACK in the extended protocol": (
        {"error": None, "failed": True},
        [(p(b"rollback"), "1", False), (BOUND, "2", False), ((DESCRIBE, b"P\0"), "n", False), (DONE, "CROLLBACK", False),
         (S, "ZI", True)],
    ),
    "ROLLBACK described as a statement": (
        {"error": None, "failed": True},
        [(p(b"rollback"), "1", False), ((DESCRIBE, b"S\0"), "t n", False), (BOUND, "2", False), (DONE, "CROLLBACK", False),
         ((CLOSE, b"P\0"), "3", False), (S, "ZI", True)],
    ),
    "ROLLBACK by the name of a prepared statement": (
        {"error": None, "failed": True}, [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "COMMIT prepared in one batch and executed in the next": (
        {"error": None, "failed": True},
        [(p(b"commit", b"x"), "1", False), (S, "ZE", False),
         ((BIND, b"\0x\0\0\0\0\0\0\0"), "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "ROLLBACK parsed without a name in one batch, described and executed in others": (
        {"error": None, "failed": True},
        [(p(b"rollback"), "1", False), (S, "ZE", False), ((DESCRIBE, b"S\0"), "t n", False), (S, "ZE", False),
         (BOUND, "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "a name that is taken": (
        {"error": None, "failed": True},
        [(p(b"commit", b"r"), "E42P05", False), (BOUND_R, "", False), (S, "ZE", False), ((CLOSE, b"Sr\0"), "3", False),
         (p(b"commit", b"r"), "1", False), (S, "ZE", False), (BOUND_R, "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "what is closed is no end any more": (
        {"error": None, "failed": True},
        [((CLOSE, b"Sr\0"), "3", False), (BOUND_R, "E25P02", False), (S, "ZE", False), (q(b"commit"), "CROLLBACK ZI", True)],
    ),
    "a portal ends with its batch": (
        {"error": None, "failed": True},
        [(BOUND_R, "2", False), (S, "ZE", False), (DONE, "E25P02", False), (S, "ZE", False), (q(b"commit"), "CROLLBACK ZI", True)],
    ),
    "what comes behind the end in its batch is a server's": (
        {"error": None, "failed": True}, [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (p(b"select 1"), LEFT, True)],
    ),
    "the same statement once more": (
        {"error": None, "failed": True}, [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (DONE, LEFT, True)],
    ),
    "a Query behind the end in a batch": (
        {"error": None, "failed": True}, [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (q(b"select 1"), LEFT, True)],
    ),
    "Close and Flush behind the end need no server": (
        {"error": LOST, "failed": True},
        [(BOUND_R, "2", False), (DONE, "CROLLBACK", False), (H, "", False), ((CLOSE, b"P\0"), "3", False), (S, "ZI", True)],
    ),
    "a Query that goes on behind the end is a server's as a whole": (
        {"error": None, "failed": True}, [(q(b"select 1"), "E25P02 ZE", False), (q(b"rollback; insert"), LEFT, True)],
    ),
    "a COMMIT that hears of the loss ends its Query": (
        {"error": LOST, "failed": True}, [(q(b"commit; insert"), "E08006 ZI", True)],
    ),
    "AND CHAIN": ({"error": None, "failed": True}, [(q(b"commit and chain"), LEFT, True)]),
    "AND CHAIN in the extended protocol": ({"error": None, "failed": True}, [(p(b"commit and chain"), LEFT, True)]),
    "AND CHAIN of what nobody has heard to be lost": (
        {"error": LOST, "failed": True}, [(p(b"commit and chain"), "E08006", False), (S, "ZE", False)],
    ),
    "anything else in the extended protocol": (
        {"error": None, "failed": True},
        [(p(b"select 1"), "E25P02", False), (BOUND, "", False), (DONE, "", False), (S, "ZE", False),
         (p(b"rollback"), "1", False), (BOUND, "2", False), (DONE, "CROLLBACK", False), (S, "ZI", True)],
    ),
    "a Bind that ends nothing": (
        {"error": None, "failed": True}, [(BOUND, "E25P02", False), (S, "ZE", False), (q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "a Sync alone says how things are": (
        {"error": None, "failed": True}, [(S, "ZE", False), (S, "ZE", False), (q(b"rollback"), "CROLLBACK ZI", True)],
    ),
    "a ROLLBACK that is parsed and not executed ends nothing": (
        {"error": None, "failed": True}, [(p(b"rollback"), "1", False), (BOUND, "2", False), (S, "ZE", False)],
    ),
    "an error in the batch skips its ROLLBACK": (
        {"error": None, "failed": True},
        [(p(b"select 1"), "E25P02", False), (p(b"rollback"), "", False), (BOUND, "", False), (DONE, "", False), (S, "ZE", False)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_limbo(story: str) -> None:
    arguments, steps = STORIES[story]
    transaction = FailedTransaction(statements=Statements(), **arguments)
    for (code, body), answer, over in steps:
        assert (told(transaction.on_message(code, body)), transaction.over) == (answer, over), chr(code)


PART, SIMPLE, END = 0, 1, 2


@pytest.mark.parametrize(
    ("owed", "arguments", "expected"),
    [
        ([], {}, ("", False, False)),
        ([(SIMPLE, True)], {}, ("E08006 ZI", True, False)),
        ([(SIMPLE, True)], {"failed": True}, ("E08006 ZE", True, False)),
        ([(PART, True), (PART, True), (END, True)], {}, ("E08006 ZI", True, False)),
        ([(PART, True), (PART, True)], {}, ("E08006", True, True)),
        ([(END, True)], {}, ("E08006 ZI", True, False)),
        ([(END, True)], {"skipping": True}, ("ZI", False, False)),
        ([(PART, True), (END, True), (PART, True), (END, True)], {}, ("E08006 ZI E08006 ZI", True, False)),
        ([(SIMPLE, False), (SIMPLE, True)], {}, ("E08006 ZI", True, False)),
        ([(PART, False), (PART, True), (END, True)], {}, ("E08006 ZI", True, False)),
        ([(SIMPLE, False)], {}, ("", False, False)),
        ([(PART, True), (SIMPLE, True), (END, True)], {}, ("E08006 ZI", True, False)),
        ([(SIMPLE, True)], {"failed": True, "over": True}, ("E08006 ZI", True, False)),
        ([(SIMPLE, True), (SIMPLE, True)], {"failed": True, "over": True}, ("E08006 ZE E08006 ZI", True, False)),
        ([(PART, True), (PART, True), (END, True)], {"failed": True, "over": True}, ("E08006 ZI", True, False)),
        ([(SIMPLE, True), (PART, True)], {"failed": True, "over": True}, ("E08006 ZE E08006", True, True)),
    ],
    ids=str,
)
def test_what_a_lost_server_owed(
    owed: list[tuple[int, bool]], arguments: dict[str, bool], expected: tuple[str, bool, bool]
) -> None:
    answer, said, skipping = after_loss(owed, LOST, **({"failed": False, "skipping": False} | arguments))
    assert (told(answer), said, skipping) == expected
