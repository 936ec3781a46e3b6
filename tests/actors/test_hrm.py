"""HRM approves what the Graveyard, the ruleset and his own books allow, once, and remembers it."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.approval import verify
from actors.books import Books
from actors.breakers import Breakers
from actors.hrm import ASK_AGAIN_S, BEHIND, PATIENCE_S
from actors.judging import Inputs, decide
from actors.messages import Case, CloseWanted, Decision, Fill, FillsWanted, Market, Plan
from actors.pattern_book import BOOK
from actors.policy import LONGEST_APPROVAL_S, LONGEST_ENTRY_S, LONGEST_HOLD_S
from actors.portfolio import Origin
from ark.errors import AgentError, ConfigError
from ark.message import Letter, Span
from ark.seal import Sealing
from ark.signal import Bar, Signal
from ark.testing import TestContext
from graveyard import RULES, Limits, ruleset_digest
from tests.actors.floor import (
    DAY,
    NOON,
    RULING,
    SECRET,
    SQUEEZE,
    Floor,
    bar_at,
    case_of,
    desk,
    live_floor,
    plan_of,
    planned_by_joey,
    seen,
    short,
    start,
    trace,
)

GRAVEYARD = tuple(rule.name for rule in RULES)


@pytest.fixture
def floor() -> Floor:
    return Floor()


@pytest.fixture(scope="module")
def shared() -> Floor:
    """For properties: a new one would verify the whole seal for each example."""
    return Floor()


# What is approved.


def test_a_sound_plan_is_approved_with_a_tag_that_kenny_can_verify(floor: Floor) -> None:
    answer = floor.judge(case_of())
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, decision.zone, decision.level) == (True, "approve", "synthesis")
    assert decision.violations == ()
    assert decision.rules_checked[: len(GRAVEYARD)] == GRAVEYARD
    assert decision.rules_checked[-1] == "CB-003 market_breaker"
    assert (decision.ruleset, decision.decided_at, decision.ruling) == (ruleset_digest(), NOON, None)
    assert answer.approval is not None
    verify(SECRET, floor.context.trace_id, answer.approval, NOON + 30, 1)
    assert plan_of(answer) == Plan(
        floor.context.trace_id, "AAPL", "buy", D(50), "market", D(100), D(95), D(110), NOON + DAY
    )


def test_a_plan_of_joeys_is_approved_with_its_pattern(floor: Floor) -> None:
    answer = floor.judge(planned_by_joey())
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, decision.pattern) == (True, "squeezer")
    assert set(decision.levels) == {"graveyard", "context", "risk"}
    assert plan_of(answer).quantity == 79


def test_a_short_is_judged_like_a_long(floor: Floor) -> None:
    assert plan_of(floor.judge(case_of(**short()))).side == "sell"


def test_a_share_of_equity_becomes_whole_units_rounded_down(floor: Floor) -> None:
    answer = floor.judge(
        case_of(quantity=None, position_size_pct=0.05, entry_price=33.37, stop_loss=32.0, target=36.0)
    )
    assert plan_of(answer).quantity == 149
    assert plan_of(answer).price == D("33.37")


def test_a_share_that_buys_no_unit_is_denied_and_says_so(floor: Floor) -> None:
    dear: dict[str, Any] = {
        "quantity": None, "position_size_pct": 0.05, "entry_price": 9000.0, "stop_loss": 8900.0, "target": 9900.0
    }  # fmt: skip
    decision = floor.decide(**dear)
    said = {violation.rule: violation.message for violation in decision.violations}
    assert "`position_size_pct` 0.05 of the equity 100000 buys not one unit of AAPL" in said["whole_units"]
    assert not decision.approved
    assert Floor(fractional=True).decide(**dear).approved


def test_a_share_at_the_limit_passes_even_where_the_entry_is_a_limit_under_the_market(floor: Floor) -> None:
    size: dict[str, Any] = {"quantity": None, "position_size_pct": 0.08, "entry": "limit"}
    assert floor.decide(**size, entry_price=98.0).approved
    assert floor.decide("MSFT", **short(**size, entry_price=99.5, target=85.0)).approved


# What is denied.


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("max_position_size", {"quantity": 101.0}),
        ("max_position_size", {"quantity": None, "position_size_pct": 0.11}),
        ("max_position_size", {"quantity": 1.0, "position_size_pct": 0.25}),
        ("max_position_size", {"quantity": None}),
        ("max_leverage", {"leverage": 2.1}),
        ("require_stop_loss", {"stop_loss": None}),
        ("require_stop_loss", {"stop_loss": 105.0}),
        ("require_stop_loss", {"stop_loss": 89.0, "target": 150.0}),
        ("min_risk_reward", {"target": 107.0}),
        ("min_risk_reward", {"target": None}),
        ("require_hrm_approval", {"signal": {"action": "observe"}}),
    ],
)
def test_what_breaks_a_rule_is_denied_by_it_and_reserves_nothing(floor: Floor, rule: str, changes: Any) -> None:
    answer = floor.judge(case_of(**changes))
    assert answer.decision is not None
    assert rule in [violation.rule for violation in answer.decision.violations]
    assert (answer.decision.approved, answer.decision.level) == (False, "graveyard")
    assert answer.approval is None
    assert floor.hrm.portfolio.symbols == ()


def test_p1_a_position_of_a_quarter_of_the_equity_is_blocked(floor: Floor) -> None:
    assert "max_position_size" in floor.denied_by(quantity=250.0)
    assert "max_position_size" in floor.denied_by(quantity=None, position_size_pct=0.25)


def test_p2_a_leverage_of_five_is_blocked(floor: Floor) -> None:
    assert "max_leverage" in floor.denied_by(leverage=5.0)


def test_p3_a_plan_without_a_stop_is_blocked(floor: Floor) -> None:
    assert "require_stop_loss" in floor.denied_by(stop_loss=None)


def test_p4_a_valid_signal_is_approved_after_every_rule_was_judged(floor: Floor) -> None:
    decision = floor.decide()
    assert decision.approved
    assert len(decision.rules_checked) == len(GRAVEYARD) + 29


def test_g12_a_trade_of_low_risk_asks_nobody_and_one_of_high_risk_does(floor: Floor) -> None:
    assert floor.decide(quantity=80.0).approved
    hold = floor.hold(case_of("MSFT", quantity=81.0))
    assert [each["rule"] for each in hold.details["decision"]["violations"]] == ["human_in_loop_critical"]
    floor.hold(case_of("MSFT", quantity=5.0, leverage=1.6))
    assert floor.decide("MSFT", quantity=5.0, leverage=1.5).approved


NUMBERS = {
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf, "negative": -5.0, "zero": 0.0, "1e308": 1e308,
    "-1e308": -1e308, "1e-308": 1e-308,
}  # fmt: skip
FIELDS = {
    "entry_price": "`price`",
    "stop_loss": "`stop_loss`",
    "target": "`target`",
    "quantity": "`quantity`",
    "leverage": "`leverage`",
}


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_figure_that_no_market_has_is_denied_by_its_name(floor: Floor, field: str, value: float) -> None:
    answer = floor.judge(case_of(**{field: value}))
    assert answer.decision is not None
    assert not answer.decision.approved
    assert answer.approval is None
    assert any(FIELDS[field] in violation.message for violation in answer.decision.violations)


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_a_share_that_no_account_has_is_denied_by_its_name(floor: Floor, value: float) -> None:
    for quantity in (None, 5.0):
        decision = floor.decide(quantity=quantity, position_size_pct=value)
        assert not decision.approved
        assert any("`position_size_pct`" in violation.message for violation in decision.violations)


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS)
def test_a_market_price_that_is_none_is_denied_by_its_name(floor: Floor, value: float) -> None:
    decision = floor.decide(market=Market(price=value))
    assert not decision.approved
    assert any("`market_price`" in violation.message for violation in decision.violations)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 1e12, "entry_price": 1e-8, "stop_loss": 0.9e-8, "target": 2e-8},
        {"quantity": 1e20, "entry_price": 1e-20, "stop_loss": 0.9e-20, "target": 2e-20},
        {"quantity": 1e-9, "entry_price": 1e12, "stop_loss": 0.95e12, "target": 1.2e12},
        {"quantity": 1e-20, "entry_price": 1e20, "stop_loss": 0.95e20, "target": 1.2e20},
        {"quantity": None, "position_size_pct": 0.05, "entry_price": 1e-8, "stop_loss": 0.9e-8, "target": 2e-8},
        {"quantity": None, "position_size_pct": 0.05, "entry_price": 1e300, "stop_loss": 9e299, "target": 2e300},
    ],
)
def test_no_product_of_the_huge_and_the_tiny_passes(floor: Floor, changes: Any) -> None:
    assert floor.denied_by(**changes)
    assert Floor(fractional=True).denied_by(**changes)


wild = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -1.0, 1e308, -1e308, 1e-308, 1e12, 1e-9, 5e-324, 100.0, 95.0]),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "entry_price": wild, "stop_loss": st.none() | wild, "target": st.none() | wild,
            "quantity": st.none() | wild, "position_size_pct": st.none() | wild, "leverage": wild,
            "confidence": wild, "scores": st.dictionaries(st.sampled_from(["technical", "weighted_total"]), wild),
            "direction": st.sampled_from(["long", "short"]), "entry": st.sampled_from(["market", "limit"]),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={"price": wild, "risk_reward_ratio": st.none() | wild, "ts": st.none() | wild,
                  "position_size_pct": st.none() | wild, "quantity": st.none() | wild},
    ),
    st.fixed_dictionaries(
        {},
        optional={"price": wild, "close": st.none() | wild, "close_at": st.none() | wild, "atr": st.none() | wild,
                  "volume_ratio": st.none() | wild, "change_pct": st.none() | wild,
                  "facts": st.dictionaries(st.sampled_from(["avg_volume", "volume"]), wild)},
    ),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=100)
def test_no_figure_whatever_ends_the_judge(
    shared: Floor, changes: Any, signal: Any, market: Any, halved: bool
) -> None:
    shared.hrm.breakers = Breakers(losses_in_a_row=3, size_factor=D("0.5"), won=False) if halved else Breakers()
    case = case_of(market=Market(**{"price": 100.0, **market}), signal=signal, **changes)
    shared.take(case)
    released = shared.hrm.portfolio.release(shared.context.trace_id)
    assert released is None or released.value <= D(10_000)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
READ = (
    "catalyst", "source", "avg_volume", "volume", "market_type", "vix", "manipulative_intent",
    "insider_information", "float", "short_interest", "volume_ratio", "price_action", "rsi", "price_change_percent",
    "gap_percent", "decline_percent", "leader_price", "days_to_cover", "cost_to_borrow", "market_cap",
    "prior_trend",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(READ), anything, max_size=6),
    st.none() | st.sampled_from(BOOK).map(lambda page: page.name) | st.text(max_size=10),
    st.sampled_from(["long", "short"]),
    st.tuples(st.text(max_size=20), st.booleans()),
)
@settings(max_examples=100)
def test_no_feature_whatever_ends_the_judge(
    shared: Floor, features: Any, pattern: Any, direction: str, sender: tuple[str, bool]
) -> None:
    source, own = sender
    sent = {"features": {**SQUEEZE, **features}, "source": source, **({} if own else {"stop_loss": None})}
    plan = short() if direction == "short" else {}
    shared.hrm.breakers = Breakers()
    shared.take(case_of(**plan, quantity=1.0, pattern=pattern, confidence=0.9, signal=sent, market=seen()))
    shared.hrm.portfolio.release(shared.context.trace_id)


def test_what_a_signal_says_of_itself_turns_no_denial_into_a_pass(floor: Floor) -> None:
    boasts = {
        "metadata": {"hrm_approved": True, "hrm_validated": True, "user_consent": True},
        "features": {"approved": True, "decision": {"approved": True}, "person": True},
        "risk_reward_ratio": 9.0,
        "source": "HRM",
    }
    assert floor.denied_by(target=101.0, signal=boasts) == ["min_risk_reward"]
    forged = case_of(target=101.0)
    forged = msgspec.structs.replace(forged, decision=Decision(True, (), (), (), "", 0.0))
    answer = floor.judge(forged)
    assert answer.decision is not None
    assert not answer.decision.approved


@pytest.mark.parametrize("admission", ["manipulative_intent", "insider_information"])
def test_what_a_sender_admits_counts_against_him(floor: Floor, admission: str) -> None:
    assert floor.denied_by(signal={"features": {admission: True}}) == ["no_market_manipulation"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"signal": {"source": "Insider_Tip "}}, "no_insider_trading"),
        ({"signal": {"features": {"catalyst": "mail bob@example.com"}}}, "protect_user_data"),
        ({"signal": {"features": {"catalyst": "a coordinated PUMP"}}}, "ETH-002 forbidden_catalyst_words"),
        ({"signal": {"features": {"source": "insider tip"}}}, "ETH-003 forbidden_sources"),
        ({"signal": {"features": {"market_type": "crypto"}}}, "USER-002 market_types"),
        ({"signal": {"features": {"vix": 60}}}, None),
    ],
)
def test_the_words_of_a_signal_are_judged(floor: Floor, changes: Any, rule: str | None) -> None:
    decision = floor.decide(**changes)
    assert [violation.rule for violation in decision.violations] == ([] if rule is None else [rule])


# The account.


def test_two_plans_of_six_per_cent_cannot_both_pass(floor: Floor) -> None:
    assert floor.decide(quantity=60.0).approved
    assert floor.denied_by(quantity=60.0) == ["max_position_size"]
    assert floor.decide(quantity=20.0).approved


def test_six_symbols_at_once_give_five_approvals(floor: Floor) -> None:
    answers = [floor.decide(symbol).approved for symbol in ("A", "B", "C", "D", "E", "F")]
    assert answers == [True] * 5 + [False]
    assert floor.decide("A", quantity=10.0).approved, "no new symbol"


def test_a_named_price_far_under_the_known_market_buys_no_room(floor: Floor) -> None:
    floor.decide(quantity=10.0)
    floor.fill(1, 1, quantity=10)
    cheap = {"entry_price": 2.0, "stop_loss": 1.9, "target": 2.4, "quantity": 1000.0}
    assert "max_position_size" in floor.denied_by(**cheap)


def test_a_named_price_moves_no_equity_and_a_bar_does(floor: Floor) -> None:
    floor.decide(quantity=50.0)
    floor.fill(1, 1)
    floor.decide(entry_price=900.0, stop_loss=890.0, target=950.0, quantity=1.0)
    assert floor.hrm.portfolio.equity == D(100_000)
    floor.bar("AAPL", 98.0)
    assert floor.hrm.portfolio.equity == D(99_900)


@pytest.mark.parametrize("change", [{"setup": None}, {"refusal": ("expired", "too old")}])
def test_a_case_without_a_plan_passes_as_it_is_and_its_bar_marks(floor: Floor, change: Any) -> None:
    floor.decide()
    floor.fill(1, 1)
    case = msgspec.structs.replace(case_of(bar=bar_at(97.0)), **change)
    assert floor.judge(case) == case
    assert floor.hrm.portfolio.equity == D(99_850)


def test_time_alone_releases_no_reservation(floor: Floor) -> None:
    floor.decide(quantity=60.0)
    floor.context.clock += 10 * DAY
    assert floor.denied_by(quantity=60.0) == ["max_position_size"]


def test_an_order_that_would_meet_an_own_one_is_denied(floor: Floor) -> None:
    floor.decide(quantity=10.0)
    assert floor.denied_by(**short(quantity=5.0)) == ["no_market_manipulation"]


def test_the_eleventh_equal_order_within_a_minute_is_denied(floor: Floor) -> None:
    small = {"quantity": 1.0}
    assert all(floor.decide(**small).approved for _ in range(10))
    assert floor.denied_by(**small) == ["prevent_infinite_loops"]
    floor.restart()
    assert floor.denied_by(**small) == ["prevent_infinite_loops"], "a restart forgets nothing"
    floor.context.clock += 61
    assert floor.decide(**small).approved


def test_a_plan_that_had_been_through_too_many_hands_is_denied(floor: Floor) -> None:
    floor.context.spans = tuple(Span("kyle", "1", 0, 0) for _ in range(17))
    assert floor.denied_by() == ["prevent_infinite_loops"]


# Facts.


def test_while_halted_everything_is_denied_with_the_reason(floor: Floor) -> None:
    floor.context.halt_reason = "drill"
    decision = floor.decide()
    assert [violation.rule for violation in decision.violations] == ["emergency_halt_enabled"]
    assert "drill" in decision.violations[0].message
    floor.context.halt_reason = None
    assert floor.decide().approved


@pytest.mark.parametrize(
    ("beats", "rule", "words"),
    [
        ({"watchdog": 3.1}, "watchdog_monitoring", "3.1 s old"),
        ({"watchdog": None}, "watchdog_monitoring", "`watchdog_age_s` is missing"),
        ({"watchdog": math.nan}, "watchdog_monitoring", "no length of time"),
        ({"gateway": 3.1}, "user_override_allowed", "3.1 s ago"),
        ({"gateway": None}, "user_override_allowed", "`gateway_age_s` is missing"),
        ({"aletheia": 3.1}, "audit_all_actions", "takes no rows"),
        ({"aletheia": None}, "audit_all_actions", "takes no rows"),
        ({"watchdog": 3.0, "gateway": 3.0, "aletheia": 3.0}, None, ""),
    ],
)
def test_a_process_that_is_silent_for_more_than_three_seconds_denies(
    floor: Floor, beats: Any, rule: str | None, words: str
) -> None:
    floor.context.beats = beats
    said = [(violation.rule, violation.message) for violation in floor.decide().violations]
    assert [name for name, _ in said] == ([] if rule is None else [rule])
    assert all(words in message for _, message in said)


@pytest.mark.parametrize("free", [None, (64 << 20) - 1, 0])
def test_a_disk_without_room_for_the_ledger_denies(floor: Floor, free: int | None) -> None:
    floor.context.free = free
    assert floor.denied_by() == ["audit_all_actions"]
    floor.context.free = 64 << 20
    assert floor.decide().approved


def test_without_a_ledger_nothing_is_approved() -> None:
    context = desk()
    context.pipeline = ("kyle", "joey", "hrm", "kenny")
    assert Floor(context).denied_by() == ["audit_all_actions"]


@pytest.mark.parametrize(
    ("place", "rule"),
    [("home", "protect_user_data"), ("credentials", "encrypt_credentials"), ("log", "anonymize_logs")],
)
def test_what_lies_open_denies(floor: Floor, place: str, rule: str) -> None:
    floor.context.faults[place] = "something lies open"
    assert floor.denied_by() == [rule]


def test_a_broken_seal_denies_everything_and_halts(floor: Floor) -> None:
    floor.hrm._sealing = Sealing(lambda: "a file was changed")
    assert floor.denied_by() == ["immutable_graveyard"]
    floor.tick()
    assert floor.context.halt_reason == "immutable_graveyard: a file was changed"
    assert floor.alarms() == ["immutable_graveyard", "immutable_graveyard"]


def test_a_seal_that_breaks_while_trading_is_halted_raises_the_alarm_once_and_halts_after_a_resume(
    floor: Floor,
) -> None:
    floor.context.halt_reason = "going home"
    floor.hrm._sealing = Sealing(lambda: "a file was changed")
    floor.tick()
    floor.tick()
    assert (floor.alarms(), floor.context.halt_reason) == (["immutable_graveyard"], "going home")
    floor.context.halt_reason = None
    floor.tick()
    assert floor.context.halt_reason == "immutable_graveyard: a file was changed"


def test_an_alarm_of_one_rule_sounds_once_a_second_and_counts_the_others(floor: Floor) -> None:
    bad = {"signal": {"features": {"manipulative_intent": True}}}
    for _ in range(3):
        floor.denied_by(**bad)
    assert floor.alarms() == ["no_market_manipulation"]
    floor.context.clock += 1
    floor.denied_by(**bad)
    assert [fields["kept_back"] for kind, fields in floor.context.events if kind == "alarm"] == [0, 2]


LACKING_ON_LIVE = {
    "validate_data_sources": "the source 'desk' stands in no register",
    "no_market_manipulation": "`last_price` is missing",
    "no_pump_and_dump": "`average_volume` is missing",
    "no_front_running": "`client_orders` is missing",
    "require_consent": "nobody consented to live_trading",
    "reversible_actions": "`average_volume` is missing",
}


def test_before_a_live_broker_the_plan_that_passes_on_paper_is_denied_naming_what_is_missing() -> None:
    paper, live = Floor(), Floor(live=True)
    assert paper.decide().approved
    decision = live.decide()
    said = {violation.rule: violation.message for violation in decision.violations}
    assert said.keys() == LACKING_ON_LIVE.keys()
    for rule, words in LACKING_ON_LIVE.items():
        assert words in said[rule]
    assert decision.level == "graveyard"


def test_with_register_and_bars_the_same_plan_passes_before_a_live_broker(tmp_path: Any) -> None:
    floor = live_floor(tmp_path)
    decision = floor.decide(market=seen())
    assert decision.approved
    assert decision.warnings == ()
    assert decision.levels.keys() == {"graveyard", "truth", "risk"}


@pytest.mark.parametrize(
    ("market", "rule"),
    [
        (seen(at=NOON - 5 * DAY), "no_market_manipulation"),
        (seen(close_at=None), "no_market_manipulation"),
        (seen(facts={}), "no_pump_and_dump"),
        (seen(change_pct=None), "no_pump_and_dump"),
        (seen(change_pct=math.nan), "no_pump_and_dump"),
        (seen(volume_ratio=math.nan), "no_pump_and_dump"),
        (seen(close=math.nan, price=100.0), "no_market_manipulation"),
        (seen(facts={"avg_volume": 900, "volume": 900}), "reversible_actions"),
        (seen(facts={"avg_volume": 5000, "volume": 5000}, change_pct=0.2), "no_pump_and_dump"),
        (seen(close=90.0, price=100.0), "no_market_manipulation"),
        (seen(facts={"avg_volume": 1e6}), "DATA-001 required_data"),
    ],
)
def test_before_a_live_broker_each_missing_or_bad_fact_of_the_market_denies(
    tmp_path: Any, market: Market, rule: str
) -> None:
    assert rule in live_floor(tmp_path).denied_by(market=market)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("figure", ["close", "change_pct", "volume_ratio"])
def test_a_figure_of_the_market_that_is_no_number_denies_on_paper_too(
    floor: Floor, figure: str, bad: float
) -> None:
    assert floor.denied_by(market=seen(**{figure: bad, "price": 100.0}))
    assert floor.denied_by(market=seen(facts={"avg_volume": bad}))


def test_in_the_last_minutes_of_a_session_a_tenth_of_what_is_usual_then_is_the_most(tmp_path: Any) -> None:
    floor = live_floor(tmp_path)
    market = seen(50.0, facts={"avg_volume": 100_000, "volume": 100_000}, at=NOON - DAY)
    plan = {"entry_price": 50.0, "stop_loss": 47.5, "target": 55.0, "quantity": 130.0, "market": market}
    five_to_four = NOON - NOON % DAY + (20 * 60 + 55) * 60
    for moment, approved in ((five_to_four - 1, True), (five_to_four, False), (five_to_four + 300, True)):
        floor.context.clock = moment
        decision = floor.decide(f"S{int(moment)}", **plan, signal={"ts": moment, "price": 50.0})
        assert decision.approved is approved
        assert "last minutes of the session" in "".join([each.message for each in decision.violations]) or approved


# Fills.


def test_a_missing_fill_is_asked_for_and_nothing_is_applied_out_of_order(floor: Floor) -> None:
    assert floor.sent(FillsWanted) == [FillsWanted(after=0)]
    floor.decide()
    floor.context.clock += 2
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.sent(FillsWanted)[1:] == [FillsWanted(after=0)]
    assert floor.hrm.last_fill == 0
    floor.fill(3, 1, "cancel", 0, quantity=0)
    assert len(floor.context.sent) == 2, "one request a second is enough"
    floor.fill(1, 1)
    floor.fill(1, 1)
    assert [lot.trace_id for lot in floor.hrm.portfolio.lots] == [trace(1)]
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.hrm.last_fill == 2
    assert floor.hrm.portfolio.equity == D(100_500)


@pytest.mark.parametrize("how", ["case", "tick"])
def test_a_request_that_was_lost_is_repeated_with_the_next_case_and_the_next_tick(floor: Floor, how: str) -> None:
    floor.context.clock += 2
    floor.head(4)
    for _ in range(2):
        floor.decide() if how == "case" else floor.tick()
    assert len(floor.sent(FillsWanted)) == 2
    floor.context.clock += ASK_AGAIN_S
    floor.decide() if how == "case" else floor.tick()
    assert floor.sent(FillsWanted)[2:] == [FillsWanted(after=0)]


def test_a_head_that_is_known_asks_for_nothing_and_one_behind_is_reported(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.context.clock += 2
    floor.head(1)
    assert len(floor.context.sent) == 1
    floor.head(0)
    assert floor.context.events == [("fills_behind", {"known": 1, "reported": 0})]
    assert floor.context.halt_reason is None


def test_where_kenny_says_again_and_again_that_he_has_lost_fills_trading_is_halted(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.fill(2, 1)
    floor.head(0)
    assert floor.sent(FillsWanted)[-1:] == [FillsWanted(after=2)]
    floor.head(2)  # the first word was one that had been under way for long
    for _ in range(BEHIND - 1):
        floor.head(1)
    assert floor.context.halt_reason is None
    floor.head(1)
    assert "it knows of 1 fills instead of 2" in str(floor.context.halt_reason)


def test_the_next_chunk_of_missing_fills_is_asked_for_at_once(floor: Floor) -> None:
    floor.decide()
    floor.context.clock += 2
    floor.head(3)
    floor.fill(1, 1)
    floor.head(3)
    floor.head(3)
    assert floor.sent(FillsWanted)[1:] == [FillsWanted(after=0), FillsWanted(after=1)]


def test_after_a_start_signals_wait_for_kennys_word_and_then_for_his_fills(floor: Floor) -> None:
    floor.decide()
    floor.hrm = start(floor.context)
    assert not floor.hrm.ready(floor.context)
    floor.head(2)
    assert not floor.hrm.ready(floor.context)
    floor.fill(1, 1)
    assert not floor.hrm.ready(floor.context)
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.hrm.ready(floor.context)


def test_signals_wait_for_a_fill_of_which_a_later_one_told(floor: Floor) -> None:
    floor.decide()
    assert floor.hrm.ready(floor.context)
    floor.fill(2, 1, "target", 110, "sell")
    assert not floor.hrm.ready(floor.context)
    floor.fill(1, 1)
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.hrm.ready(floor.context)


@pytest.mark.parametrize("heard", [True, False])
def test_what_waited_too_long_is_denied_because_nobody_knows_the_equity(floor: Floor, heard: bool) -> None:
    floor.hrm = start(floor.context)
    if heard:
        floor.head(1)
    assert not floor.hrm.ready(floor.context)
    floor.context.clock += PATIENCE_S
    assert not floor.hrm.ready(floor.context)
    floor.context.clock += 0.1
    assert floor.hrm.ready(floor.context)
    decision = floor.decide(signal={"ts": floor.context.clock})
    assert not decision.approved
    assert all("`equity` is missing" in each.message or not heard for each in decision.violations)
    assert "max_position_size" in [each.rule for each in decision.violations]
    floor.fill(1, 7, quantity=1)
    floor.head(1)
    assert floor.hrm.ready(floor.context)
    assert floor.decide("MSFT", signal={"ts": floor.context.clock}).approved


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("watchdog", "watchdog_monitoring"),
        ("gateway", "user_override_allowed"),
        ("aletheia", "audit_all_actions"),
    ],
)
@pytest.mark.parametrize("age", [None, 3.1])
def test_signals_wait_a_while_for_those_without_whom_nothing_may_be_approved(
    floor: Floor, name: str, rule: str, age: float | None
) -> None:
    assert floor.hrm.ready(floor.context)
    floor.context.beats[name] = age
    assert not floor.hrm.ready(floor.context)
    floor.context.clock += PATIENCE_S + 0.1
    assert floor.hrm.ready(floor.context)
    assert floor.denied_by() == [rule]
    floor.context.beats[name] = 3.0
    assert floor.hrm.ready(floor.context)
    assert floor.decide().approved


def test_each_gap_has_patience_of_its_own(floor: Floor) -> None:
    assert floor.hrm.ready(floor.context)
    floor.context.clock += 100
    floor.fill(2, 1, "target", 110, "sell")
    assert not floor.hrm.ready(floor.context)


def test_a_clock_that_is_set_back_does_not_make_signals_wait_for_hours(floor: Floor) -> None:
    floor.head(1)
    assert not floor.hrm.ready(floor.context)
    floor.context.clock -= 3600
    assert floor.hrm.ready(floor.context)


def test_without_a_kenny_nobody_is_waited_for() -> None:
    context = desk()
    context.pipeline = ("hrm", "mine", "aletheia")
    hrm = start(context)
    assert hrm.ready(context)
    assert not context.sent


def test_a_buried_signal_keeps_its_reservation_until_kenny_says_what_became_of_it(floor: Floor) -> None:
    floor.decide()
    floor.hrm.bury(Letter(floor.context.trace_id, "AAPL", "kenny", "killed it", 3), floor.context)
    assert floor.hrm.portfolio.symbols == ("AAPL",)
    floor.fill(1, 1, "cancel", 0, quantity=0)
    assert not floor.hrm.portfolio.symbols


def test_without_a_kenny_a_buried_signal_gives_its_reservation_back() -> None:
    context = desk()
    context.pipeline = ("hrm", "mine", "aletheia")
    floor = Floor(context)
    floor.decide()
    first = floor.context.trace_id
    floor.decide("MSFT")
    floor.fill(1, 1, quantity=20)
    for number, symbol in ((first, "AAPL"), (floor.context.trace_id, "MSFT"), ("never seen", "X")):
        floor.hrm.bury(Letter(number, symbol, "mine", "killed it", 3), floor.context)
    assert account_of(floor).exposures == {"AAPL": D(2000)}
    before = account_of(floor)
    floor.restart()
    assert account_of(floor) == before


def account_of(floor: Floor, symbol: str = "AAPL") -> Any:
    return floor.hrm.portfolio.account(symbol, floor.context.clock)


# Days, weeks and breakers.


def lose(floor: Floor, number: int, symbols: str, price: Any, quantity: int = 80) -> int:
    """Buy each symbol at 100 and be stopped out at a price; give the number of the next fill."""
    first = floor.count + 1
    for symbol in symbols:
        assert floor.decide(symbol, quantity=float(quantity), signal={"ts": floor.context.clock}).approved
    for leg, cost, side in (("entry", 100, "buy"), ("stop", price, "sell")):
        for of, symbol in enumerate(symbols, first):
            floor.fill(number, of, leg, cost, side, symbol=symbol, quantity=quantity)
            number += 1
    return number


def test_a_day_that_lost_five_per_cent_halts_trading_and_ends_it_for_the_day_and_the_week(floor: Floor) -> None:
    lose(floor, 1, "ABCDE", "87.5")
    assert floor.hrm.portfolio.totals.realised_today == D(-5000)
    assert floor.context.halt_reason is not None
    assert "max_daily_loss: the day's loss is 5.00%" in floor.context.halt_reason
    floor.context.halt_reason = None  # a person resumes
    assert floor.denied_by(quantity=2.0) == ["max_daily_loss"]
    floor.context.clock += DAY
    assert floor.denied_by(quantity=2.0) == ["LIMIT-002 max_weekly_loss"]
    floor.context.clock += 6 * DAY
    assert plan_of(floor.judge(case_of(quantity=2.0))).quantity == 1, "still halved after five losses"


def test_a_loss_of_the_day_halts_once_a_day_with_an_alarm_and_without_any_signal(floor: Floor) -> None:
    for number, symbol in enumerate("ABCDE", 1):
        floor.decide(symbol, quantity=80.0)
        floor.fill(number, number, symbol=symbol, quantity=80)
    for symbol in "ABCD":
        floor.bar(symbol, 85.0)
        assert floor.context.halt_reason is None
    floor.bar("E", 87.5)
    floor.bar("E", 87.0)
    assert floor.context.halt_reason is not None, "a mark alone is enough"
    assert floor.alarms() == ["max_daily_loss"]
    floor.context.halt_reason = None
    floor.restart()
    floor.bar("E", 85.0)
    assert floor.context.halt_reason is None, "who resumed knows of it"
    floor.context.clock += DAY
    floor.bar("A", 84.0)
    assert floor.context.halt_reason is None
    for symbol in "ABCDE":
        floor.bar(symbol, 70.0)
    assert floor.context.halt_reason is not None
    assert floor.alarms() == ["max_daily_loss"] * 2


def test_a_fill_alone_halts_where_it_reaches_the_days_loss(floor: Floor) -> None:
    floor.decide(quantity=80.0)
    floor.fill(1, 1, quantity=80)
    floor.fill(2, 1, "stop", "37.5", "sell", quantity=80)
    assert floor.context.halt_reason is not None
    assert floor.alarms() == ["max_daily_loss"]


@pytest.mark.parametrize("close", [math.nan, math.inf, 0.0, -5.0])
def test_a_mark_that_is_no_price_does_not_hide_the_loss(floor: Floor, close: float) -> None:
    floor.decide(quantity=80.0)
    floor.fill(1, 1, quantity=80)
    bad = Market(price=close, bar=forced_bar(close), change_pct=close)
    floor.hrm.handle(Case(Signal("AAPL", "long", 100.0, action="observe"), market=bad), floor.context)
    assert floor.hrm.portfolio.equity == D(100_000)
    assert floor.context.halt_reason is None
    floor.bar("AAPL", 37.5)
    assert floor.context.halt_reason is not None


def forced_bar(close: float) -> Bar:
    """A bar that no door would let in: nothing validates what is set on it after it was made."""
    bar = bar_at(100.0)
    msgspec.structs.force_setattr(bar, "close", close)
    return bar


def test_a_loss_of_two_per_cent_suspends_new_entries_for_a_day(floor: Floor) -> None:
    floor.decide(quantity=80.0)
    floor.fill(1, 1, quantity=80)
    floor.bar("AAPL", 75.0)
    assert [fields["breaker"] for kind, fields in floor.context.events if kind == "breaker"] == ["CB-001"]
    assert set(floor.denied_by("MSFT", quantity=1.0)) == {"LIMIT-001 max_daily_loss", "CB-001 day_loss_breaker"}
    floor.bar("AAPL", 100.0)
    floor.restart()
    assert floor.denied_by("MSFT", quantity=1.0) == ["CB-001 day_loss_breaker"]
    floor.context.clock += 1440 * 60 - 1
    assert floor.denied_by("MSFT", quantity=1.0) == ["CB-001 day_loss_breaker"]
    floor.context.clock += 1
    assert floor.decide("MSFT", quantity=1.0).approved


def test_three_losses_in_a_row_halve_sizes_until_a_trade_wins_also_over_a_restart(floor: Floor) -> None:
    number = lose(floor, 1, "ABC", 99, quantity=10)
    floor.restart()
    assert plan_of(floor.judge(case_of("MSFT", quantity=50.0))).quantity == 25
    share = case_of("NVDA", quantity=None, position_size_pct=0.05)
    assert plan_of(floor.judge(share)).quantity == 24, "half of 5 % of 99,970"
    floor.fill(number, 4, symbol="MSFT", quantity=25)
    floor.fill(number + 1, 4, "target", 110, "sell", symbol="MSFT", quantity=25)
    assert plan_of(floor.judge(case_of("AMD", quantity=50.0))).quantity == 50


def test_half_of_one_unit_is_none_and_denied(floor: Floor) -> None:
    lose(floor, 1, "ABC", 99, quantity=10)
    assert "max_position_size" in floor.denied_by(quantity=1.0)


def test_a_fall_of_the_market_closes_longs_and_asks_again_until_they_are_closed(floor: Floor) -> None:
    for number, (symbol, plan) in enumerate({"A": {}, "B": {}, "C": short()}.items(), 1):
        floor.decide(symbol, **plan)
        side = "sell" if plan else "buy"
        floor.fill(number, number, symbol=symbol, side=side)
    floor.bar("SPY", 440.0, change_pct=-0.031)
    asked = [(notice.trace_id, notice.symbol) for notice in floor.sent(CloseWanted)]
    assert asked == [(trace(1), "A"), (trace(2), "B")]
    assert floor.denied_by("MSFT") == ["CB-003 market_breaker"]
    assert floor.decide("MSFT", **short()).approved
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    assert len(floor.sent(CloseWanted)) == 2
    floor.tick(ASK_AGAIN_S / 2)
    assert len(floor.sent(CloseWanted)) == 2, "about once a second, no more often"
    floor.restart()
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    assert len(floor.sent(CloseWanted)) == 2, "a restart forgets nothing"
    floor.fill(4, 1, "close", 99, "sell", symbol="A")
    floor.fill(5, 2, "close", 99, "sell", symbol="B", quantity=20)
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    assert [notice.symbol for notice in floor.sent(CloseWanted)] == ["B"], "some of it is still there"
    floor.fill(6, 2, "close", 99, "sell", symbol="B", quantity=30)
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    floor.restart()
    floor.tick(ASK_AGAIN_S)
    assert not floor.sent(CloseWanted)


def test_a_fall_of_the_market_takes_back_entries_that_wait_to_become_longs(floor: Floor) -> None:
    floor.decide("A")
    floor.decide("B", **short())
    floor.bar("SPY", 440.0, change_pct=-0.031)
    assert [notice.symbol for notice in floor.sent(CloseWanted)] == ["A"]
    floor.fill(1, 1, symbol="A", quantity=20)
    floor.restart()
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    assert [notice.symbol for notice in floor.sent(CloseWanted)] == ["A"], "a part was filled meanwhile"
    floor.fill(2, 1, "cancel", 0, symbol="A", quantity=0)
    floor.fill(3, 1, "close", 99, "sell", symbol="A", quantity=20)
    floor.context.sent.clear()
    floor.tick(ASK_AGAIN_S)
    floor.tick(ASK_AGAIN_S)
    assert not floor.sent(CloseWanted)


def test_a_market_that_stays_down_closes_longs_once_a_day(floor: Floor) -> None:
    floor.decide("A")
    floor.fill(1, 1, symbol="A")
    floor.bar("SPY", 440.0, change_pct=-0.031)
    floor.fill(2, 1, "close", 99, "sell", symbol="A")
    floor.context.clock += 60
    floor.bar("SPY", 439.0, change_pct=-0.04)
    assert [fields["action"] for kind, fields in floor.context.events if kind == "breaker"] == ["close_longs"]


def test_a_volatile_market_is_warned_of(floor: Floor) -> None:
    floor.bar("VIX", 36.0)
    assert "MKT-003 max_volatility_index" in [each.rule for each in floor.decide().warnings]
    strict = Floor(ruleset={"severity": {"MKT-003": "error"}})
    strict.bar("VIX", 36.0)
    assert strict.denied_by() == ["MKT-003 max_volatility_index"]


def test_what_the_markets_own_symbols_showed_long_ago_says_nothing_about_today(tmp_path: Any) -> None:
    floor = live_floor(tmp_path)
    floor.context.clock += 4 * DAY
    now = floor.context.clock
    recent: dict[str, Any] = {"market": seen(at=now - 60), "signal": {"ts": now}}
    assert floor.decide("MSFT", **recent).approved
    floor.context.clock += 1
    assert floor.denied_by("NVDA", **recent) == ["MKT-003 max_volatility_index", "CB-003 market_breaker"]


def test_a_gain_that_was_taken_in_parts_is_no_loss_and_is_remembered_over_a_restart(floor: Floor) -> None:
    number = lose(floor, 1, "AB", 99, quantity=10)
    floor.decide("C", quantity=10.0)
    floor.fill(number, 3, symbol="C", quantity=10)
    floor.fill(number + 1, 3, "target", 110, "sell", symbol="C", quantity=8)
    floor.restart()
    floor.fill(number + 2, 3, "stop", 99, "sell", symbol="C", quantity=2)
    assert floor.hrm.breakers.losses_in_a_row == 0


def test_a_day_begins_with_its_own_equity_and_a_week_on_monday(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.bar("AAPL", 99.0)
    totals = floor.hrm.portfolio.totals
    assert (totals.day_start_equity, totals.week_start_equity) == (D(100_000), D(100_000))
    floor.tick(DAY)
    totals = floor.hrm.portfolio.totals
    assert (totals.day_start_equity, totals.week_start_equity) == (D(99_950), D(100_000))
    floor.tick(4 * DAY)
    assert floor.hrm.portfolio.totals.week_start_equity == D(100_000), "Sunday"
    floor.tick(DAY)
    assert floor.hrm.portfolio.totals.week_start_equity == D(99_950), "Monday"
    before = floor.hrm.portfolio.totals
    assert floor.restart().portfolio.totals == before


def test_in_a_replay_days_are_those_of_the_bars(floor: Floor) -> None:
    replay = Floor(day="bars")
    for day in range(3):
        bar = bar_at(100.0, ts=1_000_000_000.0 + day * DAY)
        replay.judge(Case(Signal("AAPL", "long", 100.0, action="observe"), market=Market(100.0, bar=bar)))
    assert replay.hrm.portfolio.totals.day == int(1_000_000_000.0 // DAY) + 2
    replay.tick(DAY)
    assert replay.hrm.portfolio.totals.day == int(1_000_000_000.0 // DAY) + 2


def test_a_restart_within_a_replay_goes_on_at_the_time_of_the_bars() -> None:
    replay = Floor(day="bars")
    replay.decide()
    replay.fill(1, 1)
    bar = bar_at(100.0, ts=1_000_000_000.0)
    replay.judge(Case(Signal("AAPL", "long", 100.0, action="observe"), market=Market(100.0, bar=bar)))
    replay.restart()
    replay.fill(2, 1, "stop", 50, "sell")
    assert replay.hrm.breakers.day_loss_until == 1_000_000_000.0 + 1440 * 60


# Books.


def view_of_books(floor: Floor) -> Any:
    hrm, books = floor.hrm, Books(floor.context.database)
    day = int(floor.context.clock // DAY)
    return (
        [hrm.portfolio.account(symbol, floor.context.clock) for symbol in ("AAPL", "MSFT", "NVDA")],
        hrm.portfolio.totals,
        set(hrm.portfolio.lots),
        hrm.portfolio.reservations,
        hrm.breakers,
        hrm.last_fill,
        hrm._closing,
        hrm._number,
        Books.counted(floor.context.database, day),
        [books.judged(number) for number in range(hrm._number + 1)],
    )


def test_a_restart_over_the_same_database_has_the_same_view(floor: Floor) -> None:
    floor.decide(quantity=60.0)
    floor.decide("MSFT", **short(quantity=30.0))
    floor.fill(1, 1, quantity=20)
    floor.fill(2, 1, quantity=10, price=101)
    floor.bar("AAPL", 102.5)
    floor.fill(3, 1, "stop", 95, "sell", quantity=5, fee=D("0.35"))
    floor.bar("MSFT", 99.0)
    floor.tick(DAY)
    lose(floor, 4, "XYZ", 99, quantity=10)
    floor.bar("SPY", 440.0, change_pct=-0.031)
    floor.denied_by("NVDA", leverage=3.0)
    floor.hold(case_of("NVDA", **short(quantity=164.0)))
    held = floor.count
    before = view_of_books(floor)
    assert before[4] != Breakers()
    assert before[6]
    floor.restart()
    assert view_of_books(floor) == before
    assert floor.sent(FillsWanted)[-1] == FillsWanted(after=floor.hrm.last_fill)
    assert Books(floor.context.database).held(trace(held)) is not None


def test_a_restart_after_everything_is_closed_finds_nothing_open(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.fill(2, 1, "target", 110, "sell")
    floor.decide("MSFT")
    floor.fill(3, 2, "cancel", 0, quantity=0, symbol="MSFT")
    after = floor.restart()
    assert after.portfolio.symbols == ()
    assert after.portfolio.equity == D(100_500)
    for table in ("hrm_lots", "hrm_reservations", "hrm_marks", "hrm_origins"):
        assert floor.context.database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_position_that_was_turned_round_has_the_same_stop_and_no_target_after_a_restart(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.fill(2, 1, "stop", 95, "sell", quantity=80)
    before = floor.hrm.portfolio.lots
    assert [(lot.quantity, lot.stop, lot.target) for lot in before] == [(D(-30), D(190), None)]
    assert floor.restart().portfolio.lots == before


def test_what_was_traded_without_ark_counts_by_symbol_and_survives_a_restart(floor: Floor) -> None:
    for number, symbol in enumerate(("X", "Y"), 1):
        foreign = Fill(number, "", symbol, "buy", "entry", D(10), D(100), D(0), NOON)
        floor.hrm.notice(foreign, floor.context)
    floor.restart()
    after = account_of(floor)
    assert after.exposures == {"X": D(1000), "Y": D(1000)}
    assert after.open_risk == D(2000)


EARLIER = """
CREATE TABLE hrm_totals (
    one INTEGER PRIMARY KEY CHECK (one = 1), cash TEXT NOT NULL, day INTEGER NOT NULL,
    day_start_equity TEXT NOT NULL, realised_today TEXT NOT NULL, last_fill INTEGER NOT NULL);
CREATE TABLE hrm_lots (
    trace_id TEXT NOT NULL, symbol TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL,
    stop TEXT NOT NULL, PRIMARY KEY (trace_id, symbol)) WITHOUT ROWID;
CREATE TABLE hrm_reservations (
    trace_id TEXT PRIMARY KEY, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, stop TEXT NOT NULL, unit_risk TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE hrm_marks (symbol TEXT PRIMARY KEY, price TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
INSERT INTO hrm_totals VALUES (1, '95000', 19675, '99000', '-20', 7);
INSERT INTO hrm_lots VALUES ('t1', 'AAPL', '40', '4000', '95');
INSERT INTO hrm_reservations VALUES ('t2', 'MSFT', 'buy', '10', '100', '95', '5');
INSERT INTO hrm_marks VALUES ('AAPL', '101', 1699999000.0);
"""
"""A journal as version 1.0 wrote it."""


def test_a_journal_of_an_earlier_version_is_taken_over_and_written_on() -> None:
    context = desk()
    context.database.execute(EARLIER)
    floor = Floor(context)
    floor.head(7)
    account = account_of(floor)
    assert account.equity == D(99_040)
    assert account.exposures == {"AAPL": D(4040), "MSFT": D(1000)}
    assert floor.hrm.portfolio.reservations["t2"].entry_price == D(100)
    assert floor.hrm.portfolio.totals.week_start_equity == D(99_000)
    unknown = {"source": None, "band": None}
    opened = floor.context.shown["portfolio"]["opened"]
    assert opened == [{"symbol": "AAPL", **unknown}, {"symbol": "MSFT", **unknown}]
    floor.decide("NVDA", quantity=10.0)
    floor.fill(8, 1, symbol="NVDA", quantity=10)
    before = account_of(floor)
    floor.restart()
    assert account_of(floor) == before
    (lot,) = [each for each in floor.hrm.portfolio.lots if each.symbol == "NVDA"]
    assert (lot.target, lot.origin) == (D(110), Origin("desk", "1e3"))


def test_where_a_position_came_from_is_forgotten_where_an_earlier_version_has_closed_it(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.decide("MSFT")
    floor.context.database.execute("DELETE FROM hrm_lots")
    assert [each.origin for each in floor.restart().portfolio.reservations.values()] == [Origin("desk", "1e3.5")]
    assert floor.context.database.execute("SELECT trace_id FROM hrm_origins").fetchall() == [(trace(2),)]


def test_every_decision_can_be_made_again_from_what_was_kept(floor: Floor, tmp_path: Any) -> None:
    live = live_floor(tmp_path)
    cases = [
        (floor, case_of()),
        (floor, case_of(leverage=3.0)),
        (floor, planned_by_joey()),
        (floor, case_of(quantity=math.nan, signal={"features": {"catalyst": {"a": ["b", 1]}}})),
        (live, case_of(market=seen(), signal={"risk_reward_ratio": 2.0})),
        (live, case_of(market=seen(facts={}))),
    ]
    for where, case in cases:
        decision = where.judge(case).decision
        assert decision is not None
        kept = Books(where.context.database).judged(decision.number)
        assert kept is not None
        again = decide(
            msgspec.msgpack.decode(kept, type=Inputs), where.hrm.policy.limits(), where.hrm.policy.rules()
        )
        assert (again.zone, again.level, again.violations, again.warnings, again.score) == (
            decision.zone, decision.level, decision.violations, decision.warnings, decision.score
        )  # fmt: skip


def test_how_often_each_rule_spoke_is_counted_by_day(floor: Floor) -> None:
    floor.decide(leverage=3.0)
    floor.decide(leverage=3.0)
    floor.decide()
    floor.hold(case_of("MSFT", quantity=81.0))
    counts = Books.counted(floor.context.database, int(NOON // DAY))
    assert counts["max_leverage", "denied"] == 2
    assert counts["human_in_loop_critical", "asked"] == 1
    assert counts["no_front_running", "warned"] == 4
    assert (counts["", "deny"], counts["", "approve"], counts["", "hold"]) == (2, 1, 1)
    assert Books.counted(floor.context.database, int(NOON // DAY) + 1) == {}


# Settings.


def test_settings_may_be_stricter(floor: Floor) -> None:
    strict = Floor(max_position_size=0.05, min_risk_reward=2, max_concurrent_trades=1, approval_ttl_s=5)
    answer = strict.judge(case_of())
    assert answer.approval is not None
    assert answer.approval.expires == NOON + 5
    assert strict.denied_by(quantity=1.0) == ["max_position_size"]
    assert strict.denied_by("MSFT", target=109.0) == ["max_concurrent_trades", "min_risk_reward"]
    tight = Limits(max_position_size=D("0.05"), min_risk_reward=D(2), max_concurrent_trades=1)
    assert strict.hrm.ruleset == ruleset_digest(tight) != floor.hrm.ruleset


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_position_size": 0.2}, "max_position_size = 0.2 is looser than the Graveyard's 0.10"),
        ({"max_leverage": 3}, "max_leverage = 3 is looser than the Graveyard's 2.0"),
        ({"max_daily_loss": 0.051}, "max_daily_loss = 0.051 is looser than the Graveyard's 0.05"),
        ({"max_concurrent_trades": 6}, "max_concurrent_trades = 6 is looser than the Graveyard's 5"),
        ({"min_risk_reward": 1.4}, "min_risk_reward = 1.4 is looser than the Graveyard's 1.5"),
        ({"max_daily_loss": float("nan")}, "max_daily_loss must be a number"),
        ({"max_leverage": 0}, "max_leverage must be above 0"),
        ({"max_positon_size": 0.05}, "max_position_size"),
        ({"fractional": "yes"}, "fractional"),
        ({"starting_equity": -1}, "starting_equity must be above 0, is -1"),
        ({"starting_equity": float("inf")}, "starting_equity must be above 0, is Inf"),
        ({"starting_equity": 1e13}, "starting_equity"),
        *[
            ({name: value}, f"{name} must be above 0, at most {most}, is {value}")
            for name, most in (
                ("approval_ttl_s", LONGEST_APPROVAL_S), ("hold_s", LONGEST_HOLD_S),
                ("entry_ttl_s", LONGEST_ENTRY_S), ("seal_interval_s", 10),
            )
            for value in (0.0, -1.0, float("nan"), float("inf"), most + 1.0)
        ],
        ({"day": "moon"}, "day"),
        ({"register": "register.toml"}, "register must be an absolute path, is 'register.toml'"),
        ({"sources": {"x": "friend"}}, "sources"),
        ({"ruleset": {"min_price": 0.5}}, "min_price = 0.5 is looser than the original's 1.00"),
        ({"ruleset": {"max_weekly_loss": 0.2}}, "max_weekly_loss = 0.2 is looser than the original's 0.05"),
        ({"ruleset": {"max_position_size": 0.2}}, "max_position_size = 0.2 is looser than the Graveyard's 0.10"),
        ({"ruleset": {"min_risk_reward": 1.2}}, "min_risk_reward = 1.2 is looser than the Graveyard's 1.5"),
        ({"ruleset": {"synthesis": {"approve": 0.6}}}, "approve = 0.6 is looser than the original's 0.7"),
        ({"ruleset": {"synthesis": {"hold": 0.3}}}, "hold = 0.3 is looser than the original's 0.4"),
        ({"ruleset": {"breakers": {"day_loss": {"threshold": 0.03}}}}, "threshold = 0.03 is looser"),
        ({"ruleset": {"disabled": ["RISK-002"]}}, "RISK-002 require_stop_loss cannot be disabled"),
        ({"ruleset": {"min_prise": 2}}, "agents.hrm.settings.ruleset.min_prise"),
    ],
)  # fmt: skip
def test_settings_that_are_looser_or_wrong_are_refused_at_the_start(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start(desk(**settings))
    assert words in str(caught.value)
    assert caught.value.field.startswith("agents.hrm.settings")


def test_without_the_secret_hrm_does_not_start() -> None:
    with pytest.raises(AgentError, match="approval"):
        start(TestContext("hrm", secrets={"ruling": RULING}))


def test_starting_equity_opens_an_account_and_does_not_change_one(floor: Floor) -> None:
    context = desk(starting_equity=5000)
    assert start(context).portfolio.equity == 5000
    context.settings = {"starting_equity": 9000}
    assert start(context).portfolio.equity == 5000
