"""BEGIN READ ONLY is not a place: what is said in such a transaction is answered as a direct connection answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from support.front import running
from support.router import static_cluster

from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

INSERT = "insert into ro_rows values (1)"
READ = "select count(*) > 0 from pg_class"  # of which nothing has to be known
ROLES = ("alter role ro_ser set default_transaction_isolation = serializable",
         "alter role ro_rr set default_transaction_isolation = 'repeatable read'")  # fmt: skip

# What PostgreSQL allows in a read-only transaction of a primary, or says there in words of its own
ONLY_PRIMARY = [
    "listen ro_x", "notify ro_x", "select pg_notify('ro_x', '')", "lock table ro_rows in share mode",
    "select txid_current() > 0", "select pg_current_xact_id() is not null", "select pg_current_wal_lsn() > '0/0'",
    "select pg_is_in_recovery(), current_setting('in_hot_standby')", "select length(pg_export_snapshot()) > 0",
    "select pg_advisory_lock(77)", "select pg_try_advisory_xact_lock(78)", "select setseed(0.5)",
    "declare h cursor with hold for select generate_series(1, 3)", "prepare ro_p as select 1",
    "select set_config('ro.x', '1', true)", "create temp table ro_temp (i int)", "set transaction read write",
    "set transaction_read_only = 0", "set transaction isolation level serializable", INSERT,
    "select nextval('ro_seq')", "create table ro_other (i int)", "select 1 for update", "vacuum",
]  # fmt: skip
STORIES: dict[str, list[str]] = {
    "read write": ["begin read only", "set transaction read write", INSERT, "commit"],
    "start transaction": ["start transaction read only", "set transaction read write", INSERT, "commit"],
    "default": ["set default_transaction_read_only = on", "begin", "set transaction_read_only = 0", INSERT, "commit"],
    "characteristics": ["set session characteristics as transaction read only", "begin", READ, "rollback", "begin",
                        "set transaction read write", INSERT, "commit"],
    "route": ["set pgrouter.route = 'replica'", "begin", READ, INSERT, READ, "commit"],
    "read write behind a read": ["begin read only", READ, "set transaction read write", "rollback"],
    "the same behind a move": ["begin read only", READ, "select pg_advisory_xact_lock(1)",
                               "set transaction read write", "rollback"],
    "chain": ["begin read only", READ, "commit and chain", "set transaction read write", INSERT, "commit"],
    "chain behind an error": ["begin read only", "set ro.y = 'lost'", "select 1/0", "commit and chain",
                              "select pg_advisory_xact_lock(1)", "show ro.y", "commit"],
    "settings are said again": ["begin read only", "set local work_mem = '5MB'", "set ro.y = 'kept'", READ,
                                "select pg_advisory_xact_lock(1)", "show work_mem", "commit", "show work_mem",
                                "show ro.y"],
    "savepoints are said again": ["begin read only", "savepoint a", READ, "savepoint b", "select 1/0", "rollback to b",
                                  "select pg_advisory_xact_lock(1)", "rollback to a", "release a", "release a",
                                  "rollback"],
    "a failed SET is not": ["begin read only", "savepoint a", "set work_mem = 'no'", "rollback to a",
                            "select pg_advisory_xact_lock(1)", "commit"],
    "cursor": ["begin read only", "declare c cursor for select 1", "fetch c", "close c",
               "select pg_advisory_xact_lock(1)", "commit"],
    "aborted": ["begin read only", "select 1/0", INSERT, "select pg_advisory_xact_lock(1)", "commit"],
    "commit and more": ["begin read only", READ, f"commit; {INSERT}", INSERT],
    "rollback and more": ["begin read only", READ, f"rollback; begin; {INSERT}; commit"],
    "rollback of an aborted one and more": ["begin read only", "select 1/0", f"rollback; begin; {INSERT}; commit"],
    "commit of an aborted one and more": ["begin read only", "select 1/0", f"commit; {INSERT}", INSERT],
    "another behind a commit": ["begin read only", READ, f"commit; begin read only; {READ}", "savepoint a",
                                "select pg_advisory_xact_lock(1)", "commit"],
    "repeatable read, first": ["begin isolation level repeatable read read only", "select pg_advisory_xact_lock(1)",
                               READ, "commit"],
    "repeatable read, commit and more": ["begin isolation level repeatable read read only", READ, f"commit; {INSERT}"],
    "all in one": [f"begin read only; {READ}; commit; {INSERT}"],
    "begin and read in one": [f"begin read only; {READ}", "select pg_advisory_xact_lock(1)", "commit"],
    "read write in one": ["begin read only", f"set transaction read write; {INSERT}", "commit"],
    "begin again": ["begin read only", "begin read write", INSERT, "commit"],
    "hint": ["/* pgrouter: primary */ begin read only", READ, "select pg_is_in_recovery()", "commit"],
    **{sql: ["begin read only", sql, "rollback", INSERT, f"begin; {INSERT}; commit"] for sql in ONLY_PRIMARY},
    **{f"read, {sql}": ["begin read only", READ, sql, "rollback", INSERT] for sql in ONLY_PRIMARY},
    **{f"commit, {sql}": ["begin read only", sql, "commit", INSERT] for sql in ONLY_PRIMARY},
    **{f"failed, {sql}": ["begin read only", "select 1/0", sql, "commit", "select pg_is_in_recovery()", INSERT]
       for sql in (*ONLY_PRIMARY, "do $$ begin execute 'sel' || 'ect 1'; end $$")},
}  # fmt: skip
# What cannot be had elsewhere is refused where it stands, and the transaction has failed
REFUSED: dict[str, list[str]] = {
    "snapshot": ["begin isolation level repeatable read read only", READ, "select pg_advisory_xact_lock(1)"],
    "snapshot by SET": ["begin read only", "set transaction isolation level repeatable read", READ,
                        "select pg_advisory_xact_lock(1)"],
    "snapshot by default": ["set default_transaction_isolation = 'repeatable read'", "begin read only", READ,
                            "select txid_current()"],
    "open cursor": ["begin read only", "declare c cursor for select 1", "select pg_advisory_xact_lock(1)"],
}  # fmt: skip


@pytest.fixture(scope="module", params=[1, 2])
def _front(_streaming_cluster: StreamingCluster, request: pytest.FixtureRequest) -> Iterator[Router]:
    with psycopg.connect(_streaming_cluster.primary.dsn(), autocommit=True) as primary:
        primary.execute("drop table if exists ro_rows; drop sequence if exists ro_seq")
        primary.execute("create table ro_rows (i int); create sequence ro_seq")
        for role, setting in zip(("ro_ser", "ro_rr"), ROLES, strict=True):
            primary.execute(f"drop role if exists {role}; create role {role} superuser login password '{PASSWORD}'")
            primary.execute(setting)
    _streaming_cluster.wait_caught_up()
    settings = {
        "cluster": static_cluster(_streaming_cluster.servers), "pool": {"size": request.param},
        "auth": {"type": "scram-sha-256"},
    }  # fmt: skip
    with running(settings, users={USER: PASSWORD, "ro_ser": PASSWORD, "ro_rr": PASSWORD}) as router:
        with router.connect() as client:
            client.autocommit = True
            client.execute(READ)
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


def told(client: psycopg.Connection, sql: str, *, extended: bool) -> list[object]:
    """Give what a statement is answered with: tags, rows, SQLSTATEs, and how the transaction stands."""
    conn = client.pgconn
    if extended:
        conn.send_query_params(sql.encode(), None)
    else:
        conn.send_query(sql.encode())
    said: list[object] = []
    while (result := conn.get_result()) is not None:
        rows = [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)]
        said.append((result.command_status, rows, result.error_field(ord("C")), result.error_field(ord("M"))))
    return [*said, TransactionStatus(conn.transaction_status).name]


def play(dsn: str, story: list[str], *, extended: bool = False) -> list[object]:
    with psycopg.connect(dsn, autocommit=True) as client:
        return [told(client, sql, extended=extended and ";" not in sql) for sql in story]


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("story", STORIES)
def test_as_direct(front: Router, streaming: StreamingCluster, story: str, *, extended: bool) -> None:
    steps = STORIES[story]
    assert play(front.dsn(), steps, extended=extended) == play(streaming.primary.dsn(), steps, extended=extended)


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("story", REFUSED)
def test_what_cannot_move_is_refused(front: Router, story: str, *, extended: bool) -> None:
    with psycopg.connect(front.dsn(), autocommit=True) as client:
        *before, last = REFUSED[story]
        for sql in before:
            assert told(client, sql, extended=extended)[-1] != "INERROR"
        with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
            client.execute(last)
        assert "Only the primary can run it" in str(error.value.diag.message_detail)
        assert "pgrouter.route" in str(error.value.diag.message_hint)
        assert told(client, READ, extended=extended)[-1] == "INERROR"
        client.execute("rollback")
        client.execute(INSERT)


@pytest.mark.parametrize("user", ["ro_ser", "ro_rr"])
def test_defaults_of_a_role_are_asked_for(front: Router, user: str) -> None:
    with psycopg.connect(front.dsn(user=user), autocommit=True) as client:
        client.execute("begin read only")
        client.execute(READ)
        if user == "ro_rr":
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="has begun on a replica"):
                client.execute("select txid_current()")
            client.execute("rollback")
            client.execute("begin read only")
        assert client.execute("select txid_current() > 0").fetchone() == (True,)
        client.execute("commit")
        client.execute(INSERT)


def test_commit_and_a_write_before_one_sync(front: Router) -> None:
    with psycopg.connect(front.dsn(), autocommit=True) as client:
        for first in (READ, "select pg_advisory_xact_lock(1)"):
            client.execute("begin read only")
            client.execute(first)
            with client.pipeline():
                client.execute("commit")
                client.execute(INSERT)
            assert client.info.transaction_status is TransactionStatus.IDLE


def test_pipelines_with_syncs_between(front: Router) -> None:
    with psycopg.connect(front.dsn(), autocommit=True) as client, client.pipeline() as pipeline:
        answers = []
        for sql in ("begin read only", READ, "select pg_is_in_recovery()", "commit", INSERT, "begin read only", READ):
            answers.append(client.execute(sql))
            pipeline.sync()
        client.execute("rollback")
        assert answers[2].fetchone() == (False,)


def test_a_hold_cursor_of_psycopg_outlives_its_transaction(front: Router) -> None:
    with psycopg.connect(front.dsn()) as client:
        client.read_only = True
        with client.cursor("ro_hold", withhold=True) as cursor:
            cursor.execute("select generate_series(1, 3)")
            client.commit()
            assert len(cursor.fetchall()) == 3
        client.rollback()
        client.read_only = False
        client.execute(INSERT)
        client.commit()


def test_reads_stay_on_the_replica(front: Router) -> None:
    with psycopg.connect(front.dsn(), autocommit=True) as client:
        seen = set()
        for begin in ("begin read only", "begin isolation level repeatable read, read only"):
            client.execute(begin)
            client.execute("savepoint a")
            client.execute("set local work_mem = '5MB'")
            seen |= {client.execute("select name from pg_settings where name = 'port'").fetchone() is not None}
            seen |= {client.execute(READ).fetchone()[0]}
            client.execute("commit")
        assert seen == {True}
    rows = front.admin("show routes")
    assert any(row["target"] == "replica" and row["reason"] == "transaction control" for row in rows), rows
