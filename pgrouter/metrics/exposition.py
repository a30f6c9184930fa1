"""Metrics in Prometheus' formats, in parts: prometheus_client writes some samples at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgrouter.metrics.snapshot import Snapshot
    from pgrouter.metrics.table import Labels, Metric

AT_ONCE = 20  # samples that are written without a break
END = b"# EOF\n"  # of OpenMetrics

Encoder = Callable[["_Part"], bytes]


class Format(NamedTuple):
    """How metrics are written, as the client's header Accept says."""

    encode: Encoder
    content_type: str


class _Part:
    """A registry with some samples of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return (self._family,)


def chosen(accept: str) -> Format:
    """Return the format that a client wants: OpenMetrics, or Prometheus' text."""
    encode, content_type = choose_encoder(accept)
    return Format(encode, content_type)


def writing(metrics: Iterable[Metric], snapshot: Snapshot, encode: Encoder) -> Iterator[bytes]:
    """Yield the metrics' text."""
    ends = False
    for metric in metrics:
        samples = _samples(metric, snapshot)
        first = True
        while (some := list(islice(samples, AT_ONCE))) or first:
            name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
            family = Family(name, metric.help, metric.kind)
            family.samples = some
            text = encode(_Part(family))
            ends = text.endswith(END)
            text = text.removesuffix(END)
            yield text if first else _without_head(text)
            first = False
    if ends:
        yield END


def _without_head(text: bytes) -> bytes:
    """Remove the lines about the family, which are there once."""
    while text.startswith(b"# "):
        text = text.partition(b"\n")[2]
    return text


def _samples(metric: Metric, snapshot: Snapshot) -> Iterator[Sample]:
    for labels, number, *rest in metric.values(snapshot):
        named = _named(metric.labels, labels)
        if metric.kind != "histogram":
            yield Sample(metric.name, named, float(number))  # type: ignore[arg-type]
            continue
        buckets: tuple[tuple[str, int], ...] = number  # type: ignore[assignment]
        for bound, count in buckets:
            yield Sample(f"{metric.name}_bucket", named | {"le": bound}, count)
        yield Sample(f"{metric.name}_count", named, buckets[-1][1])
        yield Sample(f"{metric.name}_sum", named, rest[0])


def _named(names: Labels, values: Labels) -> dict[str, str]:
    return dict(zip(names, map(_text, values), strict=True))


def _text(value: str) -> str:
    """Return a label's value as UTF-8 can have it: names of databases are any bytes."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
