"""The alerts about a canary, each a reason to roll it back. Without a canary there is no series, and no alert."""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired, Limits
from deployment.promql import beyond, edge, number, since

__all__ = ["canary"]

_ROLLBACK = {"response": "rollback"}
_ISOLATED = 'watchdog_quarantines_total{track="canary"}'
_UP = {'up{job="ark",instance="n"}': "1x120"}
_JUDGED = 'ark_agent_signals_total{instance="n",agent="hrm",version="%s",track="%s",attempt="first"}'
_DENIED = 'hrm_denials_total{instance="n",rule_id="max_leverage",agent="hrm",action_type="trade",track="%s"}'


def canary(limits: Limits) -> tuple[Alert, ...]:
    """These alerts for a node with certain limits."""
    return (_denials(), _quarantine(), _latency(limits))


def _denials() -> Alert:
    # Denials are counted as a Poisson process counts: their variance is their number. The two shares are compared
    # by the spread that both would have if they were the same: with p denials per signal over both, its square is
    # p / canary's signals + p / stable's. (The original subtracted series with different labels, which gives
    # nothing, and had a spread of 0 where the stable version had never denied.)
    pooled = (
        "((ark:canary_denials:sum10m + (ark:stable_denials:sum1h or 0 * ark:stable_judged:sum1h)) "
        "/ (ark:canary_judged:sum10m + ark:stable_judged:sum1h))"
    )
    share = "ark:canary_denials:sum10m / ark:canary_judged:sum10m"
    stable = "(ark:stable_denials:sum1h or 0 * ark:stable_judged:sum1h) / ark:stable_judged:sum1h"
    return Alert(
        name="ARKCanaryHRMDenialsSpike",
        expr=(
            f"(\n  ({share} - {stable})\n"
            f"  / sqrt({pooled} / ark:canary_judged:sum10m + {pooled} / ark:stable_judged:sum1h)\n) > 3\n"
            "  and on (instance) ark:canary_denials:sum10m >= 5"
        ),
        hold="1m",
        severity="page",
        summary="The canary is denied far more than the stable version",
        description='What the canary judged within 10 minutes was denied {{ printf "%.1f" $value }} standard '
        "deviations more often than what the stable version judged within an hour.",
        action="roll the canary back; then `ark-run rules` and `ark-run explain TRACE_ID`",
        runbook="alerts-from-prometheus",
        labels=_ROLLBACK,
        follows=("ARKExporterAbsent",),
        cases=(
            Case(
                name="three in ten against one in ten",
                series={
                    **_UP,
                    _JUDGED % ("2", "canary"): "0+10x120",
                    _DENIED % "canary": "0+3x120",
                    _JUDGED % ("1", "stable"): "0+90x120",
                    _DENIED % "stable": "0+9x120",
                },
                # At 70m: canary 30 of 100, stable 540 of 5,400; p = 570 / 5,500 = 0.10364;
                # (0.3 - 0.1) / sqrt(p / 100 + p / 5,400) = 0.2 / 0.03249 = 6.16.
                fired=(
                    Fired(
                        at="70m",
                        labels={"instance": "n"},
                        description="What the canary judged within 10 minutes was denied 6.2 standard deviations "
                        "more often than what the stable version judged within an hour.",
                    ),
                ),
            ),
            Case(
                name="the stable version has never denied anything",
                series={
                    **_UP,
                    _JUDGED % ("2", "canary"): "0+10x120",
                    _DENIED % "canary": "0+1x120",
                    _JUDGED % ("1", "stable"): "0+90x120",
                },
                # At 70m: 10 of 100 against 0 of 5,400; p = 10 / 5,500; 0.1 / sqrt(p / 100 + p / 5,400) = 23.24.
                fired=(
                    Fired(
                        at="70m",
                        labels={"instance": "n"},
                        description="What the canary judged within 10 minutes was denied 23.2 standard deviations "
                        "more often than what the stable version judged within an hour.",
                    ),
                ),
            ),
            Case(
                name="both deny one in ten",
                series={
                    **_UP,
                    _JUDGED % ("2", "canary"): "0+10x120",
                    _DENIED % "canary": "0+1x120",
                    _JUDGED % ("1", "stable"): "0+90x120",
                    _DENIED % "stable": "0+9x120",
                },
                silent_at=("5m", "65m"),
            ),
            Case(
                name="a canary with three signals has one of them denied",
                series={
                    **_UP,
                    _JUDGED % ("2", "canary"): "_x60 0 1 2 3x50",
                    _DENIED % "canary": "_x63 1x50",
                    _JUDGED % ("1", "stable"): "0+90x120",
                    _DENIED % "stable": "0+1x120",
                },
                silent_at=("64m", "66m", "70m"),
            ),
            Case(
                name="there is no canary",
                series={**_UP, _JUDGED % ("1", "stable"): "0+90x120", _DENIED % "stable": "0+80x120"},
                silent_at=("10m", "65m"),
            ),
        ),
    )


def _quarantine() -> Alert:
    series = 'watchdog_quarantines_total{instance="n",agent="hrm",reason="failures",track="%s"}'
    return Alert(
        name="ARKCanaryQuarantineDetected",
        expr=f"sum by (instance, agent, reason) ({since(_ISOLATED, '10m')}) > 0",
        severity="page",
        summary="The Watchdog has isolated a canary",
        description="The Watchdog has isolated the canary of {{ $labels.agent }} for {{ $labels.reason }}.",
        action="roll the canary back; then `supervisor doctor {{ $labels.agent }}`",
        runbook="alerts-from-prometheus",
        labels=_ROLLBACK,
        follows=("ARKExporterAbsent",),
        cases=(
            Case(
                name="the first quarantine begins its counter",
                series={**_UP, series % "canary": "_x15 1x30"},
                silent_at=("14m", "25m"),
                fired=(
                    Fired(
                        at="15m",
                        labels={"instance": "n", "agent": "hrm", "reason": "failures"},
                        description="The Watchdog has isolated the canary of hrm for failures.",
                    ),
                ),
            ),
            Case(
                name="the stable version is isolated",
                series={**_UP, series % "stable": "0x14 1x30"},
                silent_at=("15m", "20m"),
            ),
            Case(
                name="the canary's counter begins anew",
                series={**_UP, series % "canary": "2x14 0x30"},
                silent_at=("15m", "20m"),
            ),
        ),
    )


def _latency(limits: Limits) -> Alert:
    limit_s = limits.slo.latency_ms / 1000
    within_limit = f'le="{edge(limit_s)}"'
    labels = 'instance="n",agent="hrm",version="2",track="%s"'

    def series(track: str, within: str, all_: str) -> dict[str, str]:
        given = labels % track
        return {
            f"ark_agent_latency_seconds_bucket{{{given},{within_limit}}}": within,
            f"ark_agent_latency_seconds_count{{{given}}}": all_,
        }

    limit = number(limits.slo.latency_ms)
    return Alert(
        name="ARKCanaryLatencyBreach",
        expr=beyond(
            "ark_agent_latency_seconds", limit_s, 0.05, "5m", by="instance, agent", matchers='track="canary"'
        ),
        hold="3m",
        severity="page",
        summary="The canary alone takes longer than a whole decision may",
        description=f"{{{{ $value | humanizePercentage }}}} of what the canary of {{{{ $labels.agent }}}} handled "
        f"within 5 minutes took it longer than {limit} ms.",
        action="roll the canary back; then `supervisor doctor {{ $labels.agent }}`",
        runbook="alerts-from-prometheus",
        labels=_ROLLBACK,
        follows=("ARKExporterAbsent",),
        cases=(
            Case(
                name="one signal in five takes longer",
                series=series("canary", "0+8x20", "0+10x20"),
                # Two are late a minute: four by 2m, and then it lasts for three minutes.
                silent_at=("4m",),
                fired=(
                    Fired(
                        at="5m",
                        labels={"instance": "n", "agent": "hrm"},
                        description=f"20% of what the canary of hrm handled within 5 minutes took it longer than "
                        f"{limit} ms.",
                    ),
                ),
            ),
            Case(
                name="one signal of a quiet canary does",
                series=series("canary", "0x30", "0x5 1x25"),
                silent_at=("6m", "9m", "11m"),
            ),
            Case(
                name="the stable version does",
                series=series("stable", "0+8x20", "0+10x20"),
                silent_at=("5m", "10m", "20m"),
            ),
        ),
    )
