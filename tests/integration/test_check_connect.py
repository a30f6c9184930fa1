"""`pgrouter check --connect` on real servers: what works, and what is wrong in the servers' own words."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.router import static_cluster

from pgrouter.cli.main import main
from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg


@pytest.fixture
def check(
    streaming: StreamingCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    def run(users: str = f'"{USER}" "{PASSWORD}"\n', **more: Any) -> tuple[int, list[str]]:
        (tmp_path / "users.txt").write_text(users)
        settings = {
            "listen": [{"host": "127.0.0.1", "port": 0}],
            "cluster": static_cluster(streaming.servers),
            "auth": {"users_file": "users.txt"},
        } | more
        (tmp_path / "router.yml").write_text(yaml.safe_dump(settings))
        code = main(["check", "--connect", "--config", str(tmp_path / "router.yml")])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_everything_works(check: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = check()
    assert code == 0, lines
    assert all(line.startswith("ok ") for line in lines)
    assert "ok      writes: go to pg0" in lines
    assert "ok      reads: go to pg1, pg2" in lines
    assert f'ok      pg2: {USER}: logs in to "postgres"' in lines


def test_mistakes_are_told_in_the_words_of_who_refuses(
    check: Callable[..., tuple[int, list[str]]], streaming: StreamingCluster, tmp_path: Path
) -> None:
    secret = streaming.primary.sql("select rolpassword from pg_authid where rolname = 'postgres'")[0][0]
    streaming.standbys[1].stop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "cert.pem").write_text("no certificate")
        code, lines = check(
            f'"stranger" "pw"\n"known" "{secret}"\n',
            listen=[{"host": "127.0.0.1", "port": port}],
            http={"port": 0, "tls": {"cert": "cert.pem"}},
            pool={"size": 5000},
        )
    assert code == 1
    failed = [line.removeprefix("FAILED  ") for line in lines if line.startswith("FAILED")]
    assert f"listen[0]: 127.0.0.1:{port}: Address already in use" in failed
    assert any(line.startswith("http.tls: ") for line in failed)
    assert any(line.startswith("pg2 (127.0.0.1:") and "gets" not in line for line in failed)
    assert any(line.startswith("pg0: room: max_connections is ") for line in failed)
    for member in ("pg0", "pg1"):
        assert any(line.startswith(f"{member}: stranger: ") and "authentication failed" in line for line in failed)
    assert "ok      users: 1 others are not tried: their passwords are not in the file" in lines
    assert "ok      reads: go to pg1" in lines


def test_a_source_that_does_not_answer(check: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = check(cluster={"source": "etcd", "etcd": {"endpoints": ["127.0.0.1:1"], "scope": "none"}})
    assert code == 1
    assert any(line.startswith("FAILED  cluster.etcd: ") for line in lines)
