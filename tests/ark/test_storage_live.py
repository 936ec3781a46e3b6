"""Real nodes on disks that fail: the node stays up, says what is wrong, loses nothing, and goes on by itself."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ark.errors import ArkError
from ark.journal import open_for_reading
from tests.disk import filled, small_disk
from tests.node import ECHO, Node, node, wait_until

SIGNAL = {"symbol": "A", "direction": "long", "price": 1.0}


class Feeder(threading.Thread):
    """Sends signals as a careful client does: with trace ids of its own, again and again until they are taken."""

    def __init__(self, one: Node) -> None:
        super().__init__()
        self._node = one
        self._finished = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        while not self._finished.is_set():
            batch = [
                {"trace_id": str(uuid.uuid4()), "symbol": "A", "direction": "long", "price": 1.0} for _ in range(5)
            ]
            while not self._finished.is_set():
                try:
                    with self._node.client(timeout_s=2.0) as client:
                        results = client.inject_many(batch)
                except ArkError:
                    continue
                assert {each["status"] for each in results} <= {"accepted", "duplicate"}
                self.accepted += [each["trace_id"] for each in results]
                break

    def finish(self) -> list[str]:
        self._finished.set()
        self.join()
        return self.accepted


@contextmanager
def feeding(one: Node) -> Iterator[Feeder]:
    feeder = Feeder(one)
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.finish()


def troubles(one: Node) -> dict[str, str]:
    """Who waits for a file, and why, by name."""
    try:
        children = one.status()["children"]
    except ArkError:
        return {}
    return {each["name"]: each["reason"] for each in children if (each["reason"] or "").startswith("storage:")}


def waits(one: Node, name: str, what: str) -> Any:
    return wait_until(lambda: what in troubles(one).get(name, ""), f"{name} says {what!r}")


def ready(one: Node) -> None:
    wait_until(lambda: not troubles(one) and one.status()["ready"], "the node is ready again", within_s=30.0)


def incarnations(one: Node) -> dict[str, int]:
    return {each["name"]: each["restarts"] for each in one.status()["children"]}


def everything_ended_once(one: Node, accepted: list[str]) -> None:
    """What was accepted has one outcome, and each agent with a journal handled it once."""
    with one.client() as client:
        for trace_id in accepted[-1:]:
            client.outcome(trace_id, timeout_s=20.0)
    wait_until(lambda: one.status()["signals"]["in_flight"] == 0, "nothing is under way")
    for name, table in (("beta", "seen"), ("omega", "ended")):
        connection = open_for_reading(one.home.data / f"{name}.db")
        traces = [each for (each,) in connection.execute(f"SELECT trace_id FROM {table}")]
        connection.close()
        assert len(traces) == len(set(traces))
        assert set(accepted) <= set(traces)


def test_a_full_disk_stops_the_signals_and_not_the_node_and_what_was_accepted_ends_once_there_is_room() -> None:
    with small_disk() as disk, node(ECHO, folder=disk) as one:
        assert one.process is not None
        before = incarnations(one)
        with feeding(one) as feeder:
            wait_until(lambda: len(feeder.accepted) > 50, "signals flow")
            with filled(disk):
                waits(one, "gateway", "no space is left")
                waits(one, "beta", "no space is left")
                assert one.status()["ready"] is False
                taken = len(feeder.accepted)
                done = one.run("ark-run", "halt", "--reason", "no disk")
                assert done.returncode == 0, done.stderr
                assert one.status()["halt_reason"] == "no disk"
            ready(one)
            wait_until(lambda: len(feeder.accepted) > taken + 50, "signals flow again")
        assert one.process.poll() is None
        everything_ended_once(one, feeder.accepted)
        assert incarnations(one)["root"] == before["root"]
        assert one.status()["halt_reason"] == "no disk"
        assert one.run("ark-run", "resume", "--reason", "room again").returncode == 0
        assert one.status()["halted"] is False
