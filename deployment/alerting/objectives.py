"""The alerts over the budgets of the objectives, from `deployment.slo_rules`, each with its cases.

When an outage, in which every signal is bad, is noticed: a window's share of bad events passes its threshold, which
is factor times budget, after threshold times window, where signals come at a steady rate:

| alert | window | factor | availability, 0.5 % may be bad | latencies, 5 % may |
| --- | --- | --- | --- | --- |
| page, quick | 1 h | 14.4 | 7.2 %: 4.3 min | 72 %: 43.2 min |
| page, slow | 6 h | 6 | 3 %: 10.8 min | 30 %: 108 min |
| ticket, quick | 1 d | 3 | 1.5 %: 21.6 min | 15 %: 216 min |
| ticket, slow | 3 d | 1 | 0.5 %: 21.6 min | 5 %: 216 min |

The cases look before and after these times, in steps that divide the windows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ark.config import SloConfig
from ark.slo import WINDOWS, BurnAlert, Slo, burn_alerts, definitions
from deployment.alerting.alert import RUNBOOKS, Alert, Case, Fired, Limits
from deployment.slo_rules import burn_rules

__all__ = ["objectives"]

_STEP_MIN = {"1h": 1, "6h": 5, "1d": 30, "3d": 120}
"""The step of the cases by the long window; at least three lie in the short one."""
_TOLD_MIN = {
    0.005: {"1h": (4, 5), "6h": (10, 15), "1d": (0, 30), "3d": (0, 120)},
    0.05: {"1h": (43, 44), "6h": (105, 110), "1d": (210, 240), "3d": (120, 240)},
}
"""When an outage is not told yet, and when it is: the steps around the times above, by budget and long window."""

_EXPLAINED = {"decision_latency": ("ARKStateWriteLatencyHigh",), "hrm_latency": ("ARKStateWriteLatencyHigh",)}
"""What explains a ticket."""


def objectives(limits: Limits) -> tuple[Alert, ...]:
    """These alerts for a node with certain objectives."""
    slos = definitions(limits.slo)
    _, rules = burn_rules(slos)
    budgeted = [(slo, burn) for slo in slos if not slo.invariant for burn in burn_alerts(slo.period_s)]
    return tuple(_alert(rule, slo, burn, limits.slo) for rule, (slo, burn) in zip(rules, budgeted, strict=True))


def _alert(rule: dict[str, Any], slo: Slo, burn: BurnAlert, settings: SloConfig) -> Alert:
    labels, notes = dict(rule["labels"]), rule["annotations"]
    alert = Alert(
        name=rule["alert"],
        expr=rule["expr"],
        severity=labels.pop("severity"),
        keep=rule["keep_firing_for"],
        labels=labels,
        summary=notes["summary"],
        description=notes["description"],
        action=notes["action"],
        runbook=notes["runbook"].removeprefix(f"{RUNBOOKS}#"),
        follows=("ARKExporterAbsent",) if burn.severity == "page" else _EXPLAINED.get(slo.name, ()),
    )
    return msgspec.structs.replace(alert, cases=_cases(alert, slo, burn) if settings == SloConfig() else ())


def _cases(alert: Alert, slo: Slo, burn: BurnAlert) -> tuple[Case, ...]:
    """What shows it with the default objectives; the times above are theirs.

    One case has three nodes, since promtool takes a while for three days: only the one with the outage is told of.
    """
    step, long = _STEP_MIN[burn.long], WINDOWS[burn.long] // 60
    quiet, told = _TOLD_MIN[float(slo.budget)][burn.long]
    before, after = long // step, told // step

    def series(node: str, good: str, bad: str) -> dict[str, str]:
        name = f'ark_slo_events_total{{instance="{node}",slo="{slo.name}",result='
        return {f'{name}"good"}}': good, f'{name}"bad"}}': bad}

    return (
        Case(
            name="an outage; beside it a node with a single signal, a bad one, and one whose counters begin anew",
            series={
                **series("n", f"0+60x{before} {60 * before}x{after}", f"0x{before} 60+60x{after}"),
                **series("single", f"0x{before + after}", f"0x{before} 1x{after}"),
                **series("anew", f"9000+60x{before} 0+60x{after}", f"700x{before} 0x{after}"),
            },
            every=f"{step}m",
            silent_at=(f"{long}m", f"{long + quiet}m"),
            fired=(
                Fired(
                    at=f"{long + told}m",
                    labels={"instance": "n"},
                    description=alert.description.replace(
                        "{{ $value | humanizePercentage }}", f"{100 * told / long:.4g}%"
                    ),
                ),
            ),
        ),
    )
