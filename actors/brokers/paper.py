"""The paper broker: takes orders as a real one does, and fills them against the prices that it is shown.

It stands for the world outside: its books are in a database of its own, which commits by itself, and its
record of submissions tells what really arrived. Orders are filled whole. It does not know queues at a limit,
halts of a symbol, borrowing fees, dividends or splits.

Everything open is in memory by symbol, so a price of a symbol without orders costs a look into a dictionary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import apsw
import msgspec

from actors.brokers import BrokerFill, Leg, Order, OrderRejected, OrderState, Side
from actors.brokers.books import Position
from actors.brokers.matching import EXACT, Candle, Costs, candle_of, enter, fee, leave, slip
from actors.brokers.store import Changes, Store
from ark.signal import Bar

__all__ = ["PaperBroker"]

CASH = Decimal(100_000)
"""What the account starts with, quote currency; the original's account."""
MARGIN = Decimal(4)
"""Times equity that may stand in positions and open entries: Regulation T within a day. HRM allows less."""
RECENT = 4096
"""So many fills are kept in memory for whoever asks for the newest."""
MARK_MOVE = 0.01
"""A price that moves the mark of a position by this fraction is worth a look, even if it fills nothing."""

_NOTHING = Decimal(0)
_NEVER = float("-inf")
_COSTS = Costs()
_replace = msgspec.structs.replace


class PaperBroker:
    """A broker that trades on paper.

    Args:
        connection: Its own database; no transaction of anyone else may be open in it.
        cash: What a new account starts with; an account that is there keeps its own.
        margin: Times equity that may stand in positions and open entries.
        costs: Fees and slippage.

    Attributes:
        books: Cash and positions.
        live: False: it is on paper.
        name: How it is called in figures.
    """

    name = "paper"
    live = False

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        cash: Decimal = CASH,
        margin: Decimal = MARGIN,
        costs: Costs = _COSTS,
    ) -> None:
        self._store = Store(connection, cash)
        self._margin = margin
        self._costs = costs
        self._depth = 0
        self._changes = Changes()
        self._working = _NOTHING
        self._open: dict[str, dict[str, OrderState]] = {}
        self._entries: dict[str, OrderState] = {}
        self._prices: dict[str, Decimal] = {}
        self._recent: deque[BrokerFill] = deque(maxlen=RECENT)
        self._load()

    # What a caller asks.

    @property
    def head(self) -> int:
        """The number of the newest fill; 0: there is none."""
        return self._head

    @property
    def cash(self) -> Decimal:
        """Quote currency."""
        return self.books.cash

    @property
    def equity(self) -> Decimal:
        """Cash and positions at the last prices that were shown."""
        return self.books.equity

    def positions(self) -> dict[str, Position]:
        """What is held, by symbol."""
        return dict(self.books.positions)

    def find(self, client_order_id: str) -> OrderState | None:
        """What is known of an order; None: it never came."""
        return self._changes.orders.get(client_order_id) or self._store.order(client_order_id)

    def fills(self, after: int, limit: int = 500) -> list[BrokerFill]:
        """The fills after a number, oldest first."""
        if after >= self._head:
            return []
        oldest = self._recent[0].number if self._recent else self._head + 1
        if after + 1 >= oldest:
            start = after + 1 - oldest
            return [self._recent[each] for each in range(start, min(start + limit, len(self._recent)))]
        if self._depth:
            self._write()
        return self._store.fills(after, limit)

    def working(self) -> list[OrderState]:
        """Every order whose entry is open, oldest first."""
        return list(self._entries.values())

    def concerns(self, symbol: str) -> bool:
        """Whether an order is open or a position held in the symbol."""
        return symbol in self._open or symbol in self.books.positions

    def touches(self, symbol: str, bar: Bar | None, price: float) -> bool:
        """Whether a bar or price would fill something, or moves the mark of a position by 1 % or more."""
        if not self.concerns(symbol):
            return False
        low, high, last = price, price, price
        if bar is not None:
            if bar.ts <= self._seen.get(symbol, _NEVER):
                return False
            low, high, last = bar.low, bar.high, bar.close
        position = self.books.positions.get(symbol)
        if position is not None:
            mark = float(position.mark)
            if abs(last - mark) >= MARK_MOVE * mark:
                return True
        return any(_reaches(state, low, high) for state in self._open.get(symbol, {}).values())

    # What a caller does.

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One commit for everything inside; may be nested. If anything escapes, none of it has happened."""
        if self._depth:
            yield
            return
        self._store.begin()
        self._depth = 1
        try:
            yield
            self._write()
            self._store.commit()
        except BaseException:
            self._store.rollback()
            self._load()
            raise
        finally:
            self._depth = 0

    def submit(self, order: Order, *, at: float, moment: int = 0, reference: Decimal | None = None) -> OrderState:
        """Take an order. Every call is a row in `submissions`, whatever comes of it.

        A market order is filled at once at its `price` and the slippage. A limit order is filled at once if
        the reference reaches it, at the reference; otherwise it works until a price reaches it.

        Raises:
            OrderRejected: The id was used before, the order makes no sense, or the account cannot carry it.
                A rejected order can be found, except one whose id was used before.
        """
        with self.batch():
            reason, message = self._objection(order)
            self._changes.submissions.append((order.client_order_id, at, reason))
            if reason == "DUPLICATE_CLIENT_ORDER_ID":
                rejected = True
            elif reason:
                rejected = True
                self._keep(OrderState(order, "rejected", at, False, moment, reason, message))
            else:
                rejected = False
                state = self._start(order, at, moment, reference)
        if rejected:
            raise OrderRejected(reason, message)
        return state

    def cancel(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """Cancel an entry, or both legs of a filled order; the position then stands without protection.

        A cancelled entry is a line among the fills, with leg `cancel` and quantity 0.
        """
        with self.batch():
            state = self.find(client_order_id)
            if state is None:
                return None
            moment = max(moment, state.moment)
            if state.status == "working":
                state = _replace(state, status="cancelled", closed_at=at, moment=moment)
                order = state.order
                self._record(
                    order, "cancel", at, side=order.side, quantity=_NOTHING, price=order.price, paid=_NOTHING
                )
                self._keep(state)
            elif state.status == "filled" and state.protected:
                state = _replace(state, protected=False, moment=moment)
                self._keep(state)
            return state

    def close(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """End the position of a filled order at its newest mark and the slippage, its legs with it.

        Where longs and shorts of a symbol are even no position has a mark: the last price seen counts then, and
        after a restart what the entry got.
        """
        state = self.find(client_order_id)
        if state is None or state.status != "filled" or state.average_price is None:
            return state
        symbol, side = state.order.symbol, _other(state.order.side)
        position = self.books.positions.get(symbol)
        mark = self._prices.get(symbol, state.average_price) if position is None else position.mark
        with self.batch():
            price = slip(mark, side, self._costs)
            return self._leave(state, "close", price, at, max(moment, state.moment))

    def on_bar(self, symbol: str, bar: Bar, *, at: float, moment: int) -> None:
        """Fill what a bar reaches. A bar that is not newer than the symbol's last is ignored."""
        if not self.concerns(symbol) or bar.ts <= self._seen.get(symbol, _NEVER):
            return
        with self.batch():
            self._seen[symbol] = bar.ts
            self._changes.markets[symbol] = bar.ts
            self._show(symbol, candle_of(bar), at, moment)

    def on_price(self, symbol: str, price: Decimal, *, at: float, moment: int) -> None:
        """Fill what a price reaches: it counts as a bar of that one price."""
        if self.concerns(symbol):
            with self.batch():
                self._show(symbol, Candle(price, price, price, price), at, moment)

    # How it is done.

    def _objection(self, order: Order) -> tuple[str, str]:
        """Why an order is not taken, as code and words; two empty texts for none."""
        if self.find(order.client_order_id) is not None:
            return "DUPLICATE_CLIENT_ORDER_ID", f"client_order_id {order.client_order_id} was used before"
        if not (order.quantity.is_finite() and order.quantity > 0):
            return "QUANTITY_INVALID", f"quantity {order.quantity} is not above 0"
        if not (order.price.is_finite() and order.price > 0):
            return "PRICE_INVALID", f"price {order.price} is not above 0"
        up = order.side == "buy"
        for name, price, above in (("STOP_LOSS", order.stop_loss, not up), ("TARGET", order.target, up)):
            if price is None:
                continue
            if not (price.is_finite() and price > 0) or price == order.price or (price > order.price) != above:
                return f"{name}_INVALID", f"{price} is on the wrong side of {order.price} for a {order.side}"
        needed = self.books.needed(order.symbol, order.side, order.quantity, order.price)
        room = EXACT.multiply(self.books.equity, self._margin) - self.books.gross - self._working
        if needed > room:
            return "INSUFFICIENT_BUYING_POWER", f"the order takes {needed} of {max(room, _NOTHING)}"
        return "", ""

    def _start(self, order: Order, at: float, moment: int, reference: Decimal | None) -> OrderState:
        state = OrderState(order, "working", at, False, moment)
        if order.type == "market":
            return self._enter(state, slip(order.price, order.side, self._costs), at, moment)
        if reference is not None:
            price = enter(order, Candle(reference, reference, reference, reference))
            if price is not None:
                return self._enter(state, price, at, moment)
        self._keep(state)
        return state

    def _show(self, symbol: str, candle: Candle, at: float, moment: int) -> None:
        self._mark(symbol, candle.close)
        for state in list(self._open.get(symbol, {}).values()):
            if moment <= state.moment:
                continue
            entered = None
            now = state
            if now.status == "working":
                entered = enter(now.order, candle)
                if entered is None:
                    continue
                now = self._enter(now, entered, at, moment)
            exit_ = leave(now.order, candle, self._costs, entered)
            if exit_ is not None:
                self._leave(now, *exit_, at, moment)
        self._mark(symbol, candle.close)

    def _enter(self, state: OrderState, price: Decimal, at: float, moment: int) -> OrderState:
        order = state.order
        paid = self._execute(order, order.side, "entry", price, at)
        protected = order.stop_loss is not None or order.target is not None
        state = OrderState(
            order,
            "filled",
            state.submitted_at,
            protected,
            moment,
            average_price=price,
            filled_at=at,
            fees=paid,
        )
        self._keep(state)
        return state

    def _leave(self, state: OrderState, leg: Leg, price: Decimal, at: float, moment: int) -> OrderState:
        paid = self._execute(state.order, _other(state.order.side), leg, price, at)
        state = _replace(
            state,
            status="closed",
            protected=False,
            moment=moment,
            exit_leg=leg,
            exit_price=price,
            closed_at=at,
            fees=state.fees + paid,
        )
        self._keep(state)
        return state

    def _execute(self, order: Order, side: Side, leg: Leg, price: Decimal, at: float) -> Decimal:
        paid = fee(order.quantity, price, self._costs)
        self.books.apply(order.symbol, side, order.quantity, price, paid)
        self._changes.positions.add(order.symbol)
        self._prices[order.symbol] = price
        self._record(order, leg, at, side=side, quantity=order.quantity, price=price, paid=paid)
        return paid

    def _record(
        self,
        order: Order,
        leg: Leg,
        at: float,
        *,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        paid: Decimal,
    ) -> None:
        self._head += 1
        line = BrokerFill(self._head, order.client_order_id, order.symbol, side, leg, quantity, price, paid, at)
        self._recent.append(line)
        self._changes.fills.append(line)

    def _mark(self, symbol: str, price: Decimal) -> None:
        self._prices[symbol] = price
        if symbol in self.books.positions:
            self.books.mark(symbol, price)
            self._changes.positions.add(symbol)

    def _write(self) -> None:
        self._store.write(self._changes, self.books)
        self._changes = Changes()

    def _keep(self, state: OrderState) -> None:
        """Put an order's new state where it belongs: among the open ones or not; and have it written."""
        order = state.order
        name = order.client_order_id
        self._changes.orders[name] = state
        of_symbol = self._open.get(order.symbol)
        before = None if of_symbol is None else of_symbol.pop(name, None)
        if before is not None and before.status == "working":
            self._working = EXACT.subtract(self._working, EXACT.multiply(order.quantity, order.price))
            del self._entries[name]
        if state.open:
            if of_symbol is None:
                of_symbol = self._open[order.symbol] = {}
            of_symbol[name] = state
            if state.status == "working":
                self._working = EXACT.add(self._working, EXACT.multiply(order.quantity, order.price))
                self._entries[name] = state
        elif of_symbol is not None and not of_symbol:
            del self._open[order.symbol]

    def _load(self) -> None:
        """Take everything from the database, as after a restart."""
        store = self._store
        self.books = store.books()
        self._changes = Changes()
        self._working = _NOTHING
        self._open.clear()
        self._entries.clear()
        self._prices.clear()
        for state in store.open_orders():
            self._keep(state)
        self._changes.orders.clear()
        self._seen = store.markets()
        self._head = store.head()
        self._recent.clear()


def _other(side: Side) -> Side:
    return "sell" if side == "buy" else "buy"


def _reaches(state: OrderState, low: float, high: float) -> bool:
    """Whether prices between two would fill the entry or a leg."""
    order = state.order
    buying = order.side == "buy"
    if state.status == "working":
        return low <= order.price if buying else high >= order.price
    below, above = (order.stop_loss, order.target) if buying else (order.target, order.stop_loss)
    return (below is not None and low <= below) or (above is not None and high >= above)
