"""What the router asks and sets for itself: never in a client's way, nor under what a client or an administrator has set.

As in test_isolation_state.py: conversations, played directly and through the router and compared.
"""

# ruff: noqa: E501  (a statement is a line)

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from session_fuzz import words
from session_fuzz.player import Player
from session_fuzz.sides import DIRECT, ROUTED
from session_fuzz.story import Step, written
from support.rawclient import query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_fuzz.sides import Sides

pytestmark = pytest.mark.pg

# Settings of the server that change while sessions go on: old sessions keep what they had, new ones have the new.
DEFAULTS = {
    "ALTER DATABASE SET": """
        0 show work_mem
        1 begin
        1 show timezone
        1 commit
        0 admin: alter database {db} set work_mem = '7MB'; alter database {db} set timezone = 'Asia/Tokyo'
        2 login:
        2 show work_mem
        2 /* pgrouter: primary */ select current_setting('work_mem'), current_setting('timezone')
        2 select timestamptz '2020-02-03 00:00+00'
        0 login:
        0 select current_setting('work_mem'), current_setting('timezone')
        0 /* pgrouter: primary */ select current_setting('work_mem'), current_setting('timezone')
        0 admin: alter database {db} reset work_mem; alter database {db} reset timezone
        0 login:
        0 select current_setting('work_mem'), current_setting('timezone')
    """,
    "ALTER ROLE IN DATABASE SET": """
        0 show datestyle
        0 admin: alter role fz_app in database {db} set datestyle = 'SQL, DMY'
        1 login:
        1 select date '2020-02-03'
        1 /* pgrouter: primary */ select date '2020-02-03', current_setting('datestyle')
        1 reset datestyle
        1 show datestyle
        1 reset all
        1 select date '2020-02-03'
        1 discard all
        1 show datestyle
        0 admin: alter role fz_app in database {db} reset datestyle
        1 login:
        1 show datestyle
    """,
    "a custom setting of the database": """
        0 select current_setting('app.a', true)
        0 admin: alter database {db} set app.a = 'database'
        1 login:
        1 select current_setting('app.a', true)
        1 set app.a = 'mine'
        1 reset app.a
        1 /* pgrouter: primary */ select current_setting('app.a', true)
        0 admin: alter database {db} reset app.a
        0 login:
        0 select current_setting('app.a', true)
    """,
    "statement_timeout of the role": """
        0 admin: alter role fz_app in database {db} set statement_timeout = '7s'
        0 login:
        0 show statement_timeout
        0 begin
        0 show statement_timeout
        1 login:
        1 show statement_timeout
        0 rollback
        0 admin: alter role fz_app in database {db} reset statement_timeout
        1 login:
        1 show statement_timeout
    """,
    "search_path of the database": """
        0 admin: alter database {db} set search_path = fz
        0 login:
        0 select count(*) from t
        0 describe: s1 | select id from t order by id
        0 bind: s1
        1 login:
        1 begin
        1 select count(*) from t
        0 bind: s1
        1 commit
        0 admin: alter database {db} reset search_path
        0 login:
        0 select count(*) from t
    """,
    "a default that is read only": """
        0 admin: alter database {db} set default_transaction_read_only = on
        0 login:
        0 insert into fz.t values (9)
        0 begin read write
        0 insert into fz.t values (9)
        0 commit
        0 set default_transaction_read_only = off
        0 insert into fz.t values (8)
        0 admin: alter database {db} reset default_transaction_read_only
    """,
    "a default that is serializable": """
        0 admin: alter role fz_app in database {db} set default_transaction_isolation = 'serializable'
        0 login:
        0 show transaction_isolation
        0 select count(*) from fz.t
        0 begin
        0 insert into fz.t values (9)
        0 commit
        0 begin read only
        0 select count(*) from fz.t
        0 commit
        0 admin: alter role fz_app in database {db} reset default_transaction_isolation
        1 login:
        1 select count(*) from fz.t
    """,
}

# What clients set for themselves
SETTINGS = {
    "seed": """
        0 set seed = 0.5
        0 select random() < 2
        0 show seed
        0 select random() < 2
        0 reset seed
        0 select random() < 2
        0 discard all
        0 select 1
    """,
    "a role that is revoked": """
        0 set role fz_one
        1 begin
        1 select 1
        1 commit
        0 admin: revoke fz_one from fz_app
        1 select current_user
        0 select 1
        0 reset role
        0 select current_user
        0 admin: grant fz_one to fz_app
    """,
    "a role that is revoked, and RESET ALL": """
        0 set role fz_two
        0 set work_mem = '5MB'
        0 admin: revoke fz_two from fz_app
        1 select 1
        0 reset all
        0 show work_mem
        0 reset role
        0 rollback
        0 discard all
        0 select current_user
        0 admin: grant fz_two to fz_app
    """,
    "a text search configuration that is dropped": """
        0 admin: create text search configuration fz.config (copy = simple)
        0 set default_text_search_config = 'fz.config'
        0 select to_tsvector('a word')
        0 admin: drop text search configuration fz.config
        1 select 1
        0 select 1
        0 reset all
        0 show default_text_search_config
        0 select to_tsvector('the word')
        0 discard all
        0 rollback
        0 select 1
    """,
    "a temporary schema in the search_path": """
        0 create schema fz_path
        0 create table fz_path.here as select 1 as i
        0 set search_path = fz_path
        0 select * from here
        0 drop schema fz_path cascade
        1 select 1
        0 select * from here
        0 show search_path
        0 reset all
        0 show search_path
    """,
    "defaults that are serializable, read only and deferrable": """
        0 set default_transaction_isolation = 'serializable'
        0 set default_transaction_read_only = on
        0 set default_transaction_deferrable = on
        0 show default_transaction_deferrable
        0 show work_mem
        0 set work_mem = '5MB'
        0 show work_mem
        0 select count(*) from fz.t
        0 reset all
        0 show default_transaction_isolation
    """,
    "a time zone and a date style that nobody else has": """
        0 set timezone = 'Asia/Kolkata'
        0 set datestyle = 'Postgres, DMY'
        0 set intervalstyle = 'sql_standard'
        0 set lc_monetary = 'C'
        1 select timestamptz '2020-03-04 05:06+00', interval '1 day'
        0 select timestamptz '2020-03-04 05:06+00', interval '1 day'
    """,
    "search_path without pg_catalog in front": """
        0 create schema fz_shadow
        0 create function fz_shadow.set_config(text, text, boolean) returns text language sql as $$ select 'shadow' $$
        0 create function fz_shadow.current_setting(text, boolean) returns text language sql as $$ select 'shadow' $$
        0 create view fz_shadow.pg_settings as select 'shadow' as name, 'shadow' as setting, 'session' as source
        0 set search_path = fz_shadow, pg_catalog
        0 set work_mem = '5MB'
        0 show work_mem
        1 show work_mem
        0 select set_config('work_mem', '6MB', false)
        0 show work_mem
        0 reset all
        0 show work_mem
        0 drop schema fz_shadow cascade
    """,
    "row_security and session_replication_role": """
        0 set row_security = off
        0 select * from fz.tenants
        1 select count(*) from fz.tenants
        0 set row_security = on
        0 select count(*) from fz.tenants
        0 set session_replication_role = replica
    """,
    "jit, parallel and planner settings": """
        0 set enable_seqscan = off
        0 set max_parallel_workers_per_gather = 0
        0 set jit = off
        1 select current_setting('enable_seqscan'), current_setting('jit')
        0 select current_setting('enable_seqscan'), current_setting('jit')
        0 reset enable_seqscan
        0 show enable_seqscan
    """,
    "client_min_messages that hides, and log settings": """
        0 set client_min_messages = error
        0 do $$ begin raise notice 'unheard'; perform set_config('app.a', 'A', false); end $$
        0 set client_min_messages = debug5
        0 set client_min_messages = notice
        0 select current_setting('app.a', true)
        1 do $$ begin raise notice 'heard'; end $$
    """,
}


@pytest.fixture
def sides(sides: Sides) -> Iterator[Sides]:
    yield sides
    for database in (DIRECT, *ROUTED.values()):
        sides.defaults(database)


QUICK = ("ALTER DATABASE SET", "a custom setting of the database", "a default that is read only")


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "what", [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in DEFAULTS]
)
def test_a_changed_default_reaches_new_sessions_whole(sides: Sides, what: str, pool: int) -> None:
    assert str(sides.play(written(what, DEFAULTS[what], pool), fresh=True) or "") == ""


@pytest.mark.parametrize("pool", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", SETTINGS)
def test_whatever_a_client_sets(sides: Sides, what: str, pool: int) -> None:
    assert str(sides.play(written(what, SETTINGS[what], pool), fresh=True) or "") == ""


def test_a_superusers_setting_goes_with_the_role_that_may_set_it(sides: Sides) -> None:
    """Set as a superuser, and then as an ordinary user again: it stays set, and may be reset."""
    text = """
        0 set role fz_boss
        0 set session_replication_role = replica
        0 reset role
        1 select 1
        0 show session_replication_role
        0 select 1
        0 reset all
        0 discard all
        0 select 1
    """
    for database in (DIRECT, ROUTED[2]):
        sides.sql(database, "drop role if exists fz_boss; create role fz_boss superuser; grant fz_boss to fz_app")
    assert str(sides.play(written("a superuser's setting", text, 2), fresh=True) or "") == ""


def client(sides: Sides, pool: int = 2, options: str = "") -> Player:
    return Player(sides.router.port, ROUTED[pool], words.USER, options)


def said(player: Player, sql: str) -> str:
    return "\n".join(player.ask(query(sql)).said)


def test_a_tiny_statement_timeout_is_set_or_refused_but_never_lost(sides: Sides) -> None:
    lost = 0
    for _ in range(10):
        sides.forget_servers()  # a server process that has just started needs more than 1 ms for a look at pg_settings
        with client(sides) as hasty:
            done, shown = said(hasty, "set statement_timeout = 1"), said(hasty, "show statement_timeout")
            lost += done.startswith("C 'SET") and "D ['0']" in shown
    assert lost == 0


def test_an_idle_session_timeout_ends_its_own_session_only(sides: Sides) -> None:
    with client(sides) as impatient, client(sides) as one, client(sides) as two:
        said(impatient, "set idle_session_timeout = '50ms'")
        for _ in range(40):
            for other in (one, two):
                assert said(other, "update fz.t set n = n + 1 where id = 1").startswith("C 'UPDATE 1")
            time.sleep(0.01)
        ended = impatient.raw.until_closed()
        assert [m.fields["C"] for m in ended if m.code == "E"] == ["57P05"]


def test_a_login_with_serializable_leaves_the_standby_to_others(sides: Sides) -> None:
    for options in ("-c default_transaction_isolation=serializable", "", "-c default_transaction_read_only=on", ""):
        with client(sides, pool=1, options=options) as each:
            assert "D ['4']" in said(each, "select count(*) from fz.t")


def test_deferrable_defaults_do_not_wait_for_a_safe_snapshot(sides: Sides) -> None:
    """As long as a serializable writer is at work, a transaction with these defaults would wait for it to end."""
    with Player(sides.cluster.primary.port, ROUTED[2], words.USER, "") as writer, client(sides) as patient:
        for text in ("begin isolation level serializable", "select count(*) from fz.t", "insert into fz.t values (77)"):
            said(writer, text)
        for name in ("isolation = 'serializable'", "read_only = on", "deferrable = on"):
            assert said(patient, f"set default_transaction_{name}").startswith("C 'SET")
        assert "D ['on']" in said(patient, "show default_transaction_deferrable")
        assert said(patient, "reset all").startswith("C 'RESET")
        said(writer, "rollback")


# What a client says to a transaction that has failed, by itself or with its server: a Query, or a batch of several
ENDS = {
    "a write behind ROLLBACK": "rollback; insert into fz.t values (9)",
    "a write behind COMMIT": "commit; insert into fz.t values (9)",
    "a whole transaction behind ROLLBACK": "rollback; begin; insert into fz.t values (9); commit",
    "another one that stays open": "rollback; begin; insert into fz.t values (9)",
    "an error behind a write": "rollback; insert into fz.t values (9); select 1/0",
    "what no transaction may have": "rollback; vacuum fz.t",
    "two ends": "rollback; rollback; select count(*) from fz.t",
    "a session's setting": "rollback; set app.a = 'x'; select current_setting('app.a')",
    "ROLLBACK is not the first": "select 1; rollback",
    "a write that COMMIT follows": "insert into fz.t values (9); commit",
    "a batch: a write": ("rollback", "insert into fz.t values (9)"),
    "a batch: behind COMMIT": ("commit", "insert into fz.t values (9)", "select count(*) from fz.t where id = 9"),
    "a batch: a transaction": ("rollback", "begin", "insert into fz.t values (9)", "commit"),
    "a batch: an error": ("rollback", "insert into fz.t values (9)", "select 1/0"),
    "a batch: ROLLBACK is not the first": ("select 1", "rollback"),
    "a batch: only the end": ("rollback",),
    "COMMIT AND CHAIN": "commit and chain",
    "a write behind COMMIT AND CHAIN": "commit and chain; insert into fz.t values (9); commit",
    "ROLLBACK AND CHAIN": "rollback and chain",
    "a batch: COMMIT AND CHAIN": ("commit and chain", "insert into fz.t values (9)"),
    "a batch: ROLLBACK AND CHAIN": ("rollback and chain",),
}
ROWS_OF_9 = "select count(*) from fz.t where id = 9"


def step(texts: str | tuple[str, ...]) -> Step:
    return Step(0, "query", (texts,)) if isinstance(texts, str) else Step(0, "pipeline", texts)


def lose_its_server(sides: Sides, player: Player) -> None:
    for text in ("begin", "insert into fz.seq (v) values ('lost')"):
        said(player, text)
    ours = f"usename = '{words.USER}' and datname in {(*ROUTED.values(),)}"
    sides.cluster.primary.sql(
        f"select pg_terminate_backend(pid, 2000) from pg_stat_activity where {ours}"  # noqa: S608
    )
    assert "57P01" in said(player, "select 1")
    assert player.status == "E"


@pytest.mark.parametrize("how", ENDS)
def test_what_follows_the_end_of_a_lost_transaction_is_run(sides: Sides, how: str) -> None:
    for database in (DIRECT, ROUTED[2]):
        sides.sql(database, "delete from fz.t where id = 9")
    with Player(sides.cluster.primary.port, DIRECT, words.USER, "") as direct, client(sides) as routed:
        said(direct, "begin; insert into fz.seq (v) values ('failed'); select 1/0")
        lose_its_server(sides, routed)
        for each in (ENDS[how], "commit", "select 'usable'"):
            assert routed.play(step(each)).lines() == direct.play(step(each)).lines(), each
    assert sides.sql(ROUTED[2], ROWS_OF_9) == sides.sql(DIRECT, ROWS_OF_9)


@pytest.mark.parametrize("how", ["rollback to a", "release a"])
@pytest.mark.parametrize("batched", [False, True])
def test_what_a_lost_transaction_cannot_do_is_refused_as_a_whole(sides: Sides, how: str, *, batched: bool) -> None:
    """Its savepoints are lost with it."""
    with client(sides) as routed:
        lose_its_server(sides, routed)
        texts = (how, "insert into fz.t values (9)")
        answer = routed.play(step(texts if batched else "; ".join(texts)))
        assert [line[:14] for line in answer.said] == ["E ERROR 25P02 "]
        assert answer.status == "E"
        assert said(routed, "rollback").startswith("C 'ROLLBACK")
    assert sides.sql(ROUTED[2], ROWS_OF_9) == [(0,)]


@pytest.mark.parametrize("batched", [False, True])
def test_no_server_is_to_be_had_for_what_follows_the_end_of_a_lost_transaction(sides: Sides, *, batched: bool) -> None:
    with client(sides, pool=1) as routed, client(sides, pool=1) as other:
        lose_its_server(sides, routed)
        assert "D ['t']" in said(other, "select pg_try_advisory_lock(7)")
        texts = ("rollback", "insert into fz.t values (9)")
        answer = routed.play(step(texts if batched else "; ".join(texts)))
        assert answer.waited
        assert answer.status == "I"
        assert "D ['t']" in said(other, "select pg_advisory_unlock(7)")
        assert "C 'UPDATE 1" in said(routed, "update fz.t set n = n + 1 where id = 1")
    assert sides.sql(ROUTED[1], ROWS_OF_9) == [(0,)]


ACTING = """
    0 select current_user
    0 set role none
    0 show is_superuser
    0 reset role
    0 show is_superuser
    0 begin
    0 set local role none
    0 commit
    0 do $$ begin reset all; end $$
    0 set session authorization fz_app
    0 reset session authorization
    0 discard all
    0 select current_user
    0 login: -c role=fz_two -c work_mem=1MB
    0 select current_user
    0 set role fz_one
    0 login: -c role=fz_two
    0 reset all
    0 select current_user
"""


@pytest.mark.parametrize("pool", [1, 2])
def test_a_superuser_that_logs_in_as_another_role_is_told_to_be_none(sides: Sides, pool: int) -> None:
    story = written("a role in the options", ACTING, pool, (words.SUPERUSER,))
    assert str(sides.play(replace(story, options=("-c role=fz_one",)), fresh=True) or "") == ""


CHAINED = {
    "READ WRITE that comes too late": ("begin read only", "select 1", "set transaction read write"),
    "READ WRITE in time": ("begin read only", "set transaction read write"),
    "an error": ("begin read only", "select 1/0"),
    "an error in REPEATABLE READ": ("begin isolation level repeatable read read only", "select 1/0"),
    "a level that comes too late": (
        "begin isolation level repeatable read read only", "select 1", "set transaction isolation level read committed",
    ),
    "no savepoint of that name": ("begin read only", "rollback to a"),
    "an error in a savepoint": ("begin read only", "savepoint a", "select 1/0", "rollback to a"),
    "nothing": ("begin isolation level repeatable read read only", "select 1"),
}  # fmt: skip


@pytest.mark.parametrize("ending", ["commit and chain", pytest.param("rollback and chain", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", CHAINED)
def test_what_modes_the_next_of_a_chain_has(sides: Sides, what: str, ending: str) -> None:
    """PostgreSQL keeps those of a transaction that has not failed."""
    texts = (*CHAINED[what], ending, "show transaction_read_only", "show transaction_isolation",
             "insert into fz.t values (9)", "commit")  # fmt: skip
    for kind in ("query", "pipeline"):
        text = "\n".join(f"0 {kind}: {each}" for each in texts)
        assert str(sides.play(written(what, text, 2)) or "") == ""
