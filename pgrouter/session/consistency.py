"""What a session's reads must see: read_consistency, and a WAL position set by the client. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter import lsn

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSISTENCY_SETTING = "pgrouter.read_consistency"  # PostgreSQL lets any session set a name with a dot
POSITION_SETTING = "pgrouter.min_lsn"

EVENTUAL = 0  # whatever the replica has replayed
SESSION = 1  # the session's own writes
STRICT = 2  # every write that this router has acknowledged
_LEVELS = {"eventual": EVENTUAL, "session": SESSION, "strict": STRICT}

NOWHERE = 2**63 - 1  # only the primary has it


def demands(settings: Mapping[str, str], configured: str) -> tuple[int, int]:
    """Return the level and the position (bytes since 0/0) from a session's settings, names in lower case.

    An invalid level counts as not set. An invalid position is on no replica: a client that has asked for one must not
    be shown older data.
    """
    level = _LEVELS.get(settings.get(CONSISTENCY_SETTING, "").lower(), _LEVELS[configured])
    asked = settings.get(POSITION_SETTING, "")
    if not asked:
        return level, 0
    position = lsn.parse(asked)
    return level, NOWHERE if position is None else min(lsn.end_of_record(position), NOWHERE)
