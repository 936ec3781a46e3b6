"""The alerts of the original that are not about a canary, under their names, with formulas that can fire.

Where it watched an average over a second that hides a slow day, or a share that one failure at low traffic makes
100 %, these count events and want at least `FEW` bad ones. What wakes somebody over an objective is its budget
(`deployment.slo_rules`); what stands here for the objectives is a ticket that names the window.
"""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired, Limits
from deployment.promql import FEW, beyond, number, since

__all__ = ["original"]

_GOOD = 'ark_slo_events_total{instance="n",slo="%s",result="good"}'
_BAD = 'ark_slo_events_total{instance="n",slo="%s",result="bad"}'


def original(limits: Limits) -> tuple[Alert, ...]:
    """These alerts for a node with certain limits."""
    return (*_objectives(limits), *_agents(limits), *_ethics(limits), *_storage(limits))


def _missed(slo: str, share: float) -> str:
    return (
        f'ark:slo_events_bad:ratio5m{{slo="{slo}"}} > {number(1 - share)}\n'
        f"  and on (instance, slo) ark:slo_events_bad:increase5m >= {FEW}"
    )


def _objectives(limits: Limits) -> tuple[Alert, ...]:
    slo = {"instance": "n"}
    return (
        Alert(
            name="ARKAvailabilitySLOViolation",
            expr=_missed("availability", limits.slo.availability),
            hold="3m",
            severity="ticket",
            summary="More signals fail or expire than may",
            description="{{ $value | humanizePercentage }} of the signals of the last 5 minutes failed or expired; "
            f"{_percent(1 - limits.slo.availability)} may.",
            action="`supervisor doctor`, then `ark-run dead-letters list` and `supervisor events --last 50`",
            runbook="what-became-of-a-signal",
            follows=("ARKNotReady",),
            cases=(
                Case(
                    name="one signal in a hundred fails",
                    series={_BAD % "availability": "0+1x20", _GOOD % "availability": "0+99x20"},
                    # The third failure comes at 3m; three minutes later it has lasted long enough.
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={**slo, "slo": "availability"},
                            description="1% of the signals of the last 5 minutes failed or expired; 0.5% may.",
                        ),
                    ),
                ),
                Case(
                    name="the only signal of an hour fails",
                    series={_BAD % "availability": "0x10 1x50", _GOOD % "availability": "0x60"},
                    silent_at=("11m", "14m", "16m"),
                ),
                Case(
                    name="the counter of failures begins anew while nothing fails",
                    series={_BAD % "availability": "5000x9 0x20", _GOOD % "availability": "0+100x30"},
                    silent_at=("10m", "13m", "20m"),
                ),
                Case(
                    name="one signal in a thousand fails",
                    series={_BAD % "availability": "0+1x30", _GOOD % "availability": "0+999x30"},
                    silent_at=("6m", "12m"),
                ),
            ),
        ),
        Alert(
            name="ARKLatencySLOViolation",
            expr=_missed("decision_latency", limits.slo.latency_share),
            hold="3m",
            severity="ticket",
            summary="Decisions take longer than promised",
            description="{{ $value | humanizePercentage }} of the decisions of the last 5 minutes took longer than "
            f"{number(limits.slo.latency_ms)} ms; {_percent(1 - limits.slo.latency_share)} may.",
            action="look at the panel `Latency of each agent`, then `supervisor doctor`, `ark-run trace TRACE_ID`",
            runbook="decisions-are-slow",
            follows=("ARKStateWriteLatencyHigh",),
            cases=(
                Case(
                    name="one decision in ten is late",
                    series={_BAD % "decision_latency": "0+6x20", _GOOD % "decision_latency": "0+54x20"},
                    # Six are late within the first minute, so that it is pending from 1m on.
                    silent_at=("3m",),
                    fired=(
                        Fired(
                            at="4m",
                            labels={**slo, "slo": "decision_latency"},
                            description="10% of the decisions of the last 5 minutes took longer than 400 ms; "
                            "5% may.",
                        ),
                    ),
                ),
                Case(
                    name="the only decision of an hour is late",
                    series={_BAD % "decision_latency": "0x10 1x50", _GOOD % "decision_latency": "0x60"},
                    silent_at=("11m", "15m"),
                ),
                Case(
                    name="the counter begins anew",
                    series={_BAD % "decision_latency": "900x9 0x20", _GOOD % "decision_latency": "0+60x30"},
                    silent_at=("10m", "14m"),
                ),
            ),
        ),
        Alert(
            name="ARKHRMLatencySLOViolation",
            expr=_missed("hrm_latency", limits.slo.hrm_latency_share),
            hold="5m",
            severity="ticket",
            summary="HRM takes longer than promised",
            description="{{ $value | humanizePercentage }} of HRM's judgements of the last 5 minutes took longer "
            f"than {number(limits.slo.hrm_latency_ms)} ms; {_percent(1 - limits.slo.hrm_latency_share)} may.",
            action="look at the panels `Latency of each agent` and `Commits to journals`; `supervisor doctor hrm`",
            runbook="decisions-are-slow",
            follows=("ARKStateWriteLatencyHigh",),
            cases=(
                Case(
                    name="one judgement in ten is late",
                    series={_BAD % "hrm_latency": "0+6x20", _GOOD % "hrm_latency": "0+54x20"},
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={**slo, "slo": "hrm_latency"},
                            description="10% of HRM's judgements of the last 5 minutes took longer than 120 ms; "
                            "5% may.",
                        ),
                    ),
                ),
                Case(
                    name="two judgements of an hour are late",
                    series={_BAD % "hrm_latency": "0x10 2x50", _GOOD % "hrm_latency": "0x60"},
                    silent_at=("11m", "16m"),
                ),
            ),
        ),
    )


def _agents(limits: Limits) -> tuple[Alert, ...]:
    return (
        Alert(
            name="ARKAgentQuarantined",
            expr=f"sum by (instance, agent, reason) ({since('watchdog_quarantines_total', '5m')}) > 0",
            severity="page",
            summary="The Watchdog has isolated an agent",
            description="The Watchdog has isolated {{ $labels.agent }} for {{ $labels.reason }}. Its signals wait.",
            action="`supervisor doctor {{ $labels.agent }}`; then "
            "`supervisor release {{ $labels.agent }} --reason TEXT`",
            runbook="an-agent-keeps-dying",
            follows=("ARKExporterAbsent",),
            cases=(
                Case(
                    name="the first quarantine of an agent begins its counter",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'watchdog_quarantines_total{instance="n",agent="hrm",reason="failures",track="stable"}': (
                            "_x10 1x20"
                        ),
                    },
                    silent_at=("9m", "15m"),
                    fired=(
                        Fired(
                            at="10m",
                            labels={"instance": "n", "agent": "hrm", "reason": "failures"},
                            description="The Watchdog has isolated hrm for failures. Its signals wait.",
                        ),
                    ),
                ),
                Case(
                    name="a second one makes it grow",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'watchdog_quarantines_total{instance="n",agent="joey",reason="latency",track="stable"}': (
                            "1x9 2x20"
                        ),
                    },
                    silent_at=("9m", "16m"),
                    fired=(
                        Fired(
                            at="11m",
                            labels={"instance": "n", "agent": "joey", "reason": "latency"},
                            description="The Watchdog has isolated joey for latency. Its signals wait.",
                        ),
                    ),
                ),
                Case(
                    name="Prometheus starts and finds an old one",
                    series={
                        'up{job="ark",instance="n"}': "_x10 1x20",
                        'watchdog_quarantines_total{instance="n",agent="hrm",reason="failures",track="stable"}': (
                            "_x10 3x20"
                        ),
                    },
                    silent_at=("10m", "12m", "15m", "20m"),
                ),
                Case(
                    name="one scrape is missed",
                    series={
                        'up{job="ark",instance="n"}': "1x9 0 1x20",
                        'watchdog_quarantines_total{instance="n",agent="hrm",reason="failures",track="stable"}': (
                            "3x9 stale 3x20"
                        ),
                    },
                    silent_at=("10m", "11m", "15m", "16m"),
                ),
                Case(
                    name="the node starts anew, and its counters with it",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'watchdog_quarantines_total{instance="n",agent="hrm",reason="failures",track="stable"}': (
                            "3x9 0x20"
                        ),
                    },
                    silent_at=("10m", "12m", "15m"),
                ),
            ),
        ),
        Alert(
            name="ARKAgentHighErrorRate",
            expr=(
                "ark:agent_failures:ratio5m > 0.1\n"
                f"  and on (instance, agent) sum by (instance, agent) ({since('ark_agent_failures_total', '5m')})"
                f" >= {FEW}"
            ),
            hold="5m",
            severity="ticket",
            summary="An agent calls many of its signals failed",
            description="{{ $labels.agent }} called {{ $value | humanizePercentage }} of its signals of the last 5 "
            "minutes failed.",
            action="`supervisor doctor {{ $labels.agent }}`, then `supervisor events --name {{ $labels.agent }}`",
            runbook="an-agent-keeps-dying",
            follows=("ARKAgentQuarantined",),
            cases=(
                Case(
                    name="one signal in five fails, at two a second",
                    series=_failures("0+24x20", "0+120x20"),
                    # Enough failures and the share are there at 1m; five minutes later it fires.
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "agent": "joey"},
                            description="joey called 20% of its signals of the last 5 minutes failed.",
                        ),
                    ),
                ),
                Case(
                    name="one signal in five fails, at one a minute",
                    series=_failures("0 0 0 0 0 1 1 1 1 1 2 2 2 2 2 3", "0+1x15"),
                    silent_at=("5m", "10m", "15m"),
                ),
                Case(
                    name="the agent's counters begin anew",
                    series=_failures("400x9 0x20", "9000+120x9 0+120x20"),
                    silent_at=("10m", "15m", "20m"),
                ),
            ),
        ),
        Alert(
            name="ARKAgentHeartbeatMissing",
            expr=f"sum by (instance, agent) ({since('agent_heartbeat_failures_total', '5m')}) >= {FEW}",
            severity="ticket",
            summary="A process hangs again and again",
            description="{{ $labels.agent }} was found hung {{ $value | humanize }} times within 5 minutes, and "
            "replaced each time.",
            action="`supervisor events --kind alert --name {{ $labels.agent }}` names the line in which it hangs",
            runbook="an-agent-keeps-dying",
            follows=("ARKAgentQuarantined",),
            cases=(
                Case(
                    name="it hangs three times, and its counter begins with the first",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'agent_heartbeat_failures_total{instance="n",agent="kenny"}': "_x10 1 2 3x20",
                    },
                    silent_at=("11m",),
                    fired=(
                        Fired(
                            at="12m",
                            labels={"instance": "n", "agent": "kenny"},
                            description="kenny was found hung 3 times within 5 minutes, and replaced each time.",
                        ),
                    ),
                ),
                Case(
                    name="it hangs once, and is replaced",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'agent_heartbeat_failures_total{instance="n",agent="kenny"}': "0x9 1x20",
                    },
                    silent_at=("10m", "14m", "20m"),
                ),
                Case(
                    name="the counter begins anew",
                    series={
                        'up{job="ark",instance="n"}': "1x30",
                        'agent_heartbeat_failures_total{instance="n",agent="kenny"}': "7x9 0x20",
                    },
                    silent_at=("10m", "14m"),
                ),
            ),
        ),
    )


def _ethics(limits: Limits) -> tuple[Alert, ...]:
    return (
        Alert(
            name="ARKEthicsViolationSpike",
            expr="sum by (instance) (rate(ark_violations_total[5m])) > "
            + number(round(limits.violations_per_s, 6)),
            hold="2m",
            severity="page",
            summary="The rule book denies far more than usual",
            description='The Graveyard denies {{ printf "%.2f" $value }} orders a second; the Watchdog bears '
            f"{number(round(limits.violations_per_s * 60, 3))} a minute.",
            action="`ark-run rules` counts what each rule said; then `ark-run explain TRACE_ID`, or `ark-run halt`",
            runbook="why-was-this-denied",
            follows=("ARKExporterAbsent", "ARKHalted", "ARKSealBroken"),
            cases=(
                Case(
                    name="one order a second is denied",
                    series={'ark_violations_total{instance="n"}': "0+60x20"},
                    # Two samples make a rate: at 1m 60 / 300 s, above 1/6 a second. It fires two minutes later,
                    # when the window holds 180.
                    silent_at=("2m",),
                    fired=(
                        Fired(
                            at="3m",
                            labels={"instance": "n"},
                            description="The Graveyard denies 0.60 orders a second; the Watchdog bears 10 "
                            "a minute.",
                        ),
                    ),
                ),
                Case(
                    name="six orders a minute are denied",
                    series={'ark_violations_total{instance="n"}': "0+6x30"},
                    silent_at=("5m", "12m"),
                ),
                Case(
                    name="the counter begins anew",
                    series={'ark_violations_total{instance="n"}': "8000x9 0x20"},
                    silent_at=("10m", "12m", "14m"),
                ),
            ),
        ),
        Alert(
            name="ARKGraveyardSlowValidation",
            expr=beyond("ark_agent_latency_seconds", limits.validation_s, 0.05, "5m", matchers='agent="hrm"'),
            hold="5m",
            severity="ticket",
            summary="HRM is slow",
            description="{{ $value | humanizePercentage }} of HRM's judgements of the last 5 minutes took longer "
            f"than {number(limits.validation_s * 1000)} ms.",
            action="look at the panels `Latency of each agent` and `Commits to journals`; `supervisor doctor hrm`",
            runbook="decisions-are-slow",
            follows=("ARKStateWriteLatencyHigh",),
            cases=(
                Case(
                    name="one judgement in ten takes longer than 200 ms",
                    series=_judged("0+54x20", "0+60x20"),
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n"},
                            description="10% of HRM's judgements of the last 5 minutes took longer than 200 ms.",
                        ),
                    ),
                ),
                Case(name="a single one does", series=_judged("0x30", "0x5 1x25"), silent_at=("6m", "11m")),
                Case(
                    name="the histogram begins anew",
                    series=_judged("900x9 0+60x20", "1000x9 0+60x20"),
                    silent_at=("10m", "14m", "16m"),
                ),
            ),
        ),
    )


def _storage(limits: Limits) -> tuple[Alert, ...]:
    low = number(limits.disk_low_bytes)
    return (
        Alert(
            name="ARKRedisQueueDepthHigh",
            expr=f"redis_stream_depth > {limits.stream_depth}",
            hold="2m",
            severity="page",
            summary="Far too many signals wait in Redis",
            description="{{ $value | humanize }} entries wait in the stream {{ $labels.stream }}.",
            action="`supervisor status`: does the pipeline move? Otherwise slow down whoever fills the stream",
            runbook="signals-from-redis",
            follows=("ARKExporterAbsent", "ARKNotReady"),
            cases=(
                Case(
                    name="6,000 wait for two minutes",
                    series={'redis_stream_depth{instance="n",stream="ark:signals"}': "0 6000x10"},
                    silent_at=("2m",),
                    fired=(
                        Fired(
                            at="3m",
                            labels={"instance": "n", "stream": "ark:signals"},
                            description="6k entries wait in the stream ark:signals.",
                        ),
                    ),
                ),
                Case(
                    name="6,000 wait for a moment",
                    series={'redis_stream_depth{instance="n",stream="ark:signals"}': "0 6000 10x10"},
                    silent_at=("1m", "3m", "5m"),
                ),
            ),
        ),
        Alert(
            name="ARKStateWriteLatencyHigh",
            expr=beyond("ark_journal_commit_seconds", limits.state_write_s, 0.05, "5m", by="instance, owner"),
            hold="5m",
            severity="ticket",
            summary="The disk is slow",
            description="{{ $value | humanizePercentage }} of the commits of {{ $labels.owner }} within the last 5 "
            f"minutes took longer than {number(limits.state_write_s * 1000)} ms.",
            action="look at what else writes to that disk (`iostat -x 5`), and move it or the home away",
            runbook="decisions-are-slow",
            cases=(
                Case(
                    name="one commit in ten takes longer than 100 ms",
                    series=_commits("0+54x20", "0+60x20"),
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "owner": "kenny"},
                            description="10% of the commits of kenny within the last 5 minutes took longer than "
                            "100 ms.",
                        ),
                    ),
                ),
                Case(name="a single one does", series=_commits("0x30", "0x5 1x25"), silent_at=("6m", "11m")),
                Case(
                    name="the histogram begins anew",
                    series=_commits("900x9 0+60x20", "1000x9 0+60x20"),
                    silent_at=("10m", "14m", "16m"),
                ),
            ),
        ),
        Alert(
            name="ARKDiskSpaceLow",
            expr=(
                "ark_disk_free_bytes / ark_disk_size_bytes < 0.1\n"
                f"  or ark_disk_free_bytes / ark_disk_size_bytes and on (instance) ark_disk_free_bytes < {low}"
            ),
            hold="5m",
            severity="page",
            summary="Little space is left on the disk under the home",
            description="{{ $value | humanizePercentage }} of the disk under the node's home is free.",
            action="make room, then `supervisor status`; below `watchdog.disk_full_mb` trading halts",
            runbook="the-disk-is-full-or-a-file-is-damaged",
            cases=(
                Case(
                    name="a tenth of a large disk is not free any more",
                    series={
                        'ark_disk_free_bytes{instance="n"}': "20e9 9e9x10",
                        'ark_disk_size_bytes{instance="n"}': "100e9x11",
                    },
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n"},
                            description="9% of the disk under the node's home is free.",
                        ),
                    ),
                ),
                Case(
                    name="less than a GiB of a small disk is free",
                    series={
                        'ark_disk_free_bytes{instance="n"}': "1e9x10",
                        'ark_disk_size_bytes{instance="n"}': "4e9x10",
                    },
                    fired=(
                        Fired(
                            at="5m",
                            labels={"instance": "n"},
                            description="25% of the disk under the node's home is free.",
                        ),
                    ),
                ),
                Case(
                    name="half of it is free, and for a moment nothing is",
                    series={
                        'ark_disk_free_bytes{instance="n"}': "50e9x3 1e6 50e9x10",
                        'ark_disk_size_bytes{instance="n"}': "100e9x14",
                    },
                    silent_at=("4m", "6m", "10m"),
                ),
            ),
        ),
    )


def _percent(share: float) -> str:
    return f"{number(round(share * 100, 4))}%"


def _failures(failed: str, answered: str) -> dict[str, str]:
    labels = 'instance="n",agent="joey",version="1",track="stable"'
    return {
        'up{job="ark",instance="n"}': "1x30",
        f"ark_agent_failures_total{{{labels}}}": failed,
        f'ark_agent_signals_total{{{labels},attempt="first"}}': answered,
    }


def _judged(within: str, all_: str) -> dict[str, str]:
    labels = 'instance="n",agent="hrm",version="1",track="stable"'
    return {
        f'ark_agent_latency_seconds_bucket{{{labels},le="0.2"}}': within,
        f'ark_agent_latency_seconds_bucket{{{labels},le="+Inf"}}': all_,
        f"ark_agent_latency_seconds_count{{{labels}}}": all_,
    }


def _commits(within: str, all_: str) -> dict[str, str]:
    labels = 'instance="n",owner="kenny"'
    return {
        f'ark_journal_commit_seconds_bucket{{{labels},le="0.1"}}': within,
        f'ark_journal_commit_seconds_bucket{{{labels},le="+Inf"}}': all_,
        f"ark_journal_commit_seconds_count{{{labels}}}": all_,
    }
