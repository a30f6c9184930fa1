"""Batches that a replica refuses because it is one, or that are lost with it: run again elsewhere, unseen."""

# ruff: noqa: S608  (the SQL is ours)

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from support.front import rss_mb, running
from support.rawclient import (
    DESCRIBE,
    EXECUTE,
    FLUSH,
    SYNC,
    TERMINATE,
    RawClient,
    bind,
    codes,
    extended,
    message,
    parse,
    query,
    sqlstate,
    values,
)
from support.router import static_cluster

from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

# What the router was told to believe in: views over functions that do what only a primary can do, or refuse by hand.
BELIEVED = (
    "refuse", "fails", "tells", "late_failure", "slowly",
    "again_next", "again_brin", "again_xid", "again_rows", "again_is_primary",
)  # fmt: skip
STATES = ("25006", "XX000", "55000", "0A000", "42P01", "42703", "42704", "42883", "3F000", "42501", "26000", "34000",
          "40001", "40P01", "42846", "42804", "42809", "42702", "42725", "42P18", "42P08", "42P21", "42P22", "42803",
          "22P02", "22023", "23514", "23502", "58P01")  # fmt: skip
SCHEMA = """
    set lock_timeout = '5s';
    drop function if exists again_next, again_brin, again_xid, again_rows, again_is_primary cascade;
    drop table if exists again_items, again_unlogged, late cascade;
    drop sequence if exists again_numbers cascade;
    create table again_items (id int, word text); create index on again_items using brin (id);
    create unlogged table again_unlogged (id int);
    insert into again_unlogged values (7);
    create sequence again_numbers;
    create or replace function refuse(state text) returns text language plpgsql stable as $$ begin
        if pg_is_in_recovery() then raise exception 'geht nicht' using errcode = state; end if;
        return state;
    end $$;
    create or replace function fails(state text) returns text language plpgsql stable as $$ begin
        raise exception 'on %', case when pg_is_in_recovery() then 'a replica' else 'the primary' end
        using errcode = state;
    end $$;
    create or replace function tells(state text) returns text language plpgsql stable as $$ begin
        raise notice 'working'; return refuse(state);
    end $$;
    create or replace function late_failure(n int) returns int language plpgsql stable as $$ begin
        if n > 20000 then return refuse('25006')::int; end if; return n;
    end $$;
    create or replace function slowly(n int) returns int language plpgsql volatile as $$ begin
        if not pg_is_in_recovery() then perform pg_sleep(n); end if; return refuse('25006')::int;
    end $$;
    create or replace function again_next() returns bigint stable begin atomic select nextval('again_numbers'); end;
    create or replace function again_brin() returns int stable begin atomic
        select brin_summarize_new_values('again_items_id_idx'); end;
    create or replace function again_xid() returns bigint stable begin atomic select txid_current(); end;
    create or replace function again_rows() returns setof int stable language sql as 'select id from again_unlogged';
    create or replace function again_is_primary() returns bool stable begin atomic select not pg_is_in_recovery(); end;
    create or replace view v_next as select again_next() as n;
    create or replace view v_brin as select again_brin() as n;
    create or replace view v_xid as select again_xid() as n;
    create or replace view v_unlogged as select * from again_rows();
    create or replace view v_tells as select tells('25006') as n;
    create or replace view v_late as select repeat('x', 99), late_failure(i) as i from generate_series(1, 30000) i;
    create or replace view v_slowly as select slowly(2) as n;
    create or replace view v_sleep as select pg_sleep(1)::text, again_is_primary() as primary;
""" + "".join(
    f"""create or replace view "refuse_{state}" as select refuse('{state}') as n;
        create or replace view "fails_{state}" as select fails('{state}') as n;"""
    for state in (*STATES, "22012")
)  # fmt: skip
REFUSED = "refused by a replica"
LEARNED = "refused by a replica before"
LOST = "server lost"


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    _streaming_cluster.primary.sql(SCHEMA)
    _streaming_cluster.wait_caught_up()
    cluster = static_cluster(_streaming_cluster.servers)
    cluster["monitor"] = cluster["monitor"] | {"timeout": "1s"}
    settings = {
        "cluster": cluster, "auth": {"type": "trust"}, "pool": {"size": 10}, "log": {"level": "debug"},
        # Mostly reads of what their session has just written: with session consistency they would begin on the primary
        "routing": {"read_only_functions": BELIEVED, "catalog_interval": "100ms", "read_consistency": "eventual"},
        "listen": [{"host": "127.0.0.1", "port": 0, "mode": mode} for mode in ("split", "replica", "primary")],
    }  # fmt: skip
    with running(settings) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    streaming.primary.sql("set lock_timeout = '5s'; drop table if exists late; truncate again_items")
    streaming.wait_caught_up()
    until(lambda: sum(row["readable"] for row in _front.admin("SHOW CLUSTER")) == 2, 30, "both replicas serve reads")
    known = "explain route select * from again_items, v_sleep"
    with _front.connect() as one:
        # Not prepared: that would keep the first answer
        until(lambda: "replica" in one.execute(known.encode(), prepare=False).fetchone()[0], 30, "the catalog is known")
    return _front


@pytest.fixture
def client(front: Router) -> Iterator[RawClient]:
    with RawClient(front.port) as client:
        client.login()
        yield client


class Counted:
    """How often a reason was counted since the last question."""

    def __init__(self, front: Router) -> None:
        self.front = front
        self.last = self._now()

    def _now(self) -> dict[tuple[str, str], int]:
        return {(row["target"], row["reason"]): row["count"] for row in self.front.admin("SHOW ROUTES")}

    def __call__(self, reason: str, target: str = "primary") -> int:
        before, self.last = self.last, self._now()
        return self.last.get((target, reason), 0) - before.get((target, reason), 0)


@pytest.fixture
def counted(front: Router) -> Counted:
    return Counted(front)


def simple(name: str) -> bytes:
    return query(f"select * from {name}")


def unnamed(name: str) -> bytes:
    return extended(f"select * from {name}")


def named(name: str) -> bytes:
    return parse(f"select * from {name}", "mine") + bind("mine") + DESCRIBE + EXECUTE + SYNC


WAYS = pytest.mark.parametrize("way", [simple, unnamed, named], ids=lambda way: way.__name__)
EXPECTED = {simple: "TDCZ", unnamed: "12TDCZ", named: "12TDCZ"}


# -- refused


@WAYS
@pytest.mark.parametrize("view", [
    "v_next", "v_brin", "v_xid", "v_unlogged", *(f'"refuse_{state}"' for state in STATES),
])  # fmt: skip
def test_what_a_replica_refuses_runs_on_the_primary(client: RawClient, counted: Counted, way: Any, view: str) -> None:
    client.send(way(f"{view} as {way.__name__}"))  # another name: another statement, not learned yet
    said = client.until_ready()
    assert (codes(said), said[-1].body) == (EXPECTED[way], b"I")
    assert counted(REFUSED) == 1


@WAYS
@pytest.mark.parametrize("state", ["25006", "XX000", "55000", "0A000"])
def test_its_like_goes_to_the_primary_at_once(client: RawClient, counted: Counted, way: Any, state: str) -> None:
    for _ in range(3):
        client.send(way(f'"refuse_{state}" as learned_{way.__name__}'))
        client.until_ready()
        client.send(message(b"C", b"Smine\0") + SYNC)
        client.until_ready()
    assert counted(REFUSED) == 1
    client.send(way(f'"refuse_{state}" as learned_{way.__name__}'))
    assert codes(client.until_ready()) == EXPECTED[way]
    assert counted(LEARNED) == 1


def test_what_is_only_behind_is_not_learned(client: RawClient, counted: Counted) -> None:
    for _ in range(3):
        assert values(client.ask('select * from "refuse_42P01"')) == [["42P01"]]
    assert counted(REFUSED) == 3


def test_a_prepared_statement_learns_too(client: RawClient, counted: Counted) -> None:
    client.send(parse('select *, 1 from "refuse_25006"', "mine") + SYNC)
    assert codes(client.until_ready()) == "1Z"
    for _ in range(4):
        client.send(bind("mine") + EXECUTE + SYNC)
        assert codes(client.until_ready()) == "2DCZ"
    assert counted(REFUSED) == 1
    client.send(parse('select *, 2 from "refuse_25006"') + FLUSH)
    assert codes(client.until("1")) == "1"
    for _ in range(4):
        client.send(bind() + EXECUTE + SYNC)
        assert codes(client.until("Z")) == "2DCZ"
    assert counted(REFUSED) == 0  # another literal, the same statement


def test_the_error_of_the_primary_is_what_the_client_gets(client: RawClient, counted: Counted) -> None:
    for state in STATES:
        for way in (simple, unnamed, named):
            for _ in range(2):
                client.send(way(f'"fails_{state}"'))
                said = client.until_ready()
                assert (sqlstate(said), said[-1].body) == (state, b"I")
                assert next(m for m in said if m.code == "E").fields["M"] == "on the primary"
                client.send(message(b"C", b"Smine\0") + SYNC)
                client.until_ready()
    assert counted(REFUSED) == len(STATES) * 6  # the primary says the same: nothing to learn
    assert sqlstate(client.ask('select * from "fails_22012"')) == "22012"
    assert counted(REFUSED) == 0


def test_typing_errors_are_postgresqls(client: RawClient) -> None:
    for sql, state in [("select nothing from again_items", "42703"), ("selekt", "42601"), ("select nobody()", "42883")]:
        for make in (query, extended):
            client.send(make(sql))
            assert sqlstate(client.until_ready()) == state
    with_position = client.ask("select nothing from again_items")[0].fields
    assert with_position["P"] == "8"


def test_several_statements_in_one_string(client: RawClient, counted: Counted) -> None:
    said = client.ask("select 1; select * from v_next; select 3")
    assert (codes(said), len(values(said))) == ("TDCTDCTDCZ", 3)
    assert counted(REFUSED) == 1
    said = client.ask("select 4; select * from v_next; select 5")
    assert values(said)[0] == ["4"]
    assert counted(LEARNED) == 1


def test_several_statements_in_one_batch(client: RawClient, counted: Counted) -> None:
    part = parse("select 1, 2") + bind() + DESCRIBE + EXECUTE
    refused = parse("select * from v_next as several") + bind() + DESCRIBE + EXECUTE
    for _ in range(2):
        client.send(part + refused + part + SYNC)
        assert codes(client.until_ready()) == "12TDC" * 3 + "Z"
    assert counted(REFUSED) == 2  # which of them was refused is not known
    client.send(part + SYNC)
    client.until_ready()
    assert counted("read", "replica") == 1


def test_a_table_that_the_replicas_do_not_have_yet(
    client: RawClient, counted: Counted, streaming: StreamingCluster
) -> None:
    for standby in streaming.standbys:
        standby.sql("select pg_wal_replay_pause()")
    try:
        client.ask("create table late (id int)")
        client.ask("insert into late values (5)")
        known = "explain route select * from late"
        until(lambda: values(client.ask(known))[0] == ["route:      replica"], 30, "the catalog has the table")
        for way in (simple, unnamed, named):
            client.send(way("late"))
            said = client.until_ready()
            assert (codes(said), values(said)) == (EXPECTED[way], [["5"]])
        assert counted(REFUSED) == 3
        client.send(parse("select id from late", "flushed") + message(b"D", b"Sflushed\0") + FLUSH)
        assert codes(client.until("T")) == "1tT"
        client.send(bind("flushed") + EXECUTE + SYNC)
        assert codes(client.until_ready()) == "2DCZ"
        assert counted(REFUSED) == 2
    finally:
        for standby in streaming.standbys:
            standby.sql("select pg_wal_replay_resume()")


def test_a_pipeline_is_answered_in_order_and_once(client: RawClient, counted: Counted) -> None:
    for make in (query, extended):
        wanted = []
        talk = b""
        for number in range(40):
            sql = f"select {number}"
            wanted.append([[str(number)]])
            if number % 4 == 1:
                sql, wanted[-1] = f'select n || {number} from "refuse_42P01"', [[f"42P01{number}"]]
            elif number % 4 == 2:
                sql = f"insert into again_items values ({number}, 'x') returning id"
            elif number % 7 == 3:
                sql, wanted[-1] = "select 1/0", []
            talk += make(sql)
        client.send(talk)
        assert [values(client.until_ready()) for _ in wanted] == wanted
        assert counted(REFUSED) == 1  # what is sent ahead follows to the primary
    assert values(client.ask("/*pgrouter: primary*/ select count(*) from again_items")) == [["20"]]


def test_a_large_write_behind_a_read_waits_for_the_primary(client: RawClient) -> None:
    client.send(query("select pg_sleep(0.2)") + query(f"insert into again_items values (1, '{'x' * 3_000_000}')"))
    assert [sqlstate(client.until_ready()) for _ in range(2)] == ["", ""]
    client.send(query("select * from v_next as l") + query(f"insert into again_items values (1, '{'x' * 3_000_000}')"))
    assert [codes(client.until_ready()) for _ in range(2)] == ["TDCZ", "CZ"]
    assert values(client.ask("/*pgrouter: primary*/ select count(*) from again_items")) == [["2"]]


def test_a_row_limit(client: RawClient) -> None:
    limited = message(b"E", b"\0\0\0\0\2")
    client.send(parse('select i from generate_series(1, 5) i, "refuse_40001"') + bind() + limited + limited + SYNC)
    assert codes(client.until_ready()) == "12DDsDDsZ"


def test_rows_already_sent_are_not_sent_again(client: RawClient, counted: Counted) -> None:
    for make in (query, extended):
        client.send(make("select * from v_late"))
        said = client.until_ready()
        assert sqlstate(said) == "25006"
        assert [row[1] for row in values(said)] == [str(i) for i in range(1, len(values(said)) + 1)]
        assert len(values(said)) > 10_000
    assert counted(REFUSED) == 0


def test_a_notice_already_sent_is_not_sent_again(client: RawClient) -> None:
    said = codes(client.ask("select * from v_tells"))
    assert said in ("TNEZ", "TNDCZ")  # the notice was passed on at once, or came together with the refusal


def test_the_first_read_of_a_transaction_runs_again_with_it(client: RawClient, counted: Counted) -> None:
    client.ask("begin read only")
    assert sqlstate(client.ask("select * from v_next")) == "25006"  # the primary's own words for nextval()
    said = client.ask("select 1")
    assert (sqlstate(said), said[-1].body) == ("25P02", b"E")
    client.ask("rollback")
    client.send(query("begin read only") + query('select * from "refuse_42P01"') + query("commit"))
    assert [sqlstate(client.until_ready()) for _ in range(3)] == ["", "", ""]
    client.send(extended("begin read only")[:-5] + extended('select * from "refuse_42P01"'))
    said = client.until_ready()
    assert (sqlstate(said), said[-1].body) == ("", b"T")
    client.ask("rollback")
    assert counted(REFUSED) == 3
    assert values(client.ask("select 1")) == [["1"]]


def test_inside_a_transaction_that_has_read_the_error_is_shown(client: RawClient, counted: Counted) -> None:
    client.send(query("begin read only") + query("select 1") + query('select * from "refuse_42P01"') + query("commit"))
    assert [sqlstate(client.until_ready()) for _ in range(4)] == ["", "", "42P01", ""]
    assert counted(REFUSED) == 0
    assert values(client.ask("select 1")) == [["1"]]


def test_a_listener_for_replicas_shows_the_error(front: Router, counted: Counted) -> None:
    with RawClient(front.process.ports[1]) as client:
        client.login()
        assert sqlstate(client.ask("select * from v_next")) == "25006"
        assert sqlstate(client.ask("insert into again_items values (1)")) == "25006"
    assert counted(REFUSED) == 0


@pytest.mark.parametrize("known", [False, True])
def test_flushed_prepares_and_closes(client: RawClient, counted: Counted, known: bool) -> None:  # noqa: FBT001
    """Names are as they would be with one server: also those that a refused batch has defined and closed."""
    if known:  # what is bound to it cannot be told before: that is the primary's
        client.send(parse("select 'old'", "a") + SYNC)
        client.until_ready()
    close = message(b"C", b"Sa\0")
    again = parse('select n from "refuse_42P01"', "a")
    run = bind("a") + EXECUTE
    client.send(close + again + run + close + again + run + SYNC)
    assert codes(client.until_ready()) == "312DC312DCZ"
    assert counted(REFUSED) == (not known)
    client.send(run + SYNC)
    assert values(client.until_ready()) == [["42P01"]]
    failing = parse('select n from "fails_42P01"', "b")
    client.send(close + failing + bind("b") + EXECUTE + SYNC)
    assert sqlstate(client.until_ready()) == "42P01"
    for name, state in (("a", "26000"), ("b", "42P01")):
        client.send(bind(name) + EXECUTE + SYNC)
        assert sqlstate(client.until_ready()) == state
    client.send(parse("select 1", "b") + SYNC)
    assert sqlstate(client.until_ready()) == "42P05"


def test_a_statement_that_a_server_has_already(front: Router, counted: Counted) -> None:
    """Its ParseComplete is forged, but not before the rest is known."""
    for _ in range(4):
        with RawClient(front.port) as client:
            client.login()
            for _ in range(3):
                client.send(parse('select n from "refuse_40001"', "mine") + bind("mine") + EXECUTE + SYNC)
                assert codes(client.until_ready()) == "12DCZ"
                client.send(message(b"C", b"Smine\0") + FLUSH)
                assert codes(client.until("3")) == "3"
            client.send(parse('select n from "refuse_40001"', "mine") + FLUSH)
            assert codes(client.until("1")) == "1"
    assert counted(REFUSED) == 12


def test_settings_hold_on_the_other_server(client: RawClient) -> None:
    client.ask("set work_mem = '7MB'")
    sql = "select current_setting('work_mem'), n from \"refuse_42P01\""
    for _ in range(3):
        assert values(client.ask(sql)) == [["7MB", "42P01"]]
        assert values(client.ask("select current_setting('work_mem')")) == [["7MB"]]
    client.ask("reset work_mem")
    assert values(client.ask(sql)) == [["4MB", "42P01"]]


def test_a_temporary_table_hides_one(client: RawClient) -> None:
    client.ask('create temp table "refuse_25006" (n text)')
    assert values(client.ask('select * from "refuse_25006"')) == []
    client.ask('drop table pg_temp."refuse_25006"')
    client.ask("discard all")
    assert values(client.ask('select * from "refuse_25006" x')) == [["25006"]]


def test_the_replica_serves_others_at_once(front: Router, client: RawClient) -> None:
    for _ in range(30):
        client.ask('select * from "refuse_42P01"')
        client.send(parse('select n from "refuse_42P01"', "mine") + bind("mine") + EXECUTE + SYNC)
        client.until_ready()
        client.send(message(b"C", b"Smine\0") + SYNC)
        client.until_ready()
    until(lambda: {row["state"] for row in front.admin("SHOW SERVERS")} == {"idle"}, 2, "all servers are free")
    assert len(front.admin("SHOW SERVERS")) <= 10


def test_many_clients_at_once(front: Router) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with RawClient(front.port) as client:
                client.login()
                for turn in range(30):
                    word = f"{number}-{turn}"
                    make = (query, extended)[turn % 2]
                    client.send(make(f"select '{word}', n from \"refuse_42P01\"") + make(f"select '{word}'"))
                    got = client.until_ready()
                    assert values(got) == [[word, "42P01"]], got
                    assert values(client.until_ready()) == [[word]]
        except BaseException as error:  # noqa: BLE001  (told below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_psycopg(front: Router, counted: Counted) -> None:
    with psycopg.connect(front.dsn(), autocommit=True, prepare_threshold=0) as connection:
        for _ in range(3):
            row = connection.execute('select n, %s::int from "refuse_40001"', (1,)).fetchone()
            assert row == ("40001", 1)
        assert counted(REFUSED) == 3
        with connection.pipeline():
            cursors = [connection.execute(f'select %s::int, n from "refuse_{state}"', (1,)) for state in STATES * 2]
            assert [cursor.fetchone() for cursor in cursors] == [(1, state) for state in STATES * 2]
        with connection.pipeline() as pipeline:
            good = connection.execute("select 1")
            pipeline.sync()
            connection.execute('select n from "fails_25006"')
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="on the primary"):
                pipeline.sync()
            assert good.fetchone() == (1,)
        assert connection.execute("select 2").fetchone() == (2,)


def test_asyncpg(front: Router, counted: Counted) -> None:
    async def main() -> None:
        login = {"user": "postgres", "database": "postgres", "password": "postgres"}
        for cached in (0, 100):
            c = await asyncpg.connect(host="127.0.0.1", port=front.port, statement_cache_size=cached, **login)
            for _ in range(3):
                assert await c.fetchval('select n || $1 from "refuse_40001"', "!") == "40001!"
            with pytest.raises(asyncpg.UndefinedTableError):
                await c.fetch("select * from nowhere")
            with pytest.raises(asyncpg.UndefinedTableError, match="on the primary"):
                await c.fetch('select * from "fails_42P01"')
            assert await c.fetchval("select 1") == 1
            await c.close()

    asyncio.run(main())
    assert counted(REFUSED) == 2 * (3 + 1)  # what is nowhere is not in the catalog: the primary has it at once


def test_a_client_that_cancels_the_second_try(client: RawClient) -> None:
    client.send(query("select * from v_slowly"))
    time.sleep(0.4)
    began = time.monotonic()
    client.cancel()
    said = client.until_ready()
    assert (sqlstate(said), said[-1].body) == ("57014", b"I")
    assert time.monotonic() - began < 1
    assert values(client.ask("select 1")) == [["1"]]


def test_a_client_that_vanishes_in_the_second_try(front: Router, streaming: StreamingCluster) -> None:
    for end in ("reset", "close", "terminate"):
        client = RawClient(front.port)
        client.login()
        client.send(query(f"select *, '{end}' from v_slowly"))
        time.sleep(0.3)
        if end == "terminate":
            client.send(TERMINATE)
            client.close()
        else:
            getattr(client, end)()
    busy = "select from pg_stat_activity where state = 'active' and query like '%v_slowly%' and pid <> pg_backend_pid()"
    until(lambda: not streaming.primary.sql(busy), 30, "nobody works for nobody")
    until(lambda: {row["state"] for row in front.admin("SHOW SERVERS")} <= {"idle"}, 30, "all servers free")


def test_a_refusal_without_a_primary_waits_for_one(front: Router, streaming: StreamingCluster) -> None:
    result: list[Any] = []

    def ask() -> None:
        with RawClient(front.port, timeout_s=60) as client:
            client.login()
            result.append(codes(client.ask('select * from "refuse_42P01"')))
            result.append(values(client.ask("select 1")))

    with RawClient(front.port) as client:
        client.login()
        for _ in range(4):
            client.ask("select 1")
    streaming.primary.stop("fast")
    try:
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        assert not result
    finally:
        streaming.primary.start()
    thread.join(30)
    assert result == ["TDCZ", [["1"]]]


# -- lost

TERMINATE_ALL = """
    select count(pg_terminate_backend(pid, 3000)) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'pgrouter%'
"""
WORKING = """
    select pid from pg_stat_activity where state = 'active' and query like '%v_sleep%' and pid <> pg_backend_pid()
"""


def reading(streaming: StreamingCluster) -> Any:
    """Give the standby that runs the read."""
    found: list[Any] = []

    def look() -> bool:
        found[:] = [server for server in streaming.standbys if server.sql(WORKING)]
        return bool(found)

    until(look, 10, "it runs on a replica")
    return found[0]


@pytest.mark.parametrize("make", [query, extended])
@pytest.mark.parametrize("how", ["terminate", "kill", "immediate", "fast"])
def test_a_read_in_flight_on_a_lost_replica(
    streaming: StreamingCluster, client: RawClient, counted: Counted, how: str, make: Any
) -> None:
    for _ in range(6):
        client.ask("select 1")
    counted(LOST, "replica")
    client.send(make(f"select '{how}' from v_sleep"))
    server = reading(streaming)
    if how == "terminate":
        server.sql(TERMINATE_ALL)
    elif how == "kill":
        server.kill()
    else:
        server.stop(how)
    said = client.until_ready()
    assert (codes(said)[-4:], values(said)) == ("TDCZ", [[how]])
    assert counted(LOST, "replica") == 1
    assert values(client.ask("select 2")) == [["2"]]
    assert counted.front.log_contains("runs again on another server: lost <S-")


def test_many_reads_in_flight_on_a_killed_replica(front: Router, streaming: StreamingCluster) -> None:
    clients = [RawClient(front.port) for _ in range(16)]
    for client in clients:
        client.login()
        client.send(query("select 'x' from v_sleep"))
    reading(streaming).kill()
    assert [values(client.until_ready()) for client in clients] == [[["x"]]] * 16
    for client in clients:
        client.close()


def test_the_only_replica_is_lost(front: Router, streaming: StreamingCluster, client: RawClient) -> None:
    streaming.standbys[1].stop("immediate")
    until(lambda: sum(row["readable"] for row in front.admin("SHOW CLUSTER")) == 1, 30, "one replica serves reads")
    counted = Counted(front)
    client.send(query("select 'x', v_sleep.primary from v_sleep"))
    until(lambda: streaming.standbys[0].sql(WORKING), 10, "it runs on that one")
    streaming.standbys[0].kill()
    assert values(client.until_ready()) == [["x", "t"]]
    assert counted(LOST) == 1


def test_what_is_lost_twice_is_an_error(streaming: StreamingCluster, client: RawClient, counted: Counted) -> None:
    client.send(query("select 'twice' from v_sleep"))
    reading(streaming).sql(TERMINATE_ALL)
    time.sleep(0.2)
    reading(streaming).sql(TERMINATE_ALL)
    said = client.until_ready()
    assert (sqlstate(said), said[-1].body) == ("57P01", b"I")
    assert counted(LOST, "replica") == 1
    assert values(client.ask("select 1")) == [["1"]]


def test_a_read_in_a_transaction_is_lost_with_it(streaming: StreamingCluster, client: RawClient) -> None:
    client.ask("begin read only")
    client.send(query("select 'x' from v_sleep"))
    reading(streaming).sql(TERMINATE_ALL)
    said = client.until_ready()
    assert (sqlstate(said), said[-1].body) == ("57P01", b"E")
    assert client.ask("rollback")[-1].body == b"I"


def test_names_and_settings_after_a_loss(streaming: StreamingCluster, client: RawClient) -> None:
    client.ask("set work_mem = '7MB'")
    sql = "select current_setting('work_mem') from v_sleep"
    client.send(parse(sql, "mine") + bind("mine") + EXECUTE + SYNC + query("select 2"))
    reading(streaming).sql(TERMINATE_ALL)
    assert values(client.until_ready()) == [["7MB"]]
    assert values(client.until_ready()) == [["2"]]
    client.send(bind("mine") + EXECUTE + SYNC)
    assert codes(client.until_ready()) == "2DCZ"
    client.send(parse(sql, "mine") + SYNC)
    assert sqlstate(client.until_ready()) == "42P05"


def test_rows_already_sent_are_not_read_again(streaming: StreamingCluster, client: RawClient) -> None:
    client.send(query("select repeat('x', 9000) from generate_series(1, 3) union all select 'v_sleep' || pg_sleep(2)"))
    client.until("D")
    reading(streaming).sql(TERMINATE_ALL)
    assert sqlstate(client.until("Z")) == "57P01"


def test_idle_clients_keep_no_batch(front: Router) -> None:
    """The bytes of large batches are gone when they are answered, refused or not."""
    clients = [RawClient(front.port) for _ in range(30)]
    for client in clients:
        client.login()
        client.ask("select 1")
    before = rss_mb(front.process.pid)
    for client in clients:
        for view in ("(values (1))", '"refuse_42P01"'):
            assert codes(client.ask(f"select /* {'x' * 900_000} */ * from {view} v")) == "TDCZ"
    assert rss_mb(front.process.pid) - before < 12
    for client in clients:
        client.close()
