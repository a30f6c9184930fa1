"""Both sides of a story: the same steps through the router and on direct connections, compared one by one."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.front import running
from support.router import static_cluster
from support.torture import shrink

from pgrouter.demo.postgres import ServerOptions
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster
from session_fuzz import words
from session_fuzz.player import Answer, Player
from session_fuzz.story import POOLS, Step, Story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection
    from support.router import Router

HERE = Path(__file__).parent
WORLD, ROWS = (HERE / "world.sql").read_text(), (HERE / "rows.sql").read_text()
DIRECT = "direct"
ROUTED = {pool: f"routed{pool}" for pool in POOLS}
# A read on the standby sees what another client has committed, so that the place of a read is no difference.
SERVERS = ServerOptions(
    auth="trust",
    parameters={
        "synchronous_commit": "remote_apply", "synchronous_standby_names": "*", "hot_standby_feedback": "on",
        "autovacuum": "off",
    },
)  # fmt: skip
SEEN_S = 1.0  # by then what an administrator has changed counts
WAITS_ENOUGH = 6  # steps that found no server connection: the rest of the story would only wait


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is as it should be: what is said directly and through the router, and why."""

    statement: re.Pattern[str]
    direct: re.Pattern[str]
    routed: re.Pattern[str]
    reason: str

    def covers(self, step: Step, direct: Answer, routed: Answer) -> bool:
        """Whether this is it."""
        return bool(
            self.statement.search(" | ".join(step.texts))
            and self.direct.search("\n".join(direct.lines()))
            and self.routed.search("\n".join(routed.lines()))
        )


def known_differences(path: Path = HERE / "known_differences.txt") -> list[Known]:
    """Read the list: under a comment that says why, regular expressions for the statement and both answers."""
    found = []
    for part in path.read_text().split("\n\n"):
        lines = part.strip().splitlines()
        patterns = [re.compile(line.partition(": ")[2], re.IGNORECASE) for line in lines if not line.startswith("#")]
        if len(patterns) == 3:
            reason = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
            found.append(Known(*patterns, reason))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs at the end of some steps."""

    story: Story
    steps: tuple[Step, ...]
    where: str
    direct: tuple[str, ...]
    routed: tuple[str, ...]

    def __str__(self) -> str:
        clients = ", ".join(
            f"{number} {user}{f' ({options})' if options else ''}"
            for number, (user, options) in enumerate(zip(self.story.users, self.story.options, strict=True))
        )
        only = [f"  direct  {line}" for line in self.direct if line not in self.routed]
        only += [f"  router  {line}" for line in self.routed if line not in self.direct]
        if not (set(self.direct) - set(self.routed) and set(self.routed) - set(self.direct)):  # show where it is
            only = [f"  direct  {line}" for line in self.direct] + [f"  router  {line}" for line in self.routed]
        lines = [f"{self.story.seed}: pool of {self.story.pool}, clients {clients}", *map(str, self.steps), self.where]
        return "\n".join(lines + only)


@dataclass(slots=True)
class Sides:
    """The servers, the router in front of them, and what has been counted."""

    cluster: StreamingCluster
    router: Router
    known: list[Known] = field(default_factory=known_differences)
    steps: int = 0
    waits: int = 0
    known_seen: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)  # databases in which objects may have changed since their beginning
    connections: dict[str, Connection] = field(default_factory=dict)  # of an administrator, by database

    # -- one story

    def difference(self, story: Story) -> Difference | None:
        """Play a story; give the shortest script of what differs, or nothing."""
        found = self.play(story)
        if found is None:
            return None
        again = self.play(replace(story, steps=found.steps), fresh=True)
        if again is None:
            return replace(found, where=f"{found.where} (only behind the stories before it, or once)")

        def differs(steps: list[Step]) -> bool:
            return self.play(replace(story, steps=tuple(steps)), fresh=True) is not None

        steps = shrink(list(again.steps), differs)
        return self.play(replace(story, steps=tuple(steps)), fresh=True) or again

    def play(self, story: Story, *, fresh: bool = False) -> Difference | None:
        """Play a story on both sides; `fresh`: on server connections that nobody had before."""
        self.prepare(story)
        if fresh:
            self.forget_servers()
        with Stage(self, story) as stage:
            return stage.play()

    # -- before a story

    def prepare(self, story: Story) -> None:
        """Bring both databases to their beginning."""
        routed = ROUTED[story.pool]
        both = {DIRECT, routed}
        again = both if story.ddl else both & self.changed  # by a story before, maybe one of another pool
        for database in sorted(both):
            self.sql(database, (RESET if database in again else "") + ROWS)
        self.changed -= both
        if story.ddl:
            self.changed |= both
        if routed in again:
            self.cluster.wait_caught_up()
            time.sleep(SEEN_S)

    def build(self) -> None:
        """Make roles and databases."""
        primary = self.cluster.primary
        primary.sql("; ".join(f"create role {role}" for role in words.ROLES))
        primary.sql(f"create role {words.USER} login; create role {words.SUPERUSER} login superuser")
        primary.sql(f"grant {', '.join(words.ROLES)} to {words.USER}")
        for database in (DIRECT, *ROUTED.values()):
            primary.sql(f"create database {database}")
            self.sql(database, WORLD + ROWS)
            self.defaults(database)
            primary.sql(f"grant create on database {database} to {words.USER}")
        self.cluster.wait_caught_up()

    def defaults(self, database: str) -> None:
        """Bring back what an `admin` step may have changed outside of the database's objects."""
        self.sql(
            database,
            f"alter database {database} reset all; alter database {database} set lock_timeout = '150ms';"
            f"alter role {words.USER} in database {database} reset all;"
            f"grant {', '.join(words.ROLES)} to {words.USER}",
        )

    def sql(self, database: str, text: str) -> list[tuple[object, ...]]:
        """Run statements on the primary, over a connection that is kept."""
        connection = self.connections.get(database)
        if connection is None or connection.closed:
            connection = self.connections[database] = self.cluster.primary.connect(database)
            connection.autocommit = True
            connection.execute(QUIETLY)
        cursor = connection.execute(text.encode())
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Hang up."""
        for connection in self.connections.values():
            connection.close()

    def forget_servers(self) -> None:
        """End the router's server connections for stories."""
        ours = f"usename in ('{words.USER}', '{words.SUPERUSER}') and datname <> '{DIRECT}'"
        for server in self.cluster.servers:
            server.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")  # noqa: S608
        until(lambda: not self.servers_in_use(), 5, "the router has let go of all servers")

    def servers_in_use(self) -> list[object]:
        """Give the router's server connections for stories."""
        return [row for row in self.router.admin("SHOW SERVERS") if row["user"] in (words.USER, words.SUPERUSER)]

    def judged(self, step: Step, direct: Answer, routed: Answer) -> bool:
        """Whether a difference is known."""
        reason = next((one.reason for one in self.known if one.covers(step, direct, routed)), "")
        if reason:
            self.known_seen[reason] = self.known_seen.get(reason, 0) + 1
        return bool(reason)


QUIETLY = """
    set default_transaction_read_only = off; set search_path = public; set lock_timeout = '5s';
    set client_min_messages = error;
"""
RESET = "drop event trigger if exists fz_ddl; drop schema if exists fz cascade;" + WORLD


class Stage:
    """The clients of one story, on both sides."""

    def __init__(self, sides: Sides, story: Story) -> None:
        self.sides = sides
        self.story = story
        self.places = (
            (sides.cluster.primary.port, DIRECT), (sides.router.port, ROUTED[story.pool]),
        )  # fmt: skip
        self.clients: dict[int, tuple[Player, Player]] = {}
        self.waits = 0
        self.over = False  # what comes cannot be compared: it has waited too often, or has met a known difference

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self.clients):
            self.leave(number)

    def play(self) -> Difference | None:
        """Play all steps, then let newcomers look around."""
        for number, (user, options) in enumerate(zip(self.story.users, self.story.options, strict=True)):
            if found := self.come(number, user, options, ()):
                return found
        for at, step in enumerate(self.story.steps):
            found = self.step(step, self.story.steps[: at + 1])
            if found or self.over:
                return found
        return self.notified() or self.newcomers()

    def step(self, step: Step, said: tuple[Step, ...]) -> Difference | None:
        """Play one step, the last of what has been said by then."""
        if step.kind == "admin":
            self.administer(step.texts[0])
            return None
        if step.kind == "login":
            self.leave(step.client)
            return self.come(step.client, self.story.users[step.client], step.texts[0], said)
        direct_player, routed_player = self.clients[step.client]
        routed = routed_player.play(step)
        self.sides.steps += 1
        if routed.waited:  # PostgreSQL has not been asked: left out on both sides
            self.sides.waits += 1
            self.waits += 1
            self.over = self.waits >= WAITS_ENOUGH or routed.status != direct_player.status
            return None
        direct = direct_player.play(step)
        if direct == routed:
            return None
        if self.sides.judged(step, direct, routed):
            several = any(";" in text for text in step.texts)  # what stands before the difference may have been done
            self.over = several or direct.status != routed.status
            return None
        return self.differs(said, f"at the last step, client {step.client}:", direct, routed)

    def come(self, number: int, user: str, options: str, said: tuple[Step, ...]) -> Difference | None:
        """Log in on both sides."""
        direct, routed = (Player(port, database, user, options) for port, database in self.places)
        self.clients[number] = direct, routed
        if direct.login != routed.login:
            return self.differs(said, f"at the login of client {number} with {options!r}:", direct.login, routed.login)
        return None

    def administer(self, text: str) -> None:
        """Change something on the server itself, and give the router as long to see it as it may take."""
        for _, database in self.places:
            self.sides.sql(database, text.replace("{db}", database))
        self.sides.cluster.wait_caught_up()
        time.sleep(SEEN_S)

    def leave(self, number: int) -> None:
        """Log out on both sides, and wait until what the session had is gone."""
        direct, routed = self.clients.pop(number)
        gone = f"select 1 from pg_stat_activity where pid = {direct.server}"  # noqa: S608
        for player in (direct, routed):
            player.close()
        until(lambda: not self.sides.sql(DIRECT, gone), 5, "the session is over", 0.002)
        time.sleep(0.01)  # the router's server connection is made ready for others

    def notified(self) -> Difference | None:
        """Compare what the clients were notified of; a notification may be a moment on its way."""
        for number, (direct, routed) in self.clients.items():
            for _ in range(5):
                for player in (direct, routed):
                    player.play(Step(number, "query", ("rollback; select 1",)))
                if direct.heard == routed.heard:
                    break
                time.sleep(0.05)
            else:
                heard = Answer(tuple(direct.heard)), Answer(tuple(routed.heard))
                return self.differs(self.story.steps, f"notifications of client {number}:", *heard)
        return None

    def newcomers(self) -> Difference | None:
        """Let all clients leave and others come: on no server of the pool is anything left."""
        for number in list(self.clients):
            self.leave(number)
        for user in sorted(set(self.story.users)):
            for count in range(self.story.pool):
                if found := self.newcomer(user, count):
                    return found
        return None

    def newcomer(self, user: str, count: int) -> Difference | None:
        """Let one more come and look, first where reads go, then in a transaction that keeps its server."""
        number = 1000 + len(self.clients)
        if found := self.come(number, user, "", self.story.steps):
            return found
        direct, routed = self.clients[number]
        for text in (words.NEWCOMER[0], "begin", *words.NEWCOMER):
            step = Step(number, "query", (text,))
            answers = direct.play(step), routed.play(step)
            if answers[0] != answers[1] and not answers[1].waited:
                where = f"newcomer {count + 1} ({user}) afterwards: {text[:60]}..."
                return self.differs(self.story.steps, where, *answers)
        return None

    def differs(self, said: tuple[Step, ...], where: str, direct: Answer, routed: Answer) -> Difference:
        return Difference(self.story, tuple(said), where, tuple(direct.lines()), tuple(routed.lines()))


@contextmanager
def both_sides() -> Iterator[Sides]:
    """Start servers with a standby, and a router with a database for each size of pool."""
    with StreamingCluster(2, options=SERVERS) as cluster:
        settings = {
            "cluster": static_cluster(cluster.servers), "auth": {"type": "trust"},
            "routing": {"catalog_interval": "500ms"},
            "pool": {
                "size": 2, "wait_timeout": "200ms", "prepared_statements": 4,
                "overrides": [{"database": name, "size": pool} for pool, name in ROUTED.items()],
            },
        }  # fmt: skip
        with running(settings) as router:
            sides = Sides(cluster, router)
            try:
                sides.build()
                yield sides
            finally:
                sides.close()
