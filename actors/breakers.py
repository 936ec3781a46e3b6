"""Circuit breakers as a pure state machine: what happened, in; the new state and what is to be done, out.

| breaker | trips | then |
|---|---|---|
| CB-001 | the day's profit and loss at or below -2 % of the equity | no new entries for 1,440 minutes |
| CB-002 | three losses in a row | sizes times 0.5, until a trade wins |
| CB-003 | the market at or below -3 % on the day | longs are closed, and no new ones for 1,440 minutes |

What it keeps to:

- A suspension only ever ends by its time: nothing that is reported shortens it, not even a gain.
- A breaker that holds does not trip again: a day that stays bad for hours does not move the end of its
  suspension on and on. CB-001 that has run out trips again if the day is still that bad. CB-003 closes longs
  once a day.
- After CB-002, only a win brings full sizes back. A trade that ends at exactly what it began with is neither a
  win nor a loss. Further losses do not halve again, and no state makes a size larger than it was asked for.
- A figure that is no finite number trips: who does not know what was lost must not go on.

The state is a value that msgspec can turn into JSON or msgpack, for its owner to keep in a table.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "DAY_LOSS",
    "LOSING_RUN",
    "MARKET",
    "BreakerAction",
    "BreakerSettings",
    "Breakers",
    "DayLoss",
    "LosingRun",
    "MarketFall",
    "after_close",
    "after_day_pnl",
    "after_market_move",
    "longs_barred_until",
    "size_factor",
    "suspended_until",
]

ZERO, ONE = Decimal(0), Decimal(1)
LONGEST_MIN = 10_080
"""No breaker holds for longer than a week, in minutes: longer is what a halt is for."""
Minutes = Annotated[int, Meta(ge=0, le=LONGEST_MIN)]

DAY_LOSS, LOSING_RUN, MARKET = "CB-001", "CB-002", "CB-003"


class DayLoss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CB-001.

    Attributes:
        threshold: The loss of the day that trips it, as a fraction of the day's first equity. May only fall.
        action: `suspend`: no new entries.
        minutes: For how long. May only rise.
    """

    threshold: Decimal = Decimal("0.02")
    action: Literal["suspend"] = "suspend"
    minutes: Minutes = 1440


class LosingRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CB-002.

    Attributes:
        threshold: How many losses in a row trip it. May only fall.
        action: `reduce`: sizes times `factor` until a trade wins. `suspend`: the same, and no new entries for
            `minutes`.
        factor: What sizes are multiplied by. May only fall.
        minutes: How long sizes stay reduced at least, even after a win. May only rise.
    """

    threshold: int = 3
    action: Literal["reduce", "suspend"] = "reduce"
    factor: Decimal = Decimal("0.5")
    minutes: Minutes = 0


class MarketFall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CB-003.

    Attributes:
        threshold: The fall of the market on the day that trips it, as a fraction. May only fall.
        action: `close_longs`: longs are closed, and no new ones opened. `suspend`: the same, and no new shorts
            either.
        minutes: For how long no new longs are opened, or with `suspend` nothing at all. May only rise. The
            original names no time; it is that of CB-001.
    """

    threshold: float = 0.03
    action: Literal["close_longs", "suspend"] = "close_longs"
    minutes: Minutes = 1440


class BreakerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The three breakers; what is set may only be stricter than the original's, which are the defaults.

    Attributes:
        day_loss: CB-001.
        losing_run: CB-002.
        market: CB-003.
    """

    day_loss: DayLoss = DayLoss()
    losing_run: LosingRun = LosingRun()
    market: MarketFall = MarketFall()


class Breakers(msgspec.Struct, frozen=True):
    """What the breakers hold. Times in seconds since the epoch; 0 where nothing holds.

    Attributes:
        day_loss_until: No new entries until then, by CB-001.
        losing_run_until: No new entries until then, by CB-002.
        market_until: No new entries until then, by CB-003.
        longs_until: No new longs until then, by CB-003.
        losses_in_a_row: Closed trades that lost, since the last one that won.
        size_factor: What sizes were last reduced to; 1 where they were not. `size_factor()` says what holds.
        reduced_until: How long that holds at least.
        won: Whether a trade has won since sizes were reduced.
        market_closed_on: The day on which longs were last closed, as the caller names days.
    """

    day_loss_until: float = 0.0
    losing_run_until: float = 0.0
    market_until: float = 0.0
    longs_until: float = 0.0
    losses_in_a_row: int = 0
    size_factor: Decimal = ONE
    reduced_until: float = 0.0
    won: bool = True
    market_closed_on: str = ""


class BreakerAction(msgspec.Struct, frozen=True):
    """What a breaker that tripped asks for, once.

    Attributes:
        kind: `suspend` new entries, `reduce` sizes, or `close_longs`.
        breaker: `CB-001`, `CB-002` or `CB-003`.
        until: Until when it holds at least, seconds since the epoch.
        reason: Why, with the numbers.
    """

    kind: Literal["suspend", "reduce", "close_longs"]
    breaker: str
    until: float
    reason: str


Step = tuple[Breakers, tuple[BreakerAction, ...]]
"""The new state, and what is to be done."""


def suspended_until(state: Breakers, now: float) -> tuple[float, str] | None:
    """Until when no new entry may be made, and which breaker holds longest; None where none does."""
    if now >= state.day_loss_until and now >= state.losing_run_until and now >= state.market_until:
        return None
    return max((state.day_loss_until, DAY_LOSS), (state.losing_run_until, LOSING_RUN), (state.market_until, MARKET))


def longs_barred_until(state: Breakers, now: float) -> float | None:
    """Until when no new long may be opened because the market fell; None where they may."""
    return state.longs_until if now < state.longs_until else None


def size_factor(state: Breakers, now: float) -> Decimal:
    """What sizes are multiplied by: above 0, at most 1."""
    if state.won and now >= state.reduced_until:
        return ONE
    return min(state.size_factor, ONE)


def after_close(state: Breakers, settings: BreakerSettings, profit: Decimal, now: float) -> Step:
    """A trade was closed.

    Args:
        state: As it was.
        settings: The breakers'.
        profit: What the whole trade brought, after fees, in the quote currency; negative for a loss. Once for
            a trade, not for each of its parts.
        now: Seconds since the epoch.
    """
    if profit.is_finite() and profit >= ZERO:
        if profit == ZERO:
            return state, ()
        # Not yet over where sizes stay reduced for a time: that is remembered by `won`.
        return msgspec.structs.replace(state, losses_in_a_row=0, won=True), ()
    run = settings.losing_run
    losses = state.losses_in_a_row + 1
    if losses < run.threshold:
        return msgspec.structs.replace(state, losses_in_a_row=losses), ()
    before = size_factor(state, now)
    until = now + run.minutes * 60
    new = msgspec.structs.replace(
        state,
        losses_in_a_row=losses,
        size_factor=min(before, run.factor),
        reduced_until=max(state.reduced_until, until),
        won=False,
    )
    actions: list[BreakerAction] = []
    reason = f"{losses} losses in a row"
    if run.factor < before:
        actions.append(
            BreakerAction("reduce", LOSING_RUN, new.reduced_until, f"{reason}: sizes times {run.factor}")
        )
    if run.action == "suspend" and until > now >= state.losing_run_until:
        new = msgspec.structs.replace(new, losing_run_until=until)
        actions.append(BreakerAction("suspend", LOSING_RUN, until, reason))
    return new, tuple(actions)


def after_day_pnl(state: Breakers, settings: BreakerSettings, share: Decimal, now: float) -> Step:
    """The day's profit and loss was looked at.

    Args:
        state: As it was.
        settings: The breakers'.
        share: Realised and unrealised since the day began, as a fraction of its first equity; negative for a
            loss.
        now: Seconds since the epoch.
    """
    rule = settings.day_loss
    if (share.is_finite() and share > -rule.threshold) or now < state.day_loss_until:
        return state, ()
    until = now + rule.minutes * 60
    reason = f"the day's profit and loss is {_percent(share)}, at or below {_percent(-rule.threshold)}"
    return (
        msgspec.structs.replace(state, day_loss_until=until),
        (BreakerAction("suspend", DAY_LOSS, until, reason),),
    )


def after_market_move(state: Breakers, settings: BreakerSettings, move: float, day: str, now: float) -> Step:
    """The market was looked at.

    Args:
        state: As it was.
        settings: The breakers'.
        move: The market's move since its close of the day before, as a fraction; negative for a fall.
        day: The market's day, such as `2026-03-02`; longs are closed once on each.
        now: Seconds since the epoch.
    """
    rule = settings.market
    if math.isfinite(move) and move > -rule.threshold:
        return state, ()
    reason = f"the market is at {_percent(move)} on the day, at or below {_percent(-rule.threshold)}"
    until = now + rule.minutes * 60
    new = state
    actions: list[BreakerAction] = []
    if now >= state.longs_until or day != state.market_closed_on:
        new = msgspec.structs.replace(new, longs_until=max(until, state.longs_until), market_closed_on=day)
    if day != state.market_closed_on:
        actions.append(BreakerAction("close_longs", MARKET, new.longs_until, reason))
    if rule.action == "suspend" and now >= state.market_until:
        new = msgspec.structs.replace(new, market_until=until)
        actions.append(BreakerAction("suspend", MARKET, until, reason))
    return new, tuple(actions)


def _percent(value: Decimal | float) -> str:
    if isinstance(value, Decimal) and not value.is_finite():
        return str(value)
    return f"{float(value) * 100:.6g} %"
