"""psql, as people and scripts use it."""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.programs import run_program

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.router import Router

pytestmark = pytest.mark.pg


def psql(router: Router, script: str = "", *options: str) -> subprocess.CompletedProcess[str]:
    return run_program("psql", "-X", "-A", "-t", "-q", *options, router.dsn(), stdin=script)


def test_a_script_with_transactions_variables_and_meta_commands(front: Router) -> None:
    script = r"""
        \set three 3
        begin;
        insert into items select g, 'w' || g from generate_series(1, :three) g;
        select count(*), max(word) from items;
        commit;
        select id as picked from (select 7 as id) t \gset
        \echo picked :picked
        select 1 as a, now() as b, 'x'::text as c \gdesc
        select format('select %s', g) from generate_series(1, 3) g \gexec
        \if true
          \echo branch
        \endif
    """
    done = psql(front, script)
    assert done.stderr == ""
    assert done.stdout.split("\n") == [
        "3|w3", "picked 7", "a|integer", "b|timestamp with time zone", "c|text", "1", "2", "3", "branch", "",
    ]  # fmt: skip


def test_copy_in_and_out_through_files(front: Router, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = "".join(f"{i},word {i}\n" for i in range(5000))
    source.write_text(rows)
    script = rf"""
        \copy items from '{source}' with (format csv)
        begin;
        \copy (select * from items order by id) to '{target}' with (format csv)
        commit;
    """
    done = psql(front, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert target.read_text() == rows


def test_copy_from_stdin_inside_a_script(front: Router) -> None:
    done = psql(front, "begin;\ncopy items from stdin;\n1\tone\n2\ttwo\n\\.\nselect count(*) from items;\ncommit;\n")
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_several_statements_in_one_command_are_one_transaction(front: Router) -> None:
    done = psql(front, "", "-c", "insert into items values (1, 'a'); insert into items values (2, 'b'); select 1/0")
    assert "division by zero" in done.stderr
    done = psql(front, "", "-c", "begin; select count(*) from items; commit")
    assert done.stdout == "0\n"


def test_several_results_of_one_command_are_all_shown(front: Router) -> None:
    assert psql(front, "", "-c", "select 1; select 2; select 3").stdout == "1\n2\n3\n"
    assert psql(front, r"select 1 \; select 2 \; select 3;").stdout == "1\n2\n3\n"


@pytest.mark.parametrize(("stop", "code", "out"), [("0", 0, "after\n"), ("1", 3, "")])
def test_on_error_stop(front: Router, stop: str, code: int, out: str) -> None:
    done = psql(front, "select 1/0;\nselect 'after';\n", "-v", f"ON_ERROR_STOP={stop}")
    assert (done.returncode, done.stdout) == (code, out)
    assert "ERROR:  division by zero" in done.stderr


def test_the_places_of_errors_are_kept(front: Router) -> None:
    done = psql(front, "select nope\nfrom items;\n")
    assert "LINE 1: select nope" in done.stderr
    assert "               ^" in done.stderr


def test_the_catalog_by_backslash_commands(front: Router) -> None:
    done = psql(front, "\\d items\n\\dt\n\\l\n\\du\n\\conninfo\n")
    assert done.stderr == ""
    assert "word|text|||" in done.stdout
    assert "public|items|table|postgres" in done.stdout


def test_single_transaction_mode_undoes_everything(front: Router) -> None:
    done = psql(front, "insert into items values (1, 'a');\nselect 1/0;\n", "-1", "-v", "ON_ERROR_STOP=1")
    assert done.returncode == 3
    assert psql(front, "", "-c", "begin; select count(*) from items; commit").stdout == "0\n"


def test_a_fetch_count_reads_by_cursor(front: Router) -> None:
    done = psql(front, "\\set FETCH_COUNT 100\nselect sum(g) over () from generate_series(1, 1000) g;\n")
    assert done.stdout == "500500\n" * 1000


def test_notices_and_notifications_arrive(front: Router) -> None:
    script = """
        do $$ begin raise notice 'mind the gap'; end $$;
        listen news;
        notify news, 'extra extra';
    """
    done = psql(front, script)
    assert "NOTICE:  mind the gap" in done.stderr
    assert 'Asynchronous notification "news" with payload "extra extra" received' in done.stdout
