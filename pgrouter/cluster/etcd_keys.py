"""The keys of one cluster in etcd, from etcd's messages. No IO.

Source: etcd docs, "gRPC gateway".
"""

from __future__ import annotations

import base64
from typing import Any

from msgspec.structs import replace

from pgrouter.cluster.patroni_keys import Snapshot, absence, decode


class WatchLostError(Exception):
    """The watch ended or cannot continue: read again and watch again."""


class KeySpace:
    """The keys of one cluster, kept up to date from etcd's messages. No IO."""

    def __init__(self, prefix: str) -> None:
        self.range = {"key": _encode(prefix), "range_end": _encode(prefix[:-1] + "0")}  # "0" follows "/"
        self.revision = 0
        self._prefix = prefix
        self._keys: dict[str, tuple[str, int]] = {}  # value and the revision that wrote it

    def read(self, answer: dict[str, Any]) -> None:
        """Load the answer to a range request for all keys."""
        self.revision = int(answer["header"]["revision"])
        self._keys = dict(self._entry(kv) for kv in answer.get("kvs", []))

    def change(self, message: dict[str, Any]) -> bool:
        """Apply one message of a watch; return whether it changed anything.

        Raises WatchLostError if the message says that the watch cannot continue: compacted, canceled, no leader.
        """
        if "error" in message:
            raise WatchLostError(str(message["error"].get("message", message["error"])))
        result = message["result"]
        if result.get("canceled"):
            because = result.get("cancel_reason") or f"compacted at revision {result.get('compact_revision')}"
            raise WatchLostError(f"watch cancelled: {because}")
        for event in result.get("events", []):
            key, entry = self._entry(event["kv"])
            if event.get("type") == "DELETE":  # a PUT carries no type at all
                self._keys.pop(key, None)
            else:
                self._keys[key] = entry
        self.revision = max(self.revision, int(result["header"]["revision"]))
        return bool(result.get("events"))

    def snapshot(self) -> tuple[Snapshot, int]:
        """Decode all keys; the number is the revision that wrote the leader key, 0 if there is none."""
        decoded = decode({key: value for key, (value, _) in self._keys.items()})
        trouble = "" if decoded.leader else absence(self._keys.keys(), self._prefix)
        return replace(decoded, revision=self.revision, trouble=trouble), self.written("leader")

    def written(self, key: str) -> int:
        """Return the revision that wrote a key, 0 if there is none."""
        return self._keys.get(key, ("", 0))[1]

    def _entry(self, kv: dict[str, str]) -> tuple[str, tuple[str, int]]:
        key = _decode(kv["key"]).removeprefix(self._prefix)
        return key, (_decode(kv.get("value", "")), int(kv.get("mod_revision", "0")))


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")
