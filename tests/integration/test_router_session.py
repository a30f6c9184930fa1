"""Session state through transaction pooling: it follows the client or keeps its server, never meets the next."""

from __future__ import annotations

import itertools
import os
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.front import running
from support.router import static_cluster

from pgrouter.demo.postgres import conninfo
from pgrouter.demo.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

Client = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def _front(_streaming_cluster: StreamingCluster) -> Iterator[Router]:
    settings = {"cluster": static_cluster(_streaming_cluster.servers), "pool": {"size": 3}}
    with running(settings) as router:
        yield router


@pytest.fixture
def front(_front: Router, streaming: StreamingCluster) -> Router:
    assert streaming.primary.alive
    return _front


@pytest.fixture
def clients(front: Router) -> Iterator[Callable[..., Client]]:
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(front.connect(**more))


def one(client: Client, statement: str, *values: Any) -> Any:
    row = client.execute(statement.encode(), values or None).fetchone()
    return row[0] if row else None


def setting(client: Client, name: str) -> Any:
    return one(client, "select current_setting(%s, true)", name)


def pin(front: Router, client: Client) -> str:
    with socket.socket(fileno=os.dup(client.pgconn.socket)) as copy:
        port = copy.getsockname()[1]
    return str(next(row["pin"] for row in front.admin("SHOW CLIENTS") if row["port"] == port))


def wait_pin(front: Router, client: Client, words: str) -> None:
    """Wait until a client is pinned for this reason, "" for none: after a transaction its server is asked first."""
    until(lambda: pin(front, client) == words, 2, f"pinned: {words or 'no'}")


# -- what is prepared


def test_a_prepared_text_means_what_it_does_with_its_clients_settings(clients: Callable[..., Client]) -> None:
    a, b = clients(options="'-c datestyle=ISO,MDY'"), clients(options="'-c datestyle=ISO,DMY'")
    for _ in range(4):
        assert str(a.execute("select date '1/2/2003'", prepare=True).fetchone()[0]) == "2003-01-02"
        assert str(b.execute("select date '1/2/2003'", prepare=True).fetchone()[0]) == "2003-02-01"
    for zone, hour in (("UTC", 12), ("Asia/Tokyo", 3)) * 3:
        a.execute(f"set timezone = '{zone}'".encode())
        shown = one(a, "select extract(hour from timestamptz '2020-01-01 12:00' at time zone 'UTC')")
        assert int(shown) == hour
        text = "/* ZONE */ select extract(hour from timestamptz '2020-01-01 12:00' at time zone 'UTC')"
        assert int(a.execute(text.replace("ZONE", zone).encode(), prepare=True).fetchone()[0]) == hour


def test_a_setting_of_the_transaction_at_hand_gives_no_meaning_to_others(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    text = "select extract(month from date '1/2/2003')"
    with a.transaction():
        a.execute("set local datestyle = 'ISO, DMY'")
        assert a.execute(text, prepare=True).fetchone()[0] == 2
    for _ in range(4):
        assert b.execute(text, prepare=True).fetchone()[0] == 1


def test_tables_of_one_name_in_two_schemas(clients: Callable[..., Client], streaming: StreamingCluster) -> None:
    streaming.primary.sql(
        "drop schema if exists north, south cascade; create schema north; create schema south;"
        "create table north.t (x int); create table south.t (x text, y int); insert into north.t values (1)"
    )
    streaming.wait_caught_up()
    a, b = clients(options="'-c search_path=north'"), clients(options="'-c search_path=south'")
    for _ in range(4):
        assert len(a.execute("select * from t", prepare=True).description) == 1
        assert len(b.execute("select * from t", prepare=True).description) == 2
    a.execute("alter table north.t add z int")
    c = clients(options="'-c search_path=north'")
    assert len(c.execute("/* pgrouter: primary */ select * from t", prepare=True).description) == 2
    streaming.wait_caught_up()
    assert len(c.execute("select * from t", prepare=True).description) == 2
    streaming.primary.sql("drop schema north, south cascade")


def test_a_plan_that_is_too_old_is_made_anew(clients: Callable[..., Client], streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop table if exists plans; create table plans (a int); insert into plans values (1)")
    streaming.wait_caught_up()
    a, b = clients(), clients()
    for text in ("select * from plans", "select * from plans for update", "update plans set a = a returning *"):
        assert len(a.execute(text, prepare=True).description) == 1
    streaming.primary.sql("alter table plans add b int default 2")
    streaming.wait_caught_up()
    for text in ("select * from plans", "select * from plans for update", "update plans set a = a + 1 returning *"):
        assert len(a.execute(text, prepare=True).description) == 2
        assert len(b.execute(text, prepare=True).description) == 2
    assert streaming.primary.sql("select a from plans")[0][0] == 3  # each has run once
    with a.transaction():
        assert len(a.execute("select * from plans for update", prepare=True).description) == 2
        streaming.primary.sql("set lock_timeout = '5s'; create table if not exists elsewhere (a int)")
    streaming.primary.sql("alter table plans add c int")
    a.execute("begin; select 1", prepare=False)
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan"):
        a.execute("select * from plans for update", prepare=True)
    a.execute("rollback")
    assert len(clients().execute("select * from plans for update", prepare=True).description) == 3


@pytest.mark.parametrize("before", list(itertools.product(("replica", "primary"), repeat=2)), ids="-".join)
@pytest.mark.parametrize("reads", [1, 2, 3])
def test_a_plan_is_made_anew_wherever_it_was_made(
    clients: Callable[..., Client], streaming: StreamingCluster, before: tuple[str, ...], reads: int
) -> None:
    table = f"plans_{'_'.join(before)}_{reads}"  # its own: others' plans of one name would be too old from the start
    streaming.primary.sql(f"create table {table} (a int); insert into {table} values (1)")  # noqa: S608
    streaming.wait_caught_up()
    text = f"select * from {table}"  # noqa: S608
    a, b = clients(), clients()

    def read(client: Client, where: str) -> int:
        if where == "replica":
            return len(client.execute(text, prepare=True).description)
        with client.transaction():
            client.execute(f"update {table} set a = a")  # noqa: S608
            return len(client.execute(text, prepare=True).description)

    for where in before:
        assert [read(client, where) for client in (a, b) for _ in range(reads)] == [1] * 2 * reads
        streaming.wait_caught_up()
    streaming.primary.sql(f"alter table {table} add b int default 2")
    streaming.wait_caught_up()
    for where in ("replica", "replica", "replica"):
        assert [len(client.execute(text, prepare=True).description) for client in (a, b)] == [2, 2], where
    streaming.primary.sql(f"drop table {table}")


# -- settings follow the client


def test_settings_of_the_startup_packet_belong_to_one_client(clients: Callable[..., Client]) -> None:
    a = clients(application_name="a", options="'-c work_mem=5MB -c search_path=alpha,public'")
    b = clients(application_name="b")
    for _ in range(4):
        assert [setting(a, n) for n in ("work_mem", "search_path", "application_name")] == ["5MB", "alpha,public", "a"]
        assert [setting(b, n) for n in ("work_mem", "application_name")] == ["4MB", "b"]
        assert setting(b, "search_path") == '"$user", public'


def test_set_follows_its_client_to_every_server(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("set work_mem = '7MB'")
    a.execute("set app.uid = '42'")
    a.execute("set timezone = 'Asia/Tokyo'")
    a.execute("select set_config('lock_timeout', '9s', false)")
    for _ in range(6):
        assert [setting(a, n) for n in ("work_mem", "app.uid", "timezone", "lock_timeout")] == [
            "7MB", "42", "Asia/Tokyo", "9s",
        ]  # fmt: skip
        assert setting(b, "app.uid") in (None, "")
        assert [setting(b, n) for n in ("work_mem", "lock_timeout")] == ["4MB", "0"]
        assert one(a, "show work_mem") == "7MB"
    assert a.info.parameter_status("TimeZone") == "Asia/Tokyo"
    assert b.info.parameter_status("TimeZone") != "Asia/Tokyo"


def test_set_in_transactions(clients: Callable[..., Client]) -> None:
    a = clients()
    a.execute("set work_mem = '7MB'")
    with a.transaction(force_rollback=True):
        a.execute("set work_mem = '9MB'")
        assert setting(a, "work_mem") == "9MB"
    assert setting(a, "work_mem") == "7MB"
    with a.transaction():
        a.execute("set local work_mem = '11MB'")
        assert setting(a, "work_mem") == "11MB"
    assert setting(a, "work_mem") == "7MB"
    with a.transaction():
        a.execute("set work_mem = '8MB'")
        with a.transaction(force_rollback=True):
            a.execute("set work_mem = '12MB'")
    assert setting(a, "work_mem") == "8MB"


def test_reset_goes_back_to_what_the_client_began_with(clients: Callable[..., Client]) -> None:
    a = clients(options="'-c work_mem=5MB'", application_name="begun")
    a.execute("set work_mem = '7MB'")
    a.execute("reset work_mem")
    assert setting(a, "work_mem") == "5MB"
    a.execute("set work_mem = '7MB'")
    a.execute("set application_name = 'other'")
    a.execute("reset all")
    assert [setting(a, n) for n in ("work_mem", "application_name")] == ["5MB", "begun"]
    a.execute("set work_mem = '7MB'")
    a.execute("discard all")
    assert [setting(a, n) for n in ("work_mem", "application_name")] == ["5MB", "begun"]


def test_a_role_follows_its_client(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("set role pg_monitor")
    for _ in range(3):
        assert one(a, "select current_user") == "pg_monitor"
        assert one(b, "select current_user") == "postgres"
    a.execute("reset role")
    assert one(a, "select current_user") == "postgres"


def test_another_session_user_follows_its_client_and_has_no_role(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("set lo_compat_privileges = on")  # as the superuser; the next one on this server must get it off again
    a.execute("set session authorization pg_monitor")
    a.execute("set role pg_read_all_stats")
    for _ in range(3):
        assert one(a, "select session_user || ' ' || current_user") == "pg_monitor pg_read_all_stats"
        assert one(a, "show lo_compat_privileges") == "on"
        assert one(b, "select session_user || ' ' || current_user") == "postgres postgres"
        assert one(b, "show lo_compat_privileges") == "off"
    a.execute("reset session authorization")
    for _ in range(3):
        who = one(a, "select concat_ws(' ', session_user, current_user, current_setting('role'))")
        assert who == "postgres postgres none"
        assert one(b, "select 1") == 1
    a.execute("select set_config('session_authorization', 'pg_monitor', false)")
    a.execute("set role pg_read_all_stats")
    a.execute("select set_config('session_authorization', 'pg_read_all_settings', false)")
    for _ in range(3):
        assert one(a, "select session_user || ' ' || current_user") == "pg_read_all_settings pg_read_all_settings"
        assert one(b, "select current_user") == "postgres"


def test_a_setting_that_is_refused_changes_nothing(clients: Callable[..., Client]) -> None:
    a = clients()
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        a.execute("set work_mem = 'lots'")
    assert setting(a, "work_mem") == "4MB"


def test_a_startup_setting_that_is_wrong_is_refused_at_login(front: Router) -> None:
    with pytest.raises(psycopg.OperationalError, match='invalid value for parameter "work_mem"'):
        front.connect(options="'-c work_mem=lots'")


@pytest.mark.parametrize(
    "settings",
    [
        {"client_encoding": "utf8"},  # what the server has already
        {"client_encoding": "euc-jp"},
        {"client_encoding": "EUC_JP"},
        {"client_encoding": "euc_jp"},
        {"options": "'-c timezone=utc -c datestyle=german -c intervalstyle=ISO_8601'"},
        {"options": "'-c standard_conforming_strings=1 -c datestyle=iso,mdy -c work_mem=5MB'"},
    ],
)
def test_settings_of_the_startup_packet_are_reported_as_postgresql_spells_them(
    clients: Callable[..., Client], streaming: StreamingCluster, settings: dict[str, str]
) -> None:
    names = ("client_encoding", "TimeZone", "DateStyle", "IntervalStyle", "standard_conforming_strings")
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    with psycopg.connect(f"{conninfo(streaming.primary.port)} {words}") as direct:
        routed = clients(**settings)
        for name in names:
            assert routed.info.parameter_status(name) == direct.info.parameter_status(name)


def test_settings_of_a_session_read_only_by_default_are_not_lost_on_the_way(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("set default_transaction_read_only = on")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        a.execute("create table never (a int)")
    b.execute("create temp table fine (a int)")


# -- state that keeps its server


def test_temporary_tables(front: Router, clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("create temp table scratch (a int)")
    for i in range(5):
        a.execute("insert into scratch values (%s)", [i])
        with pytest.raises(psycopg.errors.UndefinedTable):
            b.execute("select * from scratch")
    assert one(a, "select count(*) from scratch") == 5
    wait_pin(front, a, "temporary object")
    wait_pin(front, b, "")


def test_discard_all_lets_go_of_the_server(front: Router, clients: Callable[..., Client]) -> None:
    a = clients()
    a.execute("create temp table scratch (a int)")
    assert pin(front, a)
    a.execute("discard all")
    wait_pin(front, a, "")
    with pytest.raises(psycopg.errors.UndefinedTable):
        a.execute("/*pgrouter: primary*/ select * from scratch")


def test_listen_and_notify(front: Router, clients: Callable[..., Client]) -> None:
    listener, speaker = clients(), clients()
    listener.execute("listen news")
    wait_pin(front, listener, "LISTEN")
    speaker.execute("notify news, 'one'")
    with speaker.transaction():
        speaker.execute("select pg_notify('news', 'two')")
    heard = [note.payload for note in listener.notifies(timeout=30, stop_after=2)]
    assert heard == ["one", "two"]


def test_a_listener_that_left_does_not_listen_for_the_next(clients: Callable[..., Client]) -> None:
    for _ in range(3):
        with clients() as gone:
            gone.execute("listen gossip")
    for _ in range(4):
        assert one(clients(), "/*pgrouter: primary*/ select count(*) from pg_listening_channels()") == 0


def test_advisory_locks_are_held_and_given_up(front: Router, streaming: StreamingCluster) -> None:
    held = "select count(*) from pg_locks where locktype = 'advisory'"
    with front.connect() as a, front.connect() as b:
        assert one(a, "select pg_try_advisory_lock(7)") is True
        for _ in range(5):
            assert one(b, "select pg_try_advisory_lock(7)") is False
        wait_pin(front, a, "advisory lock")
        assert one(a, "select pg_advisory_unlock(7)") is True
        assert one(b, "select pg_try_advisory_lock(7)") is True
    until(lambda: streaming.primary.sql(held)[0][0] == 0, 30, "advisory locks given up with their clients")


def test_cursors_with_hold(front: Router, clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("declare c cursor with hold for select generate_series(1, 100)")
    wait_pin(front, a, "WITH HOLD cursor")
    b.execute("select 1")
    assert a.execute("fetch 2 from c").fetchall() == [(1,), (2,)]
    with pytest.raises(psycopg.errors.InvalidCursorName):
        b.execute("fetch 2 from c")
    a.execute("close c")


def test_prepare_in_sql(front: Router, clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    a.execute("prepare plus (int) as select $1 + 1")
    wait_pin(front, a, "PREPARE")
    for i in range(5):
        assert one(a, f"execute plus ({i})") == i + 1
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            b.execute("/*pgrouter: primary*/ execute plus (1)")
    a.execute("deallocate plus")


def test_prepare_in_sql_and_in_the_protocol_by_the_same_client(clients: Callable[..., Client]) -> None:
    a = clients()
    for _ in range(3):
        assert a.execute("select %s::int", [1], prepare=True).fetchone() == (1,)
    a.execute("deallocate all")
    fresh = clients()
    for _ in range(8):
        assert fresh.execute("select %s::int", [1], prepare=True).fetchone() == (1,)


@pytest.mark.parametrize(("takes", "words", "gives"), [
    ("create temp table mine (a int)", "temporary object", "drop table mine"),
    ("create temp table mine (a int)", "temporary object", "discard temp"),
    ("create type pg_temp.mood as enum ('glad')", "temporary object", "drop type pg_temp.mood"),
    ("create function pg_temp.f() returns int language sql as 'select 1'", "temporary object",
     "drop function pg_temp.f"),
    ("listen news", "LISTEN", "unlisten news"),
    ("listen news", "LISTEN", "unlisten *"),
    ("select pg_advisory_lock(5)", "advisory lock", "select pg_advisory_unlock(5)"),
    ("select pg_advisory_lock_shared(5, 6)", "advisory lock", "select pg_advisory_unlock_all()"),
    ("declare c cursor with hold for select 1", "WITH HOLD cursor", "close c"),
    ("declare c cursor with hold for select 1", "WITH HOLD cursor", "close all"),
    ("prepare plus as select 1", "PREPARE", "deallocate plus"),
    ("prepare plus as select 1", "PREPARE", "deallocate all"),
])  # fmt: skip
def test_a_pin_ends_with_what_it_is_for(
    front: Router, clients: Callable[..., Client], takes: str, words: str, gives: str
) -> None:
    a = clients()
    a.execute(takes.encode())
    a.execute("set work_mem = '7MB'")
    wait_pin(front, a, words)
    with pytest.raises(psycopg.errors.DivisionByZero):
        a.execute("select 1 / 0")
    a.execute(gives.encode())
    wait_pin(front, a, "")
    assert setting(a, "work_mem") == "7MB"


def test_a_pin_stays_as_long_as_anything_is_left(front: Router, clients: Callable[..., Client]) -> None:
    a = clients()
    a.execute("select pg_advisory_lock(5), pg_advisory_lock(5)")
    a.execute("create temp table mine (a int); create temp table yours (a int)")
    a.execute("select pg_advisory_unlock(5)")
    a.execute("drop table mine")
    wait_pin(front, a, "temporary object")
    a.execute("drop table yours")
    wait_pin(front, a, "advisory lock")
    a.execute("select pg_advisory_unlock(5)")
    wait_pin(front, a, "")


@pytest.mark.parametrize("statements", [
    ["begin", "create temp table mine (a int) on commit drop", "insert into mine values (1)", "commit"],
    ["begin", "create temp table mine (a int)", "select pg_advisory_xact_lock(5)", "listen news", "rollback"],
    ["select pg_advisory_lock(5), pg_advisory_unlock(5)"],
    ["begin", "declare c cursor with hold for select 1", "close c", "commit"],
    ["prepare plus as select 1; execute plus; deallocate plus"],
])  # fmt: skip
def test_what_is_gone_by_the_end_of_its_transaction_pins_nobody(
    front: Router, clients: Callable[..., Client], statements: list[str]
) -> None:
    a = clients()
    for statement in statements:
        a.execute(statement.encode())
    wait_pin(front, a, "")
    assert one(a, "select 1") == 1


# -- values of sequences


@pytest.fixture
def serial(streaming: StreamingCluster) -> None:
    streaming.primary.sql("drop table if exists serial; create table serial (id bigserial, who text)")
    streaming.wait_caught_up()


@pytest.mark.usefixtures("serial")
def test_lastval_is_the_sessions_own(clients: Callable[..., Client]) -> None:
    a, b = clients(), clients()
    for number in range(1, 6):
        a.execute("insert into serial (who) values ('a')")
        assert one(b, "select 1") == 1
        assert one(a, "select lastval()") == number
        assert one(a, "select currval('serial_id_seq')") == number


@pytest.mark.usefixtures("serial")
def test_lastval_is_never_somebody_elses(clients: Callable[..., Client]) -> None:
    a, b, c = clients(), clients(), clients()
    a.execute("comment on table serial is 'new'")  # the router looks at once: it need not ask what a write has left
    explained = "explain route select * from serial"
    until(lambda: "replica" in str(a.execute(explained, prepare=False).fetchall()), 10, "the catalog read again")
    a.execute("insert into serial (who) values ('a')")
    b.execute("insert into serial (who) values ('b')")  # on the same server connection: it was used last
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="RETURNING"):
        a.execute("select lastval()")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        c.execute("select currval('serial_id_seq')")
    assert one(b, "select lastval()") == 2
    with a.transaction():
        a.execute("insert into serial (who) values ('a')")
        assert one(a, "select lastval()") == 3
    a.execute("insert into serial (who) values ('a'); select lastval()", prepare=False)
    assert one(a, "select nextval('serial_id_seq') - currval('serial_id_seq')") == 0
    with a.pipeline():
        a.execute("insert into serial (who) values ('a')")
        cursor = a.execute("select lastval()")
    assert cursor.fetchone()[0] == 6


@pytest.fixture(params=["primary", "split"])
def two_servers(streaming: StreamingCluster, request: pytest.FixtureRequest) -> Iterator[Router]:
    """Give a router that knows of nobody who asks for lastval yet, with two connections for writes."""
    members = streaming.servers if request.param == "split" else [streaming.primary]
    with running({"cluster": static_cluster(members), "pool": {"size": 2}}) as front:
        yield front


@pytest.mark.usefixtures("serial")
def test_lastval_is_not_what_another_took_before_our_last_write(two_servers: Router) -> None:
    with two_servers.connect() as a, two_servers.connect() as b:
        for _ in range(2):  # the first time nobody has asked before
            b.execute("insert into serial (who) values ('b')")
            a.execute("update serial set who = 'a'")  # on the same server connection, but it takes no value
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                a.execute("select lastval()")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), a.transaction():
            a.execute("select lastval()")
        a.execute("insert into serial (who) values ('a')")
        assert one(a, "select lastval()") == 3


@pytest.mark.usefixtures("serial")
@pytest.mark.parametrize("prepare", [False, True])
def test_nor_in_a_transaction(two_servers: Router, prepare: bool) -> None:  # noqa: FBT001
    with two_servers.connect() as a, two_servers.connect() as b:
        b.execute("insert into serial (who) values ('b')")
        with a.transaction():
            a.execute("update serial set who = 'a'")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState), a.transaction():
                a.execute("select lastval()", prepare=prepare)
            assert one(a, "insert into serial (who) values ('a') returning id") == 2
            assert one(a, "select lastval()") == 2
        assert one(a, "select lastval()") == 2


@pytest.mark.usefixtures("serial")
def test_who_asks_for_lastval_keeps_to_its_server(two_servers: Router) -> None:
    with two_servers.connect() as a, two_servers.connect() as b, two_servers.connect() as c:
        a.execute("insert into serial (who) values ('a')")
        assert one(a, "select lastval()") == 1
        with b.transaction(), c.transaction():
            b.execute("insert into serial (who) values ('b')")
            c.execute("insert into serial (who) values ('c')")
        for number in range(4, 20):
            a.execute("insert into serial (who) values ('a')")
            a.execute("update serial set who = 'x'")
            assert one(a, "select lastval()") == number


@pytest.mark.usefixtures("serial")
def test_nor_is_it_an_older_one_of_our_own(streaming: StreamingCluster) -> None:
    settings = {"cluster": static_cluster([streaming.primary]), "pool": {"size": 2}}
    with running(settings) as front, front.connect() as a, front.connect() as b, ThreadPoolExecutor(1) as pool:
        a.execute("insert into serial (who) values ('a')")
        busy = pool.submit(b.execute, "select pg_sleep(0.5)")  # a read, on the server that was used last
        until(lambda: any(row["state"] == "active" for row in front.admin("SHOW SERVERS")), 5, "a busy server")
        a.execute("insert into serial (who) values ('a')")  # on the other one
        busy.result()
        assert one(a, "select lastval()") == 2
        busy = pool.submit(b.execute, "select pg_sleep(0.5)")
        until(lambda: any(row["state"] == "active" for row in front.admin("SHOW SERVERS")), 5, "a busy server")
        a.execute("update serial set who = 'a'")  # on the first
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            a.execute("select lastval()")


@pytest.mark.usefixtures("serial")
def test_lastval_waits_for_its_server(streaming: StreamingCluster) -> None:
    settings = {"cluster": static_cluster([streaming.primary]), "pool": {"size": 2}}
    with running(settings) as front, front.connect() as a, front.connect() as b, ThreadPoolExecutor(1) as pool:
        a.execute("insert into serial (who) values ('a')")
        busy = pool.submit(b.execute, "select pg_sleep(0.5)")  # a read, on the server that was used last
        until(lambda: any(row["state"] == "active" for row in front.admin("SHOW SERVERS")), 5, "a busy server")
        assert one(a, "select lastval()") == 1
        assert wait([busy], timeout=0.1).done, "it has waited"


def test_nothing_leaks_to_the_next_client(front: Router, clients: Callable[..., Client]) -> None:
    litter = (
        "create temp table litter (a int)", "listen litter", "select pg_advisory_lock(99)", "set work_mem = '99MB'",
        "declare litter cursor with hold for select 1", "prepare litter as select 1", "set role pg_monitor",
        "set session characteristics as transaction read only", "select setseed(0.5)",
    )  # fmt: skip
    for statement in litter:
        with front.connect() as a:
            a.execute(statement.encode())
    clean = """/*pgrouter: primary*/ select
        (select count(*) from pg_class where relname = 'litter'), (select count(*) from pg_listening_channels()),
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
        (select count(*) from pg_cursors where name = 'litter'),
        (select count(*) from pg_prepared_statements where name = 'litter'),
        current_setting('work_mem'), current_setting('default_transaction_read_only'), current_user::text"""
    others = [clients() for _ in range(3)]
    for client in others:
        client.execute("begin")  # all three servers of the pool at once
    for client in others:
        assert client.execute(clean, prepare=False).fetchone() == (0, 0, 0, 0, 0, "4MB", "off", "postgres")
        client.execute("commit")


def test_a_pinned_client_does_not_starve_the_pool(front: Router, clients: Callable[..., Client]) -> None:
    pinned = [clients() for _ in range(2)]
    for client in pinned:
        client.execute("create temp table mine (a int)")
    others = [clients() for _ in range(6)]
    for client in others * 3:
        client.execute("create table if not exists shared (a int)")
    assert {pin(front, client) for client in pinned} == {"temporary object"}
