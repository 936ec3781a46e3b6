"""What holds a rollout back: freeze windows, the error budget, and people who have not approved yet. Pure.

A hold is never a verdict: it stops steps forwards, and nothing else. A rollback is always allowed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from ark.deploy_settings import DAYS, DeployConfig, FreezeWindow, Gate

__all__ = [
    "Approval",
    "Budget",
    "Caution",
    "caution",
    "freeze_end",
    "is_same_step",
    "missing_approvals",
    "name_key",
    "next_share",
    "step_name",
    "window_at",
]

Caution = Literal["none", "half", "frozen"]


class Approval(msgspec.Struct, frozen=True):
    """That somebody said yes.

    Attributes:
        by: Who.
        gate: To which gate, as `Gate.before`.
        at: When, seconds since the epoch.
    """

    by: str
    gate: str
    at: float


class Budget(msgspec.Struct, frozen=True):
    """How the error budget stands.

    Attributes:
        left: The share of it that is left, at most 1, negative when it is overspent; None while nothing is known,
            as on a node that has had no traffic.
        burning: Whether an alert says that it is being spent fast just now.
    """

    left: float | None = None
    burning: bool = False


def caution(settings: DeployConfig, budget: Budget) -> Caution:
    """How carefully to step: with little of the budget left by half steps, with none not at all."""
    if budget.burning:
        return "frozen"
    if budget.left is None or budget.left > settings.budget_caution:
        return "none"
    return "frozen" if budget.left < settings.budget_freeze else "half"


def next_share(stages: Sequence[float], share: float, *, half: bool) -> tuple[float, float]:
    """The canary's next share, and the stage that it leads to, both in percent.

    Args:
        stages: The plan's, rising, the last one 100.
        share: The canary's share now, below 100.
        half: Whether to stop half-way to each stage.
    """
    target = next(stage for stage in stages if stage > share)
    middle = (max((stage for stage in stages if stage <= share), default=0.0) + target) / 2
    return (middle if half and share < middle else target), target


def window_at(settings: DeployConfig, now: float) -> FreezeWindow | None:
    """The freeze window that is open, the one that ends last if there are several.

    Args:
        settings: They hold the windows, and the time zone of their clock.
        now: Seconds since the epoch.
    """
    open_ = [(end, index) for index, begin, end in _spans(settings, now) if begin <= now < end]
    return settings.freeze[max(open_)[1]] if open_ else None


def freeze_end(settings: DeployConfig, now: float) -> float | None:
    """When the windows that are open, and those that follow without a gap, are over; None while none is open.

    At most a week is looked ahead.
    """
    end, found = now, False
    while end < now + 7 * 86_400:
        later = max((stop for _, begin, stop in _spans(settings, end) if begin <= end < stop), default=None)
        if later is None:
            break
        end, found = later, True
    return end if found else None


def missing_approvals(
    gates: Iterable[Gate], before: str, approvals: Iterable[Approval], now: float, lasting_s: float
) -> list[str]:
    """Who is still to approve a step, as words for people; empty: nobody.

    A person counts once, however the name is written, and only while the approval is fresh.

    Args:
        gates: The plan's.
        before: The step: a stage's percent, or `promotion`.
        approvals: What was approved.
        now: Seconds since the epoch.
        lasting_s: For how long an approval counts.
    """
    given = {
        name_key(each.by)
        for each in approvals
        if is_same_step(each.gate, before) and now - lasting_s < each.at <= now + lasting_s
    }
    missing = []
    for gate in gates:
        if not is_same_step(gate.before, before):
            continue
        allowed = {name_key(name) for name in gate.approvers}
        count = len(given & allowed if allowed else given)
        if count < gate.needed:
            who = f" of {', '.join(gate.approvers)}" if gate.approvers else ""
            missing.append(f"{gate.needed - count} more approval{'s' * (gate.needed - count > 1)}{who}")
    return missing


def name_key(name: str) -> str:
    """A person's name, as it is compared."""
    return " ".join(name.split()).casefold()


def is_same_step(one: str, other: str) -> bool:
    """Whether two names of steps mean the same one: `25` and `25.0` do."""
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False


def step_name(percent: float) -> str:
    """A stage's percent as a gate names it."""
    return f"{percent:.12g}"


def _spans(settings: DeployConfig, now: float) -> Iterable[tuple[int, float, float]]:
    """The windows around now, each as its place in the list, its beginning and its end.

    Times that a change of the clock leaves out or has twice are read as `zoneinfo` reads them.
    """
    if not settings.freeze:
        return
    zone = ZoneInfo(settings.timezone)
    today = dt.datetime.fromtimestamp(now, zone).date()
    for date in (today - dt.timedelta(days=1), today):
        for index, window in enumerate(settings.freeze):
            on_days = not window.days or DAYS[date.weekday()] in window.days
            if date.isoformat() in window.dates if window.dates else on_days:
                begin = _moment(date, window.from_, zone)
                end = _moment(date, window.to, zone)
                if window.to <= window.from_:
                    end = _moment(date + dt.timedelta(days=1), window.to, zone)
                yield index, begin, end


def _moment(date: dt.date, clock: str, zone: ZoneInfo) -> float:
    hours, minutes = map(int, clock.split(":"))
    if hours == 24:
        date, hours = date + dt.timedelta(days=1), 0
    return dt.datetime.combine(date, dt.time(hours, minutes), zone).timestamp()
