"""Finds out how a client has to authenticate: the line of the rules that is about it, its role, its secret.

What is known is answered at once. What has to be asked (the host name of an address, the user at the other end of a
Unix socket, a role on the primary) is asked in a task, off the data path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from ipaddress import ip_interface
from typing import TYPE_CHECKING

import ifaddr
from msgspec.structs import replace

from pgrouter.auth.account import NOTHING_KNOWN, Account, Role, decoy
from pgrouter.auth.admission import Admission
from pgrouter.auth.hba import Arrival, Missing, refusal
from pgrouter.errors import RouterError
from pgrouter.proxy.lookups import Lookups

if TYPE_CHECKING:
    from pgrouter.auth.account import StoredSecret
    from pgrouter.auth.addresses import Interface
    from pgrouter.auth.files import AuthFiles
    from pgrouter.auth.hba import Rule
    from pgrouter.planes import RoleService

log = logging.getLogger("pgrouter.auth")

PASSWORD_METHODS = ("password", "md5", "scram-sha-256")
NOT_IN_FILE = "the users file does not have the user"


class Wanted(Enum):
    """What else may have to be found out; see `hba.Missing`."""

    SYSTEM_USER = auto()
    ROLE = auto()


Then = Callable[[Admission | RouterError], None]


class Access:
    """One for all clients; a reload replaces what it knows."""

    def __init__(self, files: AuthFiles, roles: RoleService) -> None:
        self._roles = roles
        self._lookups = Lookups()
        self._tasks: set[asyncio.Task[None]] = set()
        self._take(files)

    def _take(self, files: AuthFiles) -> None:
        self._files = files
        self.users = files.users
        self._needs_roles = files.rules.needs_roles or files.maps.needs_roles
        self._needs_interfaces = files.rules.needs_interfaces

    def reload(self, files: AuthFiles) -> None:
        """Decide by these files from now on."""
        self._take(files)

    def admit(self, arrival: Arrival, peer_uid: int, then: Then, *, on_console: bool = False) -> Admission | None:
        """Return how a client has to authenticate; None: `then` is called with that, or with the reason why not.

        `peer_uid` is the number of the user at the other end of a Unix socket. The console is there when no server
        answers: whom the users file knows gets in without a question to the primary.

        Raises:
            RouterError: 28000, it is not let in.

        """
        role = self._roles.known(arrival.user)
        if role is None and on_console and not self._needs_roles and self.users.get(arrival.user) is not None:
            role = NOTHING_KNOWN
        found = self._decide(arrival, role)
        if isinstance(found, Admission):
            return found
        task = asyncio.get_running_loop().create_task(self._find_out(arrival, peer_uid, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None

    def failed(self, user: str) -> None:
        """Called when a password was wrong: the role may have a new one."""
        self._roles.distrust(user)

    def close(self) -> None:
        """Stop looking things up."""
        for task in self._tasks:
            task.cancel()

    def _decide(self, arrival: Arrival, role: Role | None) -> Admission | Missing | Wanted:
        if self._needs_roles and role is not None:
            arrival = replace(arrival, roles=role.roles)
        verdict = self._files.rules.match(arrival, self._interfaces())
        if verdict.missing is not None:
            return verdict.missing
        if verdict.rule is None or verdict.rule.method == "reject":
            error = refusal(verdict.rule, arrival)
            log.info("%s (%s)", error.message, verdict.reason)
            raise error
        if verdict.rule.method == "peer" and arrival.system_user is None:
            return Wanted.SYSTEM_USER
        if role is None:
            return Wanted.ROLE
        account = self._account(verdict.rule, arrival.user, role)
        return Admission(verdict.rule, arrival, account, self._files.maps, self._files.tokens)

    def _account(self, rule: Rule, user: str, role: Role) -> Account:
        secret = self.users.get(user) or role.secret
        why = "" if secret else self._roles.why_unknown or NOT_IN_FILE
        if role.expired:
            secret, why = None, f'User "{user}" has an expired password.'
        if secret is None and rule.method in PASSWORD_METHODS:
            secret = decoy(rule.method, user, self._typical())
        return Account(secret, why, role.can_login)

    def _typical(self) -> StoredSecret | None:
        return self._roles.typical or self._files.typical

    def _interfaces(self) -> tuple[Interface, ...]:
        """Return this machine's own addresses, if a line depends on them."""
        if not self._needs_interfaces:
            return ()
        return tuple(
            ip_interface(f"{ip.ip if ip.is_IPv4 else ip.ip[0]}/{ip.network_prefix}")
            for adapter in ifaddr.get_adapters()
            for ip in adapter.ips
        )

    # -- what takes time

    async def _find_out(self, arrival: Arrival, peer_uid: int, then: Then) -> None:
        found: Admission | RouterError
        try:
            found = await self._found_out(arrival, peer_uid)
        except RouterError as error:
            found = error
        except Exception:
            log.exception("bug in the login of %s", arrival.user)
            found = RouterError("internal error", severity="FATAL")
        then(found)

    async def _found_out(self, arrival: Arrival, peer_uid: int) -> Admission:
        role = self._roles.known(arrival.user)
        while True:
            found = self._decide(arrival, role)
            if isinstance(found, Admission):
                return found
            if found is Missing.HOST_NAME:
                arrival = replace(arrival, host_name=await self._lookups.host_name(arrival.address))
            elif found is Wanted.SYSTEM_USER:
                arrival = replace(arrival, system_user=await self._lookups.system_user(peer_uid))
            else:
                role = await self._role(arrival, required=found is Missing.ROLES)

    async def _role(self, arrival: Arrival, *, required: bool) -> Role:
        """Ask for a role; if nobody can be asked, and a secret or a group does not depend on it, go on without."""
        needed = required or (self._roles.has_secrets and self.users.get(arrival.user) is None)
        try:
            return await self._roles.ask(arrival.user, patient=needed)
        except RouterError:
            if needed:
                raise
            return NOTHING_KNOWN
