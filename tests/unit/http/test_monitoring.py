"""What comes with the router for Prometheus and Grafana names metrics and labels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from pgrouter.metrics.table import METRICS

MONITORING = Path(__file__).parents[3] / "configs" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "pgrouter.json").read_text())
ALERTS = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]

EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    },
}
OF_PROMETHEUS = {"job", "instance", "le"}


def names() -> dict[str, set[str]]:
    found = {metric.name: set(metric.labels) for metric in METRICS if metric.kind != "histogram"}
    for metric in METRICS:
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{suffix}": set(metric.labels) for suffix in ("bucket", "sum", "count")}
    return found


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_an_expression_names_what_exists(title: str) -> None:
    expression = EXPRESSIONS[title]
    known = names()
    used = set(re.findall(r"\bpgrouter_\w+", expression))
    assert used <= known.keys() | {"pgrouter"}
    assert used or "up{" in expression
    labels = set().union(*(known[name] for name in used)) | OF_PROMETHEUS
    grouped = [name.strip() for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for name in by.split(",")]
    matched = re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", expression)
    assert set(grouped) | set(matched) <= labels


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_says_what_it_is_about() -> None:
    for rule in ALERTS:
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")
