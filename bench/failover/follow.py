"""Does for PgBouncer what confd does with Patroni's template: a new leader's address is written and PgBouncer reloads.

    python -m bench.failover.follow --etcd 127.0.0.1:2379 --scope demo --template FILE --write FILE --pid PID

@PORT@ in the template becomes the leader's port. While there is no leader, the last file stays. It asks ten times a
second; confd asks every ten seconds as Patroni's own images start it, or watches.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

EVERY_S = 0.1


def get(etcd: str, key: str) -> str:
    """Read a key; empty if it is not there. OSError if etcd does not answer."""
    body = json.dumps({"key": base64.b64encode(key.encode()).decode()}).encode()
    with urllib.request.urlopen(f"http://{etcd}/v3/kv/range", body, timeout=2) as answer:
        found = json.load(answer).get("kvs")
    return base64.b64decode(found[0]["value"]).decode() if found else ""


def leaders_port(etcd: str, scope: str) -> int | None:
    """Give the port of whoever holds Patroni's leader key."""
    base = f"/service/{scope}"
    leader = get(etcd, f"{base}/leader")
    member = get(etcd, f"{base}/members/{leader}") if leader else ""
    return urlsplit(json.loads(member)["conn_url"]).port if member else None


def put(template: Path, target: Path, port: int) -> None:
    """Write the file anew: nobody reads half of it."""
    made = target.with_suffix(".new")
    made.write_text(template.read_text().replace("@PORT@", str(port)))
    made.chmod(0o644)
    made.rename(target)


def main() -> None:
    """Follow the leader for ever."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--scope", required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--write", type=Path, required=True)
    parser.add_argument("--pid", type=int, required=True)
    args = parser.parse_args()
    written: int | None = None
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            port = leaders_port(args.etcd, args.scope)
            if port and port != written:
                put(args.template, args.write, port)
                os.kill(args.pid, signal.SIGHUP)
                written = port
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
