from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from actors.feeds import as_signals, demo_bars
from actors.indicators import market
from actors.joey import Joey
from actors.kyle import Kyle
from actors.messages import Case, Market
from ark.agent import Durability
from ark.errors import ConfigError
from ark.signal import Bar, Signal
from ark.testing import TestContext, drive
from graveyard.rules import CRITICAL_SHARE
from tests.actors.bars import path, series, shown, window
from tests.actors.test_kyle import Desk
from tests.actors.test_patterns import EXAMPLES, then


def trade(**fields: Any) -> Signal:
    return Signal(**{"symbol": "ACME", "direction": "long", "price": 100.0, **fields})


def judged(signal: Signal, found: Market | None = None, **given_settings: Any) -> Case:
    desk = TestContext("joey", settings=given_settings)
    joey = Joey()
    joey.setup(desk)
    answer = drive(joey, Case(signal=signal, market=found or Market(price=signal.price)), desk)
    assert isinstance(answer, Case)
    return answer


DEAD_CAT: dict[str, Any] = {
    **EXAMPLES["dead_cat_bounce", "short"][0],
    **EXAMPLES["dead_cat_bounce", "short"][1],
}


def test_he_keeps_no_journal() -> None:
    assert Joey.durability is Durability.NONE


def test_a_refusal_is_passed_on_untouched() -> None:
    case = Case(signal=trade(features=DEAD_CAT), refusal=("expired", "too old"))
    assert drive(Joey(), case, TestContext("joey")) == case


@pytest.mark.parametrize("size", [{"quantity": 5.0}, {"position_size_pct": 0.25}])
def test_a_plan_of_its_own_stands_as_it_is(size: dict[str, float]) -> None:
    setup = judged(trade(stop_loss=120.0, leverage=5.0, **size), Market(price=101.0)).setup
    assert setup is not None
    assert (setup.entry, setup.entry_price, setup.stop_loss, setup.target) == ("market", 100.0, 120.0, None)
    assert (setup.quantity, setup.position_size_pct) == (size.get("quantity"), size.get("position_size_pct"))
    assert (setup.leverage, setup.pattern, setup.confidence) == (5.0, None, 0.0)


def test_a_pattern_is_named_with_a_plan_of_its_own() -> None:
    signal = trade(direction="short", stop_loss=110.0, quantity=1.0, features=DEAD_CAT)
    setup = judged(signal).setup
    assert setup is not None
    assert (setup.pattern, setup.confidence) == ("dead_cat_bounce", pytest.approx(0.82))
    assert setup.stop_loss == 110.0
    assert 0 < setup.scores["weighted_total"] <= 1


@pytest.mark.parametrize(
    "signal",
    [
        trade(),
        trade(stop_loss=95.0),
        trade(action="observe"),
        trade(action="observe", stop_loss=95.0, quantity=1.0),
        trade(direction="long", features=DEAD_CAT),
    ],
)
def test_without_a_plan_and_without_a_pattern_there_is_nothing_to_do(signal: Signal) -> None:
    case = judged(signal)
    assert case.setup is None
    assert case.signal == signal


@pytest.mark.parametrize("size", [{"quantity": 5.0}, {"position_size_pct": 0.05}])
def test_a_trade_with_a_size_and_nothing_else_goes_on_as_it_stands_for_the_judge_to_say_what_is_missing(
    size: dict[str, float],
) -> None:
    setup = judged(trade(**size)).setup
    assert setup is not None
    assert (setup.stop_loss, setup.target, setup.pattern, setup.confidence) == (None, None, None, 0.0)
    assert (setup.quantity, setup.position_size_pct) == (size.get("quantity"), size.get("position_size_pct"))


def test_a_pattern_makes_the_plan_where_the_signal_has_none() -> None:
    setup = judged(trade(direction="short", leverage=1.5, features=DEAD_CAT)).setup
    assert setup is not None
    assert (setup.pattern, setup.direction, setup.entry) == ("dead_cat_bounce", "short", "limit")
    assert setup.stop_loss == pytest.approx(107)
    assert setup.target == pytest.approx(100 * (1 - 0.15 * 0.5 - 0.30 * 0.3 - 0.50 * 0.2))
    assert (setup.quantity, setup.position_size_pct, setup.leverage) == (None, 0.08, 1.5)
    assert "hold at most 72 h" in setup.notes


def test_a_plan_of_joeys_own_stays_below_what_a_person_is_asked_about_unless_it_is_wanted() -> None:
    wish = trade(direction="short", features=DEAD_CAT)
    for settings_of_joey, share in (
        ({}, float(CRITICAL_SHARE)),
        ({"max_share": 0.10}, 0.10),
        ({"max_share": 0.02}, 0.02),
    ):
        setup = judged(wish, **settings_of_joey).setup
        assert setup is not None
        assert setup.position_size_pct == share


def test_what_the_sender_decided_himself_stands_in_the_plan() -> None:
    setup = judged(trade(direction="short", position_size_pct=0.25, target=50.0, features=DEAD_CAT)).setup
    assert setup is not None
    assert (setup.position_size_pct, setup.target, setup.quantity) == (0.25, 50.0, None)
    setup = judged(trade(direction="short", quantity=7.0, features=DEAD_CAT)).setup
    assert setup is not None
    assert (setup.quantity, setup.position_size_pct) == (7.0, None)


def test_an_unsure_pattern_makes_no_plan() -> None:
    required = EXAMPLES["dead_cat_bounce", "short"][0]
    signal = trade(direction="short", features=required)
    assert judged(signal).setup is None
    assert judged(signal, min_confidence=0.4).setup is not None


def test_a_pattern_that_gives_no_plan_gives_way() -> None:
    facts = {**EXAMPLES["morning_panic", "long"][0], **EXAMPLES["morning_panic", "long"][1]}
    assert judged(trade(features=facts)).setup is None


def test_a_bar_that_was_only_shown_becomes_a_trade_of_its_pattern() -> None:
    fall = [100.0] * 30 + [90.0, 80.0, 70.0] + [60.0] * 12
    bars = then(path([*fall, 62.0, 64.0]), 66.0, 71.0, 65.5, 66.0, 500.0)
    signal = shown(bars[-1], direction="long")
    assert judged(signal, market(window(bars), None, bars[-1].close)).setup is None  # seen before
    case = judged(signal, market(window(bars), bars[-1], bars[-1].close))
    assert case.setup is not None
    assert (case.setup.pattern, case.setup.direction) == ("dead_cat_bounce", "short")
    assert (case.signal.action, case.signal.direction) == ("trade", "short")


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'min_confidence'"):
        Joey().setup(TestContext("joey", settings={"min_confidenze": 0.5}))


@given(series())
@settings(max_examples=40, deadline=None)
def test_any_bars_pass_through_kyle_and_joey(bars: list[Bar]) -> None:
    desk, kyle, joey = Desk(), Kyle(), Joey()
    kyle.setup(desk)
    for bar in bars:
        case = drive(joey, drive(kyle, shown(bar), desk), desk)
        if case.setup is None:
            continue
        side = 1 if case.setup.direction == "long" else -1
        assert case.signal.action == "trade"
        assert case.setup.confidence >= 0.65
        assert (case.setup.entry_price - case.setup.stop_loss) * side > 0
        assert (case.setup.target - case.setup.entry_price) * side > 0
        assert 0 < case.setup.position_size_pct <= 0.10


def test_of_ordinary_bars_a_small_share_becomes_a_plan() -> None:
    desk, kyle, joey = Desk(), Kyle(), Joey()
    kyle.setup(desk)
    cases = [
        joey.handle(kyle.handle(msgspec.convert(given_signal, Signal), desk), desk)
        for given_signal in as_signals(bar for bar in demo_bars() if bar[0] in ("IBM", "MSFT"))
    ]
    planned = [case.setup for case in cases if case.setup is not None]
    assert 0.01 < len(planned) / len(cases) < 0.06
    names = {setup.pattern for setup in planned}
    assert names >= {"breakout", "momentum", "reversal", "volume_anomaly", "dead_cat_bounce"}
    assert {setup.direction for setup in planned} == {"long", "short"}


class TestWhatHeCounts:
    def desk(self) -> tuple[Joey, TestContext]:
        desk, joey = TestContext("joey"), Joey()
        joey.setup(desk)
        return joey, desk

    def test_every_pattern_is_there_from_the_beginning(self) -> None:
        _, desk = self.desk()
        found = {labels["pattern"]: value for name, labels, value in desk.measured if name == "ark_setups_total"}
        assert {"none", "squeezer", "dead_cat_bounce"} <= set(found)
        assert set(found.values()) == {0.0}
        assert desk.latest("joey_pattern_confidence_avg") is None, "no setup has no confidence"

    def test_patterns_and_what_has_none_but_not_what_kyle_refused_or_what_comes_again(self) -> None:
        joey, desk = self.desk()
        fits = Case(signal=trade(direction="short", features=DEAD_CAT), market=Market(price=100.0))
        for case in (fits, fits, Case(signal=trade(), market=Market(price=100.0))):
            drive(joey, case, desk)
        drive(joey, Case(signal=trade(), refusal=("expired", "too old")), desk)
        desk.attempt = 2
        answer = drive(joey, fits, desk)
        assert answer.setup is not None
        assert desk.counted("ark_setups_total", pattern="dead_cat_bounce") == 2.0
        assert desk.counted("ark_setups_total", pattern="none") == 1.0
        assert desk.counted("ark_setups_total") == 3.0
        assert desk.latest("joey_pattern_confidence_avg") == pytest.approx(answer.setup.confidence)
