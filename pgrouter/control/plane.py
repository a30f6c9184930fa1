"""The control plane of one router: what must be known to serve clients, kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrouter.auth.files import AuthFiles
from pgrouter.cluster.monitor import Monitor
from pgrouter.control.auth_query import AuthQuery
from pgrouter.control.catalogs import Catalogs
from pgrouter.libpq.connection import protection

if TYPE_CHECKING:
    from pgrouter.config.settings import Settings
    from pgrouter.planes import CatalogSubscriber, ClusterSubscriber


class ControlPlane:
    """Who leads, what names mean, and who may log in."""

    def __init__(self, settings: Settings) -> None:
        self.files = AuthFiles.load(settings.auth)
        self.monitor = Monitor(settings.cluster, settings.reads, protection=protection(settings.servers))
        self.roles = AuthQuery(settings, self.files, self.monitor)
        self.catalogs = Catalogs(settings, self.monitor)

    async def start(self, cluster: ClusterSubscriber, catalogs: CatalogSubscriber) -> None:
        """Start to find out; return with a first view. These are told, and asked, from now on."""
        self.catalogs.start(catalogs)
        await self.monitor.start(cluster)

    async def stop(self) -> None:
        """Close the router's own connections."""
        await self.roles.stop()
        await self.catalogs.stop()
        await self.monitor.stop()

    def reload(self, settings: Settings, files: AuthFiles) -> None:
        """Apply what a running router can change."""
        self.files = files
        self.roles.reload(settings, files)
        self.monitor.limit(settings.reads)
        self.monitor.reload(settings.cluster)
