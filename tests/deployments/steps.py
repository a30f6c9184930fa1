"""What a step is: a deployment's own command, word for word, and what is known about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum


class Mark(Enum):
    """What is known about a step."""

    WORKS = "works"
    NOT_OURS = "not a router's business"
    NOT_YET = "not yet"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a deployment's text."""

    section: str
    command: str  # a line for the shell; or SQL, with `on`
    mark: Mark
    why: str = ""  # not ours: the reason; not yet: the missing feature
    expect: str = ""  # a regular expression that the output has to match
    on: str = ""  # SQL: the node or port that is asked

    def passes(self, code: int, output: str) -> bool:
        """Whether this is how it ends when it works."""
        return code == 0 and re.search(self.expect, output) is not None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment: where it runs and its steps."""

    name: str  # of its configuration, without .yml
    title: str
    nodes: dict[str, int]  # name in its commands -> port; the first one is the primary
    routers: tuple[str, ...]  # names in its commands that the router stands for
    database: str
    owner: str
    prepare: tuple[str, ...]  # SQL in its database
    steps: tuple[Step, ...]
    slots: tuple[str, ...] = ()  # of the standbys, in order
    superuser: bool = False  # whether the owner is one
    rest: tuple[int, ...] = ()  # under Patroni: the ports of its REST API, a node each
    etcd: tuple[int, ...] = ()  # and etcd's
    aliases: dict[str, str] = field(default_factory=dict)  # other names of nodes in the commands
    later: dict[str, int] = field(default_factory=dict)  # nodes that a step adds -> port
    members: tuple[str, ...] = ()  # as the configuration names them, where the commands have other names


def works(section: str, command: str, expect: str = "", on: str = "") -> Step:
    """Give a step that has to pass."""
    return Step(section, command, Mark.WORKS, expect=expect, on=on)


def not_ours(section: str, command: str, why: str) -> Step:
    """Give a step that is not run, for a reason."""
    return Step(section, command, Mark.NOT_OURS, why)


def not_yet(section: str, command: str, feature: str, expect: str = "", on: str = "") -> Step:
    """Give a step that must not pass, until somebody builds the feature and turns it on."""
    return Step(section, command, Mark.NOT_YET, feature, expect, on)
