"""What the service manager is told, on a socket as systemd has it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pgrouter.notify import Watchdog, notify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("abstract", [False, True])
def test_who_asked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    name = f"@pgrouter{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0") if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


def test_a_manager_that_is_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")
    assert "cannot be told READY=1" in caplog.text


def test_the_watchdog_gets_a_sign_of_life_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        watchdog = Watchdog()
        for tenth in range(30):
            watchdog.tick(100 + tenth / 10)
        assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        monkeypatch.setenv("WATCHDOG_PID", "1")  # another process of the unit
        Watchdog().tick(200)
        monkeypatch.delenv("WATCHDOG_USEC")
        Watchdog().tick(200)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
