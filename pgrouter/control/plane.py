"""The control plane of one router: what must be known to serve clients, kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.auth.users import UserStore
from pgrouter.cluster.monitor import Monitor
from pgrouter.control.catalogs import Catalogs
from pgrouter.libpq.connection import protection

if TYPE_CHECKING:
    from pgrouter.config.settings import Settings
    from pgrouter.planes import CatalogSubscriber, ClusterSubscriber


class ControlPlane:
    """Who leads, what names mean, and who may log in."""

    def __init__(self, settings: Settings) -> None:
        self.users = users_of(settings)
        self.monitor = Monitor(settings.cluster, settings.reads, protection=protection(settings.servers.tls))
        self.catalogs = Catalogs(settings, self.monitor)

    async def start(self, cluster: ClusterSubscriber, catalogs: CatalogSubscriber) -> None:
        """Start to find out; return with a first view. These are told, and asked, from now on."""
        self.catalogs.start(catalogs)
        await self.monitor.start(cluster)

    async def stop(self) -> None:
        """Close the router's own connections."""
        await self.catalogs.stop()
        await self.monitor.stop()

    def reload(self, settings: Settings, users: UserStore) -> None:
        """Apply what a running router can change."""
        self.users = users
        self.monitor.limit(settings.reads)
        self.monitor.reload(settings.cluster)


def users_of(settings: Settings) -> UserStore:
    """Read the users file. Raises ConfigError as `UserStore.load` does."""
    return UserStore.load(settings.auth.users_file) if settings.auth.users_file else UserStore.empty()
