"""The registry and who uses it: no metric without a consumer, and no consumer of what there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ark.metrics import REGISTRY
from ark.slo import definitions
from deployment.alerting import Alert, Limits, groups
from deployment.alerting.recordings import RECORDINGS
from deployment.dashboard import ROWS, Panel
from deployment.slo_rules import burn_rules
from tests.deployment.expressions import Expression

LIMITS = Limits()
SLOS = definitions(LIMITS.slo)
ALERTS: dict[str, Alert] = {alert.name: alert for group in groups(LIMITS) for alert in group.alerts}
PANELS: dict[str, Panel] = {panel.title: panel for row in ROWS for panel in row.panels}
RECORDED = {
    **{rule["record"]: rule["expr"] for rule in burn_rules(SLOS)[0]},
    **{each.name: each.expr for each in RECORDINGS},
}


def read_recordings() -> dict[str, Expression]:
    """Each recording rule; they stand in an order in which each uses earlier ones only."""
    read: dict[str, Expression] = {}
    for name, expr in RECORDED.items():
        read[name] = Expression(expr, {each: found.labels for each, found in read.items()})
    return read


READ = read_recordings()
LABELS = {name: found.labels for name, found in READ.items()}


def metrics_behind(exprs: Iterator[str]) -> set[str]:
    """The metrics that expressions ask for, those behind recordings included."""
    metrics: set[str] = set()
    left = [Expression(expr, LABELS) for expr in exprs]
    while left:
        found = left.pop()
        metrics |= found.metrics
        left += [READ[name] for name in found.recorded]
    return metrics


def consumed_by(consumer: str) -> set[str]:
    """The metrics that a consumer of the registry's uses."""
    kind, _, name = consumer.partition(":")
    match kind:
        case "alert":
            return metrics_behind(iter([ALERTS[name].expr]))
        case "panel":
            return metrics_behind(iter(PANELS[name].queries.values()))
        case "slo":
            assert name in {slo.name for slo in SLOS}
            return {"ark_ethics_drift_total"} if name == "ethics_drift" else {"ark_slo_events_total"}
        case "judge":
            (judged,) = [group for group in groups(LIMITS) if group.name == name]
            return metrics_behind(alert.expr for alert in judged.alerts)
    raise AssertionError(f"{consumer} is no kind of consumer")


@pytest.mark.parametrize("metric", REGISTRY.values(), ids=lambda metric: metric.name)
def test_each_metric_has_a_consumer_and_each_of_them_uses_it(metric: object) -> None:
    name, used_by = metric.name, metric.used_by  # type: ignore[attr-defined]

    assert used_by, f"nobody uses {name}: give it an alert or a panel, or take it away"
    for consumer in used_by:
        assert name in consumed_by(consumer), f"{consumer} does not use {name}"


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_each_alert_asks_for_what_there_is_and_tells_what_it_has(alert: Alert) -> None:
    found = Expression(alert.expr, LABELS)

    assert found.metrics or found.recorded or alert.name in ("ARKExporterAbsent", "ARKScrapeSlow")
    for text in (alert.description, alert.action):
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= found.labels
    assert "instance" in found.labels, "several nodes must not be taken for one"


@pytest.mark.parametrize("panel", PANELS.values(), ids=lambda panel: panel.title)
def test_each_panel_asks_for_what_there_is_and_names_labels_that_it_has(panel: Panel) -> None:
    for legend, expr in panel.queries.items():
        found = Expression(expr, LABELS)
        assert set(re.findall(r"{{(\w+)}}", legend)) <= found.labels


def test_each_recording_is_used() -> None:
    used = {name for found in READ.values() for name in found.recorded}
    for expr in [
        *(alert.expr for alert in ALERTS.values()),
        *(q for p in PANELS.values() for q in p.queries.values()),
    ]:
        used |= Expression(expr, LABELS).recorded

    assert set(RECORDED) - used == set()


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("ark_nothing_total", "no metric ark_nothing_total"),
        ('ark_halted{agent="kyle"}', "has no label agent"),
        ("sum by (rule) (rate(hrm_denials_total[5m]))", "has no label rule"),
        ("rate(ark_decision_latency_seconds[5m])", "is a histogram"),
        ("ark_halted and on (name) ark_ready", "has no label name"),
        # The original's comparison of canary and stable, and its share of unlike things.
        ("sum by (agent) (rate(hrm_denials_total[5m])) - sum by (track) (rate(hrm_denials_total[5m]))", "-"),
        ("rate(ark_agent_failures_total[5m]) / rate(ark_agent_signals_total[5m])", "/"),
    ],
)
def test_an_expression_over_what_there_is_not_is_found(expr: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        Expression(expr, LABELS)


def test_a_consumer_that_does_not_use_a_metric_is_found() -> None:
    assert "ark_halted" in consumed_by("alert:ARKHalted")
    assert "ark_halted" not in consumed_by("alert:ARKSealBroken")
    assert "ark_slo_events_total" in consumed_by("alert:ARKAvailabilityBurnQuickPage")
    with pytest.raises(KeyError):
        consumed_by("alert:ARKNothing")
