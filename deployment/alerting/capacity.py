"""The alerts over storage, memory, the broker, and what the Watchdog tells of."""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired, Limits
from deployment.promql import FEW, number, since

__all__ = ["OWN_ALERT", "capacity"]

_HERE = {"instance": "n"}
_UP = {'up{job="ark",instance="n"}': "1x120"}
_UNEXECUTED = 'ark_orders_total{status=~"denied|failed"}'
OWN_ALERT = "halted|isolated|seal|disk_low|disk_full|dead_letter|mailbox|violations|hang|down|restarts"
"""Faults of the Watchdog that have an alert of their own here."""


def capacity(limits: Limits) -> tuple[Alert, ...]:
    """These alerts for a node with certain limits."""
    return (*_resources(limits), *_trading(), _watchdog())


def _resources(limits: Limits) -> tuple[Alert, ...]:
    day_s = 24 * 3600
    return (
        Alert(
            name="ARKDiskFillsUp",
            expr=(
                f"predict_linear(ark_disk_free_bytes[6h], {day_s}) < 0\n"
                "  and on (instance) ark_disk_free_bytes / ark_disk_size_bytes < 0.5"
            ),
            hold="1h",
            severity="ticket",
            summary="The disk under the home will be full within a day",
            description="If it goes on as in the last 6 hours, the disk under the home of {{ $labels.instance }} "
            "is full within a day.",
            action="look at what grows (the panel `Databases and disk`), and make room",
            runbook="the-disk-is-full-or-a-file-is-damaged",
            follows=("ARKDiskSpaceLow",),
            cases=(
                Case(
                    name="2.4 GB an hour are written, of 120",
                    series={
                        'ark_disk_free_bytes{instance="n"}': "72000000000-200000000x100",
                        'ark_disk_size_bytes{instance="n"}': "120000000000x100",
                    },
                    every="5m",
                    # 2.4 GB an hour are 57.6 GB a day, and less than that is free after 6 h; told an hour later.
                    silent_at=("5h", "6h55m"),
                    fired=(
                        Fired(
                            at="7h10m",
                            labels=_HERE,
                            description="If it goes on as in the last 6 hours, the disk under the home of n is "
                            "full within a day.",
                        ),
                    ),
                ),
                Case(
                    name="a large file comes and goes",
                    series={
                        'ark_disk_free_bytes{instance="n"}': "60000000000x20 30000000000x5 60000000000x30",
                        'ark_disk_size_bytes{instance="n"}': "100000000000x60",
                    },
                    every="5m",
                    silent_at=("2h", "3h", "4h"),
                ),
            ),
        ),
        Alert(
            name="ARKMemoryHigh",
            expr=_memory(limits),
            hold="5m",
            severity="ticket",
            summary="A process holds nearly as much memory as it may",
            description="{{ $labels.name }} holds {{ $value | humanize1024 }}B; at its limit the Watchdog replaces "
            "it.",
            action="`supervisor doctor {{ $labels.name }}`; raise `memory_limit_mb` if it needs that much",
            runbook="what-the-watchdog-does",
            cases=(
                Case(
                    name="900 of 1,024 MiB",
                    series={'ark_memory_bytes{instance="n",name="joey"}': "100000000 943718400x10"},
                    silent_at=("5m",),
                    fired=(
                        Fired(
                            at="6m",
                            labels={"instance": "n", "name": "joey"},
                            description="joey holds 900MiB; at its limit the Watchdog replaces it.",
                        ),
                    ),
                ),
                Case(
                    name="60 MiB",
                    series={'ark_memory_bytes{instance="n",name="joey"}': "62914560x10"},
                    silent_at=("5m", "10m"),
                ),
            ),
        ),
        Alert(
            name="ARKMetricsDropped",
            expr=f"sum by (instance, process) ({since('ark_series_dropped_total', '1h')}) > 0",
            severity="info",
            summary="A process counts more than its page has room for",
            description="{{ $labels.process }} had no room for {{ $value | humanize }} values within an hour; "
            "a label has too many values.",
            action="look at `/metrics` for the metric with far too many series",
            runbook="alerts-from-prometheus",
            cases=(
                Case(
                    name="the first one begins its counter",
                    series={**_UP, 'ark_series_dropped_total{instance="n",process="joey"}': "_x70 5x20"},
                    silent_at=("69m",),
                    fired=(
                        Fired(
                            at="70m",
                            labels={"instance": "n", "process": "joey"},
                            description="joey had no room for 5 values within an hour; "
                            "a label has too many values.",
                        ),
                    ),
                ),
                Case(
                    name="none is dropped",
                    series={**_UP, 'ark_series_dropped_total{instance="n",process="joey"}': "0x90"},
                    silent_at=("10m", "70m"),
                ),
            ),
        ),
    )


def _memory(limits: Limits) -> str:
    """Each process by its own limit, where it has one."""
    own = dict(limits.memory_of)
    others = f'{{name!~"{"|".join(own)}"}}' if own else ""
    parts = [f"ark_memory_bytes{others} > {number(0.8 * limits.memory_bytes)}"]
    parts += [f'ark_memory_bytes{{name="{name}"}} > {number(0.8 * bound)}' for name, bound in own.items()]
    return "\n  or ".join(parts)


def _trading() -> tuple[Alert, ...]:
    errors = "ark_broker_errors_total"
    return (
        Alert(
            name="ARKBrokerErrors",
            expr=(
                f"sum by (instance, broker) (rate({errors}[5m]))\n"
                "  / sum by (instance, broker) (rate(ark_broker_request_seconds_count[5m])) > 0.1\n"
                f"  and on (instance, broker) sum by (instance, broker) ({since(errors, '5m')}) >= {FEW}"
            ),
            hold="2m",
            severity="page",
            summary="The broker refuses or does not answer",
            description="{{ $value | humanizePercentage }} of the requests to {{ $labels.broker }} of the last 5 "
            "minutes failed.",
            action="`supervisor events --name kenny`; `ark-run halt` if orders may not be sent blindly",
            runbook="an-agent-keeps-dying",
            follows=("ARKExporterAbsent",),
            cases=(
                Case(
                    name="one request in five fails",
                    series={**_UP, **_broker("0+12x20", "0+60x20")},
                    silent_at=("2m",),
                    fired=(
                        Fired(
                            at="3m",
                            labels={"instance": "n", "broker": "paper"},
                            description="20% of the requests to paper of the last 5 minutes failed.",
                        ),
                    ),
                ),
                Case(
                    name="one of two fails, once",
                    series={**_UP, **_broker("_x10 1x20", "0x9 2x20")},
                    silent_at=("10m", "12m", "14m"),
                ),
                Case(
                    name="the counter begins anew",
                    series={**_UP, **_broker("500x9 0x20", "0+60x30")},
                    silent_at=("10m", "13m"),
                ),
            ),
        ),
        Alert(
            name="ARKExecutionFails",
            expr=(
                "kenny_exec_success_rate < 0.95\n"
                f"  and on (instance) sum by (instance) ({since(_UNEXECUTED, '1h')}) >= {FEW}"
            ),
            hold="5m",
            severity="ticket",
            summary="Approved plans are not executed",
            description="Of the last 100 approved plans {{ $value | humanizePercentage }} were executed.",
            action="`ark-run trace TRACE_ID` of one that was not; `supervisor events --name kenny`",
            runbook="what-became-of-a-signal",
            follows=("ARKHalted", "ARKBrokerErrors"),
            cases=(
                Case(
                    name="one in ten is not",
                    series={**_UP, **_executed("1 0.9x20", "0+1x20")},
                    # The third one comes at 3m; five minutes later it fires.
                    silent_at=("7m",),
                    fired=(
                        Fired(
                            at="8m",
                            labels=_HERE,
                            description="Of the last 100 approved plans 90% were executed.",
                        ),
                    ),
                ),
                Case(
                    name="the first plan of all is not",
                    series={**_UP, **_executed("_ 0x20", "0 1x20")},
                    silent_at=("5m", "10m", "20m"),
                ),
                Case(
                    name="two in a hundred are not",
                    series={**_UP, **_executed("0.98x20", "0+1x20")},
                    silent_at=("5m", "10m", "20m"),
                ),
                Case(
                    name="the counter begins anew",
                    series={**_UP, **_executed("0.9x80", "70x9 0x70")},
                    silent_at=("15m", "20m"),
                ),
            ),
        ),
        Alert(
            name="ARKBreakerTripped",
            expr=f"sum by (instance, breaker) ({since('ark_breaker_trips_total', '5m')}) > 0",
            severity="ticket",
            summary="A circuit breaker has opened",
            description="{{ $labels.breaker }} has opened.",
            action="`ark-run check signal.json` says which one holds and until when",
            runbook="a-breaker-holds",
            cases=(
                Case(
                    name="its counter begins with it",
                    series={**_UP, 'ark_breaker_trips_total{instance="n",breaker="CB-002"}': "_x10 1x20"},
                    silent_at=("9m", "15m"),
                    fired=(
                        Fired(
                            at="10m",
                            labels={"instance": "n", "breaker": "CB-002"},
                            description="CB-002 has opened.",
                        ),
                    ),
                ),
                Case(
                    name="none opens",
                    series={**_UP, 'ark_breaker_trips_total{instance="n",breaker="CB-002"}': "3x20"},
                    silent_at=("1m", "10m"),
                ),
            ),
        ),
    )


def _watchdog() -> Alert:
    return Alert(
        name="ARKWatchdogAlert",
        expr=f'sum by (instance, fault) (ark_alerts_standing{{fault!~"{OWN_ALERT}"}}) > 0',
        hold="1m",
        severity="ticket",
        summary="The Watchdog tells of a fault",
        description="The Watchdog tells of {{ $labels.fault }}.",
        action="`supervisor status` shows it with what to do; `supervisor doctor`",
        runbook="what-the-watchdog-does",
        cases=(
            Case(
                name="storage fails",
                series={'ark_alerts_standing{instance="n",fault="storage",severity="emergency"}': "0x4 1x5"},
                silent_at=("5m",),
                fired=(
                    Fired(
                        at="6m",
                        labels={"instance": "n", "fault": "storage"},
                        description="The Watchdog tells of storage.",
                    ),
                ),
            ),
            Case(
                name="it tells of an isolation, which has an alert of its own, and for a moment of the clock",
                series={
                    'ark_alerts_standing{instance="n",fault="isolated",severity="critical"}': "1x10",
                    'ark_alerts_standing{instance="n",fault="clock_jump",severity="warning"}': "0x4 1 0x5",
                },
                silent_at=("1m", "5m", "6m", "10m"),
            ),
        ),
    )


def _broker(failed: str, asked: str) -> dict[str, str]:
    labels = 'instance="n",broker="paper",operation="submit"'
    return {
        f"ark_broker_errors_total{{{labels}}}": failed,
        f"ark_broker_request_seconds_count{{{labels}}}": asked,
    }


def _executed(share: str, unexecuted: str) -> dict[str, str]:
    return {
        'kenny_exec_success_rate{instance="n"}': share,
        'ark_orders_total{instance="n",broker="paper",status="denied"}': unexecuted,
    }
