"""Random stories: what two to four clients say, one step at a time, from a seed."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from session_fuzz import words

POOLS = (1, 2, 3)
KINDS = {"query", "pipeline", "parse", "describe", "bind", "binary", "close", "login", "admin", "copy", "call"}


@dataclass(frozen=True, slots=True)
class Step:
    """What one client sends up to its ReadyForQuery.

    kind: `query`, a simple Query; `pipeline`, each text parsed, bound, described and executed before one Sync; `parse`
    and `describe` of a named statement; `bind` and execute it (`binary` results); `close` it; `login` anew with
    options; `admin`: SQL on the server itself, as the superuser (`{db}` is the database); `copy`: COPY FROM STDIN and
    its lines; `call` a function by its OID with texts.
    """

    client: int
    kind: str
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.client} {self.kind}: " + " | ".join(self.texts)


@dataclass(frozen=True, slots=True)
class Story:
    """Steps in order; `pool` is the size that the router's pools have, `ddl` whether objects may change."""

    seed: str
    pool: int
    users: tuple[str, ...]
    options: tuple[str, ...]
    ddl: bool
    steps: tuple[Step, ...]


def story(seed: str) -> Story:
    """Make a story."""
    dice = random.Random(seed)  # noqa: S311  (a test's dice)
    pool = dice.choices(POOLS, (3, 5, 1))[0]
    count = dice.choices((2, 3, 4), (5, 3, 1))[0]
    users = tuple(dice.choices((words.USER, words.SUPERUSER), (9, 1))[0] for _ in range(count))
    options = tuple(dice.choice(words.OPTIONS) if dice.random() < 0.15 else "" for _ in range(count))
    ddl = dice.random() < 0.3
    scripts = [Author(dice, client, ddl=ddl).script() for client in range(count)]
    if ddl:
        scripts[0].insert(0, [Step(0, "query", (words.DDL[0],))])
    return Story(seed, pool, users, options, ddl, tuple(interleaved(dice, scripts, pool)))


def written(name: str, text: str, pool: int, users: tuple[str, ...] = (words.USER,) * 4) -> Story:
    """Give a story from its text: a step a line, `0 select 1` (a simple query of client 0) or `0 kind: text | text`."""
    steps = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        client, _, what = line.partition(" ")
        kind, colon, texts = what.partition(":")
        if colon and kind in KINDS:
            steps.append(Step(int(client), kind, tuple(texts.strip().split(" | "))))
        else:
            steps.append(Step(int(client), "query", (what,)))
    count = max(step.client for step in steps) + 1
    ddl = any(re.search(r"\b(create|alter|drop|revoke|grant)\b", " ".join(step.texts)) for step in steps)
    return Story(name, pool, users[:count], ("",) * count, ddl, tuple(steps))


def interleaved(dice: random.Random, scripts: list[list[list[Step]]], pool: int) -> list[Step]:
    """Mix the clients' phrases; others come between the steps of one where the pool has a server left for them."""
    steps: list[Step] = []
    running: dict[int, list[Step]] = {}
    waiting = {client: list(script) for client, script in enumerate(scripts) if script}
    while running or waiting:
        starts = [client for client in waiting if client not in running]
        may_start = starts and (len(running) < pool or dice.random() < 0.03)
        if running and (not may_start or dice.random() < 0.6):
            client = dice.choice(list(running))
        else:
            client = dice.choice(starts)
            running[client] = waiting[client].pop(0)
            if not waiting[client]:
                del waiting[client]
        steps.append(running[client].pop(0))
        if not running[client]:
            del running[client]
    return steps


class Author:
    """Writes what one client says: phrases, each of them a transaction, or a few messages of their own."""

    def __init__(self, dice: random.Random, client: int, *, ddl: bool) -> None:
        self.dice = dice
        self.client = client
        self.ddl = ddl
        self.prepared: set[str] = set()

    def script(self) -> list[list[Step]]:
        """Give the phrases."""
        return [self.phrase() for _ in range(self.dice.randint(3, 9))]

    def phrase(self) -> list[Step]:
        kind = self.dice.choices(
            (self.single, self.transaction, self.string, self.pipeline, self.named, self.look, self.login),
            (10, 6, 2, 2, 8 if self.ddl else 3, 6, 0.4),
        )[0]
        return kind()

    # -- phrases

    def single(self) -> list[Step]:
        return [self.said(self.statement())]

    def look(self) -> list[Step]:
        return [self.said(self.fill(self.dice.choice(words.LOOKS)))]

    def transaction(self) -> list[Step]:
        begin = self.dice.choice(words.BEGINS)
        body = [self.inside() for _ in range(self.dice.randint(1, 5))]
        end = self.dice.choices(list(words.ENDS), list(words.ENDS.values()))[0]
        steps = [self.said(begin), *(self.said(text) for text in body), self.said(end)]
        if "chain" in end:
            steps += [self.said(self.inside()), self.said("commit")]
        if self.dice.random() < 0.15:  # the end and what follows in one message
            last = steps.pop()
            steps.append(Step(self.client, "query", ("; ".join([*last.texts, self.statement()]),)))
        return steps

    def string(self) -> list[Step]:
        texts = [self.statement() for _ in range(self.dice.randint(2, 3))]
        if self.dice.random() < 0.3:
            texts = [self.dice.choice(words.BEGINS), *texts, self.dice.choice(("commit", "rollback"))]
        return [Step(self.client, "query", ("; ".join(texts),))]

    def pipeline(self) -> list[Step]:
        texts = [self.statement() for _ in range(self.dice.randint(1, 4))]
        if self.dice.random() < 0.2:
            texts = ["begin", *texts, self.dice.choice(("commit", "rollback"))]
        return [Step(self.client, "pipeline", tuple(texts))]

    def named(self) -> list[Step]:
        name = self.dice.choice(("s1", "s2", "s3"))
        how = self.dice.random()
        if name not in self.prepared or how < 0.15:
            self.prepared.add(name)
            about_made = self.ddl and self.dice.random() < 0.6
            texts = words.PREPARED_MADE if about_made else words.PREPARED + words.LOOKS + words.CHANGES
            text = self.fill(self.dice.choice(texts))
            # What has not been described may be prepared anew after DDL, which PostgreSQL does not do
            kind = "describe" if self.ddl or self.dice.random() < 0.7 else "parse"
            return [Step(self.client, kind, (name, text)), self.bound(name)]
        if how < 0.25:
            self.prepared.discard(name)
            return [Step(self.client, "close", (name,))]
        return [self.bound(name)]

    def login(self) -> list[Step]:
        self.prepared.clear()
        return [Step(self.client, "login", (self.dice.choice(words.OPTIONS),))]

    # -- texts

    def bound(self, name: str) -> Step:
        return Step(self.client, "binary" if self.dice.random() < 0.3 else "bind", (name,))

    def said(self, text: str) -> Step:
        return Step(self.client, "query" if self.dice.random() < 0.6 else "pipeline", (text,))

    def inside(self) -> str:
        """Give a statement of a transaction."""
        if self.dice.random() < 0.15:
            return self.dice.choice(words.SAVEPOINTS)
        return self.statement()

    def statement(self) -> str:
        pools = (words.CHANGES, words.LOOKS, words.DATA, words.ERRORS, words.DDL if self.ddl else words.DATA)
        return self.fill(self.dice.choice(self.dice.choices(pools, (8, 7, 4, 0.7, 8 if self.ddl else 2))[0]))

    def fill(self, text: str) -> str:
        """Put names and values in their places."""
        for place, values in words.PLACES.items():
            while place in text:
                text = text.replace(place, self.dice.choice(values), 1)
        return text
