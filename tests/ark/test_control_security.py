"""Thespian's ports: forged frames and garbage are dropped before anything is unpickled, and the tree lives."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import thespian.system.transport.streamBuffer as stream
from hypothesis import given
from hypothesis import strategies as st

from ark.errors import AuthenticationError
from ark.transport import BoundedBuffer, TaggedPickle
from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, node, wait_until

MIB = 1 << 20
ours = TaggedPickle(b"s" * 32)


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def framed(body: bytes) -> bytes:
    return b"%d>%s" % (len(body), body)


# The live tree


@pytest.fixture(scope="module")
def live() -> Iterator[Node]:
    with node(ECHO) as one:
        yield one


def control_ports(one: Node) -> dict[int, int]:
    """Every port on which Thespian listens, and the process behind it."""
    known = {int(each.rpartition(":")[2]) for each in (one.gateway, one.events, one.metrics)}
    found = {}
    for pid in one.pids():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port not in known:
                found[connection.laddr.port] = pid
    return found


def throw(port: int, data: bytes) -> None:
    """Send bytes to a port, and listen until the other side has done with them, or does not answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line, suppress(OSError):
        line.sendall(data)
        line.settimeout(0.05)
        while line.recv(4096):
            pass


def answers_and_has_not_changed(one: Node, before: dict[str, int]) -> None:
    with one.client() as client:
        # A release of what runs is answered as it stands, by way of the root and the supervisor below it.
        assert client.request("release", agent="omega", reason="to hear whether control messages pass")
        assert client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=5.0)["status"] == "executed"
    assert {child["name"]: child["pid"] for child in one.status()["children"]} == before


FORGED = {
    "a pickle that runs code": lambda touch: framed(pickle.dumps(touch)),
    "a pickle behind a tag of zeros": lambda touch: framed(bytes(32) + pickle.dumps(touch)),
    "a pickle behind the tag of another secret": lambda touch: framed(TaggedPickle(b"x" * 32).dumps(touch)),
    "a tag of another secret around a plain message": lambda touch: framed(TaggedPickle(b"").dumps(("a", "b"))),
    "a pickle without a length": pickle.dumps,
    "random bytes": lambda touch: os.urandom(4096),
    "a negative length": lambda touch: b"-5>" + pickle.dumps(touch),
    "a length of nothing": lambda touch: b"0>" + pickle.dumps(touch),
    "a length without end": lambda touch: b"9" * 10_000,
    "a length that is no number": lambda touch: b"ten>" + pickle.dumps(touch),
    "a length never met": lambda touch: b"1000>" + pickle.dumps(touch),
    "a request by HTTP": lambda touch: b"GET / HTTP/1.1\r\nHost: a>b\r\n\r\n",
    "nothing": lambda touch: b"",
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_frame_at_any_control_port_runs_nothing_and_ends_nothing(
    kind: str, live: Node, tmp_path: Path
) -> None:
    before = {child["name"]: child["pid"] for child in live.status()["children"]}
    ports = control_ports(live)
    assert len(ports) >= len(before)  # each child has one, and so has Thespian's admin
    touched = tmp_path / "touched"
    for port in ports:
        throw(port, FORGED[kind](Touch(touched)))
    answers_and_has_not_changed(live, before)
    assert not touched.exists()


def test_a_length_that_promises_gigabytes_costs_no_memory(live: Node) -> None:
    before = {child["name"]: child["pid"] for child in live.status()["children"]}
    for port, pid in control_ports(live).items():
        process = psutil.Process(pid)
        memory = process.memory_info().rss
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line, suppress(OSError):
            line.settimeout(1.0)
            line.sendall(b"99999999999>")
            for _ in range(64):
                line.sendall(bytes(MIB))
        assert process.memory_info().rss - memory < 16 * MIB
    answers_and_has_not_changed(live, before)


def test_connections_that_say_nothing_hinder_nobody(live: Node) -> None:
    before = {child["name"]: child["pid"] for child in live.status()["children"]}
    lines = [
        socket.create_connection(("127.0.0.1", port), timeout=5) for port in control_ports(live) for _ in range(20)
    ]
    try:
        answers_and_has_not_changed(live, before)
    finally:
        for line in lines:
            line.close()


def test_the_secret_is_the_nodes_own_and_for_its_owner_only(live: Node) -> None:
    key = live.home.keys / "node.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32
    with node(ECHO) as other:
        assert (other.home.keys / "node.key").read_text() != key.read_text()
        before = {child["name"]: child["pid"] for child in other.status()["children"]}
        stolen = TaggedPickle(bytes.fromhex(key.read_text())).dumps(("a", "b"))
        for port in control_ports(other):
            throw(port, framed(stolen))
        answers_and_has_not_changed(other, before)


def test_a_key_that_others_can_read_stops_the_start() -> None:
    with node(ECHO, start=False) as one:
        one.home.prepare()
        one.home.secret("node.key")
        (one.home.keys / "node.key").chmod(0o644)
        one.start(wait=False)
        assert one.process is not None
        assert one.process.wait(10) == 1
        assert "node.key can be read by others" in one.output.read_text()
        wait_until(lambda: not one.pids(), "no process is left")


# Tags


class Unpickled(Exception):
    """Raised by a pickle that is loaded: nothing that is forged may come so far."""


def explode() -> None:
    raise Unpickled


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[()]]:
        return (explode, ())


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists))
def test_what_is_tagged_comes_back(message: object) -> None:
    assert ours.loads(ours.dumps(message)) == message


@given(st.binary(max_size=200))
def test_bytes_of_a_stranger_are_never_unpickled(frame: bytes) -> None:
    with pytest.raises(AuthenticationError):
        ours.loads(frame)


@given(st.data())
def test_one_flipped_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    frame = bytearray(ours.dumps(Bomb()))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationError):
        ours.loads(bytes(frame))


@given(st.integers(0, 200), st.binary(max_size=20))
def test_a_frame_cut_short_or_made_longer_is_noticed(length: int, more: bytes) -> None:
    frame = ours.dumps(Bomb())
    changed = frame[:length] + more
    if changed != frame:
        with pytest.raises(AuthenticationError):
            ours.loads(changed)


def test_a_tag_of_another_secret_is_none() -> None:
    with pytest.raises(AuthenticationError):
        ours.loads(TaggedPickle(b"other").dumps(Bomb()))
    with pytest.raises(Unpickled):
        ours.loads(ours.dumps(Bomb()))


# Framing


def feed(buffer: stream.ReceiveBuffer, data: bytes, sizes: list[int]) -> None:
    """Give bytes as a transport would: never more than what is still asked for."""
    place, turn = 0, 0
    while place < len(data) and not buffer.isDone():
        size = min(sizes[turn % len(sizes)], buffer.remainingAmount())
        buffer.addMore(data[place : place + size])
        place, turn = place + size, turn + 1


@given(st.binary(max_size=3000), st.lists(st.integers(1, 500), min_size=1))
def test_a_frame_is_put_together_however_it_arrives(body: bytes, sizes: list[int]) -> None:
    buffer = BoundedBuffer(ours.loads)
    feed(buffer, framed(ours.dumps(body)), sizes)
    assert buffer.isDone()
    assert buffer.completed()[0] == body


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 50), min_size=1))
def test_garbage_is_refused_or_waited_for_and_never_taken_in(garbage: bytes, sizes: list[int]) -> None:
    buffer = BoundedBuffer(ours.loads)
    try:
        feed(buffer, garbage, sizes)
        if buffer.isDone():
            buffer.completed()
            pytest.fail("garbage was unpickled")
        assert 0 < buffer.remainingAmount() <= 4 * MIB
    except (AuthenticationError, ValueError):
        pass


@pytest.mark.parametrize("prefix", [b"99999999999>", b"-5>x", b"0>", b"4194305>", b"1" * 21])
def test_a_length_out_of_bounds_is_refused_before_anything_is_gathered(prefix: bytes) -> None:
    with pytest.raises(AuthenticationError):
        BoundedBuffer(ours.loads).addMore(prefix)
