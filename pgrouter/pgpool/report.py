"""What there is to say about a pgpool.conf: a line for all that does not simply hold. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgrouter.pgpool.parameters import GROUPS, Fate
from pgrouter.pgpool.redirects import REDIRECTS, is_kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.pgpool.conf import Conf


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter."""

    name: str
    fate: Fate
    words: str
    harmless: tuple[str, ...] = ("", "off", "0", "none", "no", "false")  # values with which nothing is lost


# Values that are as good as none where the usual ones are not meant
HARMLESS = {
    "ssl_passphrase_command": ("",),
    "replication_delay_source_timeout": ("10", "0", "10s"),
    "failover_command": ("", 'echo ">>> Failover - that will initialize new primary node search!"'),
    "use_watchdog": ("", "off", "false", "no", "0"),
}


def _parameters() -> Iterator[Parameter]:
    usual = Parameter("", Fate.MOOT, "").harmless
    for group in GROUPS:
        for name in group.names.split():
            yield Parameter(name, group.fate, group.words, HARMLESS.get(name, usual))


PARAMETERS = {parameter.name: parameter for parameter in _parameters()}

# Modes of replication that the router has not got: the configuration is refused, as rows would be lost silently
REFUSED_MODES = ("native_replication", "snapshot_isolation", "logical_replication", "slony")
_OLD_MODES = ("replication_mode", "master_slave_mode", "master_slave_sub_mode")

_DIGITS = re.compile(r"\d+\Z", re.ASCII)


def parameter_of(name: str) -> Parameter | None:
    """Return what is known of a parameter by its name in a file; None: Pgpool-II has none of that name."""
    found = PARAMETERS.get(name)
    if found is not None:
        return found
    stem, digits = _DIGITS.subn("", name)
    if not digits:
        return None
    return PARAMETERS.get(f"{stem}N") or (PARAMETERS.get(stem) if _each_node_has(stem) else None)


def _each_node_has(name: str) -> bool:
    return name.startswith("health_check_") or name == "connect_timeout"


def report(conf: Conf) -> tuple[str, ...]:
    """Return a line for all that does not simply hold: first what somebody may miss, then the rest by its reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, value in conf.values.items():
        known = parameter_of(name)
        if known is None:
            if name not in _OLD_MODES:
                reasons.setdefault(("", "unknown to Pgpool-II 4.8, too: ignored, as there"), []).append(name)
        elif known.fate is Fate.LOST:
            if value.text not in known.harmless:
                reasons.setdefault(("ATTENTION: ", known.words), []).append(name)
        elif name in REDIRECTS and not is_kept(value):
            reasons.setdefault(("ATTENTION: ", known.words), []).append(name)
        elif known.fate is not Fate.HONOURED:
            reasons.setdefault(("", known.words), []).append(name)
    lines = [f"{prefix}{', '.join(names)}: {words}" for (prefix, words), names in reasons.items()]
    return tuple(sorted(lines, key=lambda line: not line.startswith("ATTENTION")))


def refused_mode(conf: Conf) -> str:
    """Return the mode of replication that the router has not got, "" if it is none of these."""
    mode = conf.get("backend_clustering_mode", "streaming_replication").text.lower()
    if mode in REFUSED_MODES:
        return mode
    if conf.get("replication_mode", "off").text.lower() in ("on", "true", "yes", "1"):
        return "replication_mode"
    if conf.get("master_slave_sub_mode", "stream").text.lower() in ("slony", "logical"):
        return "master_slave_sub_mode " + conf.get("master_slave_sub_mode").text
    return ""
