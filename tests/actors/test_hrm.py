"""HRM approves what the Graveyard and his own books allow, once, and remembers it."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.approval import verify
from actors.hrm import HRM, quantity_for, to_tick
from actors.messages import Case, Decision, Fill, FillsHead, FillsWanted, Market, Plan, Setup
from ark.errors import AgentError, ConfigError
from ark.message import Letter
from ark.signal import Bar, Signal
from ark.testing import TestContext, drive
from graveyard import RULES, Limits, ruleset_digest

SECRET = b"shared with kenny alone"
NOON = 1_700_000_000.0


def desk(**settings: Any) -> TestContext:
    return TestContext("hrm", now=NOON, settings=settings, secrets={"approval": SECRET})


def start(context: TestContext) -> HRM:
    hrm = HRM()
    hrm.setup(context)
    return hrm


def case_of(
    symbol: str = "AAPL", *, bar: Bar | None = None, signal: dict[str, Any] | None = None, **changes: Any
) -> Case:
    fields: dict[str, Any] = {
        "direction": "long", "pattern": "squeezer", "confidence": 0.8, "scores": {}, "entry": "market",
        "entry_price": 100.0, "stop_loss": 95.0, "target": 110.0, "quantity": 50.0,
        "position_size_pct": None, "leverage": 1.0,
    }  # fmt: skip
    fields.update(changes)
    market = Market(price=bar.close if bar else fields["entry_price"], bar=bar)
    return Case(
        Signal(symbol=symbol, direction=fields["direction"], price=100.0, **(signal or {})),
        market=market,
        setup=Setup(**fields),
    )


def bar_at(close: float) -> Bar:
    return Bar(ts=NOON, open=close, high=close, low=close, close=close, volume=1e6)


class Floor:
    """HRM at his desk, with a new trace id for every case."""

    def __init__(self, context: TestContext | None = None, **settings: Any) -> None:
        self.context = context or desk(**settings)
        self.hrm = start(self.context)
        self.count = 0

    def judge(self, case: Case) -> Case:
        self.count += 1
        self.context.trace_id = f"{self.count:08d}-0000-4000-8000-000000000000"
        answer = drive(self.hrm, case, self.context)
        assert isinstance(answer, Case)
        return answer

    def decide(self, *args: Any, **kwargs: Any) -> Decision:
        decision = self.judge(case_of(*args, **kwargs)).decision
        assert decision is not None
        return decision

    def denied_by(self, *args: Any, **kwargs: Any) -> list[str]:
        return [violation.rule for violation in self.decide(*args, **kwargs).violations]

    def fill(
        self, number: int, trace: int, leg: Any = "entry", price: int = 100, side: Any = "buy", **more: Any
    ) -> None:
        fields = {"symbol": "AAPL", "quantity": D(50), "fee": D(0), "at": self.context.clock, **more}
        trace_id = f"{trace:08d}-0000-4000-8000-000000000000"
        self.hrm.notice(
            Fill(number=number, trace_id=trace_id, leg=leg, price=D(price), side=side, **fields), self.context
        )


@pytest.fixture
def floor() -> Floor:
    return Floor()


def plan_of(case: Case) -> Plan:
    assert case.approval is not None
    return msgspec.msgpack.decode(case.approval.plan, type=Plan)


def test_a_sound_plan_is_approved_with_a_tag_that_kenny_can_verify(floor: Floor) -> None:
    answer = floor.judge(case_of())
    assert answer.decision == Decision(
        True, (), (), tuple(rule.name for rule in RULES), ruleset_digest(), NOON, "squeezer", 0.8
    )
    assert answer.approval is not None
    verify(SECRET, floor.context.trace_id, answer.approval, NOON + 30, 1)
    assert plan_of(answer) == Plan(floor.context.trace_id, "AAPL", "buy", D(50), "market", D(100), D(95), D(110))


def test_a_share_of_equity_becomes_whole_units_rounded_down(floor: Floor) -> None:
    answer = floor.judge(
        case_of(quantity=None, position_size_pct=0.05, entry_price=33.37, stop_loss=32.0, target=36.0)
    )
    assert plan_of(answer).quantity == 149
    assert plan_of(answer).price == D("33.37")


def test_a_share_that_buys_no_unit_is_denied_and_says_so(floor: Floor) -> None:
    decision = floor.decide(
        quantity=None, position_size_pct=0.05, entry_price=9000.0, stop_loss=8900.0, target=9900.0
    )
    assert decision.violations[0].rule == "whole_units"
    assert "`position_size_pct` 0.05 of the equity 100000 buys not one unit" in decision.violations[0].message
    split = Floor(fractional=True)
    assert split.decide(
        quantity=None, position_size_pct=0.05, entry_price=9000.0, stop_loss=8900.0, target=9900.0
    ).approved


def test_a_share_at_the_limit_passes_even_where_the_entry_is_a_limit_under_the_market(floor: Floor) -> None:
    size: dict[str, Any] = {"quantity": None, "position_size_pct": 0.1, "entry": "limit"}
    assert floor.decide(**size, entry_price=98.0).approved
    assert floor.decide("MSFT", **size, direction="short", entry_price=99.5, stop_loss=105.0, target=85.0).approved


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("max_position_size", {"quantity": 101.0}),
        ("max_position_size", {"quantity": None, "position_size_pct": 0.11}),
        ("max_position_size", {"quantity": 1.0, "position_size_pct": 0.25}),
        ("max_position_size", {"quantity": None}),
        ("max_position_size", {"quantity": 1e308}),
        ("max_position_size", {"quantity": float("nan")}),
        ("max_position_size", {"quantity": -5.0}),
        ("max_position_size", {"quantity": 0.0}),
        ("max_position_size", {"quantity": None, "position_size_pct": float("inf")}),
        ("max_position_size", {"entry_price": float("nan")}),
        ("max_position_size", {"entry_price": 1e308}),
        ("max_position_size", {"entry_price": float("inf")}),
        ("max_leverage", {"leverage": 2.1}),
        ("max_leverage", {"leverage": float("nan")}),
        ("require_stop_loss", {"stop_loss": None}),
        ("require_stop_loss", {"stop_loss": 105.0}),
        ("require_stop_loss", {"stop_loss": 89.0, "target": 150.0}),
        ("require_stop_loss", {"stop_loss": float("nan")}),
        ("min_risk_reward", {"target": 107.0}),
        ("min_risk_reward", {"target": None}),
        ("min_risk_reward", {"target": float("-inf")}),
        ("require_hrm_approval", {"signal": {"action": "observe"}}),
    ],
)
def test_what_breaks_a_rule_is_denied_by_it_and_reserves_nothing(floor: Floor, rule: str, changes: Any) -> None:
    answer = floor.judge(case_of(**changes))
    assert answer.decision is not None
    assert rule in [violation.rule for violation in answer.decision.violations]
    assert not answer.decision.approved
    assert answer.approval is None
    assert floor.hrm.portfolio.symbols == ()


def test_what_a_signal_says_of_itself_turns_no_denial_into_a_pass(floor: Floor) -> None:
    boasts = {
        "metadata": {"hrm_approved": True, "hrm_validated": True, "user_consent": True},
        "features": {"approved": True, "decision": {"approved": True}},
        "risk_reward_ratio": 9.0,
        "source": "HRM",
    }
    assert floor.denied_by(target=101.0, signal=boasts) == ["min_risk_reward"]
    forged = case_of(target=101.0)
    forged = msgspec.structs.replace(forged, decision=Decision(True, (), (), (), "", 0.0))
    answer = floor.judge(forged)
    assert answer.decision is not None
    assert not answer.decision.approved


def test_two_plans_of_six_per_cent_cannot_both_pass(floor: Floor) -> None:
    assert floor.decide(quantity=60.0).approved
    assert floor.denied_by(quantity=60.0) == ["max_position_size"]
    assert floor.decide(quantity=40.0).approved


def test_six_symbols_at_once_give_five_approvals(floor: Floor) -> None:
    answers = [floor.decide(symbol).approved for symbol in ("A", "B", "C", "D", "E", "F")]
    assert answers == [True] * 5 + [False]
    assert floor.decide("A").approved


def test_a_named_price_far_under_the_known_market_buys_no_room(floor: Floor) -> None:
    floor.decide(quantity=10.0)
    floor.fill(1, 1, quantity=D(10))
    cheap = {"entry_price": 1.0, "stop_loss": 0.95, "target": 1.2, "quantity": 1000.0}
    assert floor.denied_by(**cheap) == ["max_position_size"]


def test_a_named_price_moves_no_equity_and_a_bar_does(floor: Floor) -> None:
    floor.decide(quantity=50.0)
    floor.fill(1, 1)
    floor.decide(entry_price=900.0, stop_loss=890.0, target=950.0, quantity=1.0)
    assert floor.hrm.portfolio.equity == D(100_000)
    floor.judge(msgspec.structs.replace(case_of(bar=bar_at(98.0)), setup=None))
    assert floor.hrm.portfolio.equity == D(99_900)


@pytest.mark.parametrize("change", [{"setup": None}, {"refusal": ("expired", "too old")}])
def test_a_case_without_a_plan_passes_as_it_is_and_its_bar_marks(floor: Floor, change: Any) -> None:
    floor.decide()
    floor.fill(1, 1)
    case = msgspec.structs.replace(case_of(bar=bar_at(97.0)), **change)
    assert floor.judge(case) == case
    assert floor.hrm.portfolio.equity == D(99_850)


def test_while_halted_everything_is_denied_with_the_reason(floor: Floor) -> None:
    floor.context.halt_reason = "drill"
    decision = floor.decide()
    assert [violation.rule for violation in decision.violations] == ["emergency_halt_enabled"]
    assert "drill" in decision.violations[0].message
    floor.context.halt_reason = None
    assert floor.decide().approved


def test_a_day_that_lost_five_per_cent_ends_all_trading_until_the_next(floor: Floor) -> None:
    for trace, symbol in enumerate("ABCDE", 1):
        floor.decide(symbol, quantity=100.0)
        floor.fill(trace, trace, symbol=symbol, quantity=D(100))
    for trace, symbol in enumerate("ABCDE", 1):
        floor.fill(5 + trace, trace, "stop", 90, "sell", symbol=symbol, quantity=D(100))
    assert floor.hrm.portfolio.totals.realised_today == D(-5000)
    assert floor.denied_by(quantity=1.0) == ["max_daily_loss"]
    floor.context.clock += 86_400
    assert floor.decide(quantity=1.0).approved


def test_a_restart_over_the_same_database_has_the_same_view(floor: Floor) -> None:
    floor.decide(quantity=60.0)
    floor.decide("MSFT", quantity=30.0, direction="short", stop_loss=105.0, target=90.0)
    floor.fill(1, 1, quantity=D(20))
    floor.fill(2, 1, quantity=D(10), price=101)
    floor.judge(case_of(bar=bar_at(102.5), quantity=1.0))
    floor.fill(3, 1, "stop", 95, "sell", quantity=D(5), fee=D("0.35"))
    floor.judge(case_of("MSFT", bar=bar_at(99.0), quantity=0.0))
    before = floor.hrm
    after = start(floor.context)
    assert after.last_fill == 3
    assert after.portfolio.account() == before.portfolio.account()
    assert after.portfolio.totals == before.portfolio.totals
    assert set(after.portfolio.lots) == set(before.portfolio.lots)
    assert after.portfolio.reservations == before.portfolio.reservations
    assert floor.context.sent[-1] == ("kenny", FillsWanted(after=3))


def test_a_restart_after_everything_is_closed_finds_nothing_open(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.fill(2, 1, "target", 110, "sell")
    floor.decide("MSFT")
    floor.fill(3, 2, "cancel", 0, quantity=D(0), symbol="MSFT")
    after = start(floor.context)
    assert after.portfolio.symbols == ()
    assert after.portfolio.equity == D(100_500)
    for table in ("hrm_lots", "hrm_reservations", "hrm_marks"):
        assert floor.context.database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_missing_fill_is_asked_for_and_nothing_is_applied_out_of_order(floor: Floor) -> None:
    assert floor.context.sent == [("kenny", FillsWanted(after=0))]
    floor.decide()
    floor.context.clock += 2
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.context.sent[1:] == [("kenny", FillsWanted(after=0))]
    assert floor.hrm.last_fill == 0
    floor.fill(3, 1, "cancel", 0, quantity=D(0))
    assert len(floor.context.sent) == 2, "one request a second is enough"
    floor.fill(1, 1)
    floor.fill(1, 1)
    assert [lot.trace_id for lot in floor.hrm.portfolio.lots] == ["00000001-0000-4000-8000-000000000000"]
    floor.fill(2, 1, "target", 110, "sell")
    assert floor.hrm.last_fill == 2
    assert floor.hrm.portfolio.equity == D(100_500)


def test_a_request_that_was_lost_is_repeated_with_the_next_case(floor: Floor) -> None:
    floor.context.clock += 2
    floor.hrm.notice(FillsHead(4), floor.context)
    floor.decide()
    assert len(floor.context.sent) == 2
    floor.context.clock += 2
    floor.decide()
    assert floor.context.sent[2:] == [("kenny", FillsWanted(after=0))]


def test_a_head_that_is_known_asks_for_nothing_and_one_behind_is_reported(floor: Floor) -> None:
    floor.decide()
    floor.fill(1, 1)
    floor.context.clock += 2
    floor.hrm.notice(FillsHead(1), floor.context)
    assert len(floor.context.sent) == 1
    floor.hrm.notice(FillsHead(0), floor.context)
    assert floor.context.events == [("fills_behind", {"known": 1, "reported": 0})]


def test_a_buried_signal_keeps_its_reservation_until_kenny_says_what_became_of_it(floor: Floor) -> None:
    floor.decide()
    floor.hrm.bury(Letter(floor.context.trace_id, "AAPL", "kenny", "killed it", 3), floor.context)
    assert floor.hrm.portfolio.symbols == ("AAPL",)
    floor.fill(1, 1, "cancel", 0, quantity=D(0))
    assert not floor.hrm.portfolio.symbols


def test_without_a_kenny_a_buried_signal_gives_its_reservation_back(floor: Floor) -> None:
    floor.context.pipeline = ("hrm", "mine")
    floor.decide()
    first = floor.context.trace_id
    floor.decide("MSFT")
    floor.fill(1, 1, quantity=D(20))
    for trace, symbol in ((first, "AAPL"), (floor.context.trace_id, "MSFT"), ("never seen", "X")):
        floor.hrm.bury(Letter(trace, symbol, "mine", "killed it", 3), floor.context)
    assert floor.hrm.portfolio.account().exposures == {"AAPL": D(2000)}
    assert start(floor.context).portfolio.account() == floor.hrm.portfolio.account()


def test_the_next_chunk_of_missing_fills_is_asked_for_at_once(floor: Floor) -> None:
    floor.decide()
    floor.context.clock += 2
    floor.hrm.notice(FillsHead(3), floor.context)
    floor.fill(1, 1)
    floor.hrm.notice(FillsHead(3), floor.context)
    floor.hrm.notice(FillsHead(3), floor.context)
    assert floor.context.sent[1:] == [("kenny", FillsWanted(after=0)), ("kenny", FillsWanted(after=1))]


def test_what_was_traded_without_ark_counts_by_symbol_and_survives_a_restart(floor: Floor) -> None:
    for number, symbol in enumerate(("X", "Y"), 1):
        foreign = Fill(number, "", symbol, "buy", "entry", D(10), D(100), D(0), NOON)
        floor.hrm.notice(foreign, floor.context)
    after = start(floor.context).portfolio.account()
    assert after.exposures == {"X": D(1000), "Y": D(1000)}
    assert after.open_risk == D(2000)


def test_time_alone_releases_no_reservation(floor: Floor) -> None:
    floor.decide(quantity=60.0)
    floor.context.clock += 10 * 86_400
    assert floor.denied_by(quantity=60.0) == ["max_position_size"]


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
        ({"starting_equity": -1}, "starting_equity"),
        ({"approval_ttl_s": 0}, "approval_ttl_s"),
        ({"approval_ttl_s": float("nan")}, "approval_ttl_s"),
    ],
)
def test_settings_that_are_looser_or_wrong_are_refused_at_the_start(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        start(desk(**settings))
    assert words in str(caught.value)


def test_without_the_secret_hrm_does_not_start() -> None:
    with pytest.raises(AgentError, match="approval"):
        start(TestContext("hrm"))


def test_starting_equity_opens_an_account_and_does_not_change_one(floor: Floor) -> None:
    context = desk(starting_equity=5000)
    assert start(context).portfolio.equity == 5000
    context.settings = {"starting_equity": 9000}
    assert start(context).portfolio.equity == 5000


prices = st.floats(1.5, 5000)


@given(prices, st.floats(0.001, 0.1), st.floats(1.5, 5), st.booleans())
def test_rounding_to_ticks_never_turns_a_sound_plan_into_a_denied_one(
    price: float, share: float, ratio: float, long: bool
) -> None:
    sign = 1 if long else -1
    risk = max(price * share, 0.05)
    plan = case_of(
        direction="long" if long else "short",
        entry_price=price,
        stop_loss=price - sign * risk,
        target=max(price + sign * risk * (ratio + 1e-6), 0.01),
        quantity=1.0,
    )
    if price - risk * (ratio + 1e-6) > 0.02 and risk <= price * 0.0999:
        assert Floor().decide(**{f: getattr(plan.setup, f) for f in Setup.__struct_fields__}).violations == ()


def test_prices_lose_the_noise_of_binary_arithmetic() -> None:
    assert to_tick(110.00000000000001, up=True) == D("110.00")
    assert to_tick(28.999999999999996, up=False) == D("29.00")
    assert to_tick(0.123456, up=False) == D("0.1234")


@given(
    st.decimals(D("0.000001"), D("0.1"), places=6),
    st.decimals(D(1), D(10**7), places=4),
    st.decimals(D("0.01"), D(10**5), places=2),
)
def test_a_quantity_never_costs_more_than_its_share(share: D, equity: D, price: D) -> None:
    for fractional, step in ((False, D(1)), (True, D("0.000001"))):
        units = quantity_for(share, equity, price, fractional=fractional)
        assert units * price <= share * equity < (units + step) * price
