"""Which PostgreSQL and etcd are taken, with real files in a temporary directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgrouter.demo.binaries import NEEDED, find_etcd, find_postgres, is_program, probe_postgres
from pgrouter.demo.processes import DemoError

if TYPE_CHECKING:
    from pathlib import Path


def install(directory: Path, version: str) -> Path:
    """Put programs there that answer --version as PostgreSQL's do."""
    directory.mkdir()
    for name in NEEDED:
        program = directory / name
        program.write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        program.chmod(0o755)
    return directory


@pytest.mark.parametrize(("version", "major"), [("15.20 (Debian 15.20-0+deb12u1)", 15), ("17.10", 17), ("18beta1", 18)])
def test_the_version_is_asked_of_the_server(tmp_path: Path, version: str, major: int) -> None:
    found = probe_postgres(install(tmp_path / "bin", version), "here")
    assert found is not None
    assert (found.major, found.version, found.source) == (major, version.split(maxsplit=1)[0], "here")


def test_a_directory_that_lacks_a_program_is_passed_over(tmp_path: Path) -> None:
    directory = install(tmp_path / "bin", "17.1")
    (directory / "pg_rewind").unlink()
    assert probe_postgres(directory, "here") is None


def test_the_environment_goes_first_and_must_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGROUTER_PG_BIN", str(install(tmp_path / "bin", "99.1")))
    assert find_postgres().version == "99.1"
    monkeypatch.setenv("PGROUTER_PG_BIN", str(tmp_path))
    with pytest.raises(DemoError, match="PGROUTER_PG_BIN"):
        find_postgres()


def test_a_script_is_no_etcd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "etcd"
    script.write_text("#!/bin/sh\n")
    assert not is_program(script)
    assert is_program(find_etcd())
    monkeypatch.setenv("PGROUTER_ETCD", str(script))
    with pytest.raises(DemoError, match="PGROUTER_ETCD"):
        find_etcd()
