"""Bad input at the front door: a clear reply that names the field, bounded memory, the pipeline undisturbed."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec
import psutil
import pytest
import zmq

from ark import message
from ark.blackbox import read
from tests.ark.wire_client import SIGNAL, Wire
from tests.node import ECHO, Node, node, wait_until

NAN, INFINITY = float("nan"), float("inf")
MIB = 1 << 20

LISTED = """
[gateway]
symbols = ["AAPL", "MSFT", "BRK.B", "ES=F"]
"""
HELD = "0f8fad5b-d9cb-469f-a165-70867728950e"
NARROW = """
[gateway]
backlog = 3
"""


@pytest.fixture(scope="module")
def listed() -> Iterator[Node]:
    """A node that knows four symbols."""
    with node(ECHO + LISTED) as one:
        yield one


@pytest.fixture(scope="module")
def narrow() -> Iterator[Node]:
    """A node with room for three signals whose last agent is isolated: nothing gets an outcome."""
    with node(ECHO + NARROW) as one:
        with one.client() as operator:
            operator.request("isolate", agent="omega", reason="to hold signals back")
            operator.inject({**SIGNAL, "trace_id": HELD})
        yield one


@pytest.fixture
def door(listed: Node) -> Iterator[Wire]:
    """A connection; afterwards a good signal must pass as if nothing had been, and no process may have died."""
    before = restarts(listed)
    with Wire(listed.gateway) as wire:
        yield wire
    with Wire(listed.gateway) as fresh:
        accepted = fresh.inject()
        assert accepted["status"] == "accepted", accepted
        assert fresh.outcome(accepted["trace_id"])["status"] == "executed"
    assert restarts(listed) == before


def restarts(one: Node) -> dict[str, int]:
    return {child["name"]: child["restarts"] for child in one.status()["children"]}


def gateway_memory(one: Node) -> int:
    return int(psutil.Process(one.child("gateway")["pid"]).memory_info().rss)


def asked(one: Node) -> int:
    """How many messages the gateway has handled."""
    box = read(one.home.box("gateway"))
    assert box is not None
    return box.handled


def nested(levels: int) -> bytes:
    return b"\x91" * levels + b"\xc0"


def packed_map(**values: bytes) -> bytes:
    """A msgpack map whose values are packed already."""
    return bytes([0x80 + len(values)]) + b"".join(msgpack.packb(key) + value for key, value in values.items())


# Who may talk, and how


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.REQ])
def test_any_zeromq_client_with_msgpack_can_inject_and_read_the_outcome(kind: int, listed: Node) -> None:
    with Wire(listed.gateway, kind) as wire:
        accepted = wire.inject()
        assert accepted["v"] == 1
        assert accepted["id"] == 7
        assert accepted["ok"] is True
        assert accepted["status"] == "accepted"
        outcome = wire.outcome(accepted["trace_id"])
        assert outcome["trace_id"] == accepted["trace_id"]
        assert outcome["status"] == "executed"


def test_one_connection_may_ask_many_things_before_it_reads(door: Wire) -> None:
    for number in range(200):
        door.socket.send(msgpack.packb({"v": 1, "op": "inject", "id": number, "signal": SIGNAL}))
    assert [door.receive()["id"] for _ in range(200)] == list(range(200))


@pytest.mark.parametrize("id_", [None, 0, -1, 2**63, "text", b"bytes", [1, [2]], {"a": {"b": 1}}, 1.5])
def test_a_reply_carries_the_id_of_its_request_whatever_it_is(id_: Any, door: Wire) -> None:
    assert door.say(msgpack.packb({"op": "status", "id": id_}))["id"] == id_
    assert door.say(msgpack.packb({"op": "nonsense", "id": id_}))["id"] == id_


def test_the_version_may_be_left_out(door: Wire) -> None:
    assert door.say(msgpack.packb({"op": "status"}))["ok"] is True


@pytest.mark.parametrize("op", ["isolate", "release", "restart", "halt", "resume", "held", "approve", "refuse"])
def test_operators_requests_are_forbidden_at_the_public_door(op: str, door: Wire) -> None:
    error = door.ask(op, agent="alpha", reason="because")["error"]
    assert (error["code"], error["field"]) == ("forbidden", "op")
    assert door.ask("status")["halted"] is False


# What is no request


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xfe\x00garbage",
        b'{"op": "status"}',
        b"\xc1",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\x01",
        msgpack.packb([1, 2]),
        msgpack.packb("inject"),
        msgpack.packb(None),
        msgpack.packb({"op": "status"}) * 2,
        msgpack.packb({"op": "status"})[:-1],
        b"\x82\xa2op\xa6status\xa6reason\xa2\xff\xfe",
    ],
    ids=[
        "empty",
        "garbage",
        "json",
        "reserved",
        "map bomb",
        "list bomb",
        "list",
        "text",
        "nil",
        "two",
        "cut",
        "no utf-8",
    ],
)
def test_what_is_not_one_msgpack_map_is_called_malformed(frame: bytes, door: Wire) -> None:
    reply = door.say(frame)
    assert reply["ok"] is False
    assert reply["error"]["code"] == "malformed"
    assert reply["id"] is None


def test_a_request_of_several_frames_is_malformed(door: Wire) -> None:
    door.socket.send_multipart([b"one", b"two", msgpack.packb({"op": "status"})])
    assert door.receive()["error"]["code"] == "malformed"


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({}, "invalid", "op"),
        ({"op": 5}, "invalid", "op"),
        ({"op": None}, "invalid", "op"),
        ({"op": "status", "v": 2}, "unsupported_version", "v"),
        ({"op": "status", "v": "1"}, "invalid", "v"),
        ({"op": "inject"}, "invalid", "signal"),
        ({"op": "inject", "signals": []}, "invalid", "signal"),
        ({"op": "inject", "signals": {}}, "invalid", "signals"),
        ({"op": "inject", "signals": "text"}, "invalid", "signals"),
        ({"op": "inject", "signals": [SIGNAL], "signal": SIGNAL}, "invalid", "signals"),
        ({"op": "inject", "signals": [{}] * 10_001}, "invalid", "signals"),
        ({"op": "outcome"}, "invalid", "trace_id"),
        ({"op": "outcome", "trace_id": 5}, "invalid", "trace_id"),
        ({"op": "outcome", "trace_id": "x" * 65}, "invalid", "trace_id"),
        ({"op": "outcome", "trace_id": "x"}, "unknown_trace", "trace_id"),
        ({"op": "outcome", "trace_id": "x", "timeout_ms": -1}, "invalid", "timeout_ms"),
        ({"op": "outcome", "trace_id": "x", "timeout_ms": NAN}, "invalid", "timeout_ms"),
        ({"op": "outcome", "trace_id": "x", "timeout_ms": INFINITY}, "invalid", "timeout_ms"),
        ({"op": "outcome", "trace_id": "x", "timeout_ms": 1e308}, "invalid", "timeout_ms"),
        ({"op": "outcome", "trace_id": "x", "timeout_ms": "1"}, "invalid", "timeout_ms"),
        ({"op": "status", "id": "x" * 2000}, "invalid", "id"),
        ({"op": "status", "reason": "x" * 501}, "invalid", "reason"),
    ],
)
def test_an_error_names_the_field_of_the_request(
    request_: dict[str, Any], code: str, field: str, door: Wire
) -> None:
    reply = door.say(msgpack.packb(request_))
    assert reply["ok"] is False
    assert (reply["error"]["code"], reply["error"]["field"]) == (code, field)
    assert reply["error"]["message"]


@pytest.mark.parametrize(("op", "near"), [("injekt", "inject"), ("STATUS", None), ("outcomes", "outcome")])
def test_an_unknown_op_is_answered_with_the_nearest_known_one(op: str, near: str | None, door: Wire) -> None:
    error = door.ask(op)["error"]
    assert (error["code"], error["field"]) == ("unknown_op", "op")
    assert near is None or f"did you mean {near!r}" in error["message"]


def test_an_id_that_is_no_text_though_it_says_so_is_not_echoed(door: Wire) -> None:
    reply = door.say(b"\x82\xa2op\xa6status\xa2id\xa2\xff\xfe")
    assert reply["id"] is None
    assert reply["error"]["field"] == "id"


# Size and depth


def test_a_message_beyond_a_mebibyte_ends_its_connection_and_nothing_else(door: Wire) -> None:
    door.socket.send(msgpack.packb({"op": "status", "pad": b"x" * 10 * MIB}))
    assert not door.socket.poll(300)
    assert door.ask("status")["ok"] is True  # on a new connection, which ZeroMQ makes by itself


def test_a_message_of_just_a_mebibyte_is_read(door: Wire) -> None:
    frame = msgpack.packb({"op": "status", "pad": b""})
    pad = MIB - len(frame) - 3
    frame = msgpack.packb({"op": "status", "pad": b"x" * pad})
    assert len(frame) == MIB
    assert door.say(frame)["ok"] is True


def test_a_signal_larger_than_the_pipeline_carries_is_refused(door: Wire) -> None:
    reply = door.inject(metadata={"note": "x" * 70_000})
    assert reply["status"] == "rejected"
    assert reply["error"]["field"] == "signal"
    assert door.inject(metadata={"note": "x" * 25_000})["status"] == "accepted"


@pytest.mark.parametrize("levels", [10_000, 900, 40])
@pytest.mark.parametrize("place", ["request", "id", "signal", "features", "metadata"])
def test_deep_nesting_is_refused_wherever_it_is(levels: int, place: str, door: Wire) -> None:
    deep = nested(levels)
    least = {key: msgpack.packb(value) for key, value in SIGNAL.items()}
    inject = {"op": msgpack.packb("inject"), "signal": msgpack.packb(SIGNAL)}
    frame = {
        "request": deep,
        "id": packed_map(op=msgpack.packb("status"), id=deep),
        "signal": packed_map(**inject | {"signal": deep}),
        "features": packed_map(**inject | {"signal": packed_map(**least, features=packed_map(x=deep))}),
        "metadata": packed_map(**inject | {"signal": packed_map(**least, metadata=packed_map(x=deep))}),
    }[place]
    reply = door.say(frame)
    assert reply["ok"] is False
    assert reply["error"]["code"] in ("malformed", "invalid")


def test_nesting_that_a_sender_may_want_passes(door: Wire) -> None:
    accepted = door.inject(
        metadata={"a": {"b": [{"c": [[1, 2], [3]]}]}},
        features={"depth": {"bids": [[1.0, 2.0]]}},
    )
    assert door.outcome(accepted["trace_id"])["status"] == "executed"


# Fields of a signal


@pytest.mark.parametrize("field", ["price", "quantity", "position_size_pct", "leverage", "stop_loss", "target"])
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY, 1e308, -1, 0, "190", True, b"1", [1], {}, 2**64 - 1])
def test_a_number_that_is_none_or_none_of_a_market_is_refused(field: str, value: Any, door: Wire) -> None:
    reply = door.inject(**{field: value})
    assert reply["ok"] is False
    assert reply["status"] == "rejected"
    assert reply["error"]["code"] == "invalid"
    assert reply["error"]["field"] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("symbol", each) for each in ("", " ", "A" * 33, "-AAPL", "AAPL\n", "AA PL", "AAPL\0", 5, None, b"AAPL")),
        *(
            ("symbol", each)
            for each in ("aapl", "Aapl", "\uff21APL", "\u0410APL", "AAPL\u200b", "\u00c4APL", "AAP\u013f")
        ),
        *(("direction", each) for each in ("up", "LONG", "", None, 1, "x" * 5000)),
        *(("action", each) for each in ("buy", "TRADE", "", None, 5, "x" * 5000)),
        *(("ts", each) for each in (NAN, INFINITY, -1.0, 1e300, "now")),
        *(("source", each) for each in ("x" * 129, 5, None)),
        *(("features", each) for each in ([1], "x", None, {1: 2})),
        *(("metadata", each) for each in ([1], "x", None, {1: 2})),
        *(("trace_id", each) for each in ("x", 5, None, "0F8FAD5B-D9CB-469F-A165-70867728950E", "0" * 36)),
        ("trace_id", "0f8fad5b-d9cb-469f-a165-70867728950e\n"),
        ("risk_reward_ratio", NAN),
        ("price", None),
        ("leverage", 1e7),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: Any, door: Wire) -> None:
    reply = door.inject(**{field: value})
    assert (reply["ok"], reply["status"], reply["trace_id"]) == (False, "rejected", None)
    assert reply["error"]["field"] == field
    assert len(reply["error"]["message"]) < 1000


def test_a_rejected_signal_is_named_by_its_own_trace_id(door: Wire) -> None:
    own = str(uuid.uuid4())
    assert door.inject(trace_id=own, price=-1.0)["trace_id"] == own


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"features": {"short_interest": NAN}}, "features.short_interest"),
        ({"features": {"bar": {"close": INFINITY}}}, "features.bar.close"),
        ({"features": {"levels": [1.0, [2.0, -INFINITY]]}}, "features.levels.1.1"),
        ({"metadata": {"score": NAN}}, "metadata.score"),
    ],
)
def test_a_number_that_is_not_finite_is_found_inside_maps_too(
    changes: dict[str, Any], field: str, door: Wire
) -> None:
    reply = door.inject(**changes)
    assert reply["status"] == "rejected"
    assert reply["error"]["field"] == field


@pytest.mark.parametrize("field", ["symbol", "direction", "price"])
def test_a_missing_field_is_named(field: str, door: Wire) -> None:
    reply = door.ask("inject", signal={key: value for key, value in SIGNAL.items() if key != field})
    assert reply["error"] == {"code": "invalid", "message": f"`{field}` is missing", "field": field}


def test_a_signal_with_text_that_is_no_utf_8_is_rejected(door: Wire) -> None:
    signal = packed_map(symbol=b"\xa2\xff\xfe", direction=msgpack.packb("long"), price=msgpack.packb(1.0))
    reply = door.say(packed_map(op=msgpack.packb("inject"), signal=signal))
    assert (reply["status"], reply["error"]["code"]) == ("rejected", "malformed")


@pytest.mark.parametrize("signal", [None, 1, "AAPL", [], [SIGNAL], b"x"])
def test_what_is_no_map_is_no_signal(signal: Any, door: Wire) -> None:
    for reply in (door.ask("inject", signal=signal), door.ask("inject", signals=[signal])["results"][0]):
        assert reply["status"] == "rejected"
        assert reply["error"]["field"] == "signal"


def test_unknown_keys_are_left_out_and_reported(door: Wire) -> None:
    reply = door.inject(colour="red", prise=5.0)
    assert reply["status"] == "accepted"
    assert reply["ignored"] == ["colour", "prise"]
    assert "ignored" not in door.inject()


def test_an_unknown_symbol_is_refused_with_the_nearest_known_one(door: Wire) -> None:
    reply = door.inject(symbol="BRK.A")
    assert reply["error"]["field"] == "symbol"
    assert "did you mean 'BRK.B'" in reply["error"]["message"]
    assert door.inject(symbol="BRK.B")["status"] == "accepted"


def test_good_and_bad_signals_of_one_request_are_judged_one_by_one(door: Wire) -> None:
    reply = door.ask("inject", signals=[SIGNAL, {**SIGNAL, "price": NAN}, 5, SIGNAL])
    assert reply["ok"] is True
    assert [each["status"] for each in reply["results"]] == ["accepted", "rejected", "rejected", "accepted"]
    for each in (reply["results"][0], reply["results"][3]):
        assert door.outcome(each["trace_id"])["status"] == "executed"


def test_a_trace_id_counts_once_in_a_request_and_for_ever(door: Wire, listed: Node) -> None:
    trace_id = str(uuid.uuid4())
    same = {**SIGNAL, "trace_id": trace_id}
    results = door.ask("inject", signals=[same, {**same, "price": 5.0}, same])["results"]
    assert [each["status"] for each in results] == ["accepted", "duplicate", "duplicate"]
    outcome = door.outcome(trace_id)
    again = door.ask("inject", signal=same)
    assert (again["ok"], again["status"], again["trace_id"]) == (True, "duplicate", trace_id)
    assert door.outcome(trace_id) == outcome


# Outcomes


def test_an_outcome_can_be_read_again_and_again(door: Wire) -> None:
    trace_id = door.inject()["trace_id"]
    first = door.outcome(trace_id)
    assert door.outcome(trace_id, timeout_ms=0) == first
    assert [each["agent"] for each in (first.get("spans") or [])] in ([], ["alpha", "beta", "omega"])


def test_a_waiting_signal_is_pending_and_a_question_waits_as_long_as_it_says(narrow: Node) -> None:
    with Wire(narrow.gateway) as wire:
        error = wire.ask("outcome", trace_id=HELD)["error"]
        assert (error["code"], error["field"]) == ("pending", "trace_id")
        began = time.monotonic()
        error = wire.ask("outcome", trace_id=HELD, timeout_ms=300)["error"]
        assert error["code"] == "pending"
        assert 0.25 < time.monotonic() - began < 2.0


def test_at_the_bound_the_door_is_busy_and_says_when_to_come_again(narrow: Node) -> None:
    with Wire(narrow.gateway) as wire:
        taken = [wire.inject()["ok"] for _ in range(4)]
        assert taken[-1] is False
        reply = wire.inject()
        assert reply["error"]["code"] == "busy"
        assert reply["retry_after_ms"] > 0
        assert wire.ask("inject", signals=[SIGNAL] * 2)["error"]["code"] == "busy"
        assert wire.ask("inject", signals=[SIGNAL] * 4)["error"]["field"] == "signals"  # would be busy for ever
        assert wire.ask("status")["signals"]["in_flight"] == 3


def test_waiting_questions_are_bounded(narrow: Node) -> None:
    with Wire(narrow.gateway, SNDHWM=0, RCVHWM=0) as wire:
        frame = msgpack.packb({"op": "outcome", "trace_id": HELD, "timeout_ms": 5_000})
        for _ in range(10_001):
            wire.socket.send(frame)
        assert wire.receive()["error"]["code"] == "busy"
        assert (
            wire.receive()["error"]["code"] == "pending"
        )  # when their time is up; who reads too slowly loses some

    def has_room() -> bool:
        with Wire(narrow.gateway) as other:
            return bool(other.ask("outcome", trace_id=HELD, timeout_ms=1)["error"]["code"] == "pending")

    wait_until(has_room, "there is room for questions again")


# Clients that misbehave


def test_a_client_that_never_reads_costs_bounded_memory(door: Wire, listed: Node) -> None:
    door.ask("status")
    before, handled = gateway_memory(listed), asked(listed)
    frame = msgpack.packb({"op": "nonsense", "id": "x" * 900})
    with Wire(listed.gateway, RCVHWM=1, RCVBUF=4096, SNDHWM=0) as deaf:
        for _ in range(25_000):
            deaf.socket.send(frame)
        assert door.inject()["status"] == "accepted"  # in its turn, among those of the other
        wait_until(lambda: asked(listed) >= handled + 25_000, "every request is handled", within_s=60.0)
        assert gateway_memory(listed) - before < 12 * MIB


def test_a_client_that_floods_starves_nobody(door: Wire, listed: Node) -> None:
    before = gateway_memory(listed)
    stop = threading.Event()

    def flood() -> None:
        kilobytes = b"\x92" + b"\xff" * 500_000
        many = msgpack.packb({"op": "inject", "signals": [1] * 1000})
        with Wire(listed.gateway, SNDHWM=100, RCVHWM=1) as wire:
            while not stop.is_set():
                for frame in (kilobytes, many):
                    try:
                        wire.socket.send(frame, zmq.NOBLOCK)
                    except zmq.Again:
                        time.sleep(0.001)

    floods = [threading.Thread(target=flood) for _ in range(2)]
    for each in floods:
        each.start()
    try:
        slowest, most = 0.0, 0
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            began = time.monotonic()
            accepted = door.inject()
            assert door.outcome(accepted["trace_id"])["status"] == "executed"
            slowest = max(slowest, time.monotonic() - began)
            most = max(most, gateway_memory(listed))
    finally:
        stop.set()
        for each in floods:
            each.join()
    assert slowest < 2.0
    assert most - before < 150 * MIB


@pytest.mark.parametrize("kind", [message.OUTCOME, message.HELD, message.EVENT, message.REPLY])
def test_what_a_process_of_the_node_sends_and_nobody_can_read_is_counted_and_dropped(
    listed: Node, door: Wire, kind: int
) -> None:
    before = listed.status()["refused"]
    frames = [b"\xff" * 9, message.pack([message.Envelope(kind, "t", "A", 1, 1, 1, msgspec.Raw(b"\xa1\xff"))])]
    with zmq.Context() as context, context.socket(zmq.PUSH) as inside:
        inside.setsockopt(zmq.LINGER, 5_000)
        inside.connect(listed.home.mailbox("gateway"))
        for frame in frames:
            inside.send(frame)
        wait_until(lambda: listed.status()["refused"] == before + len(frames), "both are counted")
    log = listed.home.logs / "supervision.log"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(each["event"] == "refused" and each["why"] == "unreadable" and each["reason"] for each in lines)
