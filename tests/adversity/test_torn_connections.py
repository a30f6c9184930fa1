"""Connections that are torn down at every stage, before the router could read what they sent."""

from __future__ import annotations

import random
import struct
import time
from typing import TYPE_CHECKING

import pytest
from support.front import rss_mb
from support.rawclient import RawClient, extended, query, startup

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.usefixtures("bystander")]

SSL_REQUEST = struct.pack("!II", 8, 80877103)
LOGIN = startup(user="postgres", database="postgres")


def test_connections_torn_down_at_every_byte_of_a_talk(front: Router) -> None:
    talk = SSL_REQUEST + LOGIN + query("begin") + extended("insert into items values (1, 'x')") + query("commit")
    for cut in range(0, len(talk), 3):
        client = RawClient(front.port)
        client.send(talk[:cut])
        if cut % 2:
            time.sleep(0.002)
        client.reset()
    until(lambda: len(front.admin("SHOW CLIENTS")) == 2, 30, "all gone but ourselves and the bystander")


def test_connections_torn_down_at_once(front: Router) -> None:
    for _ in range(200):
        RawClient(front.port).reset()
    until(lambda: len(front.admin("SHOW CLIENTS")) == 2, 30, "all gone but ourselves and the bystander")


def test_garbage_leaves_no_memory_behind(front: Router) -> None:
    dice = random.Random(1)  # noqa: S311

    def round_of(count: int) -> None:
        for number in range(count):
            client = RawClient(front.port)
            if number % 3 == 0:
                client.send(dice.randbytes(2000))
            elif number % 3 == 1:
                client.send(LOGIN + b"Q\x7f\xff\xff\xff" + dice.randbytes(50_000))
            else:
                client.send(LOGIN + query("select 1")[:-3])
            client.close()
        until(lambda: len(front.admin("SHOW CLIENTS")) == 2, 30, "all gone")

    round_of(150)
    before = rss_mb(front.process.pid)
    round_of(500)
    assert rss_mb(front.process.pid) - before < 3
