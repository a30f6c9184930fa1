"""A batch of several statements leaves in a session what each of them leaves, whatever is in front of it and behind."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support.front import running
from support.rawclient import EXECUTE, FLUSH, SYNC, RawClient, bind, message, parse, query, values
from support.router import static_cluster
from support.stage import DATABASES, TRUST, Stage, asked, close, describe, execute

from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.router import Router

pytestmark = pytest.mark.pg

SET, OTHER, READ = "set work_mem = '7MB'", "set app.other = 'x'", "select 1"
BEGIN, COMMIT, ROLLBACK = "begin", "commit", "rollback"
LOOK = "select current_setting('work_mem'), current_setting('app.other', true)"

KEEPS = ("temp", "advisory", "listen", "cursor", "prepare")
LEFT = """/* pgrouter: primary */ select (select count(*) from pg_listening_channels()),
    (select count(*) from pg_cursors), (select count(*) from pg_prepared_statements where from_sql),
    to_regclass('pg_temp.t'), current_user,
    pg_try_advisory_lock(7), pg_advisory_unlock(7)"""


def unnamed(*texts: str) -> bytes:
    return b"".join(parse(text) + bind() + EXECUTE for text in texts)


def named(*texts: str) -> bytes:
    """Under one name, closed each time."""
    return b"".join(close("s") + parse(text, "s") + bind("s") + EXECUTE for text in texts)


def each_named(*texts: str) -> bytes:
    parsed = b"".join(parse(text, f"s{number}") for number, text in enumerate(texts))
    return parsed + b"".join(bind(f"s{number}") + EXECUTE for number in range(len(texts)))


def in_portals(*texts: str) -> bytes:
    """All bound before the first is executed."""
    bound = b"".join(parse(text) + bind("", f"p{number}") for number, text in enumerate(texts))
    return bound + b"".join(execute(f"p{number}") for number in range(len(texts)))


FORMS = [unnamed, named, each_named, in_portals]
TEXTS = [
    (SET,), (SET, READ), (READ, SET), (SET, OTHER), (OTHER, SET), (READ, SET, READ), (BEGIN, SET, COMMIT),
    (BEGIN, SET, READ, COMMIT), (BEGIN, SET, ROLLBACK), (SET, "reset work_mem"), ("reset work_mem", SET),
    ("set local work_mem = '9MB'", READ), ("select set_config('work_mem', '7MB', false)", READ),
    ("do $$ begin perform set_config('work_mem', '7MB', false); end $$", READ), (SET, "discard all"),
    ("create temp table t (a int)", READ), ("select pg_advisory_lock(7)", READ), ("listen c", READ),
    ("declare c cursor with hold for select 1", READ), ("prepare q as select 1", READ),
    ("create sequence if not exists n; select nextval('n')", READ), (READ, "set role postgres", READ),
    ("deallocate all", READ), (READ, "deallocate all", "select 7", READ), ("discard all", SET),
    ("discard all", OTHER, READ), (OTHER, SET, "reset all", SET),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    with StreamingCluster(2, options=TRUST) as cluster:
        for database in DATABASES:
            cluster.primary.sql(f"create database {database}")
        cluster.wait_caught_up()
        yield cluster


@pytest.fixture(scope="module", params=[1, 2])
def router(cluster: StreamingCluster, request: pytest.FixtureRequest) -> Iterator[Router]:
    settings = {"cluster": static_cluster(cluster.servers), "auth": {"type": "trust"}, "pool": {"size": request.param}}
    with running(settings) as router:
        router.several = request.param > 1
        yield router


@pytest.fixture
def stage(cluster: StreamingCluster, router: Router) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(cluster, router, stack)


def looked_around(stage: Stage, database: str, client: RawClient, *, keeps: bool) -> list[object]:
    """Give what the client finds, on whatever server, and newcomers, as long as it is there and after that.

    One that `keeps` its server may keep the only one.
    """
    found: list[object] = []
    for _ in range(2):
        found += [values(client.ask(LOOK)), values(client.ask("/* pgrouter: primary */ " + LOOK))]
    if not keeps:
        with RawClient(stage.ports[database]) as other:
            other.login(database=database)
            found += [values(other.ask(LOOK)), values(other.ask("/* pgrouter: primary */ " + LOOK))]
    client.send(message(b"X"))
    client.until_closed()
    if database == "routed":  # its server is cleaned behind it
        until(lambda: all(row["state"] == "idle" for row in stage.router.admin("SHOW SERVERS")), 10, "free servers")
    with RawClient(stage.ports[database]) as newcomer:
        newcomer.login(database=database)
        found += [values(newcomer.ask(LOOK)), values(newcomer.ask("/* pgrouter: primary */ " + LOOK))]
        found.append(values(newcomer.ask(LEFT)))
    return found


@pytest.mark.parametrize("texts", TEXTS, ids=" | ".join)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rest", ["", pytest.param("flushed", marks=pytest.mark.slow)])
def test_what_a_batch_leaves_is_its_sessions(
    stage: Stage, texts: tuple[str, ...], form: Callable[..., bytes], rest: str
) -> None:
    texts = tuple(one for text in texts for one in text.split("; "))

    def play(database: str) -> list[object]:
        client = stage.client(database)
        asked(client, parse("select 'before'", "s") + describe("s") + SYNC)
        batch = form(*texts)
        said: list[object] = [asked(client, batch + (FLUSH if rest else b"") + SYNC)]
        return said + looked_around(stage, database, client, keeps=any(word in texts[0] for word in KEEPS))

    stage.both(play)


@pytest.mark.parametrize("name", ["", "s"])
@pytest.mark.parametrize("behind", [READ, OTHER])
def test_a_statement_of_before_is_bound_in_front_of_another(stage: Stage, name: str, behind: str) -> None:
    def play(database: str) -> list[object]:
        client = stage.client(database)
        asked(client, parse(SET, name) + SYNC)
        again = close(name) + parse(behind, name) if name else parse(behind)
        said: list[object] = [asked(client, bind(name) + EXECUTE + again + bind(name) + EXECUTE + SYNC)]
        return said + looked_around(stage, database, client, keeps=False)

    stage.both(play)


def by_query(text: str) -> bytes:
    return query(text)


def parsed_before(text: str) -> bytes:
    return parse(text, "p") + SYNC + bind("p") + EXECUTE


@pytest.mark.parametrize("setting", ["app.other=B", "work_mem=7MB", "timezone=UTC"])
@pytest.mark.parametrize("reset", ["reset all", "reset {}", "discard all", "set {} = '3MB'; reset {}"])
@pytest.mark.parametrize("form", [by_query, unnamed, parsed_before])
def test_reset_goes_back_to_the_startup_packet(
    stage: Stage, form: Callable[..., bytes], reset: str, setting: str
) -> None:
    name = setting.partition("=")[0]
    look = f"select current_setting('{name}', true)"

    def play(database: str) -> list[object]:
        found: list[object] = []
        client = stage.client(database, options=f"-c {setting}")
        for text in reset.replace("{}", name).split("; "):
            if "timezone" in text and text.startswith("set"):
                continue
            client.send(form(text) + (b"" if form is by_query else SYNC))
            client.until_ready()
            if form is parsed_before:
                client.until_ready()
                client.ask("deallocate all")
            found += [values(client.ask(look)), values(client.ask("/* pgrouter: primary */ " + look))]
        client.close()
        with RawClient(stage.ports[database]) as newcomer:
            newcomer.login(database=database)
            return [*found, values(newcomer.ask("/* pgrouter: primary */ " + LOOK))]

    stage.both(play)


@pytest.mark.parametrize("setting", ["app.other=B", "work_mem=7MB", "search_path=information_schema"])
@pytest.mark.parametrize(
    "reset", ["reset all", "reset {}", "set {} = '3MB'; reset {}; savepoint a; reset {}; rollback to a"]
)
@pytest.mark.parametrize("form", [by_query, unnamed])
@pytest.mark.parametrize(
    "begin", ["begin", "begin read only", "begin read only; select 1; select pg_advisory_xact_lock(1)"]
)
@pytest.mark.parametrize("end", ["commit", pytest.param("rollback", marks=pytest.mark.slow)])
def test_reset_goes_back_to_it_within_the_transaction(  # noqa: PLR0917
    stage: Stage, begin: str, form: Callable[..., bytes], reset: str, setting: str, end: str
) -> None:
    name = setting.partition("=")[0]
    look = f"select current_setting('{name}', true)"

    def play(database: str) -> list[object]:
        found: list[object] = []
        client = stage.client(database, options=f"-c {setting}")
        batches = [*begin.split("; "), *reset.replace("{}", name).split("; "), look]
        client.send(b"".join(form(text) + (b"" if form is by_query else SYNC) for text in batches))  # a pipeline
        found += [values(client.until_ready()) for _ in batches]
        found += [values(client.ask(text)) for text in (look, "select pg_advisory_xact_lock(2)", look, end, look)]
        client.close()
        with RawClient(stage.ports[database]) as newcomer:
            newcomer.login(database=database)
            return [*found, values(newcomer.ask("/* pgrouter: primary */ " + LOOK))]

    stage.both(play)
