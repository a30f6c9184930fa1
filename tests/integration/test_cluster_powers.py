"""The router's own role: no code of a user runs as it, no default of a user's stops it, and it needs very little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import running
from support.router import MONITOR, static_cluster
from support.spies import planting, seen

from pgrouter.demo.postgres import conninfo
from pgrouter.demo.processes import until
from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, Settings

    from pgrouter.demo.postgres import Server
    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

OWNER = "powers_owner"
LITTLE = "powers_little"  # pg_monitor and nothing else
NOTHING = "powers_nothing"
ROLES = {OWNER: "owner", LITTLE: "little", NOTHING: "nothing"}
USED, PROBED = "powers_used", "powers_probed"  # a database that clients use, and one that the monitor logs in to
# What an owner can set for all sessions of a database, as far as sessions still begin
DEFAULTS = (
    "search_path = public, pg_catalog", "role = 'powers_owner'", "session_authorization = 'powers_owner'",
    "local_preload_libraries = 'nowhere'", "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on", "default_transaction_deferrable = on", "statement_timeout = 1",
    "lock_timeout = 1", "idle_session_timeout = 1", "client_encoding = 'SJIS'", "standard_conforming_strings = off",
    "row_security = off", "client_min_messages = 'debug5'", "transform_null_equals = on", "quote_all_identifiers = on",
    "\"DateStyle\" = 'German'", "\"IntervalStyle\" = 'sql_standard'", "bytea_output = 'escape'",
    "application_name = 'x'", "work_mem = 64", "client_connection_check_interval = 1",
    "default_tablespace = 'nowhere'", "default_text_search_config = 'nowhere'", "xmloption = 'document'",
)  # fmt: skip


@pytest.fixture(scope="module")
def _owned(_streaming_cluster: StreamingCluster) -> Iterator[None]:
    primary = _streaming_cluster.primary
    for role, password in ROLES.items():
        primary.sql(f"create role {role} login password '{password}'")
    primary.sql(f"grant pg_monitor to {LITTLE}")
    for database in (USED, PROBED):
        primary.sql(f"create database {database} owner {OWNER}")
        with psycopg.connect(
            conninfo(primary.port, database, OWNER, ROLES[OWNER]), options="-c search_path=pg_catalog", autocommit=True
        ) as owner:
            owner.execute(planting().encode())
            owner.execute("create function public.quiet() returns int stable language sql as 'select 1'")
            owner.execute(f"alter database {database} set search_path = public, pg_catalog")
    for default in DEFAULTS:
        primary.sql(f"set role {OWNER}; alter database {PROBED} set {default}")
    yield
    primary.sql(f"drop database {USED} with (force)")
    primary.sql(f"drop database {PROBED} with (force)")
    primary.sql(f"drop role {', '.join(ROLES)}")


@pytest.fixture
def owned(_owned: None, streaming: StreamingCluster) -> StreamingCluster:
    streaming.wait_caught_up()
    return streaming


def settings_for(cluster: StreamingCluster, user: str, database: str) -> Settings:
    password = ROLES.get(user, PASSWORD)
    monitor = MONITOR | {"user": user, "password": password, "database": database}
    return {
        "cluster": static_cluster(cluster.servers) | {"monitor": monitor},
        "routing": {"catalog_interval": "100ms"},
    }


def spied(servers: tuple[Server, ...], user: str) -> list[str]:
    return [found for server in servers for found in seen(server.log, user)]


def all_well(front: Router) -> bool:
    rows = front.admin("SHOW CLUSTER")
    return [(row["role"], row["writable"], row["readable"]) for row in rows] == [
        ("primary", True, False), ("replica", False, True), ("replica", False, True)
    ]  # fmt: skip


@pytest.mark.parametrize("user", [LITTLE, USER])
def test_nothing_that_an_owner_has_made_runs_as_the_monitor(owned: StreamingCluster, user: str) -> None:
    before = spied(owned.servers, user)
    users = {USER: PASSWORD, OWNER: ROLES[OWNER]}
    with running(settings_for(owned, user, PROBED), users=users) as front:
        until(lambda: all_well(front), 30, "all members are known for what they are")
        with front.connect(USED, user=OWNER, password=ROLES[OWNER]) as client:
            until(lambda: front.log_contains(f"catalog of {USED}: \\d"), 30, "the catalog is read")
            explained = client.execute("explain route select quiet()", prepare=False).fetchone()
            assert explained == ("route:      replica",)  # bodies are read as well
        assert all_well(front)
        failures = [line for line in front.log_text().splitlines() if "failed" in line or "could not be read" in line]
        assert not failures
    assert spied(owned.servers, user) == before


def test_the_spies_would_be_seen(owned: StreamingCluster) -> None:
    """What the questions asked before they were qualified, as the same role: each of these runs the owner's code."""
    asked = {
        "select set_config('search_path', 'pg_catalog', false)": "set_config",
        "select pg_is_in_recovery()": "pg_is_in_recovery",
        "select 1 = 2": "an operator",
        "select 'a' in ('b')": "an operator",
        "select count(*) from pg_proc": "pg_proc",
        "select cast('x' as public.text)": "text",
    }
    for server in owned.servers:
        for question, name in asked.items():
            before = seen(server.log, LITTLE)
            with psycopg.connect(conninfo(server.port, USED, LITTLE, ROLES[LITTLE]), autocommit=True) as monitor:
                monitor.execute(question.encode())
            assert name in seen(server.log, LITTLE)[len(before) :], question


def test_pg_monitor_is_enough_everywhere(owned: StreamingCluster) -> None:
    with running(settings_for(owned, LITTLE, "postgres")) as front:
        until(lambda: all_well(front), 30, "all members are known for what they are")
        assert [row["unseen"] for row in front.admin("SHOW CLUSTER")] == ["", "", ""]
        assert {row["timeline"] for row in front.admin("SHOW CLUSTER")} == {1}
        assert not front.log_contains("does not show")


def test_what_a_role_without_it_does_not_see_is_said_once(owned: StreamingCluster) -> None:
    with running(settings_for(owned, NOTHING, "postgres")) as front:
        until(lambda: all_well(front), 30, "all members are known for what they are")
        assert ["WAL receivers" in row["unseen"] for row in front.admin("SHOW CLUSTER")] == [True] * 3
        until(lambda: "does not show" in front.log_text(), 10, "it is logged")
        for name in ("pg0", "pg1", "pg2"):
            assert front.log_text().count(f"{name} does not show") == 1
