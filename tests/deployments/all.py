"""The deployments, in order."""

from deployments.d000 import TIERS
from deployments.d001 import HAPROXY
from deployments.d002 import MANUAL
from deployments.d003 import PGPOOL
from deployments.d004 import PGBOUNCER

DEPLOYMENTS = (TIERS, HAPROXY, MANUAL, PGPOOL, PGBOUNCER)
