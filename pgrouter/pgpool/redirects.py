"""The lists of users and databases whose reads go to a node of their own. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.pgpool.conf import Conf, Value

# A database's entry wins over a user's, as there: later ones of pool.overrides do
REDIRECTS = {"user_redirect_preference_list": "user", "database_redirect_preference_list": "database"}
_KEPT = re.compile(r"([A-Za-z0-9_-]+):(?:(primary)(?:\(1(?:\.0+)?\))?|standby(?:\([01.]*\))?)", re.ASCII)


def redirected(conf: Conf) -> Iterator[dict[str, object]]:
    """Yield what becomes of the lists: entries of pool.overrides."""
    for parameter, key in REDIRECTS.items():
        for item in conf.get(parameter).items():
            found = _KEPT.fullmatch(item)
            if found:
                yield {key: found[1], "route": "primary" if found[2] else "auto"}


def is_kept(value: Value) -> bool:
    """Whether every entry of a list is a plain name whose reads go to the primary, or to any replica."""
    return all(_KEPT.fullmatch(item) for item in value.items())
