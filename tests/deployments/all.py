"""The deployments, in order."""

from deployments.d000 import TIERS
from deployments.d002 import MANUAL
from deployments.d003 import PGPOOL

DEPLOYMENTS = (TIERS, MANUAL, PGPOOL)
