"""The books add up, in whatever order the fills come."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Fill
from actors.portfolio import Lot, Mark, Portfolio, Reservation, Totals, day_of, week_of
from graveyard import Account, Done, WorkingOrder

NOON = 1_700_000_000.0
DAY = 86_400.0


def promise(
    trace: str, symbol: str = "AAPL", side: Any = "buy", quantity: int = 10, price: int = 100
) -> Reservation:
    stop = price - 5 if side == "buy" else price + 5
    target = price + 10 if side == "buy" else price - 10
    return Reservation(trace, symbol, side, D(quantity), D(price), D(stop), D(5), D(price), D(target))


def fill(  # noqa: PLR0917
    trace: str,
    leg: Literal["entry", "stop", "target", "cancel"] = "entry",
    quantity: int | str = 10,
    price: int | str = 100,
    side: Literal["buy", "sell"] = "buy",
    symbol: str = "AAPL",
    fee: str = "0",
    at: float = NOON,
) -> Fill:
    return Fill(1, trace, symbol, side, leg, D(quantity), D(price), D(fee), at)


def fresh() -> Portfolio:
    return Portfolio.opened(D(100_000), NOON)


def account_of(books: Portfolio, symbol: str = "AAPL", now: float = NOON) -> Account:
    return books.account(symbol, now)


def only(books: Portfolio) -> Lot:
    (lot,) = books.lots
    return lot


def test_a_reservation_is_exposure_and_risk_at_once() -> None:
    books = fresh()
    books.reserve(promise("a"))
    account = account_of(books)
    assert account.exposures == {"AAPL": D(1000)}
    assert account.open_risk == D(50)
    assert account.equity == D(100_000)


def test_every_change_shows_in_the_next_account() -> None:
    books = fresh()

    def recounted() -> Any:
        marks = [(each, mark) for each in books.symbols if (mark := books.mark_of(each)) is not None]
        return account_of(Portfolio(books.totals, books.lots, books.reservations.values(), marks))

    changes = (
        lambda: books.reserve(promise("a")),
        lambda: books.reserve(promise("b", symbol="MSFT")),
        lambda: books.apply_fill(fill("a", quantity=4, fee="1")),
        lambda: books.mark("AAPL", D(90), NOON + 1),
        lambda: books.release("b"),
        lambda: books.apply_fill(fill("a", leg="cancel", quantity=0, fee="1")),
        lambda: books.roll_day(NOON + DAY),
        lambda: books.apply_fill(fill("a", leg="stop", quantity=4, price=95, side="sell")),
    )
    for change in changes:
        before = account_of(books)
        change()
        assert account_of(books) == recounted()
        assert account_of(books) != before


def test_an_entry_turns_its_reservation_into_a_lot_part_by_part() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a", quantity=4))
    assert books.reservations["a"].quantity == 6
    assert account_of(books).exposures == {"AAPL": D(1000)}
    assert account_of(books).open_risk == D(50)
    books.apply_fill(fill("a", quantity=6))
    assert books.reservations == {}
    assert only(books) == Lot("a", "AAPL", D(10), D(1000), D(95), D(110))
    assert books.equity == D(100_000)


def test_more_filled_than_reserved_leaves_no_reservation_below_zero() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a", quantity=12))
    assert books.reservations == {}
    assert account_of(books).exposures == {"AAPL": D(1200)}


def test_a_cancel_releases_what_was_not_filled_and_keeps_what_was() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a", quantity=4))
    books.apply_fill(fill("a", "cancel", 0, 0))
    assert account_of(books).exposures == {"AAPL": D(400)}
    books.reserve(promise("b", "MSFT"))
    books.apply_fill(fill("b", "cancel", 0, 0, symbol="MSFT"))
    assert books.symbols == ("AAPL",)


@pytest.mark.parametrize(
    ("entry", "leg", "price", "gain"),
    [
        ("buy", "stop", 95, -50),
        ("buy", "target", 110, 100),
        ("sell", "stop", 105, -50),
        ("sell", "target", 90, 100),
    ],
)
def test_a_stop_or_a_target_closes_the_lot(entry: Any, leg: Any, price: int, gain: int) -> None:
    books = fresh()
    books.reserve(promise("a", side=entry))
    books.apply_fill(fill("a", side=entry, fee="1"))
    books.apply_fill(fill("a", leg, price=price, side="sell" if entry == "buy" else "buy", fee="1"))
    assert books.symbols == ()
    assert books.equity == D(100_000 + gain - 2)
    assert books.totals.realised_today == D(gain - 2)
    assert books.unrealised_today == 0


def test_a_partial_close_realises_its_part_of_the_cost() -> None:
    books = fresh()
    books.apply_fill(fill("a", quantity=4, price=100))
    books.apply_fill(fill("a", quantity=6, price=110))
    books.apply_fill(fill("a", "target", 5, 120, "sell"))
    assert only(books).cost == D(530)
    assert books.totals.realised_today == D(70)
    assert books.unrealised_today == D(70)


def test_closing_more_than_is_held_stands_the_other_way_and_all_at_risk() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a"))
    books.apply_fill(fill("a", "stop", 10, 95, "sell"))
    books.apply_fill(fill("a", "target", 10, 95, "sell"))
    assert only(books).quantity == -10
    assert account_of(books).exposures == {"AAPL": D(950)}
    assert account_of(books).open_risk == D(950)


def test_an_entry_that_nobody_reserved_counts_as_all_at_risk() -> None:
    books = fresh()
    books.apply_fill(fill("a"))
    books.apply_fill(fill("b", side="sell", symbol="MSFT"))
    assert account_of(books).open_risk == D(2000)


def test_longs_and_shorts_of_a_symbol_are_added_where_exposure_counts() -> None:
    books = fresh()
    books.apply_fill(fill("a"))
    books.apply_fill(fill("b", side="sell"))
    assert account_of(books).exposures == {"AAPL": D(2000)}
    assert books.equity == D(100_000)


def test_a_mark_moves_equity_exposure_and_risk() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a"))
    assert books.mark("AAPL", D(97), NOON + 1)
    account = account_of(books)
    assert (account.equity, account.exposures, account.open_risk) == (D(99_970), {"AAPL": D(970)}, D(20))


def test_a_mark_beyond_one_stop_does_not_hide_the_risk_of_another_lot() -> None:
    books = fresh()
    books.apply_fill(fill("a"))
    books.reserve(promise("b", price=90))
    books.apply_fill(fill("b", price=90))
    books = Portfolio(
        books.totals,
        [Lot("a", "AAPL", D(10), D(1000), D(95)), Lot("b", "AAPL", D(10), D(900), D(80))],
        marks=[("AAPL", Mark(D(90), NOON))],
    )
    assert account_of(books).open_risk == D(100)


@pytest.mark.parametrize("price", [D("NaN"), D("Infinity"), D(0), D(-1)])
def test_a_price_that_is_none_marks_nothing(price: D) -> None:
    books = fresh()
    books.apply_fill(fill("a"))
    assert not books.mark("AAPL", price, NOON + 1)
    assert not books.mark("MSFT", D(1), NOON + 1)
    assert not books.mark("AAPL", D(1), NOON - 1)


@pytest.mark.parametrize(
    ("quantity", "price", "fee"),
    [("NaN", 1, "0"), (1, "NaN", "0"), (1, 1, "NaN"), (-1, 1, "0"), (0, 1, "0"), (1, 0, "0")],
)
def test_a_fill_that_makes_no_sense_changes_nothing(quantity: Any, price: Any, fee: str) -> None:
    books = fresh()
    with pytest.raises(ValueError, match="fill 1"):
        books.apply_fill(fill("a", quantity=quantity, price=price, fee=fee))
    assert account_of(books) == account_of(fresh())


def test_the_same_signal_cannot_reserve_twice() -> None:
    books = fresh()
    books.reserve(promise("a"))
    with pytest.raises(ValueError, match="not twice"):
        books.reserve(promise("a"))


def test_a_new_day_begins_with_the_equity_of_its_start() -> None:
    books = fresh()
    books.apply_fill(fill("a", fee="3"))
    books.mark("AAPL", D(90), NOON + 1)
    assert not books.roll_day(NOON + 1)
    assert books.roll_day(NOON + DAY)
    assert books.totals == Totals(D(98_997), int((NOON + DAY) // DAY), D(99_897), week_start_equity=D(100_000))
    assert not books.roll_day(NOON)


def test_weeks_begin_on_monday() -> None:
    monday = day_of(1_700_438_400.0)  # 2023-11-20
    assert [week_of(monday + day) - week_of(monday) for day in range(-7, 8)] == [-1] * 7 + [0] * 7 + [1]


def test_a_new_week_begins_with_the_equity_of_its_start() -> None:
    books = fresh()
    books.apply_fill(fill("a", fee="3"))
    for _ in range(5):  # Wednesday to Sunday
        books.roll_day(NOON + DAY * (books.totals.day - day_of(NOON) + 1))
        assert books.totals.week_start_equity == D(100_000)
    books.mark("AAPL", D(90), NOON + 6 * DAY)
    books.roll_day(NOON + 6 * DAY)
    assert books.totals.week_start_equity == books.totals.day_start_equity == D(99_897)


def test_what_waits_at_the_broker_is_entries_and_targets_of_the_symbol() -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.reserve(promise("b", "MSFT"))
    books.reserve(promise("c", side="sell"))
    books.apply_fill(fill("a", quantity=4))
    assert set(account_of(books).orders or ()) == {
        WorkingOrder("AAPL", "buy", D(6), D(100)),
        WorkingOrder("AAPL", "sell", D(10), D(100)),
        WorkingOrder("AAPL", "sell", D(4), D(110), "target"),
    }
    books.apply_fill(fill("a", "cancel", 0, 0))
    books.apply_fill(fill("a", "target", 4, 110, "sell"))
    books.release("c")
    assert account_of(books).orders == ()
    assert account_of(books, "NVDA").orders == ()


def test_what_was_done_is_kept_for_a_minute_by_symbol_and_counted_over_all() -> None:
    books = fresh()
    order, cancel, filled = (
        Done(what, NOON + second, "buy", D(1), D(100)) for second, what in enumerate(("order", "cancel", "fill"))
    )
    books.note("MSFT", order)
    for done in (order, cancel, filled):
        books.note("AAPL", done)
    at_once = account_of(books, now=NOON + 2)
    assert (at_once.recent, at_once.messages) == ((order, cancel, filled), 3), "a fill is no message"
    later = account_of(books, now=NOON + 60.5)
    assert (later.recent, later.messages) == ((cancel, filled), 1)
    assert account_of(books, "MSFT", NOON + 60.5).recent == ()
    last = account_of(books, now=NOON + 100)
    assert (last.recent, last.messages) == ((), 0)


def test_only_the_fill_that_ends_a_trade_tells_what_it_brought() -> None:
    books = fresh()
    books.reserve(promise("a"))
    assert books.apply_fill(fill("a", quantity=4)) is None
    assert books.apply_fill(fill("a", quantity=6)) is None
    assert books.apply_fill(fill("a", "cancel", 0, 0)) is None
    assert books.apply_fill(fill("a", "stop", 10, 95, "sell", fee="1")) == D(-51)


@pytest.mark.parametrize(
    ("entry_fee", "closes", "brought"),
    [("0", ((8, 110), (2, 99)), 78), ("0", ((8, 90), (2, 101)), -78), ("30", ((10, 102),), -10)],
)
def test_what_a_trade_brought_is_that_of_all_its_parts(entry_fee: str, closes: Any, brought: int) -> None:
    books = fresh()
    books.reserve(promise("a"))
    books.apply_fill(fill("a", fee=entry_fee))
    profits = [books.apply_fill(fill("a", "target", quantity, price, "sell")) for quantity, price in closes]
    assert profits[-1] == D(brought)


signals = st.lists(
    st.tuples(
        st.sampled_from(["AAPL", "MSFT"]),
        st.sampled_from(["buy", "sell"]),
        st.lists(st.tuples(st.integers(1, 20), st.integers(80, 120)), max_size=3),
        st.one_of(
            st.none(), st.tuples(st.sampled_from(["stop", "target"]), st.integers(1, 60), st.integers(80, 120))
        ),
        st.booleans(),
    ),
    max_size=6,
)


@given(signals, st.randoms())
def test_the_order_of_the_fills_of_different_signals_does_not_matter(case: Any, chance: Any) -> None:
    queues: list[list[Fill]] = []
    books, straight = fresh(), fresh()
    for number, (symbol, side, entries, exit_, cancelled) in enumerate(case):
        trace = f"t{number}"
        for account_books in (books, straight):
            account_books.reserve(promise(trace, symbol, side, 30))
        queue = [fill(trace, "entry", q, p, side, symbol, fee="0.1") for q, p in entries]
        if exit_ is not None:
            leg, quantity, price = exit_
            queue.append(fill(trace, leg, quantity, price, "sell" if side == "buy" else "buy", symbol))
        if cancelled:
            queue.append(fill(trace, "cancel", 0, 0, side, symbol))
        queues.append(queue)
    every = [each for queue in queues for each in queue]
    cash, net = D(100_000), {"AAPL": D(0), "MSFT": D(0)}
    for each in every:
        straight.apply_fill(each)
        signed = each.quantity if each.side == "buy" else -each.quantity
        cash -= signed * each.price + each.fee
        net[each.symbol] += signed
    while any(queues):
        books.apply_fill(chance.choice([queue for queue in queues if queue]).pop(0))
        assert all(each.quantity > 0 for each in books.reservations.values())
        account = account_of(books)
        assert account.exposures is not None
        assert all(value >= 0 for value in account.exposures.values())
        assert account.open_risk is not None
        assert account.open_risk >= 0
    assert set(books.lots) == set(straight.lots)
    assert books.reservations == straight.reservations
    assert books.totals.cash == straight.totals.cash == cash
    for symbol, units in net.items():
        assert sum(lot.quantity for lot in books.lots if lot.symbol == symbol) == units
        books.mark(symbol, D(100), NOON + 1)
    assert books.equity == cash + 100 * sum(net.values())
    # The running sums are what a count from the rows gives.
    marks = [(symbol, Mark(D(100), NOON + 1)) for symbol in net]
    recounted = Portfolio(books.totals, books.lots, books.reservations.values(), marks)
    assert account_of(recounted) == account_of(books)
