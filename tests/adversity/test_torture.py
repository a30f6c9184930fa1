"""Hostile and unusual clients are answered as PostgreSQL answers them: the same random messages to both.

Two databases of one server begin the same, one reached directly and one through the router, and get the same
conversations in the same order. Where an answer differs, the failure shows the fewest messages that make it differ.
"""

from __future__ import annotations

import difflib
import random
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, TERMINATE, RawClient, bind, message, parse, query, sqlstate, values
from support.router import static_cluster
from support.torture import RESET, SCHEMA, NameTorturer, Piece, Torturer, agree, answers, shrink

from pgrouter.demo.postgres import PASSWORD, USER, ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

pytestmark = pytest.mark.pg

TRUST = ServerOptions(hba=("host all postgres 127.0.0.1/32 trust",))
DATABASES = ("direct", "routed")


class Both:
    """The same conversation with PostgreSQL and with the router."""

    def __init__(self, cluster: StreamingCluster, router: Router) -> None:
        self.cluster = cluster
        self.router = router
        for database in DATABASES:
            self.sql(database, SCHEMA)

    def sql(self, database: str, text: str) -> list[tuple[object, ...]]:
        port = self.cluster.primary.port
        dsn = f"host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def reset(self) -> None:
        for database in DATABASES:
            self.sql(database, f"set lock_timeout = '5s'; drop table if exists made; {RESET}")

    def play(self, pieces: list[Piece], cuts: str, quiet_s: float) -> tuple[list[str], list[str]]:
        """Give what each of them has said; the same cuts for both, none if empty."""
        ports = (self.cluster.primary.port, self.router.port)
        direct, routed = (
            answers(port, database, pieces, random.Random(cuts) if cuts else None, quiet_s)  # noqa: S311
            for port, database in zip(ports, DATABASES, strict=True)
        )
        return direct, routed

    def differs(self, pieces: list[Piece], cuts: str) -> bool:
        self.reset()
        return not agree(*self.play(pieces, cuts, 2.0))

    def difference(self, seed: str, illegal: float, kind: type[Torturer] = Torturer) -> str:
        """Hold one conversation with both; a difference is looked at again, so that a slow machine is none."""
        pieces = kind(seed, illegal=illegal).conversation()
        cuts = seed if random.Random(seed).random() < 0.3 else ""  # noqa: S311
        direct, routed = self.play(pieces, cuts, 0.5)
        if not agree(direct, routed) and self.differs(pieces, cuts):
            pieces = shrink(pieces, lambda fewer: self.differs(fewer, cuts))
            self.reset()
            direct, routed = self.play(pieces, cuts, 2.0)
            diff = "\n".join(difflib.unified_diff(direct, routed, "PostgreSQL", "pgrouter", lineterm="", n=2))
            self.reset()
            return "\n".join([f"{seed}:", *(piece.name for piece in pieces), diff])
        if direct[-1] != "end":  # behind what the one refuses the other may have done less
            self.reset()
        return ""


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with StreamingCluster(1, options=TRUST) as cluster:
        for database in DATABASES:
            cluster.primary.sql(f"create database {database}")
        settings = {
            "listen": [{"host": "127.0.0.1", "port": 0, "mode": "primary"}], "auth": {"type": "trust"},
            "cluster": static_cluster(cluster.servers), "pool": {"size": 3, "prepared_statements": 4},
        }  # fmt: skip
        with running(settings) as router:
            yield Both(cluster, router)


def test_unusual_clients(both: Both) -> None:
    both.reset()
    for number in range(100):
        assert not both.difference(f"usual {number}", illegal=0)
    assert both.sql("direct", "select * from w order by id") == both.sql("routed", "select * from w order by id")


def test_hostile_clients(both: Both) -> None:
    for number in range(40):
        assert not both.difference(f"hostile {number}", illegal=0.03)


def test_clients_that_pipeline_what_names_stand_for(both: Both) -> None:
    for number in range(60):
        assert not both.difference(f"names {number}", illegal=0, kind=NameTorturer)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "illegal"), [(Torturer, 0), (Torturer, 0.03), (NameTorturer, 0)])
def test_a_thousand_clients_of_each_kind(both: Both, kind: type[Torturer], illegal: float) -> None:
    found = [different for number in range(1000) if (different := both.difference(f"many {number}", illegal, kind))]
    assert not found, "\n\n".join(found)


# -- what was found so


@pytest.mark.parametrize("begin", ["select 1", "begin; select 1/0"])
@pytest.mark.parametrize("batch", [
    parse("select 1") + bind() + EXECUTE, parse("selekt") + FLUSH, parse("selekt", "s") + bind("s") + EXECUTE + FLUSH,
])  # fmt: skip
def test_nobodys_server_is_stuck_behind_a_batch_that_failed_and_was_never_ended(
    both: Both, begin: str, batch: bytes
) -> None:
    for _ in range(6):  # twice as many as there are connections
        with RawClient(both.router.port) as client:
            client.login(database="routed")
            client.send(query(begin))
            client.until_ready()
            client.send(batch + TERMINATE)
            client.until_closed()
    with RawClient(both.router.port, timeout_s=5) as client:
        client.login(database="routed")
        assert values(client.ask("select 1")) == [["1"]]
    until(lambda: {row["state"] for row in both.router.admin("SHOW SERVERS")} <= {"idle"}, 5, "all are free")


def test_a_statement_prepared_behind_discard_all_is_not_left_on_the_server(both: Both) -> None:
    with RawClient(both.router.port) as client:
        client.login(database="routed")
        lead = parse("select 'mine'", "s1") + SYNC
        client.send(lead)
        client.until_ready()
        client.send(parse("discard all") + bind() + EXECUTE + parse("select 'anew'", "s1") + SYNC)
        client.until_ready()
    for _ in range(6):
        with RawClient(both.router.port) as client:
            client.login(database="routed")
            client.send(bind("s1") + EXECUTE + SYNC)
            assert sqlstate(client.until_ready()) == "26000"
            client.send(parse("select 'anew'", "s1") + bind("s1") + EXECUTE + SYNC)
            assert values(client.until_ready()) == [["anew"]]


def test_what_is_sent_before_terminate_is_answered(both: Both) -> None:
    with RawClient(both.router.port) as client:
        client.login(database="routed")
        client.send(query("select 1") + query("select pg_sleep(0.1)") + query("select 2") + TERMINATE)
        assert values(client.until_closed()) == [["1"], [""], ["2"]]


def test_a_message_that_ends_the_session_ends_it_with_postgresqls_words(both: Both) -> None:
    with RawClient(both.router.port) as client:
        client.login(database="routed")
        client.send(query("copy w (a, b) from stdin"))
        client.until("G")
        client.send(query("select 1"))
        said = client.until_closed()
        errors = [(m.fields["S"], m.fields["C"]) for m in said if m.code == "E"]
        assert errors == [("ERROR", "08P01"), ("FATAL", "08P01")]


def test_errors_name_prepared_statements_as_the_client_does(both: Both) -> None:
    with RawClient(both.router.port) as client:
        client.login(database="routed")
        client.send(parse("select $1::int", "mine") + SYNC)
        client.until_ready()
        client.send(bind("mine") + SYNC)
        (error,) = (m.fields["M"] for m in client.until_ready() if m.code == "E")
        assert error == 'bind message supplies 0 parameters, but prepared statement "mine" requires 1'


def test_a_long_message_of_a_short_kind_is_refused_at_once(both: Both) -> None:
    for code in (b"S", b"H", b"c", b"f", b"D", b"C", b"E", b"X"):
        with RawClient(both.router.port) as client:
            client.login(database="routed")
            client.send(message(code, bytes(20_000))[:5])
            assert sqlstate(client.until_closed()) == "08P01"
