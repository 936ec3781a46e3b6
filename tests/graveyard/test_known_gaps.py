"""What the checks do not see yet. Each of these must fail; one that passes is no gap any longer."""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D

import pytest

from graveyard import Done, judge
from tests.graveyard.cases import ACCOUNT, FACTS, LONG, NOW, SHORT, resting


@pytest.mark.xfail(strict=True, reason="a purchase takes the first sale within a tick, though another one needs it")
def test_wash_trades_are_counted_whatever_their_order() -> None:
    def fill(side: str, price: str) -> Done:
        return Done("fill", NOW, side, D(50), D(price))

    fills = tuple(
        each
        for each in (fill("buy", "100.00"), fill("buy", "100.02"), fill("sell", "100.01"), fill("sell", "100.00"))
        for _ in range(2)
    )
    # Four pairs within a tick; two are found.
    quiet = dataclasses.replace(LONG, quantity=D(10))
    assert judge(quiet, dataclasses.replace(ACCOUNT, recent=fills), FACTS).denied


@pytest.mark.xfail(strict=True, reason="only the leverage that is asked for counts, not the one that follows")
def test_a_person_is_asked_when_the_exposure_is_geared_whatever_is_claimed() -> None:
    account = dataclasses.replace(ACCOUNT, exposures={"B": D(150_000)})
    assert judge(LONG, account, FACTS).asks


@pytest.mark.xfail(strict=True, reason="only what is new counts, not what is held already")
def test_a_person_is_asked_when_a_position_grows_large_in_small_steps() -> None:
    account = dataclasses.replace(ACCOUNT, exposures={"AAPL": D(5000)})
    assert judge(LONG, account, FACTS).asks


@pytest.mark.xfail(strict=True, reason="the risk is counted from the price that is named, not from the worst fill")
def test_the_loss_of_a_market_order_is_counted_from_the_worst_price() -> None:
    # It may fill at 109, from where the stop is 14 away, not 5.
    account = dataclasses.replace(ACCOUNT, open_risk=D(4500))
    action = dataclasses.replace(LONG, quantity=D(50))
    assert judge(action, account, dataclasses.replace(FACTS, market_price=D(109))).denied


@pytest.mark.xfail(strict=True, reason="only letters are looked at, not what stands between them")
@pytest.mark.parametrize("symbol", ["AAPL\x00", "AA PL", "AAPL\x7f", "AA\nPL", "AAPL,MSFT"])
def test_a_symbol_with_something_invisible_in_it_evades_no_list(symbol: str) -> None:
    known = dataclasses.replace(FACTS, restricted=frozenset({"AAPL"}))
    assert judge(dataclasses.replace(LONG, symbol=symbol), ACCOUNT, known).denied


@pytest.mark.xfail(
    strict=True, reason="an order to sell at the market reaches no lower than the price that it names"
)
def test_a_sale_at_the_market_meets_own_orders_whatever_price_it_names() -> None:
    action = dataclasses.replace(SHORT, price=D(105), stop_loss=D(110), target=D(90), quantity=D(40))
    account = dataclasses.replace(ACCOUNT, orders=(resting("buy", "100", leg="target"),))
    assert judge(action, account, FACTS).denied
