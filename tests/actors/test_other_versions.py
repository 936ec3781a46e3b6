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
from actors.kyle import Kyle
from actors.messages import Approval, Case, Decision, Execution
from ark.agent import Agent, Effect, Hold
from ark.errors import ProposalError
from ark.signal import Bar, Signal
from ark.testing import TestContext
from graveyard import Limits
from tests.actors.bars import path, series, shown
from tests.actors.cases import NOW, approved
from tests.actors.floor import NOON, Floor, bar_at, case_of, seen, short, trace
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
        {"signal": {"direction": "short"}}, {"market": {"price": 1.0}},
        {"market": {"bar": Bar(ts=NOW - 60, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)}},
        {"decision": Decision(True, (), (), (), "", NOW)}, {"approval": Approval(b"", 1, 1.0, b"")},
        {"execution": Execution("filled")},
    ],
)  # fmt: skip
def test_of_another_kyle_that_changes_the_signal_nothing_is_kept_and_the_bar_is_still_new(wrong: Any) -> None:
    (kyle, desk), (own, own_desk) = seated(Desk(now=NOW)), seated(Desk(now=NOW))
    signal = observed()
    said = proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW))
    lie = change(
        said, **{key: change(getattr(said, key), **value) if isinstance(value, dict) else value
                 for key, value in wrong.items()}
    )  # fmt: skip
    with pytest.raises(ProposalError):
        kyle.adopt(signal, lie, desk)
    answer = kyle.handle(signal, desk)
    assert answer == own.handle(signal, own_desk)
    assert answer.market is not None
    assert answer.market.bar == msgspec.convert(signal.features["bar"], Bar)


@pytest.mark.parametrize("action", ["trade", "observe"])
def test_another_kyle_turns_no_side_round(action: Any) -> None:
    kyle, desk = seated(Desk(now=NOW))
    signal = Signal("ACME", "long", 100.0, action=action, quantity=10.0, stop_loss=95.0, ts=NOW)
    said = proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW))
    with pytest.raises(ProposalError, match="the signal itself"):
        kyle.adopt(signal, change(said, signal=change(said.signal, direction="short")), desk)


def test_another_kyle_passes_no_old_bar_on_as_new() -> None:
    kyle, desk = seated(Desk(now=NOW))
    kyle.handle(observed(3), desk)
    signal = observed(2)
    said = proposal_of(kyle, kyle.case(signal, desk), Desk(now=NOW))
    assert said.market is not None
    assert said.market.bar is None
    old = change(said, market=change(said.market, bar=msgspec.convert(signal.features["bar"], Bar)))
    with pytest.raises(ProposalError, match="not new"):
        kyle.adopt(signal, old, desk)


def put_before(kyle: Kyle, desk: Desk, wanted: list[Signal]) -> list[Case]:
    """What another version says of signals that are all with it at once."""
    cases = []
    for number, signal in enumerate(wanted):
        desk.trace_id = trace(number)
        cases.append(kyle.case(signal, desk))
    return [proposal_of(kyle, case, Desk(now=desk.clock)) for case in cases]


@settings(max_examples=15)
@given(series(most=30), st.integers(0, 29), st.integers(0, 4), st.randoms(use_true_random=False))
def test_signals_that_are_with_another_kyle_together_are_described_with_each_others_bars(
    bars: list[Bar], known: int, disorder: int, die: Any
) -> None:
    (kyle, desk), (own, own_desk) = seated(), seated()
    for bar in bars[:known]:
        kyle.handle(shown(bar), desk)
        own.handle(shown(bar), own_desk)
    wanted = [shown(bar) for bar in bars[known:]]
    for _ in range(disorder if wanted else 0):  # bars that come late or twice
        wanted.insert(die.randrange(len(wanted)), wanted[-1])
    said = put_before(kyle, desk, wanted)
    for number, (signal, each) in enumerate(zip(wanted, said, strict=True)):
        desk.trace_id = trace(number)
        expected = own.handle(signal, own_desk)
        assert each == expected
        assert (kyle.handle(signal, desk) if die.random() < 0.2 else kyle.adopt(signal, each, desk)) == expected


def test_small_moves_that_come_together_make_no_trade_of_themselves() -> None:
    kyle, desk = seated()
    bars = path([100.0] * 25 + [100.0 * 1.008**step for step in range(1, 6)])
    for bar in bars[:25]:
        kyle.handle(shown(bar), desk)
    said = put_before(kyle, desk, [shown(bar) for bar in bars[25:]])
    assert [each.market and each.market.change_pct for each in said] == [pytest.approx(0.008)] * 5
    assert {each.signal.action for each in said} == {"observe"}


def test_a_bar_that_will_be_sent_again_and_one_that_is_refused_describe_nobody() -> None:
    kyle, desk = seated(Desk(now=NOW, settings={"blocked_sources": ["rumour"]}))
    put_before(kyle, desk, [observed(1)])
    desk.epoch += 1
    assert put_before(kyle, desk, [observed(1), observed(2, source="rumour"), observed(3)])[2].market == (
        put_before(*seated(Desk(now=NOW)), [observed(1), observed(3)])[1].market
    )


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


OWN_PLAN: dict[str, Any] = {"stop_loss": 95.0, "target": 110.0, "quantity": 10.0, "leverage": 1.5}


@pytest.mark.parametrize(
    "wrong",
    [
        {"direction": "short", "stop_loss": 105.0, "target": 90.0}, {"quantity": 80.0}, {"quantity": None},
        {"quantity": float("nan")}, {"quantity": -10.0}, {"position_size_pct": 0.5},
        {"quantity": None, "position_size_pct": 0.5}, {"stop_loss": 50.0}, {"stop_loss": None}, {"target": None},
        {"target": 120.0}, {"leverage": 2.0},
    ],
)  # fmt: skip
def test_another_joey_leaves_what_the_sender_named(wrong: dict[str, Any]) -> None:
    joey, context = joeys()
    case = Case(trade(**OWN_PLAN))
    said = proposal_of(joey, case)
    assert said.setup is not None
    with pytest.raises(ProposalError):
        joey.adopt(case, change(said, setup=change(said.setup, **wrong)), context)
    less = change(said, setup=change(said.setup, quantity=8.0, confidence=0.5))
    assert joey.adopt(case, less, context) == less


@pytest.mark.parametrize(
    "case",
    [
        Case(trade(direction="short", features=DEAD_CAT)),
        Case(trade(direction="short", features=DEAD_CAT, stop_loss=110.0)),
        Case(trade(direction="short", features=DEAD_CAT, stop_loss=90.0, target=110.0)),
        Case(trade(direction="short", features=DEAD_CAT, stop_loss=90.0, target=110.0, quantity=5.0)),
        Case(trade(direction="short", features=DEAD_CAT, target=50.0, position_size_pct=0.5, leverage=3.0)),
        Case(trade(quantity=5.0, target=90.0)),
        Case(trade(action="observe", features=DEAD_CAT, stop_loss=90.0)),
        Case(trade(action="observe")),
    ],
)
def test_what_joey_finds_himself_he_takes_from_another_too(case: Case) -> None:
    joey, context = joeys()
    said = proposal_of(joey, case)
    assert said == joey.handle(case, context)
    assert joey.adopt(case, said, context) == said


def test_another_joey_plans_on_the_side_of_the_signal_only() -> None:
    joey, context = joeys()
    case = Case(trade(action="observe", features=DEAD_CAT))
    said = proposal_of(joey, case)
    assert said.setup is not None
    for lie in (
        change(said, setup=change(said.setup, direction="long")),
        change(said, signal=case.signal),
        change(said, signal=change(case.signal, direction="short")),
    ):
        with pytest.raises(ProposalError):
            joey.adopt(case, lie, context)


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


def together(floor: Floor, cases: list[Case], *meanwhile: tuple[str, float, dict[str, Any]]) -> list[bool]:
    """Whether each of some cases is approved that are with another HRM of the same version at once."""
    waiting = []
    for case in cases:
        inputs = asked(floor, case)
        assert inputs is not None
        waiting.append((floor.context.trace_id, case, proposal_of(floor.hrm, inputs, floor.context)))
    assert {said.zone for _, _, said in waiting} == {"approve"}, "each by itself could be approved"
    for symbol, close, figures in meanwhile:
        floor.bar(symbol, close, **figures)
    answers = []
    for trace_id, case, said in waiting:
        floor.context.trace_id = trace_id
        answer = floor.hrm.adopt(case, said, floor.context)
        assert isinstance(answer, Case)
        assert answer.decision is not None
        answers.append(answer.decision.approved)
    return answers


SYMBOLS = ("A", "B", "C", "D")


@pytest.mark.parametrize(
    "ruleset",
    [{"max_open_positions": 2}, {"sectors": dict.fromkeys(SYMBOLS, "cars"), "max_sector_share": 0.12}],
)
def test_plans_that_are_with_another_hrm_together_use_no_room_of_the_ruleset_twice(ruleset: dict[str, Any]) -> None:
    """Each was judged on the account as it was before all of them."""
    assert together(Floor(ruleset=ruleset), [case_of(symbol) for symbol in SYMBOLS]) == [True, True, False, False]


def test_a_breaker_that_trips_while_a_plan_is_with_another_hrm_stands_against_it() -> None:
    floor = Floor()
    fall = ("SPY", 400.0, {"change_pct": -0.2})
    assert together(floor, [case_of("A"), case_of("B", **short())], fall) == [False, True]


def laxer(floor: Floor, number: int, case: Case) -> bool:
    """Whether it is approved what another version approves by a ruleset of its own."""
    floor.context.trace_id = trace(number)
    answer = floor.hrm.adopt(case, Verdict("approve", "synthesis", (), (), ()), floor.context)
    assert isinstance(answer, Case)
    assert answer.decision is not None
    return answer.decision.approved


def test_a_release_may_allow_what_the_ruleset_of_this_version_denies_but_only_on_the_account_that_it_saw() -> None:
    floor = Floor(ruleset={"max_open_positions": 1})
    floor.judge(case_of("A"))
    cases = [case_of(symbol) for symbol in SYMBOLS[1:]]
    for case in cases:
        asked(floor, case)
    approved = [laxer(floor, number, case) for number, case in enumerate(cases, start=2)]
    assert approved == [True, False, False], "the first has changed the account"


def test_a_release_that_allows_more_allows_nothing_against_what_has_come_up_meanwhile() -> None:
    floor = Floor(ruleset={"max_open_positions": 1, "severity": {"MKT-003": "error"}})
    floor.judge(case_of("A"))
    asked(floor, case_of("B"))
    floor.bar("VIX", 90.0)
    assert not laxer(floor, 2, case_of("B"))


def test_a_bar_that_waited_behind_a_signal_does_not_set_the_mark_back() -> None:
    floor = Floor()
    floor.judge(case_of("A"))
    floor.fill(1, 1, symbol="A")
    asked(floor, case_of("A", quantity=1.0))  # with another version; the next one has to wait behind it
    passing = [
        change(case_of("A", bar=bar_at(close, NOON + after), quantity=1.0), setup=setup)
        for close, after, setup in ((99.0, 60.0, None), (96.0, 120.0, case_of(quantity=1.0).setup))
    ]
    equity = []
    for each in passing:
        asked(floor, each)
        equity.append(floor.hrm.portfolio.equity)
    floor.context.trace_id = trace(3)
    floor.hrm.handle(passing[0], floor.context)
    assert equity[0] > equity[1] == floor.hrm.portfolio.equity


def test_the_market_stands_where_its_newest_bar_says_whichever_is_looked_at_last() -> None:
    floor = Floor()
    for after, move in ((60.0, -0.2), (0.0, 0.01)):
        index = change(case_of("SPY", market=seen(bar=bar_at(450.0, NOON + after), change_pct=move)), setup=None)
        floor.judge(index)
    floor.bar("VIX", 15.0)
    assert floor.denied_by("A") == ["CB-003 market_breaker"]
    inputs = asked(floor, case_of("B"))
    assert inputs is not None
    assert inputs.view.market_move == -0.2


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
