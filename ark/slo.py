"""Service level objectives: what they are, and how a node stands with each. Pure.

An objective with a budget is a share of events that must be good: of 1,000 signals at 99.5 %, five may be bad
before the budget of the period is spent. The **burn rate** of a window is how many times faster than that the
budget goes: at 1 it lasts exactly for the period. A **burn alert** fires while the burn rate of a long window
and that of a short one, a twelfth of it, are both above its factor: the long one says that it matters, the short
one that it still goes on. The factor is chosen so that the long window alone spends a set share of the budget,
`factor = share x period / window`.

With little traffic one bad event is a large share: of 13 signals in an hour it is 7.7 %, above the 7.2 % of the
quickest alert. So an alert needs two bad events in its long window. From `BurnAlert.enough` events on that changes
nothing, since there one cannot fire it anyway.

An invariant has no budget: one bad event is a violation that stands until the period is over.

What has no events in its window is `unknown`, and never `met`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from ark.errors import ConfigError
from ark.slo_samples import Samples, Window

if TYPE_CHECKING:
    from ark.config import SloConfig

__all__ = [
    "FEWEST_BAD",
    "WINDOWS",
    "Budget",
    "BurnAlert",
    "Slo",
    "Standing",
    "State",
    "burn_alerts",
    "check",
    "definitions",
    "judge",
]

State = Literal["met", "violated", "unknown"]
Severity = Literal["page", "ticket"]
Speed = Literal["quick", "slow"]

DAY_S = 86_400
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": DAY_S, "3d": 3 * DAY_S}
"""The windows that burn rates are told for, by their names, in seconds."""
FEWEST_BAD = 2
"""So many bad events must be in the long window of an alert."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective.

    Attributes:
        name: Its name, as the label `slo` has it.
        description: What it promises, in one sentence for people.
        objective: What the value is compared with.
        operator: How: the value must be at least that, or exactly that.
        unit: What the value is: `ratio`, the share of good events, or `events`, the number of bad ones.
        invariant: Whether it has no budget.
        window_s: Over how long the state is judged; for an invariant, its period.
        period_s: For how long the budget is, or a violation of an invariant stands.
        owner: Who looks after it.
        runbook: What to do first when it is violated.
        setting: The setting that its objective comes from; empty for one that is fixed.
        limit_ms: For one about latency, what an event may take to be good.
    """

    name: str
    description: str
    objective: float
    operator: Literal[">=", "=="]
    unit: Literal["ratio", "events"]
    invariant: bool
    window_s: float
    period_s: float
    owner: str
    runbook: str
    setting: str = ""
    limit_ms: float | None = None

    @property
    def budget(self) -> Fraction:
        """The share of events that may be bad, exactly as the objective was written; 0 for an invariant."""
        return Fraction(0) if self.invariant else 1 - Fraction(repr(self.objective))


@dataclass(frozen=True, slots=True)
class BurnAlert:
    """When an objective's budget is spent too fast.

    Attributes:
        severity: `page` calls somebody at once, `ticket` can wait for the day.
        speed: `quick` is a large fire, `slow` a small one that lasts.
        long, short: The windows, as in `WINDOWS`.
        factor: The burn rate that both must be above.
        spends: The share of the period's budget that is gone after the long window at that rate.
    """

    severity: Severity
    speed: Speed
    long: str
    short: str
    factor: Fraction
    spends: Fraction

    def is_possible(self, budget: Fraction) -> bool:
        """Whether it can fire at all: not even an outage burns faster than 1 / budget."""
        return self.factor * budget < 1

    def enough(self, budget: Fraction) -> int:
        """From so many events in the long window on, a single bad one is not above the factor."""
        return math.ceil(1 / (self.factor * budget))


_BURN_TABLE: tuple[tuple[Severity, Speed, str, str, Fraction, Fraction], ...] = (
    ("page", "quick", "1h", "5m", Fraction(2, 100), Fraction(8, 100)),
    ("page", "slow", "6h", "30m", Fraction(5, 100), Fraction(125, 1000)),
    ("ticket", "quick", "1d", "2h", Fraction(10, 100), Fraction(20, 100)),
    ("ticket", "slow", "3d", "6h", Fraction(10, 100), Fraction(42, 100)),
)
"""Severity, speed, windows, and the share of the budget that the long window spends: of a period of 28 days or
more (the SRE workbook's chapter 5, with sloth's third row), and of 7 days (sloth's)."""
_MONTH_S, _WEEK_S = 28 * DAY_S, 7 * DAY_S


def burn_alerts(period_s: float) -> tuple[BurnAlert, ...]:
    """The burn alerts of a budget's period, the most urgent first.

    The windows are the same for all periods. From 28 days on, the shares are those of a month, so that the factors
    grow with the period. Between 7 and 28 days the factors lie on the line between those of both, which keeps the
    slowest near 1: a rate below 1 does not spend the budget.

    Args:
        period_s: 7 days or more, in seconds.
    """
    period = Fraction(repr(period_s))
    made = []
    for severity, speed, long, short, of_month, of_week in _BURN_TABLE:
        window = WINDOWS[long]
        if period >= _MONTH_S:
            factor = of_month * period / window
        else:
            month, week = of_month * _MONTH_S / window, of_week * _WEEK_S / window
            factor = week + (month - week) * (period - _WEEK_S) / (_MONTH_S - _WEEK_S)
        made.append(BurnAlert(severity, speed, long, short, factor, factor * window / period))
    return tuple(made)


def check(slo: Slo, where: str = "") -> None:
    """Refuse an objective of which an alert can never fire.

    Args:
        slo: The objective.
        where: The file that it stands in, for the text.

    Raises:
        ConfigError: It is so low, or its period so long.
    """
    for alert in () if slo.invariant else burn_alerts(slo.period_s):
        if not alert.is_possible(slo.budget):
            factor = float(alert.factor)
            lowest = math.ceil(10_000 * (1 - 1 / factor)) / 10_000
            named = f"{where}: {slo.setting}" if where else slo.setting
            raise ConfigError(
                f"{named} is {slo.objective:g}: over {slo.period_s / DAY_S:g} days its {alert.speed}"
                f" {alert.severity} alert needs a burn rate above {factor:.4g}, and no outage could reach it",
                hint=f"set it to {lowest:g} or more, or slo.budget_days to fewer days",
                field=slo.setting,
            )


def definitions(settings: SloConfig) -> tuple[Slo, ...]:
    """The objectives of a node.

    Args:
        settings: The table `[slo]`.
    """
    period_s = float(settings.budget_days * DAY_S)
    window_s = settings.window_s
    return (
        Slo(
            name="availability",
            description="Accepted signals end as executed, denied or no_setup, and not as failed or expired.",
            objective=settings.availability,
            operator=">=",
            unit="ratio",
            invariant=False,
            window_s=window_s,
            period_s=period_s,
            owner="runtime",
            runbook="`supervisor doctor`, then `ark-run dead-letters list`",
            setting="slo.availability",
        ),
        Slo(
            name="decision_latency",
            description=f"Signals have their outcome within {settings.latency_ms:g} ms after they were accepted.",
            objective=settings.latency_share,
            operator=">=",
            unit="ratio",
            invariant=False,
            window_s=window_s,
            period_s=period_s,
            owner="runtime",
            runbook="`supervisor status`: before whom do signals wait (`mailbox`)? Then `ark-run trace TRACE_ID`",
            setting="slo.latency_share",
            limit_ms=settings.latency_ms,
        ),
        Slo(
            name="hrm_latency",
            description=f"HRM judges a signal within {settings.hrm_latency_ms:g} ms.",
            objective=settings.hrm_latency_share,
            operator=">=",
            unit="ratio",
            invariant=False,
            window_s=window_s,
            period_s=period_s,
            owner="risk",
            runbook="`supervisor doctor hrm`, then `ark-run trace TRACE_ID` of one that was slow",
            setting="slo.hrm_latency_share",
            limit_ms=settings.hrm_latency_ms,
        ),
        Slo(
            name="audit_completeness",
            description="Every outcome has its row in the ledger, and no two agents disagree about it.",
            objective=1.0,
            operator=">=",
            unit="ratio",
            invariant=True,
            window_s=period_s,
            period_s=period_s,
            owner="audit",
            runbook="`ark-run audit verify`, then `ark-run dead-letters list --all`",
        ),
        Slo(
            name="ethics_drift",
            description="No outcome has an order that no decision approved.",
            objective=0.0,
            operator="==",
            unit="events",
            invariant=True,
            window_s=period_s,
            period_s=period_s,
            owner="risk",
            runbook="`ark-run halt --reason TEXT`, then `ark-run seal verify` and `ark-run explain TRACE_ID`",
        ),
    )


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a period.

    Attributes:
        window: What happened in the period.
        allowed: How many events might have been bad, of those that there were.
        remaining: The share that is left: 1 all of it, 0 none, below 0 when more was spent; None without events.
    """

    window: Window
    allowed: Fraction
    remaining: Fraction | None

    @property
    def spent(self) -> int:
        """How many were."""
        return self.window.bad

    @property
    def exhausted(self) -> bool | None:
        """Whether none is left; None without events."""
        return None if self.remaining is None else self.remaining <= 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a node stands with an objective.

    Attributes:
        slo: Which.
        state: `met`, `violated` or `unknown`.
        value: The share of good events, or the number of bad ones; None where it is unknown.
        window: What happened in the window that state and value are about.
        budget: None for an invariant.
        burn: The burn rate of each window in `WINDOWS`, None where nothing happened; empty for an invariant.
        firing: The burn alerts that fire now.
    """

    slo: Slo
    state: State
    value: float | None
    window: Window
    budget: Budget | None
    burn: dict[str, Fraction | None]
    firing: tuple[BurnAlert, ...]


def judge(slo: Slo, samples: Samples, now: float) -> Standing:
    """How a node stands with an objective.

    Args:
        slo: The objective.
        samples: Its history, `strict` for an invariant.
        now: The present, seconds since the epoch.
    """
    window = samples.window(now - slo.window_s)
    if slo.invariant:
        state: State = "violated" if window.bad else "met" if window.good else "unknown"
        value = None if state == "unknown" else float(window.bad) if slo.unit == "events" else _share(window)
        return Standing(slo, state, value, window, None, {}, ())
    value = _share(window)
    state = "unknown" if value is None else "met" if value >= slo.objective else "violated"
    windows = {name: samples.window(now - seconds) for name, seconds in WINDOWS.items()}
    burn = {name: _burn(each, slo.budget) for name, each in windows.items()}
    firing = tuple(_firing(burn_alerts(slo.period_s), windows, burn))
    return Standing(slo, state, value, window, _budget(slo, samples.window(now - slo.period_s)), burn, firing)


def _share(window: Window) -> float | None:
    return window.good / window.total if window.total else None


def _burn(window: Window, budget: Fraction) -> Fraction | None:
    return Fraction(window.bad, window.total) / budget if window.total else None


def _budget(slo: Slo, window: Window) -> Budget:
    allowed = slo.budget * window.total
    return Budget(window, allowed, 1 - window.bad / allowed if window.total else None)


def _firing(
    alerts: Sequence[BurnAlert], windows: dict[str, Window], burn: dict[str, Fraction | None]
) -> Iterator[BurnAlert]:
    for alert in alerts:
        rates = (burn[alert.long], burn[alert.short])
        if all(rate is not None and rate > alert.factor for rate in rates) and (
            windows[alert.long].bad >= FEWEST_BAD
        ):
            yield alert
