"""`databases`: what names of databases stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from support.router import static_cluster

if TYPE_CHECKING:
    from support.router import RouterFactory

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

WHO = "select current_database(), session_user"


def test_names_for_a_database_and_a_role(router: RouterFactory, streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop role if exists reporting; create role reporting login password 'of reporting'")
    streaming.primary.sql("drop role if exists joe; create role joe login password 'of joe'")
    streaming.wait_caught_up()
    names = [{"name": "app", "database": "postgres"}, {"name": "reports", "database": "postgres", "user": "reporting"}]
    users = {"postgres": "postgres", "reporting": "of reporting", "joe": "of joe"}
    front = router({"cluster": static_cluster(streaming.servers), "databases": names}, users=users)

    def who(dbname: str, user: str) -> tuple[str, str] | None:
        password = users[user]
        with psycopg.connect(
            host="127.0.0.1", port=front.port, dbname=dbname, user=user, password=password, autocommit=True
        ) as connection:
            return connection.execute(WHO).fetchone()

    for _ in range(2):  # the second time with what the first has found
        assert who("app", "postgres") == ("postgres", "postgres")
        assert who("app", "joe") == ("postgres", "joe")
        assert who("reports", "postgres") == ("postgres", "reporting")
        assert who("reports", "joe") == ("postgres", "reporting")
    with pytest.raises(psycopg.OperationalError, match='database "postgres" does not exist'):
        front.connect("postgres")
    front.settings["databases"] = [*names, {"name": "*"}]
    front.write_settings()
    assert front.admin("RELOAD") == []
    assert who("postgres", "postgres") == ("postgres", "postgres")
    assert who("app", "postgres") == ("postgres", "postgres")
