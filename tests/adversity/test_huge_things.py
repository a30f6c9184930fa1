"""A result of 200 MB, a query of 64 MB, a gigabyte of COPY each way, slow clients, a stalled server: 16 MB at most."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.front import peak_rss_mb, reset_peak, rss_mb
from support.rawclient import COPY_DONE, RawClient, message, query, sqlstate, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = [pytest.mark.pg, pytest.mark.slow, pytest.mark.timeout(900)]

MB = 1 << 20
LIMIT_MB = 16
LINE = b"1\t" + b"x" * 1021 + b"\n"  # a KiB
log = logging.getLogger("huge")


@pytest.fixture(autouse=True)
def _bounded(front: Router) -> Iterator[None]:
    """The router's memory never exceeds what it was before by the limit, and the figures are told."""
    with RawClient(front.port) as client:
        client.login()
        client.ask("select 1")
        client.ask("begin; commit")
    pid = front.process.pid
    reset_peak(pid)
    before = rss_mb(pid)
    yield
    after, peak = rss_mb(pid), peak_rss_mb(pid)
    log.warning("VmRSS %.1f MB before, %.1f after, VmHWM %.1f: %.1f more", before, after, peak, peak - before)
    assert peak - before < LIMIT_MB


def drain(client: RawClient, *, pauses: tuple[float, ...] = ()) -> int:
    """Receive up to a ReadyForQuery at the end, with pauses spread over the first 100 MB; gives the bytes received."""
    buffer = bytearray(1 << 18)
    total, tail, left = 0, b"", list(pauses)
    client.sock.settimeout(300)
    while not (tail.startswith(b"Z\0\0\0\5") and len(tail) == 6):
        size = client.sock.recv_into(buffer)
        assert size, "the connection has ended"
        total += size
        tail = (tail + buffer[max(0, size - 6) : size])[-6:]
        if left and total > (len(pauses) - len(left) + 1) * 20 * MB:
            time.sleep(left.pop())
    return total


def copy_in(client: RawClient, megabytes: int, piece: bytes, *, pause_s: float = 0.0) -> None:
    """Send so much of a COPY; nothing of it is kept on disk."""
    client.sock.settimeout(300)
    client.send(query("copy items from stdin where id = 0"))
    assert client.until("GE")[-1].code == "G"
    for number in range(megabytes * MB // len(piece)):
        client.send(piece)
        if pause_s and number % (200 * MB // len(piece)) == 5:
            client.send(piece[:1000])  # and in the middle of a message
            time.sleep(pause_s)
            client.send(piece[1000:])
    client.send(COPY_DONE)
    assert sqlstate(client.until_ready()) == ""


@pytest.mark.parametrize("pauses", [(), (2.0, 1.0, 2.0)], ids=["fast", "slow"])
@pytest.mark.parametrize("sql", [
    "select repeat('x', 1024) from generate_series(1, 200 * 1024)", "select repeat('x', 200 * 1024 * 1024)",
    "/*pgrouter: primary*/ select repeat('x', 1024 * 1024) from generate_series(1, 200)",
], ids=["many rows", "one value", "large rows"])  # fmt: skip
def test_a_result_of_200_mb(front: Router, sql: str, pauses: tuple[float, ...]) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(query(sql))
        assert drain(client, pauses=pauses) > 200 * MB


@pytest.mark.parametrize("pause_s", [0.0, 1.0], ids=["fast", "slow"])
def test_a_query_of_64_mb(front: Router, pause_s: float) -> None:
    text = query(f"select length('{'x' * (64 * MB)}')")
    with RawClient(front.port, timeout_s=120) as client:
        client.login()
        for at in range(0, len(text), 16 * MB):
            client.send(text[at : at + 16 * MB])
            time.sleep(pause_s)
        assert values(client.until_ready()) == [[str(64 * MB)]]


@pytest.mark.parametrize("pauses", [(), (3.0, 2.0)], ids=["fast", "slow"])
def test_a_gigabyte_copied_out(front: Router, pauses: tuple[float, ...]) -> None:
    with RawClient(front.port) as client:
        client.login()
        client.send(query("copy (select repeat('x', 1024) from generate_series(1, 1024 * 1024)) to stdout"))
        assert drain(client, pauses=pauses) > 1024 * MB


@pytest.mark.parametrize(("size", "pause_s"), [(1, 0.0), (64, 0.0), (8192, 0.0), (64, 1.0)])
def test_a_gigabyte_copied_in(front: Router, size: int, pause_s: float) -> None:
    """In messages of a KiB (a MiB of them to a send), of 64 KiB and of 8 MiB, and by a client that stops."""
    piece = message(b"d", LINE * size)
    if size == 1:
        piece *= 1024
    with RawClient(front.port) as client:
        client.login()
        copy_in(client, 1024, piece, pause_s=pause_s)


def test_a_server_that_stalls_in_the_middle_of_everything(front: Router, streaming: StreamingCluster) -> None:
    def out() -> None:
        with RawClient(front.port) as client:
            client.login()
            client.send(query("/*pgrouter: primary*/ select repeat('x', 1024) from generate_series(1, 200 * 1024)"))
            assert drain(client) > 200 * MB
        done.append("out")

    def into() -> None:
        with RawClient(front.port) as client:
            client.login()
            copy_in(client, 300, message(b"d", LINE * 64))
        done.append("into")

    def ask() -> None:
        with RawClient(front.port, timeout_s=120) as client:
            client.login()
            client.send(query(f"select length('{'x' * (64 * MB)}')"))
            assert values(client.until_ready()) == [[str(64 * MB)]]
        done.append("ask")

    done: list[str] = []
    threads = [threading.Thread(target=work) for work in (out, into, ask)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.3)
        streaming.primary.freeze()
        time.sleep(0.8)  # less than the monitor's patience: it stays the primary
        streaming.primary.thaw()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["ask", "into", "out"]
