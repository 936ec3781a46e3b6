"""The gateway's journal and the door around it: accepted is durable, finished is final, strikes are remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.agent import Hold
from ark.delivery import STRIKES
from ark.door import DEADLINE, UNANSWERED, Door
from ark.intake import Intake
from ark.journal import open_database
from ark.message import HELD, OUTCOME, Envelope, Span, encode
from ark.ruling import Ruling, verify_ruling
from ark.signal import Signal

NOW = 1_700_000_000.0
SIGNAL = Signal(symbol="AAPL", direction="long", price=1.0)
SECRET = b"a secret of thirty-two bytes len"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def opened(path: Path, now: float = NOW) -> Intake:
    return Intake(open_database(path), now)


def door(path: Path, epoch: int = 1) -> Door:
    return Door(opened(path), epoch=epoch, secret=SECRET)


def outcome(trace_id: str, status: str = "executed") -> Envelope:
    return Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, encode({"trace_id": trace_id, "status": status}))


def test_numbers_rise_whatever_the_clock_says(path: Path) -> None:
    intake = opened(path)
    first = intake.add("a", "S", b"", NOW).seq
    assert intake.add("b", "S", b"", NOW).seq == first + 1
    assert opened(path, NOW - 1000).add("c", "S", b"", NOW).seq == first + 2
    assert opened(path, NOW + 1000).add("d", "S", b"", NOW).seq > first + 1_000_000


def test_what_was_committed_is_unfinished_in_order_after_a_restart(path: Path) -> None:
    intake = opened(path)
    intake.begin()
    for trace_id in "abc":
        intake.add(trace_id, "S", trace_id.encode(), NOW)
    intake.commit()
    intake.begin()
    intake.add("lost", "S", b"", NOW)
    intake.connection.close()

    intake = opened(path)
    assert [(each.trace_id, each.payload, each.sent) for each in intake.unfinished()] == [
        ("a", b"a", 1),
        ("b", b"b", 1),
        ("c", b"c", 1),
    ]
    assert (intake.accepted, intake.completed) == (3, 0)
    assert intake.add("a", "S", b"", NOW) is None
    assert intake.add("lost", "S", b"", NOW) is not None


def test_an_outcome_is_kept_and_its_signal_is_no_longer_unfinished(path: Path) -> None:
    intake = opened(path)
    pending = intake.add("a", "S", b"", NOW)
    assert intake.outcome("a") is None
    intake.finish(pending, "executed", b"\x05")
    intake = opened(path)
    assert intake.outcome("a") == b"\x05"
    assert list(intake.unfinished()) == []
    assert (intake.accepted, intake.completed, intake.letters.open) == (1, 1, 0)


def test_strikes_outlive_the_process_and_make_a_dead_letter(path: Path) -> None:
    intake = opened(path)
    pending = intake.add("a", "S", b"", NOW)
    for strikes in range(1, STRIKES + 1):
        pending.strikes, pending.agent, pending.reason = strikes, "alpha", "boom"
        pending.expelled = strikes == STRIKES
        intake.struck(pending, NOW)
        (again,) = opened(path).unfinished()
        assert (again.strikes, again.agent, again.reason) == (strikes, "alpha", "boom")
        assert again.expelled == (strikes == STRIKES)
    intake = opened(path)
    (again,) = intake.unfinished()
    intake.finish(again, "failed", b"")
    (letter,) = intake.letters.list(limit=10)
    assert (letter.trace_id, letter.agent, letter.strikes, letter.died_at) == ("a", "alpha", STRIKES, NOW)
    assert opened(path).letters.open == 1


# The door


def test_nothing_is_sent_before_it_is_settled(path: Path) -> None:
    one = door(path)
    trace_id, status = one.take_in(SIGNAL, NOW)
    assert status == "accepted"
    assert one.dispatcher.due(0.0) == []
    assert one.is_unfinished(trace_id)
    assert opened(path).accepted == 0
    one.settle()
    assert [each.trace_id for each in one.dispatcher.due(0.0)] == [trace_id]
    assert opened(path).accepted == 1


def test_a_trace_id_is_accepted_once_in_a_round_after_it_and_after_a_restart(path: Path) -> None:
    one = door(path)
    signal = msgspec.structs.replace(SIGNAL, trace_id="0f8fad5b-d9cb-469f-a165-70867728950e")
    assert [one.take_in(signal, NOW)[1] for _ in range(2)] == ["accepted", "duplicate"]
    one.settle()
    assert one.take_in(signal, NOW)[1] == "duplicate"
    one.finish(outcome(signal.trace_id), NOW)
    one.settle()
    assert one.take_in(signal, NOW)[1] == "duplicate"
    one.settle()
    assert door(path).take_in(signal, NOW)[1] == "duplicate"


def test_a_signal_gets_the_time_of_its_acceptance_unless_it_has_one(path: Path) -> None:
    one = door(path)
    one.take_in(SIGNAL, NOW)
    one.take_in(msgspec.structs.replace(SIGNAL, ts=5.0), NOW)
    one.settle()
    times = [msgspec.msgpack.decode(each.payload, type=Signal).ts for each in one.dispatcher.due(0.0)]
    assert times == [NOW, 5.0]


def test_an_outcome_that_comes_again_changes_nothing(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    one.dispatcher.due(0.0)
    one.finish(outcome(trace_id), NOW)
    one.finish(outcome(trace_id, "denied"), NOW)
    assert [each.trace_id for each in one.settle()] == [trace_id]
    one.finish(outcome(trace_id, "denied"), NOW)
    one.finish(outcome("0f8fad5b-d9cb-469f-a165-70867728950e"), NOW)
    assert one.settle() == []
    written = one.intake.outcome(trace_id)
    assert written is not None
    assert msgspec.msgpack.decode(written)["status"] == "executed"


def test_the_bytes_that_wait_are_counted_until_their_outcome(path: Path) -> None:
    one = door(path)
    ids = [one.take_in(msgspec.structs.replace(SIGNAL, source="x" * 100), NOW)[0] for _ in range(3)]
    one.settle()
    whole = one.unfinished_bytes
    assert whole > 300
    assert (one.unfinished, door(path).unfinished_bytes) == (3, whole)
    for each in ids:
        one.finish(outcome(each), NOW)
    one.settle()
    assert (one.unfinished, one.unfinished_bytes) == (0, 0)


def death(trace_id: str) -> list[dict[str, Any]]:
    return [{"agent": "alpha", "trace_id": trace_id, "reason": "exit code 9"}]


def test_the_third_strike_expels_and_the_sixth_gives_up(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    told = [[each.trace_id for each in one.strike(death(trace_id), NOW)] for _ in range(2 * STRIKES - 1)]
    assert told == [[], [], [trace_id], [], []]
    assert one.settle() == []
    assert one.strike(death(trace_id), NOW) == []
    (finished,) = one.settle()
    given_up = msgspec.msgpack.decode(finished.outcome)
    assert (given_up["trace_id"], given_up["status"], given_up["ledger"]) == (trace_id, "failed", None)
    assert "alpha" in given_up["reason"]
    assert one.intake.letters.open == 1
    assert one.strike(death(trace_id), NOW) == []


def test_a_start_looks_only_at_what_is_younger_than_the_oldest_unfinished_one(path: Path) -> None:
    one = door(path)
    taken = [one.take_in(SIGNAL, NOW)[0] for _ in range(3)]
    one.settle()
    one.dispatcher.due(0.0)
    one.finish(outcome(taken[0]), NOW)
    one.settle()
    intake = opened(path)
    assert [each.trace_id for each in intake.unfinished()] == taken[1:]
    (below,) = intake.connection.execute("SELECT finished_below FROM progress").fetchone()
    assert below == next(iter(intake.unfinished())).seq


# Held


def hold(trace_id: str, *, epoch: int = 1, until: float = NOW + 60) -> Envelope:
    asked = Hold(until, "is this wise?", {"decision": {"approved": False}})
    spans = (Span("kyle", "1", 1, 2), Span("hrm", "1", 3, 4))
    return Envelope(HELD, trace_id, "AAPL", 1, epoch, 1, encode(asked), spans)


def holding(path: Path, number: int = 1, until: float = NOW + 60) -> tuple[Door, list[str]]:
    """A door with so many held signals, settled."""
    one = door(path)
    ids = [one.take_in(SIGNAL, NOW)[0] for _ in range(number)]
    one.settle()
    one.dispatcher.due(0.0)
    for age, each in enumerate(ids):
        assert one.hold(hold(each, until=until), NOW + age)
    one.settle()
    return one, ids


def due(one: Door) -> list[tuple[str, Ruling | None]]:
    return [(each.trace_id, each.ruling) for each in one.dispatcher.due(0.0)]


def approve(one: Door, trace_id: str, now: float = NOW + 5) -> Ruling | None:
    return one.rule(trace_id, approved=True, by="ada", reason="looked at it", now=now)


def test_a_held_signal_is_shown_as_its_agent_asked_and_is_not_sent_again(path: Path) -> None:
    one, ids = holding(path, 3)
    assert [each.trace_id for each in one.held] == ids
    held = one.held[0].held
    assert held is not None
    assert (held.agent, held.since, held.until, held.reason) == ("hrm", NOW, NOW + 60, "is this wise?")
    assert msgspec.msgpack.decode(held.details) == {"decision": {"approved": False}}
    one.dispatcher.raise_epoch(2)
    assert due(one) == []
    assert (one.unfinished, one.dispatcher.in_flight) == (3, 0)


def test_what_is_held_and_how_it_was_ruled_outlives_the_process(path: Path) -> None:
    one, ids = holding(path, 3)
    before = one.unfinished_bytes
    again = door(path, epoch=2)
    assert [each.held for each in again.held] == [each.held for each in one.held]
    assert again.unfinished_bytes == before
    assert due(again) == []
    assert approve(again, ids[1])
    again.settle()
    third = door(path, epoch=3)
    ((trace_id, ruling),) = due(third)
    assert trace_id == ids[1]
    assert ruling is not None
    verify_ruling(SECRET, trace_id, ruling)
    assert (ruling.approved, ruling.by, ruling.reason, ruling.at) == (True, "ada", "looked at it", NOW + 5)


def test_a_ruling_is_durable_before_it_is_settled_and_counts_once(path: Path) -> None:
    one, (trace_id,) = holding(path)
    assert approve(one, trace_id)
    assert opened(path).ruling(trace_id) is None
    assert approve(one, trace_id) is None
    one.settle()
    written = opened(path).ruling(trace_id)
    assert due(one) == [(trace_id, written)]
    one.dispatcher.raise_epoch(2)
    assert due(one) == [(trace_id, written)]
    assert one.hold(hold(trace_id, epoch=2), NOW) is None
    one.finish(outcome(trace_id), NOW)
    one.settle()
    assert opened(path).ruling(trace_id) == written


def test_a_word_of_an_older_epoch_parks_nothing_for_it_is_sent_again(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    one.dispatcher.due(0.0)
    one.dispatcher.raise_epoch(2)
    assert one.hold(hold(trace_id), NOW) is None
    assert due(one) == [(trace_id, None)]
    assert one.hold(hold(trace_id), NOW) is None
    assert one.hold(hold(trace_id, epoch=2), NOW)


def test_at_its_deadline_a_held_signal_is_refused_also_where_the_gateway_was_down(path: Path) -> None:
    one, ids = holding(path, 2)
    assert one.next_deadline == NOW + 60
    assert one.expire(NOW + 59.9) == []
    assert approve(one, ids[0])
    one.settle()
    assert approve(one, ids[1], now=NOW + 60) is None, "an answer that comes too late is none"
    again = door(path, epoch=2)  # the first one has died
    assert [each.trace_id for each in again.expire(NOW + 60)] == [ids[1]]
    assert again.expire(NOW + 61) == []
    again.settle()
    ruling = opened(path).ruling(ids[1])
    assert ruling is not None
    assert (ruling.approved, ruling.by, ruling.reason) == (False, DEADLINE, UNANSWERED)
    verify_ruling(SECRET, ids[1], ruling)
    assert [each for each, _ in due(again)] == ids


def test_a_held_signal_that_gets_an_outcome_all_the_same_has_ended(path: Path) -> None:
    one, (trace_id,) = holding(path)
    one.finish(outcome(trace_id), NOW)
    assert [each.trace_id for each in one.settle()] == [trace_id]
    assert one.held == []
    assert approve(one, trace_id) is None
    assert one.expire(NOW + 1e6) == []
    assert (one.unfinished, one.unfinished_bytes, one.dispatcher.in_flight) == (0, 0, 0)
    assert door(path).held == []


def test_a_held_signal_that_is_expelled_goes_as_a_letter_also_after_a_restart(path: Path) -> None:
    one, (trace_id,) = holding(path)
    for _ in range(STRIKES):
        one.strike(death(trace_id), NOW)
    one.settle()
    assert one.held == []
    assert approve(one, trace_id) is None
    assert [each.kind for each in one.dispatcher.due(0.0)] == [2]
    again = door(path, epoch=2)
    assert again.held == []
    assert [each.kind for each in again.dispatcher.due(0.0)] == [2]
    assert again.expire(NOW + 1e6) == []
    again.finish(outcome(trace_id, "failed"), NOW)
    again.settle()
    assert again.unfinished_bytes == 0


def test_a_journal_from_before_there_were_held_signals_is_read_as_ever(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    one.intake.connection.execute("DROP TABLE held")
    assert due(door(path)) == [(trace_id, None)]
