"""Brokers: what Kenny needs of one, whoever stands behind it.

`actors.brokers.paper` is the one that is built in. Whatever a broker does is outside ARK's journals: it
commits by itself, and it is asked before anything is sent a second time.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from ark.errors import ArkError
from ark.signal import Bar

__all__ = ["Broker", "BrokerFill", "Order", "OrderRejected", "OrderState", "describe"]

Side = Literal["buy", "sell"]
Leg = Literal["entry", "stop", "target", "close", "cancel"]


class OrderRejected(ArkError):
    """The broker does not take the order.

    Args:
        reason: A stable code, such as `DUPLICATE_CLIENT_ORDER_ID`.
        message: The same in words.
    """

    code = "order_rejected"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Order(msgspec.Struct, frozen=True):
    """An order as it goes to a broker: simple, or a bracket with one or two protecting legs.

    Attributes:
        client_order_id: Ours; the broker takes each only once.
        symbol: What to trade.
        side: `buy` or `sell`; the legs are on the other side.
        quantity: Units.
        type: `market` or `limit`.
        price: The limit, or the price that a market order is expected to get; quote currency.
        stop_loss: Where the position is given up; None for none.
        target: Where the gain is taken; None for none.
    """

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    type: Literal["market", "limit"]
    price: Decimal
    stop_loss: Decimal | None = None
    target: Decimal | None = None


class OrderState(msgspec.Struct, frozen=True):
    """An order as the broker knows it.

    Attributes:
        order: As it was submitted.
        status: `working` (the entry is open), `filled` (the position stands), `closed` (a leg or `Broker.close`
            ended it), `cancelled` (before the entry), or `rejected`.
        protected: Whether the legs stand at the broker.
        submitted_at: Seconds since the epoch, as all times here.
        moment: The caller's number of the last thing that changed it; see `Broker.on_bar`.
        reason, message: Why it was rejected.
        average_price: What the entry got.
        filled_at: When.
        exit_leg, exit_price, closed_at: What ended the position (`stop`, `target`, or `close` at the market), what
            it got, and when.
        fees: Entry and exit together, quote currency.
    """

    order: Order
    status: Literal["working", "filled", "closed", "cancelled", "rejected"]
    submitted_at: float
    protected: bool = False
    moment: int = 0
    reason: str = ""
    message: str = ""
    average_price: Decimal | None = None
    filled_at: float | None = None
    exit_leg: Leg | None = None
    exit_price: Decimal | None = None
    closed_at: float | None = None
    fees: Decimal = Decimal(0)

    @property
    def open(self) -> bool:
        """Whether a price can still change it."""
        return self.status == "working" or (self.status == "filled" and self.protected)


class BrokerFill(msgspec.Struct, frozen=True):
    """One line of a broker's record: something was executed, or an entry was cancelled.

    Attributes:
        number: 1, 2, 3 and on, without gaps.
        client_order_id: The order's.
        symbol: What was traded.
        side: Of this fill: that of the order for the entry, the other one for a leg.
        leg: `entry`, `stop`, `target`, `close`, or `cancel` with quantity 0.
        quantity: Units.
        price, fee: Quote currency.
        at: Seconds since the epoch.
    """

    number: int
    client_order_id: str
    symbol: str
    side: Side
    leg: Leg
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: float


class Broker(Protocol):
    """Someone who takes orders.

    `moment` is a number that rises with everything the caller shows or sends. After a crash the caller shows
    things again; a moment that is not younger than an order's own never touches that order.

    A broker may have a `name`, one plain word, by which its figures are known.
    """

    live: bool
    """Whether it is a market of its own, with other people's money in it, and not one on paper."""

    def submit(self, order: Order, *, at: float, moment: int = 0, reference: Decimal | None = None) -> OrderState:
        """Send an order.

        Args:
            order: What to do.
            at: Now, seconds since the epoch.
            moment: The caller's number; see above.
            reference: The market's price now, to tell whether a limit is marketable; None: not known.

        Raises:
            OrderRejected: The broker does not take it, and nothing was done.
        """

    def find(self, client_order_id: str) -> OrderState | None:
        """What the broker knows of an order, rejected ones too; None: it never came."""

    def cancel(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """Cancel the entry if it is still open, otherwise both legs: one never goes without the other.

        A filled order is left without protection by this. Kenny never does that: he cancels what he has just
        seen working, ends positions with `close`, and closes what he finds without its legs.
        """

    def close(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """End the position of a filled order at the market, its legs with it: none of them outlives it.

        An order that is anything but filled stays as it is, so that asking twice does no harm.

        Args:
            client_order_id: Ours.
            at: Now, seconds since the epoch.
            moment: The caller's number; see above.

        Returns:
            The order after it, or None if it never came.
        """

    def working(self) -> list[OrderState]:
        """Every order whose entry is open, oldest first."""

    def concerns(self, symbol: str) -> bool:
        """Whether anything of ours is open in the symbol."""

    def touches(self, symbol: str, bar: Bar | None, price: float) -> bool:
        """Whether showing this would change anything; a guess may err towards True. Changes nothing."""

    def on_bar(self, symbol: str, bar: Bar, *, at: float, moment: int) -> None:
        """Show a bar that has ended. A live broker sees the market itself and does nothing.

        Args:
            symbol: What was traded.
            bar: The bar; not newer than the symbol's last: ignored.
            at: Now, seconds since the epoch.
            moment: The caller's number; see above.
        """

    def on_price(self, symbol: str, price: Decimal, *, at: float, moment: int) -> None:
        """Show a plain price: a bar of that one price."""

    @property
    def head(self) -> int:
        """The number of the newest fill; 0: there is none."""

    def fills(self, after: int, limit: int = 500) -> list[BrokerFill]:
        """The fills after a number, oldest first."""

    def batch(self) -> AbstractContextManager[None]:
        """One commit for everything inside; may be nested."""


def describe(state: OrderState) -> dict[str, Any]:
    """An order in plain values for messages and the ledger; prices and quantities as text, digit by digit."""
    order = state.order
    return {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": str(order.quantity),
        "type": order.type,
        "status": state.status,
        "protected": state.protected,
        "entry_price": str(order.price),
        "average_fill_price": _text(state.average_price),
        "stop_loss": _text(order.stop_loss),
        "target": _text(order.target),
        "fees": str(state.fees),
        "submitted_at": state.submitted_at,
        "filled_at": state.filled_at,
        "exit_leg": state.exit_leg,
        "exit_price": _text(state.exit_price),
        "closed_at": state.closed_at,
    }


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)
