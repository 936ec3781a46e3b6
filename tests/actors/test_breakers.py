"""Circuit breakers trip at their thresholds, hold for their time, and nothing that is reported shortens that."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.breakers import (
    Breakers,
    BreakerSettings,
    DayLoss,
    LosingRun,
    MarketFall,
    after_close,
    after_day_pnl,
    after_market_move,
    longs_barred_until,
    size_factor,
    suspended_until,
)

NOON = 1_700_000_000.0
DAY = 86_400.0
ORIGINAL = BreakerSettings()


def close(state: Breakers, *profits: float, settings: BreakerSettings = ORIGINAL, now: float = NOON) -> Breakers:
    for profit in profits:
        state, _ = after_close(state, settings, D(str(profit)), now)
    return state


def test_a_fresh_state_holds_nothing() -> None:
    state = Breakers()
    assert suspended_until(state, NOON) is None
    assert longs_barred_until(state, NOON) is None
    assert size_factor(state, NOON) == 1


def test_a_day_at_minus_two_per_cent_suspends_new_entries_for_a_day() -> None:
    state, actions = after_day_pnl(Breakers(), ORIGINAL, D("-0.02"), NOON)
    assert suspended_until(state, NOON) == (NOON + DAY, "CB-001")
    assert suspended_until(state, NOON + DAY) is None
    assert [(each.kind, each.breaker, each.until) for each in actions] == [("suspend", "CB-001", NOON + DAY)]
    assert actions[0].reason == "the day's profit and loss is -2 %, at or below -2 %"


def test_a_day_just_above_trips_nothing() -> None:
    assert after_day_pnl(Breakers(), ORIGINAL, D("-0.0199999"), NOON) == (Breakers(), ())


@pytest.mark.parametrize("share", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_loss_that_nobody_knows_trips(share: str) -> None:
    state, actions = after_day_pnl(Breakers(), ORIGINAL, D(share), NOON)
    assert suspended_until(state, NOON) is not None
    assert len(actions) == 1


def test_a_day_that_stays_bad_does_not_move_the_end_of_its_suspension() -> None:
    state, _ = after_day_pnl(Breakers(), ORIGINAL, D("-0.02"), NOON)
    assert after_day_pnl(state, ORIGINAL, D("-0.09"), NOON + 3600) == (state, ())
    again, actions = after_day_pnl(state, ORIGINAL, D("-0.09"), NOON + DAY)
    assert suspended_until(again, NOON + DAY) == (NOON + 2 * DAY, "CB-001")
    assert len(actions) == 1


def test_three_losses_in_a_row_halve_sizes_until_a_trade_wins() -> None:
    state = close(Breakers(), -1, -1)
    assert size_factor(state, NOON) == 1
    state, actions = after_close(state, ORIGINAL, D(-1), NOON)
    assert size_factor(state, NOON) == D("0.5")
    assert [(each.kind, each.breaker) for each in actions] == [("reduce", "CB-002")]
    assert actions[0].reason == "3 losses in a row: sizes times 0.5"
    assert size_factor(state, NOON + 30 * DAY) == D("0.5")
    assert size_factor(close(state, 0.01), NOON) == 1


def test_further_losses_do_not_halve_again_and_say_nothing_new() -> None:
    state = close(Breakers(), -1, -1, -1)
    more, actions = after_close(state, ORIGINAL, D(-1), NOON)
    assert size_factor(more, NOON) == D("0.5")
    assert actions == ()


def test_a_trade_that_ends_where_it_began_is_neither_win_nor_loss() -> None:
    assert close(Breakers(), -1, -1, 0) == close(Breakers(), -1, -1)
    assert size_factor(close(Breakers(), -1, -1, -1, 0), NOON) == D("0.5")


def test_a_win_ends_the_run_before_it_trips() -> None:
    assert size_factor(close(Breakers(), -1, -1, 1, -1, -1), NOON) == 1


def test_a_profit_that_is_no_number_counts_as_a_loss() -> None:
    assert close(Breakers(), float("nan")).losses_in_a_row == 1


def test_after_a_win_sizes_stay_reduced_for_the_time_that_was_set() -> None:
    settings = BreakerSettings(losing_run=LosingRun(minutes=60))
    state = close(Breakers(), -1, -1, -1, 5, settings=settings)
    assert size_factor(state, NOON + 3599) == D("0.5")
    assert size_factor(state, NOON + 3600) == 1
    assert size_factor(close(state, -1, settings=settings), NOON + 3600) == 1


def test_a_run_can_suspend_too() -> None:
    settings = BreakerSettings(losing_run=LosingRun(threshold=2, action="suspend", minutes=60))
    state = close(Breakers(), -1, settings=settings)
    state, actions = after_close(state, settings, D(-1), NOON)
    assert [each.kind for each in actions] == ["reduce", "suspend"]
    assert suspended_until(state, NOON) == (NOON + 3600, "CB-002")
    assert suspended_until(close(state, 9, settings=settings), NOON) == (NOON + 3600, "CB-002")


def test_a_market_at_minus_three_per_cent_closes_longs_once_and_bars_new_ones() -> None:
    state, actions = after_market_move(Breakers(), ORIGINAL, -0.03, "2026-03-02", NOON)
    assert [(each.kind, each.breaker) for each in actions] == [("close_longs", "CB-003")]
    assert longs_barred_until(state, NOON) == NOON + DAY
    assert longs_barred_until(state, NOON + DAY) is None
    assert suspended_until(state, NOON) is None
    assert after_market_move(state, ORIGINAL, -0.05, "2026-03-02", NOON + 60) == (state, ())
    following, again = after_market_move(state, ORIGINAL, -0.03, "2026-03-03", NOON + 3600)
    assert [each.kind for each in again] == ["close_longs"]
    assert longs_barred_until(following, NOON) == NOON + 3600 + DAY


def test_a_market_just_above_trips_nothing_and_one_that_is_no_number_does() -> None:
    assert after_market_move(Breakers(), ORIGINAL, -0.0299, "2026-03-02", NOON) == (Breakers(), ())
    _, actions = after_market_move(Breakers(), ORIGINAL, float("nan"), "2026-03-02", NOON)
    assert len(actions) == 1


def test_a_market_fall_can_suspend_shorts_as_well() -> None:
    settings = BreakerSettings(market=MarketFall(action="suspend"))
    state, actions = after_market_move(Breakers(), settings, -0.03, "2026-03-02", NOON)
    assert [each.kind for each in actions] == ["close_longs", "suspend"]
    assert suspended_until(state, NOON) == (NOON + DAY, "CB-003")


events = st.one_of(
    st.tuples(st.just("close"), st.sampled_from([-5.0, -0.01, 0.0, 0.01, 7.0, float("nan")])),
    st.tuples(st.just("day"), st.sampled_from([-0.5, -0.02, -0.019, 0.0, 0.3, float("nan")])),
    st.tuples(st.just("market"), st.sampled_from([-0.5, -0.03, -0.029, 0.0, 0.3, float("nan")])),
)
STRICT = BreakerSettings(
    DayLoss(D("0.01"), minutes=2000),
    LosingRun(2, "suspend", D("0.25"), 90),
    MarketFall(0.02, "suspend", 3000),
)


def step(state: Breakers, settings: BreakerSettings, event: tuple[str, float], now: float) -> Breakers:
    kind, figure = event
    if kind == "close":
        return after_close(state, settings, D(str(figure)), now)[0]
    if kind == "day":
        return after_day_pnl(state, settings, D(str(figure)), now)[0]
    return after_market_move(state, settings, figure, str(now // DAY), now)[0]


@given(
    st.sampled_from([ORIGINAL, STRICT]),
    st.lists(st.tuples(events, st.floats(-3600, 90_000)), max_size=30),
)
def test_nothing_shortens_a_suspension_or_enlarges_a_size(
    settings: BreakerSettings, history: list[tuple[tuple[str, float], float]]
) -> None:
    state, now = Breakers(), NOON
    for event, passed in history:
        now += passed
        new = step(state, settings, event, now)
        for name in ("day_loss_until", "losing_run_until", "market_until", "longs_until", "reduced_until"):
            assert getattr(new, name) >= getattr(state, name)
        assert 0 < size_factor(new, now) <= 1
        if event[0] != "close" or not event[1] > 0:
            assert size_factor(new, now) <= size_factor(state, now)
        assert step(state, settings, event, now) == new
        state = new
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=Breakers) == state
    assert msgspec.json.decode(msgspec.json.encode(state), type=Breakers) == state
