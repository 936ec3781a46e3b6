"""The alerts about a rollout itself: one that waits for somebody, and one that was rolled back."""

from __future__ import annotations

from deployment.alerting.alert import Alert, Case, Fired

__all__ = ["ROLLOUT"]

_HERE = {"instance": "n"}
_STOPPED = 'ark_rollout_stopped{instance="n"}'
_BACK = 'ark_rollout_state{instance="n",state="rolled_back"}'

ROLLOUT: tuple[Alert, ...] = (
    Alert(
        name="ARKRolloutStopped",
        expr="ark_rollout_stopped > 0",
        hold="15m",
        severity="ticket",
        summary="A rollout stands still, and waits for somebody",
        description="For 15 minutes the rollout on {{ $labels.instance }} has been paused, without a verdict, on "
        "its way back, or without the deploy actor.",
        action="`ark-run deploy explain`; then `ark-run deploy resume`, `promote` or `abort`",
        runbook="a-rollout-stands-still-or-was-rolled-back",
        follows=("ARKExporterAbsent",),
        cases=(
            Case(
                name="paused for twenty minutes",
                series={_STOPPED: "0x4 1x30"},
                silent_at=("4m", "19m"),
                fired=(
                    Fired(
                        at="21m",
                        labels=_HERE,
                        description="For 15 minutes the rollout on n has been paused, without a verdict, on its "
                        "way back, or without the deploy actor.",
                    ),
                ),
            ),
            Case(name="it goes on from stage to stage", series={_STOPPED: "0x60"}, silent_at=("20m", "59m")),
            Case(
                name="rolled back within a minute",
                series={_STOPPED: "0x4 1x1 0x30"},
                silent_at=("6m", "20m", "30m"),
            ),
        ),
    ),
    Alert(
        name="ARKRolledBack",
        expr='ark_rollout_state{state="rolled_back"} > 0',
        severity="ticket",
        summary="A rollout was rolled back",
        description="The rollout on {{ $labels.instance }} was rolled back; the stable version decides everything.",
        action="`ark-run deploy explain` says why, with an example",
        runbook="a-rollout-stands-still-or-was-rolled-back",
        follows=("ARKExporterAbsent",),
        cases=(
            Case(
                name="ten minutes after its end it is shown no more",
                series={_BACK: "0x4 1x9 _x20"},
                silent_at=("4m", "30m"),
                fired=(
                    Fired(
                        at="5m",
                        labels={**_HERE, "state": "rolled_back"},
                        description="The rollout on n was rolled back; the stable version decides everything.",
                    ),
                ),
            ),
            Case(name="it becomes permanent", series={_BACK: "0x30"}, silent_at=("5m", "29m")),
        ),
    ),
)
