"""The gatekeeper over real sockets: how many strangers may hold a connection."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from ark.gatekeeper import Gatekeeper
from ark.home import Home
from ark.key_book import KeyBook
from ark.key_file import read_key_file
from ark.keys import Refusal
from ark.protocol import Role
from ark.wire import bind
from tests.node import wait_until

MOST = 8


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


class Door:
    """One guarded socket, and what its gatekeeper said."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], home: Home) -> None:
        self.refused: list[Refusal] = []
        self.gate = Gatekeeper(context, KeyBook(home), self.refused.append, most=MOST)
        guard = self.gate.guard("gateway")
        self.socket = bind(
            context, zmq.ROUTER, "tcp://127.0.0.1:*", largest=1 << 20, incoming=64, outgoing=64, guard=guard
        )
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def attend(self) -> bool:
        poller = zmq.Poller()
        for source in self.gate.sources:
            poller.register(source, zmq.POLLIN)
        self.gate.attend(dict(poller.poll(1)))
        return True

    def count(self, why: str) -> int:
        self.attend()
        return sum(each.why == why for each in self.refused)


@pytest.fixture
def door(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> Iterator[Door]:
    home = Home(tmp_path / "home")
    home.prepare()
    KeyBook(home).new("desk", Role.INJECTOR, tmp_path / "desk.key", by="anna", at=time.time())
    door = Door(context, home)
    yield door
    door.gate.close()


def is_ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):  # libzmq greets first
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def test_strangers_get_so_many_connections_and_no_more_and_leave_room_when_they_go(
    door: Door, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    host, port = door.endpoint.removeprefix("tcp://").split(":")
    with ExitStack() as stack:
        strangers = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=5)) for _ in range(5 * MOST)
        ]
        for each in strangers:
            each.setblocking(False)
        wait_until(lambda: door.count("too_many") == 4 * MOST, "those beyond the bound are told of, each once")
        wait_until(lambda: sum(map(is_ended, strangers)) == 4 * MOST, "and their connections are ended")

        assert door.count("no_handshake") == 0
        assert {each.address for each in door.refused} == {"127.0.0.1"}
    wait_until(lambda: door.count("no_handshake") == MOST, "the others are gone")

    client = comes_in(door, context, tmp_path)
    client.close()


def test_who_was_put_out_with_everybody_leaves_room_too(
    door: Door, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    host, port = door.endpoint.removeprefix("tcp://").split(":")
    with ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(MOST)]
        for each in strangers:
            each.setblocking(False)
        wait_until(lambda: door.attend() and has_greeted(strangers), "all are there")
        door.socket.unbind(door.endpoint)
        wait_until(lambda: door.attend() and all(map(is_ended, strangers)), "all are put out")
        for _ in range(4 * MOST):  # whoever comes now gets another number than those had
            stack.enter_context(open(os.devnull))
        wait_until(lambda: binds(door), "the address is free again")
        comes_in(door, context, tmp_path).close()

    assert door.count("too_many") == 0


def has_greeted(connections: list[socket.socket]) -> bool:
    ready, _, _ = select.select(connections, [], [], 0)
    return len(ready) == len(connections)


def binds(door: Door) -> bool:
    try:
        door.socket.bind(door.endpoint)
    except zmq.ZMQError:
        return False
    return True


def comes_in(door: Door, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> zmq.Socket[bytes]:
    """A client with a key, whose word has arrived."""
    key = read_key_file(tmp_path / "desk.key")
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.LINGER, 0)
    client.setsockopt(zmq.CURVE_PUBLICKEY, key.public_key.encode())
    client.setsockopt(zmq.CURVE_SECRETKEY, key.secret_key.encode())
    client.setsockopt(zmq.CURVE_SERVERKEY, key.node_public_key.encode())
    client.connect(door.endpoint)
    client.send(b"hello")
    wait_until(lambda: door.attend() and door.socket.poll(1), "a client with a key comes in")
    door.socket.recv_multipart()
    return client
