"""The alerts over what should move and does not: processes, scrapes, feeds, mailboxes, signals."""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired, Limits
from deployment.promql import increase, number, since

__all__ = ["freshness"]

_HERE = {"instance": "n"}
_UP = 'up{job="ark",instance="n"}'


def freshness(limits: Limits) -> tuple[Alert, ...]:
    """These alerts for a node with certain limits."""
    return (*_tree(limits), *_flow(limits), _feed())


def _tree(limits: Limits) -> tuple[Alert, ...]:
    beat = number(limits.heartbeat_s)
    return (
        Alert(
            name="ARKExporterAbsent",
            expr='up{job="ark"} == 0 or absent(up{job="ark"})',
            hold="1m",
            severity="page",
            summary="The node cannot be seen",
            description="Nothing answers at {{ with $labels.instance }}{{ . }}{{ else }}any target of the job ark"
            "{{ end }}: the node is down, or its exporter is.",
            action="`supervisor status` on that machine; `systemctl status ark`, then `supervisor doctor`",
            runbook="the-node-does-not-answer",
            cases=(
                Case(
                    name="the node goes down, and comes back",
                    series={_UP: "1x4 0x5 1x5"},
                    # The first scrape that fails is at 5m.
                    silent_at=("4m", "5m", "11m"),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "job": "ark"},
                            description="Nothing answers at n: the node is down, or its exporter is.",
                        ),
                    ),
                ),
                Case(
                    name="Prometheus has lost the target",
                    series={"prometheus_build_info": "1x10"},
                    fired=(
                        Fired(
                            at="1m",
                            labels={"job": "ark"},
                            description="Nothing answers at any target of the job ark: the node is down, or its "
                            "exporter is.",
                        ),
                    ),
                ),
                Case(name="one scrape fails", series={_UP: "1x4 0 1x5"}, every="15s", silent_at=("75s", "2m")),
            ),
        ),
        Alert(
            name="ARKNotReady",
            expr="ark_ready == 0",
            hold="1m",
            severity="page",
            summary="The node does not work",
            description="{{ $labels.instance }} takes no signals, or not all of its agents work.",
            action="`supervisor status` names who does not run, `supervisor doctor` why and what to type",
            runbook="what-is-going-on",
            follows=("ARKExporterAbsent", "ARKAgentQuarantined"),
            cases=(
                Case(
                    name="an agent is away for longer",
                    series={'ark_ready{instance="n"}': "1x4 0x10"},
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels=_HERE,
                            description="n takes no signals, or not all of its agents work.",
                        ),
                    ),
                ),
                Case(
                    name="an agent is killed and comes back",
                    series={'ark_ready{instance="n"}': "1x4 0 1x20"},
                    every="15s",
                    silent_at=("60s", "75s", "3m"),
                ),
            ),
        ),
        Alert(
            name="ARKChildDown",
            expr="ark_child_up == 0",
            hold="1m",
            severity="ticket",
            summary="A process of the node does not run",
            description="{{ $labels.name }} has not run for a minute.",
            action="`supervisor doctor {{ $labels.name }}`",
            runbook="an-agent-keeps-dying",
            cases=(
                Case(
                    name="an agent stays away",
                    series={'ark_child_up{instance="n",name="joey",kind="agent",version="1"}': "1x4 0x10"},
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "name": "joey", "kind": "agent", "version": "1"},
                            description="joey has not run for a minute.",
                        ),
                    ),
                ),
                Case(
                    name="an agent is replaced",
                    series={'ark_child_up{instance="n",name="joey",kind="agent",version="1"}': "1x4 0 1x10"},
                    every="15s",
                    silent_at=("60s", "75s", "2m"),
                ),
            ),
        ),
        Alert(
            name="ARKChildRestarts",
            expr=f"sum by (instance, name) ({since('ark_child_restarts_total', '10m')}) >= 5",
            severity="ticket",
            summary="A process dies again and again",
            description="{{ $labels.name }} was started anew {{ $value | humanize }} times within 10 minutes.",
            action="`supervisor events --name {{ $labels.name }}` says how it ended and with which signal in hand",
            runbook="an-agent-keeps-dying",
            follows=("ARKAgentQuarantined",),
            cases=(
                Case(
                    name="once every two minutes",
                    series={_UP: "1x40", 'ark_child_restarts_total{instance="n",name="hrm"}': _EVERY_TWO_MINUTES},
                    # It was there before, as 0, so that the fifth restart, at 18m, is the fifth step.
                    silent_at=("17m",),
                    fired=(
                        Fired(
                            at="18m",
                            labels={"instance": "n", "name": "hrm"},
                            description="hrm was started anew 5 times within 10 minutes.",
                        ),
                    ),
                ),
                Case(
                    name="a single kill",
                    series={_UP: "1x40", 'ark_child_restarts_total{instance="n",name="hrm"}': "0x9 1x30"},
                    silent_at=("10m", "15m", "20m"),
                ),
                Case(
                    name="the node starts anew, and its counters with it",
                    series={_UP: "1x40", 'ark_child_restarts_total{instance="n",name="hrm"}': "40x9 0x30"},
                    silent_at=("10m", "15m"),
                ),
            ),
        ),
        Alert(
            name="ARKHeartbeatStale",
            expr=f"ark_heartbeat_age_seconds > {beat}",
            hold="30s",
            severity="page",
            summary="A process hangs, and is not replaced",
            description="{{ $labels.name }} has given no sign of life for {{ $value | humanizeDuration }}; "
            "the Watchdog should have replaced it.",
            action="`supervisor doctor {{ $labels.name }}`; `supervisor restart {{ $labels.name }}`",
            runbook="an-agent-keeps-dying",
            follows=("ARKExporterAbsent",),
            cases=(
                Case(
                    name="it stays so",
                    series={'ark_heartbeat_age_seconds{instance="n",name="gateway"}': "0.2 0.2 5+15x10"},
                    every="15s",
                    # Older than 10 s at 45 s for the first time, and 30 s later still.
                    silent_at=("60s",),
                    fired=(
                        Fired(
                            at="75s",
                            labels={"instance": "n", "name": "gateway"},
                            description="gateway has given no sign of life for 50s; "
                            "the Watchdog should have replaced it.",
                        ),
                    ),
                ),
                Case(
                    name="it is late once",
                    series={'ark_heartbeat_age_seconds{instance="n",name="gateway"}': "0.2 0.2 14 0.1x10"},
                    every="15s",
                    silent_at=("30s", "60s", "2m"),
                ),
            ),
        ),
        Alert(
            name="ARKScrapeSlow",
            expr='scrape_duration_seconds{job="ark"} > 1',
            hold="5m",
            severity="ticket",
            summary="The exporter takes long to answer",
            description="A scrape of {{ $labels.instance }} takes {{ $value | humanizeDuration }}.",
            action="`supervisor status`: does the machine have processor time left, and the exporter memory?",
            runbook="alerts-from-prometheus",
            cases=(
                Case(
                    name="for longer",
                    series={'scrape_duration_seconds{job="ark",instance="n"}': "0.02 2x10"},
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "job": "ark"},
                            description="A scrape of n takes 2s.",
                        ),
                    ),
                ),
                Case(
                    name="once",
                    series={'scrape_duration_seconds{job="ark",instance="n"}': "0.02 2 0.02x10"},
                    silent_at=("1m", "6m", "10m"),
                ),
            ),
        ),
    )


def _flow(limits: Limits) -> tuple[Alert, ...]:
    stuck_s = 2 * limits.stall_s
    return (
        Alert(
            name="ARKOldestSignalStuck",
            expr=f"ark_oldest_signal_age_seconds > {number(stuck_s)}",
            hold="1m",
            severity="page",
            summary="A signal does not end",
            description="The oldest signal in flight was accepted {{ $value | humanizeDuration }} ago, and was "
            "sent again meanwhile.",
            action="`supervisor status`: before whom does it wait? Then `supervisor doctor`",
            runbook="what-became-of-a-signal",
            follows=("ARKExporterAbsent", "ARKNotReady", "ARKAgentQuarantined"),
            cases=(
                Case(
                    name="it waits before an agent that has stopped",
                    series={'ark_oldest_signal_age_seconds{instance="n"}': "0 0+30x20"},
                    every="30s",
                    # Accepted at 30 s, older than 60 s from 2m on (90 s), and a minute later still.
                    silent_at=("150s",),
                    fired=(
                        Fired(
                            at="180s",
                            labels=_HERE,
                            description="The oldest signal in flight was accepted 2m 30s ago, and was sent again "
                            "meanwhile.",
                        ),
                    ),
                ),
                Case(
                    name="a busy node has none that is old",
                    series={'ark_oldest_signal_age_seconds{instance="n"}': "0.1 20 59 0.3 12 0x10"},
                    every="30s",
                    silent_at=("60s", "120s", "300s"),
                ),
            ),
        ),
        Alert(
            name="ARKNoOutcomes",
            expr=(
                f"{increase('ark_signals_accepted_total', '2m')} > 0\n"
                f"  and on (instance) {increase('ark_signals_completed_total', '2m')} == 0\n"
                "  and on (instance) ark_signals_in_flight > 0"
            ),
            hold="1m",
            severity="page",
            summary="Signals are accepted, and none ends",
            description="{{ $value | humanize }} signals were accepted within 2 minutes, and none has ended.",
            action="`supervisor status`, then `supervisor doctor`; what was accepted is kept",
            runbook="what-is-going-on",
            follows=("ARKExporterAbsent", "ARKNotReady", "ARKAgentQuarantined", "ARKOldestSignalStuck"),
            cases=(
                Case(
                    name="the pipeline stands",
                    series=_moved(accepted="0+10x20", completed="0+10x5 50x15", in_flight="0x5 10+10x15"),
                    # The last one ends at 5m. Within two minutes before 8m (6m to 8m) nothing did; with the whole
                    # window free of outcomes from 7m on and a minute of it, it fires at 8m.
                    silent_at=("6m", "7m"),
                    fired=(
                        Fired(
                            at="8m",
                            labels=_HERE,
                            description="20 signals were accepted within 2 minutes, and none has ended.",
                        ),
                    ),
                ),
                Case(
                    name="nothing comes in",
                    series=_moved(accepted="50x20", completed="50x20", in_flight="0x20"),
                    silent_at=("5m", "20m"),
                ),
                Case(
                    name="one signal comes, and has just not ended",
                    series=_moved(accepted="0x4 1x10", completed="0x5 1x9", in_flight="0x4 1 0x9"),
                    silent_at=("5m", "6m", "7m"),
                ),
                Case(
                    name="all that came waits for a person",
                    series=_moved(accepted="0+1x20", completed="0x20", in_flight="0x20"),
                    silent_at=("5m", "10m", "20m"),
                ),
                Case(
                    name="the node starts anew and goes on counting",
                    series=_moved(
                        accepted="100x4 stale 100+10x9", completed="100x4 stale 100+10x9", in_flight="0x14"
                    ),
                    silent_at=("4m", "6m", "9m"),
                ),
            ),
        ),
        Alert(
            name="ARKMailboxDeep",
            expr=f"ark_mailbox_depth > {limits.mailbox_depth}",
            hold="1m",
            severity="ticket",
            summary="Too much waits before an agent",
            description="{{ $value | humanize }} envelopes wait before {{ $labels.name }}.",
            action="look at the panel `Latency of each agent`; `supervisor doctor {{ $labels.name }}`",
            runbook="decisions-are-slow",
            follows=("ARKNotReady", "ARKAgentQuarantined"),
            cases=(
                Case(
                    name="for longer",
                    series={'ark_mailbox_depth{instance="n",name="hrm"}': "0 1500x10"},
                    silent_at=("1m",),
                    fired=(
                        Fired(
                            at="2m",
                            labels={"instance": "n", "name": "hrm"},
                            description="1.5k envelopes wait before hrm.",
                        ),
                    ),
                ),
                Case(
                    name="a burst that is worked off",
                    series={'ark_mailbox_depth{instance="n",name="hrm"}': "0 1500 20x10"},
                    silent_at=("1m", "2m", "5m"),
                ),
            ),
        ),
        Alert(
            name="ARKFrontDoorBusy",
            expr=(
                'sum by (instance) (rate(ark_requests_total{operation="inject",code="busy"}[5m]))\n'
                '  / sum by (instance) (rate(ark_requests_total{operation="inject"}[5m])) > 0.05'
            ),
            hold="5m",
            severity="ticket",
            summary="The front door turns signals away",
            description="{{ $value | humanizePercentage }} of the signals of the last 5 minutes were refused as "
            "busy; nothing of what was accepted is lost.",
            action="`supervisor status`: before whom does it wait? Otherwise ask whoever sends to send less",
            runbook="decisions-are-slow",
            follows=("ARKNotReady", "ARKAgentQuarantined", "ARKDiskSpaceLow"),
            cases=(
                Case(
                    name="one in ten",
                    series=_asked("0+60x20", "0+540x20"),
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels=_HERE,
                            description="10% of the signals of the last 5 minutes were refused as busy; nothing of "
                            "what was accepted is lost.",
                        ),
                    ),
                ),
                Case(name="one in a hundred", series=_asked("0+6x30", "0+594x30"), silent_at=("6m", "20m")),
                Case(
                    name="one of two, once", series=_asked("0x5 1x25", "0x5 1x25"), silent_at=("7m", "10m", "12m")
                ),
            ),
        ),
        Alert(
            name="ARKDecisionWaits",
            expr="ark_signals_held > 0",
            hold="1m",
            severity="ticket",
            summary="A decision waits for a person",
            description="{{ $value | humanize }} signals wait for somebody to decide; without an answer they are "
            "refused.",
            action="`ark-run held`, then `ark-run approve` or `refuse`",
            runbook="a-decision-waits-for-you",
            cases=(
                Case(
                    name="nobody answers",
                    series={'ark_signals_held{instance="n"}': "0 2x10"},
                    silent_at=("1m",),
                    fired=(
                        Fired(
                            at="2m",
                            labels=_HERE,
                            description="2 signals wait for somebody to decide; without an answer they are "
                            "refused.",
                        ),
                    ),
                ),
                Case(
                    name="somebody answers at once",
                    series={'ark_signals_held{instance="n"}': "0 1 0x10"},
                    silent_at=("1m", "2m", "5m"),
                ),
            ),
        ),
    )


def _feed() -> Alert:
    # A feed's own pace is the measure: bars of a minute are a minute old when they come, daily ones a day, replayed
    # ones many years. While nothing comes in the market may be closed: old bars only matter to signals.
    return Alert(
        name="ARKFeedStale",
        expr=(
            "ark_feed_age_seconds > 5 * min_over_time(ark_feed_age_seconds[7d]) + 900\n"
            f"  and on (instance) {increase('ark_signals_accepted_total', '5m')} > 0"
        ),
        hold="5m",
        severity="ticket",
        summary="Signals are judged by old bars",
        description="The newest bar of {{ $labels.feed }} is {{ $value | humanizeDuration }} old, which it never "
        "was within a week, and signals come in.",
        action="look at what sends the bars; `ark-run explain TRACE_ID` says what the age does to a decision",
        runbook="why-was-this-denied",
        follows=("ARKNotReady",),
        cases=(
            Case(
                name="bars of a minute stop while signals go on",
                series={
                    'ark_feed_age_seconds{instance="n",feed="bars"}': "60x10 120+60x40",
                    'ark_signals_accepted_total{instance="n"}': "0+5x60",
                },
                # 5 * 60 s + 900 s are 1200 s: older than that from 30m on, and five minutes later still.
                silent_at=("34m",),
                fired=(
                    Fired(
                        at="35m",
                        labels={"instance": "n", "feed": "bars"},
                        description="The newest bar of bars is 26m 0s old, which it never was within a week, and "
                        "signals come in.",
                    ),
                ),
            ),
            Case(
                name="the market is closed",
                series={
                    'ark_feed_age_seconds{instance="n",feed="bars"}': "60x10 120+60x40",
                    'ark_signals_accepted_total{instance="n"}': "50x60",
                },
                silent_at=("35m", "45m"),
            ),
            Case(
                name="daily bars, and a replay of old ones",
                series={
                    'ark_feed_age_seconds{instance="n",feed="bars"}': "86400+60x60",
                    'ark_feed_age_seconds{instance="n",feed="replayed"}': "800000000-9000x60",
                    'ark_signals_accepted_total{instance="n"}': "0+5x60",
                },
                silent_at=("10m", "45m"),
            ),
        ),
    )


_EVERY_TWO_MINUTES = "0x9 " + " ".join(f"{n} {n}" for n in range(1, 16))


def _moved(*, accepted: str, completed: str, in_flight: str) -> dict[str, str]:
    return {
        'ark_signals_accepted_total{instance="n"}': accepted,
        'ark_signals_completed_total{instance="n"}': completed,
        'ark_signals_in_flight{instance="n"}': in_flight,
    }


def _asked(busy: str, accepted: str) -> dict[str, str]:
    return {
        'ark_requests_total{instance="n",operation="inject",code="busy"}': busy,
        'ark_requests_total{instance="n",operation="inject",code="ok"}': accepted,
    }
