"""The one message that grows as it passes from hand to hand: a `Case`.

Kyle adds the market, Joey the setup, HRM the decision, Kenny the execution; Aletheia turns it into an outcome.
One type, instead of one for each hop, lets an agent of your own stand anywhere between Kyle and Aletheia.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ark.signal import Bar, Signal

__all__ = [
    "Approval",
    "Case",
    "CloseWanted",
    "Decision",
    "Execution",
    "Fill",
    "FillsHead",
    "FillsWanted",
    "Market",
    "Outcome",
    "Plan",
    "Setup",
    "Violation",
]


class Market(msgspec.Struct, frozen=True, array_like=True):
    """What Kyle knows of the symbol from real bars; None where there are too few of them.

    Attributes:
        price: The newest price: the bar's close, or the signal's price where there is no bar.
        bars: How many bars of the symbol stand behind these figures.
        bar: The bar that came with this signal, if one did and it is newer than those before.
        volume_ratio: The bar's volume over the mean of the 20 before it.
        rsi: Relative strength index over 14 bars, 0 to 100.
        macd, macd_signal: Moving average convergence divergence (12, 26, 9), in price units.
        atr: Average true range over 14 bars, in price units.
        gap_pct, change_pct: Open and close against the close before, as a fraction.
        facts: Further figures for patterns, by the names of the pattern book.
        close: The close of the newest bar that is known.
        close_at: When that bar began, seconds since the epoch.
    """

    price: float
    bars: int = 0
    bar: Bar | None = None
    volume_ratio: float | None = None
    rsi: float | None = None
    macd: float | None = None
    macd_signal: float | None = None
    atr: float | None = None
    gap_pct: float | None = None
    change_pct: float | None = None
    facts: dict[str, Any] = {}
    close: float | None = None
    close_at: float | None = None


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """Joey's view: which pattern, how sure, and what he would do.

    Attributes:
        direction: `long` or `short`.
        pattern: The pattern's id in the pattern book, or None.
        confidence: 0 to 1; 0 without a pattern.
        scores: Points by dimension and `weighted_total`, each 0 to 1.
        entry: `market` or `limit`.
        entry_price: The price to enter at: the limit, or the market's price.
        stop_loss, target: Prices; None where the signal named none and no pattern gave one.
        quantity: Units, where the signal named them.
        position_size_pct: Share of equity, where it did not.
        leverage: Times equity.
        notes: What a person should know about the plan.
    """

    direction: Literal["long", "short"]
    pattern: str | None
    confidence: float
    scores: dict[str, float]
    entry: Literal["market", "limit"]
    entry_price: float
    stop_loss: float | None
    target: float | None
    quantity: float | None
    position_size_pct: float | None
    leverage: float
    notes: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """A bracket order to the last digit, as HRM approved it and Kenny sends it.

    Attributes:
        trace_id: The signal it is for.
        symbol: What to trade.
        side: `buy` or `sell` (short).
        quantity: Units.
        entry: `market` or `limit`.
        price: The limit, or the reference price of a market order.
        stop_loss, target: Prices of the two protecting legs.
        good_until: Until when the entry may wait for its price, seconds since the epoch.
    """

    trace_id: str
    symbol: str
    side: Literal["buy", "sell"]
    quantity: Decimal
    entry: Literal["market", "limit"]
    price: Decimal
    stop_loss: Decimal
    target: Decimal | None
    good_until: float = math.inf


class Approval(msgspec.Struct, frozen=True, array_like=True):
    """HRM's tag over the exact bytes of a plan; see `actors.approval`.

    Attributes:
        plan: The plan, msgpack.
        epoch: The epoch in which the tag was made.
        expires: Until when it holds, seconds since the epoch.
        tag: HMAC-SHA256 over all of the above and the trace id.
    """

    plan: bytes
    epoch: int
    expires: float
    tag: bytes


class Violation(msgspec.Struct, frozen=True):
    """A rule that spoke against an action."""

    rule: str
    category: str
    severity: str
    message: str


class Decision(msgspec.Struct, frozen=True):
    """HRM's judgement.

    Attributes:
        approved: Whether the order may go.
        violations: Every rule that denies, not only the first.
        warnings: Every rule that only warns.
        rules_checked: Names of all rules that were judged.
        ruleset: SHA-256 of the Graveyard's rules, with the limits that were judged by.
        decided_at: Seconds since the epoch.
        pattern, confidence: Joey's, as HRM saw them.
        zone: `approve`, `hold` (a person is asked), or `deny`.
        level: Which level of the hierarchy decided: `graveyard`, `ruleset`, `portfolio`, `quality`, `synthesis`,
            or `person`.
        score: Of the weighted synthesis, 0 to 1; None where an earlier level had already denied.
        levels: The synthesis's levels that could be judged, each 0 to 1.
        ruling: A person's answer, as a map of `approved`, `by`, `reason` and `at`; None where nobody was asked.
        number: HRM's number of the judgement, under which it keeps what it judged by; 0: it kept nothing.
        seal: SHA-256 of the rule book and its code, as it was last verified.
        operator_rules: SHA-256 of the operator's ruleset that was judged by.
    """

    approved: bool
    violations: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    rules_checked: tuple[str, ...]
    ruleset: str
    decided_at: float
    pattern: str | None = None
    confidence: float = 0.0
    zone: Literal["approve", "hold", "deny"] = "deny"
    level: str = ""
    score: float | None = None
    levels: dict[str, float] = {}
    ruling: dict[str, Any] | None = None
    number: int = 0
    seal: str = ""
    operator_rules: str = ""


class Fill(msgspec.Struct, frozen=True, tag="fill"):
    """A part of an order that was executed: Kenny's notice to HRM.

    Attributes:
        number: Rising by one over all fills of this Kenny; a gap means that one was lost.
        trace_id: The signal whose order it belongs to.
        symbol: What was traded.
        side: `buy` or `sell`.
        leg: `entry`; `stop`, `target` or `close` for what ended the position; `cancel` with quantity 0 when an
            entry ended unfilled.
        quantity: Units.
        price: In the quote currency.
        fee: In the quote currency.
        at: Seconds since the epoch.
        sent: Whether the broker ever had the order; False for a `cancel` of what never went out.
    """

    number: int
    trace_id: str
    symbol: str
    side: Literal["buy", "sell"]
    leg: Literal["entry", "stop", "target", "close", "cancel"]
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: float
    sent: bool = True


class FillsHead(msgspec.Struct, frozen=True, tag="head"):
    """Kenny's notice to HRM after a start: the number of the newest fill there is.

    Attributes:
        number: Of the newest fill.
        live: Whether his orders go to a live broker.
    """

    number: int
    live: bool = True


class FillsWanted(msgspec.Struct, frozen=True, tag="wanted"):
    """HRM's notice to Kenny: send every fill after this number."""

    after: int


class CloseWanted(msgspec.Struct, frozen=True, tag="close"):
    """HRM's notice to Kenny: end what came of this signal, at the market. Repeated until the fill is heard of."""

    trace_id: str
    symbol: str
    reason: str


class Execution(msgspec.Struct, frozen=True):
    """What became of an approved plan at the broker.

    Attributes:
        status: `filled`, `working`, `denied` (by the rate limit or by the broker), `expired`, or `failed`.
        code: A stable code for anything but filled and working, such as `RATE_LIMIT_EXCEEDED`.
        message: The same in words.
        client_order_id: Derived from the trace id.
        plan_sha256: Digest of the plan bytes that were acted on.
        order: The order as the broker knows it (symbol, side, quantity, prices, fills, fees), or None.
    """

    status: Literal["filled", "working", "denied", "expired", "failed"]
    code: str = ""
    message: str = ""
    client_order_id: str = ""
    plan_sha256: str = ""
    order: dict[str, Any] | None = None


class Case(msgspec.Struct, frozen=True, array_like=True):
    """A signal with all that the agents have added to it so far.

    Attributes:
        signal: As it was accepted; in bar replay Kyle may have turned `observe` into `trade`.
        refusal: Kyle's word against the signal, as status (`expired` or `denied`) and reason; nobody acts on it
            then.
        market: Kyle's.
        setup: Joey's; None means that there is nothing to do.
        decision: HRM's.
        approval: HRM's, only with an approving decision.
        execution: Kenny's.
    """

    signal: Signal
    refusal: tuple[str, str] | None = None
    market: Market | None = None
    setup: Setup | None = None
    decision: Decision | None = None
    approval: Approval | None = None
    execution: Execution | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How a signal ended: what the front door answers, the topic `outcome.<symbol>` carries and the ledger keeps.

    Attributes:
        trace_id, symbol: The signal's.
        status: `executed`, `denied`, `no_setup`, `expired`, `failed`, or `held`.
        decision: HRM's, or None where it never came to one.
        order: The broker's order, or None.
        execution: Kenny's word on it, or None.
        spans: Each agent's stay, as maps of `agent`, `version`, `in_ns`, `out_ns`.
        attempts: How often the gateway sent the signal.
        audit: `complete` (every agent saw it, in order) and `disagreements` between the agents' claims.
        reason: For anything but `executed`, in one line.
        ledger: `seq`, `hash` and `prev` of the ledger's row.
    """

    trace_id: str
    symbol: str
    status: Literal["executed", "denied", "no_setup", "expired", "failed", "held"]
    decision: Decision | None
    order: dict[str, Any] | None
    execution: Execution | None
    spans: tuple[dict[str, Any], ...]
    attempts: int
    audit: dict[str, Any]
    reason: str
    ledger: dict[str, Any]
