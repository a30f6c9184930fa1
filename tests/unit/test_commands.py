"""The command `pgrouter` where it is installed without extras."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgrouter.cli.main import main
from pgrouter.net.listening import every_address

if TYPE_CHECKING:
    import pytest


def test_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "pgrouter.cli.demo", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["demo", "--seconds", "1"]) == 1
    assert "pip install 'pgrouter[demo]'" in capsys.readouterr().err


def test_an_asterisk_is_every_address() -> None:
    hosts = every_address("127.0.0.1, 127.0.0.2,*,127.0.0.1", 1)
    assert hosts[:3] == ["127.0.0.1", "127.0.0.2", "0.0.0.0"]  # noqa: S104
    assert hosts[3:] in ([], ["::"])
    assert "127.0.0.1" in every_address("localhost", 1)
