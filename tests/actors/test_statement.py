"""The account as people see it agrees with the books, and can be read digit by digit."""

from __future__ import annotations

from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from actors.portfolio import Lot, Mark, Portfolio, Totals
from actors.statement import Position, fall, statement

TOTALS = Totals(D(99_000), 1, D(100_000))


def lot(trace: str, quantity: str, price: str, symbol: str = "AAPL") -> Lot:
    return Lot(trace, symbol, D(quantity), D(quantity) * D(price), D(0))


def test_an_account_without_positions_is_its_cash() -> None:
    found = statement(Portfolio(TOTALS), D(110_000), "EUR")
    assert (found.equity, found.cash, found.currency, found.positions) == ("99000", "99000", "EUR", ())
    assert (found.day_change, found.drawdown) == (-0.01, 0.1)


def test_lots_of_a_symbol_are_one_position_on_each_side() -> None:
    lots = [lot("a", "10", "100"), lot("b", "30", "102"), lot("c", "-5", "104"), lot("d", "0.5", "3", "MSFT")]
    books = Portfolio(TOTALS, lots, marks=[("AAPL", Mark(D("103.5"), 1.0))])
    assert statement(books, D(0), "USD").positions == (
        Position("AAPL", "short", "5", "104", "103.5", "517.5", "2.5"),
        Position("AAPL", "long", "40", "101.5", "103.5", "4140", "80"),
        Position("MSFT", "long", "0.5", "3", "3", "1.5", "0"),
    )


def test_texts_are_plain_decimals() -> None:
    lots = [lot("a", "3", "0.00001234"), lot("b", "1E+3", "1E+5", "B")]
    found = statement(Portfolio(TOTALS, lots), D(0), "USD").positions
    assert [(each.entry_price, each.value) for each in found] == [
        ("0.00001234", "0.00003702"),
        ("100000", "100000000"),
    ]
    third = statement(Portfolio(TOTALS, [Lot("a", "A", D(3), D(1), D(0))]), D(0), "USD").positions[0]
    assert third.entry_price == "0.33333333"


def test_nothing_falls_from_nothing() -> None:
    assert fall(D(5), D(0)) == fall(D(5), D(-5)) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABC"), st.integers(-50, 50).filter(bool), st.integers(1, 500), st.integers(1, 500)
        ),
        max_size=8,
    )
)
def test_what_is_shown_adds_up_to_the_equity_and_the_exposure(held: list[tuple[str, int, int, int]]) -> None:
    lots = [lot(str(number), str(many), str(paid), symbol) for number, (symbol, many, paid, _) in enumerate(held)]
    books = Portfolio(TOTALS, lots, marks=[(symbol, Mark(D(price), 1.0)) for symbol, _, _, price in held])
    found = statement(books, D(0), "USD")
    signs = {"long": 1, "short": -1}
    assert sum((D(each.value) * signs[each.side] for each in found.positions), D(found.cash)) == books.equity
    assert D(found.equity) == books.equity
    assert sum(D(each.value) for each in found.positions) == books.exposure
    spent = sum((each.cost for each in lots), D(0))
    assert sum(D(each.profit) for each in found.positions) == books.equity - books.totals.cash - spent
