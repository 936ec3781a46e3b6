"""The gateway's journal and the door around it: accepted is durable, finished is final, strikes are remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.delivery import STRIKES
from ark.door import Door
from ark.intake import Intake
from ark.journal import open_database
from ark.message import OUTCOME, Envelope, encode
from ark.signal import Signal

NOW = 1_700_000_000.0
SIGNAL = Signal(symbol="AAPL", direction="long", price=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def opened(path: Path, now: float = NOW) -> Intake:
    return Intake(open_database(path), now)


def door(path: Path, epoch: int = 1) -> Door:
    return Door(opened(path), epoch=epoch)


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
    assert (intake.accepted, intake.completed, intake.dead_letters) == (1, 1, 0)


def test_strikes_outlive_the_process_and_make_a_dead_letter(path: Path) -> None:
    intake = opened(path)
    pending = intake.add("a", "S", b"", NOW)
    for strikes in range(1, STRIKES + 1):
        pending.strikes, pending.agent, pending.reason = strikes, "alpha", "boom"
        intake.struck(pending)
        (again,) = opened(path).unfinished()
        assert (again.strikes, again.agent, again.reason) == (strikes, "alpha", "boom")
        assert again.expelled == (strikes == STRIKES)
    intake = opened(path)
    (again,) = intake.unfinished()
    intake.finish(again, "failed", b"")
    (letter,) = intake.dead()
    assert (letter["trace_id"], letter["agent"], letter["strikes"]) == ("a", "alpha", STRIKES)
    assert opened(path).dead_letters == 1


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
    one.finish(outcome(signal.trace_id))
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
    one.finish(outcome(trace_id))
    one.finish(outcome(trace_id, "denied"))
    assert [each.trace_id for each in one.settle()] == [trace_id]
    one.finish(outcome(trace_id, "denied"))
    one.finish(outcome("0f8fad5b-d9cb-469f-a165-70867728950e"))
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
        one.finish(outcome(each))
    one.settle()
    assert (one.unfinished, one.unfinished_bytes) == (0, 0)


def death(trace_id: str) -> list[dict[str, Any]]:
    return [{"agent": "alpha", "trace_id": trace_id, "reason": "exit code 9"}]


def test_the_third_strike_expels_and_the_sixth_gives_up(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    told = [[each.trace_id for each in one.strike(death(trace_id))] for _ in range(2 * STRIKES - 1)]
    assert told == [[], [], [trace_id], [], []]
    assert one.settle() == []
    assert one.strike(death(trace_id)) == []
    (finished,) = one.settle()
    given_up = msgspec.msgpack.decode(finished.outcome)
    assert (given_up["trace_id"], given_up["status"], given_up["ledger"]) == (trace_id, "failed", None)
    assert "alpha" in given_up["reason"]
    assert one.intake.dead_letters == 1
    assert one.strike(death(trace_id)) == []


def test_a_start_looks_only_at_what_is_younger_than_the_oldest_unfinished_one(path: Path) -> None:
    one = door(path)
    taken = [one.take_in(SIGNAL, NOW)[0] for _ in range(3)]
    one.settle()
    one.dispatcher.due(0.0)
    one.finish(outcome(taken[0]))
    one.settle()
    intake = opened(path)
    assert [each.trace_id for each in intake.unfinished()] == taken[1:]
    (below,) = intake.connection.execute("SELECT finished_below FROM progress").fetchone()
    assert below == next(iter(intake.unfinished())).seq
