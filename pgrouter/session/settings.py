"""A session's settings as a value: which settings differ from the server's own defaults, and how to get there.

Sessions with the same differences share one `Profile`, so that the data path compares by identity whether a server has
the session's settings. Names are lower case, values as `set_config()` takes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pgrouter.errors import InvalidAuthorization
from pgrouter.routing.builtins import SESSION_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The current user, in the order in which they have to be set: a new session user has no role.
_WHO = ("session_authorization", "role")
# What decides what an unqualified name means ("$user" in search_path is the current role)
_NAMING = frozenset({"search_path", *_WHO})
# Startup parameters that are not settings
NOT_SETTINGS = frozenset({"user", "database", "options", "replication"})


# Settings that decide what a text means when it is parsed: which objects its names are, how its constants are read.
MEANING = frozenset(
    """
search_path role session_authorization standard_conforming_strings backslash_quote client_encoding datestyle
intervalstyle timezone timezone_abbreviations lc_monetary array_nulls transform_null_equals xmloption
default_text_search_config bytea_output
""".split()  # noqa: SIM905  (a list of words stays readable as text)
)

# Before every query of the router's own that takes a snapshot: a session's default may be serializable (refused on a
# standby) or deferrable (waits for other transactions).
CALM = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE"
# The same for DISCARD ALL, which must be alone in its Query: commands that take no snapshot and that any role may run
UNHINDERED = (
    "SET default_transaction_isolation TO 'read committed'; SET default_transaction_deferrable TO off;"
    " SET statement_timeout TO 0; SET lock_timeout TO 0"
)
# Idle limits of a session, which a pooled connection must not have: it is idle for other reasons. The router enforces
# them on clients (`proxy.timeouts`).
SESSION_TIMERS = ("idle_session_timeout",)
# Lists of names (GUC_LIST_QUOTE)
_LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")
# Limits that would apply to the router's own statements
_LIMITS = ("statement_timeout", "lock_timeout")
HASTY_MS = 100
# Settings whose values only some servers may accept: they depend on privileges, on objects of the database or on files
_HANGING = frozenset(
    """
default_table_access_method default_tablespace default_text_search_config lc_monetary lc_numeric lc_time
local_preload_libraries temp_tablespaces timezone_abbreviations
""".split()  # noqa: SIM905
)
_OURS = "pgrouter."
_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class Profile:
    """Settings that differ from the server's defaults; immutable, one object per content (see `Profiles`)."""

    __slots__ = ("__weakref__", "certain", "custom", "meaning", "names", "reported", "values")

    def __init__(self, values: tuple[tuple[str, str], ...]) -> None:
        self.values = values
        # Custom settings, which PostgreSQL creates when they are first set and never removes
        self.custom = frozenset(name for name, _ in values if "." in name and not name.startswith(_OURS))
        # Once one server has accepted all of it, any server will, and within the time limits
        self.certain = all(is_certain(name) for name, _ in values) and not _is_hasty(values)
        self.meaning = tuple(pair for pair in values if pair[0] in MEANING)  # of prepared statements
        self.names = any(name in _NAMING for name, _ in values)  # it resolves names in its own way
        # ParameterStatus values that PostgreSQL reported when it was first applied; None: not applied yet
        self.reported: tuple[tuple[str, str], ...] | None = None if needs_server(values) else values

    def __repr__(self) -> str:
        return f"Profile({dict(self.values)})"


class Profiles:
    """Interns profiles; unused ones are freed."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple, Profile] = WeakValueDictionary()
        self.empty = self.of({})

    def of(self, values: dict[str, str]) -> Profile:
        """Return the one profile with these values."""
        key = tuple(sorted(values.items()))
        profile = self._known.get(key)
        if profile is None:
            profile = self._known[key] = Profile(key)
        return profile

    def of_startup(self, parameters: tuple[tuple[str, str], ...]) -> Profile:
        """Return the profile that a startup packet asks for; raises as `from_startup` does."""
        return self.of(from_startup(parameters))


def is_certain(name: str) -> bool:
    """Whether every server accepts a value of this setting once one has accepted it."""
    return "." in name or (name in SESSION_SETTINGS and name not in _HANGING)


def _is_hasty(values: tuple[tuple[str, str], ...]) -> bool:
    """Whether these time limits may cancel the router's own statements before it can lift them."""
    return any(name in _LIMITS and 0 < milliseconds(value) < HASTY_MS for name, value in values)


def needs_server(values: tuple[tuple[str, str], ...]) -> bool:
    """Whether only PostgreSQL knows if the values are valid and how it displays them: all but application_name."""
    return any(name != "application_name" for name, _ in values)


def from_startup(parameters: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the settings that a startup packet asks for: by name, and in `options` as command-line switches.

    Raises:
        InvalidAuthorization: 28000, `options` has a switch that a client may not use.

    """
    values: dict[str, str] = {}
    for name, value in parameters:
        if name == "options":
            values.update(_switches(value))
    for name, value in parameters:
        if name not in NOT_SETTINGS:
            values[name.lower()] = _clean_name(value) if name == "application_name" else value
    return values


def _clean_name(value: str) -> str:
    # PostgreSQL: pg_clean_ascii(), then NAMEDATALEN - 1
    return "".join(
        char if " " <= char <= "~" else "".join(f"\\x{b:02x}" for b in char.encode("utf-8", "surrogateescape"))
        for char in value
    )[:63]


def _switches(options: str) -> dict[str, str]:
    # Separated by spaces that are not preceded by a backslash: postinit.c process_startup_options(), pg_split_opts()
    values = {}
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\s\\])+", options)]
    while words:
        word = words.pop(0)
        if word in ("-c", "--") and words:
            assignment = words.pop(0)
        elif word.startswith(("-c", "--")):
            assignment = word[2:]
        else:
            raise InvalidAuthorization(f"invalid command-line argument for server process: {word}")
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InvalidAuthorization(f"-c {name} requires a value")
        values[name.replace("-", "_").lower()] = value
    return values


def transition(old: Profile | None, new: Profile, *, acting_first: bool = False) -> str:
    """Return the SQL that brings a server from profile `old` (None: its defaults) to `new`; "" if nothing differs.

    `set_config()` takes the value as a configuration file would, lists included, where SET would quote it once more.
    As one Query it is atomic. `acting_first`: switch the role first, as what was set as another role can only be set by
    that role.
    """
    before = _sent(old) if old is not None else {}
    after = _sent(new)
    if before == after:
        return ""
    limited = any(name in before for name in _LIMITS)
    # Whatever role the last client acted as, settings are changed as the login role, which is switched afterwards.
    acting = {name: before.pop(name) for name in _WHO if name in before}
    resets = [f"RESET {name}" for name in reversed(acting)]
    resets += [f"RESET {_identifier(name)}" for name in before if name not in after]
    who = [(name, after.pop(name)) for name in _WHO if name in after]
    ordered = [*who, *after.items()] if acting_first else [*after.items(), *who]
    changes = [
        f"pg_catalog.set_config({literal(name)}, {literal(value)}, false)"
        for name, value in ordered
        if before.get(name) != value
    ]
    if not changes:
        return "; ".join(resets)
    lifted = [f"SET LOCAL {name} TO 0" for name in _LIMITS] if limited else []
    return "; ".join([CALM, *lifted, *resets, "SELECT " + ", ".join(changes)])


def assignments(values: Mapping[str, str]) -> str:
    """Return the SQL that sets these inside a transaction, if possible without a snapshot; "" for none."""
    sent = {name: value for name, value in values.items() if name not in SESSION_TIMERS}
    return "; ".join(
        f"SELECT pg_catalog.set_config({literal(name)}, {literal(value)}, false)"
        if name in _LISTS  # SET would quote it once more
        else f"SET {_identifier(name)} TO {literal(value)}"
        for name, value in sent.items()
    )


def timers(profile: Profile) -> str:
    """Return the SQL that validates the settings that a pooled connection does not get; "" for none."""
    kept = ((name, value) for name, value in profile.values if name in SESSION_TIMERS)
    return "; ".join(f"SET LOCAL {name} TO {literal(value)}" for name, value in kept)


def _sent(profile: Profile) -> dict[str, str]:
    """Return the settings of a profile that are sent to a server."""
    return {name: value for name, value in profile.values if name not in SESSION_TIMERS}


def spelled(names: Iterable[str]) -> str:
    """Return the SQL that asks for settings as the server displays them, in one row; "" for none."""
    asked = ", ".join(f"pg_catalog.current_setting({literal(name)})" for name in names)
    return f"SELECT {asked}" if asked else ""


def strings_are_unusual(settings: Mapping[str, str]) -> bool:
    """Whether string constants of a session may mean something else than the parser assumes.

    Backslashes that escape, or a client encoding in which a byte of a character may look like a quote or a backslash.
    """
    encoding = settings.get("client_encoding", "").upper().replace("_", "").replace("-", "")
    return settings.get("standard_conforming_strings", "on").lower() in ("off", "false", "no", "0") or encoding in (
        "BIG5", "GB18030", "GBK", "JOHAB", "SJIS", "SHIFTJIS", "UHC", "WIN949", "WIN936", "WIN950", "WINDOWS949",
        "WINDOWS936", "WINDOWS950", "WIN932", "WINDOWS932", "MSKANJI", "SHIFTJIS2004", "SJIS2004",
    )  # fmt: skip


def milliseconds(text: str) -> int:
    """Return a time limit, written as SHOW does (0, 250ms, 7s, 5min), in milliseconds; 0 if it is not one."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    return int(digits) * _UNITS_MS.get(text[len(digits) :].strip() or "ms", 1) if digits.isdigit() else 0


def in_words(limit_ms: int) -> str:
    """Return a time limit as SHOW writes it: in the largest unit that it is a multiple of."""
    unit = next((unit for unit in ("d", "h", "min", "s") if limit_ms % _UNITS_MS[unit] == 0), "ms")
    return f"{limit_ms // _UNITS_MS[unit]}{unit}" if limit_ms else "0"


def literal(text: str) -> str:
    """Quote a string so that it means the same whatever standard_conforming_strings and client_encoding are."""
    plain = text.replace("\\", "\\\\").replace("'", "''")
    return "E'" + "".join(char if char < "\x80" else f"\\U{ord(char):08x}" for char in plain) + "'"


def _identifier(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
