"""Aletheia sees who was there and who says what, and writes one row for every signal, whatever comes twice."""

from typing import Any

import msgspec
import pytest

from actors.aletheia import Aletheia
from actors.auditing import audit, conclude
from actors.kenny import Kenny
from actors.ledger import verify
from actors.messages import Case, Execution, Outcome
from actors.truth import TruthMap, truths
from ark.message import Letter, Span
from ark.tally import Tally, tracks_in
from ark.testing import TestContext, drive
from tests.actors.cases import NOW, SECRET, TRACE, approved, case, denied, encode, trace

PIPELINE = ("kyle", "joey", "hrm", "kenny", "aletheia")
START = int(NOW * 1e9)
change = msgspec.structs.replace


def spans(*names: str) -> tuple[Span, ...]:
    return tuple(
        Span(name, "1", START + place * 1000, START + place * 1000 + 500)
        for place, name in enumerate(names or PIPELINE[:4])
    )


def filled(trace_id: str = TRACE) -> Case:
    context = TestContext("kenny", now=NOW, secrets={"approval": SECRET})
    context.trace_id = trace_id
    kenny = Kenny()
    kenny.setup(context)
    answer: Case = drive(kenny, approved(trace_id), context)
    return answer


def desk(trace_id: str = TRACE) -> TestContext:
    context = TestContext("aletheia", now=NOW)
    context.trace_id = trace_id
    context.spans = spans()
    return context


def start(context: TestContext) -> Aletheia:
    agent = Aletheia()
    agent.setup(context)
    return agent


def with_order(**changes: Any) -> Case:
    message = filled()
    assert message.execution is not None
    assert message.execution.order is not None
    return change(message, execution=change(message.execution, order=message.execution.order | changes))


def with_execution(**changes: Any) -> Case:
    message = filled()
    assert message.execution is not None
    return change(message, execution=change(message.execution, **changes))


class TestAudit:
    @pytest.mark.parametrize(
        "message",
        [filled(), denied(), case(), change(case(), refusal=("expired", "too old"))],
        ids=["filled", "denied", "no setup", "refused"],
    )
    def test_agents_that_agree_have_nothing_to_report(self, message: Case) -> None:
        assert audit(message, spans(), PIPELINE, "aletheia") == (True, [])

    @pytest.mark.parametrize(
        "who",
        [
            ("kyle", "joey", "hrm"),
            ("kyle", "hrm", "joey", "kenny"),
            ("kyle", "joey", "hrm", "kenny", "kenny"),
            ("kyle", "joey", "stranger", "kenny"),
        ],
    )
    def test_an_agent_that_is_missing_doubled_strange_or_out_of_order_is_seen(self, who: tuple[str, ...]) -> None:
        complete, found = audit(case(), spans(*who), PIPELINE, "aletheia")
        assert not complete
        assert "instead of kyle, joey, hrm, kenny" in found[0]

    def test_agents_of_ones_own_and_those_behind_are_told_apart(self) -> None:
        pipeline = ("kyle", "mine", "aletheia", "after")
        assert audit(case(), spans("kyle", "mine"), pipeline, "aletheia")[0]

    def test_times_may_overlap_by_the_tolerance_of_clocks_and_no_more(self) -> None:
        def shifted(by_ms: int) -> tuple[Span, ...]:
            first, *others = spans()
            return (change(first, out_ns=first.out_ns + by_ms * 1_000_000), *others)

        assert audit(case(), shifted(49), PIPELINE, "aletheia")[0]
        complete, found = audit(case(), shifted(60), PIPELINE, "aletheia")
        assert not complete
        assert found == ["joey took it before kyle let go"]

    def test_a_span_that_ends_before_it_begins_is_seen(self) -> None:
        first, *others = spans()
        backwards = (change(first, in_ns=START + 10**9), *others)
        assert "kyle let go of it before taking it" in audit(case(), backwards, PIPELINE, "aletheia")[1]

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            (change(filled(), decision=denied().decision), "without an approving decision"),
            (change(filled(), decision=None), "without an approving decision"),
            (change(filled(), approval=None), "no approval came with it"),
            (change(filled(), execution=None), "no execution"),
            (change(denied(), approval=approved().approval), "without an approving decision"),
            (change(filled(), refusal=("expired", "old")), "that was refused"),
            (with_execution(order=None), "without an order"),
            (with_execution(status="denied"), "but has an order"),
            (with_execution(plan_sha256="0" * 64), "not of the approved plan"),
            (with_order(symbol="IBM"), "the order's symbol"),
            (with_order(side="sell"), "the order's side"),
            (with_order(type="limit"), "the order's type"),
            (with_order(quantity="11"), "the order's quantity is 11"),
            (with_order(quantity="many"), "the order's quantity is many"),
            (with_order(stop_loss=None), "the order's stop_loss is None"),
            (with_order(target="1"), "the order's target"),
            (change(filled(), approval=approved(trace(2)).approval), "the plan is for trace"),
            (change(filled(), approval=approved(symbol="IBM").approval), "the plan is for IBM"),
        ],
    )
    def test_claims_that_differ_are_named(self, message: Case, words: str) -> None:
        complete, found = audit(message, spans(), PIPELINE, "aletheia")
        assert complete
        assert any(words in each for each in found), found

    def test_a_plan_that_cannot_be_read_is_named(self) -> None:
        message = filled()
        assert message.approval is not None
        broken = change(message, approval=change(message.approval, plan=b"\xc1"))
        assert "the approved plan cannot be read" in audit(broken, spans(), PIPELINE, "aletheia")[1]


class TestConclusion:
    @pytest.mark.parametrize(
        ("message", "status", "reason"),
        [
            (filled(), "executed", ""),
            (with_execution(status="working"), "executed", ""),
            (denied(), "denied", "max_leverage: leverage 3 is above 2"),
            (case(), "no_setup", "no pattern fits, and the signal brings no plan of its own"),
            (change(case(), refusal=("expired", "too old")), "expired", "too old"),
            (change(case(), refusal=("denied", "unknown source")), "denied", "unknown source"),
            (
                with_execution(status="denied", code="RATE_LIMIT_EXCEEDED", message="slow", order=None),
                "denied",
                "RATE_LIMIT_EXCEEDED: slow",
            ),
            (
                with_execution(status="expired", code="APPROVAL_EXPIRED", order=None),
                "expired",
                "APPROVAL_EXPIRED",
            ),
            (with_execution(status="failed", code="ORDER_CANCELLED"), "failed", "ORDER_CANCELLED"),
            (change(filled(), execution=None), "failed", "approved, but no execution came of it"),
            (change(denied(), decision=None), "failed", "there is a setup, but nobody decided on it"),
        ],
    )
    def test_every_case_has_one_status_and_one_line(self, message: Case, status: str, reason: str) -> None:
        assert conclude(message) == (status, reason)

    def test_further_violations_are_counted(self) -> None:
        message = denied()
        assert message.decision is not None
        twice = change(message.decision, violations=message.decision.violations * 3)
        assert conclude(change(message, decision=twice))[1].endswith("(and 2 more)")


class TestOutcomes:
    def test_an_executed_signal_has_its_order_its_spans_and_its_row(self) -> None:
        context = desk()
        outcome: Outcome = drive(start(context), filled(), context)
        assert (outcome.status, outcome.trace_id, outcome.symbol) == ("executed", TRACE, "AAPL")
        assert outcome.order is not None
        assert outcome.order["quantity"] == "10"
        assert outcome.audit == {"complete": True, "disagreements": []}
        assert [each["agent"] for each in outcome.spans] == list(PIPELINE)
        assert outcome.spans[-1]["in_ns"] == context.received_ns
        assert outcome.ledger["seq"] == 1
        assert outcome.ledger["hash"] == verify(context.database).head
        assert context.events == []

    def test_her_own_span_says_which_version_of_her_decided(self) -> None:
        context = desk()
        context.track = "canary:17"
        outcome: Outcome = drive(start(context), filled(), context)
        assert outcome.spans[-1]["track"] == "canary:17"
        tally = Tally()
        tally.add(TRACE, outcome.status, encode(outcome), took_s=0.1, ruled=False, now=0.0)
        assert tracks_in(tally.content) == {"aletheia canary:17": [1, 0, 0, 0]}

    def test_disagreements_go_out_as_an_event(self) -> None:
        context = desk()
        context.spans = spans("kyle")
        outcome = start(context).handle(case(), context)
        assert not outcome.audit["complete"]
        ((kind, fields),) = context.events
        assert kind == "disagreement"
        assert fields["trace_id"] == TRACE
        assert fields["disagreements"] == outcome.audit["disagreements"]

    def test_a_signal_in_the_wrong_envelope_is_a_disagreement(self) -> None:
        context = desk(trace(9))
        outcome = start(context).handle(case(), context)
        assert outcome.trace_id == trace(9)
        assert "its envelope" in outcome.audit["disagreements"][0]

    def test_the_same_signal_twice_has_one_row_and_one_outcome(self) -> None:
        context = desk()
        agent = start(context)
        first = agent.handle(filled(), context)
        context.clock += 5
        assert agent.handle(denied(), context) == first
        assert verify(context.database).rows == 1

    def test_a_new_process_goes_on_with_the_chain(self) -> None:
        context = desk()
        first = start(context).handle(case(), context)
        context.trace_id = trace(1)
        second = start(context).handle(case(trace(1)), context)
        assert second.ledger["prev"] == first.ledger["hash"]


class TestDeadLetters:
    def letter(self, **records: Any) -> Letter:
        packed = {name: encode(record) for name, record in records.items()}
        return Letter(TRACE, "AAPL", "joey", "killed by signal 9", 3, packed)

    def test_a_dead_letter_is_a_failed_outcome_with_its_reason(self) -> None:
        context = desk()
        outcome = start(context).bury(self.letter(), context)
        assert (outcome.status, outcome.attempts, outcome.order) == ("failed", 3, None)
        assert outcome.reason == "ended joey at every try: killed by signal 9"
        assert context.events == []

    def test_an_order_that_exists_all_the_same_is_told(self) -> None:
        context = desk()
        outcome = start(context).bury(self.letter(kenny=filled(), hrm=approved()), context)
        assert outcome.status == "failed"
        assert outcome.order is not None
        assert outcome.order["status"] == "filled"
        assert outcome.decision is not None
        assert context.events[0][0] == "disagreement"

    def test_a_record_that_cannot_be_read_does_not_keep_the_letter(self) -> None:
        context = desk()
        letter = Letter(TRACE, "AAPL", "joey", "x", 3, {"hrm": b"\xc1"})
        outcome = start(context).bury(letter, context)
        assert (outcome.status, outcome.order) == ("failed", None)

    def test_where_kennys_record_cannot_be_read_nobody_says_that_there_is_no_order(self) -> None:
        context = desk()
        letter = Letter(TRACE, "AAPL", "joey", "x", 3, {"kenny": b"\xc1", "hrm": encode(approved())})
        outcome = start(context).bury(letter, context)
        assert outcome.order == {"status": "unknown"}
        assert context.events[0][0] == "disagreement"

    def test_a_letter_for_a_signal_that_has_its_row_gets_that_outcome(self) -> None:
        context = desk()
        agent = start(context)
        first = agent.handle(filled(), context)
        assert agent.bury(self.letter(), context) == first
        context.trace_id = trace(1)
        letter = change(self.letter(), trace_id=trace(1))
        buried = agent.bury(letter, context)
        assert agent.bury(letter, context) == buried
        assert verify(context.database).rows == 2


class TestTruths:
    def test_claims_within_half_a_per_cent_agree(self) -> None:
        (price,) = truths(case())
        assert (price.key, price.value, price.confidence) == ("price:AAPL", 100.0, 1.0)
        far = change(case(), signal=change(case().signal, price=101.0))
        assert truths(far)[0].confidence == 0.5

    def test_a_fill_is_the_nearest_to_the_market_and_makes_a_position(self) -> None:
        price, position = truths(filled())
        assert price.sources == ("signal", "market", "fill")
        assert price.value == 100.01
        assert position.key == "position:AAPL"
        assert position.value["quantity"] == "10"
        assert position.confidence == 1.0

    def test_the_map_keeps_the_newest_answer_to_a_question(self) -> None:
        context = desk()
        agent = start(context)
        agent.handle(case(), context)
        context.trace_id = trace(1)
        agent.handle(case(trace(1), price=102.0), context)
        agent.settle(context)
        found = TruthMap(context.database, "aletheia").get("price:AAPL")
        assert found is not None
        assert found.value == 102.0
        rows = context.database.execute("SELECT timestamp, updated_by FROM truth_map").fetchall()
        assert rows == [(NOW, "aletheia")]
        assert TruthMap(context.database, "aletheia").get("price:IBM") is None

    def test_a_price_that_hardly_moves_is_written_once_a_second(self) -> None:
        context = desk()
        agent = start(context)
        for number, price in enumerate((100.0, 100.01, 100.02)):
            context.trace_id = trace(number)
            agent.handle(case(trace(number), price=price), context)
            agent.settle(context)
        truth = TruthMap(context.database, "aletheia")
        assert truth.get("price:AAPL") == truths(case())[0]
        context.clock += 1
        context.trace_id = trace(4)
        agent.handle(case(trace(4), price=100.03), context)
        agent.settle(context)
        found = truth.get("price:AAPL")
        assert found is not None
        assert found.value == 100.03


def test_an_execution_without_anything_is_still_an_outcome() -> None:
    context = desk()
    odd = change(denied(), execution=Execution("failed"))
    assert start(context).handle(odd, context).status == "failed"


class TestWhatSheCounts:
    def test_rows_as_they_stand_in_the_ledger_and_each_disagreement_once(self) -> None:
        context = desk()
        agent = start(context)
        assert context.latest("ark_ledger_rows_total") == 0
        assert context.counted("ark_audit_disagreements_total") == 0
        drive(agent, filled(), context)
        for _ in range(2):
            context.trace_id = trace(1)
            drive(agent, change(filled(trace(1)), approval=None), context)
        assert context.latest("ark_ledger_rows_total") == 2
        assert context.counted("ark_audit_disagreements_total") == 1
        context.measured.clear()
        start(context)
        assert context.latest("ark_ledger_rows_total") == 2
