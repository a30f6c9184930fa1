"""What SHOW shows, of real hubs, pools and connections."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pgrouter.admin.result import data_row, encoders, row_description
from pgrouter.admin.views import VIEWS
from pgrouter.admin.views.config import ALIASES
from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.server.states import ACTIVE, CLOSED, DIALLING, IDLE_STATE, LOGGING_IN, RESETTING
from pgrouter.topology import Role

if TYPE_CHECKING:
    from support.desk import Desk

    from pgrouter.admin.result import Value
    from pgrouter.proxy.client import ClientConnection

OIDS = {"text": 25, "int4": 23, "int8": 20, "numeric": 1700}
EMPTY = {"PEERS", "PEER_POOLS", "DNS_HOSTS", "DNS_ZONES", "ACTIVE_SOCKETS"}  # of the crowd below


def pgbouncers_views() -> dict[str, list[tuple[str, int]]]:
    """Give the columns of PgBouncer's views: names and types."""
    lines = Path(__file__).with_name("pgbouncer_columns.txt").read_text().splitlines()
    views = (line.split() for line in lines if line[0] != "#")
    return {view: [(name, OIDS[kind]) for name, _, kind in (c.partition(":") for c in found)] for view, *found in views}


PGBOUNCER = pgbouncers_views()


def show(desk: Desk, view: str, client: ClientConnection | None = None) -> list[dict[str, Value]]:
    """Give the rows of a view by column."""
    names = [column.name for column in VIEWS[view].columns]
    return [dict(zip(names, row, strict=True)) for row in VIEWS[view].rows(desk.context(client)) if row is not None]


def crowd(desk: Desk) -> None:
    """Fill a router with connections in every state there is."""
    for database in ("app", "other"):
        statements = desk.registry.databases.get(database).statements(None)
        statements.lookup(b"select 1", 0, 8).verdict.usage.add(0.25, True)
    desk.history.note("reload", "configuration reloaded")
    desk.stranger()
    desk.client("boss", "pgrouter", console=True)
    desk.client("half", console=True)  # admitted, but its pools are not known yet
    reader, waiter, idler = desk.client(), desk.client(), desk.client("bob")
    group = reader.session.pool
    for state in (DIALLING, LOGGING_IN, IDLE_STATE, RESETTING, ACTIVE):
        desk.server(group, "pg2", state)
    linked = desk.server(group, "pg2", ACTIVE)
    reader.link.begin(linked)
    reader.link.batch.send_to(True, "read")
    waiter.waiting = True
    group.waiting.add(waiter.peer, desk.poller.now, False)
    idler.session.pin = "LISTEN"
    shared = desk.registry.databases.get("app").shared.acquire(b"select $1\0\0\0", None)
    idler.session.statements.named[b"s"] = shared
    linked.session.prepared[shared.ident] = shared
    desk.registry.routes.add("read", True, 3)
    desk.wait(1.5)


@pytest.mark.parametrize("view", sorted(PGBOUNCER))
def test_columns_begin_as_in_pgbouncer_in_name_and_type(view: str) -> None:
    expected = PGBOUNCER[view]
    assert [(column.name, column.type.oid) for column in VIEWS[view].columns][: len(expected)] == expected


@pytest.mark.parametrize("view", sorted(VIEWS))
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_every_view_gives_rows_of_its_columns(desk: Desk, view: str, *, binary: bool, full: bool) -> None:
    if full:
        crowd(desk)
    columns = VIEWS[view].columns
    formats = (int(binary),) * len(columns)
    assert row_description(columns, formats).count(b"\0") > len(columns)
    rows = [data_row(encoders(columns, formats), row) for row in VIEWS[view].rows(desk.context()) if row is not None]
    assert rows or not full or view in EMPTY
    assert all(row[5:7] == len(columns).to_bytes(2, "big") for row in rows)


def test_cluster_shows_members_as_the_view_has_them(desk: Desk) -> None:
    leader, replica, lost = show(desk, "CLUSTER")
    assert (leader["name"], leader["role"], leader["leader"], leader["writable"]) == ("pg1", "primary", True, True)
    assert (replica["lag_bytes"], replica["readable"], replica["tags"]) == (4096, True, "zone=b clonefrom=true")
    assert (lost["role"], lost["timeline"], lost["reason"]) == ("unknown", None, "it does not answer")


def test_cluster_says_in_each_row_who_is_followed(desk: Desk) -> None:
    desk.monitor.source_name = "etcd"
    desk.monitor.view = replace(desk.monitor.view, dcs_reachable=False, paused=True, standby=True)
    desk.monitor.dcs_since_s = desk.poller.now - 90
    for row in show(desk, "CLUSTER"):
        assert (row["source"], row["dcs_reachable"]) == ("etcd", False)
        assert (row["paused"], row["standby_cluster"]) == (True, True)
        assert str(row["dcs_time"]).endswith("UTC")
    state = {row["key"]: row["value"] for row in show(desk, "STATE")}
    assert (state["source"], state["dcs_reachable"], state["dcs_seconds"]) == ("etcd", "no", "90")
    assert (state["cluster_paused"], state["standby_cluster"], state["members"]) == ("yes", "yes", "3")


def test_cluster_says_what_a_member_hides(desk: Desk) -> None:
    desk.monitor.probes["pg2"] = Probe(report=ServerReport(role=Role.REPLICA, system_id="7", timeline=1, unseen="much"))
    assert [row["unseen"] for row in show(desk, "CLUSTER")] == ["", "much", ""]


def test_cluster_sums_a_member_over_its_pools(desk: Desk) -> None:
    for user in ("alice", "bob"):
        group = desk.client(user).session.pool
        server = desk.server(group, "pg2", IDLE_STATE)
        server.xacts, server.queries = 2, 5
        desk.server(group, "pg2", DIALLING)
    _, replica, _ = show(desk, "CLUSTER")
    assert (replica["xact_count"], replica["query_count"]) == (4, 10)
    assert (replica["sv_active"], replica["sv_idle"], replica["sv_login"]) == (0, 2, 2)


def test_totals_of_a_member_survive_its_connections(desk: Desk) -> None:
    group = desk.client().session.pool
    server = desk.server(group, "pg1", IDLE_STATE)
    server.xacts, server.queries = 2, 5
    server.owner.move(server, CLOSED)
    leader = show(desk, "CLUSTER")[0]
    assert (leader["xact_count"], leader["query_count"], leader["sv_idle"]) == (2, 5, 0)


def test_pools_count_clients_and_servers_by_state(desk: Desk) -> None:
    crowd(desk)
    alice, bob = show(desk, "POOLS")
    assert (alice["database"], alice["user"], bob["user"]) == ("app", "alice", "bob")
    assert (alice["cl_active"], alice["cl_waiting"], bob["cl_active"]) == (1, 1, 1)
    states = ("sv_active", "sv_idle", "sv_tested", "sv_login")
    assert [alice[state] for state in states] == [2, 1, 1, 2]
    assert (alice["maxwait"], alice["maxwait_us"]) == (1, 500_000)
    assert (bob["maxwait"], bob["maxwait_us"], bob["pool_mode"]) == (0, 0, "transaction")


def test_a_client_whose_login_waits_is_waiting_not_active(desk: Desk) -> None:
    client = desk.client()
    desk.registry.logging_in[client.client_id] = client
    client.session.pool.waiting.logins.append((client.peer, desk.poller.now))
    (pool,) = show(desk, "POOLS")
    assert (pool["cl_active"], pool["cl_waiting"]) == (0, 1)


def test_clients_say_what_they_do(desk: Desk) -> None:
    crowd(desk)
    rows = show(desk, "CLIENTS")
    by_state = {row["state"]: row for row in rows}
    assert [row["state"] for row in rows] == ["idle", "idle", "active", "waiting", "idle", "login"]
    assert (by_state["login"]["user"], by_state["login"]["database"]) == (None, None)
    assert (by_state["waiting"]["wait"], by_state["waiting"]["wait_us"]) == (1, 500_000)
    assert by_state["active"]["route"] == "replica: read"
    assert by_state["active"]["link"].startswith("S-")
    assert rows[4]["pin"] == "LISTEN"
    assert rows[4]["prepared_statements"] == 1


def test_the_console_that_asks_is_active(desk: Desk) -> None:
    client = desk.client("boss", "pgrouter", console=True)
    assert [row["state"] for row in show(desk, "CLIENTS", client)] == ["active"]


def test_times_are_of_the_wall(desk: Desk) -> None:
    desk.client()
    desk.wait(60.0)
    assert show(desk, "CLIENTS")[0]["connect_time"] == "2023-11-14 22:12:20 UTC"


def test_servers_say_whom_they_serve(desk: Desk) -> None:
    crowd(desk)
    rows = show(desk, "SERVERS")
    assert [row["state"] for row in rows] == ["new", "login", "idle", "tested", "active", "active"]
    assert {(row["member"], row["addr"], row["port"]) for row in rows} == {("pg2", "10.0.0.2", 5433)}
    assert rows[-1]["link"].startswith("C-")
    assert rows[-1]["application_name"] == "psql"
    assert rows[-1]["remote_pid"] is None


def test_a_server_kept_for_a_cancel_request_is_being_canceled(desk: Desk) -> None:
    server = desk.server(desk.client().session.pool, "pg1", ACTIVE)
    server.cancels = 1
    assert show(desk, "SERVERS")[0]["state"] == "being_canceled"
    assert show(desk, "POOLS")[0]["sv_being_canceled"] == 1


def test_lists_count_everything_once(desk: Desk) -> None:
    crowd(desk)
    lists = {row["list"]: row["items"] for row in show(desk, "LISTS")}
    assert (lists["databases"], lists["users"], lists["pools"], lists["members"]) == (1, 2, 2, 3)
    assert (lists["used_clients"], lists["login_clients"]) == (5, 1)
    assert (lists["free_servers"], lists["used_servers"], lists["prepared_statements"]) == (1, 5, 1)


def test_databases_and_users(desk: Desk) -> None:
    crowd(desk)
    databases = {row["name"]: row for row in show(desk, "DATABASES")}
    assert list(databases) == ["app", "pgrouter", "pgbouncer"]
    assert (databases["app"]["host"], databases["app"]["port"]) == ("10.0.0.1", 5432)
    assert (databases["app"]["current_connections"], databases["app"]["current_client_connections"]) == (6, 4)
    assert databases["pgrouter"]["current_client_connections"] == 1
    users = {row["name"]: row for row in show(desk, "USERS")}
    assert (users["alice"]["current_connections"], users["alice"]["current_client_connections"]) == (6, 2)


def test_routes_are_sorted_by_frequency(desk: Desk) -> None:
    for reason, reads, times in (("write", False, 2), ("read", True, 40), ("ddl", False, 2)):
        desk.registry.routes.add(reason, reads, times)
    rows = [tuple(row.values()) for row in show(desk, "ROUTES")]
    assert rows == [("replica", "read", 40), ("primary", "ddl", 2), ("primary", "write", 2)]


def test_cache_counts_hits_and_misses(desk: Desk) -> None:
    for sql in (b"select 1", b"select 2", b"select 'x'"):
        desk.registry.databases.get("app").statements("alice").lookup(sql, 0, len(sql))
    cache = {row["item"]: row["value"] for row in show(desk, "CACHE")}
    assert cache["hits"] + cache["misses"] == 3
    assert cache["hits"] >= 1
    assert cache["statements"] == cache["misses"]
    assert 0 < cache["used_bytes"] < cache["max_bytes"]


def test_prepared_statements_are_listed_once_with_their_text(desk: Desk) -> None:
    crowd(desk)
    (statement,) = show(desk, "PREPARED")
    assert (statement["text"], statement["users"], statement["servers"]) == ("select $1", 1, 1)


def test_config_hides_secrets(desk: Desk) -> None:
    rows = show(desk, "CONFIG")
    config = {row["key"]: row for row in rows}
    assert config["cluster.monitor.password"]["value"] == "********"
    assert not any("s3cret" in str(value) for row in rows for value in row.values())


def test_config_speaks_of_settings_by_their_path_in_the_file(desk: Desk) -> None:
    config = {row["key"]: row for row in show(desk, "CONFIG")}
    assert config["pool.wait_timeout"] == {
        "key": "pool.wait_timeout",
        "value": "120",
        "default": "120",
        "changeable": "yes",
    }
    assert config["cluster.members"]["value"] == "name=pg1 host=10.0.0.1 port=5432"
    assert config["listen"]["changeable"] == "no"
    assert config["log.connections"]["value"] == "yes"


def test_config_has_pgbouncers_names_too(desk: Desk) -> None:
    config = {row["key"]: row for row in show(desk, "CONFIG")}
    for name, key in ALIASES.items():
        assert config[name]["value"] == config[key]["value"]


def test_a_thousand_clients_do_not_hold_up_the_others(desk: Desk) -> None:
    for number in range(1000):
        desk.client(f"u{number % 10}")
    taken_s = {}
    for name, view in VIEWS.items():
        encode = encoders(view.columns)
        begun = time.process_time()
        for row in view.rows(desk.context()):
            if row is not None:
                data_row(encode, row)
        taken_s[name] = time.process_time() - begun
    assert max(taken_s.values()) < 1, taken_s
