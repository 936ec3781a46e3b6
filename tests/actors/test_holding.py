"""What a person is asked about waits as it was shown, and is judged anew by the moment in which he answers."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from actors.books import Books
from actors.messages import Case
from ark.agent import Hold
from ark.message import Letter
from ark.ruling import Ruling, rule
from tests.actors.floor import NOON, RULING, Floor, case_of, plan_of, planned_by_joey, short, trace

LARGE = case_of(quantity=90.0)
"""Nine per cent of the equity: above eight a person is asked."""


@pytest.fixture
def floor() -> Floor:
    return Floor()


def unsure() -> Floor:
    """A floor whose operator lets nothing pass that is not nearly perfect."""
    return Floor(ruleset={"synthesis": {"approve": 0.95}})


def kept(floor: Floor, number: int) -> bytes | None:
    return Books(floor.context.database).held(trace(number))


def test_a_position_above_eight_per_cent_is_held_with_plan_and_decision(floor: Floor) -> None:
    hold = floor.hold(LARGE)
    assert hold.until == NOON + 300
    assert hold.reason.startswith("buy 90.0 AAPL at 100.00: 9 % of the equity")
    assert hold.details["plan"] == {
        "symbol": "AAPL", "side": "buy", "quantity": "90.0", "entry": "market", "price": "100.00",
        "stop_loss": "95.00", "target": "110.00", "value": "9000.000",
    }  # fmt: skip
    decision = hold.details["decision"]
    assert (decision["approved"], decision["zone"], decision["level"]) == (False, "hold", "graveyard")
    assert [each["rule"] for each in decision["violations"]] == ["human_in_loop_critical"]
    assert len(msgspec.msgpack.encode(hold.details)) < 64 << 10


def test_exactly_eight_per_cent_asks_nobody(floor: Floor) -> None:
    assert floor.decide(quantity=80.0).approved


def test_a_leverage_above_one_and_a_half_is_held(floor: Floor) -> None:
    assert isinstance(floor.take(case_of(leverage=1.51)), Hold)


def test_a_plan_of_which_the_synthesis_is_not_sure_is_held() -> None:
    floor = unsure()
    hold = floor.hold(case_of())
    decision = hold.details["decision"]
    assert (decision["zone"], decision["level"]) == ("hold", "synthesis")
    assert "the score is 0.921; only from 0.95 approves" in hold.reason
    answer = floor.answered(case_of(), 1)
    assert answer.decision is not None
    assert (answer.decision.approved, answer.decision.level) == (True, "person")


def test_how_long_a_person_has_is_a_setting() -> None:
    assert Floor(hold_s=5).hold(LARGE).until == NOON + 5


def test_while_it_is_held_no_exposure_is_reserved(floor: Floor) -> None:
    floor.hold(LARGE)
    assert floor.hrm.portfolio.symbols == ()
    assert floor.hrm.portfolio.account("AAPL", NOON).messages == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_sent_again_without_an_answer_it_is_the_very_same_hold(floor: Floor, restarted: bool) -> None:
    first = floor.hold(LARGE)
    number = floor.hrm._number
    floor.context.clock += 100
    if restarted:
        floor.restart()
    floor.context.attempt = 2
    assert floor.hold(LARGE, 1) == first
    assert floor.hrm._number == number, "it was not judged a second time"


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_person_approves_is_exactly_what_he_was_shown(floor: Floor, restarted: bool) -> None:
    share = case_of(quantity=None, position_size_pct=0.09)
    hold = floor.hold(share)
    floor.decide("MSFT", quantity=10.0)
    floor.fill(1, 2, symbol="MSFT", quantity=10)
    floor.bar("MSFT", 400.0)  # now the same share of the equity would be 92 units
    floor.context.clock += 200
    if restarted:
        floor.restart()
    floor.context.epoch = 5
    answer = floor.answered(share, 1)
    plan = plan_of(answer)
    assert {
        name: str(getattr(plan, name)) for name in ("symbol", "side", "quantity", "price", "stop_loss", "target")
    } == {
        name: hold.details["plan"][name] for name in ("symbol", "side", "quantity", "price", "stop_loss", "target")
    }
    assert plan.quantity == 90
    assert answer.approval is not None
    assert (answer.approval.epoch, answer.approval.expires) == (5, floor.context.clock + 30)
    assert plan.good_until == floor.context.clock + 86_400
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, decision.zone, decision.violations) == (True, "approve", ())
    assert decision.ruling == {"approved": True, "by": "ada", "reason": "looked at it", "at": floor.context.clock}
    assert floor.hrm.portfolio.reservations[trace(1)].value == D(9000)
    assert kept(floor, 1) is None


def test_room_that_was_used_up_meanwhile_denies_what_was_approved(floor: Floor) -> None:
    floor.hold(LARGE)
    assert floor.decide(quantity=20.0).approved
    answer = floor.answered(LARGE, 1)
    assert answer.decision is not None
    assert [each.rule for each in answer.decision.violations] == ["max_position_size"]
    assert answer.decision.level == "graveyard"
    assert answer.decision.ruling is not None
    assert answer.approval is None
    assert floor.hrm.portfolio.reservations.keys() == {trace(2)}


def test_two_that_were_held_for_the_same_room_cannot_both_pass(floor: Floor) -> None:
    floor.hold(LARGE)
    floor.hold(LARGE)
    assert floor.answered(LARGE, 1).approval is not None
    assert floor.answered(LARGE, 2).approval is None


@pytest.mark.parametrize(
    ("change", "rule_name"),
    [
        (lambda floor: setattr(floor.context, "halt_reason", "drill"), "emergency_halt_enabled"),
        (lambda floor: floor.context.beats.update(watchdog=4.0), "watchdog_monitoring"),
        (lambda floor: floor.context.faults.update(home="open"), "protect_user_data"),
        (lambda floor: floor.bar("SPY", 440.0, change_pct=-0.05), "CB-003 market_breaker"),
    ],
)
def test_what_happened_meanwhile_denies_what_was_approved(floor: Floor, change: Any, rule_name: str) -> None:
    floor.hold(LARGE)
    change(floor)
    answer = floor.answered(LARGE, 1)
    assert answer.decision is not None
    assert [each.rule for each in answer.decision.violations] == [rule_name]
    assert answer.approval is None


def test_fills_that_are_missing_meanwhile_deny_what_was_approved(floor: Floor) -> None:
    floor.hold(LARGE)
    floor.head(1)
    answer = floor.answered(LARGE, 1)
    assert answer.decision is not None
    assert "max_position_size" in [each.rule for each in answer.decision.violations]


def test_a_plan_that_was_sized_before_a_losing_run_is_denied_after_it(floor: Floor) -> None:
    floor.hold(LARGE)
    for of, symbol in enumerate("ABC", 2):
        floor.decide(symbol, quantity=10.0)
        floor.fill(2 * of - 3, of, symbol=symbol, quantity=10)
        floor.fill(2 * of - 2, of, "stop", 99, "sell", symbol=symbol, quantity=10)
    answer = floor.answered(LARGE, 1)
    assert answer.decision is not None
    assert [each.rule for each in answer.decision.violations] == ["CB-002 losing_run_breaker"]


def test_what_a_person_refuses_is_denied_in_his_words(floor: Floor) -> None:
    floor.hold(LARGE)
    answer = floor.answered(LARGE, 1, approved=False)
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, decision.level, answer.approval) == (False, "person", None)
    assert [(each.rule, each.message) for each in decision.violations] == [
        ("human_in_loop_critical", "ada refused it: looked at it")
    ]
    assert decision.ruling is not None
    assert decision.ruling["approved"] is False
    assert kept(floor, 1) is None
    assert floor.alarms() == []


def test_a_deadline_refuses(floor: Floor) -> None:
    hold = floor.hold(LARGE)
    floor.context.clock = hold.until
    late = rule(RULING, trace(1), approved=False, by="deadline", reason="nobody answered", at=hold.until)
    decision = floor.answered(LARGE, 1, ruling=late).decision
    assert decision is not None
    assert not decision.approved
    assert decision.violations[0].message == "deadline refused it: nobody answered"


def altered(ruling: Ruling, **changes: Any) -> Ruling:
    return msgspec.structs.replace(ruling, **changes)


@pytest.mark.parametrize(
    "made",
    [
        lambda floor: floor.ruled(1, secret=b"a guess"),
        lambda floor: altered(floor.ruled(1, approved=False), approved=True),
        lambda floor: altered(floor.ruled(1), by="bob"),
        lambda floor: altered(floor.ruled(1), reason="because"),
        lambda floor: altered(floor.ruled(1), at=NOON + 1),
        lambda floor: altered(floor.ruled(1), at=math.nan),
        lambda floor: altered(floor.ruled(1), tag=b""),
        lambda floor: floor.ruled(2),
    ],
    ids=["guessed", "turned", "by", "reason", "at", "at nan", "no tag", "of another signal"],
)
def test_an_answer_that_is_not_the_gateways_is_denied_with_an_alarm(floor: Floor, made: Any) -> None:
    floor.hold(LARGE)
    answer = floor.answered(LARGE, 1, ruling=made(floor))
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, answer.approval) == (False, None)
    assert decision.violations[0].rule == "human_in_loop_critical"
    assert "not the gateway's word" in decision.violations[0].message
    assert decision.ruling is None, "nobody's answer stands in the ledger as somebody's"
    assert floor.alarms() == ["human_in_loop_critical"]
    assert floor.hrm.portfolio.symbols == ()


def test_an_answer_to_a_plan_that_is_not_known_here_is_denied_with_an_alarm(floor: Floor) -> None:
    answer = floor.answered(LARGE, 1)
    decision = answer.decision
    assert decision is not None
    assert (decision.approved, answer.approval) == (False, None)
    assert "not known here any more" in decision.violations[0].message
    assert floor.alarms() == ["human_in_loop_critical"]


def test_a_plan_that_needs_nobody_is_denied_where_a_forged_answer_comes_with_it(floor: Floor) -> None:
    answer = floor.answered(case_of(), 1, ruling=floor.ruled(1, secret=b"a guess"))
    assert answer.decision is not None
    assert not answer.decision.approved


def test_the_plan_of_a_signal_that_was_buried_is_forgotten(floor: Floor) -> None:
    floor.hold(LARGE)
    floor.hrm.bury(Letter(trace(1), "AAPL", "joey", "killed it", 3), floor.context)
    assert kept(floor, 1) is None
    assert floor.answered(LARGE, 1).approval is None


def test_a_setup_that_changed_on_the_way_changes_nothing_of_what_was_shown(floor: Floor) -> None:
    floor.hold(LARGE)
    other = case_of(quantity=90.0, target=150.0, entry_price=99.0)
    assert plan_of(floor.answered(other, 1)).target == 110


def test_a_pattern_that_does_not_hold_any_more_denies_what_was_approved() -> None:
    floor = unsure()
    case = planned_by_joey()
    floor.hold(case)
    assert case.setup is not None
    surer = msgspec.structs.replace(case, setup=msgspec.structs.replace(case.setup, confidence=0.99))
    answer = floor.answered(surer, 1)
    assert answer.decision is not None
    assert [each.rule for each in answer.decision.violations] == ["pattern_quality"]


def test_a_short_is_held_likewise(floor: Floor) -> None:
    case = case_of(**short(quantity=90.0))
    assert floor.hold(case).details["plan"]["side"] == "sell"
    answer: Case = floor.answered(case, 1)
    assert plan_of(answer).side == "sell"
