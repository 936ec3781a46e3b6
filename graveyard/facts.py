"""What a judgement is made from: the proposed action, the account, and what the system knows.

All of it is values. A fact that nobody gave is None, and no rule has a default for it: `number` refuses it by
name, and the rule that asked for it denies. Facts that only a live market has are marked so (`Unknown.live`):
on paper, and only there, the rule warns instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

__all__ = [
    "LARGEST",
    "SMALLEST",
    "Account",
    "Action",
    "ClientOrder",
    "Done",
    "Facts",
    "Source",
    "Unknown",
    "WorkingOrder",
    "given",
    "number",
    "show",
    "show_percent",
    "signed",
]

LARGEST = Decimal("1e12")
"""No price, quantity or factor of a real market is larger."""
HUGE = LARGEST * LARGEST
"""No product of two such numbers is larger."""
SMALLEST = Decimal("1e-9")
"""None is smaller, either: it would only serve to hide a large number in a product."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody proposes to do. Prices in the quote currency.

    Attributes:
        kind: The kind of action; only what there are checks for can be approved.
        symbol: What to trade, ASCII capitals.
        side: `buy`, or `sell` to go short.
        entry: `market` or `limit`.
        quantity: Units.
        price: The limit, or the reference price of a market order.
        stop_loss, target: Prices of the protecting legs.
        leverage: What the proposer asks for, times equity.
        position_size_pct: The share of equity that the proposer claims, if he claims one.
        reasons: Why it is proposed: a pattern, notes, a catalyst, the source's name.
        admits: What the proposer says against himself, such as `manipulative_intent`.
        subject: Whose data an action on data concerns; empty for nobody's.
        sensitivity: Of that data: `public`, `internal`, `personal` or `secret`.
        encrypted: Whether that data is encrypted on its way and where it goes.
    """

    kind: str
    symbol: str
    side: str
    entry: str
    quantity: Decimal | None
    price: Decimal | None
    stop_loss: Decimal | None
    target: Decimal | None
    leverage: Decimal | None
    position_size_pct: Decimal | None = None
    reasons: tuple[str, ...] = ()
    admits: tuple[str, ...] = ()
    subject: str = ""
    sensitivity: str = ""
    encrypted: bool | None = None


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order of this account that waits at the broker: an entry, or a target of a position.

    Attributes:
        symbol, side, quantity, price: As it stands at the broker.
        leg: `entry` or `target`.
    """

    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    leg: str = "entry"


@dataclass(frozen=True, slots=True)
class Done:
    """Something that this account did in a symbol a short while ago.

    Attributes:
        what: `order`, `cancel` or `fill`.
        at: When, seconds since the epoch.
        side, quantity, price: Of the order, or of the fill.
    """

    what: str
    at: float
    side: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """The account as the judge's own books have it. Money in the quote currency.

    Attributes:
        equity: Cash and positions at their marks, now.
        day_start_equity: The same at the start of the day.
        exposures: By symbol, the value of positions (longs and shorts added, not netted), working orders
            and reservations; only symbols that have any.
        open_risk: What is lost from here if every open position and reservation ends at its stop.
        realised_today: Gains and losses of trades closed today, and fees.
        unrealised_today: What today's gain or loss has beyond that.
        orders: What waits at the broker.
        recent: What was done in the action's symbol within `WINDOW_S`, oldest first.
        messages: How many orders and cancels went out within `WINDOW_S`, in all symbols.
    """

    equity: Decimal | None
    day_start_equity: Decimal | None
    exposures: Mapping[str, Decimal] | None
    open_risk: Decimal | None
    realised_today: Decimal | None = None
    unrealised_today: Decimal | None = None
    orders: tuple[WorkingOrder, ...] | None = None
    recent: tuple[Done, ...] | None = None
    messages: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the action descends from.

    Attributes:
        name: As the signal names it.
        standing: One of `rules.STANDINGS`, by the operator's register and not by the signal's word.
        quarantined: Whether it was found wrong so often that it is not listened to.
        embargo_until: Until when what it says is not public, seconds since the epoch.
    """

    name: str
    standing: str
    quarantined: bool = False
    embargo_until: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientOrder:
    """An order of a client that is not filled yet.

    Attributes:
        symbol, side, quantity: Of the order.
    """

    symbol: str
    side: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Facts:
    """What the system knows of itself and of the market. None: nobody knows.

    Attributes:
        halted: Whether trading is halted.
        halt_reason: Why, if it is.
        market_price: The highest price of the symbol that is credible now.
        now: Seconds since the epoch.
        live: Whether orders go to a live broker. None counts as live.
        seal_fault: What is wrong with the rule book's seal; empty for nothing.
        watchdog_age_s, gateway_age_s: Seconds since the Watchdog and the gateway gave a sign of life.
        ledger_writable: Whether the audit ledger takes rows.
        logs_redacted: Whether the log masks what must not be in it.
        home_private: Whether what the node keeps is closed to others.
        credentials_sealed: Whether no credential stands in a setting in plain text.
        personal: Which kind of personal data or credential the action's texts hold; empty for none.
        hops: How many agents had the action before.
        sources: Where the action descends from.
        restricted: Symbols that must not be traded because of what is known inside.
        no_trade: Symbols that a person does not want traded.
        consents: Purposes that were consented to and not revoked, as `purpose` or `purpose:subject`.
        person: A person's answer to this very action; None: nobody was asked.
        client_orders: Orders of clients that are not filled yet. Only a live market has them.
        last_price: The newest price that a bar or a quote showed. Only a live market surely has it.
        price_age_s: How old that is.
        average_volume: Units traded in a usual day. Only a live market surely has it.
        volume_ratio: Today's volume over the usual one.
        move: Today's price over the close before, less 1.
        session_left_s: Seconds until the exchange closes; None: it is closed, or has no hours.
    """

    halted: bool | None
    halt_reason: str = ""
    market_price: Decimal | None = None
    now: float = 0.0
    live: bool | None = None
    seal_fault: str | None = None
    watchdog_age_s: float | None = None
    gateway_age_s: float | None = None
    ledger_writable: bool | None = None
    logs_redacted: bool | None = None
    home_private: bool | None = None
    credentials_sealed: bool | None = None
    personal: str | None = None
    hops: int | None = None
    sources: tuple[Source, ...] | None = None
    restricted: frozenset[str] | None = None
    no_trade: frozenset[str] | None = None
    consents: frozenset[str] | None = None
    person: bool | None = None
    client_orders: tuple[ClientOrder, ...] | None = None
    last_price: Decimal | None = None
    price_age_s: float | None = None
    average_volume: Decimal | None = None
    volume_ratio: Decimal | None = None
    move: Decimal | None = None
    session_left_s: float | None = None


class Unknown(Exception):
    """A fact that a rule needs is missing, or cannot be what it claims to be; the message names it.

    Args:
        message: What is missing.
        live: Whether it is a fact that only a live market has: missing on paper, it is worth a warning.
    """

    def __init__(self, message: str, *, live: bool = False) -> None:
        super().__init__(message)
        self.live = live


def given(name: str, value: bool | None) -> bool:
    """A fact that is true or false, and nothing else.

    Raises:
        Unknown: It is missing, or is no truth value.
    """
    if value is True or value is False:
        return value
    raise Unknown(f"`{name}` is missing" if value is None else f"`{name}` is {value!r}, neither true nor false")


def number(name: str, value: object, *, zero: bool = False) -> Decimal:
    """A fact as a number above 0 that a real market can have.

    Args:
        name: The fact's name, for the message.
        value: What was given for it.
        zero: Whether 0 will do.

    Raises:
        Unknown: It is missing, no `Decimal`, NaN, infinite, negative, 0, or beyond `SMALLEST` and `LARGEST`.
    """
    if type(value) is not Decimal:
        raise Unknown(f"`{name}` is missing" if value is None else f"`{name}` is no decimal number")
    if not value.is_finite():
        raise Unknown(f"`{name}` is {value}, not a finite number")
    if SMALLEST <= value <= LARGEST or (zero and value == ZERO):
        return value
    if value <= 0:
        raise Unknown(f"`{name}` must be above 0, is {show(value)}")
    raise Unknown(f"`{name}` is {value:.3E}, beyond {SMALLEST:f} to {LARGEST:f}")


def signed(name: str, value: object) -> Decimal:
    """A fact as a number of either sign that a real market can have.

    Raises:
        Unknown: It is missing, no `Decimal`, NaN, infinite, or beyond `LARGEST`.
    """
    if type(value) is not Decimal:
        raise Unknown(f"`{name}` is missing" if value is None else f"`{name}` is no decimal number")
    if not value.is_finite():
        raise Unknown(f"`{name}` is not finite")
    if not -LARGEST <= value <= LARGEST:
        raise Unknown(f"`{name}` is {value:.3E}, beyond {LARGEST:f} either way")
    return value


def show(value: Decimal) -> str:
    """A number for people: at most four decimals, no trailing zeros; a huge one with an exponent."""
    if not value.is_finite():
        return str(value)
    if not -HUGE < value < HUGE:
        return f"{value:.4E}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


def show_percent(value: Decimal) -> str:
    """A fraction for people, as a percentage."""
    return f"{show(value * 100)} %"
