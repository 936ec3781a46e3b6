"""Where persons decide: what waits for them, what their word does, and what a word is told that comes too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark import protocol
from ark.door import DEADLINE, UNANSWERED
from ark.errors import MessageError, RequestError
from ark.held_desk import HeldDesk
from ark.protocol import Code, Request
from tests.ark.doors import NOW, UNTIL, accept, asking, end, open_door, packed, plain


class Room:
    """A desk over a door, what it noted, and what is to be recorded."""

    def __init__(self, path: Path) -> None:
        self.door = open_door(path)
        self.noted: list[tuple[str, dict[str, Any]]] = []
        self.remembered: list[tuple[str, str, str]] = []
        self.desk = HeldDesk(self.door, note=self._note, remember=self._remember)

    def hold(self, *, until: float = UNTIL, symbol: str = "AAPL", details: dict[str, Any] | None = None) -> str:
        """A signal about which an agent asks; gives its trace id."""
        trace_id = accept(self.door, symbol)
        self.desk.hold(asking(trace_id, until=until, details=details), NOW)
        self.door.settle()
        return trace_id

    def rule(self, trace_id: str | None, op: str = "approve", *, now: float = NOW, **fields: Any) -> dict[str, Any]:
        return self.desk.answer(Request(op, trace_id=trace_id, **{"reason": "it is wise", **fields}), now)

    def refused(self, trace_id: str | None, **fields: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.rule(trace_id, **fields)
        return caught.value

    def _note(self, kind: str, **fields: Any) -> None:
        self.noted.append((kind, fields))

    def _remember(self, request: Request, subject: str) -> None:
        self.remembered.append((request.op, request.who, subject))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_what_is_held_is_noted_once_the_door_has_settled_and_only_once(room: Room) -> None:
    trace_id = room.hold()
    assert room.noted == []
    (pending,) = room.desk.settled()
    assert pending.trace_id == trace_id
    words = {"trace_id": trace_id, "symbol": "AAPL", "agent": "judge", "reason": "is this wise?", "until": UNTIL}
    assert room.noted == [("held", words)]
    assert room.desk.settled() == []
    assert len(room.noted) == 1


def test_what_comes_too_late_to_be_held_is_not_noted(room: Room) -> None:
    trace_id = accept(room.door)
    end(room.door, trace_id)
    room.desk.hold(asking(trace_id), NOW)
    assert (room.desk.settled(), room.noted) == ([], [])


def test_what_was_ruled_in_the_round_in_which_it_was_held_waits_for_nobody(room: Room) -> None:
    trace_id = room.hold()
    room.rule(trace_id)
    room.door.settle()
    assert room.desk.settled() == []
    assert [kind for kind, _ in room.noted] == ["ruling"]


def test_what_waits_is_listed_as_a_person_needs_it_and_the_count_is_of_all(room: Room) -> None:
    first, _, _ = (room.hold(symbol=symbol) for symbol in ("AAPL", "MSFT", "IBM"))
    answer = room.desk.answer(Request("held", limit=2), NOW)
    assert (len(answer["held"]), answer["count"]) == (2, 3)
    assert plain(answer["held"][0]) == {
        "trace_id": first,
        "symbol": "AAPL",
        "agent": "judge",
        "since": NOW,
        "until": UNTIL,
        "reason": "is this wise?",
        "details": {"decision": {"approved": False}, "price": 7},
    }


def test_a_list_that_would_be_too_large_is_cut_but_never_to_nothing(room: Room) -> None:
    room.hold(details={"text": "x" * 2 * protocol.LARGEST_MESSAGE})
    answer = room.desk.answer(Request("held"), NOW)
    assert (len(answer["held"]), answer["count"]) == (1, 1)
    room.desk.expire(UNTIL)
    for _ in range(3):
        room.hold(details={"text": "x" * 400_000})
    answer = room.desk.answer(Request("held"), NOW)
    assert (len(answer["held"]), answer["count"]) == (2, 3)
    assert len(protocol.reply(packed(None), **answer)) < protocol.LARGEST_MESSAGE


@pytest.mark.parametrize(("op", "word"), [("approve", "approved"), ("refuse", "refused")])
def test_a_persons_word_is_noted_remembered_and_goes_on_with_the_signal(room: Room, op: str, word: str) -> None:
    trace_id = room.hold()
    room.desk.settled()
    assert room.rule(trace_id, op, by="ada") == {"trace_id": trace_id, "ruling": word}
    assert room.remembered == [(op, "ada", trace_id)]
    assert room.noted[-1] == (
        "ruling",
        {"trace_id": trace_id, "ruling": word, "by": "ada", "reason": "it is wise"},
    )
    room.door.settle()
    (envelope,) = room.door.dispatcher.due(0.0)
    assert envelope.ruling is not None
    assert (envelope.ruling.word, envelope.ruling.by) == (word, "ada")


def test_the_deadline_rules_where_nobody_did_and_no_person_is_remembered(room: Room) -> None:
    trace_id = room.hold()
    room.desk.expire(UNTIL - 1)
    assert room.noted == []
    room.desk.expire(UNTIL)
    words = {"trace_id": trace_id, "ruling": "refused", "by": DEADLINE, "reason": UNANSWERED}
    assert room.noted == [("ruling", words)]
    assert room.remembered == []


def test_a_word_that_comes_with_the_deadline_or_after_it_is_none(room: Room) -> None:
    for now in (UNTIL, UNTIL + 9):
        trace_id = room.hold()
        error = room.refused(trace_id, now=now)
        assert (error.code, error.field) == (Code.REFUSED, "trace_id")
        assert str(error) == f"it is already refused by {DEADLINE}: {UNANSWERED}"
    assert room.remembered == []


def test_a_second_word_is_refused_and_told_whose_was_the_first(room: Room) -> None:
    trace_id = room.hold()
    room.rule(trace_id, by="ada")
    assert str(room.refused(trace_id, by="bob")) == "it is already approved by ada: it is wise"
    room.door.settle()
    end(room.door, trace_id)
    assert str(room.refused(trace_id, by="bob")) == "it has ended already: executed, approved by ada"


def test_a_word_on_a_signal_about_which_nobody_asks_is_refused(room: Room) -> None:
    trace_id = accept(room.door)
    assert str(room.refused(trace_id)) == "it is still under way, and nobody is asked about it"
    end(room.door, trace_id, "failed")
    assert str(room.refused(trace_id)) == "it has ended already: failed"
    assert room.refused("strange").code == Code.UNKNOWN_TRACE


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"trace_id": None}, "trace_id"),
        ({"reason": " "}, "reason"),
        ({"by": f" {DEADLINE} "}, "by"),
    ],
)
def test_a_word_without_its_signal_a_reason_or_a_person_is_invalid(
    room: Room, fields: dict[str, Any], field: str
) -> None:
    error = room.refused(**{"trace_id": room.hold(), **fields})
    assert (error.code, error.field) == (Code.INVALID, field)
    assert len(room.door.held) == 1


@pytest.mark.parametrize("payload", [b"\xc1", b"\x80", b"\x91" * 9_999])
def test_an_outcome_or_a_question_that_cannot_be_read_leaves_its_signal_under_way(
    room: Room, payload: bytes
) -> None:
    trace_id = accept(room.door)
    asked = msgspec.structs.replace(asking(trace_id), payload=msgspec.Raw(payload))
    nobodys = msgspec.structs.replace(asking(trace_id), spans=())
    for envelope in (asked, nobodys, asking(trace_id, until=float("nan")), asking(trace_id, until=float("inf"))):
        with pytest.raises(MessageError):
            room.desk.hold(envelope, NOW)
    with pytest.raises(MessageError):
        room.door.finish(asked, NOW)
    assert (room.door.unfinished, room.door.held, room.door.settle()) == (1, [], [])
    assert [each.status for each in end(room.door, trace_id)] == ["executed"]
