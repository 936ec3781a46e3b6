"""Who asks for a signal's way gets all that the gateway's process knows of it, whatever its state. No sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ark.blackbox import BlackBox, Reading, read
from ark.errors import RequestError
from ark.message import OUTCOME, Envelope, Span, encode
from ark.protocol import Code, Request
from ark.trace_desk import TraceDesk
from ark.traces import TraceDocument
from ark.tree_desk import TreeDesk
from tests.ark.doors import NOW, SIGNAL, accept, asking, open_door
from tests.ark.test_tree_desk import child

PIPELINE = ("alpha", "omega")
WAY = (
    Span("alpha", "1", int(NOW * 1e9), int(NOW * 1e9) + 5),
    Span("omega", "2", int(NOW * 1e9) + 9, int(NOW * 1e9) + 9),
)


class Room:
    """A desk in a node of two agents, each with a black box."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.door = open_door(folder)
        self.tree = TreeDesk("gateway", PIPELINE, say=lambda **words: None, remember=lambda request, subject: None)
        self.run(alpha="running", omega="running")
        self.boxes = {name: BlackBox(folder / name, incarnation=1) for name in PIPELINE}
        self.desk = TraceDesk(self.door, self.tree, PIPELINE, read_box=self._read)

    def run(self, **states: str) -> None:
        self.tree.children = [child(name, state=state, version="1") for name, state in states.items()]

    def ask(self, trace_id: str | None) -> TraceDocument:
        document = self.desk.answer(Request("trace", trace_id=trace_id), NOW + 5)["trace"]
        assert isinstance(document, TraceDocument)
        return document

    def _read(self, name: str) -> Reading | None:
        return read(self._folder / name)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.parametrize(("trace_id", "code"), [(None, Code.INVALID), ("strange", Code.UNKNOWN_TRACE)])
def test_a_signal_that_was_never_accepted_has_no_trace(room: Room, trace_id: str | None, code: str) -> None:
    with pytest.raises(RequestError) as error:
        room.ask(trace_id)
    assert (error.value.code, error.value.field) == (code, "trace_id")


def test_what_waits_in_the_gateway_is_told_with_who_is_down(room: Room) -> None:
    trace_id, _ = room.door.take_in(SIGNAL, NOW)
    assert room.ask(trace_id).durable_at is None
    room.door.settle()
    where: Any = room.ask(trace_id).where
    assert (where.agent, where.doing, where.for_ms, where.why) == ("gateway", "waits", 5000.0, "")
    assert room.ask(trace_id).durable_at is not None
    room.run(alpha="running", omega="isolated")
    where = room.ask(trace_id).where
    assert where.why == "omega is isolated"


def test_what_finds_no_room_in_the_pipeline_is_told_so(room: Room) -> None:
    room.door.dispatcher.window = 1
    accept(room.door)
    where = room.ask(accept(room.door)).where
    assert where is not None
    assert where.why == "the pipeline holds 1 signals, and no more may be in it"


def test_what_is_under_way_is_told_with_the_agent_whose_box_names_it(room: Room) -> None:
    trace_id = accept(room.door)
    where = room.ask(trace_id).where
    assert where is not None
    assert (where.agent, where.doing) == (None, "waits")
    room.boxes["omega"].note(trace_id, "perform")
    room.boxes["alpha"].note("another", "handle")
    where = room.ask(trace_id).where
    assert where is not None
    assert (where.agent, where.doing) == ("omega", "perform")
    room.run(alpha="running", omega="backoff")  # that box is of a process that is gone
    assert room.ask(trace_id).where != where


def test_what_is_held_and_what_has_ended_is_told_from_the_journal(room: Room) -> None:
    room.door.note_crew((("alpha", "1"), ("omega", "1")), NOW - 1)
    trace_id = accept(room.door)
    room.door.hold(asking(trace_id), NOW + 1)
    room.door.settle()
    document = room.ask(trace_id)
    assert (document.state, document.reason, [each.agent for each in document.spans]) == (
        "held",
        "is this wise?",
        ["judge"],
    )
    assert document.continuity.problems[0] == "it passed judge instead of alpha"
    other = accept(room.door)
    payload = encode({"trace_id": other, "status": "executed"})
    room.door.finish(Envelope(OUTCOME, other, "AAPL", 1, 1, 1, payload, WAY), NOW + 1)
    room.door.settle()
    document = room.ask(other)
    assert (document.state, document.status, [each.agent for each in document.spans]) == (
        "finished",
        "executed",
        [*PIPELINE],
    )
    assert document.continuity.problems == ["omega never had the version 2"]
