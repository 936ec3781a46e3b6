"""Where signals come in: all that may be said to `inject`, without a socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark import protocol, signal_desk
from ark.door import Door
from ark.errors import RequestError
from ark.protocol import Code, Request
from ark.signal_desk import SignalDesk
from tests.ark.doors import NOW, accept, asking, end, open_door, packed

SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 1.0}


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return open_door(tmp_path)


def desk(door: Door, *, backlog: int = 100, symbols: tuple[str, ...] = ()) -> SignalDesk:
    return SignalDesk(door, backlog=backlog, symbols=symbols, clock=lambda: NOW)


def one(**fields: Any) -> Request:
    return Request("inject", signal=packed({**SIGNAL, **fields}))


def several(*signals: Any) -> Request:
    return Request("inject", signals=[packed(each) for each in signals])


def test_a_signal_is_taken_in_and_stamped_and_nothing_is_sent_before_the_door_has_settled(door: Door) -> None:
    answer = desk(door).answer(one())
    assert (answer["ok"], answer["status"]) == (True, "accepted")
    assert door.dispatcher.due(0.0) == []
    door.settle()
    (envelope,) = door.dispatcher.due(0.0)
    assert envelope.trace_id == answer["trace_id"]
    assert msgspec.msgpack.decode(envelope.payload)["ts"] == NOW


def test_what_comes_twice_is_a_duplicate_and_unknown_keys_are_named(door: Door) -> None:
    first = desk(door).answer(one(shoe_size=43))
    assert first["ignored"] == ["shoe_size"]
    again = desk(door).answer(one(trace_id=first["trace_id"]))
    assert again == {"ok": True, "trace_id": first["trace_id"], "status": "duplicate"}


def test_of_several_the_wrong_ones_are_rejected_and_the_others_accepted_in_order(door: Door) -> None:
    results = desk(door).answer(several(SIGNAL, {**SIGNAL, "price": "much"}, 7, SIGNAL))["results"]
    assert [each["status"] for each in results] == ["accepted", "rejected", "rejected", "accepted"]
    assert results[1]["error"]["field"] == "price"
    assert door.unfinished == 2


def test_a_single_wrong_signal_makes_a_reply_that_says_no(door: Door) -> None:
    answer = desk(door).answer(one(symbol=""))
    assert (answer["ok"], answer["status"], answer["error"]["code"]) == (False, "rejected", Code.INVALID)


def test_a_symbol_that_the_node_does_not_take_is_rejected_with_the_nearest_one(door: Door) -> None:
    error = desk(door, symbols=("AAPL", "MSFT")).answer(one(symbol="AAPLE"))["error"]
    assert error["field"] == "symbol"
    assert error["message"] == "unknown symbol 'AAPLE'; did you mean 'AAPL'?"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request("inject"), "signal"),
        (Request("inject", signal=packed(SIGNAL), signals=[packed(SIGNAL)]), "signals"),
        (several(*[SIGNAL] * 4), "signals"),
    ],
    ids=["neither", "both", "more than may ever wait"],
)
def test_a_request_that_is_wrong_as_a_whole_takes_nothing(door: Door, request_: Request, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        desk(door, backlog=3).answer(request_)
    assert (caught.value.code, caught.value.field) == (Code.INVALID, field)
    assert door.unfinished == 0


def test_the_last_place_is_given_and_then_all_of_a_request_waits(door: Door) -> None:
    full = desk(door, backlog=2)
    first = accept(door)
    busy = full.answer(several(SIGNAL, SIGNAL))
    assert busy == protocol.busy("2 signals may wait for their outcome")
    assert busy["error"]["message"] == "2 signals may wait for their outcome; try again later"
    assert full.answer(one())["status"] == "accepted"
    assert full.answer(one()) == busy, "what this round took counts already"
    door.settle()
    end(door, first)
    assert full.full(1) == ""


def test_bytes_that_wait_are_bounded_beside_their_number(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_desk, "_BACKLOG_BYTES", 1 << 20)
    big = {**SIGNAL, "metadata": {"note": "x" * 60_000}}
    assert len(desk(door).answer(several(*[big] * 18))["results"]) == 18
    assert desk(door).full(1) == "1 MiB of signals may wait for their outcome"


def test_counts_tell_what_is_held_apart_from_what_is_in_flight(door: Door) -> None:
    held, ended, _ = (accept(door) for _ in range(3))
    door.hold(asking(held), NOW)
    end(door, ended)
    counts = desk(door).counts
    assert (counts.accepted, counts.in_flight, counts.completed, counts.held) == (3, 1, 1, 1)
    assert (counts.dead_letters, counts.dead_letters_ever) == (0, 0)
