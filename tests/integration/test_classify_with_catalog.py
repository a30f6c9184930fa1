"""`pgrouter classify --config`: the catalog of whichever member is the primary decides."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from support.router import static_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg


def test_functions_are_known(streaming: StreamingCluster, tmp_path: Path) -> None:
    streaming.primary.sql(
        "create or replace function reads() returns int language sql stable as 'select 1';"
        "create or replace function writes() returns int language sql volatile as 'select 1'"
    )
    config = tmp_path / "pgrouter.yml"
    config.write_text(yaml.safe_dump({"cluster": static_cluster(streaming.servers), "auth": {"type": "trust"}}))
    lines = "".join(json.dumps({"id": name, "sql": f"select {name}()"}) + "\n" for name in ("reads", "writes"))
    done = subprocess.run(
        [sys.executable, "-m", "pgrouter.cli.main", "classify", "--config", str(config)],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["id"], answer["route"]) for answer in answers] == [("reads", "replica"), ("writes", "primary")]
