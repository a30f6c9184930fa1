"""What the primary says of users: whether a role may log in, its groups, and with `auth.query` its secret.

One session asks, one user after the other; logins of the same user share an answer, which then holds for
`auth.query_max_age`. While the primary cannot be asked, older answers hold.

Source: PgBouncer, auth_query; src/client.c, handle_auth_query_response(). Its default query is here without
`rolcanlogin` and VALID UNTIL, which are asked for every user (role.sql), so that a client hears what PostgreSQL would
say.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

import psycopg
from msgspec.structs import replace

from pgrouter.auth.account import Role
from pgrouter.auth.secret import parse_secret
from pgrouter.auth.text import as_bytes
from pgrouter.control import catalog_reader
from pgrouter.errors import NoServer, RouterError
from pgrouter.libpq import login
from pgrouter.libpq.connection import protection
from pgrouter.libpq.query import QueryError, ask, one_line

if TYPE_CHECKING:
    from pgrouter.auth.account import StoredSecret
    from pgrouter.auth.files import AuthFiles
    from pgrouter.config.settings import Settings
    from pgrouter.planes import ClusterService

_Reader = Callable[[str, "list[str | None] | QueryError"], "StoredSecret | None"]

log = logging.getLogger("pgrouter.auth")

ROLE = files("pgrouter.control").joinpath("role.sql").read_text()
DEFAULT_QUERY = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1"

ATTEMPT_S = 5.0  # for connecting and two queries
WAIT_S = 10.0  # a login waits this long for a primary if it cannot go on without
HURRY_S = 1.0  # if it can
RETRY_S = 0.2
DISTRUST_S = 1.0  # a younger answer is not asked for again because a password was wrong
IDLE_S = 30.0  # then the session ends
KNOWN = 10_000  # roles that are remembered
STRANGERS = 1_000  # names without a role, likewise
WAITING = 1_000  # users that are asked for at the same time
TELL_S = 10.0  # between two lines about the same trouble


class _Asked:
    """A user that is being asked for."""

    def __init__(self, future: asyncio.Future[Role]) -> None:
        self.future = future
        self.until_s = 0.0


class AuthQuery:
    """Knows roles and their secrets; `planes.RoleService`."""

    def __init__(self, settings: Settings, files: AuthFiles, cluster: ClusterService) -> None:
        self._cluster = cluster
        self._cache = RoleCache()
        self._asked: dict[str, _Asked] = {}
        self._worker: asyncio.Task[None] | None = None
        self._session = _Session()
        self._failing = False
        self._told_s = -TELL_S
        self._typical: StoredSecret | None = None
        self._take(settings, files)

    def _take(self, settings: Settings, files: AuthFiles) -> None:
        auth, monitor = settings.auth, settings.cluster.monitor
        self._files = files
        self._query = auth.query or (DEFAULT_QUERY if auth.query_user else "")
        self._max_age_s = auth.query_max_age_s
        self._protection = protection(settings.servers)
        self._database = auth.query_database or monitor.database
        self._as = monitor
        if auth.query_user and auth.query_user != monitor.user:
            self._as = replace(monitor, user=auth.query_user, password=auth.query_password)

    def reload(self, settings: Settings, files: AuthFiles) -> None:
        """Ask in another way from now on, and all again."""
        self._take(settings, files)
        self._cache = RoleCache()
        self._session.close()

    async def stop(self) -> None:
        """Close the session; whoever still waits is told that there is no answer."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._session.close()

    # -- planes.RoleService

    @property
    def has_secrets(self) -> bool:
        """Whether it looks up secrets."""
        return bool(self._query)

    @property
    def typical(self) -> StoredSecret | None:
        """Return a secret like most others that it has looked up: the newest."""
        return self._typical

    @property
    def why_unknown(self) -> str:
        """Return why a user has no secret, for the log."""
        return "neither the users file nor auth.query has a secret" if self._query else ""

    def known(self, user: str) -> Role | None:
        """Return what is known of a role, if that is new enough."""
        return self._cache.get(user, asyncio.get_running_loop().time() - self._max_age_s)

    async def ask(self, user: str, *, patient: bool) -> Role:
        """Return a role, after asking the primary; `patient`: wait for it if it cannot be asked now.

        Raises:
            RouterError: 57P03, it cannot be asked; 53300, too many others are waiting.

        """
        if self._failing and not patient:
            self._begin(user, 0)  # one of many logins tries again
            raise NoServer(f'the role "{user}" cannot be looked up', severity="FATAL")
        asked = self._begin(user, WAIT_S if patient else 0)
        try:
            async with asyncio.timeout(WAIT_S if patient else HURRY_S):
                return await asyncio.shield(asked.future)
        except TimeoutError:
            raise NoServer(f'the role "{user}" cannot be looked up', severity="FATAL") from None

    def distrust(self, user: str) -> None:
        """Ask again at the next login: a password was wrong."""
        self._cache.age(user, asyncio.get_running_loop().time() - DISTRUST_S)

    # -- one after the other

    def _begin(self, user: str, patience_s: float) -> _Asked:
        loop = asyncio.get_running_loop()
        asked = self._asked.get(user)
        if asked is None:
            if len(self._asked) >= WAITING:
                raise RouterError("too many users are being looked up", sqlstate="53300", severity="FATAL")
            asked = self._asked[user] = _Asked(loop.create_future())
            asked.future.add_done_callback(_seen)
        asked.until_s = max(asked.until_s, loop.time() + patience_s)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work(), name="roles")
        return asked

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._asked:
            user = next(iter(self._asked))
            try:
                role = await self._look_up(user)
            except RouterError as error:
                self._failing = True
                self._fail(error, loop.time())
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:
                log.exception("bug in looking up a role")
                self._answer(user, RouterError("internal error", severity="FATAL"))
                continue
            self._failing = False
            self._cache.put(user, role, loop.time())
            self._answer(user, role)
        self._session.close_after(IDLE_S)

    def _answer(self, user: str, answer: Role | RouterError) -> None:
        future = self._asked.pop(user).future
        if future.done():
            return
        if isinstance(answer, Role):
            future.set_result(answer)
        else:
            future.set_exception(answer)

    def _fail(self, error: RouterError, now_s: float) -> None:
        """Answer those who have waited long enough, and those for whom an older answer is there."""
        self._tell(f"{error.message}: {error.detail}", now_s)
        for user, asked in list(self._asked.items()):
            older = self._cache.get(user, 0)
            if older is not None:
                self._answer(user, older)
            elif asked.until_s <= now_s:
                self._answer(user, error)

    def _tell(self, text: str, now_s: float) -> None:
        if now_s - self._told_s >= TELL_S:
            self._told_s = now_s
            log.warning("%s", text)

    async def _look_up(self, user: str) -> Role:
        view = self._cluster.view
        source = view.primary or (view.leader if view.standby else None)
        member = view.member(source) if source else None
        if member is None:
            raise NoServer("roles cannot be looked up", detail="there is no primary", severity="FATAL")
        where = catalog_reader.conninfo(
            [(member.host, member.port)], self._database, self._as, self._protection, writable=not view.standby
        )
        return await self._session.role(where, user, self._wanted(user), self._read_secret)

    def _wanted(self, user: str) -> str:
        """Return the query for a user's secret; "": it is not needed."""
        return "" if self._files.users.get(user) else self._query

    def _read_secret(self, user: str, row: list[str | None] | QueryError) -> StoredSecret | None:
        """Return the secret in an answer; None: the user has none."""
        now_s = asyncio.get_running_loop().time()
        if isinstance(row, QueryError):
            self._tell(f"auth.query: {row}", now_s)
            return None
        if not row:
            return None
        if len(row) < 2:
            self._tell("auth.query: expected two columns: the user's name and its secret", now_s)
            return None
        try:
            secret = parse_secret(row[1]) if row[1] else None
        except ValueError as error:
            self._tell(f'auth.query: user "{user}": {error}', now_s)
            return None
        self._typical = secret or self._typical
        return secret


class RoleCache:
    """The newest answers; of roles that do not exist it keeps less, since anybody can make up names."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Role]] = {}
        self._strangers: dict[str, tuple[float, Role]] = {}

    def get(self, user: str, since_s: float) -> Role | None:
        """Return what was found out after a moment; None: nothing."""
        at_s, role = self._known.get(user) or self._strangers.get(user) or (-1.0, None)
        return role if at_s >= since_s else None

    def put(self, user: str, role: Role, now_s: float) -> None:
        """Remember an answer; the oldest is forgotten if there are too many."""
        self._known.pop(user, None)
        self._strangers.pop(user, None)
        kept, limit = (self._known, KNOWN) if role.exists else (self._strangers, STRANGERS)
        if len(kept) >= limit:
            del kept[next(iter(kept))]
        kept[user] = (now_s, role)

    def age(self, user: str, before_s: float) -> None:
        """Let an answer from before a moment count as old."""
        for kept in (self._known, self._strangers):
            if user in kept and kept[user][0] < before_s:
                kept[user] = (0.0, kept[user][1])


class _Session:
    """A connection to the primary that stays open for a while."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection | None = None
        self._conninfo = ""
        self._closing: asyncio.TimerHandle | None = None

    async def role(self, conninfo: str, user: str, query: str, read: _Reader) -> Role:
        """Ask for a role, and with `query` for its secret. Raises RouterError: 57P03, there is no answer."""
        try:
            async with asyncio.timeout(ATTEMPT_S):
                connection = await self._connected(conninfo)
                found = await ask(connection.pgconn, ROLE.encode(), [as_bytes(user)])
                secret = read(user, await _secret_row(connection, query, user)) if query else None
        except (psycopg.Error, QueryError, OSError) as error:  # TimeoutError is an OSError
            self.close()
            detail = one_line(str(error)) or f"no answer within {ATTEMPT_S:g} s"
            raise NoServer("roles cannot be looked up", detail=detail, severity="FATAL") from error
        except asyncio.CancelledError:
            self.close()
            raise
        exists, can_login, expired, roles = found
        return Role(exists == "t", can_login == "t", expired == "t", frozenset(json.loads(roles or "[]")), secret)

    async def _connected(self, conninfo: str) -> psycopg.AsyncConnection:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._connection is None or conninfo != self._conninfo:
            self.close()
            own = psycopg.conninfo.make_conninfo(conninfo, application_name="pgrouter auth")
            self._connection = await psycopg.AsyncConnection.connect(own, autocommit=True)
            self._conninfo = conninfo
            await login.settle(self._connection)
        return self._connection

    def close_after(self, pause_s: float) -> None:
        """Close it if it is not used meanwhile."""
        self._closing = asyncio.get_running_loop().call_later(pause_s, self.close)

    def close(self) -> None:
        """Close the connection."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()


async def _secret_row(connection: psycopg.AsyncConnection, query: str, user: str) -> list[str | None] | QueryError:
    """Return the answer, no columns if there is no row; an error that the query has, not the connection."""
    try:
        return await ask(connection.pgconn, query.encode(), [as_bytes(user)], optional=True)
    except QueryError as error:
        return error


def _seen(future: asyncio.Future[Role]) -> None:
    """Look at the outcome, which may come when nobody waits for it any more."""
    if not future.cancelled():
        future.exception()
