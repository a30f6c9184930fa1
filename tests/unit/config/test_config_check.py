"""The command line: check's contract, --version, and commands that do not know of each other."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import pgrouter
from pgrouter.cli.main import COMMANDS, main, version

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "cluster: {source: static, members: [{name: a, host: h}]}\nauth: {users_file: users.txt}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a file that is right."""
    (tmp_path / "users.txt").write_text('"joe" "pw"\n')
    path = tmp_path / "router.yml"
    path.write_text(GOOD)
    return path


def test_a_right_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    assert capsys.readouterr() == (f"{config}: ok\n", "")


def test_every_problem_is_a_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD + "pool: {size: x, mode: y}\n")
    assert main(["check", "--config", str(config)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{config}: pool.mode: expected one of transaction, session, statement; got 'y'",
        f"{config}: pool.size: expected int, got str",
    ]
    assert err == ""


def test_a_users_file_is_checked_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = config.parent / "users.txt"
    users.write_text('"joe" "hunter2"\njoe hunter2\n')
    assert main(["check", "--config", str(config)]) == 1
    out, _ = capsys.readouterr()
    assert out == f'{config}: auth.users_file: {users}:2: expected "user" "secret", both in double quotes\n'


def test_run_tells_a_wrong_file_in_the_same_words(config: Path) -> None:
    config.write_text(GOOD + "pool: {size: x}\n")
    command = [sys.executable, "-m", "pgrouter.cli.main", "run", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, f"{config}: pool.size: expected int, got str\n")


def test_version_says_what_decides_how_it_behaves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == version().splitlines()
    assert lines[0] == f"pgrouter {pgrouter.__version__}"
    assert lines[1].startswith("compiled: yes" if pgrouter.COMPILED else "compiled: no")
    assert lines[2].startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}")
    assert lines[3].startswith("PostgreSQL parser 1")


def test_version_enters_no_room_above_the_ground_floors() -> None:
    script = (
        "import sys; from pgrouter.cli.main import main; main(['--version']);"
        "print([name for name in sys.modules if name.startswith(('pgrouter.app', 'pgrouter.auth', 'pgrouter.proxy',"
        "'pgrouter.cluster', 'pgrouter.config', 'pgrouter.routing', 'psycopg', 'etcd3gw', 'asyncio'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [[], ["nonsense"], ["check"], ["check", "--what"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: pgrouter" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert f"    {command} " in capsys.readouterr().out
