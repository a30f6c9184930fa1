"""Every conversation, with PostgreSQL and with the router: the same messages, however the client's bytes are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from player import Player, difference
from script import Script, load

if TYPE_CHECKING:
    from conftest import Places

SCRIPTS = load()


def named(script: Script) -> str:
    return script.name


@pytest.mark.pg
@pytest.mark.parametrize(
    ("port", "bytewise"),
    [("split", False), ("primary", False), ("split", True)],
    ids=["split", "primary", "split-bytes"],
)
@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_the_router_says_what_postgresql_says(script: Script, port: str, bytewise: bool, places: Places) -> None:  # noqa: FBT001
    with Player(getattr(places, port), bytewise=bytewise) as player:
        routed = player.play(script, routed=True)
    if "router-only" in script.options:
        return
    with Player(places.direct) as player:
        direct = player.play(script, routed=False)
    diff = difference(script, direct, routed)
    assert not diff, f"{script.name}: {script.shows}\n{diff}"


def test_script_names_are_unique() -> None:
    assert len({script.name for script in SCRIPTS}) == len(SCRIPTS)


def test_every_step_has_an_answer() -> None:
    assert not [script.name for script in SCRIPTS if not all(step.answers for step in script.steps)]
