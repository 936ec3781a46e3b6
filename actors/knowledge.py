"""What HRM knows of the system and the market at a moment, as the facts that the Graveyard judges by."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from actors.messages import Case, Market
from actors.register import Register
from actors.ruleset_view import market_type_of
from actors.sessions import CLOSES, in_regular_hours, new_york
from ark.agent import Context
from ark.privacy import finds_personal
from graveyard import Facts, Source
from graveyard.rules import LONGEST_SILENCE_S

__all__ = ["EXECUTOR", "LEDGER", "facts_of", "is_alive", "is_writable", "session_left_s"]

EXECUTOR = "kenny"
"""Who sends orders, and is asked for fills."""
LEDGER = "aletheia"
"""Who writes the audit ledger."""
LEAST_ROOM = 64 << 20
"""Free bytes on the disk below which the ledger is taken for full: journals need room to be written out, too."""


def facts_of(
    case: Case,
    context: Context,
    register: Register,
    *,
    now: float,
    market_now: float,
    market_price: Decimal,
    live: bool | None,
    seal_fault: str | None,
    quarantined: bool,
    session_left_s: float | None,
    person: bool | None,
) -> Facts:
    """Gather the facts for one judgement; the context is asked for them anew each time.

    Args:
        case: The case at hand. Its signal's words count against it only; its market is Kyle's.
        context: Tells of the other processes, of the disk, and of what lies open.
        register: The operator's.
        now: Seconds since the epoch.
        market_now: The time by which the age of a price is counted: `now`, or that of replayed bars.
        market_price: The highest price that is credible now.
        live: Whether orders go to a live broker; None where nobody knows.
        seal_fault: What is wrong with the seal; empty for nothing.
        quarantined: Whether the signal's source was wrong too often.
        session_left_s: Until the exchange closes; None where that says nothing.
        person: A person's verified answer, if there is one.
    """
    signal, market, halt = case.signal, case.market, context.halted()
    source = register.source(signal.source)
    if quarantined and not source.quarantined:
        source = Source(source.name, source.standing, True, source.embargo_until)
    open_to_others = context.privacy_faults()
    seen = _Seen(market, market_now)
    return Facts(
        halted=halt is not None,
        halt_reason=halt or "",
        market_price=market_price,
        now=now,
        live=live,
        seal_fault=seal_fault,
        watchdog_age_s=context.beat_age("watchdog"),
        gateway_age_s=context.beat_age("gateway"),
        ledger_writable=_ledger_writable(context),
        logs_redacted=not open_to_others["log"],
        home_private=not open_to_others["home"],
        credentials_sealed=not open_to_others["credentials"],
        personal=_personal(case),
        hops=len(context.spans),
        sources=(source,),
        restricted=register.restricted,
        no_trade=register.no_trade,
        consents=register.consents,
        person=person,
        client_orders=register.client_orders,
        last_price=seen.price,
        price_age_s=seen.age_s,
        average_volume=seen.average_volume,
        volume_ratio=seen.volume_ratio,
        move=seen.move,
        session_left_s=session_left_s,
    )


class _Seen:
    """What Kyle's bars say, as far as they are young enough to say anything."""

    __slots__ = ("age_s", "average_volume", "move", "price", "volume_ratio")

    def __init__(self, market: Market | None, market_now: float) -> None:
        self.price = self.average_volume = self.volume_ratio = self.move = None
        self.age_s: float | None = None
        if market is None or market.close is None or market.close_at is None:
            return
        self.price = _decimal(market.close)
        # A bar is dated by its beginning; a clock that is a little ahead makes no price a minute old.
        self.age_s = max(0.0, market_now - market.close_at)
        usual = market.facts.get("avg_volume")
        if isinstance(usual, (int, float)):
            self.average_volume = _decimal(float(usual))
        if market.volume_ratio is not None:
            self.volume_ratio = _decimal(market.volume_ratio)
        if market.change_pct is not None:
            self.move = _decimal(market.change_pct)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _ledger_writable(context: Context) -> bool:
    """Whether the ledger would take a row: its process works, and there is room on the disk.

    A row that cannot be written ends that process, so a living one has written its last.
    """
    return LEDGER in context.pipeline and is_writable(context.beat_age(LEDGER), context.free_bytes())


def is_alive(age_s: float | None) -> bool:
    """Whether a process that gave its last sign of life so long ago counts as living."""
    return age_s is not None and age_s <= LONGEST_SILENCE_S


def is_writable(age_s: float | None, free: int | None) -> bool:
    """Whether a ledger takes rows whose process gave its last sign of life so long ago, with so much room."""
    return is_alive(age_s) and free is not None and free >= LEAST_ROOM


def _personal(case: Case) -> str:
    """Which kind of personal data the texts hold that go along with the action."""
    features = case.signal.features
    texts = [case.signal.source] if case.signal.source else []
    catalyst = features.get("catalyst") if features else None
    if isinstance(catalyst, str):
        texts.append(catalyst)
    for text in texts:
        found = finds_personal(text)
        if found:
            return found
    return ""


def session_left_s(symbol: str, now: float, holidays: tuple[dt.date, ...] = ()) -> float | None:
    """Seconds until the exchange closes; None where it is closed, or the symbol has no session.

    Args:
        symbol: What is traded.
        now: Seconds since the epoch.
        holidays: Weekdays without a session.
    """
    if market_type_of(symbol) == "crypto" or not in_regular_hours(now, holidays):
        return None
    there = dt.datetime.fromtimestamp(now, new_york())
    return (dt.datetime.combine(there.date(), CLOSES, there.tzinfo) - there).total_seconds()
