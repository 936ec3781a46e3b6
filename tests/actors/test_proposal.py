"""A setup becomes an action to the last digit: prices on ticks, quantities rounded down, and nothing believed."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.messages import Case
from actors.proposal import ADMISSIONS, Proposal, propose, quantity_for, to_tick
from graveyard import judge
from tests.actors.floor import NOON, case_of, planned_by_joey, short, trace
from tests.graveyard.cases import triple

EQUITY = D(100_000)


def proposed(case: Case | None = None, *, market: Any = 100, equity: D | None = EQUITY, **more: Any) -> Proposal:
    case = case or case_of()
    assert case.setup is not None
    return propose(case, case.setup, market=D(str(market)), equity=equity, **more)


# Prices.


def test_prices_lose_the_noise_of_binary_arithmetic() -> None:
    assert to_tick(110.00000000000001, up=True) == D("110.00")
    assert to_tick(28.999999999999996, up=False) == D("29.00")
    assert to_tick(0.123456, up=False) == D("0.1234")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e13, 1e308])
def test_what_is_no_price_stays_as_it_is_for_the_judge_to_see(value: float) -> None:
    ticked = to_tick(value, up=True)
    assert math.isnan(value) == ticked.is_nan()
    assert math.isnan(value) or float(ticked) == value


@given(st.floats(0.0001, 1e6), st.booleans())
def test_a_price_moves_less_than_a_tick_and_only_the_way_it_should(price: float, up: bool) -> None:
    ticked, exact = to_tick(price, up=up), D(f"{price:.8f}")
    assert abs(ticked - exact) < D("0.01")
    assert ticked >= exact if up else ticked <= exact
    assert to_tick(float(ticked), up=up) == ticked, "what stands on a tick stays there"


@given(
    st.floats(1.5, 5000),
    st.floats(0.001, 0.09),
    st.floats(1.5, 5),
    st.booleans(),
    st.sampled_from(["market", "limit"]),
)
def test_ticks_never_make_a_plan_worse_than_its_word(
    price: float, width: float, ratio: float, long: bool, entry: str
) -> None:
    sign = 1 if long else -1
    stop, target = price * (1 - sign * width), price * (1 + sign * width * ratio)
    direction = "long" if long else "short"
    case = case_of(direction=direction, entry_price=price, stop_loss=stop, target=max(target, 0.01), entry=entry)
    action = proposed(case, market=price).action
    assert action.price is not None
    assert action.stop_loss is not None
    assert action.target is not None
    noise = D("1e-8")
    assert (D(price) - action.price) * sign >= -noise, "the entry is never worse"
    assert (action.stop_loss - D(stop)) * sign >= -noise, "the stop is never further"
    assert (action.target - D(max(target, 0.01))) * sign >= -noise, "the target is never nearer"


@given(st.floats(1.5, 5000), st.floats(0.001, 0.1), st.floats(1.5, 5), st.booleans())
def test_rounding_to_ticks_never_turns_a_sound_plan_into_a_denied_one(
    price: float, share: float, ratio: float, long: bool
) -> None:
    sign = 1 if long else -1
    risk = max(price * share, 0.05)
    if price - risk * (ratio + 1e-6) <= 0.02 or risk > price * 0.0999:
        return
    case = case_of(
        direction="long" if long else "short",
        entry_price=price,
        stop_loss=price - sign * risk,
        target=price + sign * risk * (ratio + 1e-6),
        quantity=1.0,
    )
    action = proposed(case, market=price).action
    _, account, facts = triple(market_price=D(str(price)), last_price=D(str(price)))
    assert judge(action, account, facts).findings == ()


# The worst price.


@pytest.mark.parametrize(
    ("changes", "market", "worst"),
    [
        ({}, 100, "100.00"),
        ({}, 120, "120"),
        ({}, 80, "100.00"),
        ({"entry": "limit"}, 120, "100.00"),
        (short(entry="limit"), 120, "120"),
        (short(), 80, "100.00"),
    ],
)
def test_a_limit_to_buy_alone_cannot_be_filled_above_its_price(changes: Any, market: int, worst: str) -> None:
    assert proposed(case_of(**changes), market=market).worst == D(worst)


# Quantities.


@given(
    st.decimals(D("0.000001"), D("0.1"), places=6),
    st.decimals(D(1), D(10**7), places=4),
    st.decimals(D("0.01"), D(10**5), places=2),
)
def test_a_quantity_never_costs_more_than_its_share(share: D, equity: D, price: D) -> None:
    for fractional, step in ((False, D(1)), (True, D("0.000001"))):
        units = quantity_for(share, equity, price, fractional=fractional)
        assert units * price <= share * equity < (units + step) * price


any_float = st.floats() | st.sampled_from([0.0, 1e308, -1e308, 5e-324, 1e28, 1e29])


@given(any_float, st.decimals(-100, 10**9, places=2), any_float, st.booleans())
@example(math.inf, D(0), 100.0, False)
def test_no_share_of_anything_raises(share: float, equity: D, price: float, fractional: bool) -> None:
    units = quantity_for(D(str(share)), equity, D(str(price)), fractional=fractional)
    assert units >= 0


@given(any_float, st.sampled_from([D("0.5"), D("0.25"), D("0.1")]), st.booleans())
def test_a_breaker_never_makes_a_size_larger_and_no_figure_stops_it(
    quantity: float, factor: D, fractional: bool
) -> None:
    given_ = proposed(case_of(quantity=quantity), fractional=fractional, factor=factor).action.quantity
    assert given_ is not None
    if math.isfinite(quantity) and 0 <= quantity <= 1e12:
        assert 0 <= given_ <= D(str(quantity)) * factor
    elif math.isfinite(quantity):
        assert given_ <= D(str(quantity)) * (1 if quantity > 0 else factor) or quantity < 0


def test_a_breaker_reduces_shares_and_named_quantities_alike_and_says_by_what() -> None:
    named = proposed(case_of(quantity=51.0), factor=D("0.5"))
    shared = proposed(case_of(quantity=None, position_size_pct=0.051), factor=D("0.5"))
    assert named.action.quantity == shared.action.quantity == 25
    assert named.sized_by == shared.sized_by == D("0.5")
    assert proposed().sized_by == 1
    assert shared.action.position_size_pct == D("0.051"), "the claim stays the sender's"


def test_a_quantity_that_is_named_stands_above_a_share_that_is_named_too() -> None:
    assert proposed(case_of(quantity=7.0, position_size_pct=0.05)).action.quantity == 7


def test_a_share_without_known_equity_is_no_quantity() -> None:
    assert proposed(case_of(quantity=None, position_size_pct=0.05), equity=None).action.quantity is None


# Words.


def test_reasons_are_the_pattern_the_catalyst_the_source_and_the_notes() -> None:
    reasons = proposed(planned_by_joey(catalyst="c" * 300)).action.reasons
    assert reasons[:3] == ("squeezer", "c" * 200, "source desk")
    assert reasons[3:], "Joey's notes"
    assert proposed(case_of(signal={"source": ""})).action.reasons == ()
    assert proposed(case_of(signal={"features": {"catalyst": ["not", "a text"]}})).action.reasons == (
        "source desk",
    )


def test_what_speaks_against_the_sender_is_read_and_what_speaks_for_him_is_not() -> None:
    features = {**dict.fromkeys(ADMISSIONS, True), "hrm_approved": True, "user_consent": True}
    assert proposed(case_of(signal={"features": features})).action.admits == ADMISSIONS
    assert proposed(case_of(signal={"features": dict.fromkeys(ADMISSIONS, False)})).action.admits == ()


# The plan.


def test_the_plan_for_kenny_has_the_actions_own_figures() -> None:
    plan = proposed().plan(trace(1), NOON + 5)
    assert (plan.trace_id, plan.symbol, plan.side, plan.quantity) == (trace(1), "AAPL", "buy", D(50))
    assert (plan.price, plan.stop_loss, plan.target, plan.good_until) == (D(100), D(95), D(110), NOON + 5)


@pytest.mark.parametrize("missing", [{"quantity": None}, {"stop_loss": None}])
def test_an_action_that_lacks_a_figure_is_no_plan(missing: Any) -> None:
    with pytest.raises(ValueError, match="no plan"):
        proposed(case_of(**missing)).plan(trace(1), NOON)
