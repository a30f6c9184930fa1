"""What the body of a function does to its caller's session, statement by statement. Pure.

The statements in a body are classified like a client's (`commands.examine`); what they leave, they leave for the
caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgrouter.routing.extensions import ANYTHING
from pgrouter.routing.findings import Findings
from pgrouter.routing.functions import STATE, in_code
from pgrouter.routing.knowledge import NEXT_VALUES, SESSION_FUNCTIONS
from pgrouter.routing.statement import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.routing.bodies import Body
    from pgrouter.routing.catalog import Catalog
    from pgrouter.routing.nodes import Node
    from pgrouter.routing.statement import Statement


@dataclass(slots=True)
class Ran:
    """What running a body does."""

    effects: int = 0  # on the caller's session
    cause: str = ""
    custom: set[str] = field(default_factory=set)  # custom settings that it mentions
    functions: dict[str, None] = field(default_factory=dict)
    relations: dict[str, None] = field(default_factory=dict)
    blamed: list[Any] = field(default_factory=list)  # the catalog's reasons for the names in it, and
    objects: list[Any] = field(default_factory=list)  # the objects that they refer to
    objections: list[tuple[int, str, str, bool]] = field(default_factory=list)

    def leave(self, effects: int, cause: str) -> None:
        """Record an effect that it has on its caller."""
        self.effects |= effects
        if effects & STATE and not self.cause:
            self.cause = cause


def run(body: Body, catalog: Catalog, examine: Callable[[str, Node, Findings], Statement]) -> Ran:
    """Classify the statements of a body and add up what they do."""
    ran = Ran(custom=set(body.settings))
    for query in body.queries:
        found = Findings(catalog, body.variables)
        kind, content = next(iter(query.items()))
        statement = examine(kind, content, found)
        effects = statement.effects
        if statement.settings and all(setting.is_local for setting in statement.settings):
            effects &= ~Effect.SETTINGS
        if effects:
            ran.leave(in_code(effects), statement.through or _said(statement))
        if statement.draws:
            ran.effects |= Effect.DRAWS
        _settings(statement, ran)
        ran.functions |= found.functions
        ran.relations |= found.relations
        ran.blamed += found.blamed
        ran.objects += [key for state in found.states for key in state.objects]
        ran.objections += found.objections
    if body.unread:
        ran.leave(ANYTHING, body.why if body.why.startswith(("does", "written")) else "EXECUTE")
    if not ran.functions.keys().isdisjoint(NEXT_VALUES) or ran.effects & Effect.DRAWS:
        ran.effects &= ~Effect.SEQUENCES  # it asks for values that it has drawn itself
    return ran


def _said(statement: Statement) -> str:
    """Return a short name for a statement that leaves something by itself, not through what it calls."""
    called = next((name for name in statement.functions if name.rpartition(".")[2] in _LEAVING), "")
    return called or statement.tag or statement.reason


_LEAVING = frozenset({"set_config", *(name for name, effects in SESSION_FUNCTIONS.items() if effects)})


def _settings(statement: Statement, ran: Ran) -> None:
    ran.custom.update(statement.custom)
    for setting in statement.settings:
        if "." in setting.name:
            ran.custom.add(setting.name)
            ran.effects |= Effect.CUSTOM if setting.is_local else 0
