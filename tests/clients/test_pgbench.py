"""pgbench: its four ways to speak, and TPC-B with the books balanced on every member."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.programs import run_program

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

UNFAIR = 0.05  # what replicas may differ by


@pytest.fixture
def bench(front: Router, streaming: StreamingCluster) -> Router:
    if not streaming.primary.sql("select to_regclass('pgbench_accounts')")[0][0]:
        done = run_program("pgbench", "-i", "-s", "1", "-q", front.dsn())  # through the router, too
        assert done.returncode == 0, done.stderr
    streaming.wait_caught_up()
    return front


def run(router: Router, *options: str) -> int:
    """Run pgbench, of which nothing may fail; gives the number of transactions."""
    done = run_program("pgbench", "-n", "-c", "8", "-j", "2", *options, router.dsn())
    assert done.returncode == 0, done.stderr
    assert "number of failed transactions: 0 (0.000%)" in done.stdout
    assert "aborted" not in done.stderr
    return int(re.findall(r"transactions actually processed: (\d+)", done.stdout)[0])


def sent(router: Router) -> dict[str, int]:
    return {row["name"]: row["xact_count"] for row in router.admin("SHOW CLUSTER")}


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_reads_are_spread_evenly(bench: Router, protocol: str) -> None:
    run(bench, "-S", "-M", protocol, "-t", "250")  # until it has connected, a replica's turns go to the other
    before = sent(bench)
    done = run(bench, "-S", "-M", protocol, "-t", "250")
    grown = {name: count - before[name] for name, count in sent(bench).items()}
    assert done == 2000
    assert abs(grown["pg1"] - grown["pg2"]) <= UNFAIR * max(grown["pg1"], grown["pg2"])
    assert grown["pg1"] + grown["pg2"] >= done
    assert grown["pg0"] <= 8  # what pgbench asks when it begins


def test_reads_are_spread_evenly_as_the_servers_count_them(
    bench: Router, router: RouterFactory, streaming: StreamingCluster
) -> None:
    def scans() -> list[int]:
        sql = "select coalesce(idx_scan, 0) from pg_stat_user_tables where relname = 'pgbench_accounts'"
        return [server.sql(sql)[0][0] for server in streaming.servers]

    before = scans()
    own = router(bench.settings)
    with own.connect() as first:
        known = b"explain route select * from pgbench_accounts"
        until(lambda: "replica" in first.execute(known, prepare=False).fetchone()[0], 30, "the catalog is known")
    done = run(own, "-S", "-T", "2")
    own.stop()  # a backend's counts are complete when it ends
    until(lambda: sum(scans()) - sum(before) >= done, 30, "all scans counted")
    grown = [now - then for now, then in zip(scans(), before, strict=True)]
    assert grown[0] == 0
    assert abs(grown[1] - grown[2]) <= UNFAIR * max(grown)


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_tpc_b_balances_on_every_member(bench: Router, streaming: StreamingCluster, protocol: str) -> None:
    assert run(bench, "-M", protocol, "-t", "60") == 480
    streaming.wait_caught_up()
    sql = """
        select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
               (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)
    """
    books = [server.sql(sql)[0] for server in streaming.servers]
    assert len(set(books)) == 1
    assert len(set(books[0])) == 1


def test_a_connection_per_transaction(bench: Router) -> None:
    assert run(bench, "-S", "-C", "-t", "20") == 160


def test_a_script_of_mixed_transactions(bench: Router, tmp_path: Path) -> None:
    script = tmp_path / "mixed.sql"
    script.write_text(
        "\\set id random(1, 1000)\n"
        "select abalance from pgbench_accounts where aid = :id;\n"
        "begin;\n"
        "update pgbench_accounts set abalance = abalance where aid = :id;\n"
        "select abalance from pgbench_accounts where aid = :id;\n"
        "end;\n"
        "begin transaction read only;\n"
        "select count(*) from pgbench_branches;\n"
        "end;\n"
    )
    assert run(bench, "-M", "prepared", "-f", str(script), "-t", "40") == 320
    assert run(bench, "-f", str(script), "-t", "40") == 320


def test_no_write_reached_a_replica(bench: Router, streaming: StreamingCluster) -> None:
    before = {standby: len(standby.log.read_text()) for standby in streaming.standbys}
    run(bench, "-t", "20")
    for standby, length in before.items():
        assert "cannot execute" not in standby.log.read_text()[length:]
