"""Who asks for an outcome is answered once: now, when it comes, when a person must decide, or when time is up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.door import Door, Finished
from ark.errors import RequestError
from ark.outcome_desk import OutcomeDesk
from ark.protocol import Code, Request
from ark.wire import Route
from tests.ark.doors import NOW, UNTIL, accept, asking, end, open_door, packed, plain

T = 50.0
"""The time of a clock that never goes back."""


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return open_door(tmp_path)


def question(trace_id: str | None, *, number: int = 1, wait_s: float = 0) -> Request:
    return Request("outcome", id=packed(number), trace_id=trace_id, timeout_ms=wait_s * 1000)


def route(number: int = 1) -> Route:
    return "front", [b"client %d" % number]


def read(replies: list[tuple[Route, bytes]]) -> list[tuple[bytes, dict[str, Any]]]:
    """Whom they go to, and what they say."""
    return [(way[1][0], msgspec.msgpack.decode(body)) for way, body in replies]


def test_a_known_outcome_is_answered_at_once_as_it_was_recorded(door: Door) -> None:
    trace_id = accept(door)
    (ended,) = end(door, trace_id, note="as it is")
    answer = OutcomeDesk(door).answer(question(trace_id, wait_s=1), route(), T)
    assert answer == {"outcome": msgspec.Raw(ended.outcome)}


def test_where_a_person_must_decide_that_stands_in_the_place_of_the_outcome(door: Door) -> None:
    trace_id = accept(door)
    door.hold(asking(trace_id), NOW)
    answer = OutcomeDesk(door).answer(question(trace_id, wait_s=1), route(), T)
    assert answer is not None
    outcome = plain(answer["outcome"])
    assert (outcome["status"], outcome["decision"], outcome["attempts"]) == ("held", {"approved": False}, 1)
    assert (outcome["reason"], outcome["held"]["agent"]) == ("is this wise?", "judge")
    assert (outcome["held"]["until"], outcome["held"]["details"]["price"]) == (UNTIL, 7)


def test_details_without_a_decision_make_a_held_outcome_without_one(door: Door) -> None:
    trace_id = accept(door)
    door.hold(asking(trace_id, details={"price": 7}), NOW)
    answer = OutcomeDesk(door).answer(question(trace_id), route(), T)
    assert answer is not None
    assert plain(answer["outcome"])["decision"] is None


@pytest.mark.parametrize(
    ("trace_id", "wait_s", "code", "field"),
    [
        (None, 1, Code.INVALID, "trace_id"),
        ("", 1, Code.INVALID, "trace_id"),
        ("open", -1, Code.INVALID, "timeout_ms"),
        ("open", 601, Code.INVALID, "timeout_ms"),
        ("open", float("nan"), Code.INVALID, "timeout_ms"),
        ("strange", 1, Code.UNKNOWN_TRACE, "trace_id"),
        ("open", 0, Code.PENDING, "trace_id"),
    ],
)
def test_who_cannot_wait_is_told_why(
    door: Door, trace_id: str | None, wait_s: float, code: str, field: str
) -> None:
    desk = OutcomeDesk(door)
    known = {"open": accept(door)}
    with pytest.raises(RequestError) as caught:
        desk.answer(question(known.get(trace_id or "", trace_id), wait_s=wait_s), route(), T)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert not desk.is_waited_for


def test_all_who_wait_are_told_when_the_outcome_comes_each_under_his_own_id(door: Door) -> None:
    desk = OutcomeDesk(door)
    first, second = accept(door), accept(door)
    for number, trace_id in enumerate((first, second, first)):
        assert desk.answer(question(trace_id, number=number, wait_s=9), route(number), T) is None
    told = read(desk.wake(end(door, first), [], T))
    assert [(who, reply["id"]) for who, reply in told] == [(b"client 0", 0), (b"client 2", 2)]
    assert {reply["outcome"]["trace_id"] for _, reply in told} == {first}
    assert desk.is_waited_for
    assert [who for who, _ in read(desk.wake(end(door, second), [], T))] == [b"client 1"]
    assert not desk.is_waited_for


def test_who_waits_is_told_when_a_person_must_decide(door: Door) -> None:
    desk = OutcomeDesk(door)
    trace_id = accept(door)
    desk.answer(question(trace_id, wait_s=9), route(), T)
    pending = door.hold(asking(trace_id), NOW)
    assert pending is not None
    ((_, reply),) = read(desk.wake([], [pending], T))
    assert (reply["ok"], reply["outcome"]["status"]) == (True, "held")
    assert not desk.is_waited_for


def test_whose_time_is_up_is_told_that_there_is_none_yet_and_others_go_on_waiting(door: Door) -> None:
    desk = OutcomeDesk(door)
    trace_id = accept(door)
    desk.answer(question(trace_id, number=1, wait_s=1), route(1), T)
    desk.answer(question(trace_id, number=2, wait_s=5), route(2), T)
    assert desk.wake([], [], T + 0.9) == []
    ((who, reply),) = read(desk.wake([], [], T + 1))
    assert (who, reply["id"], reply["ok"], reply["error"]["code"]) == (b"client 1", 1, False, Code.PENDING)
    assert [who for who, _ in read(desk.wake(end(door, trace_id), [], T + 2))] == [b"client 2"]


def test_an_outcome_that_comes_with_the_end_of_the_time_is_told(door: Door) -> None:
    desk = OutcomeDesk(door)
    trace_id = accept(door)
    desk.answer(question(trace_id, wait_s=1), route(), T)
    ((_, reply),) = read(desk.wake(end(door, trace_id), [], T + 1))
    assert reply["ok"] is True


def test_so_many_may_wait_and_whoever_is_told_makes_room(door: Door) -> None:
    desk = OutcomeDesk(door, most=2)
    first, second = accept(door), accept(door)
    for number, trace_id in enumerate((first, second)):
        assert desk.answer(question(trace_id, wait_s=9), route(number), T) is None
    busy = desk.answer(question(second, wait_s=9), route(3), T)
    assert busy is not None
    assert (busy["ok"], busy["error"]["code"], busy["retry_after_ms"]) == (False, Code.BUSY, 50)
    desk.wake(end(door, first), [], T)
    assert desk.answer(question(second, wait_s=9), route(3), T) is None


class Open:
    """The part of a door for which nothing has ended."""

    class Intake:
        @staticmethod
        def outcome(_: str) -> None:
            return None

    class Dispatcher:
        parked: dict[str, Any] = {}

    intake, dispatcher = Intake, Dispatcher

    @staticmethod
    def is_unfinished(_: str) -> bool:
        return True


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from("abc"), st.integers(1, 6)),
            st.tuples(st.just("end"), st.sampled_from("abc"), st.just(0)),
            st.tuples(st.just("pause"), st.just(""), st.integers(1, 3)),
        ),
        max_size=40,
    )
)
def test_whatever_happens_everybody_is_answered_exactly_once_and_in_time(
    steps: list[tuple[str, str, int]],
) -> None:
    desk, now = OutcomeDesk(Open(), most=5), T
    waiting: dict[int, float] = {}
    for number, (what, trace_id, seconds) in enumerate(steps):
        finished = []
        if what == "ask":
            answer = desk.answer(question(trace_id, number=number, wait_s=seconds), route(number), now)
            assert (answer is None) == (len(waiting) < 5)
            if answer is None:
                waiting[number] = now + seconds
        elif what == "end":
            finished = [Finished(trace_id, "S", b"\x80", "executed")]
        else:
            now += seconds
        for who, reply in read(desk.wake(finished, [], now)):
            assert who == b"client %d" % reply["id"]
            until = waiting.pop(reply["id"])
            assert reply["ok"] or until <= now
        assert all(until > now for until in waiting.values())
        assert desk.is_waited_for == bool(waiting)
