"""Kenny acts on HRM's word alone, once for a signal whatever dies when, and tells HRM every end."""

import uuid
from collections import Counter
from decimal import Decimal as D
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.approval import approve
from actors.brokers.paper import PaperBroker
from actors.kenny import Intent, Kenny, client_order_id
from actors.messages import Case, Execution, Fill, FillsHead, FillsWanted
from ark.agent import Effect
from ark.errors import ConfigError
from ark.journal import Journal
from ark.message import Letter
from ark.signal import Bar
from ark.testing import TestContext, drive
from tests.actors.cases import NOW, SECRET, TRACE, approved, case, denied, encode, trace

COSTLESS = {"fee_per_share": 0, "fee_minimum": 0, "slippage_bps": 0}


def desk(**changes: Any) -> TestContext:
    return TestContext("kenny", now=NOW, settings=COSTLESS | changes, secrets={"approval": SECRET})


def start(context: TestContext) -> Kenny:
    kenny = Kenny()
    kenny.setup(context)
    return kenny


def work(kenny: Kenny, context: TestContext, message: Case, *, again: bool = False) -> Case:
    context.trace_id = message.signal.trace_id
    answer: Case = drive(kenny, message, context, again=again)
    return answer


def executed(answer: Case) -> Execution:
    assert answer.execution is not None
    return answer.execution


def fills(context: TestContext) -> list[Fill]:
    return [notice for agent, notice in context.sent if agent == "hrm" and isinstance(notice, Fill)]


def orders(context: TestContext) -> list[tuple[Any, ...]]:
    return context.open("broker").execute("SELECT client_order_id, reason FROM submissions").fetchall()


class TestOrders:
    def test_an_approved_plan_becomes_one_bracket_order(self) -> None:
        context = desk()
        execution = executed(work(start(context), context, approved()))
        assert (execution.status, execution.code) == ("filled", "")
        assert execution.client_order_id == client_order_id(TRACE)
        assert execution.order is not None
        assert execution.order["quantity"] == "10"
        assert D(execution.order["stop_loss"]) == 95
        assert D(execution.order["average_fill_price"]) == 100
        assert execution.order["status"] == "filled"
        assert [(each.number, each.leg, each.trace_id) for each in fills(context)] == [(1, "entry", TRACE)]

    def test_an_order_id_is_short_plain_and_the_same_for_ever(self) -> None:
        name = client_order_id(TRACE)
        assert name.startswith("ark-")
        assert len(name) <= 48
        assert client_order_id(TRACE) == name != client_order_id(trace(1))

    def test_a_limit_away_from_the_market_is_working(self) -> None:
        context = desk()
        execution = executed(work(start(context), context, approved(entry="limit", reference=104.0)))
        assert execution.status == "working"
        assert fills(context) == []

    @pytest.mark.parametrize(
        "message",
        [
            case(),
            denied(),
            msgspec.structs.replace(approved(), decision=None),
            msgspec.structs.replace(approved(), decision=denied().decision),
            msgspec.structs.replace(approved(), refusal=("expired", "too old")),
        ],
    )
    def test_nothing_else_is_acted_on(self, message: Case) -> None:
        context = desk()
        answer = start(context).handle(message, context)
        assert isinstance(answer, Case)
        assert answer.execution is None
        assert orders(context) == []
        assert fills(context) == []

    def test_an_execution_that_someone_else_wrote_is_thrown_away(self) -> None:
        context = desk()
        forged = msgspec.structs.replace(denied(), execution=Execution("filled", order={"symbol": "AAPL"}))
        assert work(start(context), context, forged).execution is None


class TestRefusals:
    def refused(self, context: TestContext, message: Case, kenny: Kenny | None = None) -> Execution:
        before = len(fills(context))
        execution = executed(work(kenny or start(context), context, message))
        (cancel,) = fills(context)[before:]
        assert (cancel.leg, cancel.quantity, cancel.trace_id) == ("cancel", D(0), context.trace_id)
        return execution

    @pytest.mark.parametrize(
        "message",
        [
            approved(secret=b"another"),
            msgspec.structs.replace(approved(), approval=approved(trace(2)).approval),
            msgspec.structs.replace(approved(), approval=None),
        ],
    )
    def test_an_approval_that_is_not_hrms_for_this_signal_is_invalid(self, message: Case) -> None:
        context = desk()
        execution = self.refused(context, message)
        assert (execution.status, execution.code) == ("denied", "APPROVAL_INVALID")
        assert orders(context) == []

    def test_a_plan_for_another_trace_is_invalid_even_with_a_good_tag(self) -> None:
        context = desk()
        message = approved()
        plan = approved(trace(5)).approval
        assert plan is not None
        tagged = approve(SECRET, TRACE, plan.plan, 1, NOW + 30)
        execution = self.refused(context, msgspec.structs.replace(message, approval=tagged))
        assert execution.code == "APPROVAL_INVALID"
        broken = approve(SECRET, TRACE, b"\xc1", 1, NOW + 30)
        execution = self.refused(context, msgspec.structs.replace(message, approval=broken))
        assert execution.code == "APPROVAL_INVALID"

    @given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
    @settings(max_examples=40, deadline=None)
    def test_any_changed_byte_of_the_plan_is_invalid(self, position: int, flip: int) -> None:
        context = desk()
        message = approved()
        assert message.approval is not None
        plan = bytearray(message.approval.plan)
        plan[position % len(plan)] ^= flip
        changed = msgspec.structs.replace(message.approval, plan=bytes(plan))
        execution = self.refused(context, msgspec.structs.replace(message, approval=changed))
        assert execution.code == "APPROVAL_INVALID"
        assert orders(context) == []

    def test_an_expired_approval_expires_the_signal(self) -> None:
        context = desk()
        execution = self.refused(context, approved(expires=NOW - 1))
        assert (execution.status, execution.code) == ("expired", "APPROVAL_EXPIRED")

    def test_nothing_goes_while_trading_is_halted(self) -> None:
        context = desk()
        context.halt_reason = "operator"
        execution = self.refused(context, approved())
        assert (execution.status, execution.code, execution.message) == (
            "denied",
            "TRADING_HALTED",
            "operator",
        )

    def test_orders_beyond_the_rate_are_denied_and_the_bucket_survives_a_restart(self) -> None:
        context = desk(burst_limit=3, max_actions_per_minute=60)
        kenny = start(context)
        for number in range(3):
            assert executed(work(kenny, context, approved(trace(number)))).status == "filled"
        execution = self.refused(context, approved(trace(3)), kenny)
        assert execution.code == "RATE_LIMIT_EXCEEDED"
        kenny = start(context)
        assert self.refused(context, approved(trace(4)), kenny).code == "RATE_LIMIT_EXCEEDED"
        context.clock += 1
        assert executed(work(kenny, context, approved(trace(5)))).status == "filled"

    def test_an_order_that_the_broker_rejects_is_denied_with_its_code(self) -> None:
        context = desk()
        execution = self.refused(context, approved(stop_loss=D(101)))
        assert (execution.status, execution.code) == ("denied", "STOP_LOSS_INVALID")
        assert execution.order is None

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"broker": "moon"}, "moon"),
            ({"burst_limit": 0}, "burst_limit"),
            ({"max_actions_per_minute": -1}, "max_actions_per_minute"),
            ({"slippage_bps": 20_000}, "slippage_bps"),
            ({"slipage_bps": 1}, "slippage_bps"),
        ],
    )
    def test_a_wrong_setting_is_named(self, changes: dict[str, Any], field: str) -> None:
        with pytest.raises(ConfigError, match=field):
            start(desk(**changes))


class TestMarket:
    def test_a_price_is_shown_only_where_it_touches_something(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        for message in (case(trace(1), "IBM", 1.0), case(trace(2), price=100.5)):
            assert kenny.handle(message, context) is message
        assert isinstance(kenny.handle(case(trace(3), price=94.0), context), Effect)

    def test_a_stop_that_is_touched_is_told_to_hrm_and_leaves_the_case_as_it_was(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        message = case(trace(1), bar=Bar(1.0, 100.0, 101.0, 94.0, 96.0, 1e3))
        assert work(kenny, context, message) == message
        assert [(each.number, each.leg, each.trace_id) for each in fills(context)] == [
            (1, "entry", TRACE),
            (2, "stop", TRACE),
        ]

    def test_a_refused_signal_shows_nothing(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        stale = msgspec.structs.replace(case(trace(1), price=94.0), refusal=("expired", "old"))
        assert kenny.handle(stale, context) is stale

    def test_a_price_behind_an_order_of_the_same_batch_is_shown_after_it(self) -> None:
        context = desk()
        kenny = start(context)
        first = kenny.handle(approved(), context)
        context.trace_id = trace(1)
        second = kenny.handle(case(trace(1), price=111.0), context)
        assert isinstance(first, Effect)
        assert isinstance(second, Effect)
        context.trace_id = TRACE
        kenny.perform(first.intent, context, again=False)
        context.trace_id = trace(1)
        kenny.perform(second.intent, context, again=False)
        assert [each.leg for each in fills(context)] == ["entry", "target"]
        assert kenny.handle(case(trace(2), price=1.0), context) == case(trace(2), price=1.0)

    def test_a_bar_of_the_plan_itself_does_not_touch_its_order(self) -> None:
        context = desk()
        kenny = start(context)
        message = approved(bar=Bar(1.0, 100.0, 120.0, 80.0, 100.0, 1e3))
        assert executed(work(kenny, context, message)).status == "filled"
        assert [each.leg for each in fills(context)] == ["entry"]


class TestAfterACrash:
    def intended(self, context: TestContext) -> Intent:
        answer = start(context).handle(approved(), context)
        assert isinstance(answer, Effect)
        intent: Intent = msgspec.msgpack.decode(encode(answer.intent), type=Intent)
        return intent

    def test_an_order_that_was_sent_is_found_not_sent(self) -> None:
        context = desk()
        intent = self.intended(context)
        start(context).perform(intent, context, again=False)
        context.database.execute("DELETE FROM kenny_fills")
        context.sent.clear()
        answer = start(context).perform(intent, context, again=True)
        assert executed(answer).status == "filled"
        assert len(orders(context)) == 1
        assert [notice for _, notice in context.sent] == [FillsHead(1)]

    def test_an_order_that_was_not_sent_is_sent(self) -> None:
        context = desk()
        answer = start(context).perform(self.intended(context), context, again=True)
        assert executed(answer).status == "filled"
        assert len(orders(context)) == 1

    def test_an_intended_order_is_not_sent_after_its_expiry_or_in_a_halt(self) -> None:
        context = desk()
        intent = self.intended(context)
        context.clock += 60
        late = executed(start(context).perform(intent, context, again=True))
        assert (late.status, late.code) == ("expired", "APPROVAL_EXPIRED")
        context.halt_reason = "operator"
        assert executed(start(context).perform(intent, context, again=True)).code == "TRADING_HALTED"
        assert orders(context) == []
        assert {each.leg for each in fills(context)} == {"cancel"}

    def test_a_recovered_order_makes_its_symbol_worth_showing(self) -> None:
        context = desk()
        self.intended(context)
        kenny = start(context)
        assert isinstance(kenny.handle(case(trace(1)), context), Effect)


class TestNotices:
    def test_after_a_start_hrm_hears_the_number_of_the_newest_fill(self) -> None:
        context = desk()
        work(start(context), context, approved())
        context.sent.clear()
        start(context)
        assert context.sent == [("hrm", FillsHead(1))]

    def test_fills_are_sent_again_on_request(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        sent = fills(context)
        context.sent.clear()
        kenny.notice(FillsWanted(0), context)
        assert context.sent == [("hrm", sent[0])]
        context.sent.clear()
        kenny.notice(FillsWanted(1), context)
        assert context.sent == []

    def test_a_long_answer_ends_with_the_head_so_that_hrm_asks_again(self) -> None:
        context = desk(burst_limit=1000)
        kenny = start(context)
        context.halt_reason = "stop"
        for number in range(501):
            work(kenny, context, approved(trace(number)))
        context.sent.clear()
        kenny.notice(FillsWanted(0), context)
        assert [notice.number for _, notice in context.sent] == [*range(1, 501), 501]
        assert context.sent[-1] == ("hrm", FillsHead(501))


class TestDeadLetters:
    def letter(self, **records: Any) -> Letter:
        packed = {name: encode(record) for name, record in records.items()}
        return Letter(TRACE, "AAPL", "kenny", "it died", 3, packed)

    def test_an_order_at_the_broker_is_attached(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        record = kenny.bury(self.letter(hrm=approved()), context)
        assert record is not None
        assert executed(record).status == "filled"
        assert fills(context)[-1].leg == "entry"

    def test_a_working_entry_is_cancelled(self) -> None:
        context = desk()
        kenny = start(context)
        message = approved(entry="limit", reference=104.0)
        work(kenny, context, message)
        record = kenny.bury(self.letter(hrm=message), context)
        assert record is not None
        assert executed(record).code == "ORDER_CANCELLED"
        assert [each.leg for each in fills(context)] == ["cancel"]

    def test_without_an_order_the_reservation_is_released_once(self) -> None:
        context = desk()
        kenny = start(context)
        for _ in range(2):
            assert kenny.bury(self.letter(hrm=approved()), context) is None
        assert [each.leg for each in fills(context)] == ["cancel"]

    def test_a_signal_that_was_given_up_is_not_traded_later(self) -> None:
        context = desk()
        kenny = start(context)
        kenny.bury(self.letter(hrm=approved()), context)
        assert executed(work(kenny, context, approved())).code == "ALREADY_ENDED"
        assert orders(context) == []

    def test_what_never_came_to_an_approval_leaves_nothing(self) -> None:
        context = desk()
        kenny = start(context)
        assert kenny.bury(self.letter(hrm=denied()), context) is None
        assert kenny.bury(self.letter(), context) is None
        assert fills(context) == []

    def test_an_answer_that_is_recorded_stands(self) -> None:
        context = desk()
        assert start(context).bury(self.letter(kenny=approved()), context) is None
        assert fills(context) == []


class Death(BaseException):
    """kill -9."""


class FrailBroker(PaperBroker):
    """Dies before or after a commit of its own, when told to."""

    die_at = ""

    def submit(self, *order: Any, **more: Any) -> Any:
        if self.die_at == "before submit":
            raise Death
        return super().submit(*order, **more)


class FrailKenny(Kenny):
    die_at = ""

    def connect(self, settings: Any, context: Any) -> FrailBroker:
        broker = FrailBroker(context.open("broker"))
        broker.die_at = self.die_at
        return broker


POINTS = ("", "handled", "intended", "before submit", "one performed", "performed", "committed")


def seq(trace_id: str) -> int:
    """A number of acceptance for a trace, the same each time it comes."""
    return uuid.UUID(trace_id).int & (2**62 - 1)


def life(context: TestContext, batch: list[Case], die_at: str) -> dict[str, Case]:
    """One process's life: a batch as a host takes it, up to a point. Gives what is recorded as answered."""
    database = context.database
    if database.in_transaction:
        database.execute("ROLLBACK")
    journal = Journal(database)
    journal.begin()
    kenny = FrailKenny()
    kenny.die_at = die_at
    kenny.setup(context)
    journal.commit()
    journal.begin()
    effects: list[tuple[str, Any, bool]] = []
    for message in batch:
        context.trace_id = message.signal.trace_id
        if journal.answer(seq(context.trace_id), context.trace_id):
            continue
        known = journal.intent(seq(context.trace_id), context.trace_id)
        if known is not None:
            effects.append((context.trace_id, msgspec.msgpack.decode(known, type=Intent), True))
            continue
        answer = kenny.handle(message, context)
        if isinstance(answer, Effect):
            journal.record_intent(seq(context.trace_id), context.trace_id, encode(answer.intent))
            effects.append((context.trace_id, answer.intent, False))
        else:
            journal.record_answer(seq(context.trace_id), context.trace_id, encode(answer), ())
    if die_at == "handled":
        raise Death
    journal.commit()
    if die_at == "intended":
        raise Death
    journal.begin()
    for place, (trace_id, intent, again) in enumerate(effects):
        context.trace_id = trace_id
        answer = kenny.perform(intent, context, again=again)
        journal.record_answer(seq(trace_id), trace_id, encode(answer), ())
        if die_at == "one performed" and place == 0:
            raise Death
    if die_at == "performed":
        raise Death
    journal.commit()
    if die_at == "committed":
        raise Death
    return {
        message.signal.trace_id: msgspec.msgpack.decode(recorded.payload, type=Case)
        for message in batch
        if (recorded := journal.answer(seq(message.signal.trace_id), message.signal.trace_id))
    }


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["approved", "limit", "forged", "case"]),
            st.sampled_from("AB"),
            st.sampled_from([80.0, 95.0, 100.0, 105.0, 120.0]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.sampled_from(POINTS), max_size=5),
)
def test_whatever_dies_when_an_order_is_executed_once_and_every_end_is_told(
    course: list[tuple[str, str, float]], deaths: list[str]
) -> None:
    messages = []
    for number, (what, symbol, price) in enumerate(course):
        name = trace(number)
        if what == "case":
            messages.append(case(name, symbol, price))
        else:
            secret = b"forged" if what == "forged" else SECRET
            entry = "limit" if what == "limit" else "market"
            messages.append(approved(name, symbol, price, secret=secret, entry=entry, reference=100.0))
    context = TestContext("kenny", now=NOW, settings={"burst_limit": 100}, secrets={"approval": SECRET})
    for death in deaths:
        try:
            life(context, messages, death)
        except Death:
            context.sent.clear()
    answers = life(context, messages, "")
    assert len(answers) == len(messages)
    sent = Counter(name for name, _ in orders(context))
    assert all(count == 1 for count in sent.values())
    good = {client_order_id(trace(i)) for i, (what, *_) in enumerate(course) if what in ("approved", "limit")}
    assert set(sent) == good
    kenny = start(context)
    context.sent.clear()
    kenny.notice(FillsWanted(0), context)
    told = fills(context)
    assert [each.number for each in told] == list(range(1, len(told) + 1))
    broker = PaperBroker(context.open("broker"))
    announced = [(each.trace_id, each.leg, each.quantity) for each in told if each.leg != "cancel"]
    by_order = {client_order_id(trace(number)): trace(number) for number in range(len(messages))}
    assert announced == [
        (by_order[each.client_order_id], each.leg, each.quantity) for each in broker.fills(0, 1000)
    ]
    for number, (what, *_) in enumerate(course):
        legs = [each.leg for each in told if each.trace_id == trace(number)]
        execution = answers[trace(number)].execution
        if what == "case":
            assert legs == []
            assert execution is None
            continue
        assert execution is not None
        if what == "forged":
            assert legs == ["cancel"]
        else:
            assert legs.count("entry") == (execution.status == "filled") or execution.status == "working"
            assert legs.count("entry") <= 1
            assert "cancel" not in legs


def test_the_books_are_apart_from_the_journal() -> None:
    context = desk()
    work(start(context), context, approved())
    names = {name for (name,) in context.database.execute("SELECT name FROM sqlite_schema")}
    assert "fills" not in names
    assert isinstance(context.open("broker"), apsw.Connection)
