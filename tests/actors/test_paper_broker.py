"""The paper broker fills as a careful person would, keeps exact books, and takes no order twice."""

from decimal import Decimal as D
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.brokers import Order, OrderRejected, OrderState, describe
from actors.brokers.books import Books
from actors.brokers.matching import Costs, fee
from actors.brokers.paper import PaperBroker
from ark.signal import Bar

FREE = Costs(D(0), D(0), D(0), D(0))


def paper(connection: apsw.Connection | None = None, costs: Costs = FREE, cash: D = D(100_000)) -> PaperBroker:
    return PaperBroker(connection or apsw.Connection(":memory:"), costs=costs, cash=cash)


def order(name: str = "ark-1", **changes: Any) -> Order:
    facts = {
        "client_order_id": name,
        "symbol": "AAPL",
        "side": "buy",
        "quantity": D(10),
        "type": "market",
        "price": D(100),
        "stop_loss": D(95),
        "target": D(110),
    } | changes
    return Order(**facts)  # type: ignore[arg-type]


def short(name: str = "ark-1", **changes: Any) -> Order:
    return order(name, **({"side": "sell", "stop_loss": D(105), "target": D(90)} | changes))


def bar(ts: float, open_: float, high: float, low: float, close: float) -> Bar:
    return Bar(ts, open_, high, low, close, 1000.0)


def found(broker: PaperBroker, name: str = "ark-1") -> OrderState:
    state = broker.find(name)
    assert state is not None
    return state


def legs(broker: PaperBroker) -> list[tuple[str, str, D]]:
    return [(each.leg, each.side, each.price) for each in broker.fills(0)]


def submissions(connection: apsw.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT client_order_id, reason FROM submissions ORDER BY number").fetchall()


class TestEntries:
    def test_a_market_order_is_filled_at_once_at_its_reference(self) -> None:
        broker = paper()
        state = broker.submit(order(), at=1.0)
        assert (state.status, state.average_price, state.protected) == ("filled", D(100), True)
        assert broker.positions()["AAPL"].quantity == 10
        assert broker.cash == D(99_000)
        assert broker.equity == D(100_000)

    @pytest.mark.parametrize(("make", "price"), [(order, "100.01"), (short, "99.99")])
    def test_slippage_is_a_basis_point_to_the_worse(self, make: object, price: str) -> None:
        broker = paper(costs=Costs(D(0), D(0), D(0)))
        assert broker.submit(make(), at=1.0).average_price == D(price)  # type: ignore[operator]

    def test_a_limit_order_works_until_a_bar_reaches_it(self) -> None:
        broker = paper()
        assert broker.submit(order(type="limit"), at=1.0, moment=1, reference=D(102)).status == "working"
        broker.on_bar("AAPL", bar(1, 102, 103, 100.5, 101), at=2.0, moment=2)
        assert found(broker).status == "working"
        broker.on_bar("AAPL", bar(2, 101, 102, 99.5, 101), at=3.0, moment=3)
        assert legs(broker) == [("entry", "buy", D(100))]

    def test_a_limit_order_gets_the_open_where_that_is_better(self) -> None:
        broker = paper()
        broker.submit(order(type="limit"), at=1.0, moment=1, reference=D(102))
        broker.on_bar("AAPL", bar(1, 98, 99, 97, 98), at=2.0, moment=2)
        assert legs(broker) == [("entry", "buy", D(98))]

    def test_a_marketable_limit_order_is_filled_at_the_market(self) -> None:
        broker = paper()
        assert broker.submit(order(type="limit"), at=1.0, reference=D(99)).average_price == D(99)

    def test_a_short_limit_order_mirrors_a_long_one(self) -> None:
        broker = paper()
        broker.submit(short(type="limit"), at=1.0, moment=1, reference=D(98))
        broker.on_bar("AAPL", bar(1, 98, 101, 97, 98), at=2.0, moment=2)
        assert legs(broker) == [("entry", "sell", D(100))]
        assert broker.positions()["AAPL"].quantity == -10

    def test_an_order_without_legs_leaves_nothing_open_but_its_position(self) -> None:
        broker = paper()
        state = broker.submit(order(stop_loss=None, target=None), at=1.0)
        assert not state.open
        assert broker.concerns("AAPL")


class TestLegs:
    def test_the_stop_ends_a_long_position(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=1)
        broker.on_bar("AAPL", bar(1, 99, 100, 94, 96), at=2.0, moment=2)
        assert legs(broker)[1] == ("stop", "sell", D(95))
        state = found(broker)
        assert (state.status, state.exit_leg, state.closed_at) == ("closed", "stop", 2.0)
        assert broker.positions() == {}
        assert broker.cash == D(99_950)

    def test_the_target_ends_a_short_position(self) -> None:
        broker = paper()
        broker.submit(short(), at=1.0, moment=1)
        broker.on_bar("AAPL", bar(1, 95, 96, 89, 91), at=2.0, moment=2)
        assert legs(broker)[1] == ("target", "buy", D(90))
        assert broker.cash == D(100_100)

    @pytest.mark.parametrize(("make", "price"), [(order, 95), (short, 105)])
    def test_the_stop_comes_first_where_one_bar_reaches_both(self, make: object, price: int) -> None:
        broker = paper()
        broker.submit(make(), at=1.0, moment=1)  # type: ignore[operator]
        broker.on_bar("AAPL", bar(1, 100, 120, 80, 100), at=2.0, moment=2)
        assert [each[0] for each in legs(broker)] == ["entry", "stop"]
        assert legs(broker)[1][2] == price

    @pytest.mark.parametrize(("make", "price"), [(order, 92), (short, 108)])
    def test_a_gap_through_the_stop_fills_at_the_open(self, make: object, price: int) -> None:
        broker = paper()
        broker.submit(make(), at=1.0, moment=1)  # type: ignore[operator]
        broker.on_bar("AAPL", bar(1, price, price + 1, price - 1, price), at=2.0, moment=2)
        assert legs(broker)[1][::2] == ("stop", D(price))

    def test_a_gap_through_the_target_fills_at_the_better_open(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=1)
        broker.on_bar("AAPL", bar(1, 112, 113, 111, 112), at=2.0, moment=2)
        assert legs(broker)[1][::2] == ("target", D(112))

    def test_stops_slip_and_targets_do_not(self) -> None:
        costs = Costs(D(0), D(0), D(0), D(10))
        broker = paper(costs=costs)
        broker.submit(order("a", type="limit"), at=1.0, moment=1, reference=D(100))
        broker.submit(order("b", type="limit", symbol="IBM"), at=1.0, moment=1, reference=D(100))
        broker.on_price("AAPL", D(95), at=2.0, moment=2)
        broker.on_price("IBM", D(110), at=2.0, moment=3)
        assert legs(broker)[2:] == [("stop", "sell", D("94.905")), ("target", "sell", D(110))]

    def test_a_price_is_a_bar_of_that_one_price(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=1)
        broker.on_price("AAPL", D(109), at=2.0, moment=2)
        assert len(legs(broker)) == 1
        assert broker.equity == D(100_090)
        broker.on_price("AAPL", D(111), at=3.0, moment=3)
        assert legs(broker)[1][::2] == ("target", D(111))

    def test_a_bar_that_fills_an_entry_may_stop_it_but_not_reach_its_target(self) -> None:
        broker = paper()
        broker.submit(order("a", type="limit"), at=1.0, moment=1, reference=D(102))
        broker.on_bar("AAPL", bar(1, 102, 111, 99, 110), at=2.0, moment=2)
        assert [each[0] for each in legs(broker)] == ["entry"]
        broker.submit(order("b", type="limit", symbol="IBM"), at=1.0, moment=3, reference=D(102))
        broker.on_bar("IBM", bar(1, 102, 103, 94, 96), at=2.0, moment=4)
        assert [each[0] for each in legs(broker)[1:]] == ["entry", "stop"]

    def test_cancelling_one_leg_cancels_the_other(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=1)
        state = broker.cancel("ark-1", at=2.0)
        assert state is not None
        assert (state.status, state.protected) == ("filled", False)
        broker.on_bar("AAPL", bar(1, 100, 120, 80, 100), at=3.0, moment=2)
        assert len(legs(broker)) == 1

    def test_a_cancelled_entry_is_a_numbered_line_of_no_quantity(self) -> None:
        broker = paper()
        broker.submit(order(type="limit"), at=1.0, moment=1, reference=D(102))
        broker.cancel("ark-1", at=2.0)
        broker.cancel("ark-1", at=2.5)
        (line,) = broker.fills(0)
        assert (line.leg, line.quantity, line.number) == ("cancel", D(0), 1)
        assert found(broker).status == "cancelled"
        assert not broker.concerns("AAPL")
        assert broker.cancel("unknown", at=3.0) is None


class TestClosing:
    @pytest.mark.parametrize(("make", "price"), [(order, "98.9010"), (short, "99.0990")])
    def test_a_position_ends_at_its_newest_mark_with_slippage_and_fee(self, make: object, price: str) -> None:
        broker = paper(costs=Costs(D(0), D(1), D(1), D(10)))
        broker.submit(make(), at=1.0, moment=1)  # type: ignore[operator]
        broker.on_price("AAPL", D(99), at=2.0, moment=2)
        state = broker.close("ark-1", at=3.0, moment=3)
        assert state == found(broker)
        assert (state.status, state.exit_leg, state.exit_price) == ("closed", "close", D(price))
        assert (state.closed_at, state.fees, state.protected) == (3.0, D(2), False)
        assert legs(broker)[1][::2] == ("close", D(price))
        assert broker.positions() == {}
        assert describe(state)["exit_leg"] == "close"

    def test_no_leg_outlives_it_and_it_ends_only_once(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        broker.submit(order(), at=1.0, moment=1)
        broker.close("ark-1", at=2.0)
        for again in (broker, paper(connection)):
            again.close("ark-1", at=3.0)
            again.cancel("ark-1", at=3.0)
            again.on_bar("AAPL", bar(1, 100, 120, 80, 100), at=4.0, moment=4)
            assert not again.concerns("AAPL")
            assert [each[0] for each in legs(again)] == ["entry", "close"]

    def test_only_a_filled_order_is_closed(self) -> None:
        broker = paper()
        broker.submit(order(type="limit"), at=1.0, moment=1, reference=D(102))
        state = broker.close("ark-1", at=2.0)
        assert state is not None
        assert state.status == "working"
        assert broker.close("unknown", at=2.0) is None
        assert legs(broker) == []

    def test_a_position_without_legs_can_be_closed(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=1)
        broker.cancel("ark-1", at=2.0)
        broker.close("ark-1", at=3.0)
        assert legs(broker)[1] == ("close", "sell", D(100))

    def test_where_long_and_short_are_even_the_last_price_seen_counts(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        broker.submit(order("a"), at=1.0, moment=1)
        broker.submit(short("b"), at=1.0, moment=2)
        broker.on_price("AAPL", D(102), at=2.0, moment=3)
        broker.close("a", at=3.0)
        assert legs(broker)[2] == ("close", "sell", D(102))
        assert broker.positions()["AAPL"].quantity == -10
        broker.submit(order("c", price=D(103)), at=4.0, moment=4)
        paper(connection).close("b", at=5.0)
        assert legs(paper(connection))[4] == ("close", "buy", D(100)), "what the entry got"

    def test_working_entries_are_listed_until_they_are_filled_or_cancelled(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        for moment, name in enumerate("abc", 1):
            broker.submit(order(name, type="limit", symbol=name), at=float(moment), moment=moment, reference=D(102))
        broker.submit(order("d"), at=4.0, moment=4)
        assert [each.order.client_order_id for each in broker.working()] == ["a", "b", "c"]
        assert paper(connection).working() == broker.working()
        broker.cancel("a", at=5.0)
        broker.on_price("b", D(99), at=5.0, moment=5)
        assert [each.order.client_order_id for each in broker.working()] == ["c"]


class TestTime:
    def test_a_bar_that_is_not_newer_than_the_last_is_ignored(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        broker.submit(order(), at=1.0, moment=1)
        broker.on_bar("AAPL", bar(5, 100, 101, 99, 100), at=2.0, moment=2)
        for again in (broker, paper(connection)):
            again.on_bar("AAPL", bar(5, 100, 120, 80, 100), at=3.0, moment=3)
            again.on_bar("AAPL", bar(4, 100, 120, 80, 100), at=3.0, moment=4)
            assert not again.touches("AAPL", bar(5, 100, 120, 80, 100), 100)
        assert len(legs(broker)) == 1

    def test_what_was_shown_before_an_order_does_not_touch_it_when_it_is_shown_again(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0, moment=7)
        broker.on_price("AAPL", D(120), at=2.0, moment=6)
        assert len(legs(broker)) == 1
        broker.on_price("AAPL", D(120), at=2.0, moment=8)
        assert len(legs(broker)) == 2

    def test_a_price_without_orders_or_positions_changes_nothing(self) -> None:
        broker = paper()
        broker.submit(order(), at=1.0)
        assert not broker.touches("IBM", None, 1.0)
        assert not broker.touches("AAPL", None, 100.5)
        assert broker.touches("AAPL", None, 95.0)
        assert broker.touches("AAPL", None, 110.0)
        assert broker.touches("AAPL", None, 102.0), "the mark moved by two per cent"


class TestRejection:
    def test_an_id_is_taken_once_and_every_submission_is_recorded(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        broker.submit(order(), at=1.0)
        with pytest.raises(OrderRejected) as caught:
            broker.submit(order(quantity=D(5)), at=2.0)
        assert caught.value.reason == "DUPLICATE_CLIENT_ORDER_ID"
        assert found(broker).order.quantity == 10
        assert submissions(connection) == [("ark-1", ""), ("ark-1", "DUPLICATE_CLIENT_ORDER_ID")]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"quantity": D(0)}, "QUANTITY_INVALID"),
            ({"quantity": D("NaN")}, "QUANTITY_INVALID"),
            ({"price": D(-1)}, "PRICE_INVALID"),
            ({"stop_loss": D(100)}, "STOP_LOSS_INVALID"),
            ({"stop_loss": D(101)}, "STOP_LOSS_INVALID"),
            ({"stop_loss": D("Infinity")}, "STOP_LOSS_INVALID"),
            ({"target": D(99)}, "TARGET_INVALID"),
            ({"quantity": D(4001)}, "INSUFFICIENT_BUYING_POWER"),
        ],
    )
    def test_an_order_that_makes_no_sense_is_rejected_and_can_be_found(
        self, changes: dict[str, Any], reason: str
    ) -> None:
        broker = paper()
        with pytest.raises(OrderRejected) as caught:
            broker.submit(order(**changes), at=1.0)
        assert caught.value.reason == reason
        assert found(broker).status == "rejected"
        assert broker.fills(0) == []
        assert broker.cash == D(100_000)

    def test_working_entries_take_buying_power_until_they_are_cancelled(self) -> None:
        broker = paper()
        broker.submit(order("a", type="limit", quantity=D(3000)), at=1.0, reference=D(102))
        with pytest.raises(OrderRejected):
            broker.submit(order("b", quantity=D(2000)), at=1.0)
        broker.cancel("a", at=2.0)
        broker.submit(order("c", quantity=D(2000)), at=3.0)

    def test_an_order_that_lowers_a_position_needs_no_buying_power(self) -> None:
        broker = paper()
        broker.submit(order("a", quantity=D(4000)), at=1.0)
        broker.submit(short("b", quantity=D(4000)), at=2.0)
        assert broker.positions() == {}


class TestCosts:
    @pytest.mark.parametrize(
        ("quantity", "price", "expected"),
        [(100, 50, "1.00"), (1000, 50, "5.00"), (10, 5, "0.50"), (1, 100, "1.00")],
    )
    def test_fees_follow_the_schedule(self, quantity: int, price: int, expected: str) -> None:
        assert fee(D(quantity), D(price), Costs()) == D(expected)

    def test_fees_of_entry_and_exit_are_paid_and_told(self) -> None:
        broker = paper(costs=Costs())
        broker.submit(order(), at=1.0, moment=1)
        broker.on_price("AAPL", D(110), at=2.0, moment=2)
        assert found(broker).fees == D(2)
        assert describe(found(broker))["fees"] == "2.0000"
        assert broker.cash == D(100_000) + 10 * (D(110) - D("100.01")) - 2


class TestDurability:
    def test_a_new_broker_over_the_same_books_goes_on_where_the_old_one_ended(self) -> None:
        connection = apsw.Connection(":memory:")
        old = paper(connection)
        old.submit(order("a"), at=1.0, moment=1)
        old.submit(order("b", symbol="IBM", type="limit"), at=1.0, moment=2, reference=D(120))
        new = paper(connection, cash=D(5))
        assert (new.cash, new.equity, new.positions()) == (old.cash, old.equity, old.positions())
        assert new.fills(0) == old.fills(0)
        new.on_price("AAPL", D(95), at=2.0, moment=3)
        new.on_price("IBM", D(100), at=2.0, moment=4)
        assert [each.number for each in new.fills(0)] == [1, 2, 3]
        assert [each.leg for each in new.fills(1)] == ["stop", "entry"]
        assert new.fills(1, 1)[0].leg == "stop"

    def test_a_batch_is_one_commit_and_what_escapes_undoes_it(self) -> None:
        connection = apsw.Connection(":memory:")
        broker = paper(connection)
        broker.submit(order("a"), at=1.0)

        def fail() -> None:
            with broker.batch():
                broker.submit(order("b"), at=2.0)
                assert broker.find("b")
                assert len(broker.fills(0)) == 2
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert broker.find("b") is None
        assert (broker.head, broker.cash) == (1, D(99_000))
        assert submissions(connection) == [("a", "")]

    def test_a_duplicate_within_a_batch_is_seen(self) -> None:
        broker = paper()
        with broker.batch():
            broker.submit(order("a"), at=1.0)
            with pytest.raises(OrderRejected):
                broker.submit(order("a"), at=1.0)
        assert broker.head == 1


prices = st.decimals(50, 150, places=2)
steps = st.one_of(
    st.tuples(st.just("market"), st.sampled_from("AB"), st.booleans(), st.integers(1, 50), prices),
    st.tuples(st.just("limit"), st.sampled_from("AB"), st.booleans(), st.integers(1, 50), prices),
    st.tuples(st.just("price"), st.sampled_from("AB"), prices),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("close"), st.integers(0, 20)),
    st.tuples(st.just("restart")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=40))
def test_cash_and_positions_are_what_the_fills_say_to_the_last_digit(course: list[tuple[object, ...]]) -> None:
    connection = apsw.Connection(":memory:")
    broker = paper(connection, Costs())
    reasons: set[str] = set()
    for moment, (what, *rest) in enumerate(course, 1):
        if what in ("market", "limit"):
            symbol, buys, quantity, price = rest
            near, far = price * D("0.95"), price * D("1.1")  # type: ignore[operator]
            make = order if buys else short
            changes = {"stop_loss": near, "target": far} if buys else {"stop_loss": far, "target": near}
            try:
                broker.submit(
                    make(f"o{moment}", symbol=symbol, type=what, quantity=D(quantity), price=price, **changes),  # type: ignore[arg-type]
                    at=float(moment),
                    moment=moment,
                    reference=D(100),
                )
            except OrderRejected as error:
                reasons.add(error.reason)
        elif what == "price":
            broker.on_price(rest[0], rest[1], at=float(moment), moment=moment)  # type: ignore[arg-type]
        elif what == "cancel":
            broker.cancel(f"o{rest[0]}", at=float(moment), moment=moment)
        elif what == "close":
            broker.close(f"o{rest[0]}", at=float(moment), moment=moment)
        else:
            broker = paper(connection, Costs())
    assert reasons <= {"INSUFFICIENT_BUYING_POWER"}
    fills = broker.fills(0)
    assert [each.number for each in fills] == list(range(1, len(fills) + 1))
    cash, held = D(100_000), {"A": D(0), "B": D(0)}
    for each in fills:
        signed = each.quantity if each.side == "buy" else -each.quantity
        cash -= signed * each.price + each.fee
        held[each.symbol] += signed
    assert broker.cash == cash
    assert {symbol: quantity for symbol, quantity in held.items() if quantity} == {
        symbol: position.quantity for symbol, position in broker.positions().items()
    }
    value = sum((each.quantity * each.mark for each in broker.positions().values()), D(0))
    assert broker.equity == cash + value
    again = paper(connection)
    assert (again.cash, again.equity, again.positions()) == (broker.cash, broker.equity, broker.positions())
    assert again.books.gross == broker.books.gross
    entries = [each.client_order_id for each in fills if each.leg == "entry"]
    exits = [each.client_order_id for each in fills if each.leg in ("stop", "target", "close")]
    assert len(entries) == len(set(entries))
    assert len(exits) == len(set(exits))
    assert set(exits) <= set(entries)


def test_a_flipped_position_counts_from_the_new_price() -> None:
    books = Books(D(1000))
    books.apply("A", "buy", D(10), D(10), D(0))
    books.apply("A", "sell", D(15), D(12), D(0))
    position = books.positions["A"]
    assert (position.quantity, position.average) == (D(-5), D(12))
    assert books.cash == D(1080)
    assert (books.net, books.gross) == (D(-60), D(60))
