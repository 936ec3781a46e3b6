"""A signal's way is drawn to scale, as wide as the terminal, whatever is known of it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.commands.trace import tell
from ark.message import Span
from ark.records import Passage
from ark.ruling import Ruling
from ark.timeline import ASCII, UNICODE, draw, duration
from ark.traces import Busy, TraceDocument, trace_document, unknown_trace, with_footprints
from tests.ark.test_traces import ASKED, ENDED, LIVE, NOW, OPEN, OUTCOME, PASSAGE, PIPELINE, WAY, at, told

change = msgspec.structs.replace
NAMES = ("a", "kenny", "a_long_name_1234")


@st.composite
def documents(draw: st.DrawFn) -> TraceDocument:
    """Signals that have ended, or wait somewhere, after waits and stays of any length."""
    moments = st.floats(0, 1e6) | st.floats(0, 0.01)
    durable, sent, resent = (NOW + draw(moments) for _ in range(3))
    moment, spans = int(max(durable, sent) * 1e9), []
    for name in NAMES[: draw(st.integers(0, 3))]:
        wait, stay = (int((draw(moments) - draw(st.floats(0, 0.05))) * 1e9) for _ in range(2))
        spans.append(Span(name, "1", moment + wait, moment + wait + stay))
        moment = spans[-1].out_ns
    again = draw(st.none() | st.just(resent))
    asked = draw(st.none() | st.just(change(ASKED, since=resent)) | st.just(ruled(resent, resent + draw(moments))))
    now = max(moment / 1e9, resent) + draw(moments)
    if draw(st.booleans()):
        passage = Passage(durable, sent, again, 2, now, tuple(spans))
        record = change(OPEN, status="executed", outcome={"status": "executed"}, passage=passage, asked=asked)
        return trace_document(record, now=now + 1e9, pipeline=NAMES)
    busy = draw(st.sampled_from([(), (Busy("kenny", "handle", draw(moments)),)]))
    live = change(LIVE, durable_at=durable, sent_at=draw(st.sampled_from([None, sent])), resent_at=again, busy=busy)
    live = change(live, is_under_way=draw(st.booleans()))
    record = change(OPEN, asked=asked)
    document = trace_document(record, now=now, pipeline=NAMES, live=draw(st.sampled_from([live, None])))
    return with_footprints(document, spans, NAMES, now=now)


def ruled(since: float, at: float) -> Any:
    return change(ASKED, since=since, ruling=Ruling(True, "ada", "looked", at, b""))


@given(documents(), st.integers(60, 200), st.sampled_from([UNICODE, ASCII]))
def test_whatever_came_to_a_signal_no_line_is_longer_than_the_terminal(
    document: TraceDocument, width: int, glyphs: Any
) -> None:
    lines = draw(document, width, glyphs)
    story = tell(document, width, glyphs)
    assert max(len(line) for line in [*lines, *story]) <= width
    assert set(lines) - set(story) == set()
    for span in document.spans:
        assert any(line.startswith(f"  {span.agent}") for line in lines)
    assert glyphs is UNICODE or all(line.isascii() for line in lines)


def bars(lines: list[str]) -> dict[str, str]:
    """The bars by name; of a name that is there twice the last."""
    start = lines[0].index("0")
    return {line.split()[0]: line[start:] for line in lines[1:]}


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=3), st.integers(60, 160))
def test_waits_and_stays_are_to_scale(stays: list[tuple[float, float]], width: int) -> None:
    moment, spans = at(2), []
    for name, (wait_ms, stay_ms) in zip(NAMES, stays, strict=False):
        spans.append(Span(name, "1", moment + int(wait_ms * 1e6), moment + int((wait_ms + stay_ms) * 1e6)))
        moment = spans[-1].out_ns
    record = change(ENDED, outcome={}, passage=change(PASSAGE, ended_at=moment / 1e9, spans=tuple(spans)))
    document = trace_document(record, now=NOW, pipeline=NAMES)
    lines = draw(document, width)
    cells = width - max(len(name) for name in ("gateway", *NAMES[: len(spans)])) - 26
    whole_ns = max(1, moment - at(0))
    for span in spans:
        bar = bars(lines)[span.agent]
        begins, ends = ((each - at(0)) / whole_ns * cells for each in (span.in_ns, span.out_ns))
        if ends > begins + 0.01:
            assert abs(bar.index("█") - begins) <= 1.01
            assert abs(bar.rindex("█") + 1 - ends) <= 1.01
        assert abs(len(bar.rstrip()) - math.ceil(ends)) <= 1.01


def test_a_signal_that_was_sent_again_shows_when_and_whose_answers_were_on_record() -> None:
    again = change(PASSAGE, resent_at=NOW + 1, ended_at=NOW + 1.2, attempts=2)
    later = [*OUTCOME["spans"][:2], {"agent": "hrm", "version": "2", "in_ns": at(1010), "out_ns": at(1100)}]
    lines = tell(told(change(ENDED, passage=again, outcome={**OUTCOME, "spans": later})))
    names = [line[2:12].strip() for line in lines if "ms  " in line]
    assert names == ["gateway", "kyle*", "joey*", "sent again", "hrm", "gateway"]
    assert "  * answered from its journal when the signal was sent again" in lines
    assert "versions: kyle 1, joey 1, hrm 2" in lines
    assert "  sent 2 times, because a process was restarted meanwhile" in lines


def test_a_held_signal_goes_on_at_a_person_and_says_what_to_type() -> None:
    lines = tell(told(change(OPEN, asked=ASKED), live=change(LIVE, is_under_way=False), after_s=3))
    (person,) = [line for line in lines if line.startswith("  a person")]
    assert "2.000 s" in person
    assert person.endswith("░▶")
    assert lines[-2:] == ["  ark-run approve t --reason TEXT", "  ark-run refuse t --reason TEXT"]
    assert lines[0] == "t  AAPL  held"


def test_a_signal_under_way_says_who_has_it_and_goes_on() -> None:
    lines = tell(told(OPEN, live=change(LIVE, busy=(Busy("hrm", "handle", 0.5),)), after_s=1))
    assert "  now hrm has it (handle), for 500.000 ms" in lines
    (bar,) = [line for line in lines if line.startswith("  hrm")]
    assert bar.endswith("█▶")
    assert not any("decision" in line or "order" in line for line in lines)


def test_a_broken_way_and_a_dead_letter_say_what_is_wrong() -> None:
    broken = tell(told(change(ENDED, outcome={**OUTCOME, "spans": OUTCOME["spans"][:2]})))
    assert "broken: it passed kyle, joey instead of kyle, joey, hrm" in broken
    dead = change(OPEN, strikes=3, agent="joey", reason="killed by signal 9", status="failed", is_dead=True)
    lines = tell(told(change(dead, outcome={"ledger": None}, passage=PASSAGE)))
    assert lines[0] == "t  AAPL  failed (dead letter)"
    assert "  ark-run dead-letters show t" in lines
    assert "in no ledger row: the dead letter ended its agents, too" in lines


def test_nothing_is_drawn_of_a_signal_that_is_not_known_and_no_terminal_obeys() -> None:
    assert draw(unknown_trace("x", NOW), 80) == []
    nasty = "a\x1b[2J\nb"
    rules = [{"rule": nasty, "severity": nasty, "message": nasty}]
    decision = {"approved": True, "ruleset": nasty, "violations": rules, "rules_checked": []}
    audit, ledger = {"disagreements": [nasty]}, {"seq": nasty, "hash": nasty}
    spans = [{"agent": nasty, "version": nasty, "in_ns": 1, "out_ns": 2}]
    outcome = {"reason": nasty, "order": {nasty: nasty}, "decision": decision, "audit": audit, "ledger": ledger}
    for status in ("denied", nasty):
        record = change(ENDED, status=status, symbol=nasty, outcome={**outcome, "spans": spans})
        assert all(line.isprintable() for line in tell(told(record)))


def test_an_order_stands_in_columns() -> None:
    outcome = {**OUTCOME, "order": {"client_order_id": "ark-1", "side": "buy", "fees": None}}
    lines = tell(told(change(ENDED, outcome=outcome)))
    start = lines.index("order:")
    assert lines[start + 1 : start + 3] == ["  client_order_id    ark-1", "  side               buy"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000004, "0.000 ms"),
        (0.0123456, "12.346 ms"),
        (0.9994, "999.400 ms"),
        (1.5, "1.500 s"),
        (59.99, "59.99 s"),
        (61, "1 m 01 s"),
        (3720, "1 h 02 m"),
        (90_000, "1 d 01 h"),
    ],
)
def test_durations_are_told_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 86_400 * 365 * 10))
def test_durations_are_short(seconds: float) -> None:
    assert len(duration(seconds)) <= 10


def test_the_way_of_another_pipeline_is_drawn_too() -> None:
    lines = draw(told(change(ENDED, outcome={}, passage=change(PASSAGE, spans=WAY))), 80)
    assert [each for each in bars(lines) if each in PIPELINE] == list(PIPELINE)
