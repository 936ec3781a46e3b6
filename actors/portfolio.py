"""HRM's own view of the account: what is held, what is promised, and what it is worth.

A deterministic state with transitions and no I/O: it reads no clock and no file. Everything that counts money
is `Decimal`, in the quote currency.

How it counts:

- A *reservation* stands for an approved plan that is not filled yet. A fill of the entry turns as much of it
  into a lot; `cancel` or `release` ends the rest. Time does not: an order may be working long after its
  approval expired, so only Kenny, who knows the broker, can say that nothing will come of it.
- A *lot* is what came of one signal: a signed quantity, negative for a short. Fills add to it with their
  sign, so the sum over lots is the broker's position, in whatever order the fills of different signals come.
- Lots of one symbol are added, not netted, where exposure counts: each has its own stop and target.
- What was ordered, cancelled and filled within the last minute is kept for the rules that look for patterns in it.
- A *mark* is the newest price that a bar or a fill showed. A price that only a signal names is a claim of the
  proposer, and moves no equity.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from actors.messages import Fill
from graveyard import Account, Done, WorkingOrder
from graveyard.rules import WINDOW_S

__all__ = ["Lot", "Mark", "Origin", "Portfolio", "Reservation", "Totals", "day_of", "week_of"]

ZERO = Decimal(0)
Side = Literal["buy", "sell"]


def day_of(now: float) -> int:
    """The number of the UTC day, counted from 1970-01-01."""
    return int(now // 86400)


def week_of(day: int) -> int:
    """The number of a day's week; weeks begin on Monday, and 1970-01-01 was a Thursday."""
    return (day + 3) // 7


class Origin(msgspec.Struct, frozen=True):
    """By what else than its symbol the signal that opened something may have been shared out in a rollout.

    Attributes:
        source: Its source.
        band: Its band of notional; see `ark.routing.band_of`.
    """

    source: str
    band: str


class Reservation(msgspec.Struct, frozen=True):
    """What is still promised to an approved plan.

    Attributes:
        trace_id: The plan's signal.
        symbol: What it trades.
        side: `buy` or `sell` (short).
        quantity: Units not filled yet.
        price: What a unit counts as exposure.
        stop: The plan's stop.
        unit_risk: What a unit loses if the plan ends at its stop.
        entry_price: Where the entry waits at the broker, or is expected to be filled.
        target: The plan's target.
        origin: The signal's; None where an earlier version did not keep it.
    """

    trace_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    stop: Decimal
    unit_risk: Decimal
    entry_price: Decimal = ZERO
    target: Decimal | None = None
    origin: Origin | None = None

    @property
    def value(self) -> Decimal:
        """Exposure that is promised."""
        return self.quantity * self.price

    @property
    def risk(self) -> Decimal:
        """What is lost if all of it is filled and ends at the stop."""
        return self.quantity * self.unit_risk


class Lot(msgspec.Struct, frozen=True):
    """What is held because of one signal.

    Attributes:
        trace_id: The signal; empty for what was traded at the broker without ARK.
        symbol: What is held.
        quantity: Units, negative for a short.
        cost: Quantity times the mean price of the entry, with the quantity's sign.
        stop: Where its stop lies; 0 for a long and twice the price for a short that has none, so that all of
            it counts as at risk.
        target: Where its gain is taken, if anywhere.
        gained: What parts of it that were closed have brought, less all fees so far.
        origin: The signal's; None where it is not known.
    """

    trace_id: str
    symbol: str
    quantity: Decimal
    cost: Decimal
    stop: Decimal
    target: Decimal | None = None
    gained: Decimal = ZERO
    origin: Origin | None = None

    def risk(self, mark: Decimal) -> Decimal:
        """What is lost from the mark to the stop; nothing more once the mark is through it."""
        return max(self.quantity * (mark - self.stop), ZERO)


class Mark(msgspec.Struct, frozen=True):
    """The newest known price of a symbol that is in the books, and when it was seen."""

    price: Decimal
    at: float


class Totals(msgspec.Struct, frozen=True):
    """The account without its parts, as it is kept.

    Attributes:
        cash: Money, after everything that was bought, sold and paid in fees.
        day: The UTC day, counted from 1970-01-01.
        day_start_equity: Equity when that day began for this account.
        realised_today: Gains and losses of trades closed that day, and fees.
        week_start_equity: Equity when the day's week began for this account.
    """

    cash: Decimal
    day: int
    day_start_equity: Decimal
    realised_today: Decimal = ZERO
    week_start_equity: Decimal = ZERO


class _Book:
    """One symbol's lots and reservations, with running sums."""

    # fmt: off
    __slots__ = ("ceiling", "floor", "gross", "lots", "mark", "net", "orders",
                 "reservations", "reserved", "reserved_risk", "stops")
    # fmt: on

    def __init__(self) -> None:
        self.lots: dict[str, Lot] = {}
        self.reservations: dict[str, Reservation] = {}
        self.mark: Mark | None = None
        self.net = ZERO
        self.gross = ZERO
        self.stops = ZERO
        """Sum of quantity times stop, signed: net times mark minus it is the risk while no stop is passed."""
        self.floor: Decimal | None = None
        """The highest stop of a long."""
        self.ceiling: Decimal | None = None
        """The lowest stop of a short."""
        self.reserved = ZERO
        self.reserved_risk = ZERO
        self.orders: tuple[WorkingOrder, ...] | None = None
        """What waits at the broker, put together when it is asked for."""

    def put_lot(self, trace_id: str, lot: Lot | None) -> None:
        self.orders = None
        old = self.lots.pop(trace_id, None)
        if old is not None:
            self.net -= old.quantity
            self.gross -= abs(old.quantity)
            self.stops -= old.quantity * old.stop
        if lot is not None:
            self.lots[trace_id] = lot
            self.net += lot.quantity
            self.gross += abs(lot.quantity)
            self.stops += lot.quantity * lot.stop
        if old is not None and old.stop in (self.floor, self.ceiling):
            self.floor = max((each.stop for each in self.lots.values() if each.quantity > 0), default=None)
            self.ceiling = min((each.stop for each in self.lots.values() if each.quantity < 0), default=None)
        elif lot is not None and lot.quantity > 0:
            self.floor = lot.stop if self.floor is None else max(self.floor, lot.stop)
        elif lot is not None:
            self.ceiling = lot.stop if self.ceiling is None else min(self.ceiling, lot.stop)

    def put_reservation(self, trace_id: str, reservation: Reservation | None) -> None:
        self.orders = None
        old = self.reservations.pop(trace_id, None)
        if old is not None:
            self.reserved -= old.value
            self.reserved_risk -= old.risk
        if reservation is not None:
            self.reservations[trace_id] = reservation
            self.reserved += reservation.value
            self.reserved_risk += reservation.risk

    def waiting(self) -> tuple[WorkingOrder, ...]:
        if self.orders is None:
            entries = [
                WorkingOrder(each.symbol, each.side, each.quantity, each.entry_price)
                for each in self.reservations.values()
            ]
            targets = [
                WorkingOrder(
                    lot.symbol, "sell" if lot.quantity > 0 else "buy", abs(lot.quantity), lot.target, "target"
                )
                for lot in self.lots.values()
                if lot.target is not None
            ]
            self.orders = (*entries, *targets)
        return self.orders

    def open_risk(self) -> Decimal:
        if self.mark is None:
            return self.reserved_risk
        price = self.mark.price
        if (self.floor is None or price >= self.floor) and (self.ceiling is None or price <= self.ceiling):
            return self.net * price - self.stops + self.reserved_risk
        return sum((lot.risk(price) for lot in self.lots.values()), self.reserved_risk)


class Portfolio:
    """The account's books.

    Args:
        totals: Where the account stands.
        lots, reservations, marks: Its parts; marks by symbol.
        recent: What was done lately, with its symbol, oldest first.
    """

    def __init__(
        self,
        totals: Totals,
        lots: Iterable[Lot] = (),
        reservations: Iterable[Reservation] = (),
        marks: Iterable[tuple[str, Mark]] = (),
        recent: Iterable[tuple[str, Done]] = (),
    ) -> None:
        self.totals = totals
        self._core: tuple[Decimal, dict[str, Decimal], Decimal] | None = None
        self._recent: dict[str, deque[Done]] = {}
        self._messages: deque[float] = deque()
        for symbol, done in recent:
            self.note(symbol, done)
        self._books: dict[str, _Book] = {}
        self._symbols: dict[str, str] = {}
        for lot in lots:
            self._book(lot.symbol).put_lot(lot.trace_id, lot)
        for reservation in reservations:
            self._book(reservation.symbol).put_reservation(reservation.trace_id, reservation)
            self._symbols[reservation.trace_id] = reservation.symbol
        for symbol, mark in marks:
            if symbol in self._books:
                self._books[symbol].mark = mark
        for book in self._books.values():
            if book.lots and book.mark is None:
                lot = next(iter(book.lots.values()))
                book.mark = Mark(lot.cost / lot.quantity, 0.0)

    @classmethod
    def opened(cls, equity: Decimal, now: float) -> Portfolio:
        """A new account with nothing but cash."""
        return cls(Totals(equity, day_of(now), equity, ZERO, equity))

    def _book(self, symbol: str) -> _Book:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = _Book()
        return book

    def _changed(self, symbol: str) -> _Book:
        """The book of a symbol, made if there is none, and about to change."""
        self._core = None
        return self._book(symbol)

    def _drop_if_empty(self, symbol: str, book: _Book) -> None:
        if not book.lots and not book.reservations:
            self._books.pop(symbol, None)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with a lot or a reservation."""
        return tuple(self._books)

    @property
    def lots(self) -> tuple[Lot, ...]:
        """All lots."""
        return tuple(lot for book in self._books.values() for lot in book.lots.values())

    @property
    def reservations(self) -> dict[str, Reservation]:
        """All reservations by trace id."""
        return {trace: promise for book in self._books.values() for trace, promise in book.reservations.items()}

    @property
    def equity(self) -> Decimal:
        """Cash, and every lot at its mark."""
        return self._counted()[0]

    @property
    def exposure(self) -> Decimal:
        """Every lot at its mark, whichever side it is on, and everything that is promised."""
        return sum(self._counted()[1].values(), ZERO)

    @property
    def edition(self) -> object:
        """Another object after each change, and the same one as long as nothing has changed."""
        return self._counted()

    @property
    def unrealised_today(self) -> Decimal:
        """What the day's gain or loss has beyond the realised one."""
        return self.equity - self.totals.day_start_equity - self.totals.realised_today

    def lot(self, symbol: str, trace_id: str) -> Lot | None:
        """The lot of a signal, if it has one."""
        book = self._books.get(symbol)
        return book.lots.get(trace_id) if book is not None else None

    def reservation(self, trace_id: str) -> Reservation | None:
        """The reservation of a signal, if it has one."""
        symbol = self._symbols.get(trace_id)
        return self._books[symbol].reservations[trace_id] if symbol is not None else None

    def mark_of(self, symbol: str) -> Mark | None:
        """The mark of a symbol that is in the books."""
        book = self._books.get(symbol)
        return book.mark if book is not None else None

    def account(self, symbol: str, now: float) -> Account:
        """The account as the Graveyard judges it.

        Args:
            symbol: Whose orders, and whose last minute, are wanted.
            now: Seconds since the epoch.
        """
        equity, exposures, risk = self._counted()
        totals, book = self.totals, self._books.get(symbol)
        return Account(
            equity,
            totals.day_start_equity,
            exposures,
            risk,
            totals.realised_today,
            equity - totals.day_start_equity - totals.realised_today,
            () if book is None else book.waiting(),
            self._lately(symbol, now),
            self._count_messages(now),
        )

    def _lately(self, symbol: str, now: float) -> tuple[Done, ...]:
        recent = self._recent.get(symbol)
        if recent is None:
            return ()
        while recent and recent[0].at < now - WINDOW_S:
            recent.popleft()
        if not recent:
            del self._recent[symbol]
        return tuple(recent)

    def _count_messages(self, now: float) -> int:
        messages = self._messages
        while messages and messages[0] < now - WINDOW_S:
            messages.popleft()
        return len(messages)

    def note(self, symbol: str, done: Done) -> None:
        """Keep in mind what was done, for a minute."""
        self._recent.setdefault(symbol, deque()).append(done)
        if done.what != "fill":
            self._messages.append(done.at)

    def _counted(self) -> tuple[Decimal, dict[str, Decimal], Decimal]:
        """Equity, exposures and open risk; counted again only after something has changed."""
        if self._core is None:
            self._core = self._count()
        return self._core

    def _count(self) -> tuple[Decimal, dict[str, Decimal], Decimal]:
        equity = self.totals.cash
        risk = ZERO
        exposures: dict[str, Decimal] = {}
        for symbol, book in self._books.items():
            mark = book.mark
            if mark is None:
                exposures[symbol] = book.reserved
                risk += book.reserved_risk
            else:
                equity += book.net * mark.price
                exposures[symbol] = book.gross * mark.price + book.reserved
                risk += book.open_risk()
        return equity, exposures, risk

    def reserve(self, reservation: Reservation) -> None:
        """Promise exposure to a plan.

        Raises:
            ValueError: The signal has a reservation already, or the quantity is not above 0.
        """
        if reservation.trace_id in self._symbols or not reservation.quantity > 0:
            raise ValueError(f"cannot reserve {reservation.quantity} for {reservation.trace_id}, or not twice")
        self._symbols[reservation.trace_id] = reservation.symbol
        self._changed(reservation.symbol).put_reservation(reservation.trace_id, reservation)

    def release(self, trace_id: str) -> Reservation | None:
        """Take back what is still promised to a signal; give what that was."""
        symbol = self._symbols.pop(trace_id, None)
        if symbol is None:
            return None
        book = self._changed(symbol)
        promised = book.reservations[trace_id]
        book.put_reservation(trace_id, None)
        self._drop_if_empty(symbol, book)
        return promised

    def apply_fill(self, fill: Fill) -> Decimal | None:
        """Take account of what was executed, or of the end of an entry (`cancel`).

        Returns:
            What a signal's whole trade brought, all fees taken off, where this fill ended it.

        Raises:
            ValueError: The fill's figures make no sense; nothing has changed then.
        """
        if not (fill.quantity.is_finite() and fill.price.is_finite() and fill.fee.is_finite()):
            raise ValueError(f"fill {fill.number} has figures that are no finite numbers")
        if fill.quantity < 0 or fill.price < 0 or (fill.leg != "cancel" and not fill.quantity * fill.price > 0):
            raise ValueError(f"fill {fill.number} has {fill.quantity} units at {fill.price}")
        if fill.leg == "cancel":
            self.release(fill.trace_id)
            self._pay(-fill.fee, -fill.fee)
            return None
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        book = self._changed(fill.symbol)
        promised = self._use_reservation(fill) if fill.leg == "entry" else None
        held = book.lots.get(fill.trace_id)
        lot, gain = _merge(held, fill, signed, promised)
        gained = (ZERO if held is None else held.gained) + gain - fill.fee
        origin = next(
            (each.origin for each in (held, promised) if each is not None and each.origin is not None), None
        )
        lot = None if lot is None else msgspec.structs.replace(lot, gained=gained, origin=origin)
        book.put_lot(fill.trace_id, lot)
        if book.mark is None or fill.at >= book.mark.at:
            book.mark = Mark(fill.price, fill.at)
        self._pay(-signed * fill.price - fill.fee, gain - fill.fee)
        self._drop_if_empty(fill.symbol, book)
        return gained if held is not None and lot is None else None

    def _use_reservation(self, fill: Fill) -> Reservation | None:
        """Take a filled entry out of its reservation; give that."""
        promised = self.reservation(fill.trace_id)
        if promised is None or promised.symbol != fill.symbol:
            return None
        rest = promised.quantity - fill.quantity
        book = self._books[fill.symbol]
        if rest > 0:
            book.put_reservation(fill.trace_id, msgspec.structs.replace(promised, quantity=rest))
        else:
            book.put_reservation(fill.trace_id, None)
            del self._symbols[fill.trace_id]
        return promised

    def _pay(self, cash: Decimal, gain: Decimal) -> None:
        totals = self.totals
        self._core = None
        self.totals = Totals(
            totals.cash + cash,
            totals.day,
            totals.day_start_equity,
            totals.realised_today + gain,
            totals.week_start_equity,
        )

    def mark(self, symbol: str, price: Decimal, at: float) -> bool:
        """Note the newest price of a symbol; say whether that changed anything."""
        book = self._books.get(symbol)
        if book is None or not (price.is_finite() and price > 0):
            return False
        if book.mark is not None and (book.mark.price == price or at < book.mark.at):
            return False
        self._changed(symbol).mark = Mark(price, at)
        return True

    def roll_day(self, now: float) -> bool:
        """Begin a new day if one has begun in UTC; say whether it has. The clock going back begins none."""
        day = int(now // 86400)
        if day <= self.totals.day:
            return False
        self._core = None
        equity, totals = self.equity, self.totals
        same_week = week_of(day) == week_of(totals.day)
        self.totals = Totals(totals.cash, day, equity, ZERO, totals.week_start_equity if same_week else equity)
        return True


def _merge(
    lot: Lot | None, fill: Fill, signed: Decimal, promised: Reservation | None
) -> tuple[Lot | None, Decimal]:
    """Add a fill to a lot: the lot after it (None when nothing is left), and what was gained."""
    none = ZERO if signed > 0 else 2 * fill.price
    stop, target = (None, None) if promised is None else (promised.stop, promised.target)
    if lot is None:
        bare = none if stop is None else stop
        return Lot(fill.trace_id, fill.symbol, signed, signed * fill.price, bare, target), ZERO
    quantity = lot.quantity + signed
    if (lot.quantity > 0) == (signed > 0):
        kept, aim = (lot.stop, lot.target) if stop is None else (stop, target)
        return Lot(lot.trace_id, lot.symbol, quantity, lot.cost + signed * fill.price, kept, aim), ZERO
    if quantity == 0:
        return None, -signed * fill.price - lot.cost
    if (quantity > 0) == (lot.quantity > 0):
        part = lot.cost * -signed / lot.quantity
        rest = Lot(lot.trace_id, lot.symbol, quantity, lot.cost - part, lot.stop, lot.target)
        return rest, -signed * fill.price - part
    # More was closed than was held: the rest stands the other way, and its stop is on the wrong side.
    gain = lot.quantity * fill.price - lot.cost
    return Lot(lot.trace_id, lot.symbol, quantity, quantity * fill.price, none), gain
