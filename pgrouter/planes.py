"""Where the control plane and the data plane meet: what each may ask of the other, and tell it. No call blocks.

The control plane (`control.plane`) finds out who leads, what the names in a database mean, and who may log in. The data
plane (`proxy.data_plane`) serves clients. Down go views, marks, catalogs and secrets; up go suspicion, requests for a
sample of WAL positions, and which databases are in use and have changed.

The control plane exists first and starts last: the data plane is built with its services, and subscribes when it
starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pgrouter.auth.account import NOTHING_KNOWN
from pgrouter.errors import NoServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrouter.auth.account import Role, StoredSecret
    from pgrouter.auth.files import AuthFiles
    from pgrouter.routing.catalog import ByRole
    from pgrouter.topology import ClusterView, ReplayPoint

# -- up: what the data plane asks of the control plane


class ClusterService(Protocol):
    """Knows who leads: `cluster.monitor`."""

    @property
    def view(self) -> ClusterView:
        """Return the newest view."""

    def suspect(self, name: str) -> None:
        """Probe a member at once: there has been trouble with it."""

    def sample(self) -> None:
        """Query WAL positions soon: a read has to see a write that no replica is known to have."""

    def look_again(self, stalled_s: float, then: Callable[[], None]) -> None:
        """Hold writes until it is known afresh who leads, then call `then`: the process was stopped for so long."""


class CatalogService(Protocol):
    """Knows the databases' catalogs: `control.catalogs`."""

    def use(self, database: str) -> None:
        """Start to follow a database's catalog, or check it soon: it is in use."""

    def changed(self, database: str, *, redefined: bool) -> None:
        """Read it again now; `redefined`: what is known of it may be wrong."""

    def suspect(self, database: str) -> None:
        """Check it soon: something may have changed it."""

    def forget(self, database: str) -> None:
        """Stop following a database: nobody uses it any more."""

    def close_unused_databases(self) -> None:
        """Close connections to databases without clients, for a moment."""


class RoleService(Protocol):
    """Knows roles and their secrets, from the primary: `control.roles`."""

    @property
    def has_secrets(self) -> bool:
        """Whether it looks up secrets (auth.query)."""

    @property
    def typical(self) -> StoredSecret | None:
        """Return a secret like most others that it has looked up; None: it has none."""

    @property
    def why_unknown(self) -> str:
        """Return why a user has no secret, for the log."""

    def known(self, user: str) -> Role | None:
        """Return what is known of a role, if that is new enough."""

    async def ask(self, user: str, *, patient: bool) -> Role:
        """Return a role, after asking the primary; `patient`: wait for a while if it cannot be asked now.

        Raises:
            RouterError: 57P03, it cannot be asked.

        """

    def distrust(self, user: str) -> None:
        """Ask again at the next login: a password was wrong."""


class NoRoles:
    """Knows no role, and nothing against anybody: where there is no server to be asked."""

    has_secrets = False
    typical: StoredSecret | None = None
    why_unknown = ""

    def known(self, user: str) -> Role | None:  # noqa: ARG002  (the interface's)
        """Return that nothing is known."""
        return NOTHING_KNOWN

    async def ask(self, user: str, *, patient: bool) -> Role:  # noqa: ARG002
        """Raise RouterError: 57P03."""
        raise NoServer(f'the role "{user}" cannot be looked up')

    def distrust(self, user: str) -> None:
        """Do nothing."""


class ControlPlane(Protocol):
    """All of it: `control.plane`."""

    @property
    def monitor(self) -> ClusterService:
        """Return what knows who leads."""

    @property
    def catalogs(self) -> CatalogService:
        """Return what knows the catalogs."""

    @property
    def roles(self) -> RoleService:
        """Return what knows the roles."""

    @property
    def files(self) -> AuthFiles:
        """Return who may log in, with what, by the files."""


# -- down: what the control plane tells the data plane, and asks of it


class ClusterSubscriber(Protocol):
    """Acts on who leads: `pool.manager`."""

    def apply(self, view: ClusterView) -> None:
        """Apply a new view."""

    def freshen(self, marks: Mapping[str, ReplayPoint]) -> None:
        """Apply how far the replicas have replayed."""

    def defaults_changed(self, name: str) -> None:
        """Called when a member's defaults of new sessions have changed."""

    def found(self, host: str, port: int, address: str) -> None:
        """Called when the monitor has reached a host name at this address."""

    def received(self, name: str, before_s: float) -> int | None:
        """Return the bytes received over connections to a member opened before that time; None: none is open."""

    def make_room(self, name: str, user: str, database: str, *, same: bool) -> None:
        """Close a free connection to a member, so that the router's own role can connect.

        Preferably one of that role or to that database; `same`: only such a one.
        """


class NoSubscriber:
    """Has no connections, and does nothing: for tools that only look who leads."""

    def apply(self, view: ClusterView) -> None:
        """Do nothing."""

    def freshen(self, marks: Mapping[str, ReplayPoint]) -> None:
        """Do nothing."""

    def defaults_changed(self, name: str) -> None:
        """Do nothing."""

    def found(self, host: str, port: int, address: str) -> None:
        """Do nothing."""

    def received(self, name: str, before_s: float) -> int | None:  # noqa: ARG002  (the interface's)
        """Return None: no connection is open."""
        return None

    def make_room(self, name: str, user: str, database: str, *, same: bool) -> None:
        """Do nothing."""


class CatalogSubscriber(Protocol):
    """Classifies statements by catalogs: `proxy.data_plane`."""

    def adopt(self, database: str, catalog: ByRole, idle_timeout: Callable[[str], str] | None) -> None:
        """Classify by this catalog from now on.

        `idle_timeout` returns the idle_session_timeout a role's sessions begin with; None: unchanged.
        """

    def watched(self, database: str, *, sign: bool) -> None:
        """Called when a catalog has been checked; `sign`: there may have been DDL."""

    def in_use(self, database: str) -> bool:
        """Whether a database has clients, and is not paused."""
