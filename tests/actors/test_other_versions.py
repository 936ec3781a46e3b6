"""What each agent lets another version decide: the same as it would itself, and nothing that is not its own."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.aletheia import Audit
from actors.joey import Joey
from actors.judging import Inputs, Verdict, bound
from actors.messages import Approval, Case, Decision, Execution
from ark.agent import Agent, Effect, Hold
from ark.errors import ProposalError
from ark.signal import Bar, Signal
from ark.testing import TestContext
from graveyard import Limits
from tests.actors.cases import NOW, approved
from tests.actors.floor import NOON, Floor, case_of, short
from tests.actors.test_aletheia import desk as ledger_desk
from tests.actors.test_aletheia import filled
from tests.actors.test_aletheia import start as at_the_ledger
from tests.actors.test_joey import DEAD_CAT, trade
from tests.actors.test_kenny import desk as trading_desk
from tests.actors.test_kenny import start as at_the_desk
from tests.actors.test_kyle import Desk, seated

change = msgspec.structs.replace


def proposal_of(agent: Agent[Any], case: Any, context: TestContext | None = None) -> Any:
    """What an arm of the same version proposes, over the wire and back, in a process of its own."""
    arm = type(agent)()
    own = context or TestContext(getattr(agent, "name", "arm"), now=NOW)
    arm.setup_arm(own)
    wire = msgspec.msgpack.Encoder(decimal_format="string")
    said = arm.propose(msgspec.msgpack.decode(wire.encode(case), type=agent.weighs or agent.takes), own)
    return msgspec.msgpack.decode(wire.encode(said), type=agent.proposes or agent.takes)


# Kyle

BAR = {"ts": NOW - 60, "open": 100.0, "high": 106.0, "low": 99.0, "close": 105.0, "volume": 1e6}


def observed(number: int = 0, **more: Any) -> Signal:
    bar = {**BAR, "ts": NOW - 600 + number * 60, "close": 100.0 + number % 5}
    return Signal("ACME", "long", 100.0, action="observe", ts=NOW, features={"bar": bar}, **more)


def test_another_kyle_says_the_same_of_the_same_bars() -> None:
    kyle, desk = seated(Desk(now=NOW))
    for number in range(8):
        signal = observed(number)
        proposal = proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW))
        assert proposal == kyle.proposed(kyle.handle(signal, desk))


def test_what_is_adopted_of_another_kyle_leaves_the_bar_in_the_books() -> None:
    (kyle, desk), (own, own_desk) = seated(Desk(now=NOW)), seated(Desk(now=NOW))
    for number in range(4):
        signal = observed(number)
        answer = kyle.adopt(signal, proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW)), desk)
        assert answer == own.handle(signal, own_desk)


@pytest.mark.parametrize(
    "wrong",
    [
        {"signal": {"price": 1.0}}, {"signal": {"symbol": "OTHER"}}, {"signal": {"trace_id": "x"}},
        {"signal": {"source": "broker"}}, {"signal": {"quantity": 7.0}}, {"signal": {"features": {}}},
        {"decision": Decision(True, (), (), (), "", NOW)}, {"approval": Approval(b"", 1, 1.0, b"")},
        {"execution": Execution("filled")},
    ],
)  # fmt: skip
def test_of_another_kyle_that_changes_the_signal_nothing_is_kept_and_the_bar_is_still_new(wrong: Any) -> None:
    (kyle, desk), (own, own_desk) = seated(Desk(now=NOW)), seated(Desk(now=NOW))
    signal = observed()
    said = proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW))
    lie = change(
        said, **{key: change(said.signal, **value) if key == "signal" else value for key, value in wrong.items()}
    )
    with pytest.raises(ProposalError):
        kyle.adopt(signal, lie, desk)
    answer = kyle.handle(signal, desk)
    assert answer == own.handle(signal, own_desk)
    assert answer.market is not None
    assert answer.market.bar == msgspec.convert(signal.features["bar"], Bar)


# Joey


def joeys() -> tuple[Joey, TestContext]:
    context = TestContext("joey", now=NOW)
    joey = Joey()
    joey.setup(context)
    return joey, context


def test_another_joey_finds_the_same_and_what_is_not_his_is_left_away() -> None:
    joey, context = joeys()
    case = Case(trade(direction="short", features=DEAD_CAT))
    said = proposal_of(joey, joey.case(case, context))
    assert said == joey.handle(case, context)
    lie = change(
        said, decision=Decision(True, (), (), (), "", NOW), refusal=("denied", "no"), execution=Execution("filled")
    )
    assert joey.adopt(case, lie, context) == said
    assert joey.refuses(case)
    assert not joey.refuses(said)


@pytest.mark.parametrize("wrong", [{"price": 1.0}, {"direction": "long"}, {"action": "observe"}, {"symbol": "X"}])
def test_another_joey_may_not_change_a_trade(wrong: dict[str, Any]) -> None:
    joey, context = joeys()
    case = Case(trade(direction="short", features=DEAD_CAT))
    said = proposal_of(joey, case)
    with pytest.raises(ProposalError):
        joey.adopt(case, change(said, signal=change(said.signal, **wrong)), context)


# HRM


@pytest.fixture(scope="module")
def shared() -> Floor:
    return Floor()


def asked(floor: Floor, case: Case) -> Inputs | None:
    floor.count += 1
    floor.context.trace_id = f"{floor.count:08d}-0000-4000-8000-000000000000"
    floor.context.received_ns += 1
    return floor.hrm.case(case, floor.context)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"quantity": 101.0},
        {"stop_loss": None},
        {"leverage": 2.1},
        short(),
        {"quantity": 90.0},
        {"target": 107.0},
    ],
)
def test_another_hrm_judges_the_same(shared: Floor, changes: dict[str, Any]) -> None:
    case = case_of("J1", **changes)
    inputs = asked(shared, case)
    assert inputs is not None
    said = proposal_of(shared.hrm, inputs, shared.context)
    answer = shared.hrm.handle(case, shared.context)
    assert said == shared.hrm.proposed(answer)
    assert shared.hrm.refuses(said) == (isinstance(answer, Case) and not (answer.decision or said).approved)  # type: ignore[union-attr]
    shared.hrm.portfolio.release(shared.context.trace_id)


def test_a_case_without_a_plan_is_nothing_to_judge(shared: Floor) -> None:
    assert asked(shared, change(case_of(), setup=None)) is None
    assert asked(shared, change(case_of(), refusal=("denied", "no"))) is None


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"quantity": 101.0}, "deny"),
        ({"leverage": 2.1}, "deny"),
        ({"stop_loss": None}, "deny"),
        ({"quantity": 90.0}, "hold"),
    ],
)
def test_nobody_allows_what_the_graveyard_denies_or_wants_a_person_asked_about(
    shared: Floor, changes: dict[str, Any], most: str
) -> None:
    case = case_of("J2", **changes)
    inputs = asked(shared, case)
    assert inputs is not None
    assert bound(inputs, Limits())[0] == most
    with pytest.raises(ProposalError, match=f"no more than `{most}`"):
        shared.hrm.adopt(case, Verdict("approve", "synthesis", (), (), ()), shared.context)
    assert shared.hrm.portfolio.reservation(shared.context.trace_id) is None


def test_another_hrm_may_be_stricter(shared: Floor) -> None:
    case = case_of("J3")
    asked(shared, case)
    answer = shared.hrm.adopt(case, Verdict("deny", "synthesis", (), (), ()), shared.context)
    assert isinstance(answer, Case)
    assert answer.decision is not None
    assert not answer.decision.approved
    asked(shared, case)
    assert isinstance(shared.hrm.adopt(case, Verdict("hold", "synthesis", (), (), ()), shared.context), Hold)


def test_an_approval_for_an_account_that_has_changed_meanwhile_is_nobodys_fault_and_is_judged_anew() -> None:
    floor = Floor()
    case = case_of("J4", quantity=50.0)
    inputs = asked(floor, case)
    assert inputs is not None
    said = proposal_of(floor.hrm, inputs, floor.context)
    assert said.zone == "approve"
    trace_id = floor.context.trace_id
    assert floor.judge(case_of("J4", quantity=60.0)).approval is not None
    floor.context.trace_id = trace_id
    answer = floor.hrm.adopt(case, said, floor.context)
    assert isinstance(answer, Case)
    assert answer.decision is not None
    assert not answer.decision.approved
    assert answer.decision.level == "graveyard"


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A", "B", "C"]),
            st.integers(1, 110),
            st.sampled_from(["approve", "deny"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_exposure_never_exceeds_the_limits_whatever_comes_back_when(
    shared: Floor, plans: list[tuple[str, int, Any, bool]], die: Any
) -> None:
    """Approvals are given on accounts that change before they are adopted."""
    hrm, context = shared.hrm, shared.context
    waiting: list[tuple[str, Case, Any]] = []
    begun: list[str] = []
    for symbol, quantity, zone, filled_at_once in plans:
        case = case_of(symbol, quantity=float(quantity))
        asked(shared, case)
        begun.append(context.trace_id)
        waiting.append((context.trace_id, case, Verdict(zone, "synthesis", (), (), ())))
        if filled_at_once:
            hrm.portfolio.release(begun[0])
        while waiting and die.random() < 0.5:
            adopt(shared, waiting.pop(die.randrange(len(waiting))))
            within_limits(shared)
    for each in waiting:
        adopt(shared, each)
        within_limits(shared)
    for trace_id in begun:
        hrm.portfolio.release(trace_id)


def adopt(floor: Floor, waiting: tuple[str, Case, Any]) -> None:
    floor.context.trace_id, case, said = waiting
    try:
        floor.hrm.adopt(case, said, floor.context)
    except ProposalError:
        floor.hrm.handle(case, floor.context)


def within_limits(floor: Floor) -> None:
    portfolio, limits = floor.hrm.portfolio, Limits()
    account = portfolio.account("A", NOON)
    assert account.equity is not None
    assert account.exposures is not None
    assert all(each <= account.equity * limits.max_position_size for each in account.exposures.values())
    assert sum(account.exposures.values(), D(0)) <= account.equity * limits.max_leverage


# Kenny


def test_another_kenny_makes_the_same_order() -> None:
    context = trading_desk()
    kenny, message = at_the_desk(context), approved()
    case = kenny.case(message, context)
    assert case is not None
    said = proposal_of(kenny, case)
    effect = kenny.handle(message, context)
    assert isinstance(effect, Effect)
    assert said == kenny.proposed(effect)


@pytest.mark.parametrize(
    "field", ["client_order_id", "symbol", "side", "quantity", "type", "price", "stop_loss", "target"]
)
def test_no_field_of_an_order_may_be_another(field: str) -> None:
    context = trading_desk()
    kenny, message = at_the_desk(context), approved()
    said = proposal_of(kenny, kenny.case(message, context))
    names = {name for name in said.__struct_fields__ if name == field or name.startswith(field)}
    assert names, said.__struct_fields__
    for name in names:
        value = getattr(said, name)
        other = {"buy": "sell", "market": "limit"}.get(value, "x") if isinstance(value, str) else value + 1
        with pytest.raises(ProposalError, match=name):
            kenny.adopt(message, change(said, **{name: other}), context)
    assert isinstance(kenny.adopt(message, said, context), Effect)


def test_without_a_good_approval_there_is_nothing_to_order() -> None:
    context = trading_desk()
    kenny = at_the_desk(context)
    for message in (approved(secret=b"another"), approved(expires=NOW - 1), change(approved(), approval=None)):
        assert kenny.case(message, context) is None


# Aletheia


def test_another_aletheia_audits_the_same_and_may_not_say_that_it_ended_otherwise() -> None:
    context, message = ledger_desk(), filled()
    aletheia = at_the_ledger(context)
    passed = aletheia.case(message, context)
    said = proposal_of(aletheia, passed, ledger_desk())
    with pytest.raises(ProposalError, match="denied"):
        aletheia.adopt(message, change(said, status="denied"), context)
    assert aletheia.recall(context.trace_id, context) is None
    stricter = Audit(False, ["who was there?"], said.status, said.reason)
    outcome = aletheia.adopt(message, stricter, context)
    assert (outcome.status, outcome.audit["disagreements"]) == ("executed", ["who was there?"])
    other = at_the_ledger(ledger_desk())
    assert other.proposed(other.handle(message, ledger_desk())) == said
