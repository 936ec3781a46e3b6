"""Signals as the front door takes them: fields, bounds, and errors that name the field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ark.traceparent import LONGEST_TRACEPARENT, LONGEST_TRACESTATE

__all__ = ["ACTIONS", "ArrivingSignal", "Bar", "Signal"]

ACTIONS = ("trade", "observe")
"""The actions that the door lets in. `observe` shows a bar to the pipeline and asks for no trade by itself."""

SYMBOL = r"^[A-Z0-9][A-Z0-9./:^=_-]{0,31}\Z"
LARGEST = 1e12
"""No price, quantity or factor of a real market is larger; beyond it arithmetic loses whole units."""

LATEST = 253_402_300_799.0
"""The last second of the year 9999; no calendar goes beyond it."""

Positive = Annotated[float, Meta(gt=0, le=LARGEST)]
Moment = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
"""Seconds since the epoch; with bounds, since bounds are what refuses NaN and the infinities."""
TRACE_ID = r"^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?\Z"


class Bar(msgspec.Struct, frozen=True):
    """One bar of a market, as it stands under `features.bar` of a signal.

    Attributes:
        ts: When the bar began, seconds since the epoch.
        open, high, low, close: Prices in the quote currency.
        volume: Units traded.
    """

    ts: Moment
    open: Positive
    high: Positive
    low: Positive
    close: Positive
    volume: Annotated[float, Meta(ge=0, le=1e15)]

    def __post_init__(self) -> None:
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError("`high` and `low` must enclose `open` and `close`")


class Signal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wish to trade, or a bar to look at, from outside.

    Attributes:
        symbol: 1 to 32 of A-Z, 0-9 and `. / : ^ = _ -`.
        direction: `long` or `short`.
        price: What the sender sees the market at, in the quote currency.
        trace_id: A UUID; the door makes one if it is absent.
        action: One of `ACTIONS`.
        quantity: Units to trade.
        position_size_pct: Share of the equity to put in, 0.05 for 5 %, instead of `quantity`. Where both are named
            they must agree.
        leverage: Times equity.
        stop_loss, target: Prices.
        risk_reward_ratio: The sender's own figure; it is recomputed, never believed.
        source: Where the signal comes from.
        ts: When it was made, seconds since the epoch; the door sets the time of acceptance if it is absent.
        features: Facts about the market, such as `bar`, `short_interest` or `catalyst`.
        metadata: Whatever the sender wants to find again; ARK does not read it.
        traceparent: The span of the sender's own trace that caused the signal, by the W3C's Trace Context. It comes
            back with the outcome, and is the parent of the spans that are exported (`traces.otlp_endpoint`).
        tracestate: What belongs to it, by the same specification; only beside a `traceparent`.
    """

    symbol: str
    direction: Literal["long", "short"]
    price: float
    trace_id: str = ""
    action: Literal["trade", "observe"] = "trade"
    quantity: float | None = None
    position_size_pct: float | None = None
    leverage: float = 1.0
    stop_loss: float | None = None
    target: float | None = None
    risk_reward_ratio: float | None = None
    source: str = ""
    ts: float | None = None
    features: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    traceparent: str = ""
    tracestate: str = ""


class ArrivingSignal(Signal, frozen=True, omit_defaults=True):
    """A signal at the door, where every bound is checked; behind it, nobody needs to check again.

    What a bound cannot say of `traceparent`, `tracestate`, `features` and `metadata`, `ark.protocol` checks.
    """

    symbol: Annotated[str, Meta(pattern=SYMBOL)]
    direction: Literal["long", "short"]
    price: Positive
    quantity: Positive | None = None
    position_size_pct: Positive | None = None
    leverage: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    stop_loss: Positive | None = None
    target: Positive | None = None
    risk_reward_ratio: Positive | None = None
    source: Annotated[str, Meta(max_length=128)] = ""
    ts: Annotated[float, Meta(ge=0, le=LATEST)] | None = None
    trace_id: Annotated[str, Meta(pattern=TRACE_ID)] = ""
    traceparent: Annotated[str, Meta(max_length=LONGEST_TRACEPARENT)] = ""
    tracestate: Annotated[str, Meta(max_length=LONGEST_TRACESTATE)] = ""
