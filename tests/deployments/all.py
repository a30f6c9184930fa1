"""The deployments, in order."""

from deployments.d000 import TIERS
from deployments.d003 import PGPOOL

DEPLOYMENTS = (TIERS, PGPOOL)
