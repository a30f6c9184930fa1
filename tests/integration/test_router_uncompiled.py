"""Without a compiler the same files run as they are: the whole router, once, on real servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml
from support.router import static_cluster

import pgrouter
from pgrouter.demo.postgres import PASSWORD, USER
from pgrouter.demo.processes import until
from pgrouter.demo.router import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.demo.streaming import StreamingCluster

PROGRAM = "import sys; from pgrouter.cli.main import main; sys.exit(main())"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Copy the package without what a compiler has made of it."""
    package = Path(pgrouter.__file__).parent
    shutil.copytree(package, tmp_path / "pgrouter", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    return tmp_path


@pytest.fixture
def port(source: Path, streaming: StreamingCluster) -> Iterator[int]:
    users = source / "users.txt"
    users.write_text(f'"{USER}" "{PASSWORD}"\n')
    config = source / "pgrouter.yml"
    settings = {
        "listen": [{"host": "127.0.0.1", "port": 0}],
        "cluster": static_cluster(streaming.servers),
        "auth": {"type": "scram-sha-256", "users_file": str(users)},
    }
    config.write_text(yaml.safe_dump(settings))
    out, log = source / "out", source / "log"
    with out.open("w") as output, log.open("w") as errors:
        router = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "run", "--config", str(config)],
            cwd=source, env=os.environ | {"PYTHONPATH": str(source)}, stdout=output, stderr=errors,
        )  # fmt: skip
    try:
        until(lambda: READY.search(out.read_text()), 30, f"ready: {log.read_text()}")
        yield int(READY.search(out.read_text())[2])
    finally:
        router.terminate()
        assert router.wait(30) == 0
    assert "Traceback" not in log.read_text()


def test_it_says_so(source: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--version"],
        cwd=source, env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "compiled: no" in done.stdout


def test_it_works_as_the_compiled_one_does(port: int) -> None:
    with psycopg.connect(
        host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres", autocommit=True
    ) as c:
        c.execute("drop table if exists uncompiled")
        c.execute("create table uncompiled (a int, b text)")
        with c.cursor() as cursor:
            cursor.executemany("insert into uncompiled values (%s, %s)", [(i, "x" * i) for i in range(50)])
            with cursor.copy("copy uncompiled from stdin") as copy:
                for i in range(50, 2000):
                    copy.write_row((i, "y" * (i % 100)))
        count = "/* pgrouter: primary */ select count(*) from uncompiled where a < %s"
        assert [c.execute(count, (n,), prepare=True).fetchone() for n in (10, 1000, 5000)] == [(10,), (1000,), (2000,)]
        with c.pipeline():
            answers = [c.execute("select %s::int", (i,)) for i in range(100)]
            assert [answer.fetchone() for answer in answers] == [(i,) for i in range(100)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            c.execute("select 1/0")
        c.execute("set work_mem = '7MB'")
        assert c.execute("select current_setting('work_mem'), length(%s)", ("z" * 3_000_000,)).fetchone() == (
            "7MB",
            3_000_000,
        )
        assert len(c.execute("select repeat('r', 1000) from generate_series(1, 5000)").fetchall()) == 5000
        c.execute("drop table uncompiled")
