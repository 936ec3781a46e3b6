"""What is looked at and written on threads of its own."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pytest
import zmq

from ark.home import Home
from supervisor.monitors import BusLimits, Usage, bus_faults
from supervisor.probes import Clerk, Probe, ask_door, usages, write_report
from tests.node import wait_until

STATUS = {"children": [{"name": "kenny", "mailbox_depth": 3}], "signals": {"in_flight": 2, "dead_letters": 0}}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose node says that it runs."""
    one = Home(tmp_path / "h")
    one.prepare()
    one.lock()
    one.write_node({"pid": os.getpid()})
    yield one
    one.unlock()


# The front door


def answering(home: Home, answer: Any) -> threading.Thread:
    """A front door that answers one request, whatever it is, with the given fields or bytes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    door = context.socket(zmq.ROUTER)
    door.bind(f"ipc://{home.socket('operator')}")

    def answer_once() -> None:
        *route, frame = door.recv_multipart()
        number = msgspec.msgpack.decode(frame)["id"]
        body = answer if isinstance(answer, bytes) else msgspec.msgpack.encode({"id": number, **answer})
        door.send_multipart([*route, body])
        door.close(1000)

    thread = threading.Thread(target=answer_once, daemon=True)
    thread.start()
    return thread


def test_a_door_that_answers_is_timed(home: Home) -> None:
    thread = answering(home, {"ok": True, **STATUS})
    door = ask_door(home)
    thread.join()
    assert door.round_trip_s is not None
    assert 0 < door.round_trip_s < 2
    assert door.status["children"] == STATUS["children"]
    assert bus_faults(door, BusLimits()) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode("yes"),
        {"ok": True},
        {"ok": True, **STATUS, "children": "many"},
        {"ok": True, **STATUS, "children": [{"name": "kenny", "mailbox_depth": "deep"}]},
        {"ok": True, **STATUS, "children": [5]},
        {"ok": True, **STATUS, "signals": None},
        {"ok": True, **STATUS, "signals": {"in_flight": 2}},
        {"ok": True, **STATUS, "violations": "some"},
        {"ok": False, "error": {"message": "not yet", "code": "starting"}},
        {"ok": False, "error": "no"},
        {"ok": False},
    ],
    ids=repr,
)
def test_a_door_that_answers_nonsense_counts_as_one_that_does_not_answer(answer: Any, home: Home) -> None:
    thread = answering(home, answer)
    door = ask_door(home)
    thread.join()
    assert (door.round_trip_s, door.status) == (None, {})
    assert door.error
    assert [fault.kind for fault in bus_faults(door, BusLimits())] == ["front_door"]


def test_a_status_that_does_not_know_its_counts_yet_is_an_answer(home: Home) -> None:
    thread = answering(home, {"ok": True, "children": [], "signals": {"in_flight": None, "dead_letters": None}})
    door = ask_door(home)
    thread.join()
    assert (door.error, bus_faults(door, BusLimits())) == ("", [])


def test_where_no_node_runs_the_door_says_so(tmp_path: Path) -> None:
    door = ask_door(Home(tmp_path))
    assert (door.round_trip_s, "no node runs" in door.error) == (None, True)


# What processes hold


def test_it_is_told_what_a_process_holds(tmp_path: Path) -> None:
    (before,) = usages([("me", 4, os.getpid())])
    with open(tmp_path / "one", "w"), open(tmp_path / "two", "w"):
        (usage,) = usages([("me", 4, os.getpid())])
    assert (usage.name, usage.incarnation) == ("me", 4)
    assert usage.memory > 5 << 20
    assert before.descriptors + 2 == usage.descriptors
    assert usage.descriptors < usage.most_descriptors


@pytest.mark.parametrize(
    "error", [psutil.NoSuchProcess(1), psutil.AccessDenied(1), psutil.ZombieProcess(1), FileNotFoundError()]
)
def test_a_process_that_cannot_be_read_is_left_out_and_the_others_are_not(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: psutil.Process) -> int:
        if process.pid == 1:
            raise error
        return 7

    monkeypatch.setattr(psutil.Process, "num_fds", refuse)
    found: list[Usage] = usages([("init", 1, 1), ("me", 1, os.getpid())])
    assert [each.name for each in found] == ["me"]


def test_a_process_that_is_gone_is_left_out() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    assert len(usages([("child", 1, child), ("me", 1, os.getpid())])) in (1, 2)  # a zombie may still be read
    os.waitpid(child, 0)
    assert [each.name for each in usages([("child", 1, child), ("me", 1, os.getpid())])] == ["me"]


# Threads


def test_a_probe_looks_at_once_and_again_and_shows_what_it_saw_last() -> None:
    looks: list[int] = []

    def look() -> int:
        if len(looks) == 3:
            threading.Event().wait()  # for ever, as on a disk that stalls
        looks.append(len(looks))
        return looks[-1]

    probe = Probe("numbers", 0.001, look)
    assert probe.latest() is None
    probe.start()
    wait_until(lambda: probe.latest() == 2, "it has looked again")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_probe_whose_look_fails_ends_which_its_owner_can_see() -> None:
    probe = Probe("broken", 0.001, lambda: 1 // 0)
    probe.start()
    probe.join(10.0)
    assert not probe.is_alive()


def test_p8_a_probe_looks_as_often_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    class Enough(BaseException):
        pass

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 5:
            raise Enough

    looks: list[int] = []
    probe = Probe("door", 2.0, lambda: looks.append(1))
    monkeypatch.setattr("supervisor.probes.time", SimpleNamespace(sleep=sleep))
    with pytest.raises(Enough):
        probe.run()
    assert (naps, len(looks)) == ([2.0] * 5, 5)


def test_the_clerk_works_off_his_jobs_in_order() -> None:
    done: list[int] = []
    clerk = Clerk()
    for number in range(100):
        assert clerk.do(lambda number=number: done.append(number))
    clerk.start()
    wait_until(lambda: len(done) == 100, "all is done")
    assert done == list(range(100))


def test_a_job_that_cannot_be_written_is_given_up_and_the_next_one_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(30, "Read-only file system")

    done = threading.Event()
    clerk = Clerk()
    clerk.start()
    clerk.do(fail)
    clerk.do(done.set)
    assert done.wait(10.0)
    assert clerk.is_alive()
    assert "Read-only file system" in capsys.readouterr().err


def test_a_clerk_behind_a_disk_that_stalls_refuses_more_than_a_thousand_jobs_and_keeps_nobody_waiting() -> None:
    clerk = Clerk()
    taken = [clerk.do(lambda: None) for _ in range(1200)]
    assert taken == [True] * 1000 + [False] * 200


# The report


def test_the_report_is_replaced_as_a_whole_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    for number in range(2):
        write_report(path, {"at": number}, msgspec.json.encode)
    assert json.loads(path.read_text()) == {"at": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["watchdog.json"]


def test_where_the_report_cannot_be_written_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    write_report(path, {"at": 1}, msgspec.json.encode)
    path.with_suffix(".new").mkdir()
    write_report(path, {"at": 2}, msgspec.json.encode)
    assert json.loads(path.read_text()) == {"at": 1}
    write_report(tmp_path / "nowhere" / "watchdog.json", {"at": 3}, msgspec.json.encode)
