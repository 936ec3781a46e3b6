"""The plan as the ruleset sees it: every figure counted here, and what the sender claims kept apart."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.breakers import Breakers
from actors.messages import Case, Market
from actors.portfolio import Totals
from actors.proposal import Proposal, propose
from actors.ruleset_view import View
from actors.viewing import Recount, claims_in, recounted, view_of
from graveyard import Account
from tests.actors.floor import NOON, case_of, planned_by_joey, seen, short

ACCOUNT = Account(D(100_000), D(100_000), {}, D(0), D(0), D(0), (), (), 0)
TOTALS = Totals(D(100_000), 19_675, D(100_000), D(0), D(100_000))


def proposed(case: Case, equity: D | None = D(100_000)) -> Proposal:
    assert case.setup is not None
    assert case.market is not None
    return propose(case, case.setup, market=D(str(case.market.price)), equity=equity)


def viewed(case: Case | None = None, account: Account = ACCOUNT, totals: Totals = TOTALS, **more: Any) -> View:
    case = case or case_of()
    assert case.setup is not None
    given_: dict[str, Any] = {
        "breakers": Breakers(), "sized_by": D(1), "sectors": {}, "now": NOON, "age_s": 1.0, "market_move": None,
        "volatility": None, **more,
    }  # fmt: skip
    return view_of(case, case.setup, proposed(case), account, totals=totals, **given_)


def with_exposures(**exposures: int) -> Account:
    return Account(
        D(100_000), D(100_000), {name: D(value) for name, value in exposures.items()}, D(0), D(0), D(0), (), (), 0
    )


def test_shares_are_those_of_what_is_held_and_new_at_the_worst_price() -> None:
    view = viewed(case_of(market=Market(price=120.0)), with_exposures(AAPL=1000, MSFT=500))
    assert view.share == (D(1000) + 50 * D(120)) / 100_000
    assert view.risk_share == D(250) / 100_000
    assert view.open_positions == 1, "the other symbols"


def test_day_and_week_are_counted_against_their_own_beginnings() -> None:
    view = viewed(totals=Totals(D(0), 1, D(80_000), D(0), D(125_000)))
    assert (view.day_pnl_share, view.week_pnl_share) == (D("0.25"), D("-0.2"))


def test_a_sector_is_what_all_its_symbols_come_to() -> None:
    sectors = {"AAPL": "tech", "MSFT": "tech", "XOM": "oil"}
    account = with_exposures(AAPL=1000, MSFT=500, XOM=9000)
    assert viewed(account=account, sectors=sectors).sector_share == D(6500) / 100_000
    assert viewed(case_of("NVDA"), account, sectors=sectors).sector_share is None


def test_what_bars_say_is_taken_from_the_market_alone() -> None:
    boasts = {"features": {"avg_volume": 9e9, "volume": 9e9, "vix": 1, "market_type": "equity"}}
    view = viewed(case_of(market=seen(atr=2.0), signal=boasts), market_move=-0.01, volatility=20.0)
    assert (view.average_volume, view.volume, view.atr_share) == (1e6, 1e6, 0.02)
    assert (view.market_move, view.volatility_index) == (-0.01, 20.0)
    assert (view.claimed_average_volume, view.claimed_volatility_index) == (9e9, 1)
    bare = viewed(case_of(signal=boasts))
    assert (bare.average_volume, bare.volume, bare.atr_share) == (None, None, None)


@pytest.mark.parametrize("close", [None, 0.0])
def test_without_a_close_there_is_no_share_of_the_range(close: float | None) -> None:
    assert viewed(case_of(market=seen(close_at=None, atr=2.0, price=100.0, close=100.0))).atr_share == 0.02
    market = msgspec.structs.replace(seen(atr=2.0), close=close)
    assert viewed(case_of(market=market)).atr_share is None


def test_a_plan_is_the_patterns_where_the_sender_named_no_stop_or_no_size() -> None:
    assert not viewed(case_of()).from_pattern
    assert not viewed(case_of(quantity=None, position_size_pct=0.05)).from_pattern
    assert viewed(case_of(signal={"stop_loss": None})).from_pattern
    assert viewed(case_of(signal={"quantity": None})).from_pattern


def test_a_patterns_plan_brings_its_confidence_and_how_long_it_holds() -> None:
    view = viewed(planned_by_joey())
    assert (view.pattern, view.holding_hours, view.from_pattern) == ("squeezer", 48, True)
    assert view.confidence == pytest.approx(0.9025)
    own = viewed(case_of())
    assert (own.pattern, own.confidence, own.holding_hours) == (None, None, None)


def test_both_names_of_a_source_are_looked_at() -> None:
    assert viewed(case_of(signal={"source": "a", "features": {"source": "b"}})).sources == ("a", "b")
    assert viewed(case_of(signal={"source": "a"})).sources == ("a",)


def test_without_equity_no_share_is_known() -> None:
    view = viewed(account=Account(None, D(1), {}, D(0), D(0), D(0), (), (), 0))
    assert {view.share, view.risk_share, view.day_pnl_share, view.week_pnl_share} == {None}


wild = st.floats() | st.sampled_from([0.0, 1e308, -1e308, 5e-324]) | st.none()


@given(
    st.fixed_dictionaries({}, optional={
        "entry_price": wild.filter(lambda value: value is not None), "stop_loss": wild, "target": wild,
        "quantity": wild, "position_size_pct": wild,
    }),
    st.decimals(min_value=D("1e-9"), max_value=D("1e12")) | st.none(),
    wild,
)  # fmt: skip
def test_no_figure_whatever_raises(changes: Any, equity: D | None, ratio: float | None) -> None:
    case = case_of(signal={"risk_reward_ratio": ratio}, **changes)
    account = Account(equity, equity, {"AAPL": D(5)}, D(0), D(0), D(0), (), (), 0)
    view = viewed(case, account)
    assert view.share is None or view.share.is_finite()
    for claim in claims_in(case, proposed(case, equity), account, fresh=True):
        assert 0 <= claim.agreement <= 1


# Claims.


def claimed(case: Case, account: Account = ACCOUNT, *, fresh: bool = True) -> dict[str, tuple[float, float]]:
    return {
        claim.name: (claim.claimed, claim.known) for claim in claims_in(case, proposed(case), account, fresh=fresh)
    }


def test_a_price_is_held_against_the_close_of_a_bar_that_is_young_enough() -> None:
    case = case_of(market=seen(98.0), signal={"price": 100.0})
    assert claimed(case) == {"price": (100.0, 98.0)}
    assert claimed(case, fresh=False) == {}
    assert claimed(case_of()) == {}


@pytest.mark.parametrize("changes", [{}, short()])
def test_a_ratio_is_held_against_the_one_of_the_plans_own_prices(changes: Any) -> None:
    assert claimed(case_of(signal={"risk_reward_ratio": 9.0}, **changes)) == {"risk_reward_ratio": (9.0, 2.0)}


@pytest.mark.parametrize("changes", [{"stop_loss": None}, {"target": None}, {"stop_loss": 100.0}])
def test_a_ratio_that_cannot_be_counted_is_no_claim(changes: Any) -> None:
    assert claimed(case_of(signal={"risk_reward_ratio": 9.0}, **changes)) == {}


def test_a_size_is_held_against_what_the_quantity_comes_to() -> None:
    assert claimed(case_of(position_size_pct=0.01)) == {"position_size_pct": (0.01, 0.05)}
    assert claimed(case_of(quantity=None, position_size_pct=0.01)) == {}, "then it is an order and no claim"


# The pattern, counted again.


def test_joeys_confidence_and_scores_come_out_the_same() -> None:
    case = planned_by_joey()
    assert case.setup is not None
    assert recounted(case, case.setup) == Recount(case.setup.confidence, case.setup.scores)


@pytest.mark.parametrize(
    "change", [{"pattern": None}, {"pattern": "made_up"}, {"pattern": "washout_reversal"}, {"direction": "short"}]
)
def test_a_pattern_that_does_not_hold_has_no_confidence(change: Any) -> None:
    case = planned_by_joey()
    assert case.setup is not None
    assert recounted(case, msgspec.structs.replace(case.setup, **change)) is None


def test_a_pattern_whose_facts_are_gone_has_no_confidence() -> None:
    case = planned_by_joey()
    assert case.setup is not None
    bare = msgspec.structs.replace(case, signal=msgspec.structs.replace(case.signal, features={}))
    assert recounted(bare, case.setup) is None


def test_the_close_of_no_number_is_no_share() -> None:
    view = viewed(case_of(market=seen(atr=math.nan)))
    assert view.atr_share is not None
    assert math.isnan(view.atr_share)
