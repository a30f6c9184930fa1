"""What `pgrouter check --connect` tries: everything that a configuration names, as the router would use it.

Each attempt is a line that says whether it works. Nothing is changed anywhere, and a router that runs already is left
in peace: its own ports are then reported as taken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from pgrouter.auth.files import AuthFiles
from pgrouter.auth.secret import PlainSecret
from pgrouter.cluster.monitor import Monitor
from pgrouter.errors import ConfigError
from pgrouter.libpq.connection import protection
from pgrouter.net import tls
from pgrouter.net.listening import every_address
from pgrouter.planes import NoSubscriber
from pgrouter.topology import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.config.settings import Settings
    from pgrouter.topology import ClusterView, Member

TIMEOUT_S = 5
MOST_USERS = 20  # that are tried on every member
RESERVED = 10  # connections of a server that are left to superusers, backups and people


class Attempt(NamedTuple):
    """Something that was tried."""

    works: bool
    what: str
    found: str


def attempts(settings: Settings) -> Iterator[Attempt]:
    """Try everything, one after the other."""
    yield from _addresses(settings)
    yield from _certificates(settings)
    view = asyncio.run(_look(settings))
    yield from _cluster(settings, view)
    for member in view.members:
        yield from _room(settings, member)
    yield from _users(settings, view)


# -- this machine


def _addresses(settings: Settings) -> Iterator[Attempt]:
    wanted = [(f"listen[{number}]", one.host, one.port) for number, one in enumerate(settings.listen) if not one.unix]
    if settings.http is not None:
        wanted.append(("http", settings.http.host, settings.http.port))
    for name, host, port in wanted:
        try:
            addresses = every_address(host, port)
        except OSError as error:
            yield Attempt(works=False, what=name, found=f"{host}: {error.strerror}")
            continue
        for address in addresses:
            try:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                socket.create_server((address, port), family=family).close()
                yield Attempt(works=True, what=name, found=f"{address}:{port} is free")
            except OSError as error:
                yield Attempt(works=False, what=name, found=f"{address}:{port}: {os.strerror(error.errno or 0)}")


def _certificates(settings: Settings) -> Iterator[Attempt]:
    entries = [(f"listen[{number}].tls", one.tls) for number, one in enumerate(settings.listen)]
    if settings.http is not None:
        entries.append(("http.tls", settings.http.tls))
    for path, entry in entries:
        if entry.in_force() != "disable":
            try:
                tls.for_clients(entry, path)
                yield Attempt(works=True, what=path, found=f"certificate and key in {entry.cert} can be used")
            except ConfigError as error:
                yield Attempt(works=False, what=path, found=str(error))
    if settings.servers.tls.mode != "disable":
        try:
            tls.for_servers(settings.servers.tls)
        except ConfigError as error:
            yield Attempt(works=False, what="servers.tls", found=str(error))


# -- the cluster, with the router's own role


async def _look(settings: Settings) -> ClusterView:
    """Return what the monitor sees when every member has answered or failed."""
    logging.disable()  # what the monitor meets is told in lines of our own
    try:
        monitor = Monitor(settings.cluster, settings.reads, protection=protection(settings.servers))
        await monitor.start(NoSubscriber())
        view = monitor.view
        await monitor.stop()
    finally:
        logging.disable(logging.NOTSET)
    return view


def _cluster(settings: Settings, view: ClusterView) -> Iterator[Attempt]:
    source = settings.cluster.source
    if not view.members:
        yield Attempt(works=False, what=f"cluster.{source}", found="no member is known: the source does not answer")
        return
    named = ", ".join(member.name for member in view.members)
    yield Attempt(view.dcs_reachable, f"cluster.{source}", f"members: {named}; leader: {view.leader or 'none'}")
    for member in view.members:
        place = f"{member.name} ({member.host}:{member.port})"
        found = f"{member.role}: {member.reason}"
        if member.readable or member.writable:
            found += f"; gets {'writes' if member.writable else 'reads'}"
        yield Attempt(member.role is not Role.UNKNOWN, place, found)
    primary = view.primary
    yield Attempt(primary is not None, "writes", f"go to {primary}" if primary else f"go nowhere: {view.no_primary}")
    readers = ", ".join(view.readers)
    alone = len(view.members) == 1
    yield Attempt(bool(readers) or alone, "reads", f"go to {readers}" if readers else "go to the primary: no replica")


def _room(settings: Settings, member: Member) -> Iterator[Attempt]:
    """Compare what a member allows with what one pool may open."""
    if not (member.readable or member.writable):
        return
    monitor = settings.cluster.monitor
    try:
        with _connect(settings, member, monitor.user, monitor.password, monitor.database) as connection:
            row = connection.execute("select current_setting('max_connections')::int").fetchone()
    except psycopg.Error as error:
        yield Attempt(works=False, what=f"{member.name}: {monitor.user}", found=_words(error))
        return
    allowed, wanted = (row[0] if row else 0), settings.pool.size
    if settings.pool.max_member_connections:
        wanted = settings.pool.max_member_connections
    found = f"max_connections is {allowed}; a pool may open {wanted}"
    yield Attempt(wanted + RESERVED <= allowed, f"{member.name}: room", found)


def _users(settings: Settings, view: ClusterView) -> Iterator[Attempt]:
    """Log in to every member as every user whose password is in the file: pg_hba.conf there may not let them in."""
    users = AuthFiles.load(settings.auth).users.secrets
    plain = {name: secret.password for name, secret in users.items() if isinstance(secret, PlainSecret)}
    tried = list(plain)[:MOST_USERS]
    for member in view.members:
        if not (member.readable or member.writable):
            continue
        for user in tried:
            what = f"{member.name}: {user}"
            try:
                with _connect(settings, member, user, plain[user], settings.cluster.monitor.database):
                    yield Attempt(works=True, what=what, found=f'logs in to "{settings.cluster.monitor.database}"')
            except psycopg.Error as error:
                yield Attempt(works=False, what=what, found=_words(error))
    left_out = len(users) - len(tried)
    if left_out:
        found = "others are not tried: only as many passwords in clear are" if len(plain) > MOST_USERS else (
            "others are not tried: their passwords are not in the file"
        )  # fmt: skip
        yield Attempt(works=True, what="users", found=f"{left_out} {found}")


def _connect(
    settings: Settings, member: Member, user: str, password: str, database: str
) -> psycopg.Connection[tuple[int]]:
    return psycopg.connect(
        host=member.host, port=member.port, user=user, password=password or None, dbname=database,
        connect_timeout=TIMEOUT_S, application_name="pgrouter check", passfile="/dev/null",
        **protection(settings.servers),
    )  # fmt: skip


def _words(error: psycopg.Error) -> str:
    """Return an error in one line, without libpq's own preface."""
    text = " ".join(str(error).split())
    return text.rpartition("FATAL:")[2].strip() or text if "FATAL:" in text else text
