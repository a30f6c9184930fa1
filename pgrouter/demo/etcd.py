"""etcd on loopback: one node, or three that elect a leader among themselves."""

from __future__ import annotations

import base64
import json
import signal
import ssl
import urllib.error
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any

from pgrouter.demo.binaries import find_etcd
from pgrouter.demo.processes import Process, make_directory, spawn, until
from pgrouter.demo.workdir import Startable, Workdir

if TYPE_CHECKING:
    from pathlib import Path

# Loopback: a faster election than the default 1000 ms; the shortest lease granted is 1.5 election timeouts.
HEARTBEAT_MS, ELECTION_MS = 50, 500


class EtcdCluster(Startable):
    """One to three etcd nodes. A context manager: up inside, nothing left outside."""

    def __init__(
        self,
        nodes: int = 1,
        *,
        ports: tuple[int, ...] | None = None,
        workdir: Workdir | None = None,
        certificates: Path | None = None,
    ) -> None:
        """Reserve the ports (client ports may be given); `workdir` belongs to the cluster that this is a part of.

        With a directory of certificates (ca.crt, server.crt, client.crt and their .key) every peer has to present one.
        """
        self.certificates = certificates
        self._owned = workdir is None
        self._workdir = workdir or Workdir("etcd")
        self.ports = self._workdir.ports(ports or nodes)
        self._peer_ports = self._workdir.ports(nodes)
        self._directory = make_directory(self._workdir.path / "etcd", 0o755)
        self._processes: list[Process | None] = [None] * nodes

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return HOST:PORT of each node's client side."""
        return tuple(f"127.0.0.1:{port}" for port in self.ports)

    def start(self) -> None:
        """Start all nodes and wait until each of them has a leader (0.2 s)."""
        # One after the other: a starting node asks each peer for its member list and waits 1 s for a peer whose port
        # listens but does not respond yet. Started together, three nodes wait for each other for 2 s.
        for node in range(len(self.ports)):
            self.launch(node)
            until(partial(self._serves_peers, node), 20, f"etcd{node} serves its peers, see {self.log(node)}")
        for node in range(len(self.ports)):
            self.wait_ready(node)

    def stop(self) -> None:
        """End all nodes at once (SIGTERM to all would take 3 s to transfer leadership)."""
        for node in range(len(self.ports)):
            self.kill(node)
        if self._owned:
            self._workdir.remove()

    def log(self, node: int) -> Path:
        """Return the path of a node's log."""
        return self._directory / f"etcd{node}.log"

    def launch(self, node: int) -> None:
        """Start a node (again) and return at once."""
        self._processes[node] = spawn(self._command(node), self._workdir.path, self.log(node))

    def wait_ready(self, node: int = 0, timeout_s: float = 20) -> None:
        """Wait until a node has a leader."""
        # Not GET /health: a linearizable read in a leader's first moment stalls for seconds.
        until(partial(self._has_leader, node), timeout_s, f"etcd{node} has a leader, see {self.log(node)}")

    def kill(self, node: int = 0) -> None:
        """End a node with SIGKILL; its data remains."""
        if process := self._processes[node]:
            process.kill()

    def freeze(self, node: int = 0) -> None:
        """Stop a node without closing its sockets (SIGSTOP)."""
        if process := self._processes[node]:
            process.signal(signal.SIGSTOP)

    def thaw(self, node: int = 0) -> None:
        """End a freeze."""
        if process := self._processes[node]:
            process.signal(signal.SIGCONT)

    def heal(self) -> None:
        """Thaw what is frozen, start what is down, and wait until all nodes have a leader."""
        for node, process in enumerate(self._processes):
            self.thaw(node)
            if process is None or not process.alive:
                self.launch(node)
        for node in range(len(self.ports)):
            self.wait_ready(node)

    def put(self, key: str, value: str, lease_id: int = 0, node: int = 0) -> None:
        """Write a key, as Patroni would; with a lease it is deleted when the lease expires."""
        self.call("/v3/kv/put", {"key": b64(key), "value": b64(value), "lease": str(lease_id)}, node)

    def get(self, key: str, node: int = 0) -> str | None:
        """Read a key."""
        found = self.call("/v3/kv/range", {"key": b64(key)}, node).get("kvs")
        return base64.b64decode(found[0]["value"]).decode() if found else None

    def delete(self, key: str, node: int = 0) -> None:
        """Delete a key."""
        self.call("/v3/kv/deleterange", {"key": b64(key)}, node)

    def clear(self) -> None:
        """Delete all keys."""
        everything = base64.b64encode(b"\0").decode()
        self.call("/v3/kv/deleterange", {"key": everything, "range_end": everything})

    def grant(self, ttl_s: int, node: int = 0) -> int:
        """Create a lease and return its id."""
        return int(self.call("/v3/lease/grant", {"TTL": ttl_s}, node)["ID"])

    def call(self, path: str, body: dict[str, Any], node: int = 0, timeout_s: float = 2.0) -> dict[str, Any]:
        """Call etcd's JSON gateway."""
        url = f"{self.scheme}://{self.endpoints[node]}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout_s, context=self._context()) as answer:  # noqa: S310
            return json.load(answer)  # type: ignore[no-any-return]

    @property
    def scheme(self) -> str:
        """Return https if there are certificates, else http."""
        return "https" if self.certificates else "http"

    def _context(self) -> ssl.SSLContext | None:
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cafile=self.certificates / "ca.crt")
        context.load_cert_chain(self.certificates / "client.crt", self.certificates / "client.key")
        return context

    def _has_leader(self, node: int) -> bool:
        try:
            return bool(self.call("/v3/maintenance/status", {}, node, 1.0).get("leader", "0") != "0")
        except (OSError, ValueError):
            return False

    def _serves_peers(self, node: int) -> bool:
        try:
            url = f"{self.scheme}://127.0.0.1:{self._peer_ports[node]}/members"
            urllib.request.urlopen(url, timeout=1, context=self._context()).close()  # noqa: S310
        except urllib.error.HTTPError as refused:
            refused.close()  # any answer is fine
        except OSError:
            return False
        return True

    def _command(self, node: int) -> list[str | Path]:
        here = f"{self.scheme}://127.0.0.1"
        client, peer = f"{here}:{self.ports[node]}", f"{here}:{self._peer_ports[node]}"
        members = ",".join(f"etcd{i}={here}:{port}" for i, port in enumerate(self._peer_ports))
        options = {
            "name": f"etcd{node}", "data-dir": str(self._directory / f"etcd{node}"),
            "listen-client-urls": client, "advertise-client-urls": client,
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer,
            "initial-cluster": members, "initial-cluster-state": "new",
            "initial-cluster-token": self._workdir.path.name,
            "heartbeat-interval": str(HEARTBEAT_MS), "election-timeout": str(ELECTION_MS),
            "logger": "zap", "log-level": "warn",
        }  # fmt: skip
        if self.certificates is not None:
            for side in ("", "peer-"):
                options |= {
                    f"{side}client-cert-auth": "true", f"{side}trusted-ca-file": str(self.certificates / "ca.crt"),
                    f"{side}cert-file": str(self.certificates / "server.crt"),
                    f"{side}key-file": str(self.certificates / "server.key"),
                }  # fmt: skip
        return [find_etcd(), *(f"--{name}={value}" for name, value in options.items())]


def b64(text: str) -> str:
    """Encode a key or value for the JSON gateway."""
    return base64.b64encode(text.encode()).decode()
