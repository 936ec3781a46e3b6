"""Prometheus rules from the objectives' definitions: recording rules for error ratios, and alerts on them. Pure.

A rule is a dictionary with the keys that it has in Prometheus' own YAML. The alerts are those of `ark.slo`, which
the exporter tells by itself, too; here Prometheus judges from its own samples of the counters. Of a home that was
restored from a copy it counts the events of the copy anew, in the windows that the restore is in; the exporter does
not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ark.slo import DAY_S, FEWEST_BAD, WINDOWS, BurnAlert, Slo, burn_alerts, check

__all__ = ["ERROR_RATIO", "Rule", "burn_rules"]

Rule = dict[str, Any]

ERROR_RATIO = "ark:slo_events_bad:ratio{window}"
"""What the share of bad events in a window is recorded as, with the labels `instance` and `slo`."""
RUNBOOK = "docs/operations.md#service-level-objectives"
_EVENTS = "ark_slo_events_total"
_KEEP_FIRING = "5m"
"""An alert that ends for a moment and begins again is one alert."""


def burn_rules(definitions: Iterable[Slo]) -> tuple[list[Rule], list[Rule]]:
    """The recording rules, one for each window and all objectives, and four burn alerts for each objective.

    Where nothing happened in a window nothing is recorded for it, neither a good ratio nor a bad one.

    Args:
        definitions: Of a node, see `ark.slo.definitions`; invariants among them have no budget, and no rules here.

    Raises:
        ConfigError: An alert could never fire.
    """
    slos = [slo for slo in definitions if not slo.invariant]
    for slo in slos:
        check(slo)
    recordings = [_recording(window) for window in WINDOWS] if slos else []
    return recordings, [_alert(slo, alert) for slo in slos for alert in burn_alerts(slo.period_s)]


def _recording(window: str) -> Rule:
    bad = f'sum by (instance, slo) (rate({_EVENTS}{{result="bad"}}[{window}]))'
    return {
        "record": ERROR_RATIO.format(window=window),
        "expr": f"{bad} / (sum by (instance, slo) (rate({_EVENTS}[{window}])) > 0)",
    }


def _alert(slo: Slo, alert: BurnAlert) -> Rule:
    threshold = f"{float(alert.factor * slo.budget):.12g}"
    name, days = slo.name, slo.period_s / DAY_S
    return {
        "alert": f"ARK{_camel(name)}Burn{alert.speed.title()}{alert.severity.title()}",
        "expr": "\n  and ".join(
            [
                f'{ERROR_RATIO.format(window=alert.long)}{{slo="{name}"}} > {threshold}',
                f'{ERROR_RATIO.format(window=alert.short)}{{slo="{name}"}} > {threshold}',
                f"on (instance) {_bad(name, alert.long)} >= {FEWEST_BAD}",
            ]
        ),
        "keep_firing_for": _KEEP_FIRING,
        "labels": {"severity": alert.severity, "slo": name},
        "annotations": {
            "summary": f"The error budget of {name} burns more than {float(alert.factor):.3g} times too fast",
            "description": f"{slo.description} Promised are {100 * slo.objective:.6g} % of them over {days:g} days."
            f" In the last {alert.long} {{{{ $value | humanizePercentage }}}} were bad, and in the last"
            f" {alert.short} more than {100 * float(threshold):.3g} %, too: at that rate {alert.long}"
            f" spend {float(alert.spends):.0%} of the budget.",
            "action": slo.runbook,
            "runbook": RUNBOOK,
            "owner": slo.owner,
        },
    }


def _bad(slo: str, window: str) -> str:
    """How many events were bad, in whole events: `increase` extrapolates, right after a start of Prometheus to more
    than twice as many."""
    counter = f'{_EVENTS}{{slo="{slo}",result="bad"}}'
    return f"sum by (instance) (max_over_time({counter}[{window}]) - min_over_time({counter}[{window}]))"


def _camel(name: str) -> str:
    return "".join(part.title() if len(part) > 3 else part.upper() for part in name.split("_"))
