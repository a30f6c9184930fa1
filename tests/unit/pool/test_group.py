"""Who gets which server connection, in stories."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from pool_ground import Client, World, view

from pgrouter.errors import ServerLost
from pgrouter.protocol import codes
from pgrouter.protocol.requests import COPY_END, EXECUTE, FORWARD, SYNC
from pgrouter.server.states import ACTIVE, DIALLING, IDLE_STATE, RESETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., World]


def clients(world: World, number: int) -> list[Client]:
    return [Client(world, i) for i in range(number)]


def filled(world: World, number: int, *, reads: bool) -> list[Client]:
    """Clients that hold a connection each."""
    made = clients(world, number)
    for client in made:
        client.ask(reads=reads)
    world.log_in_all()
    assert all(client.held for client in made)
    return made


def test_a_write_dials_the_primary_and_is_served(world: Make) -> None:
    ground = world()
    client = Client(ground, 1)
    assert not client.ask(reads=False)
    assert [server.owner.member.name for server in ground.dialled] == ["a"]
    assert ground.pool("a").count(DIALLING) == 1
    ground.log_in_all()
    assert client.held.state == ACTIVE
    client.release()
    assert ground.pool("a").count(IDLE_STATE) == 1
    assert client.ask(reads=False)


def test_reads_are_spread_evenly(world: Make) -> None:
    ground = world(size=10)
    for client in filled(ground, 10, reads=True):
        client.release()
    counted: Counter[str] = Counter()
    client = Client(ground, 99)
    for _ in range(100):
        assert client.ask(reads=True)
        counted[client.held.owner.member.name] += 1
        client.release()
    assert counted == {"b": 50, "c": 50}


def test_reads_are_spread_evenly_over_held_connections(world: Make) -> None:
    ground = world(size=10)
    for client in filled(ground, 8, reads=True):
        client.release()
    held = [client for client in clients(ground, 8) if client.ask(reads=True)]
    assert Counter(client.held.owner.member.name for client in held) == {"b": 4, "c": 4}


def test_waiting_is_first_in_first_out(world: Make) -> None:
    ground = world(size=1)
    (first,) = filled(ground, 1, reads=False)
    waiting = clients(ground, 3)
    for client in waiting:
        assert not client.ask(reads=False)
    ground.served.clear()
    for client in [first, *waiting[:2]]:
        client.release()
    assert ground.served == waiting


def test_never_more_than_size_connections(world: Make) -> None:
    ground = world(size=2)
    for client in clients(ground, 10):
        client.ask(reads=False)
    assert (len(ground.pool("a").servers), len(ground.dialled)) == (2, 2)
    for client in clients(ground, 10):
        client.ask(reads=True)
    assert [len(ground.pool(name).servers) for name in "abc"] == [2, 2, 2]


def test_no_more_dials_than_waiters(world: Make) -> None:
    ground = world(size=20)
    for client in clients(ground, 3):
        client.ask(reads=False)
    assert len(ground.dialled) == 3


def test_one_who_left_is_not_served(world: Make) -> None:
    ground = world(size=1)
    (first,) = filled(ground, 1, reads=False)
    gone, other = clients(ground, 2)
    gone.ask(reads=False)
    other.ask(reads=False)
    ground.group.forget(gone)
    first.release()
    assert (gone.held, other.held is not None) == (None, True)
    ground.advance(10_000)
    assert gone.refused is None


def test_a_connection_with_session_state_is_wiped_first(world: Make) -> None:
    ground = world(size=1)
    (first,) = filled(ground, 1, reads=False)
    server = first.held
    next_one = Client(ground, 2)
    next_one.ask(reads=False)
    server.session.dirty = True
    server.session.prepared[1] = object()
    first.release()
    assert (next_one.held, server.state, server.outstanding.count) == (None, RESETTING, 2)
    server.owner.server_free(server)
    assert (next_one.held, server.session.dirty, server.session.prepared) == (server, False, {})


def test_a_connection_of_which_nobody_knows_what_it_owes_is_not_handed_on(world: Make) -> None:
    """A COPY failed with a Sync in front of its data: see `Outstanding.uncertain`."""
    ground = world(size=1)
    (first,) = filled(ground, 1, reads=False)
    server = first.held
    for kind in (EXECUTE, SYNC, COPY_END, SYNC):
        server.outstanding.push(kind, FORWARD)
    for code in (codes.COPY_IN_RESPONSE, codes.ERROR_RESPONSE, codes.READY_FOR_QUERY):
        server.outstanding.answer(code)
    assert server.outstanding.uncertain
    first.release()
    assert server.closed


def test_a_cancel_on_its_way_keeps_a_connection_from_others(world: Make) -> None:
    ground = world(size=1)
    (first,) = filled(ground, 1, reads=False)
    server = first.held
    next_one = Client(ground, 2)
    next_one.ask(reads=False)
    server.cancels += 1
    first.release()
    assert next_one.held is None
    ground.group.cancelled(server)
    assert next_one.held is server


def test_waiting_has_an_end(world: Make) -> None:
    ground = world(size=1, wait_timeout_s=5, no_leader_timeout_s=2)
    filled(ground, 1, reads=False)
    waiting = Client(ground, 2)
    waiting.ask(reads=False)
    ground.advance(4.9)
    assert waiting.refused is None
    ground.advance(0.2)
    assert waiting.refused.sqlstate == "57014"


def test_writes_are_held_while_nobody_leads(world: Make) -> None:
    ground = world(no_leader_timeout_s=2)
    ground.apply(view(primary=None))
    held, late = clients(ground, 2)
    late.ask(reads=False)
    ground.advance(1.5)
    held.ask(reads=False)
    ground.advance(1)
    assert (late.refused.sqlstate, held.refused) == ("57P03", None)
    ground.apply(view(primary="b", readers=("a", "c")))
    ground.log_in_all()
    assert held.held.owner.member.name == "b"


def test_a_new_leader_cuts_the_connections_to_the_old_one(world: Make) -> None:
    ground = world()
    (writer,) = filled(ground, 1, reads=False)
    ground.apply(view(primary="b", readers=("a", "c")))
    assert writer.refused.sqlstate == "57P01"
    assert len(ground.pool("a").servers) == 0


def test_a_member_that_left_is_forgotten(world: Make) -> None:
    ground = world()
    busy, done = filled(ground, 2, reads=True)
    names = [client.held.owner.member.name for client in (busy, done)]
    done.release()
    ground.apply(view(readers=(), members=("a",)))
    assert set(ground.group.members) == {"a"}
    server = busy.held
    assert not server.closed
    busy.release()
    assert server.closed
    assert sorted(names) == ["b", "c"]


def test_a_leader_at_another_address_is_another_server(world: Make) -> None:
    ground = world()
    (client,) = filled(ground, 1, reads=False)
    first, *others = view().members
    ground.apply(replace(view(), members=(replace(first, port=first.port + 100), *others)))
    assert client.held is None
    assert client.refused.sqlstate == "57P01"


def test_reads_go_to_the_primary_when_there_is_no_replica(world: Make) -> None:
    ground = world()
    ground.apply(view(readers=()))
    client = Client(ground, 1)
    client.ask(reads=True)
    ground.log_in_all()
    assert client.held.owner.member.name == "a"


def test_reads_go_to_the_primary_when_no_replica_can_be_reached(world: Make) -> None:
    ground = world()
    client = Client(ground, 1)
    client.ask(reads=True)
    for _ in range(5):
        for server in list(ground.dialled):
            if server.owner.member.name in "bc":
                ground.fail(server)
        ground.advance(2)
    ground.log_in_all("a")
    assert client.held.owner.member.name == "a"


def test_a_waiting_read_gets_the_primarys_idle_connection_when_the_last_replica_fails(world: Make) -> None:
    """The pool of the primary is full, and all of it is free: nobody may wait then."""
    ground = world(size=1)
    (writer,) = filled(ground, 1, reads=False)
    writer.release()
    client = Client(ground, 1)
    client.ask(reads=True)
    for _ in range(4):
        for server in list(ground.dialled):
            ground.fail(server)
        ground.advance(1.5)
    assert client.held is not None


@pytest.mark.parametrize("sqlstate", ["28P01", "3D000", "42501"])
def test_a_final_refusal_ends_every_wait(world: Make, sqlstate: str) -> None:
    ground = world()
    waiting = clients(ground, 3)
    waiting[0].ask(reads=False)
    waiting[1].ask(reads=True)
    ground.group.wait_login(waiting[2])
    while ground.dialled:
        ground.fail(ground.dialled[0], sqlstate)
    assert [client.refused.sqlstate for client in waiting] == [sqlstate] * 3


@pytest.mark.parametrize("sqlstate", ["28P01", "3D000", "42501"])
def test_a_replica_that_does_not_know_a_role_yet_is_passed_over(world: Make, sqlstate: str) -> None:
    ground = world()
    writer, reader = clients(ground, 2)
    writer.ask(reads=False)
    reader.ask(reads=True)
    (refusing,) = [server for server in ground.dialled if server.owner.member.name != "a"]
    ground.fail(refusing, sqlstate)
    ground.log_in_all()
    assert writer.held.owner.member.name == "a"
    assert reader.held.owner.member.name not in ("a", refusing.owner.member.name)


def test_a_failed_dial_is_tried_again_later(world: Make) -> None:
    ground = world()
    client = Client(ground, 1)
    client.ask(reads=False)
    ground.fail(ground.dialled[0])
    assert ground.suspects == ["a"]
    ground.advance(0.001)
    assert ground.dialled == []
    ground.advance(0.2)
    ground.log_in_all()
    assert client.held


def test_a_member_that_is_back_in_the_view_is_dialled_at_once(world: Make) -> None:
    ground = world()
    client = Client(ground, 1)
    client.ask(reads=False)
    for _ in range(6):  # until the pause between two dials is at its longest
        ground.fail(ground.dialled[0])
        ground.advance(1.1)
    ground.fail(ground.dialled[0])
    ground.apply(view(primary=None))
    assert ground.dialled == []
    ground.apply(view())
    ground.log_in_all()
    assert client.held


def test_logins_wait_for_the_first_connection(world: Make) -> None:
    ground = world()
    waiting = clients(ground, 3)
    for client in waiting:
        ground.group.wait_login(client)
    assert len(ground.dialled) == 1
    ground.log_in_all()
    assert ground.served == waiting
    assert dict(ground.group.parameters) == {"server_version": "17", "in_hot_standby": "off"}
    assert sum(pool.count(IDLE_STATE) for pool in ground.group.members.values()) == 1


def test_idle_and_old_connections_are_closed(world: Make) -> None:
    ground = world(idle_timeout_s=10, lifetime_s=100, min_size=1)
    for client in filled(ground, 3, reads=False):
        client.release()
    ground.advance(11)
    assert len(ground.servers()) == 1
    ground.advance(100)
    assert ground.servers() == []


def test_old_connection_is_closed_when_it_becomes_free(world: Make) -> None:
    ground = world(lifetime_s=100)
    (client,) = filled(ground, 1, reads=False)
    server = client.held
    ground.advance(101)
    assert not server.closed
    client.release()
    assert server.closed


def test_a_dial_that_takes_too_long_is_given_up(world: Make) -> None:
    ground = world(connect_timeout_s=3)
    client = Client(ground, 1)
    client.ask(reads=False)
    late = ground.dialled[0]
    ground.advance(3.5)
    assert late.closed
    assert ground.pool("a").failures == 1


def test_the_latest_used_connection_is_used_again(world: Make) -> None:
    ground = world()
    one, two = filled(ground, 2, reads=False)
    last = two.held
    one.release()
    two.release()
    assert one.ask(reads=False)
    assert one.held is last


def test_writers_are_fenced_while_nobody_leads_and_go_on_when_the_same_one_does(world: Make) -> None:
    ground = world()
    (client,) = filled(ground, 1, reads=False)
    server = client.held
    ground.apply(replace(view(primary=None), leader=None))
    assert (server.fenced, server.closed) == (True, False)
    ground.apply(view())
    assert (server.fenced, client.held) == (False, server)


@pytest.mark.parametrize(
    "change",
    [{"fenced": "a"}, {"leader": "b"}, {"readers": ("a", "b")}],
    ids=["no answer", "another leads", "a replica"],
)
def test_writers_of_a_former_leader_are_cut(world: Make, change: dict[str, object]) -> None:
    ground = world()
    (client,) = filled(ground, 1, reads=False)
    ground.apply(replace(view(primary=None), **({"leader": None} | change)))
    assert client.refused.sqlstate == "57P01"
    assert not ground.pool("a").servers


def test_an_announced_switchover_cuts_nobody_and_holds_what_comes(world: Make) -> None:
    ground = world()
    (client,) = filled(ground, 1, reads=False)
    ground.apply(replace(view(primary=None), leader="a"))
    late = Client(ground, 9)
    assert not late.ask(reads=False)
    client.release()
    assert late.held is None
    ground.apply(view())
    assert late.held is not None
    assert client.refused is None


def test_a_standby_is_not_written_to(world: Make) -> None:
    """The view may be a moment older than the server that was dialled."""
    ground = world()
    client = Client(ground, 1)
    client.ask(reads=False)
    (server,) = ground.dialled
    ground.dialled.remove(server)
    server.login, server.hello = None, SimpleNamespace(parameters=(("in_hot_standby", "on"),), pid=1, key=b"k")
    server.owner.server_ready(server)
    assert (server.closed, client.held, ground.suspects) == (True, None, ["a"])


def test_reads_on_a_silent_replica_are_given_up(world: Make) -> None:
    ground = world()
    readers = filled(ground, 2, reads=True)
    on = {client.held.owner.member.name: client for client in readers}
    ground.apply(replace(view(readers=("c",)), silent=("b",)))
    assert on["b"].refused.sqlstate == "08006"
    assert on["c"].held is not None


def test_a_silent_leader_keeps_its_connections_as_long_as_it_has_the_key(world: Make) -> None:
    ground = world()
    (client,) = filled(ground, 1, reads=False)
    ground.apply(replace(view(primary=None), leader="a", silent=("a",)))
    assert client.held is not None


def test_what_ends_one_connection_puts_the_free_ones_in_doubt(world: Make) -> None:
    """A server that stops tells its backends one after the other: nobody is to get one that is about to end."""
    ground = world(size=3)
    busy, *others = filled(ground, 3, reads=False)
    free = [client.held for client in others]
    for client in others:
        client.release()
    busy.held.lose(ServerLost("terminated"))
    assert [(server.state, server.outstanding.count) for server in free] == [(RESETTING, 1)] * 2
    late = Client(ground, 9)
    assert not late.ask(reads=False)
    free[0].lose(ServerLost("terminated"))
    free[1].owner.server_free(free[1])  # it has answered
    assert late.held is free[1]


def test_a_read_goes_to_the_primary_when_the_last_connection_to_a_replica_ends_in_its_reset(world: Make) -> None:
    ground = world(size=2)
    ground.apply(view(readers=("b",)))
    (writer,) = filled(ground, 1, reads=False)
    writer.release()
    (reader,) = filled(ground, 1, reads=True)
    waiting = Client(ground, 9)
    assert not waiting.ask(reads=True)
    ground.fail(ground.dialled[0])  # the second connection to the replica
    last = reader.held
    last.session.dirty = True
    reader.release()
    assert (last.state, waiting.held) == (RESETTING, None)
    last.lose(ServerLost("terminated"))
    assert waiting.held.owner is ground.pool("a")


def test_connections_that_we_end_ourselves_put_none_in_doubt(world: Make) -> None:
    ground = world()
    for client in filled(ground, 2, reads=False):
        client.release()
    ground.apply(replace(view(primary=None), leader="b"))
    assert ground.pool("a").doubted == set()


def test_a_login_does_not_wait_for_news_that_nobody_can_tell(world: Make) -> None:
    """A replica's defaults have changed, and all of the primary's connections are open."""
    ground = world(size=2)
    for client in filled(ground, 2, reads=False):
        client.release()
    ground.group.defaults_changed(ground.group.readers.pools[0])
    assert ground.group.outdated
    assert not ground.group.learns()
    (late,) = clients(ground, 1)
    ground.group.wait_login(late)
    ground.advance(1.5)
    assert ground.served[-1] is late
    ground.group.defaults_changed(ground.group.writer)
    assert ground.group.learns()
