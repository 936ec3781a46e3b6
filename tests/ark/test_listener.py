"""What the HTTP server bears of its clients, and for how long."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from ark.errors import NodeError
from ark.listener import Limits, open_socket
from tests.ark.web_server import ask, serving
from tests.node import free_ports, wait_until

LIMITS = Limits(connections=3, request_s=0.2, taking_s=0.2, idle_s=30)
LARGE = 64 << 20
"""Bytes: more than lies between two sockets."""


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """A small answer, or at /large one that nobody has room for, or at /slow one that comes late."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(LARGE >> 16 if scope["path"] == "/large" else 1):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(answer, LIMITS) as address:
        yield address


@pytest.fixture
def line(server: str) -> Iterator[socket.socket]:
    with connect(server) as connected:
        yield connected


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def is_cut_off(line: socket.socket) -> bool:
    """Whether the server ends a connection; waits for it."""
    try:
        while line.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx",
    ],
)
def test_who_does_not_come_to_the_end_of_a_request_is_cut_off(said: bytes, line: socket.socket) -> None:
    line.sendall(said)

    assert is_cut_off(line)


def test_who_sends_a_byte_now_and_then_gets_no_more_time(line: socket.socket) -> None:
    began = time.monotonic()

    def is_over() -> bool:
        try:
            line.sendall(b"G")
        except OSError:
            return True
        return False

    wait_until(is_over, "it is cut off", within_s=5)
    assert time.monotonic() - began < 2


def test_the_second_request_of_a_connection_has_the_same_limit(line: socket.socket) -> None:
    line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.recv(1 << 16).startswith(b"HTTP/1.1 200")
    line.sendall(b"GET / HT")

    assert is_cut_off(line)


def test_a_connection_that_asks_now_and_then_stays(line: socket.socket) -> None:
    for _ in range(2):
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += line.recv(1 << 16)
        line.settimeout(2 * LIMITS.request_s)
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(5)


def test_an_answer_may_take_longer_than_a_request(server: str) -> None:
    assert ask(server, "/slow").status == 200


def test_who_takes_nothing_of_his_answer_is_cut_off(line: socket.socket) -> None:
    line.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    ended = select.poll()
    ended.register(line, 0)  # the end of the connection alone; what there is to read is left there

    assert ended.poll(5000)


def test_one_connection_too_many_is_told_to_come_again(server: str) -> None:
    held = [connect(server) for _ in range(LIMITS.connections)]
    try:
        for each in held:
            each.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        with connect(server) as extra:
            assert extra.recv(1 << 16).startswith(b"HTTP/1.1 503")
    finally:
        for each in held:
            each.close()
    wait_until(lambda: ask(server, "/").status == 200, "there is room again")


def test_what_is_no_request_is_refused_in_json(line: socket.socket) -> None:
    line.sendall(b"\0\1\2\r\n\r\n")

    answered = line.recv(1 << 16)
    assert answered.startswith(b"HTTP/1.1 400")
    assert b"application/json" in answered


def test_a_port_that_another_has_is_named_with_what_to_do() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with open_socket(address), pytest.raises(NodeError, match=f"cannot listen on {address}.*--metrics"):
        open_socket(address)


def test_a_port_can_be_had_again_while_connections_to_the_one_before_are_closing() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with open_socket(address) as first:
        first.setblocking(True)
        client = connect(address)
        served, _ = first.accept()
        served.close()  # ours is closed first: the port is in TIME_WAIT
        assert client.recv(1) == b""
        client.close()

    open_socket(address).close()
