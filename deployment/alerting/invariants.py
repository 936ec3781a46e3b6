"""What must never be, whatever the budgets say: told at the first time, and not forgotten within the hour."""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired
from deployment.promql import increase, since

__all__ = ["INVARIANTS"]

_HERE = {"instance": "n"}

INVARIANTS: tuple[Alert, ...] = (
    Alert(
        name="ARKEthicsDrift",
        expr=f"{increase('ark_ethics_drift_total', '1h')} > 0",
        severity="page",
        summary="An order went out that nobody approved",
        description="{{ $value | humanize }} orders of the last hour went out without an approval.",
        action="`ark-run halt --reason drift` at once, then `ark-run audit verify` and `ark-run seal verify`",
        runbook="an-invariant-is-broken",
        cases=(
            Case(
                name="a single order does",
                series={'ark_ethics_drift_total{instance="n"}': "0x10 1x100"},
                # It is forgotten an hour after it was first seen.
                silent_at=("10m", "72m"),
                fired=(
                    Fired(
                        at="11m",
                        labels=_HERE,
                        description="1 orders of the last hour went out without an approval.",
                    ),
                ),
            ),
            Case(
                name="the node is new, or old cases are long known",
                series={'ark_ethics_drift_total{instance="n"}': "2x120"},
                silent_at=("0m", "1m", "62m"),
            ),
            Case(
                name="the counter begins anew",
                series={'ark_ethics_drift_total{instance="n"}': "2x9 0x20"},
                silent_at=("10m", "11m", "30m"),
            ),
        ),
    ),
    Alert(
        name="ARKAuditIncomplete",
        expr=('sum by (instance) (increase(ark_slo_events_total{slo="audit_completeness",result="bad"}[1h])) > 0'),
        severity="page",
        summary="A signal ended without a row in the ledger, or with agents that disagree",
        description="{{ $value | humanize }} signals of the last hour are not told of in full by the ledger.",
        action="`ark-run audit verify`, then `ark-run dead-letters list --all` for what has none",
        runbook="the-ledger",
        cases=(
            Case(
                name="a single one does",
                series={
                    'ark_slo_events_total{instance="n",slo="audit_completeness",result="bad"}': "0x10 1x100",
                    'ark_slo_events_total{instance="n",slo="audit_completeness",result="good"}': "0+100x110",
                },
                silent_at=("10m",),
                fired=(
                    Fired(
                        at="11m",
                        labels=_HERE,
                        description="1 signals of the last hour are not told of in full by the ledger.",
                    ),
                ),
            ),
            Case(
                name="everything is told of",
                series={
                    'ark_slo_events_total{instance="n",slo="audit_completeness",result="bad"}': "0x60",
                    'ark_slo_events_total{instance="n",slo="audit_completeness",result="good"}': "0+100x60",
                },
                silent_at=("1m", "30m", "60m"),
            ),
        ),
    ),
    Alert(
        name="ARKAuditDisagreement",
        expr=f"sum by (instance) ({since('ark_audit_disagreements_total', '1h')}) > 0",
        severity="ticket",
        summary="Agents disagree over what became of a signal",
        description="Aletheia found {{ $value | humanize }} outcomes of the last hour over which the agents "
        "disagree.",
        action="`ark-run audit verify`, then `ark-run trace TRACE_ID` of what it names",
        runbook="the-ledger",
        cases=(
            Case(
                name="the first one begins its counter",
                series={
                    'up{job="ark",instance="n"}': "1x100",
                    'ark_audit_disagreements_total{instance="n"}': "_x70 1x20",
                },
                silent_at=("69m",),
                fired=(
                    Fired(
                        at="70m",
                        labels=_HERE,
                        description="Aletheia found 1 outcomes of the last hour over which the agents disagree.",
                    ),
                ),
            ),
            Case(
                name="Prometheus starts and finds an old one",
                series={
                    'up{job="ark",instance="n"}': "_x10 1x100",
                    'ark_audit_disagreements_total{instance="n"}': "_x10 4x100",
                },
                silent_at=("10m", "69m", "71m"),
            ),
        ),
    ),
    Alert(
        name="ARKSealBroken",
        expr="ark_seal_intact == 0",
        severity="page",
        summary="The seal of the rule book is broken",
        description="The rules in files or in memory of {{ $labels.instance }} are not the sealed ones. "
        "Trading is halted.",
        action="`ark-run seal verify` says which file; do not resume before it is whole again",
        runbook="the-seal",
        cases=(
            Case(
                name="it breaks",
                series={'ark_seal_intact{instance="n"}': "1x4 0x10"},
                silent_at=("4m",),
                fired=(
                    Fired(
                        at="5m",
                        labels=_HERE,
                        description="The rules in files or in memory of n are not the sealed ones. "
                        "Trading is halted.",
                    ),
                ),
            ),
            Case(name="it is whole", series={'ark_seal_intact{instance="n"}': "1x10"}, silent_at=("1m", "10m")),
        ),
    ),
    Alert(
        name="ARKHalted",
        expr="ark_halted == 1",
        severity="page",
        summary="Trading is halted",
        description="Trading on {{ $labels.instance }} is halted, by a person or by itself. "
        "What would trade ends as denied.",
        action="`supervisor status` names the reason; `ark-run resume --reason TEXT` only when it is gone",
        runbook="trading-has-halted-by-itself",
        follows=("ARKSealBroken",),
        cases=(
            Case(
                name="it halts, and goes on",
                series={'ark_halted{instance="n"}': "0x4 1x5 0x5"},
                silent_at=("4m", "11m"),
                fired=(
                    Fired(
                        at="5m",
                        labels=_HERE,
                        description="Trading on n is halted, by a person or by itself. "
                        "What would trade ends as denied.",
                    ),
                ),
            ),
            Case(name="it goes on", series={'ark_halted{instance="n"}': "0x10"}, silent_at=("1m", "10m")),
        ),
    ),
    Alert(
        name="ARKDeadLettersOpen",
        expr="ark_dead_letters_open > 0",
        severity="ticket",
        summary="Signals were given up on, and nobody has dealt with them",
        description="{{ $value | humanize }} dead letters wait for somebody.",
        action="`ark-run dead-letters list`, then `show`, and `retry` or `drop`",
        runbook="dead-letters",
        cases=(
            Case(
                name="one is there, until somebody has dealt with it",
                series={'ark_dead_letters_open{instance="n"}': "0x4 1x5 0x5"},
                silent_at=("4m", "11m"),
                fired=(Fired(at="5m", labels=_HERE, description="1 dead letters wait for somebody."),),
            ),
            Case(name="there is none", series={'ark_dead_letters_open{instance="n"}': "0x10"}, silent_at=("9m",)),
        ),
    ),
)
"""All of them; none depends on a setting."""
