"""The console of a process of the router's own system user on a Unix socket: no password, and all powers."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from support.rawclient import query, startup

from pgrouter.admin.console import Console
from pgrouter.errors import InvalidAuthorization
from pgrouter.proxy.arrival import is_own
from pgrouter.proxy.client import ClientConnection
from pgrouter.proxy.login_responder import LoginResponder

if TYPE_CHECKING:
    from support.desk import Desk


def login(desk: Desk, address: tuple[str, int], database: str = "pgrouter") -> tuple[ClientConnection, socket.socket]:
    client = ClientConnection(desk.poller, desk.registry, "split")
    client.address = address
    client.responder = LoginResponder(client, "disable", None)
    far_end = desk.plug(client)
    desk.registry.arrived(client)
    client.responder.on_bytes(startup(user="anybody", database=database))
    return client, far_end


def test_it_is_let_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client, far_end = login(desk, ("", 0))
    with pytest.raises(BlockingIOError):
        far_end.recv(1)  # it is asked for nothing
    Console.open(desk, client)
    assert far_end.recv(65536).startswith(b"R\0\0\0\x08\0\0\0\0")
    client.responder.on_bytes(query("RELOAD"))
    assert b"RELOAD\0" in far_end.recv(65536)
    assert desk.reloads == 1
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InvalidAuthorization):
        Console.open(desk, client)


def test_others_are_asked_for_a_password(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, database in ((("127.0.0.1", 5), "pgrouter"), (("", 0), "postgres")):
        _, far_end = login(desk, address, database)
        assert far_end.recv(65536).startswith(b"R")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    client, far_end = login(desk, ("", 0))
    assert not is_own(client)
    assert far_end.recv(65536).startswith(b"R\0\0\0\x17\0\0\0\x0a")  # SASL


def test_a_socket_that_only_claims_to_be_local(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as sock:
        client = desk.stranger()
        client.address = ("", 0)
        client.attach(sock.dup(), 1)
        assert not is_own(client)
        client.close()
