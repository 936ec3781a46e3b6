"""The settings of rollouts, `[deploy]` in `ark.toml`: what every plan begins with."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

__all__ = ["DAYS", "DeployConfig", "FreezeWindow", "Gate"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Percent = Annotated[float, Meta(gt=0, le=100)]
Role = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,15}\Z")]
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d\Z|^24:00\Z")]
Length = Annotated[float, Meta(ge=0, le=2_592_000)]
"""Seconds, at most 30 days."""
Limit = Annotated[float, Meta(gt=0, le=2_592_000)]


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a rollout waits for people.

    Attributes:
        before: The stage that it stands before, as its percent (`"25"`), or `promotion`.
        approvers: Who may approve; empty: any operator.
        needed: How many different people must.
    """

    before: Annotated[str, Meta(pattern=r"^(promotion|\d{1,3}(\.\d+)?)\Z")] = "promotion"
    approvers: tuple[str, ...] = ()
    needed: Annotated[int, Meta(ge=1, le=10)] = 1

    def __post_init__(self) -> None:
        if self.approvers and len({name.strip().casefold() for name in self.approvers}) < self.needed:
            raise ValueError(f"needed is {self.needed}, but approvers names fewer people")


class FreezeWindow(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}, omit_defaults=True
):
    """When no rollout takes a step forwards, by the clock of `deploy.timezone`.

    Attributes:
        from_: When it begins, `HH:MM`.
        to: When it ends; not later than `from` means on the next day.
        days: On which days it begins; empty: on all.
        dates: On which dates it begins, `YYYY-MM-DD`, instead of days of the week; empty: on all.
        why: What for, in a word or two; people read it.
    """

    from_: Clock = "00:00"
    to: Clock = "24:00"
    days: tuple[Day, ...] = ()
    dates: tuple[str, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        if self.from_ == "24:00":
            raise ValueError('from cannot be "24:00"')
        for date in self.dates:
            try:
                dt.date.fromisoformat(date)
            except ValueError:
                raise ValueError(f"dates holds {date!r}, which is no date like 2026-12-24") from None


class DeployConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What plans of rollouts begin with; `--plan FILE` and options change it for one of them.

    In each state a rollout stays at least for the minimum, during which all of it must really be so: both arms
    warm, the routing table in force, the deploy actor looking. It ends at the deadline at the latest, which
    counts all time.

    Attributes:
        by: What keeps a signal with one arm: its symbol, its source, or its size in powers of ten.
        stages: The canary's share of the traffic in each stage, percent.
        shadow_s: The minimum of the state in which both arms see copies of all signals, without effect.
        shadow_deadline_s: Its deadline.
        baseline_s: The minimum of the state in which the baseline has the first stage's share, the canary none.
        baseline_deadline_s: Its deadline.
        stage_s: The minimum of each stage.
        stage_deadline_s: Its deadline.
        bake_s: The minimum of the state in which the agent itself runs the new release, provisionally, while the
            old one stays warm.
        bake_deadline_s: Its deadline; a release that is not confirmed by then is rolled back.
        plan_deadline_s: How long a plan waits to be started.
        signals: So many signals both arms must have seen in each state, replayed ones included.
        replay_rate: How many recorded signals a second are shown to both arms, without effect; 0 for none.
        policy: What judges: `sequential` tests, or the original's `tripwires`.
        judge: Settings of the judge. Of those that stand here a plan may say the same or something stricter; all
            others are for a plan to choose.
        gates: Where a rollout waits for people.
        two_people: Agents whose releases need two different people at each gate, and a gate before promotion.
        approval_s: For how long an approval counts.
        freeze: When no rollout takes a step forwards.
        timezone: Whose clock `freeze` means, such as `America/New_York`.
        budget_caution: With less than this share of the error budget left, steps are half as large, and need twice
            as many `signals`.
        budget_freeze: With less than this share of it left, nothing steps forwards.
        override_s: For how long `--override-freeze` counts.
        inconclusive: What comes when a deadline passes without a verdict: `hold` waits `hold_s` for a person or
            more evidence before it rolls back; `abort` rolls back at once.
        hold_s: How long it waits then.
        promoting_deadline_s: How long the agent's own process may take to come back with the new release.
        rollback_deadline_s: How long a rollback may take beyond giving the traffic back, which is done at once.
        health_tries: How often the health is checked after a rollback before it counts as bad.
        health_interval_s: How long after a bad check the next one comes.
        ramp_back: After a rollback that had to restart the agent, the share of the traffic it has in each step,
            percent; the old release's warm arm has the rest. Empty: all at once.
        ramp_back_s: How long each of these steps takes.
    """

    by: Literal["symbol", "source", "notional"] = "symbol"
    stages: Annotated[tuple[Percent, ...], Meta(min_length=1, max_length=100)] = (10, 25, 50, 100)
    shadow_s: Length = 60.0
    shadow_deadline_s: Limit = 1800.0
    baseline_s: Length = 60.0
    baseline_deadline_s: Limit = 1800.0
    stage_s: Length = 600.0
    stage_deadline_s: Limit = 7200.0
    bake_s: Length = 900.0
    bake_deadline_s: Limit = 7200.0
    plan_deadline_s: Limit = 86_400.0
    signals: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 50
    replay_rate: Annotated[float, Meta(ge=0, le=10_000)] = 0.0
    policy: Literal["sequential", "tripwires"] = "sequential"
    judge: dict[str, Any] = {}
    gates: tuple[Gate, ...] = ()
    two_people: tuple[Role, ...] = ("hrm",)
    approval_s: Limit = 86_400.0
    freeze: tuple[FreezeWindow, ...] = ()
    timezone: str = "UTC"
    budget_caution: Annotated[float, Meta(ge=0, le=1)] = 0.25
    budget_freeze: Annotated[float, Meta(ge=-1000, le=1)] = 0.0
    override_s: Limit = 3600.0
    inconclusive: Literal["hold", "abort"] = "hold"
    hold_s: Limit = 3600.0
    promoting_deadline_s: Limit = 120.0
    rollback_deadline_s: Limit = 600.0
    health_tries: Annotated[int, Meta(ge=1, le=1000)] = 10
    health_interval_s: Length = 2.0
    ramp_back: tuple[Percent, ...] = ()
    ramp_back_s: Length = 30.0

    def __post_init__(self) -> None:
        for name in ("stages", "ramp_back"):
            shares = getattr(self, name)
            if any(high <= low for low, high in itertools.pairwise(shares)):
                raise ValueError(f"{name} must rise from step to step")
        if self.stages[-1] != 100:
            raise ValueError("stages must end with 100")
        for state in ("shadow", "baseline", "stage", "bake"):
            if getattr(self, f"{state}_s") >= getattr(self, f"{state}_deadline_s"):
                raise ValueError(f"{state}_s must be less than {state}_deadline_s")
        if self.budget_freeze > self.budget_caution:
            raise ValueError("budget_freeze must not be above budget_caution")
        for gate in self.gates:
            if gate.before != "promotion" and float(gate.before) not in self.stages:
                raise ValueError(f"gates names {gate.before} %, which is none of the stages")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"timezone {self.timezone!r} is not known; name one like Europe/Berlin") from None
