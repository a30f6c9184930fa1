"""Patroni without its lower bounds on ttl (20 s), loop_wait (1 s) and retry_timeout (3 s): for tests and the demo.

Patroni raises smaller values silently, so that waiting for a lease to expire takes 20 s. With
`python -P turbo.py CONFIG`, ttl 5, loop_wait 1 and retry_timeout 2 work. retry_timeout 1 never does: Patroni then gives
up on etcd before it has sent a request. -P keeps modules in this directory (one is named patroni) from being imported.
"""

import sys

# Guarded, because Patroni starts the postmaster with multiprocessing's `spawn`, whose child imports this file again.
if __name__ == "__main__":
    from patroni.__main__ import main
    from patroni.config import Config

    Config._validate_and_adjust_timeouts = lambda _self, _config: None  # noqa: SLF001
    sys.exit(main())
