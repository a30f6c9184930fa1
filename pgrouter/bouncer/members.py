"""Who the cluster's members are: the hosts of [databases], and what the environment adds to them. Pure but for names.

An ini has one server for a database, or several that are alike. A router has one cluster, so all entries have to be
about the same servers; the environment says more about them:

- PGROUTER_REPLICAS=HOST[:PORT],...: other members. Every address of a name is one, so a headless service stands for all
  its pods; the primary is found by asking, whoever is named where.
- PGROUTER_CLUSTER=patroni+http://HOST:PORT,... or etcd://HOST:PORT,.../NAMESPACE/SCOPE: who says who the members are;
  hosts in the ini are then not used. With certificates: patroni+https, etcd+https.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pgrouter.bouncer.entries import Entry

    Address = tuple[str, int]

CLUSTER, REPLICAS = "PGROUTER_CLUSTER", "PGROUTER_REPLICAS"
DEFAULT_PORT = 5432


def addresses_of(name: str) -> list[str]:
    """Return the IP addresses of a host, sorted; none while it cannot be resolved."""
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except OSError:
        return []


def cluster(
    entries: Iterable[Entry],
    environment: Mapping[str, str],
    socket_dir: str,
    resolve: Callable[[str], list[str]] = addresses_of,
) -> tuple[dict[str, object], list[str]]:
    """Return the section `cluster`, without the monitor, and lines of the report.

    Raises:
        ConfigError: the entries are about different servers, or a variable is not what it should be.

    """
    by_entry = {entry.name: tuple(_addresses(entry, socket_dir)) for entry in entries}
    if source := environment.get(CLUSTER, ""):
        unused = sorted({_name(*host) for hosts in by_entry.values() for host in hosts})
        return _source(source), [f"databases: host = {', '.join(unused)}: not used: {CLUSTER} says who the members are"]
    if not by_entry:
        raise ConfigError(["databases: there are none, so there is no server to connect to"])
    replicas = _replicas(environment.get(REPLICAS, ""), resolve)
    hosts = _one_cluster(by_entry, replicas)
    found = list(dict.fromkeys([*hosts, *replicas]))
    members = [{"name": _name(host, port), "host": host, "port": port} for host, port in found]
    told = []
    if len(hosts) > 1:
        listed = ", ".join(_name(*each) for each in hosts)
        told = [
            f"databases: host = {listed}: members of one cluster: the primary is found by asking, replicas share reads"
        ]
    return {"source": "static", "members": members}, told


def _addresses(entry: Entry, socket_dir: str) -> Iterable[Address]:
    hosts = entry.hosts or (socket_dir or "/tmp",)  # noqa: S108  (PgBouncer's default)
    return dict.fromkeys((host, entry.port) for host in hosts)


def _name(host: str, port: int) -> str:
    return host if port == DEFAULT_PORT else f"{host}:{port}"


def _one_cluster(by_entry: Mapping[str, tuple[Address, ...]], replicas: list[Address]) -> list[Address]:
    """Return the servers that the entries are about, which have to be one cluster's.

    Those of one entry are alike, and those in PGROUTER_REPLICAS belong to the first: entries that share a server share
    the cluster. Whether that is so is seen by the servers' system identifiers.
    """
    clusters: list[tuple[str, set[Address]]] = []  # the first entry of each, and its servers
    for name, hosts in by_entry.items():
        theirs = {*hosts, *(() if clusters else replicas)}
        joined = [each for each in clusters if each[1] & theirs]
        first = joined[0][0] if joined else name
        merged = (first, theirs.union(*(servers for _, servers in joined)))
        clusters = [each for each in clusters if each not in joined] + [merged]
    if len(clusters) == 1:
        return list(dict.fromkeys(host for hosts in by_entry.values() for host in hosts))
    shown = "; ".join(f"{name} = {', '.join(_name(*each) for each in by_entry[name])}" for name, _ in clusters)
    text = (
        f"databases: a router has one cluster, and these are about different servers: {shown}. If they are members of "
        f"one cluster, name the others in {REPLICAS}; if not, run a router for each cluster"
    )
    raise ConfigError([text])


def _replicas(text: str, resolve: Callable[[str], list[str]]) -> list[Address]:
    found: list[Address] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        host, port = _host_and_port(item)
        addresses = [] if host.startswith("/") else resolve(host)
        found += [(host, port)] if len(addresses) < 2 else [(address, port) for address in addresses]
    return list(dict.fromkeys(found))


def _host_and_port(item: str) -> Address:
    host, _, port = item.rpartition(":") if item.count(":") == 1 or "]" in item else (item, "", "")
    if item.startswith("[") and item.endswith("]"):
        host, port = item, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ConfigError([f"{REPLICAS}: expected HOST or HOST:PORT, got {item!r}"])
    return (host or item).strip("[]"), int(port) if port else DEFAULT_PORT


def _source(text: str) -> dict[str, object]:
    scheme, _, rest = text.partition("://")
    kind, _, transport = scheme.partition("+")
    hosts, _, path = rest.partition("/")
    endpoints = [f"{transport or 'http'}://{host.strip()}" for host in hosts.split(",") if host.strip()]
    namespace, _, scope = path.strip("/").rpartition("/")
    if transport not in ("", "http", "https") or not endpoints:
        kind = ""
    if kind == "patroni" and not path.strip("/"):
        return {"source": "patroni", "patroni": {"urls": endpoints}}
    if kind == "etcd" and scope:
        return {
            "source": "etcd",
            "etcd": {"endpoints": endpoints, "namespace": f"/{namespace or 'service'}", "scope": scope},
        }
    raise ConfigError([
        f"{CLUSTER}: expected patroni+http://HOST:PORT,... or etcd://HOST:PORT,.../NAMESPACE/SCOPE, got {text!r}"
    ])  # fmt: skip
