"""Where the conversations take place: PostgreSQL itself, and pgrouter in front of it; all trust the user postgres.

The only place that knows how they are started. PGROUTER_TEST_DIRECT, PGROUTER_TEST_SPLIT and PGROUTER_TEST_PRIMARY
(HOST:PORT each) name ones that run already.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest
from player import Address
from support.router import RouterFactory, static_cluster

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the scripts find: made once, on the primary, and replayed by the standby before the first script.
SCHEMA = """
drop table if exists conversation_deferred, conversation_rows, conversation_copy;
create table conversation_rows (id int primary key, word text not null);
insert into conversation_rows select i, 'word ' || i from generate_series(1, 5) i;
create table conversation_copy (id int primary key, word text);
create table conversation_deferred (
    id int primary key, parent int references conversation_rows deferrable initially deferred);
drop table if exists conversation_unlogged;
drop sequence if exists conversation_numbers cascade;
create unlogged table conversation_unlogged as select i from generate_series(1, 2) i;
create sequence conversation_numbers;
create view conversation_next as select nextval('conversation_numbers') > 0 as n;
do $$ begin
    for i in 1..500 loop
        perform pg_stat_clear_snapshot();
        exit when not exists (select from pg_stat_replication where replay_lsn < pg_current_wal_lsn());
        perform pg_sleep(0.01);
    end loop;
end $$;
"""
TRUST = ServerOptions(hba=("host all postgres 127.0.0.1/32 trust",))


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses of the same database."""

    direct: Address
    split: Address
    primary: Address


@pytest.fixture(scope="session")
def places() -> Iterator[Places]:
    """Give a primary with a standby, and a router in front of them with a port for all and one for the primary."""
    named = [os.environ.get(f"PGROUTER_TEST_{name}", "") for name in ("DIRECT", "SPLIT", "PRIMARY")]
    if all(named):
        found = Places(*map(_address, named))
        _prepare(found.direct)
        yield found
        return
    with StreamingCluster(2, options=TRUST) as cluster:
        direct = Address("127.0.0.1", cluster.primary.port)
        _prepare(direct)
        factory = RouterFactory()
        try:
            listen = [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "mode": "primary"}]
            router = factory({"listen": listen, "auth": {"type": "trust"}, "cluster": static_cluster(cluster.servers)})
            yield Places(direct, *(Address("127.0.0.1", port) for port in router.process.ports))
        finally:
            factory.stop_all()
            factory.remove()


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


def _prepare(address: Address) -> None:
    with psycopg.connect(
        host=address.host, port=address.port, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(SCHEMA)
