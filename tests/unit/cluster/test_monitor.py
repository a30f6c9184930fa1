"""How often members are asked, and who is a second primary."""

from __future__ import annotations

import pytest

from pgrouter.cluster.alarms import second_primaries
from pgrouter.cluster.etcd import EtcdSource
from pgrouter.cluster.health import Probe, ServerReport
from pgrouter.cluster.pace import pace_s
from pgrouter.cluster.source import source_of
from pgrouter.cluster.static import StaticSource
from pgrouter.config.settings import Cluster, Etcd
from pgrouter.topology import Role


@pytest.mark.parametrize(
    ("failures", "awaited", "alert", "pause_s"),
    [
        (0, False, False, 1.0),
        (0, False, True, 0.1),
        (0, True, True, 0.05),
        (9, True, True, 0.05),
        (1, False, False, 0.1),
        (2, False, True, 0.2),
        (3, False, True, 0.4),
        (5000, False, True, 1.0),
    ],
)
def test_pace(failures: int, *, awaited: bool, alert: bool, pause_s: float) -> None:
    assert pace_s(1.0, failures=failures, awaited=awaited, alert=alert) == pytest.approx(pause_s)


def test_a_short_interval_is_never_lengthened() -> None:
    assert pace_s(0.02, failures=1, awaited=False, alert=True) == 0.02


def primary(asked_s: float) -> Probe:
    return Probe().answered(ServerReport(role=Role.PRIMARY, system_id="7", timeline=1, asked_s=asked_s))


def test_second_primaries() -> None:
    probes = {"pg0": primary(10.0), "pg1": primary(10.0), "pg2": Probe()}
    assert second_primaries(probes, "pg0", 5.0) == ["pg1"]
    assert second_primaries(probes, "pg0", 15.0) == []  # it may have been asked before it was demoted
    assert second_primaries(probes, None, 5.0) == []
    assert second_primaries({"pg0": primary(10.0), "pg1": primary(10.0).failed("x").failed("x")}, "pg0", 5.0) == []


def test_the_settings_choose_the_source() -> None:
    assert isinstance(source_of(Cluster(source="static")), StaticSource)
    assert isinstance(source_of(Cluster(source="etcd", etcd=Etcd(endpoints=("x:1",), scope="demo"))), EtcdSource)
    with pytest.raises(ValueError, match=r"cluster\.etcd"):
        source_of(Cluster(source="etcd"))
