"""One document says how a signal stands, in whatever state, from whatever is known of it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ark.message import Span
from ark.records import Asked, Passage, Record
from ark.ruling import Ruling
from ark.traces import (
    NO_NODE,
    Busy,
    Live,
    TraceContinuity,
    TraceDocument,
    TraceWhere,
    trace_document,
    unknown_trace,
    with_footprints,
)

NOW = 1_700_000_000.0
PIPELINE = ("kyle", "joey", "hrm")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
change = msgspec.structs.replace


def at(ms: float) -> int:
    """So long after the acceptance, in nanoseconds."""
    return int(NOW * 1e9) + int(ms * 1e6)


WAY = (Span("kyle", "1", at(3), at(4)), Span("joey", "1", at(6), at(9)), Span("hrm", "1", at(10), at(20)))
PASSAGE = Passage(NOW + 0.001, NOW + 0.002, None, 1, NOW + 0.021)
OUTCOME: dict[str, Any] = {
    "status": "denied",
    "reason": "G07: too much (and 1 more)",
    "spans": [
        {"agent": each.agent, "version": each.version, "in_ns": each.in_ns, "out_ns": each.out_ns} for each in WAY
    ],
    "attempts": 1,
    "decision": {
        "approved": False,
        "zone": "deny",
        "level": "graveyard",
        "violations": [{"rule": "G07", "category": "risk", "severity": "critical", "message": "too much"}],
        "rules_checked": ["G01", "G07"],
        "ruleset": "ab",
        "score": None,
    },
    "order": None,
    "audit": {"complete": True, "disagreements": []},
    "ledger": {"seq": 7, "hash": "ff", "prev": "00"},
}
OPEN = Record(5, "t", "AAPL", "", "", NOW)
ENDED = change(OPEN, status="denied", outcome=OUTCOME, passage=PASSAGE)
LIVE = Live(NOW + 0.001, NOW + 0.002, None, 1, is_under_way=True)
ASKED = Asked("joey", NOW + 1, NOW + 60, "wise?", {"decision": {"approved": False, "zone": "hold"}}, WAY[:2], None)


def told(record: Record, *, after_s: float = 100.0, **more: Any) -> TraceDocument:
    document = trace_document(record, now=NOW + after_s, pipeline=PIPELINE, **more)
    # What goes through the door is the same behind it.
    assert msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(document)), TraceDocument) == document
    return document


def test_a_signal_that_has_ended_is_told_with_every_stay_and_every_wait() -> None:
    document = told(change(ENDED, traceparent=PARENT, tracestate="a=1"), versions={"kyle": {"1"}})
    assert (document.state, document.status, document.symbol, document.has_ended) == (
        "finished",
        "denied",
        "AAPL",
        True,
    )
    assert (document.traceparent, document.tracestate) == (PARENT, "a=1")
    assert [(each.agent, each.wait_ms, each.duration_ms) for each in document.spans] == [
        ("kyle", 1.0, 1.0),
        ("joey", 2.0, 3.0),
        ("hrm", 1.0, 10.0),
    ]
    assert not any(each.recorded for each in document.spans)
    assert (document.total_ms, document.attempts, document.where) == (21.0, 1, None)
    assert document.continuity == TraceContinuity(complete=True)
    assert document.decision is not None
    assert (document.decision.approved, document.decision.rules_checked) == (False, 2)
    assert [(each.rule, each.severity) for each in document.decision.violations] == [("G07", "critical")]
    assert document.ledger == {"seq": 7, "hash": "ff", "prev": "00"}


def test_answers_from_before_it_was_sent_again_are_told_as_recorded() -> None:
    again = change(PASSAGE, resent_at=NOW + 0.008, attempts=3)  # while Joey had it
    document = told(change(ENDED, passage=again))
    assert [each.recorded for each in document.spans] == [True, True, False]
    assert (document.attempts, document.continuity.complete) == (3, True)
    assert [each.wait_ms for each in document.spans] == [1.0, 2.0, 1.0]  # each from the latest that came before it
    later = told(change(ENDED, passage=change(again, resent_at=NOW + 0.0095)))
    assert [each.wait_ms for each in later.spans] == [1.0, 2.0, 0.5]


def test_a_way_with_a_gap_is_told_with_what_is_wrong() -> None:
    document = told(change(ENDED, outcome={**OUTCOME, "spans": OUTCOME["spans"][:2]}))
    assert document.continuity == TraceContinuity(problems=["it passed kyle, joey instead of kyle, joey, hrm"])
    early = change(ENDED, accepted_at=NOW + 1)
    assert told(early).continuity.problems == [f"{each} took it before it was accepted" for each in PIPELINE]
    assert told(ENDED, versions={"hrm": {"2"}}).continuity.problems == ["hrm never had the version 1"]


def test_what_an_earlier_version_ended_is_told_as_far_as_it_is_known() -> None:
    document = told(change(ENDED, passage=None))
    assert (document.ended_at, document.sent_at, document.total_ms, document.attempts) == (None, None, 20.0, 1)
    assert (document.spans[0].wait_ms, document.continuity.complete) == (3.0, True)


def test_of_another_pipeline_the_gateways_own_spans_are_told() -> None:
    outcome = {"status": "executed", "decision": "yes", "order": 7, "ledger": [], "reason": None, "attempts": "one"}
    document = told(change(ENDED, outcome=outcome, status="executed", passage=change(PASSAGE, spans=WAY)))
    assert [each.agent for each in document.spans] == list(PIPELINE)
    assert document.continuity.complete
    assert (document.decision, document.order, document.ledger, document.reason) == (None, None, None, "")


def test_spans_that_cannot_be_read_are_a_gap() -> None:
    document = told(change(ENDED, outcome={**OUTCOME, "spans": [{"agent": 7}]}))
    assert (document.spans, document.continuity.complete) == ([], False)
    assert document.continuity.problems[0].startswith("its spans cannot be read")


def test_a_held_signal_is_told_with_who_asks_and_who_had_it() -> None:
    document = told(change(OPEN, asked=ASKED), live=change(LIVE, is_under_way=False), after_s=3)
    assert (document.state, document.status, document.reason, document.attempts) == ("held", "held", "wise?", 1)
    assert document.where == TraceWhere(agent="joey", doing="held", for_ms=2000.0, why="wise?")
    assert document.held is not None
    assert (document.held.since, document.held.until, document.held.ruling) == (NOW + 1, NOW + 60, None)
    assert [each.agent for each in document.spans] == ["kyle", "joey"]
    assert document.continuity == TraceContinuity(complete=False, problems=[])
    assert document.decision is not None
    assert document.decision.zone == "hold"


def test_a_ruling_is_told_also_after_the_end() -> None:
    ruled = change(ASKED, ruling=Ruling(True, "ada", "looked", NOW + 9, b""))
    document = told(
        change(OPEN, asked=ruled), live=change(LIVE, is_under_way=False, why="hrm is isolated"), after_s=10
    )
    assert document.state == "in_flight"
    assert document.where == TraceWhere(agent="gateway", doing="waits", for_ms=1000.0, why="hrm is isolated")
    held = told(change(ENDED, asked=ruled)).held
    assert held is not None
    assert (held.ruling, held.by, held.at) == ("approved", "ada", NOW + 9)


def test_a_signal_under_way_is_told_with_who_is_at_work_with_it() -> None:
    document = told(OPEN, live=change(LIVE, busy=(Busy("kyle", "handle", 9.0), Busy("joey", "handle", 0.5))))
    assert document.where == TraceWhere(agent="joey", doing="handle", for_ms=500.0)
    assert (document.state, document.total_ms, document.attempts) == ("in_flight", 100_000.0, 1)
    assert (document.durable_at, document.sent_at) == (NOW + 0.001, NOW + 0.002)


def test_a_signal_that_nobody_is_at_work_with_is_told_with_where_it_may_be() -> None:
    waiting = told(OPEN, live=change(LIVE, is_under_way=False, attempts=0, why="the pipeline is full"), after_s=4)
    assert waiting.where == TraceWhere(agent="gateway", doing="waits", for_ms=4000.0, why="the pipeline is full")
    between = told(OPEN, live=change(LIVE, resent_at=NOW + 3), after_s=4).where
    assert between is not None
    assert (between.agent, between.doing, between.for_ms) == (None, "waits", 1000.0)
    assert "mailbox" in between.why
    without = told(OPEN, after_s=4).where
    assert without == TraceWhere(agent="gateway", doing="waits", for_ms=4000.0, why=NO_NODE)


def test_footprints_say_who_had_a_signal_that_is_under_way() -> None:
    document = told(OPEN, live=LIVE, after_s=1)
    further = with_footprints(document, WAY[:2], PIPELINE, now=NOW + 1.009)
    assert [each.agent for each in further.spans] == ["kyle", "joey"]
    assert further.where is not None
    assert further.where.for_ms == 1000.0
    assert further.where.why == "joey has let go of it; hrm or one behind it has not answered yet"
    assert further.continuity == TraceContinuity()
    assert "gateway or one" in with_footprints(document, WAY, PIPELINE, now=NOW + 2).where.why  # type: ignore[union-attr]
    strange = with_footprints(document, WAY[1:2], PIPELINE, now=NOW + 2)
    assert strange.continuity.problems == ["it passed joey instead of kyle"]


def test_footprints_change_nothing_that_is_known_better() -> None:
    busy = told(OPEN, live=change(LIVE, busy=(Busy("hrm", "handle", 0.5),)))
    where = with_footprints(busy, WAY[:2], PIPELINE, now=NOW + 2).where
    assert where is not None
    assert where.agent == "hrm"
    ruled = change(ASKED, ruling=Ruling(True, "ada", "looked", NOW + 9, b""))
    known = told(change(OPEN, asked=ruled), live=LIVE)
    assert with_footprints(known, WAY[:1], PIPELINE, now=NOW + 20) == known
    assert with_footprints(told(ENDED), WAY[:1], PIPELINE, now=NOW + 20) == told(ENDED)
    assert with_footprints(busy, (), PIPELINE, now=NOW + 20) == busy


def test_a_dead_letter_is_told_with_what_it_ended_while_it_is_buried_and_after() -> None:
    dying = change(OPEN, strikes=3, agent="joey", reason="killed by signal 9 in handle of t")
    document = told(dying, live=LIVE)
    assert (document.state, document.status, document.has_ended) == ("dead_letter", None, False)
    assert document.where is not None
    assert document.letter is not None
    assert (document.letter.agent, document.letter.strikes) == ("joey", 3)
    assert document.continuity.problems == ["it ended 3 processes, joey last, and was given up"]
    buried = told(change(dying, status="failed", is_dead=True, outcome={**OUTCOME, "spans": []}, passage=PASSAGE))
    assert (buried.state, buried.status, buried.continuity.complete) == ("dead_letter", "failed", False)
    assert buried.continuity.problems == document.continuity.problems


def test_a_signal_that_was_never_accepted_is_unknown() -> None:
    document = unknown_trace("x" * 1000, NOW)
    assert (document.state, document.trace_id, document.has_ended) == ("unknown", "x" * 64, False)
    assert (document.total_ms, document.continuity.complete) == (None, False)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from([*OUTCOME, "more"]), values, max_size=6), st.sampled_from(["failed", ""]))
def test_whatever_stands_in_an_outcome_there_is_a_document(changes: dict[str, Any], status: str) -> None:
    outcome = {**OUTCOME, **changes} if status else {}
    told(change(ENDED, status=status, outcome=outcome, passage=PASSAGE if status else None))
