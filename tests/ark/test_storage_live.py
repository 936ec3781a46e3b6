"""Real nodes on disks that fail: the node stays up, says what is wrong, loses nothing, and goes on by itself."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from ark.client import Client
from ark.errors import ArkError, RequestError
from ark.journal import open_for_reading
from ark.storage import KNOWN
from tests.chaos.test_kills import FAST_HANDS, made_up_signals
from tests.disk import damage, filled, put_back, small_disk, unwritable
from tests.node import BARE, Node, ended, node, wait_until
from tests.promises import check_promises

SMALL = """
[watchdog]
missed = 10
disk_low_mb = 0
disk_full_mb = 0
[watchdog.answers]
storage = "warn"
"""
"""The Watchdog halts trading long before the disk of a usual node is as small as the one of a test."""
SIGNAL = {"symbol": "A", "direction": "long", "price": 1.0}


class Feeder(threading.Thread):
    """Sends signals as a careful client does: with trace ids of its own, again and again until they are taken."""

    def __init__(self, one: Node, signals: Iterator[dict[str, Any]]) -> None:
        super().__init__()
        self._node = one
        self._signals = signals
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
def feeding(one: Node, signals: Iterator[dict[str, Any]] | None = None) -> Iterator[Feeder]:
    feeder = Feeder(one, signals or repeat(SIGNAL))
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


def waits_anew(one: Node, name: str, before: int) -> int:
    """The process behind that one, once it waits."""

    def another() -> int | None:
        pid: int | None = one.child(name)["pid"]
        return pid if pid != before and name in troubles(one) else None

    found: int = wait_until(another, f"another {name} waits")
    return found


def refused(client: Client, made: dict[str, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        client.inject(made)
    return caught.value


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
    with small_disk() as disk, node(BARE + SMALL, folder=disk) as one:
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
        assert (one.home.data / ".halt.reserve").exists()


def test_a_full_disk_under_the_trading_pipeline_costs_no_order_and_doubles_none() -> None:
    with small_disk("160m") as disk, node(FAST_HANDS + SMALL, folder=disk) as one:
        with feeding(one, made_up_signals(100_000, seed=5)) as feeder:
            wait_until(lambda: len(feeder.accepted) > 100, "signals flow")
            with filled(disk):
                waits(one, "gateway", "no space is left")
                with one.client(timeout_s=1.0) as client:
                    refusal = refused(client, next(made_up_signals(1, seed=6)))
                assert (refusal.code, "no space is left" in str(refusal)) == ("busy", True)
            ready(one)
            before = len(feeder.accepted)
            wait_until(lambda: len(feeder.accepted) > before + 100, "signals flow again")
        assert one.process is not None
        assert one.process.poll() is None
        with one.client() as client:
            wait_until(lambda: all(ended(client, each) for each in feeder.accepted), "all have their outcome", 60.0)
        assert one.status()["signals"]["dead_letters"] == 0
        one.stop()
        check_promises(lambda name: open_for_reading(one.home.data / f"{name}.db"))


def test_a_file_that_became_read_only_is_waited_for_and_the_signals_in_hand_are_not_blamed() -> None:
    with node(BARE) as one, one.client() as client:
        client.inject(SIGNAL)
        pid = one.child("beta")["pid"]
        with unwritable(one.home.data / "beta.db"):
            os.kill(pid, signal.SIGKILL)
            waits(one, "beta", "beta.db is read-only")
            taken = [each["trace_id"] for each in client.inject_many([SIGNAL] * 5)]
            assert one.child("omega")["state"] == "running"
        ready(one)
        wait_until(lambda: all(ended(client, each) for each in taken), "every signal has its outcome")
        assert one.status()["signals"]["dead_letters"] == 0
        everything_ended_once(one, taken)


def test_a_gateway_whose_file_is_read_only_answers_and_takes_nothing_in() -> None:
    with node(BARE) as one, one.client(timeout_s=1.0) as client:
        pid = one.child("gateway")["pid"]
        with unwritable(one.home.data / "gateway.db"):
            os.kill(pid, signal.SIGKILL)
            waits(one, "gateway", "gateway.db is read-only")
            refusal = refused(client, SIGNAL)
            assert (refusal.code, "read-only" in str(refusal)) == ("busy", True)
            assert client.request("halt", reason="look at the disk")["halted"] is True
            assert client.status()["signals"]["accepted"] is None
        ready(one)
        accepted = client.inject(SIGNAL)["trace_id"]
        assert client.outcome(accepted, timeout_s=10.0)["status"] == "executed"


def test_damaged_files_halt_trading_and_each_is_waited_for_until_it_is_put_back(tmp_path: Path) -> None:
    with node(FAST_HANDS) as one:
        made = list(made_up_signals(120, seed=7))
        with one.client() as client:
            taken = [each["trace_id"] for each in client.inject_many(made[:100])]
            wait_until(lambda: all(ended(client, each) for each in taken), "every signal has its outcome")
        one.stop()
        for name in ("gateway", "hrm", "kenny", "aletheia"):
            damage(one.home.data / f"{name}.db", backup=tmp_path)
        one.start(wait=False)
        wait_until(lambda: "gateway.db is damaged" in (one.home.halt_reason() or ""), "trading is halted")
        waits(one, "gateway", "gateway.db is damaged")
        put_back(one.home.data / "gateway.db", tmp_path)
        waits(one, "hrm", "hrm.db is damaged")
        wait_until(lambda: "gateway" not in troubles(one), "the gateway goes on")
        with one.client() as client:
            taken += [each["trace_id"] for each in client.inject_many(made[100:])]
        for name in ("hrm", "kenny", "aletheia"):
            waits(one, name, f"{name}.db is damaged")
            assert "put it back from a backup" in troubles(one)[name]
            put_back(one.home.data / f"{name}.db", tmp_path)
        ready(one)
        assert "waits: storage: gateway.db is damaged" in one.output.read_text()
        assert one.run("ark-run", "resume", "--reason", "put back").returncode == 0
        with one.client() as client:
            wait_until(lambda: all(ended(client, each) for each in taken), "every signal has its outcome")
            assert one.status()["signals"]["dead_letters"] == 0
        one.stop()
        check_promises(lambda name: open_for_reading(one.home.data / f"{name}.db"))


def test_damage_that_is_found_at_work_is_looked_for_thoroughly_from_then_on(tmp_path: Path) -> None:
    with node(BARE) as one, one.client() as client:
        taken = [each["trace_id"] for each in client.inject_many([SIGNAL] * 50)]
        wait_until(lambda: all(ended(client, each) for each in taken), "every signal has its outcome")
        client.request("isolate", agent="beta", reason="to damage its file")
        damage(one.home.data / "beta.db", backup=tmp_path, from_page=2)
        client.request("release", agent="beta", reason="damaged")
        worked = one.child("beta")["pid"]
        taken += [each["trace_id"] for each in client.inject_many([SIGNAL] * 5)]
        second = waits_anew(one, "beta", worked)
        assert "beta.db is damaged" in one.status()["halt_reason"]
        os.kill(second, signal.SIGKILL)
        waits_anew(one, "beta", second)
        waits(one, "beta", "beta.db is damaged")
        put_back(one.home.data / "beta.db", tmp_path)
        ready(one)
        everything_ended_once(one, [*taken, client.inject(SIGNAL)["trace_id"]])
        assert one.status()["signals"]["dead_letters"] == 0


def test_a_database_that_has_vanished_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    with node(BARE) as one:
        with one.client() as client:
            client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=10.0)
        one.stop()
        damage(one.home.data / "beta.db", backup=tmp_path)
        (one.home.data / "beta.db").unlink()
        one.start(wait=False)
        waits(one, "beta", "beta.db was here and has vanished")
        assert not (one.home.data / "beta.db").exists()
        assert "beta.db" in one.status()["halt_reason"]
        known = one.home.data / KNOWN
        known.write_text("".join(f"{each}\n" for each in known.read_text().split() if each != "beta.db"))
        ready(one)
        with one.client() as client:
            assert client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=10.0)["status"] == "executed"
        assert "beta.db" in known.read_text().split()


def test_a_node_does_not_start_on_a_full_disk_and_says_why() -> None:
    with small_disk() as disk, node(BARE, folder=disk, start=False) as one, filled(disk):
        done = one.run("ark-run", "start")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "No space left on device" in done.stderr
        assert "at least 1 MiB must be free" in done.stderr
