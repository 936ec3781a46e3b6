"""`ark.Client` against a real node: batches, waiting, and asking again when an answer does not come."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from ark import Client
from ark.errors import NodeError, RequestError
from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, free_ports, node

NARROW = """
[gateway]
backlog = 100
window = 10
"""


@pytest.fixture(scope="module")
def narrow() -> Iterator[Node]:
    """A node with room for a hundred signals."""
    with node(ECHO + NARROW) as one:
        yield one


@pytest.fixture
def client(narrow: Node) -> Iterator[Client]:
    with Client(narrow.gateway) as one:
        yield one


@pytest.fixture
def server() -> Iterator[tuple[str, zmq.Socket[bytes]]]:
    """A node that answers what the test says, if anything."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield f"tcp://127.0.0.1:{port}", socket


def test_a_signal_is_sent_and_its_outcome_read(client: Client) -> None:
    accepted = client.inject(SIGNAL)
    assert accepted["status"] == "accepted"
    assert client.outcome(accepted["trace_id"], timeout_s=5.0)["status"] == "executed"


def test_a_rejected_signal_is_a_result_and_no_exception(client: Client) -> None:
    rejected, accepted = client.inject_many([{**SIGNAL, "price": -1}, SIGNAL])
    assert (rejected["status"], rejected["error"]["field"]) == ("rejected", "price")
    assert accepted["status"] == "accepted"


def test_more_signals_than_the_node_has_room_for_go_in_as_room_comes(client: Client) -> None:
    ids = [str(uuid.uuid4()) for _ in range(1200)]
    results = client.inject_many([{**SIGNAL, "trace_id": each} for each in ids])
    assert [each["trace_id"] for each in results] == ids
    assert {each["status"] for each in results} <= {"accepted", "duplicate"}
    assert client.outcome(ids[-1], timeout_s=10.0)["status"] == "executed"


def test_signals_too_large_for_one_message_go_in_several(client: Client) -> None:
    many = [{**SIGNAL, "metadata": {"note": "x" * 50_000}}] * 60
    assert {each["status"] for each in client.inject_many(many)} == {"accepted"}


def test_one_signal_too_large_for_any_message_is_refused_at_once(client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(RequestError, match="bytes"):
        client.inject({**SIGNAL, "metadata": {"note": "x" * 2_000_000}})
    assert time.monotonic() - began < 1.0


def test_no_signals_are_no_request(client: Client) -> None:
    assert client.inject_many([]) == []


def test_a_refusal_is_an_error_with_code_and_field(client: Client) -> None:
    with pytest.raises(RequestError) as error:
        client.request("halt", reason="I may not")
    assert (error.value.code, error.value.field) == ("forbidden", "op")
    with pytest.raises(RequestError) as error:
        client.outcome("nothing")
    assert error.value.code == "unknown_trace"


def test_a_client_of_the_home_is_an_operator(narrow: Node) -> None:
    with Client.for_home(narrow.home.path) as client:
        assert client.request("halt", reason="I may")["halted"] is True
        assert client.request("resume", reason="I may")["halted"] is False


def test_outcomes_and_events_are_published_by_topic(narrow: Node) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    enough = threading.Event()

    def listen() -> None:
        with Client.for_home(narrow.home.path) as ears:
            for topic, content in ears.events(["outcome.MSFT", "event."], until=enough.is_set):
                heard.append((topic, content))
                if len(heard) >= 2 and {"outcome.MSFT", "event.halt"} <= {each for each, _ in heard}:
                    return

    ears = threading.Thread(target=listen)
    ears.start()
    with Client.for_home(narrow.home.path) as client:
        until = time.monotonic() + 10
        while ears.is_alive() and time.monotonic() < until:  # whoever subscribes late has missed what was before
            client.inject_many([SIGNAL, {**SIGNAL, "symbol": "MSFT"}])
            client.request("halt", reason="to be heard")
            ears.join(0.05)
        client.request("resume", reason="it was heard")
    enough.set()
    ears.join()
    assert {topic for topic, _ in heard} <= {"outcome.MSFT", "event.halt"}
    outcome = next(content for topic, content in heard if topic == "outcome.MSFT")
    assert (outcome["symbol"], outcome["status"]) == ("MSFT", "executed")


def test_a_client_outlives_the_death_of_the_gateway_and_nothing_is_sent_twice(narrow: Node) -> None:
    done = threading.Event()

    def kill() -> None:
        for _ in range(3):
            if done.wait(0.3):
                return
            os.kill(narrow.child("gateway")["pid"], signal.SIGKILL)

    before = narrow.status()["signals"]["accepted"]
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with Client(narrow.gateway, timeout_s=20.0) as client:
            ids = []
            while killer.is_alive():
                ids += [each["trace_id"] for each in client.inject_many([SIGNAL] * 20)]
            for each in ids:
                assert client.outcome(each, timeout_s=10.0)["status"] == "executed"
    finally:
        done.set()
        killer.join()
    assert narrow.status()["signals"]["accepted"] == before + len(ids) == before + len(set(ids))


# Without a node


def test_where_nobody_answers_the_client_says_so_in_time() -> None:
    with Client(f"tcp://127.0.0.1:{free_ports(1)[0]}", timeout_s=0.3) as client:
        began = time.monotonic()
        with pytest.raises(NodeError, match="no answer from"):
            client.status()
        assert time.monotonic() - began < 1.0


def test_where_no_node_runs_a_home_has_no_client(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no node runs over"):
        Client.for_home(tmp_path)


def test_a_request_without_an_answer_is_asked_again_with_the_same_trace_id(
    server: tuple[str, zmq.Socket[bytes]],
) -> None:
    endpoint, socket = server
    asked: list[dict[str, Any]] = []

    def answer_the_second() -> None:
        for number in range(2):
            who, frame = socket.recv_multipart()
            request = msgpack.unpackb(frame)
            asked.append(request)
            if number:
                results = [{"trace_id": each["trace_id"], "status": "duplicate"} for each in request["signals"]]
                socket.send_multipart(
                    [who, msgpack.packb({"v": 1, "id": request["id"], "ok": True, "results": results})]
                )

    node_ = threading.Thread(target=answer_the_second)
    node_.start()
    with Client(endpoint, timeout_s=10.0) as client:
        assert client.inject(SIGNAL)["status"] == "duplicate"
    node_.join()
    assert asked[0] == asked[1]
    assert asked[0]["signals"][0]["trace_id"]


def test_an_answer_to_an_earlier_question_is_not_taken_for_this_one(server: tuple[str, zmq.Socket[bytes]]) -> None:
    endpoint, socket = server

    def answer() -> None:
        who, frame = socket.recv_multipart()
        id_ = msgpack.unpackb(frame)["id"]
        for each in (id_ - 1, None, "x", id_):
            socket.send_multipart([who, msgpack.packb({"v": 1, "id": each, "ok": True, "said": each})])

    node_ = threading.Thread(target=answer)
    node_.start()
    with Client(endpoint, timeout_s=5.0) as client:
        assert client.request("status")["said"] == 1
    node_.join()


def test_a_node_that_is_busy_for_good_is_an_error_in_the_end(server: tuple[str, zmq.Socket[bytes]]) -> None:
    endpoint, socket = server
    enough = threading.Event()

    def always_busy() -> None:
        while not enough.is_set():
            if socket.poll(20):
                who, frame = socket.recv_multipart()
                error = {"code": "busy", "message": "no room", "field": None}
                reply = {"v": 1, "id": msgpack.unpackb(frame)["id"], "ok": False, "error": error}
                socket.send_multipart([who, msgpack.packb({**reply, "retry_after_ms": 50})])

    node_ = threading.Thread(target=always_busy)
    node_.start()
    with Client(endpoint, timeout_s=0.4) as client, pytest.raises(RequestError) as error:
        client.inject(SIGNAL)
    enough.set()
    node_.join()
    assert error.value.code == "busy"
