"""A signal's way as spans: one tree for each, the same whenever it is asked for, and no figure of the account."""

from __future__ import annotations

import uuid

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ark.otlp_spans import ExportedTrace, exported_trace, is_wanted
from ark.ruling import Ruling
from ark.traces import TraceDocument
from tests.ark.test_timeline import documents
from tests.ark.test_traces import ASKED, ENDED, NOW, OPEN, OUTCOME, PARENT, PASSAGE, at, told

change = msgspec.structs.replace
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
FINISHED = change(ENDED, trace_id=ID)


def exported(document: TraceDocument) -> ExportedTrace:
    return exported_trace(document)


def test_a_signal_is_one_span_with_one_below_it_for_each_hop() -> None:
    trace = exported(told(FINISHED))
    assert trace.trace_id == uuid.UUID(ID).bytes
    root, *hops = trace.spans
    assert (root.name, root.parent_id, root.error) == ("signal", None, "")
    assert (root.start_ns, root.end_ns) == (at(0), int(PASSAGE.ended_at * 1e9))
    assert [each.name for each in hops] == ["gateway", "kyle", "joey", "hrm"]
    assert {each.parent_id for each in hops} == {root.span_id}
    assert (hops[0].start_ns, hops[0].end_ns) == (at(0), int((NOW + 0.002) * 1e9))
    assert (hops[3].start_ns, hops[3].end_ns) == (at(10), at(20))
    assert hops[3].attributes == {
        "ark.agent": "hrm",
        "ark.version": "1",
        "ark.wait_ms": 1.0,
        "ark.recorded": False,
    }
    assert root.attributes == {
        "ark.trace_id": ID,
        "ark.symbol": "AAPL",
        "ark.status": "denied",
        "ark.attempts": 1,
        "ark.complete": True,
        "ark.ledger.row": 7,
        "ark.approved": False,
        "ark.zone": "deny",
        "ark.level": "graveyard",
        "ark.rules": ("G07",),
    }


def test_a_traceparent_gives_the_trace_and_the_span_above() -> None:
    trace = exported(told(change(FINISHED, traceparent=PARENT, tracestate="a=1")))
    assert (trace.trace_id.hex(), trace.tracestate) == (PARENT[3:35], "a=1")
    assert trace.spans[0].parent_id == bytes.fromhex(PARENT[36:52])
    assert [each.span_id for each in trace.spans] == [each.span_id for each in exported(told(FINISHED)).spans]


def test_a_failure_a_dead_letter_a_person_and_another_try_are_seen() -> None:
    ruled = change(ASKED, ruling=Ruling(True, "ada", "looked", NOW + 9, b""))
    again = change(PASSAGE, resent_at=NOW + 9.5, attempts=2)
    failed = change(FINISHED, status="failed", asked=ruled, passage=again)
    root, *hops = exported(told(failed)).spans
    assert (root.error, root.attributes["error.type"], root.attributes["ark.attempts"]) == ("failed", "failed", 2)
    assert [(name, at_ns) for name, at_ns, _ in root.events][1] == ("sent again", int((NOW + 9.5) * 1e9))
    assert hops[-1].name == "person"
    assert hops[-1].attributes == {"ark.agent": "joey", "ark.ruling": "approved"}
    dead = change(FINISHED, status="failed", is_dead=True, strikes=3, agent="joey", reason="killed")
    root = exported(told(dead)).spans[0]
    assert (root.error, root.attributes["ark.letter.agent"]) == ("dead_letter", "joey")


def test_no_figure_no_reason_and_no_name_of_a_person_goes_out() -> None:
    ruled = change(ASKED, reason="secret 4711", ruling=Ruling(True, "ada lovelace", "because 4711", NOW + 9, b""))
    order = {"status": "filled", "quantity": "4711", "entry_price": "4711.5", "client_order_id": "4711"}
    violations = [{"rule": "G07", "severity": "critical", "message": "4711 of the equity"}]
    decision = {**OUTCOME["decision"], "violations": violations}
    outcome = {**OUTCOME, "order": order, "reason": "4711 of the equity", "decision": decision}
    trace = exported(told(change(FINISHED, asked=ruled, outcome=outcome)))
    assert "4711" not in repr(trace)
    assert "lovelace" not in repr(trace)


@given(documents(), st.uuids())
def test_whatever_came_to_a_signal_its_spans_are_one_tree_with_ids_of_their_own(
    document: TraceDocument, name: uuid.UUID
) -> None:
    document = change(document, trace_id=str(name))
    trace = exported(document)
    root, *hops = trace.spans
    ids = [each.span_id for each in trace.spans]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 8 and any(each) for each in ids)
    assert len(trace.trace_id) == 16
    assert any(trace.trace_id)
    for hop in hops:
        assert hop.parent_id == root.span_id
        assert root.start_ns <= hop.start_ns <= hop.end_ns <= root.end_ns
    assert exported(document) == trace


def test_zeros_alone_are_nobodys_trace_id() -> None:
    assert any(exported(told(change(FINISHED, trace_id=str(uuid.UUID(int=0))))).trace_id)
    assert any(exported(told(change(FINISHED, trace_id="no uuid"))).trace_id)


@given(st.uuids(), st.floats(0, 1), st.floats(0, 1))
def test_the_share_is_of_the_signals_and_a_larger_one_takes_all_that_a_smaller_one_takes(
    name: uuid.UUID, one: float, other: float
) -> None:
    document = change(told(FINISHED), trace_id=str(name))
    assert is_wanted(document, 1.0)
    assert not is_wanted(document, 0.0)
    small, large = sorted((one, other))
    assert is_wanted(document, large) or not is_wanted(document, small)


def test_a_share_takes_about_so_many_whatever_kind_their_ids_are() -> None:
    document = told(FINISHED)
    names = [
        *(uuid.UUID(int=number) for number in range(2000)),
        *(uuid.uuid5(uuid.UUID(int=0), str(n)) for n in range(2000)),
    ]
    taken = sum(is_wanted(change(document, trace_id=str(name)), 0.25) for name in names)
    assert 900 < taken < 1100


def test_failures_are_always_wanted_and_a_traceparent_says_itself() -> None:
    failed = told(change(FINISHED, status="failed"))
    assert is_wanted(failed, 0.0)
    assert is_wanted(told(change(FINISHED, traceparent=PARENT)), 0.0)
    assert not is_wanted(told(change(FINISHED, traceparent=PARENT[:-1] + "0")), 1.0)
    assert is_wanted(told(change(OPEN, status="failed", is_dead=True)), 0.0)
