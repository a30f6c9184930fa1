"""Anything may come to the port: it gets a clear error or a closed socket, and everyone else goes on."""

from __future__ import annotations

import random
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from support.rawclient import (
    COPY_DONE,
    EXECUTE,
    FLUSH,
    SYNC,
    RawClient,
    bind,
    codes,
    extended,
    message,
    parse,
    query,
    sqlstate,
    startup,
    values,
)

if TYPE_CHECKING:
    from support.router import Router

pytestmark = [pytest.mark.pg, pytest.mark.usefixtures("bystander")]

SSL_REQUEST = struct.pack("!II", 8, 80877103)
LOGIN = startup(user="postgres", database="postgres")


def _short(value: bytes | str) -> str:
    return repr(value)[2:26]


# -- instead of a startup packet


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # a TLS hello without SSLRequest
    b"\0\0\0\x04\0\0\0\0",  # shorter than its own length
    b"\0\0\0\x08\0\2\0\0",  # protocol 2
    b"\0\0\0\x0b\0\3\0\0a\0b",  # not terminated
    b"\0\0\0\x09\0\3\0\0\0",  # no user
    b"\0\0\0\x0e\0\3\0\0user\0\0",  # an empty user, and the end is missing
    b"\x7f\xff\xff\xff\0\3\0\0",
    b"\xff\xff\xff\xff\0\3\0\0",
    b"\0\0\x27\x11\0\3\0\0" + bytes(10_000),  # one byte more than PostgreSQL takes
    SSL_REQUEST + b"certainly no TLS and no startup packet",
    SSL_REQUEST * 3 + b"\0\0\0\0\0\0\0\0",
    startup(4 << 16, user="postgres"),
    startup(user="postgres", database="postgres", replication="true"),
    startup(user="postgres", database="postgres", options="-z"),
    startup(user="\xff", database="postgres"),
], ids=_short)  # fmt: skip
def test_no_startup_packet(front: Router, garbage: bytes) -> None:
    with RawClient(front.port) as client:
        client.send(garbage)
        assert client.closed_within(3)


@pytest.mark.parametrize(("packet", "state"), [
    (startup(4 << 16, user="postgres"), "0A000"),
    (startup(user="postgres", database="postgres", replication="true"), "0A000"),
    (startup(database="postgres"), "28000"),
    (startup(user="postgres", database="nowhere"), "3D000"),
    (startup(user="nobody", database="postgres"), "28000"),
    (startup(user="postgres", database="postgres", TimeZone="Mars/Olympus"), "22023"),
    (startup(user="postgres", database="postgres", no_such_setting="1"), "42704"),
], ids=_short)  # fmt: skip
def test_a_login_that_is_refused_says_why(front: Router, packet: bytes, state: str) -> None:
    with RawClient(front.port) as client:
        client.send(packet)
        said = client.until_closed()
        if state == "28000" and b"nobody" in packet:
            assert sqlstate(said)[:2] == "28"
        else:
            assert sqlstate(said) == state
        assert next(m for m in said if m.code == "E").fields["S"] == "FATAL"


def test_ssl_and_gss_are_declined_and_the_login_goes_on(front: Router) -> None:
    with RawClient(front.port) as client:
        for request in (80877104, 80877103):
            client.send(struct.pack("!II", 8, request))
            assert client.sock.recv(1) == b"N"
        assert client.login()[-1].code == "Z"


def test_everything_in_one_packet_and_byte_by_byte(front: Router) -> None:
    talk = LOGIN + query("select 1") + extended("select 2") + SYNC + query("begin") + query("rollback")
    with RawClient(front.port) as client:
        client.send(talk)
        at_once = [said for _ in range(6) for said in client.until_ready()]
    with RawClient(front.port) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in talk:
            client.send(bytes([byte]))
            time.sleep(0.0005)
        slowly = [said for _ in range(6) for said in client.until_ready()]
    differ = "K"  # but for the key
    assert [m for m in slowly if m.code not in differ] == [m for m in at_once if m.code not in differ]
    assert codes(slowly).endswith("TDCZ12TDCZZCZCZ")


# -- after the login


@pytest.mark.parametrize("garbage", [
    b"!\0\0\0\x04", b"\0\0\0\0\0", b"Q\0\0\0\0", b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff", b"Q\x7f\xff\xff\xff",
    b"P\x7f\xff\xff\xff", b"d\xff\xff\xff\xff", b"Z\0\0\0\x05I", b"\xff" * 100, b"p\x7f\xff\xff\xff",
], ids=_short)  # fmt: skip
@pytest.mark.parametrize("where", ["idle", "in a transaction", "pinned", "in COPY", "failed"])
def test_a_frame_that_cannot_be_ends_the_connection(front: Router, garbage: bytes, where: str) -> None:
    with RawClient(front.port, timeout_s=20) as client:
        client.login()
        lead = {
            "in a transaction": "begin", "pinned": "listen news", "in COPY": "copy items from stdin",
            "failed": "begin; select 1/0",
        }  # fmt: skip
        if where in lead:
            client.send(query(lead[where]))
            client.until("GZ")
        client.send(garbage)
        if garbage[:1] in b"QPdp" and garbage[1:2] == b"\x7f":
            return  # PostgreSQL, too, waits for a message that may be 1 GB
        assert sqlstate(client.until_closed()) in ("08P01", "")


@pytest.mark.parametrize("frame", [
    query("select 1")[:-1] + b"x",  # no end of string
    message(b"Q"), message(b"P"), message(b"P", b"name only\0"), message(b"P", b"\0select 1\0"),
    message(b"P", b"\0select 1\0\xff\xff"), message(b"B"), message(b"B", b"\0\0"), message(b"B", b"\0\0\0\5"),
    message(b"B", b"p\0no such statement\0" + bytes(6)), message(b"D"), message(b"D", b"S"), message(b"D", b"X\0"),
    message(b"D", b"Sno such\0"), message(b"C"), message(b"C", b"X\0"), message(b"E"),
    message(b"E", b"no such\0\0\0\0\0"),
    message(b"F"), message(b"F", b"\0\0\0\1"), message(b"S", b"more"), message(b"H", b"more"),
    message(b"Q", b"select '\xff'\0"), message(b"P", b"\0select '\xff'\0\0\0"),
], ids=_short)  # fmt: skip
def test_a_message_that_makes_no_sense_is_answered_or_ends_the_connection(front: Router, frame: bytes) -> None:
    for lead in (b"", query("begin"), query("begin; select 1/0"), query("listen news")):
        with RawClient(front.port, timeout_s=20) as client:
            client.login()
            client.send(lead)
            if lead:
                client.until_ready()
            client.send(frame + SYNC)
            said = client.until_ready()
            client.send(SYNC + query("rollback") + query("select 7"))
            if said[-1].code == "Z":  # the session goes on, unless its next message was taken for a part of the frame
                rest = client.until("D")
                assert values(rest) == [["7"]] or sqlstate(rest)
            else:
                assert sqlstate(said) == "08P01"


def test_stray_copy_messages_are_ignored(front: Router) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(COPY_DONE + message(b"d", b"x" * 100_000) + message(b"f", b"why\0") + query("select 9"))
        assert values(client.until_ready()) == [["9"]]


@pytest.mark.parametrize("behind", [b"", query("select 7"), COPY_DONE + query("select 7") + query("select 8")])
@pytest.mark.parametrize("pinned", [False, True])
def test_half_a_message_of_a_copy_that_failed_keeps_its_server(front: Router, behind: bytes, pinned: bool) -> None:  # noqa: FBT001
    """What is sent ahead of the news is PostgreSQL's to swallow: nobody else may get its server before that."""
    late = message(b"d", b"2\ttwo\n")
    with RawClient(front.port) as client, RawClient(front.port) as other:
        for each in (client, other):
            each.login()
        if pinned:
            client.ask("create temp table mine (a int)")
        for cut in range(1, len(late)):
            client.send(query("copy items from stdin"))
            assert codes(client.until("G")) == "G"
            client.send(message(b"d", b"nonsense\n") + late[:cut])
            said = client.until_ready()
            assert (sqlstate(said), said[-1].body) == ("22P02", b"I")
            for _ in range(3):
                assert not sqlstate(other.ask("insert into items values (1, 'x')"))
            client.send(late[cut:] + behind)
            for number in range(behind.count(b"select")):
                assert values(client.until_ready()) == [[str(7 + number)]]
            assert values(client.ask("select 9")) == [["9"]]


def test_messages_of_authentication_after_the_login(front: Router) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(message(b"p", b"password\0"))
        said = client.until_closed()
        assert sqlstate(said) == "08P01"


def test_random_bytes_after_the_login(front: Router) -> None:
    dice = random.Random(4711)  # noqa: S311
    for _ in range(60):
        with RawClient(front.port) as client:
            client.login()
            frames = [query("select 1"), parse("select 1"), bind(), EXECUTE, SYNC, FLUSH, COPY_DONE]
            noise = bytearray(b"".join(dice.choices(frames, k=8)))
            for _ in range(dice.randrange(1, 6)):
                noise[dice.randrange(len(noise))] = dice.randrange(256)
            client.send(bytes(noise))
            client.sock.settimeout(0.02)
            try:
                while client.receive() is not None:
                    pass
            except TimeoutError:
                pass


# -- silence


def test_hundreds_of_silent_connections_do_not_stop_the_others(front: Router) -> None:
    silent = [RawClient(front.port) for _ in range(300)]
    try:
        with RawClient(front.port) as client:
            began = time.monotonic()
            client.login()
            assert values(client.ask("select 1")) == [["1"]]
            assert time.monotonic() - began < 5
    finally:
        for one in silent:
            one.close()
