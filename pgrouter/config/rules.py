"""What must be true between settings, and between settings and the machine: one function per rule, all are run."""

from __future__ import annotations

import stat
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator
    from pathlib import Path

    from pgrouter.config.settings import ListenTls, PoolOverride, ServersTls, Settings, Tls

BY_PASSWORD = ("password", "md5", "scram-sha-256")  # types of auth for which secrets have to come from somewhere


def broken_rules(settings: Settings) -> list[str]:
    """Return a line `path.to.key: what is wrong` for every violated rule."""
    return [problem for rule in RULES for problem in rule(settings)]


def _listen(settings: Settings) -> Iterator[str]:
    if not settings.listen:
        yield "listen: at least one address is required"
    addresses = (f"{listen.unix or listen.host}:{listen.port}" for listen in settings.listen if listen.port)
    for address in _repeated(addresses):
        yield f"listen: {address} is given twice"


def _listen_tls(settings: Settings) -> Iterator[str]:
    for number, listen in enumerate(settings.listen):
        section, tls = f"listen[{number}].tls", listen.tls
        mode = tls.in_force()
        if listen.unix and mode != "disable":
            yield f"{section}: a Unix socket has no TLS"
        elif mode != "disable":
            if not tls.cert:
                yield f"{section}.cert: required when mode is {mode}"
            if mode in ("verify-ca", "verify-full") and not tls.ca:
                yield f"{section}.ca: required when mode is {mode}"
        if tls.crl and not tls.ca:
            yield f"{section}.ca: required with a crl"
        yield from _tls(section, tls)
        yield from _file(f"{section}.crl", tls.crl)


def _http(settings: Settings) -> Iterator[str]:
    http = settings.http
    if http is None:
        return
    tls = http.tls
    mode = tls.in_force()
    if mode != "disable" and not tls.cert:
        yield f"http.tls.cert: required when mode is {mode}"
    if mode == "verify-full":
        yield "http.tls.mode: requests have no user whose certificate it could be; verify-ca asks for any"
    if mode == "verify-ca" and not tls.ca:
        yield "http.tls.ca: required when mode is verify-ca"
    if tls.crl and not tls.ca:
        yield "http.tls.ca: required with a crl"
    yield from _tls("http.tls", tls)
    yield from _file("http.tls.crl", tls.crl)
    if http.port and any(http.port == listen.port and not listen.unix for listen in settings.listen):
        yield f"http.port: {http.port} is a port of listen"


def _pcp(settings: Settings) -> Iterator[str]:
    pcp = settings.pcp
    if pcp is None:
        return
    yield from _file("pcp.users_file", pcp.users_file)
    if any(pcp.port == listen.port for listen in settings.listen):
        yield f"pcp.port: {pcp.port} is a port of listen"


def _servers_tls(settings: Settings) -> Iterator[str]:
    tls = settings.servers.tls
    if tls.mode == "verify-ca" and not tls.ca:
        yield "servers.tls.ca: required when mode is verify-ca (verify-full can trust whom the system trusts)"
    if tls.crl and not tls.ca:
        yield "servers.tls.ca: required with a crl"
    if tls.negotiation == "direct" and tls.mode in ("allow", "prefer"):
        yield f"servers.tls.negotiation: direct needs mode require or stronger, got {tls.mode}"
    yield from _tls("servers.tls", tls)
    yield from _file("servers.tls.crl", tls.crl)


def _source(settings: Settings) -> Iterator[str]:
    cluster = settings.cluster
    needed = {"etcd": cluster.etcd, "patroni": cluster.patroni, "static": cluster.members}
    section = "members" if cluster.source == "static" else cluster.source
    if not needed[cluster.source]:
        yield f"cluster.{section}: required when source is {cluster.source}"
    for name in _repeated(member.name for member in cluster.members):
        yield f"cluster.members: the name {name} is given twice"
    for address in _repeated(f"{member.host}:{member.port}" for member in cluster.members):
        yield f"cluster.members: {address} is given twice"


def _etcd(settings: Settings) -> Iterator[str]:
    etcd = settings.cluster.etcd
    if etcd is None:
        return
    if not etcd.endpoints:
        yield "cluster.etcd.endpoints: at least one endpoint is required"
    for number, endpoint in enumerate(etcd.endpoints):
        problem = endpoint_problem(endpoint)
        if problem:
            yield f"cluster.etcd.endpoints[{number}]: {problem}"
    if etcd.password and not etcd.username:
        yield "cluster.etcd.username: required with a password"
    yield from _tls("cluster.etcd.tls", etcd.tls)


def _patroni(settings: Settings) -> Iterator[str]:
    patroni = settings.cluster.patroni
    if patroni is None:
        return
    if not patroni.urls:
        yield "cluster.patroni.urls: at least one is required"
    for number, url in enumerate(patroni.urls):
        problem = endpoint_problem(url, "cluster.patroni")
        if problem:
            yield f"cluster.patroni.urls[{number}]: {problem}"
    if patroni.password and not patroni.username:
        yield "cluster.patroni.username: required with a password"
    for name in ("interval", "connect_timeout", "request_timeout"):
        if not getattr(patroni, f"{name}_s"):
            yield f"cluster.patroni.{name}: expected more than 0"
    yield from _tls("cluster.patroni.tls", patroni.tls)


def _tls(section: str, tls: Tls | ListenTls | ServersTls | None) -> Iterator[str]:
    if tls is None:
        return
    if tls.key and not tls.cert:
        yield f"{section}.cert: required with a key"
    for key, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        yield from _file(f"{section}.{key}", path)


def endpoint_problem(endpoint: str, section: str = "cluster.etcd") -> str:
    """Return what is wrong with an endpoint of etcd or of Patroni, "" if nothing is."""
    expected = f"expected host:port, http://host:port or https://host:port, got {endpoint!r}"
    try:
        url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
        port = url.port
    except ValueError:
        return expected
    if url.username or url.password:
        return f"expected no user or password here; there are {section}.username and password"
    address = url.hostname and port and url.scheme in ("", "http", "https")
    return "" if address and url.path in ("", "/") and not url.query else expected


def _monitor(settings: Settings) -> Iterator[str]:
    if not settings.cluster.monitor.interval_s:
        yield "cluster.monitor.interval: expected more than 0"
    if not settings.cluster.monitor.timeout_s:
        yield "cluster.monitor.timeout: expected more than 0"


def _auth(settings: Settings) -> Iterator[str]:
    auth = settings.auth
    listed = auth.users_file or auth.pool_passwd_file
    if listed is None and auth.type in BY_PASSWORD and not (auth.query or auth.query_user):
        yield f"auth.users_file: required when type is {auth.type}, unless there is auth.query or auth.query_user"
    if auth.type == "hba" and auth.hba_file is None:
        yield "auth.hba_file: required when type is hba"
    for key in ("users_file", "pool_passwd_file", "pool_key_file", "hba_file", "ident_file"):
        yield from _file(f"auth.{key}", getattr(auth, key))
    yield from _file("auth.oauth.jwks_file", auth.oauth.jwks_file)


def _require_auth(settings: Settings) -> Iterator[str]:
    rule = settings.servers.require_auth
    if len({method.startswith("!") for method in rule}) > 1:
        yield "servers.require_auth: methods with and without ! do not go together"
    if set(rule) >= {"!password", "!md5", "!scram-sha-256", "!none"}:
        yield "servers.require_auth: it allows nothing"


def _pool(settings: Settings) -> Iterator[str]:
    pool = settings.pool
    if pool.min_size > pool.size:
        yield f"pool.min_size: expected at most pool.size ({pool.size}), got {pool.min_size}"
    for number, entry in enumerate(pool.overrides):
        where = f"pool.overrides[{number}]"
        size, least = entry.size or pool.size, entry.min_size
        if least is not None and least > size:
            yield f"{where}.min_size: expected at most size ({size}), got {least}"
        if entry.user != "*":
            yield from _shared(where, entry, "db", "a database with all its users: leave user out")
        if entry.database != "*":
            yield from _shared(where, entry, "user", "a user in all databases: leave database out")


def _shared(where: str, entry: PoolOverride, kind: str, whose: str) -> Iterator[str]:
    """Limits that several pools share cannot belong to one of them."""
    for name in (f"max_{kind}_connections", f"max_{kind}_clients"):
        if getattr(entry, name) is not None:
            yield f"{where}.{name}: it limits {whose}"


def _databases(settings: Settings) -> Iterator[str]:
    for name in _repeated(entry.name for entry in settings.databases):
        yield f"databases: {name} is given twice"
    for number, entry in enumerate(settings.databases):
        if entry.name in settings.admin.databases:
            yield f"databases[{number}].name: {entry.name} is the console (admin.databases)"
        if entry.password and not entry.user:
            yield f"databases[{number}].user: required with a password"
        for name in set(map(str.lower, entry.settings)) & {"user", "database", "options", "replication"}:
            yield f"databases[{number}].settings.{name}: it is no setting"


def _functions(settings: Settings) -> Iterator[str]:
    both = set(settings.routing.read_only_functions) & set(settings.routing.write_functions)
    for name in sorted(both):
        yield f"routing.write_functions: {name} is in routing.read_only_functions too"
    for other in ("read_only_functions", "stateless_functions"):
        for name in sorted(set(settings.routing.stateful_functions) & set(getattr(settings.routing, other))):
            yield f"routing.stateful_functions: {name} is in routing.{other} too"


def _reads(settings: Settings) -> Iterator[str]:
    reads, interval_s = settings.reads, settings.cluster.monitor.interval_s
    if 0 < reads.max_lag_s < 2 * interval_s:
        yield f"reads.max_lag: expected at least two of cluster.monitor.interval ({2 * interval_s:g}s)"
    for name in _repeated(member.name for member in reads.members):
        yield f"reads.members: the name {name} is given twice"


def _file(key: str, path: Path | None) -> Iterator[str]:
    if path is None:
        return
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        yield f"{key}: not found: {path}"
    except OSError as error:
        yield f"{key}: cannot be read: {path}: {error.strerror}"
    else:
        if not stat.S_ISREG(kind):
            yield f"{key}: not a file: {path}"


def _repeated(values: Iterable[Hashable]) -> list[Hashable]:
    return [value for value, count in Counter(values).items() if count > 1]


def _log(settings: Settings) -> Iterator[str]:
    if settings.log.file is not None and settings.log.syslog is not None:
        yield "log.syslog: the log goes to log.file already"


RULES = (
    _log,
    _listen,
    _listen_tls,
    _http,
    _pcp,
    _servers_tls,
    _source,
    _etcd,
    _patroni,
    _monitor,
    _auth,
    _require_auth,
    _pool,
    _databases,
    _functions,
    _reads,
)
