"""The recording rules: what alerts and panels ask for more than once, or over long windows.

The shares of bad events in the windows of the objectives, `ark:slo_events_bad:ratio5m` to `ratio3d`, come from
`deployment.slo_rules`.
"""

from __future__ import annotations

from deployment.alerting.alert import Recording
from deployment.promql import quantile, ratio, since

__all__ = ["RECORDINGS"]

_DENIED = "hrm_denials_total"
_JUDGED = 'ark_agent_signals_total{agent="hrm",track="%s",attempt="first"}'


def _total(series: str, window: str) -> str:
    return f"sum by (instance) ({since(series, window)})"


RECORDINGS: tuple[Recording, ...] = (
    Recording(
        name="ark:slo_events_bad:increase5m",
        expr='sum by (instance, slo) (increase(ark_slo_events_total{result="bad"}[5m]))',
        help="Bad events of each objective.",
    ),
    Recording(
        name="ark:slo_met:bool5m",
        expr="1 - ark:slo_events_bad:ratio5m >= bool on (instance, slo) ark_slo_objective_ratio",
        help="1 where an objective is met over five minutes, 0 where it is not, nothing where it is unknown.",
    ),
    Recording(
        name="ark:signals_completed:rate5m",
        expr="sum by (instance) (rate(ark_signals_completed_total[5m]))",
        help="Signals that got their outcome, a second.",
    ),
    Recording(
        name="ark:signals_completed:rate1h",
        expr="sum by (instance) (rate(ark_signals_completed_total[1h]))",
        help="The same over an hour.",
    ),
    Recording(
        name="ark:decision_latency_seconds:p50_5m",
        expr=quantile(0.5, "ark_decision_latency_seconds", "5m"),
        help="Half of the decisions were faster.",
    ),
    Recording(
        name="ark:decision_latency_seconds:p95_5m",
        expr=quantile(0.95, "ark_decision_latency_seconds", "5m"),
        help="19 of 20 decisions were faster.",
    ),
    Recording(
        name="ark:decision_latency_seconds:p99_5m",
        expr=quantile(0.99, "ark_decision_latency_seconds", "5m"),
        help="99 of 100 decisions were faster.",
    ),
    Recording(
        name="ark:agent_latency_seconds:p95_5m",
        expr=quantile(0.95, "ark_agent_latency_seconds", "5m", "instance, agent"),
        help="19 of 20 signals took an agent less.",
    ),
    Recording(
        name="ark:agent_signals:rate5m",
        expr='sum by (instance, agent) (rate(ark_agent_signals_total{attempt="first"}[5m]))',
        help="Signals that an agent answered, a second.",
    ),
    Recording(
        name="ark:agent_failures:ratio5m",
        expr=ratio("ark_agent_failures_total", "ark_agent_signals_total", "5m", "instance, agent"),
        help="Share of its signals that an agent called failed.",
    ),
    Recording(
        name="ark:denials:rate5m",
        expr=f"sum by (instance, rule_id) (rate({_DENIED}[5m]))",
        help="Denials of each rule, a second.",
    ),
    Recording(
        name="ark:journal_commit_seconds:p95_5m",
        expr=quantile(0.95, "ark_journal_commit_seconds", "5m", "instance, owner"),
        help="19 of 20 commits to a journal took less.",
    ),
    # A canary gets few signals, so it is judged over ten minutes; it is measured by the stable version's hour.
    Recording(
        name="ark:canary_denials:sum10m",
        expr=_total(_DENIED + '{track="canary"}', "10m"),
        help="Rules that denied what the canary judged.",
    ),
    Recording(
        name="ark:canary_judged:sum10m",
        expr=_total(_JUDGED % "canary", "10m"),
        help="Signals that the canary judged.",
    ),
    Recording(
        name="ark:stable_denials:sum1h",
        expr=_total(_DENIED + '{track="stable"}', "1h"),
        help="Rules that denied what the stable version judged.",
    ),
    Recording(
        name="ark:stable_judged:sum1h",
        expr=_total(_JUDGED % "stable", "1h"),
        help="Signals that the stable version judged.",
    ),
)
