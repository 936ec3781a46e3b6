"""A broker that tells what its requests take, and which of them fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from actors.brokers import Broker, BrokerFill, Order, OrderRejected, OrderState
from ark.agent import Context

__all__ = ["OPERATIONS", "MeteredBroker"]

Answer = TypeVar("Answer")

OPERATIONS = ("submit", "find", "cancel", "close", "working", "fills")
"""What is measured: what is a request to a broker that is far away."""
NAMELESS = "own"
"""The name of a broker that has none."""


class MeteredBroker:
    """Passes everything on to a broker.

    A request is counted when it has ended, whatever becomes of the batch that it belongs to: it was made. One that
    fails usually ends its agent. An order that is not taken is an answer and no failure.

    Args:
        broker: The one who does the work.
        context: Where the metrics go.

    Attributes:
        broker: The same.
        name: How it is called in the metrics.
    """

    def __init__(self, broker: Broker, context: Context) -> None:
        self.broker = broker
        self.name = str(getattr(broker, "name", NAMELESS))
        self._context = context
        # What is asked for each signal and needs no request costs nothing more than before.
        self.concerns = broker.concerns
        self.touches = broker.touches
        self.on_bar = broker.on_bar
        self.on_price = broker.on_price
        self.batch = broker.batch
        for operation in OPERATIONS:
            context.count_now("ark_broker_errors_total", 0, broker=self.name, operation=operation)

    @property
    def live(self) -> bool:
        """Whether it is a market of its own."""
        return self.broker.live

    @live.setter
    def live(self, live: bool) -> None:
        self.broker.live = live

    @property
    def head(self) -> int:
        """The number of the newest fill; 0: there is none."""
        return self.broker.head

    def submit(self, order: Order, *, at: float, moment: int = 0, reference: Decimal | None = None) -> OrderState:
        """Send an order; see `actors.brokers.Broker`."""
        return self._ask("submit", lambda: self.broker.submit(order, at=at, moment=moment, reference=reference))

    def find(self, client_order_id: str) -> OrderState | None:
        """What the broker knows of an order."""
        return self._ask("find", lambda: self.broker.find(client_order_id))

    def cancel(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """Cancel an entry, or both legs."""
        return self._ask("cancel", lambda: self.broker.cancel(client_order_id, at=at, moment=moment))

    def close(self, client_order_id: str, *, at: float, moment: int = 0) -> OrderState | None:
        """End a position at the market."""
        return self._ask("close", lambda: self.broker.close(client_order_id, at=at, moment=moment))

    def working(self) -> list[OrderState]:
        """Every order whose entry is open."""
        return self._ask("working", self.broker.working)

    def fills(self, after: int, limit: int = 500) -> list[BrokerFill]:
        """The fills after a number."""
        return self._ask("fills", lambda: self.broker.fills(after, limit))

    def _ask(self, operation: str, request: Callable[[], Answer]) -> Answer:
        began = time.perf_counter()
        try:
            return request()
        except OrderRejected:
            raise
        except Exception:
            self._context.count_now("ark_broker_errors_total", broker=self.name, operation=operation)
            raise
        finally:
            took_s = time.perf_counter() - began
            self._context.observe_now("ark_broker_request_seconds", took_s, broker=self.name, operation=operation)
