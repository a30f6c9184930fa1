"""What new sessions begin with changes on a member: the connections that the pools have from before go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

ROLE = "defaults_changed"


@pytest.fixture
def front(streaming: StreamingCluster) -> Iterator[Router]:
    streaming.primary.sql(f"create role {ROLE} login password '{ROLE}'")
    streaming.wait_caught_up()
    try:
        with running(
            {"cluster": static_cluster(streaming.servers), "pool": {"size": 3}},
            users={ROLE: ROLE, "postgres": "postgres"},
        ) as router:
            yield router
    finally:
        streaming.primary.sql(f"alter database postgres reset work_mem; drop role {ROLE}")
        for server in streaming.servers:
            server.sql("alter system reset work_mem")
            server.sql("select pg_reload_conf()")


def values(front: Router, hint: str) -> set[str]:
    with front.connect(user=ROLE, password=ROLE) as client:
        asked = f"/* pgrouter: {hint} */ select current_setting('work_mem')"
        return {client.execute(asked.encode()).fetchone()[0] for _ in range(8)}


@pytest.mark.parametrize("hint", ["primary", "replica"])
@pytest.mark.parametrize(
    ("change", "value"),
    [
        (f"alter role {ROLE} set work_mem = '77MB'", "77MB"),
        ("alter database postgres set work_mem = '78MB'", "78MB"),
        (f"alter role {ROLE} in database postgres set work_mem = '79MB'", "79MB"),
        (f"alter role {ROLE} set work_mem from current; alter role {ROLE} set work_mem = '80MB'", "80MB"),
    ],
)
def test_what_is_set_for_sessions_reaches_the_pools(
    front: Router, streaming: StreamingCluster, hint: str, change: str, value: str
) -> None:
    assert values(front, hint) == {"4MB"}
    streaming.primary.sql(change)
    until(lambda: values(front, hint) == {value}, 10, "every connection has it")
    assert values(front, hint) == {value}


def test_a_configuration_read_again_is_noticed_on_that_member_alone(front: Router, streaming: StreamingCluster) -> None:
    values(front, "primary")
    streaming.standbys[0].sql("alter system set work_mem = '81MB'")
    streaming.standbys[0].sql("select pg_reload_conf()")
    noticed = "{} has loaded its configuration"
    until(lambda: front.log_contains(noticed.format("pg1")), 10, "the probe tells")
    assert not front.log_contains(noticed.format("pg0"))
    assert not front.log_contains(noticed.format("pg2"))
