"""docs/deployments.md, from the lists of steps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.steps import Mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.steps import Deployment

FILE = Path(__file__).parents[2] / "docs" / "deployments.md"
HEAD = """# Deployments

Setups as people run them, command by command as their own texts have them, with pgrouter in the place of what was in
the middle. `make deployments` starts each on this machine (its ports, in a network namespace of its own; the router
with the file from [configs/deployments](../configs/deployments)) and runs the commands one after the other. A step that
is marked as working has to, and one that is marked "not yet" must not: whoever builds what it lacks changes its mark.
This page is written by that run from the lists in `tests/deployments/`; do not edit it.
"""


def text(deployments: Sequence[Deployment]) -> str:
    """Give the page."""
    parts = [HEAD]
    for one in deployments:
        counts = Counter(step.mark for step in one.steps)
        told = ", ".join(f"{counts[mark]} {mark.value}" for mark in Mark)
        parts.append(f"\n## {one.title}\n\n`configs/deployments/{one.name}.yml`. {len(one.steps)} steps: {told}.\n")
        parts.append("\n| section | command | |\n| --- | --- | --- |\n")
        for step in one.steps:
            command = " ".join(step.command.split()).replace("|", "\\|")
            where = f" ({step.on})" if step.on else ""
            why = f": {step.why}" if step.why else ""
            parts.append(f"| {step.section} | `{command}`{where} | {step.mark.value}{why} |\n")
    return "".join(parts)


def write(deployments: Sequence[Deployment]) -> None:
    """Write the page."""
    FILE.write_text(text(deployments))
