"""Kenny acts on HRM's word alone, once for a signal whatever dies when, and tells HRM every end."""

import math
import uuid
from collections import Counter
from collections.abc import Callable
from decimal import Decimal as D
from typing import Any, get_args, get_type_hints

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.approval import approve
from actors.auditing import audit
from actors.brokers import Order, OrderState
from actors.brokers.metered import MeteredBroker
from actors.brokers.paper import PaperBroker
from actors.kenny import PROTECTION_S, STATUSES, Intent, Kenny, client_order_id
from actors.messages import Case, CloseWanted, Execution, Fill, FillsHead, FillsWanted, Plan
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


def heads(context: TestContext) -> list[int]:
    return [notice.number for agent, notice in context.sent if agent == "hrm" and isinstance(notice, FillsHead)]


def orders(context: TestContext) -> list[tuple[Any, ...]]:
    return context.open("broker").execute("SELECT client_order_id, reason FROM submissions").fetchall()


def legs(context: TestContext) -> list[str]:
    return [each.leg for each in fills(context)]


def found(kenny: Kenny, trace_id: str = TRACE) -> OrderState:
    state = kenny.broker.find(client_order_id(trace_id))
    assert state is not None
    return state


def waiting(trace_id: str = TRACE, symbol: str = "AAPL", **changes: Any) -> Case:
    """An approved limit order that is away from the market."""
    return approved(trace_id, symbol, entry="limit", reference=104.0, **changes)


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
        execution = self.refused(desk(), msgspec.structs.replace(message, approval=broken))
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


class TestHalts:
    def test_every_working_entry_is_cancelled_and_positions_keep_their_legs(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        work(kenny, context, waiting(trace(1)))
        work(kenny, context, waiting(trace(2), "IBM"))
        kenny.tick(context)
        assert legs(context) == ["entry"]
        context.halt_reason = "operator"
        kenny.tick(context)
        assert [(each.leg, each.trace_id) for each in fills(context)[1:]] == [
            ("cancel", trace(1)),
            ("cancel", trace(2)),
        ]
        assert context.events == [("entries_cancelled", {"count": 2, "reason": "operator"})]
        assert found(kenny).protected
        kenny.tick(context)
        assert len(context.events) == 1
        assert len(legs(context)) == 3

    def test_a_message_in_a_halt_is_enough(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting())
        context.halt_reason = "operator"
        answer = work(kenny, context, denied(trace(1), "IBM"))
        assert answer.execution is None
        assert legs(context) == ["cancel"]

    def test_what_an_earlier_process_sent_is_cancelled_too(self) -> None:
        context = desk()
        work(start(context), context, waiting())
        context.halt_reason = "operator"
        start(context).tick(context)
        assert legs(context) == ["cancel"]

    def test_a_price_that_was_to_be_shown_before_the_halt_fills_no_entry_in_it(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting())
        answer = kenny.handle(case(trace(1), price=99.0), context)
        assert isinstance(answer, Effect)
        context.halt_reason = "operator"
        kenny.perform(answer.intent, context, again=False)
        assert legs(context) == ["cancel"]

    def test_entries_of_ours_that_the_journal_lost_are_cancelled_those_of_a_person_are_not(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting())
        order = found(kenny).order
        kenny.broker.submit(msgspec.structs.replace(order, client_order_id="by-hand"), at=NOW, reference=D(104))
        context.database.execute("DELETE FROM kenny_orders")
        context.halt_reason = "operator"
        kenny = start(context)
        kenny.tick(context)
        assert [each.order.client_order_id for each in kenny.broker.working()] == ["by-hand"]

    def test_whether_trading_is_halted_is_the_last_question_before_an_order_goes(self) -> None:
        course: list[str] = []

        class Asked(TestContext):
            def halted(self) -> str | None:
                course.append("halted")
                return super().halted()

            def now(self) -> float:
                course.append("now")
                return super().now()

        class Watched(PaperBroker):
            def submit(self, order: Order, **more: Any) -> OrderState:
                course.append("submit")
                return super().submit(order, **more)

        context = Asked("kenny", now=NOW, settings=COSTLESS, secrets={"approval": SECRET})
        kenny = start(context)
        kenny.broker = Watched(context.open("broker"))
        work(kenny, context, approved())
        assert course[course.index("submit") - 1] == "halted"


class TestFigures:
    def test_every_status_is_there_from_the_beginning_and_no_share_of_nothing(self) -> None:
        context = desk()
        start(context)
        assert get_args(get_type_hints(Execution)["status"]) == STATUSES
        counted = [labels for name, labels, value in context.measured if name == "ark_orders_total" and not value]
        assert counted == [{"broker": "paper", "status": status} for status in STATUSES]
        assert context.latest("kenny_exec_success_rate") is None

    def test_each_plan_counts_once_by_what_he_said_of_it(self) -> None:
        context = desk(burst_limit=3)
        kenny = start(context)
        work(kenny, context, approved())
        work(kenny, context, waiting(trace(1), "MSFT"))
        work(kenny, context, denied(trace(2)))
        context.halt_reason = "enough"
        work(kenny, context, approved(trace(3)))
        context.halt_reason = None
        assert {status: context.counted("ark_orders_total", status=status) for status in STATUSES} == {
            "filled": 1, "working": 1, "denied": 1, "expired": 0, "failed": 0,
        }  # fmt: skip
        assert context.latest("kenny_exec_success_rate") is None, "told between batches"
        kenny.tick(context)
        assert context.latest("kenny_exec_success_rate") == pytest.approx(2 / 3)
        told = len(context.measured)
        kenny.tick(context)
        assert len(context.measured) == told

    def test_the_share_is_that_of_the_last_hundred_and_outlives_him(self) -> None:
        context = desk(max_actions_per_minute=1e6, burst_limit=1000)
        kenny = start(context)
        context.halt_reason = "enough"
        for number in range(90):
            work(kenny, context, approved(trace(number)))
        context.halt_reason = None
        for number in range(90, 120):
            work(kenny, context, waiting(trace(number)))
        kenny.tick(context)
        assert context.latest("kenny_exec_success_rate") == 0.3
        context.measured.clear()
        kenny = start(context)
        assert context.latest("kenny_exec_success_rate") == 0.3
        work(kenny, context, waiting(trace(200)))
        kenny.tick(context)
        assert context.latest("kenny_exec_success_rate") == 0.31

    def test_an_order_of_a_signal_that_was_given_up_counts_once_however_often_the_letter_comes(self) -> None:
        context = desk()
        kenny = start(context)
        answer = kenny.handle(waiting(), context)
        assert isinstance(answer, Effect)
        kenny.perform(answer.intent, context, again=False)
        context.measured.clear()  # his answer was not committed
        kenny = start(context)
        letter = Letter(TRACE, "AAPL", "kenny", "boom", 3, records={"hrm": encode(waiting())})
        for _ in range(2):
            context.database.execute("UPDATE kenny_orders SET stage = 'intended' WHERE stage = 'answered'")
            kenny.bury(letter, context)
        assert context.counted("ark_orders_total") == context.counted("ark_orders_total", status="failed") == 1

    def test_a_journal_of_an_older_version_knows_of_no_ends(self) -> None:
        context = desk()
        start(context)
        context.database.execute("ALTER TABLE kenny_state DROP COLUMN ends")
        kenny = start(context)
        work(kenny, context, approved())
        kenny.tick(context)
        assert context.latest("kenny_exec_success_rate") == 1.0


class TestExpiry:
    def test_an_entry_waits_until_its_time_is_over_and_no_longer(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting(good_until=NOW + 60))
        context.clock = NOW + 60
        kenny.tick(context)
        assert legs(context) == []
        context.clock = NOW + 60.1
        for _ in range(2):
            kenny.tick(context)
        assert legs(context) == ["cancel"]
        facts = {"trace_id": TRACE, "symbol": "AAPL", "good_until": NOW + 60}
        assert context.events == [("entry_expired", facts)]

    def test_a_position_and_an_entry_without_an_end_outlast_every_tick(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved(good_until=NOW + 60))
        work(kenny, context, waiting(trace(1)))
        context.clock += 1e6
        kenny.tick(context)
        start(context).tick(context)
        assert legs(context) == ["entry"]
        assert found(kenny, trace(1)).status == "working"

    def test_a_restart_forgets_no_end(self) -> None:
        context = desk()
        work(start(context), context, waiting(good_until=NOW + 60))
        context.clock += 61
        start(context).tick(context)
        assert legs(context) == ["cancel"]

    @pytest.mark.parametrize("until", [NOW - 1, float("nan")])
    def test_an_entry_whose_time_is_over_is_not_sent(self, until: float) -> None:
        context = desk()
        execution = executed(work(start(context), context, waiting(good_until=until)))
        assert (execution.status, execution.code) == ("expired", "ENTRY_EXPIRED")
        assert legs(context) == ["cancel"]
        assert orders(context) == []

    def test_an_intended_entry_is_not_sent_when_its_time_is_over_after_a_crash(self) -> None:
        context = desk()
        kenny = start(context)
        answer = kenny.handle(waiting(good_until=NOW + 10), context)
        assert isinstance(answer, Effect)
        context.clock += 11
        kenny = start(context)
        kenny.tick(context)
        execution = executed(kenny.perform(answer.intent, context, again=True))
        assert (execution.status, execution.code) == ("expired", "ENTRY_EXPIRED")
        assert legs(context) == ["cancel"]

    def test_a_database_of_an_older_version_goes_on(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        work(kenny, context, waiting(trace(1), "IBM"))
        work(kenny, context, approved(trace(2), stop_loss=D(101)))
        database = context.database
        database.execute(
            "DROP INDEX kenny_orders_open; ALTER TABLE kenny_orders DROP COLUMN good_until;"
            "ALTER TABLE kenny_orders DROP COLUMN open;"
        )
        context.sent.clear()
        kenny = start(context)
        assert [row for (row,) in database.execute("SELECT sum(open) FROM kenny_orders")] == [2]
        context.clock += 1e6
        kenny.tick(context)
        assert legs(context) == []
        kenny.broker.cancel(client_order_id(TRACE), at=NOW)
        context.halt_reason = "operator"
        context.clock += PROTECTION_S
        kenny.tick(context)
        assert sorted(legs(context)) == ["cancel", "close"]


class TestClosing:
    def close(self, kenny: Kenny, context: TestContext, trace_id: str = TRACE) -> None:
        kenny.notice(CloseWanted(trace_id, "AAPL", "the day's loss"), context)

    @pytest.mark.parametrize("halt", [None, "operator"])
    def test_a_position_is_closed_once_with_its_legs_halted_or_not(self, halt: str | None) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        context.halt_reason = halt
        self.close(kenny, context)
        assert [(each.number, each.leg, each.side, each.quantity) for each in fills(context)] == [
            (1, "entry", "buy", D(10)),
            (2, "close", "sell", D(10)),
        ]
        state = found(kenny)
        assert (state.status, state.exit_leg, state.protected) == ("closed", "close", False)
        facts = {"trace_id": TRACE, "symbol": "AAPL", "what": "position", "reason": "the day's loss"}
        assert context.events == [("closed", facts)]
        self.close(kenny, context)
        assert len(legs(context)) == 2
        assert heads(context)[-1] == 2, "HRM had not heard of it"

    def test_a_working_entry_is_cancelled(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting())
        for _ in range(2):
            self.close(kenny, context)
        assert legs(context) == ["cancel"]
        assert [fields["what"] for _, fields in context.events] == ["entry"]

    def test_what_never_was_is_left_at_that(self) -> None:
        context = desk()
        kenny = start(context)
        self.close(kenny, context)
        work(kenny, context, approved(trace(1), stop_loss=D(101)))
        self.close(kenny, context, trace(1))
        assert legs(context) == ["cancel"]
        assert context.events == []

    def test_a_closing_that_the_journal_lost_is_taken_over_from_the_broker(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        context.database.execute("BEGIN")
        self.close(kenny, context)
        context.database.execute("ROLLBACK")
        context.sent.clear()
        kenny = start(context)
        self.close(kenny, context)
        kenny.notice(FillsWanted(1), context)
        assert [(each.number, each.leg) for each in fills(context)] == [(2, "close")]

    def test_an_order_that_was_closed_meanwhile_is_still_what_was_approved(self) -> None:
        context = desk()
        kenny = start(context)
        message = approved()
        answer = kenny.handle(message, context)
        assert isinstance(answer, Effect)
        kenny.perform(answer.intent, context, again=False)
        self.close(kenny, context)
        case_ = start(context).perform(answer.intent, context, again=True)
        execution = executed(case_)
        assert execution.status == "filled"
        assert execution.order is not None
        assert (execution.order["status"], execution.order["exit_leg"]) == ("closed", "close")
        assert audit(case_, (), ("kenny",), "kenny") == (True, [])


class TestProtection:
    def test_a_position_whose_legs_someone_cancelled_is_closed(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        work(kenny, context, approved(trace(1), "IBM"))
        kenny.tick(context)
        kenny.broker.cancel(client_order_id(TRACE), at=NOW)
        context.clock += PROTECTION_S / 2
        kenny.tick(context)
        assert legs(context) == ["entry", "entry"]
        context.clock += PROTECTION_S / 2
        kenny.tick(context)
        assert [(each.leg, each.trace_id) for each in fills(context)[2:]] == [("close", TRACE)]
        assert context.events == [("unprotected", {"trace_id": TRACE, "symbol": "AAPL", "closed": True})]
        assert found(kenny, trace(1)).protected

    def test_a_restart_loses_sight_of_no_position(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        kenny.broker.cancel(client_order_id(TRACE), at=NOW)
        context.halt_reason = "operator"
        start(context).tick(context)
        assert legs(context) == ["entry", "close"]

    def test_an_order_that_is_sent_only_after_a_crash_is_looked_after_too(self) -> None:
        context = desk()
        answer = start(context).handle(approved(), context)
        assert isinstance(answer, Effect)
        for _ in range(2):
            kenny = start(context)
        kenny.perform(answer.intent, context, again=True)
        kenny.broker.cancel(client_order_id(TRACE), at=NOW)
        kenny.tick(context)
        assert legs(context) == ["entry", "close"]

    def test_a_position_of_a_signal_that_was_given_up_is_looked_after_too(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        kenny.bury(Letter(TRACE, "AAPL", "aletheia", "it died", 3, {"hrm": encode(approved())}), context)
        kenny.broker.cancel(client_order_id(TRACE), at=NOW)
        start(context).tick(context)
        assert legs(context) == ["entry", "close"]


class TestTicks:
    @pytest.mark.parametrize("halt", [None, "operator"])
    def test_a_tick_with_nothing_to_do_asks_no_database(self, halt: str | None) -> None:
        context = desk(burst_limit=100)
        kenny = start(context)
        for number in range(20):
            work(kenny, context, approved(trace(number)))
            if number:
                kenny.notice(CloseWanted(trace(number), "AAPL", "test"), context)
        context.halt_reason = halt
        work(kenny, context, waiting(trace(20)))
        kenny.tick(context)
        course: list[str] = []

        def note(_: object, statement: str, values: object) -> bool:
            course.append(statement)
            return True

        for name in ("", "broker"):
            context.open(name).exec_trace = note
        context.clock += 1
        kenny.tick(context)
        assert course == []
        context.clock += PROTECTION_S
        kenny.tick(context)
        assert len(course) == 1, "the one position that stands"
        assert course[0].startswith("SELECT")


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
        assert (heads(context), fills(context)) == ([1], [])

    def test_an_order_whose_intent_was_lost_after_it_was_sent_is_found_and_trading_is_halted(self) -> None:
        context = desk()
        before = {name: context.open(name) for name in ("", "broker")}
        start(context)
        snapshot = before[""].serialize("main")
        intent = self.intended(context)
        start(context).perform(intent, context, again=False)
        before[""].deserialize("main", snapshot)  # what a journal put back from an older copy knows
        kenny = start(context)
        assert "does not know order ark-" in str(context.halt_reason)
        context.halt_reason = None
        answer = kenny.handle(approved(), context)
        assert isinstance(answer, Effect)
        kenny.perform(answer.intent, context, again=False)
        assert len(orders(context)) == 1

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
        assert (heads(context), fills(context)) == ([1], [])

    def test_fills_are_sent_again_on_request_and_the_head_behind_them(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        sent = fills(context)
        context.sent.clear()
        kenny.notice(FillsWanted(0), context)
        assert context.sent[0] == ("hrm", sent[0])
        assert [notice.number for _, notice in context.sent] == [1, 1]
        context.sent.clear()
        kenny.notice(FillsWanted(1), context)
        assert (heads(context), fills(context)) == ([1], [])

    def test_a_long_answer_ends_with_the_head_so_that_hrm_asks_again(self) -> None:
        context = desk(burst_limit=1000)
        kenny = start(context)
        context.halt_reason = "stop"
        for number in range(501):
            work(kenny, context, approved(trace(number)))
        context.sent.clear()
        kenny.notice(FillsWanted(0), context)
        assert [notice.number for _, notice in context.sent] == [*range(1, 501), 501]
        assert heads(context) == [501]


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

    def test_an_order_that_was_never_sent_is_not_looked_after(self) -> None:
        context = desk()
        kenny = start(context)
        kenny.handle(approved(), context)
        kenny.bury(self.letter(hrm=approved()), context)
        assert context.database.execute("SELECT stage, open FROM kenny_orders").fetchall() == [("buried", 0)]
        assert [each.leg for each in fills(context)] == ["cancel"]

    def test_a_plan_that_was_refused_is_released_once(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting(trace(1)))
        context.halt_reason = "operator"
        assert isinstance(kenny.handle(approved(), context), Effect), "its price is still to be shown"
        kenny.bury(self.letter(hrm=approved()), context)
        kenny.handle(approved(), context)
        assert [each.trace_id for each in fills(context) if each.leg == "cancel"] == [TRACE]

    def test_a_signal_that_was_given_up_is_not_traded_later(self) -> None:
        context = desk()
        kenny = start(context)
        kenny.bury(self.letter(hrm=approved()), context)
        assert executed(work(kenny, context, approved())).code == "ALREADY_ENDED"
        assert orders(context) == []

    @pytest.mark.parametrize("lost", [{}, {"hrm": denied()}])
    def test_an_order_is_told_of_also_where_hrms_answer_is_lost(self, lost: dict[str, Case]) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, approved())
        record = kenny.bury(self.letter(**lost), context)
        assert record is not None
        assert executed(record).status == "filled"
        assert executed(record).order is not None
        assert (record.signal.symbol, record.signal.trace_id) == ("AAPL", TRACE)

    def test_an_order_is_told_of_also_where_every_journal_but_the_brokers_is_lost(self) -> None:
        context = desk()
        kenny = start(context)
        work(kenny, context, waiting())
        context.database.execute("DELETE FROM kenny_orders")
        record = start(context).bury(self.letter(), context)
        assert record is not None
        assert executed(record).code == "ORDER_CANCELLED"

    @pytest.mark.parametrize("sent", [True, False])
    def test_a_signal_that_comes_again_under_another_number_tells_of_its_order(self, sent: bool) -> None:
        context = desk()
        kenny = start(context)
        if sent:
            work(kenny, context, approved())
        else:
            kenny.handle(approved(), context)
        again = executed(work(kenny, context, approved()))
        assert again.code == "ALREADY_ENDED"
        assert (again.order is not None) == sent

    def test_what_was_intended_and_then_given_up_is_never_sent(self) -> None:
        context = desk()
        kenny = start(context)
        effect = kenny.handle(approved(), context)
        assert isinstance(effect, Effect)
        kenny.bury(self.letter(hrm=approved()), context)
        assert executed(kenny.perform(effect.intent, context, again=True)).code == "ALREADY_ENDED"
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

    def _write(self) -> None:
        if self.die_at == "in the broker":
            raise Death
        super()._write()


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


NAMING = ("close", "strip", "give up")
"""What happens to one order."""


class Node:
    """Kenny with his journal and his broker, and the world that sends him what he did not answer again.

    Attributes:
        die_at: Where the process dies next: `in the broker` before its commit, `behind the broker` before the
            journal's, or `intended` before the intent is performed; empty for nowhere.
        orders: What HRM approved, by trace id; their ends are to be told.
        open: What has no answer yet.
        stripped: Traces whose legs someone cancelled.
    """

    def __init__(self) -> None:
        self.context = desk(burst_limit=1000)
        self.die_at = ""
        self.orders: dict[str, Case] = {}
        self.open: dict[str, Case] = {}
        self.stripped: set[str] = set()
        self._intents: dict[str, bytes] = {}
        self.entered_before_halt: int | None = None
        self.restart()

    def restart(self) -> None:
        self.die_at = ""
        self.context.sent.clear()
        self.kenny = FrailKenny()
        self.committed(lambda: self.kenny.setup(self.context))
        metered = self.kenny.broker
        assert isinstance(metered, MeteredBroker)
        assert isinstance(metered.broker, FrailBroker)
        self.broker = metered.broker

    def committed(self, action: Callable[[], object]) -> None:
        """Do something in a transaction of the journal."""
        database = self.context.database
        database.execute("BEGIN")
        try:
            action()
            if self.die_at == "behind the broker":
                raise Death
        except Death:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def take(self, message: Case) -> None:
        """A case as a host takes it: the first time, or again."""
        name = message.signal.trace_id
        self.open[name] = message
        intended: list[Intent] = []

        def handle() -> None:
            self.context.trace_id = name
            if name not in self._intents:
                answer = self.kenny.handle(message, self.context)
                intended.extend([answer.intent] if isinstance(answer, Effect) else [])
            self.kenny.settle(self.context)

        again = name in self._intents
        self.committed(handle)
        if intended:
            self._intents[name] = encode(intended[0])
        if name in self._intents:
            if self.die_at == "intended":
                raise Death
            intent = msgspec.msgpack.decode(self._intents[name], type=Intent)

            def perform() -> None:
                self.context.trace_id = name
                with self.kenny.performing(self.context):
                    self.kenny.perform(intent, self.context, again=again)

            self.committed(perform)
        del self.open[name]

    def give_up(self, name: str) -> None:
        if name in self.open:
            letter = Letter(name, "A", "kenny", "it died", 3, {"hrm": encode(self.open[name])})
            self.committed(lambda: self.kenny.bury(letter, self.context))
            del self.open[name]

    def strip(self, name: str) -> None:
        """Someone cancels the legs of a position at the broker."""
        state = self.broker.find(client_order_id(name))
        if state is not None and state.status == "filled":
            self.broker.cancel(state.order.client_order_id, at=self.context.clock)
            self.stripped.add(name)

    def act(self, number: int, what: str, rest: tuple[Any, ...], die_at: str) -> None:
        context = self.context
        if what == "order":
            symbol, entry, reference, wait = rest
            until, name = context.clock + wait, trace(number)
            self.orders[name] = message = approved(
                name, symbol, entry=entry, reference=reference, expires=context.clock + 30, good_until=until
            )
        chosen = list(self.orders)[rest[0] % len(self.orders)] if what in NAMING and self.orders else ""
        if what == "strip":
            self.strip(chosen)
            return
        if what == "halt":
            context.halt_reason = "operator"
            self.entered_before_halt = self.entered()
        elif what == "resume":
            context.halt_reason = self.entered_before_halt = None
        self.die_at = self.broker.die_at = die_at
        if what == "order":
            self.take(message)
        elif what == "price":
            self.take(case(trace(number), *rest))
        elif what == "tick":
            context.clock += rest[0]
            self.committed(lambda: self.kenny.tick(context))
            assert not context.halt_reason or not self.broker.working()
            assert not [each for each in self.broker.working() if context.clock > self.good_until(each)]
        elif what == "close":
            wanted = CloseWanted(chosen, "A", "test")
            self.committed(lambda: self.kenny.notice(wanted, context))
        elif what == "give up":
            self.give_up(chosen)
        elif what == "again":
            for each in list(self.open.values()):
                self.take(each)
        elif what == "restart":
            self.restart()

    def good_until(self, state: OrderState) -> float:
        (name,) = [each for each in self.orders if client_order_id(each) == state.order.client_order_id]
        approval = self.orders[name].approval
        assert approval is not None
        return msgspec.msgpack.decode(approval.plan, type=Plan).good_until

    def entered(self) -> int:
        return sum(1 for each in self.broker.fills(0, 10_000) if each.leg == "entry")

    def states(self) -> dict[str, OrderState]:
        found = {name: self.broker.find(client_order_id(name)) for name in self.orders}
        return {name: state for name, state in found.items() if state is not None}


ordered = st.tuples(
    st.just("order"),
    st.sampled_from("AB"),
    st.sampled_from(["market", "limit"]),
    st.sampled_from([104.0, 99.0]),
    st.sampled_from([5.0, 20.0, math.inf]),
)
happenings = st.one_of(
    ordered,
    ordered,
    st.tuples(st.just("price"), st.sampled_from("AB"), st.sampled_from([80.0, 98.0, 100.0, 104.0, 120.0])),
    st.tuples(st.just("tick"), st.sampled_from([0.25, PROTECTION_S, 10.0])),
    st.tuples(st.sampled_from(["halt", "resume", "again", "restart"])),
    st.tuples(st.sampled_from(NAMING), st.integers(0, 5)),
)
deaths = st.sampled_from(["", "", "", "in the broker", "behind the broker", "intended"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(happenings, deaths), min_size=12, max_size=40))
def test_whatever_happens_every_reservation_ends_once_and_no_position_stands_without_its_legs(
    course: list[tuple[tuple[Any, ...], str]],
) -> None:
    node = Node()
    for number, ((what, *rest), die_at) in enumerate(course):
        try:
            node.act(number, what, tuple(rest), die_at)
        except Death:
            node.restart()
        node.die_at = node.broker.die_at = ""
        if node.entered_before_halt is not None:
            assert node.entered() == node.entered_before_halt, "an order was entered in a halt"
        for name, state in node.states().items():
            assert state.protected == (state.status == "filled") or name in node.stripped
    node.restart()
    node.act(0, "again", (), "")
    node.act(0, "tick", (PROTECTION_S,), "")
    states = node.states()
    assert all(state.protected for state in states.values() if state.status == "filled")
    assert all(count == 1 for count in Counter(name for name, _ in orders(node.context)).values())
    node.context.sent.clear()
    node.kenny.notice(FillsWanted(0), node.context)
    told = fills(node.context)
    assert [each.number for each in told] == list(range(1, len(told) + 1))
    for name in node.orders:
        ends = [each.leg for each in told if each.trace_id == name]
        expected = {
            "working": [[]],
            "filled": [["entry"]],
            "closed": [["entry", "stop"], ["entry", "target"], ["entry", "close"]],
        }
        status = states[name].status if name in states else "never sent"
        assert ends in expected.get(status, [["cancel"]]), status
