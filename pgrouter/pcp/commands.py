"""PCP's commands, by the kind of their packet: what each does, and its answer as packets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, Protocol

from pgrouter.errors import RouterError
from pgrouter.pcp.protocol import DONE, PcpError, packet
from pgrouter.pcp.status import Viewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.cluster.monitor import Monitor
    from pgrouter.pcp.nodes import Node
    from pgrouter.pcp.protocol import Packet
    from pgrouter.pcp.status import Status

log = logging.getLogger("pgrouter.pcp")

RAND_MAX = 2**31 - 1  # what weights are multiples of on the wire
ROLES = {"primary": "2", "standby": "3"}
EVERYTHING = Viewer(sees_all=True)


READS = frozenset({b"A", b"B", b"H", b"I", b"L", b"N", b"P", b"W"})  # not worth a line in the log


class App(Protocol):
    """What commands need of the application."""

    monitor: Monitor

    def reload(self) -> str:
        """Reload the configuration; raises RouterError."""


class Commands:
    """Runs commands of clients that have proved who they are."""

    def __init__(self, app: App, status: Status, stop: Callable[[str], None], version: str = "4.7") -> None:
        self._app = app
        self._version = version  # of the tools
        self._status = status
        self._stop = stop  # by smart, fast or immediate, of which it gets the first letter

    def run(self, asked: Packet, user: str) -> bytes:
        """Return the answer to a command. Raises PcpError."""
        command = self._BY_KIND.get(asked.kind)
        if command is None:
            raise PcpError(f"unknown PCP packet type {asked.kind!r}")
        if asked.kind not in READS:
            log.info("pcp: %s: %s %s", user, command.__name__.replace("_", " ").strip(), " ".join(asked.words()))
        return command(self, asked.words())

    # -- nodes

    def _node(self, words: list[str]) -> Node:
        try:
            number = int(words[0])
        except (IndexError, ValueError):
            raise PcpError("invalid node ID") from None
        found = next((node for node in self._status.nodes() if node.number == number), None)
        if found is None:
            raise PcpError(f"invalid node ID {number}", "node ID must be one of a configured node")
        return found

    def _node_count(self, _words: list[str]) -> bytes:
        return packet("l", DONE, str(len(self._status.nodes())))

    def _node_info(self, words: list[str]) -> bytes:
        found = self._status.nodes() if words[:1] == ["-1"] else [self._node(words)]
        rows = [packet("i", "NodeInfo", *self._info(node)) for node in found]
        return b"".join((packet("i", "ArraySize", str(len(rows))), *rows, packet("i", DONE)))

    def _info(self, node: Node) -> tuple[str, ...]:
        by_time = bool(self._status.max_lag_s)
        return (
            node.host,
            str(node.port),
            str(int(node.status)),
            "0",
            node.pg_status,
            f"{node.share * RAND_MAX:f}",
            ROLES[node.role],
            node.pg_role,
            *(("1" if by_time else "0",) if self._version != "4.3" else ()),
            str(round(node.lag_s * 1_000_000) if by_time else node.lag_bytes),
            node.replication_state,
            "",
            str(int(self._status.checks(node).changed_s)),
        )

    def _health_check_stats(self, words: list[str]) -> bytes:
        node = self._node(words)
        rows = self._status.pool_health_check_stats(EVERYTHING)
        row = next(row for row in rows if row[0] == str(node.number))
        return packet("h", DONE, *row)

    def _attach_node(self, words: list[str]) -> bytes:
        self._app.monitor.attach(self._node(words).name)
        return packet("c", DONE)

    def _detach_node(self, words: list[str]) -> bytes:
        node = self._node(words)
        if node.is_primary:
            raise PcpError(
                f"cannot detach node {node.number}: it is the primary",
                "writes need it: promote another one first (patronictl switchover, or pg_promote there)",
            )
        self._app.monitor.detach(node.name)
        return packet("d", DONE)

    def _promote_node(self, words: list[str]) -> bytes:
        node = self._node(words)
        if node.is_primary:
            raise PcpError(f"cannot promote node {node.number}: it is the primary already")
        raise PcpError(
            f"cannot promote node {node.number}: the router follows whoever is promoted, and promotes nobody",
            "use patronictl switchover, or pg_promote on that server after the primary was stopped",
        )

    def _recovery_node(self, _words: list[str]) -> bytes:
        raise PcpError(
            "online recovery is not available", "use patronictl reinit, or pg_basebackup: it is used once it streams"
        )

    # -- clients

    def _process_count(self, _words: list[str]) -> bytes:
        pids = [row[0] for row in self._status.pool_processes(EVERYTHING)]
        return packet("n", DONE, str(len(pids)), *pids)

    def _process_info(self, words: list[str]) -> bytes:
        rows = list(self._status.pool_pools(EVERYTHING))
        if words[:1] not in ([], ["0"]):
            rows = [row for row in rows if row[0] == words[0]]
        found = [packet("p", "ProcessInfo", *row) for row in rows]
        return b"".join((packet("p", "ArraySize", str(len(found))), *found, packet("p", DONE)))

    # -- the router

    def _pool_status(self, _words: list[str]) -> bytes:
        rows = list(self._status.pool_status(EVERYTHING))
        size = packet("b", "ArraySize", len(rows).to_bytes(4, "big"))
        return b"".join((size, *(packet("b", "ProcessConfig", *row) for row in rows), packet("b", DONE)))

    def _reload_config(self, _words: list[str]) -> bytes:
        try:
            self._app.reload()
        except RouterError as error:
            raise PcpError(f"reload failed: {error.message}", error.detail or "") from error
        return packet("z", DONE)

    def _stop_pgpool(self, words: list[str]) -> bytes:
        mode = words[0] if words else "s"
        if mode not in ("s", "f", "i"):
            raise PcpError(f'invalid shutdown mode "{mode}"')
        self._stop(mode)
        return packet("t", DONE)

    def _log_rotate(self, _words: list[str]) -> bytes:
        return packet("v", DONE)  # the log goes to stderr: who keeps it rotates it

    def _invalidate_cache(self, _words: list[str]) -> bytes:
        raise PcpError("query cache is not enabled")

    def _watchdog_info(self, _words: list[str]) -> bytes:
        raise PcpError("PCP: informing watchdog info failed", "watchdog is not enabled")

    def _set(self, _words: list[str]) -> bytes:
        return packet("a", DONE)

    _BY_KIND: ClassVar[dict[bytes, Callable[[Commands, list[str]], bytes]]] = {
        b"A": _set,
        b"B": _pool_status,
        b"C": _attach_node,
        b"D": _detach_node,
        b"d": _detach_node,
        b"G": _invalidate_cache,
        b"H": _health_check_stats,
        b"I": _node_info,
        b"J": _promote_node,
        b"j": _promote_node,
        b"L": _node_count,
        b"N": _process_count,
        b"O": _recovery_node,
        b"P": _process_info,
        b"T": _stop_pgpool,
        b"t": _stop_pgpool,
        b"V": _log_rotate,
        b"W": _watchdog_info,
        b"Z": _reload_config,
    }
