"""Prometheus rules from the objectives' definitions: recording rules for error ratios, and alerts on them. Pure.

A rule is a dictionary with the keys that it has in Prometheus' own YAML. The alerts are those of `ark.slo`, which
the exporter tells by itself, too; here Prometheus judges from its own samples of the counters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ark.slo import DAY_S, FEWEST_BAD, WINDOWS, BurnAlert, Slo, burn_alerts, check

__all__ = ["ERROR_RATIO", "Rule", "burn_rules", "invariant_rules"]

Rule = dict[str, Any]

ERROR_RATIO = "ark_slo:error_ratio:rate{window}"
"""The recorded share of bad events in a window; it has the label `slo`, and is absent where nothing happened."""
_EVENTS = "ark_slo_events_total"
_SEVERITIES = {"page": "critical", "ticket": "warning"}
_KEEP_FIRING = "5m"
"""An alert that ends for a moment and begins again is one alert."""


def burn_rules(definitions: Iterable[Slo]) -> tuple[list[Rule], list[Rule]]:
    """The recording rules and the burn alerts of all objectives with a budget.

    Args:
        definitions: Of a node, see `ark.slo.definitions`; invariants among them are passed over.

    Raises:
        ConfigError: An alert could never fire.
    """
    slos = [slo for slo in definitions if not slo.invariant]
    for slo in slos:
        check(slo)
    if not slos:
        return [], []
    recordings = [_recording(slos, window) for window in WINDOWS]
    return recordings, [_alert(slo, alert) for slo in slos for alert in burn_alerts(slo.period_s)]


def invariant_rules(definitions: Iterable[Slo]) -> list[Rule]:
    """An alert for each invariant, at the first bad event and without a `for`.

    It ends a day after the event; that the violation stands until the period is over, says the exporter.

    Args:
        definitions: As for `burn_rules`; objectives with a budget are passed over.
    """
    return [_invariant(slo) for slo in definitions if slo.invariant]


def _recording(slos: list[Slo], window: str) -> Rule:
    names = "|".join(slo.name for slo in slos)
    bad = f'rate({_EVENTS}{{slo=~"{names}",result="bad"}}[{window}])'
    every = f'rate({_EVENTS}{{slo=~"{names}"}}[{window}])'
    return {
        "record": ERROR_RATIO.format(window=window),
        # Where nothing happened there is no ratio, neither a good one nor a bad one.
        "expr": f"sum without (result) ({bad}) / (sum without (result) ({every}) > 0)",
    }


def _alert(slo: Slo, alert: BurnAlert) -> Rule:
    threshold = f"{float(alert.factor * slo.budget):.12g}"
    name, days = slo.name, slo.period_s / DAY_S
    return {
        "alert": f"ARK{_camel(name)}Burn{alert.speed.title()}{alert.severity.title()}",
        "expr": " and ".join(
            [
                f'{ERROR_RATIO.format(window=alert.long)}{{slo="{name}"}} > {threshold}',
                f'{ERROR_RATIO.format(window=alert.short)}{{slo="{name}"}} > {threshold}',
                f"ignoring (result) {_grown(_bad(slo), alert.long)} >= {FEWEST_BAD}",
            ]
        ),
        "keep_firing_for": _KEEP_FIRING,
        "labels": {"severity": _SEVERITIES[alert.severity], "notify": alert.severity, "slo": name},
        "annotations": {
            "summary": f"The error budget of {name} burns more than {float(alert.factor):.3g} times too fast.",
            "description": f"{slo.description} Promised are {100 * slo.objective:.6g} % of them over {days:g} days."
            f" In the last {alert.long} {{{{ $value | humanizePercentage }}}} were bad, and in the last"
            f" {alert.short} more than {100 * float(threshold):.3g} %, too: at that rate {alert.long}"
            f" spend {float(alert.spends):.0%} of the budget.",
            "runbook": slo.runbook,
            "owner": slo.owner,
        },
    }


def _invariant(slo: Slo) -> Rule:
    return {
        "alert": f"ARK{_camel(slo.name)}Violated",
        "expr": f"{_grown(_bad(slo), '1d')} > 0",
        "labels": {"severity": "critical", "notify": "page", "slo": slo.name},
        "annotations": {
            "summary": f"The invariant {slo.name} is violated.",
            "description": f"{slo.description} That is no longer so: {{{{ $value }}}} bad in the last day.",
            "runbook": slo.runbook,
            "owner": slo.owner,
        },
    }


def _bad(slo: Slo) -> str:
    if slo.name == "ethics_drift":
        return "ark_ethics_drift_total"
    return f'{_EVENTS}{{slo="{slo.name}",result="bad"}}'


def _grown(counter: str, window: str) -> str:
    """How far a counter rose, in whole events: `increase` extrapolates, and makes of one event a little more."""
    return f"(max_over_time({counter}[{window}]) - min_over_time({counter}[{window}]))"


def _camel(name: str) -> str:
    return "".join(part.title() if len(part) > 3 else part.upper() for part in name.split("_"))
