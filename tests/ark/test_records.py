"""The gateway's journal knows a signal's way, in rows that it writes anyway; that of an earlier version less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from ark.door import Door
from ark.intake import Intake
from ark.journal import open_database, open_for_reading
from ark.message import OUTCOME, Envelope, Span, encode
from ark.outcome_desk import OutcomeDesk
from ark.protocol import Request
from ark.records import Crews, Passage, Record, Records
from ark.signal import Signal
from tests.ark.doors import NOW, SIGNAL, UNTIL, asking, plain

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SPANS = (Span("alpha", "1.0", 1, 2), Span("omega", "1.1", 3, 4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def opened(path: Path, *, epoch: int = 1) -> Door:
    return Door(Intake(open_database(path), NOW), epoch=epoch, secret=b"s" * 32, clock=lambda: NOW + 1)


def take_in(door: Door, **changes: Any) -> str:
    trace_id, _ = door.take_in(msgspec.structs.replace(SIGNAL, **changes), NOW)
    door.settle()
    return trace_id


def end(door: Door, trace_id: str, had: tuple[Span, ...] = (), **fields: Any) -> dict[str, Any]:
    payload = encode({"trace_id": trace_id, "status": "executed", **fields})
    door.finish(Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, payload, had), NOW + 40)
    (finished,) = door.settle()
    outcome: dict[str, Any] = msgspec.msgpack.decode(finished.outcome)
    return outcome


def found(path: Path, trace_id: str) -> Record:
    """As a reader from outside finds it."""
    record = Records(open_for_reading(path)).find(trace_id)
    assert record is not None
    return record


def passage_of(path: Path, trace_id: str) -> Passage:
    passage = found(path, trace_id).passage
    assert passage is not None
    return passage


def test_when_a_signal_was_durable_sent_sent_again_and_ended_stands_in_the_row_of_its_outcome(path: Path) -> None:
    door = opened(path)
    trace_id = take_in(door)
    door.dispatcher.due(0.0, at=NOW + 10)
    door.dispatcher.raise_epoch(2)
    door.dispatcher.due(0.0, at=NOW + 20)
    door.dispatcher.raise_epoch(3)
    door.dispatcher.due(0.0, at=NOW + 30)
    end(door, trace_id, SPANS)
    assert found(path, trace_id).accepted_at == NOW
    assert passage_of(path, trace_id) == Passage(NOW + 1, NOW + 10, NOW + 30, 3, NOW + 40, SPANS)
    tables = list(
        open_for_reading(path).execute("SELECT count(*) FROM signals UNION ALL SELECT count(*) FROM outcomes")
    )
    assert tables == [(1,), (1,)]


def test_what_an_earlier_process_did_is_left_open(path: Path) -> None:
    trace_id = take_in(opened(path))
    again = opened(path, epoch=2)
    again.dispatcher.due(0.0, at=NOW + 50)
    end(again, trace_id, SPANS)
    assert passage_of(path, trace_id) == Passage(None, None, NOW + 50, 2, NOW + 40, SPANS)


@pytest.mark.parametrize(("told", "kept"), [([], SPANS), (None, SPANS), ([{"agent": "own"}], None)])
def test_spans_are_kept_where_the_outcome_does_not_say_them(path: Path, told: Any, kept: Any) -> None:
    door = opened(path)
    trace_id = take_in(door)
    end(door, trace_id, SPANS, spans=told)
    assert passage_of(path, trace_id).spans == kept


def test_what_a_person_was_asked_is_known_with_who_had_the_signal_and_how_he_answered(path: Path) -> None:
    door = opened(path)
    trace_id = take_in(door)
    door.dispatcher.due(0.0)
    door.hold(asking(trace_id), NOW + 5)
    door.settle()
    asked = found(path, trace_id).asked
    assert asked is not None
    assert (asked.agent, asked.since, asked.until, asked.reason) == ("judge", NOW + 5, UNTIL, "is this wise?")
    assert (asked.details["price"], asked.spans, asked.ruling) == (7, (Span("judge", "1.0", 1, 2),), None)
    door.rule(trace_id, approved=True, by="ada", reason="looked", now=NOW + 9)
    door.settle()
    asked = found(path, trace_id).asked
    assert asked is not None
    assert asked.ruling is not None
    assert (asked.ruling.word, asked.ruling.by, asked.ruling.at) == ("approved", "ada", NOW + 9)


def test_a_trace_context_is_kept_and_comes_back_with_every_outcome(path: Path) -> None:
    door = opened(path)
    trace_id = take_in(door, traceparent=PARENT, tracestate="a=1")
    door.dispatcher.due(0.0)
    context = {"traceparent": PARENT, "tracestate": "a=1"}
    door.hold(asking(trace_id), NOW)
    answer = OutcomeDesk(door).answer(Request("outcome", trace_id=trace_id), ("front", []), 0.0)
    assert answer is not None
    assert plain(answer["outcome"]).items() >= context.items()
    door.rule(trace_id, approved=True, by="ada", reason="looked", now=NOW)
    assert (
        end(door, trace_id, note="as it is").items()
        >= {**context, "note": "as it is", "status": "executed"}.items()
    )
    assert door.take_in(msgspec.structs.replace(SIGNAL, trace_id=trace_id), NOW)[1] == "duplicate"
    record = found(path, trace_id)
    assert (record.traceparent, record.tracestate) == (PARENT, "a=1")
    assert record.outcome.items() >= context.items()


def test_a_signal_without_a_context_gets_the_very_bytes_of_its_outcome(path: Path) -> None:
    door = opened(path)
    trace_id = take_in(door, metadata={"traceparent": "of somebody else"})
    payload = encode({"trace_id": trace_id, "status": "executed"})
    door.finish(Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, payload), NOW + 40)
    (finished,) = door.settle()
    assert finished.outcome == bytes(payload)


EARLIER = """
CREATE TABLE signals (
    seq INTEGER PRIMARY KEY, trace_id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, payload BLOB NOT NULL,
    accepted_at REAL NOT NULL, strikes INTEGER NOT NULL DEFAULT 0, agent TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '');
CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), finished_below INTEGER NOT NULL);
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY, status TEXT NOT NULL, outcome BLOB NOT NULL, dead INTEGER NOT NULL);
CREATE TABLE held (
    seq INTEGER PRIMARY KEY, agent TEXT NOT NULL, since REAL NOT NULL, hold BLOB NOT NULL, ruling BLOB);
"""
"""The tables as the first version made them."""


def earlier(path: Path) -> apsw.Connection:
    """A journal of the first version, with a signal that has ended and one that is held."""
    connection = open_database(path)
    connection.execute(EARLIER)
    signal = msgspec.msgpack.encode({"symbol": "AAPL", "direction": "long", "price": 1.0, "trace_id": "a"})
    hold = encode({"until": UNTIL, "reason": "wise?", "details": {}})
    connection.execute("INSERT INTO signals VALUES (1, 'a', 'AAPL', ?, ?, 0, '', '')", (signal, NOW))
    connection.execute("INSERT INTO signals VALUES (2, 'b', 'AAPL', ?, ?, 0, '', '')", (signal, NOW))
    connection.execute("INSERT INTO outcomes VALUES (1, 'denied', ?, 0)", (encode({"status": "denied"}),))
    connection.execute("INSERT INTO held VALUES (2, 'judge', ?, ?, NULL)", (NOW, bytes(hold)))
    return connection


def test_a_journal_of_an_earlier_version_is_read_as_it_is(path: Path) -> None:
    earlier(path)
    record = found(path, "a")
    assert (record.status, record.passage, record.traceparent) == ("denied", None, "")
    asked = found(path, "b").asked
    assert asked is not None
    assert (asked.agent, asked.spans) == ("judge", ())
    crews = Crews(open_for_reading(path))
    assert (crews.latest, crews.of(record, NOW)) == ((), ((), {}))


def test_a_journal_of_an_earlier_version_is_gone_on_with(path: Path) -> None:
    earlier(path).close()
    door = opened(path)
    assert [each.trace_id for each in door.held] == ["b"]
    assert door.held[0].accepted_at == NOW
    trace_id = take_in(door)
    end(door, trace_id, SPANS)
    assert passage_of(path, trace_id).spans == SPANS
    assert found(path, "a").passage is None
    payload = door.intake.connection.execute("SELECT payload FROM signals WHERE seq = 1").fetchone()
    assert payload is not None
    assert msgspec.msgpack.decode(payload[0], type=Signal).traceparent == ""


def test_signals_are_found_in_the_order_of_acceptance_and_by_number(path: Path) -> None:
    door = opened(path)
    ids = [take_in(door) for _ in range(4)]
    end(door, ids[2])
    records = Records(open_for_reading(path))
    first, *others = records.after(0, limit=9)
    assert [first.trace_id, *[each.trace_id for each in others]] == ids
    assert [each.status for each in records.after(first.seq, limit=2)] == ["", "executed"]
    assert [each.trace_id for each in records.at([first.seq + 2, first.seq + 9, first.seq])] == [ids[2], ids[0]]
    assert records.find("strange") is None


def test_the_crew_is_written_down_when_it_changes_and_known_for_every_time(path: Path) -> None:
    door = opened(path)
    first, second, third = ((("a", ""),), (("a", "1"), ("b", "1")), (("a", "2"), ("b", "1")))
    for now, crew in ((10.0, first), (20.0, second), (25.0, second), (30.0, third)):
        door.note_crew(crew, now)
        door.settle()
    assert len(list(open_for_reading(path).execute("SELECT * FROM crews"))) == 3
    crews = Crews(open_for_reading(path))
    assert crews.latest == third
    assert [crews.pipeline(at) for at in (5.0, 15.0, 20.0, 99.0)] == [("a",), ("a",), ("a", "b"), ("a", "b")]
    assert crews.versions(5.0) == {}
    assert crews.versions(15.0) == {"a": {"1", "2"}, "b": {"1"}}
