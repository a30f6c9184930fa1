"""`pool.pins: error` and `pool.mode: statement`: what is refused, in which protocol, and what goes on after it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.rawclient import (
    DESCRIBE,
    EXECUTE,
    FLUSH,
    SYNC,
    Message,
    RawClient,
    bind,
    codes,
    extended,
    parse,
    query,
    sqlstate,
    values,
)
from support.router import static_cluster

from pgrouter.demo.template import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

TEMP = "create temp table pins_temp (i int)"
REFUSED = [
    (TEMP, "temporary object"),
    ("listen news", "LISTEN"),
    ("declare c cursor with hold for select 1", "WITH HOLD cursor"),
    ("prepare p as select 1", "PREPARE"),
    ("select pg_advisory_lock(1)", "advisory lock"),
    ("load 'auto_explain'", "session state"),
]
# Users have the name of what is different for them
OVERRIDES = [
    {"user": "statement", "mode": "statement"},
    {"user": "session", "mode": "session"},
    {"user": "keep", "pins": "keep"},
    {"user": "small", "size": 1, "query_timeout": "400ms"},
]


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    names = [entry["user"] for entry in OVERRIDES]
    with psycopg.connect(_streaming_cluster.primary.dsn(), autocommit=True) as primary:
        for name in names:
            primary.execute(f"create role {name} superuser login password '{name}'")
    _streaming_cluster.wait_caught_up()
    settings = {
        "cluster": static_cluster(_streaming_cluster.servers), "auth": {"type": "trust"},
        "pool": {"size": 2, "pins": "error", "overrides": OVERRIDES},
    }  # fmt: skip
    with running(settings, users={USER: PASSWORD} | {name: name for name in names}) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


@contextmanager
def client(router: Router, user: str = "postgres") -> Iterator[RawClient]:
    with RawClient(router.port, timeout_s=20) as raw:
        raw.login(user=user)
        yield raw


def error(said: list[Message]) -> dict[str, str]:
    return next(m for m in said if m.code == "E").fields


def row(router: Router, view: str, **columns: Any) -> dict[str, Any]:
    with psycopg.connect(f"host=127.0.0.1 port={router.port} user=postgres dbname=pgrouter", autocommit=True) as c:
        cursor = c.cursor(row_factory=psycopg.rows.dict_row)
        cursor.execute(f"SHOW {view}".encode(), prepare=False)
        return next(r for r in cursor.fetchall() if all(r[k] == v for k, v in columns.items()))


@pytest.mark.parametrize(("sql", "state"), REFUSED, ids=[state for _, state in REFUSED])
def test_refused_in_the_simple_protocol(front: Router, sql: str, state: str) -> None:
    with client(front) as a:
        said = a.ask(sql)
        assert codes(said) == "EZ"
        assert said[1].body == b"I"
        fields = error(said)
        assert (fields["S"], fields["C"]) == ("ERROR", "0A000")
        assert state in fields["D"]
        assert "session mode" in fields["H"]
        assert values(a.ask("select 1")) == [["1"]]
        assert row(front, "CLIENTS", state="idle", user="postgres")["pin"] == ""


@pytest.mark.parametrize(("sql", "state"), REFUSED, ids=[state for _, state in REFUSED])
def test_refused_in_the_extended_protocol(front: Router, sql: str, state: str) -> None:
    with client(front) as a:
        for _ in range(2):
            a.send(extended(sql) + extended("select 1"))
            said = a.until_ready()
            assert codes(said) == "EZ"
            assert state in error(said)["D"]
            assert codes(a.until_ready()) == "12TDCZ"


def test_a_transaction_has_failed_after_it(front: Router) -> None:
    with client(front) as a:
        a.ask("begin")
        said = a.ask(TEMP)
        assert (codes(said), said[-1].body, sqlstate(said)) == ("EZ", b"E", "0A000")
        assert sqlstate(a.ask("select 1")) == "25P02"
        assert codes(a.ask("rollback")) == "CZ"
        a.send(query("begin") + parse("select 1") + bind() + EXECUTE + parse(TEMP) + bind() + EXECUTE + SYNC)
        assert codes(a.until_ready()) == "CZ"
        said = a.until_ready()
        assert (codes(said), said[-1].body, sqlstate(said)) == ("12DCEZ", b"E", "0A000")
        assert codes(a.ask("rollback")) == "CZ"


def test_in_the_middle_of_a_batch_all_of_it_is_undone(front: Router) -> None:
    with client(front) as a:
        for name in ("", "named"):
            a.send(
                parse("create table pins_gone (i int)") + bind() + EXECUTE
                + parse(TEMP, name) + bind(name) + DESCRIBE + EXECUTE + parse("select 1") + bind() + EXECUTE + SYNC
            )  # fmt: skip
            said = a.until_ready()
            assert (codes(said), sqlstate(said)) == ("12CEZ", "0A000")
            assert values(a.ask("/* pgrouter: primary */ select to_regclass('pins_gone')")) == [[None]]
        a.send(bind("named") + EXECUTE + SYNC)
        assert sqlstate(a.until_ready()) == "26000"


def test_pipelines_go_on_behind_the_sync(front: Router) -> None:
    with client(front) as a:
        a.send(b"".join(extended(sql) for sql in ("select 1", TEMP, "select 2", "listen x", "select 3")))
        assert [codes(a.until_ready()) for _ in range(5)] == ["12TDCZ", "EZ", "12TDCZ", "EZ", "12TDCZ"]
        a.send(b"".join(query(sql) for sql in ("select 1", TEMP, "select 2", "listen x; select 4", "select 3")))
        assert [codes(a.until_ready()) for _ in range(5)] == ["TDCZ", "EZ", "TDCZ", "EZ", "TDCZ"]
        a.send(parse("select 1/0") + bind() + EXECUTE + parse(TEMP) + bind() + EXECUTE + SYNC)
        said = a.until_ready()
        assert (codes(said), sqlstate(said)) == ("1EZ", "22012")


def test_a_flush_does_not_hide_it(front: Router) -> None:
    with client(front) as a:
        a.send(parse(TEMP, "s") + FLUSH)
        assert a.receive().fields["C"] == "0A000"
        a.send(bind("s") + EXECUTE + SYNC)
        assert codes(a.until_ready()) == "Z"
        assert values(a.ask("select 1")) == [["1"]]


def test_the_unnamed_statement_is_lost_with_an_unnamed_parse_only(front: Router) -> None:
    with client(front) as a:
        a.send(parse("select 7") + SYNC + parse(TEMP, "s") + SYNC + bind() + EXECUTE + SYNC)
        assert [codes(a.until_ready()) for _ in range(3)] == ["1Z", "EZ", "2DCZ"]
        for data in (parse("select 7") + SYNC, parse(TEMP, "s") + SYNC):
            a.send(data)
            a.until_ready()
        a.send(bind() + EXECUTE + SYNC)
        assert codes(a.until_ready()) == "2DCZ"
        a.send(parse(TEMP) + SYNC)
        assert sqlstate(a.until_ready()) == "0A000"
        a.send(bind() + EXECUTE + SYNC)
        assert sqlstate(a.until_ready()) == "26000"


def test_drivers_go_on(front: Router) -> None:
    with psycopg.connect(f"host=127.0.0.1 port={front.port} user=postgres dbname=postgres", autocommit=True) as c:
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="pooled server"):
                c.execute("select pg_advisory_lock(%s)", (7,), prepare=prepare)
            assert c.execute("select %s::int", (1,), prepare=prepare).fetchone() == (1,)
        with c.pipeline() as pipeline:
            first = c.execute("select %s::int", (1,))
            pipeline.sync()
            second = c.execute("select pg_advisory_lock(%s)", (7,))
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                second.fetchone()
            assert first.fetchone() == (1,)
        assert c.execute("select 2").fetchone() == (2,)


def test_explain_route_explains_what_is_forbidden(front: Router) -> None:
    with client(front) as a:
        a.send(parse(f"explain route {TEMP}") + bind() + EXECUTE + SYNC)
        said = a.until_ready()
        assert sqlstate(said) == ""
        assert values(said)


# -- per user


def test_an_override_keeps_pins_and_says_since_when(front: Router) -> None:
    with client(front, "keep") as a:
        assert row(front, "CLIENTS", user="keep")["pin_time"] is None
        assert codes(a.ask(TEMP)) == "CZ"
        found = row(front, "CLIENTS", user="keep")
        assert found["pin"] == "temporary object"
        assert found["pin_time"].endswith(" UTC")
        a.ask("discard all")
        assert row(front, "CLIENTS", user="keep")["pin_time"] is None


def test_an_override_of_size_and_time(front: Router) -> None:
    with client(front, "small") as a, client(front, "small") as b:
        assert sqlstate(a.ask("select pg_sleep(5)")) == "57014"
        a.ask("/* pgrouter: primary */ begin")
        b.send(query("/* pgrouter: primary */ begin"))
        b.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            b.receive()
        b.sock.settimeout(10)
        a.ask("commit")
        assert codes(b.until_ready()) == "CZ"
    assert row(front, "USERS", name="small")["pool_size"] == "1"  # text, as in PgBouncer
    assert row(front, "USERS", name="postgres")["pool_size"] == "2"


def test_session_mode_forbids_nothing(front: Router) -> None:
    with client(front, "session") as a:
        assert codes(a.ask(TEMP)) == "CZ"
        assert codes(a.ask("begin; commit")) == "CCZ"
        assert codes(a.ask("listen x")) == "CZ"
        assert row(front, "CLIENTS", user="session")["pin"] == "session pooling"
        assert row(front, "USERS", name="session")["pool_mode"] == "session"
        assert row(front, "POOLS", user="session")["pool_mode"] == "session"


def test_statement_mode(front: Router) -> None:
    with client(front, "statement") as a:
        for sql in ("begin", "start transaction read only", "begin; select 1"):
            said = a.ask(sql)
            assert (codes(said), said[-1].body) == ("EZ", b"I")
            assert (error(said)["S"], error(said)["C"]) == ("ERROR", "0A000")
            assert error(said)["M"] == "transaction blocks not allowed in statement pooling mode"
        assert values(a.ask("select 1")) == [["1"]]
        assert codes(a.ask("begin; select 1; commit")) == "CTDCCZ"
        a.send(extended("begin") + extended("select 1"))
        assert [codes(a.until_ready()) for _ in range(2)] == ["EZ", "12TDCZ"]
        assert codes(a.ask("set work_mem = '7MB'")) == "CZ"
        assert values(a.ask("show work_mem")) == [["7MB"]]
        assert row(front, "POOLS", user="statement")["pool_mode"] == "statement"
        assert row(front, "CLIENTS", user="statement")["link"] == ""
    with psycopg.connect(f"host=127.0.0.1 port={front.port} user=statement dbname=postgres") as c:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="transaction blocks not allowed"):
            c.execute("select 1")
        c.rollback()
        c.autocommit = True
        assert c.execute("select 1").fetchone() == (1,)
