"""What a session's reads must see: read_consistency, and a position that the session has been told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter import lsn

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSISTENCY_SETTING = "pgrouter.read_consistency"  # PostgreSQL lets anybody set a name with a dot
POSITION_SETTING = "pgrouter.min_lsn"

EVENTUAL = 0  # whatever the replica has
SESSION = 1  # the session's own writes
STRICT = 2  # every write that this router has acknowledged
_LEVELS = {"eventual": EVENTUAL, "session": SESSION, "strict": STRICT}

NOWHERE = 2**63 - 1  # on the primary alone


def demands(settings: Mapping[str, str], configured: str) -> tuple[int, int]:
    """Give the level and the position (bytes since 0/0) from a session's settings, names in lower case.

    A level that makes no sense counts as not set. A position that makes none is on no replica: who has asked for one
    must not be shown less.
    """
    level = _LEVELS.get(settings.get(CONSISTENCY_SETTING, "").lower(), _LEVELS[configured])
    asked = settings.get(POSITION_SETTING, "")
    if not asked:
        return level, 0
    position = lsn.parse(asked)
    return level, NOWHERE if position is None else min(lsn.end_of_record(position), NOWHERE)
