from decimal import Decimal
from typing import Any

import apsw
import pytest

from actors.brokers import Broker, Order, OrderRejected, OrderState
from actors.brokers.metered import OPERATIONS, MeteredBroker
from actors.brokers.paper import PaperBroker
from ark.signal import Bar
from ark.testing import TestContext

ORDER = Order("ark-1", "AAPL", "buy", Decimal(1), "limit", Decimal(100), Decimal(95), Decimal(110))


class Unreachable(PaperBroker):
    def cancel(self, *order: Any, **more: Any) -> OrderState | None:
        raise ConnectionError("no route to the broker")


def metered(kind: type[PaperBroker] = PaperBroker) -> tuple[Broker, TestContext]:
    context = TestContext("kenny")
    return MeteredBroker(kind(apsw.Connection(":memory:")), context), context


def requests(context: TestContext) -> list[str]:
    return [labels["operation"] for name, labels, _ in context.measured if name == "ark_broker_request_seconds"]


def test_it_does_what_the_broker_does_and_tells_what_each_request_took() -> None:
    broker, context = metered()
    with broker.batch():
        assert broker.submit(ORDER, at=1.0, reference=Decimal(105)).status == "working"
    assert broker.touches("AAPL", None, 99.0)
    assert [each.order for each in broker.working()] == [ORDER]
    broker.on_bar("AAPL", Bar(ts=1.0, open=101, high=101, low=99, close=100, volume=1), at=2.0, moment=1)
    assert broker.head == 1
    assert [each.leg for each in broker.fills(0)] == ["entry"]
    closed = broker.close("ark-1", at=3.0)
    assert closed is not None
    assert broker.find("ark-1") == closed == broker.cancel("ark-1", at=3.0)
    assert (broker.live, broker.concerns("AAPL")) == (False, False)
    assert requests(context) == ["submit", "working", "fills", "close", "find", "cancel"]
    assert context.counted("ark_broker_request_seconds", broker="paper") > 0


def test_what_cannot_fail_yet_is_there_from_the_beginning() -> None:
    _, context = metered()
    assert [labels["operation"] for name, labels, _ in context.measured if name.endswith("errors_total")] == [
        *OPERATIONS
    ]


def test_a_request_that_fails_is_counted_and_an_order_that_is_not_taken_is_an_answer() -> None:
    broker, context = metered(Unreachable)
    with pytest.raises(ConnectionError):
        broker.cancel("ark-1", at=1.0)
    broker.submit(ORDER, at=1.0)
    with pytest.raises(OrderRejected):
        broker.submit(ORDER, at=1.0)
    assert requests(context) == ["cancel", "submit", "submit"]
    assert context.counted("ark_broker_errors_total") == 1
    assert context.counted("ark_broker_errors_total", broker="paper", operation="cancel") == 1
