"""Connections that have not proved who they are: who makes room, who has been silent for too long."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pgrouter.config.settings import PoolSettings
from pgrouter.proxy.strangers import LEAST, LOOKED_AT, Strangers

if TYPE_CHECKING:
    from pgrouter.errors import RouterError


class Heard:
    """A descriptor of which somebody has said something, or nothing yet."""

    def __init__(self, said: bytes = b"") -> None:
        self._fd, writes = os.pipe()
        os.write(writes, said)

    def fileno(self) -> int:
        return self._fd


SILENT, SPEAKING = Heard(), Heard(b"x")


@dataclass
class Client:
    client_id: int
    responder: SimpleNamespace | None = field(default_factory=lambda: SimpleNamespace(asked_at=5.0))
    put_aside: bool = False
    sock: Heard = field(default_factory=lambda: SILENT)
    errors: list[RouterError] = field(default_factory=list)

    def violation(self, error: RouterError) -> None:
        self.errors.append(error)


def strangers(limit: int, step_s: float = 3.0) -> Strangers:
    made = Strangers()
    made.limit(PoolSettings(max_logins=limit, login_step_timeout_s=step_s))
    return made


def gone(clients: list[Client]) -> list[int]:
    return [client.client_id for client in clients if client.errors]


def arrive(those: Strangers, clients: list[Client]) -> None:
    """Let clients arrive; who is closed leaves, as the registry sees to."""
    for client in clients:
        those.add(client)
        for one in clients:
            if one.errors:
                those.remove(one)


@pytest.mark.parametrize(("wanted", "clients", "limit"), [(None, 1000, 1000), (None, 3, LEAST), (7, 1000, 7)])
def test_the_limit(wanted: int | None, clients: int, limit: int) -> None:
    those = Strangers()
    those.limit(PoolSettings(max_logins=wanted, max_clients=clients))
    everybody = [Client(number) for number in range(limit + 1)]
    arrive(those, everybody)
    assert gone(everybody) == [0]
    assert len(those) == limit


def test_the_oldest_silent_one_goes_with_an_error() -> None:
    everybody = [Client(number) for number in range(6)]
    everybody[0].put_aside = True  # it has said something that waits for its turn
    everybody[1].responder.asked_at = -1.0  # it waits for us
    everybody[2].sock = SPEAKING  # it has said something that was not read yet
    arrive(strangers(4), everybody)
    assert gone(everybody) == [3, 4]
    assert [error.sqlstate for error in everybody[3].errors] == ["53300"]


def test_who_waits_for_the_router_is_never_pushed_out() -> None:
    waiting = [Client(number, SimpleNamespace(asked_at=-1.0)) for number in range(40)]
    those = strangers(40)
    arrive(those, waiting)
    late = Client(99)
    those.add(late)
    assert gone([*waiting, late]) == [99]


def test_a_silent_one_behind_many_that_wait_is_found_in_the_end() -> None:
    waiting = [Client(number, SimpleNamespace(asked_at=-1.0)) for number in range(3 * LOOKED_AT)]
    silent = Client(100)
    those = strangers(len(waiting) + 1)
    arrive(those, [*waiting, silent])
    late = [Client(200 + number) for number in range(5)]
    for client in late:
        those.add(client)
    assert gone(waiting) == []
    assert silent.errors or late[0].errors
    assert sum(map(bool, gone(late))) < len(late)


def test_silence_is_limited_and_our_own_is_not() -> None:
    those = strangers(10)
    silent, served, known = Client(1), Client(2, SimpleNamespace(asked_at=-1.0)), Client(3)
    arrive(those, [silent, served, known, Client(4, None)])
    those.remove(known)
    assert not those.late(silent, 8.0)
    assert [those.late(client, 8.5) for client in (silent, served, known)] == [True, False, False]
    those.limit(PoolSettings(login_step_timeout_s=0.0))
    assert not those.late(silent, 1e6)
