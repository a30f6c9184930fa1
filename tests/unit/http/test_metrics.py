"""The metrics: what is in the table is written, and read back by prometheus_client's own parsers."""

from __future__ import annotations

import gc
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from pgrouter.config.settings import Http
from pgrouter.http.connection import HttpConnection
from pgrouter.metrics.exposition import AT_ONCE
from pgrouter.metrics.others import OTHERS
from pgrouter.metrics.table import METRICS
from pgrouter.server.states import ACTIVE, IDLE_STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Front
    from prometheus_client.metrics_core import Metric as Family

    from pgrouter.metrics.table import Metric

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
NAME = re.compile(r"pgrouter(_[a-z0-9]+)+")


class Values(dict[tuple[str, frozenset[str]], float]):
    """Samples by name and labels' values, in whatever order."""

    def __getitem__(self, key: tuple[str, tuple[str, ...]]) -> float:
        return super().__getitem__((key[0], frozenset(key[1])))

    def __contains__(self, key: tuple[str, tuple[str, ...]]) -> bool:
        return super().__contains__((key[0], frozenset(key[1])))


def read(front: Front, accept: str = "") -> tuple[list[Family], Values]:
    """Scrape: the families, and each sample's value by name and label values."""
    reply = front.get("/metrics", Accept=accept)
    assert reply.status == 200
    parse = openmetrics if accept else prometheus
    assert reply.headers["Content-Type"].startswith("application/openmetrics-text" if accept else "text/plain")
    families = list(parse(reply.body.decode()))
    samples = [sample for family in families for sample in family.samples]
    return families, Values({(one.name, frozenset(one.labels.values())): one.value for one in samples})


def fill(front: Front) -> None:
    """Give the router something to count."""
    desk = front.desk
    first, second = desk.client(), desk.client("bob", 'a "b"\\\n')
    for client in (first, second):
        client.session.pool.enter()
    desk.stranger()
    group = first.session.pool
    desk.server(group, "pg1", ACTIVE)
    desk.server(group, "pg2", IDLE_STATE)
    group.waiting.add(second.peer, desk.poller.now, False)
    group.waits.add(0.0004)
    group.waits.add(0.3)
    group.waits.add(99.0)
    group.wait_us = 99_300_400
    desk.registry.errors.add("server", "42P01")
    desk.registry.errors.add("server", "42P01")
    desk.registry.errors.add("login", "; drop")
    desk.registry.routes.add("read", True)
    first.session.pin = "LISTEN"
    desk.wait(2.5)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_values(front: Front, accept: str) -> None:
    fill(front)
    _, values = read(front, accept)
    pool = ("app", "alice")
    assert values["pgrouter_clients", ("idle",)] == 2
    assert values["pgrouter_clients", ("login",)] == 1
    assert values["pgrouter_pinned_clients", ("LISTEN",)] == 1
    assert values["pgrouter_pool_clients", ('a "b"\\\n', "bob")] == 1
    assert values["pgrouter_pool_waiting_clients", (*pool, "write")] == 1
    assert values["pgrouter_pool_max_wait_seconds", pool] == pytest.approx(2.5)
    assert values["pgrouter_pool_servers", (*pool, "active")] == 1
    assert values["pgrouter_pool_servers", (*pool, "idle")] == 1
    assert values["pgrouter_member_servers", ("pg2", "idle")] == 1
    assert values["pgrouter_member_lag_bytes", ("pg2",)] == 4096
    assert ("pgrouter_member_lag_bytes", ("pg3",)) not in values
    assert values["pgrouter_member_role", ("pg1", "primary")] == 1
    assert values["pgrouter_errors_total", ("server", "42P01")] == 2
    assert values["pgrouter_errors_total", ("login", "other")] == 1
    assert values["pgrouter_routed_total", ("replica", "read")] == 1
    assert values["pgrouter_writable", ()] == 1
    bucket = "pgrouter_pool_wait_seconds_bucket"
    assert [values[bucket, (*pool, bound)] for bound in ("0.001", "0.1", "0.5", "30.0", "+Inf")] == [1, 1, 2, 2, 3]
    assert values["pgrouter_pool_wait_seconds_count", pool] == 3
    assert values["pgrouter_pool_wait_seconds_sum", pool] == pytest.approx(99.3004)


def test_held_writes_and_times_without_a_primary(front: Front) -> None:
    fill(front)
    view = front.desk.monitor.view
    front.desk.monitor.reigns.follow(replace(view, primary=None), view, 1000.0)
    headless = replace(view, primary=None)
    front.desk.monitor.view = headless
    front.desk.monitor.reigns.follow(view, headless, front.desk.poller.now)
    front.desk.wait(3)
    _, values = read(front)
    assert values["pgrouter_held_writes", ()] == 1
    assert values["pgrouter_writable", ()] == 0
    assert values["pgrouter_without_primary_seconds_total", ()] == pytest.approx(3, abs=1)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_metric_is_written_once_with_its_help(open_front: Callable[..., Front], accept: str) -> None:
    front = open_front()
    use(front, "pgbouncer", "cnpg", "pgpool")
    fill(front)
    families, _ = read(front, accept)
    tables: list[Metric] = [*METRICS, *(metric for table in OTHERS.values() for metric in table)]
    wanted = {family_of(metric): metric for metric in tables}
    assert [family.name for family in families] == list(wanted)
    for family in families:
        metric = wanted[family.name]
        assert (family.documentation, family.type) == (metric.help, metric.kind)
        assert family.samples or family.name == "pgrouter_member_lag_seconds"  # nobody's is known here


def family_of(metric: Metric) -> str:
    """Return the name that parsers give a metric."""
    return metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name


def use(front: Front, *names: str) -> None:
    """Serve metrics under these names, too."""
    registry = front.desk.registry
    registry.reload(replace(registry.settings, http=Http(names=names)))


def test_the_names_of_others(front: Front) -> None:
    use(front, "pgbouncer", "cnpg", "pgpool")
    fill(front)
    _, values = read(front)
    assert values["pgbouncer_pools_client_waiting_connections", ("app", "alice")] == 1
    assert values["pgbouncer_pools_server_idle_connections", ("app", "alice")] == 1
    assert values["pgbouncer_stats_client_wait_seconds_total", ("app",)] == pytest.approx(99.3004)
    assert values["pgbouncer_lists_items", ("used_servers",)] == 1
    assert values["pgbouncer_databases_current_connections", ("app", "10.0.0.1", "5432", "app", "", "transaction")] == 2
    assert values["cnpg_pgbouncer_pools_sv_active", ("app", "alice")] == 1
    assert values["cnpg_pgbouncer_pools_maxwait_us", ("app", "alice")] == pytest.approx(500000, abs=1)
    assert values["cnpg_pgbouncer_lists_login_clients", ()] == 1
    assert values["pgpool2_pool_nodes_status", ("10.0.0.1", "5432", "primary")] == 0  # never probed


def test_many_pools_are_written_in_parts(front: Front) -> None:
    for number in range(3 * AT_ONCE):
        front.desk.client("u", f"db{number}")
    families, values = read(front)
    assert values["pgrouter_pools", ()] == 3 * AT_ONCE
    assert len({family.name for family in families}) == len(families)
    clients = next(family for family in families if family.name == "pgrouter_pool_clients")
    assert len(clients.samples) == 3 * AT_ONCE


MANY, MOST_S = 1000, 0.005


@pytest.mark.parametrize("open_front", [True], indirect=True)
def test_a_scrape_of_thousands_of_pools_holds_nobody_up(
    open_front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch
) -> None:
    front = open_front()
    use(front, "pgbouncer", "cnpg", "pgpool")
    for number in range(MANY):
        pool = front.desk.client("u", f"db{number}").session.pool
        front.desk.server(pool, "pg1", ACTIVE)
        pool.waits.add(0.01)
    spent: list[float] = []
    go_on = HttpConnection._go_on

    def timed(self: HttpConnection) -> None:
        begun = time.thread_time()  # other processes do not count
        go_on(self)
        spent.append(time.thread_time() - begun)

    monkeypatch.setattr(HttpConnection, "_go_on", timed)
    gc.collect()
    gc.freeze()  # as the router does: the collector does not visit what has been there before
    for _ in range(2):  # what is imported and cached at the first time is there at the second
        spent.clear()
        assert len(front.get("/metrics").body) > 3_000_000
    gc.unfreeze()
    assert len(spent) > 100
    assert max(spent) < MOST_S


def test_names_follow_the_rules_of_prometheus() -> None:
    for metric in METRICS:
        assert NAME.fullmatch(metric.name)
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
    names = [metric.name for table in (METRICS, *OTHERS.values()) for metric in table]
    assert len(set(names)) == len(names)


def test_the_documentation_has_every_metric() -> None:
    listed = dict(re.findall(r"^\| `(pgrouter_\w+)` \| (.*?) \|$", DOCS.read_text(), re.MULTILINE))
    wanted = {
        metric.name: f"{metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help}"
        for metric in METRICS
    }
    assert listed == wanted
