"""Pgpool-II's SHOW commands in any session: their columns, over both protocols, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until
from pgrouter.pcp.columns import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router, RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    weights = [{"name": server.name, "weight": number} for number, server in enumerate(_streaming_cluster.servers)]
    reads = {"balance": "weighted", "primary": "always", "members": weights}
    with running({"cluster": static_cluster(_streaming_cluster.servers), "reads": reads}) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    streaming.wait_caught_up()
    until(lambda: sum(row["readable"] for row in _front.admin("SHOW CLUSTER")) == 2, 20, "two replicas")
    return _front


def rows(connection: psycopg.Connection[Any], statement: str, parameters: object = None) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    cursor.execute(statement.encode(), parameters)  # type: ignore[arg-type]
    return cursor.fetchall()


@pytest.mark.parametrize("command", COLUMNS)
@pytest.mark.parametrize("cursor", [psycopg.Cursor, psycopg.ClientCursor], ids=["extended", "simple"])
def test_columns_over_both_protocols(front: Router, command: str, cursor: type[psycopg.Cursor[Any]]) -> None:
    with psycopg.connect(front.dsn(), autocommit=True, cursor_factory=cursor) as connection:
        found = connection.execute(f"show {command.upper()};".encode())
        assert found.description is not None
        assert tuple(column.name for column in found.description) == COLUMNS[command]
        assert found.statusmessage == f"SELECT {found.rowcount}"
        assert all(isinstance(value, str) for row in found for value in row)


def test_nodes(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as connection:
        connection.execute("select 1")
        found = rows(connection, "SHOW pool_nodes")
    assert [row["node_id"] for row in found] == ["0", "1", "2"]
    assert [int(row["port"]) for row in found] == [server.port for server in streaming.servers]
    assert [row["role"] for row in found] == [row["pg_role"] for row in found] == ["primary", "standby", "standby"]
    assert [row["lb_weight"] for row in found] == ["0.000000", "0.333333", "0.666667"]
    assert {row["status"] for row in found} <= {"up", "waiting"}
    assert {row["pg_status"] for row in found} == {"up"}
    assert [row["replication_state"] for row in found] == ["", "streaming", "streaming"]
    assert [row["load_balance_node"] for row in found].count("true") == 1


def test_inside_a_transaction_and_after_a_failure(front: Router) -> None:
    with front.connect() as connection:
        connection.execute("begin")
        assert len(rows(connection, "show pool_nodes")) == 3
        connection.execute("rollback")
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(b"show pool_nodes pool_nodes")
        assert len(rows(connection, "/* a comment */ show pool_nodes -- and another")) == 3


def test_processes_and_pools_show_ones_own(front: Router) -> None:
    with front.connect(application_name="mine") as connection:
        mine = [row for row in rows(connection, "show pool_processes") if row["username"] == "postgres"]
        assert {"postgres"} == {row["database"] for row in mine}
        pools = rows(connection, "show pool_pools")
        assert any(row["pool_connected"] == "1" and row["client_host"] == "127.0.0.1" for row in pools)
        assert all(int(row["pool_backendpid"]) >= 0 for row in pools)


def test_health_checks_are_counted(front: Router) -> None:
    with front.connect() as connection:
        before = rows(connection, "show pool_health_check_stats")
        until(
            lambda: (
                int(rows(connection, "show pool_health_check_stats")[0]["total_count"]) > int(before[0]["total_count"])
            ),
            20,
            "another probe",
        )
    assert float(before[0]["average_duration"]) >= 0


def test_numbers_are_numbers_for_the_exporter(front: Router) -> None:
    with front.connect() as connection:
        for row in rows(connection, "show pool_backend_stats"):
            for name in COLUMNS["pool_backend_stats"][5:]:
                float(row[name])
        for row in rows(connection, "show pool_nodes"):
            float(row["replication_delay"])
            float(row["select_cnt"])
        assert rows(connection, "show pool_version")[0]["pool_version"].startswith("4.7.2 ")


def test_parameters(front: Router, streaming: StreamingCluster) -> None:
    with front.connect() as connection:
        assert rows(connection, "pgpool show load_balance_mode") == [{"load_balance_mode": "on"}]
        every = rows(connection, "PGPOOL SHOW ALL;")
        assert {"item", "value", "description"} == set(every[0])
        status = {row["item"]: row["value"] for row in rows(connection, "show pool_status")}
        assert status["load_balance_mode"] == "1"
        assert status["backend_port1"] == str(streaming.servers[1].port)
        assert [row["item"] for row in rows(connection, "pgpool show backend_port")] == [
            "backend_port0",
            "backend_port1",
            "backend_port2",
        ]
        assert rows(connection, "pgpool show heartbeat") == []
        assert not [row for row in every if "password" in row["item"]]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("pgpool show nothing", 'config variable "nothing" not found'),
        ("pgpool set nothing to 1", 'config variable "nothing" not found'),
        ("pgpool set port = 1", 'invalid Context, value for parameter "port" cannot be changed'),
        (
            "pgpool reset client_idle_limit",
            'invalid Context, value for parameter "client_idle_limit" cannot be changed',
        ),
    ],
)
def test_what_cannot_be_done_says_so(front: Router, statement: str, message: str) -> None:
    with front.connect() as connection, pytest.raises(psycopg.Error, match=message):
        connection.execute(statement.encode())


def test_roles_after_a_promotion(router: RouterFactory, streaming: StreamingCluster) -> None:
    front = router({"cluster": static_cluster(streaming.servers)})
    streaming.primary.stop("immediate")
    streaming.servers[1].promote()

    def roles() -> list[str]:
        with front.connect() as connection:
            return [f"{row['role']} {row['pg_role']} {row['status']}" for row in rows(connection, "show pool_nodes")]

    until(lambda: roles()[1].startswith("primary primary"), 20, "the new primary")
    until(lambda: roles()[0] == "standby unknown down", 20, "the old one is down")
