"""Patroni's own planned switchover under load: nobody who is between transactions gets an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.load import TABLE, Load
from support.members import Writers
from support.router import patroni_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from support.router import Router, RouterFactory

    from pgrouter.demo.patroni import PatroniCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.fixture
def front(router: RouterFactory, patroni: PatroniCluster) -> Router:
    made = router({"cluster": patroni_cluster(patroni)})
    patroni.require_leader().sql(TABLE)
    until(lambda: all(m.sql("select to_regclass('written')") != [(None,)] for m in patroni.members), 30, "the table")
    return made


@pytest.mark.parametrize("turns", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_switchover_costs_no_client_an_error(front: Router, patroni: PatroniCluster, turns: int) -> None:
    with Writers(patroni) as direct, Load(front, writers=8) as load:
        for _ in range(turns):
            load.wait_progress()
            old, began_s = patroni.require_leader(), time.monotonic()
            new = patroni.switchover()
            load.wait_progress(60)
            (stopped_s, began_again_s), (last_s, first_s) = (
                load.longest_pause(began_s), direct.pause(old.name, new.name, began_s)
            )  # fmt: skip
            early_s, late_s = last_s - stopped_s, began_again_s - first_s
            print(  # noqa: T201 - shown by pytest -rP
                f"Patroni's own pause {first_s - last_s:.2f} s, held {early_s:.3f} s before, "
                f"let go {late_s:.3f} s after"
            )
            assert early_s + late_s < 1.5  # 0.3 s on idle cores
            patroni.wait_healthy()
    assert not load.errors, load
    assert not load.lost, load
    assert not load.missing(patroni.require_leader().sql("select * from written")), load
