"""Plays the owner of a login without sockets: bytes in any pieces, and answers to what the login asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgrouter.auth.conversation import Conversation
from pgrouter.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

LONGEST = 256 * 1024


class Played:
    """A login, what it has asked for and sent, and how it has ended."""

    def __init__(self, steps: Generator[Any, Any, Any], answers: Mapping[str, Callable[[Any], Any]] | None) -> None:
        self.requests: list[str] = []  # names of their classes
        self.sent: list[bytes] = []  # what each send had
        self.error: RouterError | None = None
        self.unread = b""
        self._conversation = Conversation(steps, LONGEST)
        self._answers = answers or {}
        self._resume(None)

    @property
    def result(self) -> Any:
        """What the login has returned."""
        return self._conversation.result

    def hear(self, data: bytes) -> None:
        """Feed it with what its peer has sent."""
        self.unread += data
        while self._conversation.reads:
            size = self._conversation.size_at(self.unread, 0, len(self.unread))
            assert size >= 0
            if size == 0 or size > len(self.unread):
                break
            answer = self._conversation.read(self.unread, 0, size)
            self.unread = self.unread[size:]
            self._resume(answer)

    def _resume(self, answer: Any) -> None:
        try:
            while (request := self._conversation.resume(answer)) is not None and not isinstance(request, int):
                name = type(request).__name__
                self.requests.append(name)
                answer = self._answers[name](request) if name in self._answers else None
        except RouterError as error:
            self.error = error
        if out := self._conversation.sends():
            self.sent.append(out)


def play(
    steps: Generator[Any, Any, Any], pieces: Iterable[bytes], answers: Mapping[str, Callable[[Any], Any]] | None = None
) -> Played:
    """Feed a login with pieces of bytes; `answers` answer its requests, by the names of their classes (else None)."""
    played = Played(steps, answers)
    for piece in pieces:
        played.hear(piece)
    return played
