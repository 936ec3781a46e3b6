"""The black box: what a process noted is still there when the process is not."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.blackbox import BlackBox, Reading, Work, read
from tests.node import wait_until

TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "box"


def reading(path: Path) -> Reading:
    found = read(path)
    assert found is not None
    return found


def test_a_new_box_names_its_process_and_has_just_beaten(path: Path) -> None:
    BlackBox(path, incarnation=3)
    found = reading(path)
    assert (found.pid, found.incarnation, found.loops) == (os.getpid(), 3, 0)
    assert (found.trace_id, found.handler, found.reason) == ("", "", "")
    assert 0 <= found.beat_age_s < 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_note_names_the_signal_and_the_handler_until_the_handler_returns(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    box.note(TRACE, "handle")
    assert (reading(path).trace_id, reading(path).handler) == (TRACE, "handle")
    box.note("", "notice")
    assert (reading(path).trace_id, reading(path).handler) == ("", "notice")
    box.note("", "")
    assert (reading(path).trace_id, reading(path).handler) == ("", "")


def test_a_beat_is_young_and_counts(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    box.beat(epoch=5, handled=1, received=2, sent=3)
    box.beat(epoch=6, handled=10, received=20, sent=30)
    found = reading(path)
    assert (found.epoch, found.loops, found.handled, found.received, found.sent) == (6, 2, 10, 20, 30)
    assert found.beat_age_s < 1


def test_a_note_is_a_sign_of_life_in_the_midst_of_a_batch(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    wait_until(lambda: reading(path).beat_age_s > 0.02, "the last beat is old")
    box.note(TRACE, "handle")
    assert reading(path).beat_age_s < 0.02


def test_a_beat_tells_of_the_work_done(path: Path) -> None:
    work = Work()
    for took_ns, failed in ((100, False), (200, True), (300, True)):
        work.count(took_ns, failed=failed)
    box = BlackBox(path, incarnation=1)
    box.beat(epoch=1, handled=3, received=3, sent=3, work=work)
    assert reading(path).work == Work(answered=3, failed=2, failed_in_a_row=2, busy_ns=600)
    work.count(50, failed=False)
    assert work == Work(answered=4, failed=2, failed_in_a_row=0, busy_ns=650)


def test_the_notes_of_a_killed_process_can_be_read(path: Path) -> None:
    pid = os.fork()
    if not pid:
        box = BlackBox(path, incarnation=2)
        box.beat(epoch=4, handled=7, received=0, sent=0)
        box.note(TRACE, "perform")
        os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    found = reading(path)
    assert (found.pid, found.incarnation, found.epoch, found.handled) == (pid, 2, 4, 7)
    assert (found.trace_id, found.handler) == (TRACE, "perform")


def test_a_box_begun_anew_forgets_the_process_before(path: Path) -> None:
    old = BlackBox(path, incarnation=1)
    old.note(TRACE, "handle")
    old.last_words("it is over")
    BlackBox(path, incarnation=2)
    found = reading(path)
    assert (found.incarnation, found.trace_id, found.reason) == (2, "", "")


def test_last_words_that_are_too_long_keep_their_end(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    box.last_words("first " + "x" * 10_000 + " ValueError: the end")
    reason = reading(path).reason
    assert reason.endswith("ValueError: the end")
    assert "first" not in reason
    box.last_words("short")
    assert reading(path).reason == "short"


def test_a_concern_stands_until_it_is_over_and_is_no_last_word(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    assert reading(path).concern == ""
    box.concern("waits for rain" + "." * 600)
    assert reading(path).concern.startswith("waits for rain.")
    assert reading(path).reason == ""
    box.concern("waits")
    assert reading(path).concern == "waits"
    box.concern("")
    assert reading(path).concern == ""


@given(st.text(max_size=4000), st.text(max_size=60), st.text(max_size=40))
def test_any_text_can_be_noted_and_read(reason: str, trace_id: str, handler: str) -> None:
    path = Path(f"/dev/shm/ark-test-box-{os.getpid()}")
    try:
        box = BlackBox(path, incarnation=1)
        box.note(trace_id, handler)
        box.last_words(reason)
        box.beat(epoch=1, handled=0, received=0, sent=0)
        found = reading(path)
        assert (found.pid, found.epoch) == (os.getpid(), 1)
        assert len(found.reason.encode()) <= 9000
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 4096, b"ARKBOX1\0", b"ARKBOX9\0" + bytes(4088)])
def test_what_is_no_black_box_is_not_read_as_one(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert read(path) is None


def test_where_no_box_is_there_is_nothing_to_read(path: Path) -> None:
    assert read(path) is None


def test_a_note_costs_microseconds(path: Path) -> None:
    box = BlackBox(path, incarnation=1)
    began = time.perf_counter()
    for _ in range(10_000):
        box.note(TRACE, "handle")
    assert time.perf_counter() - began < 0.5


def test_whoever_reads_while_it_is_written_never_sees_a_figure_that_nobody_wrote(path: Path) -> None:
    """A beat that reads as none for an instant would have the Watchdog kill a process that is well."""
    box = BlackBox(path, incarnation=1)
    work = Work(answered=9, failed=3, failed_in_a_row=2, busy_ns=1 << 40)
    box.beat(epoch=7, handled=5, received=6, sent=4, work=work)
    ends, says = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(says)
        os.set_blocking(ends, False)
        while True:
            for _ in range(1000):
                box.beat(epoch=7, handled=5, received=6, sent=4, work=work)
                box.note(TRACE, "handle")
                box.note("", "")
            with suppress(BlockingIOError):
                os.read(ends, 1)
                os._exit(0)
    os.close(ends)
    try:
        wait_until(lambda: reading(path).loops > 1000, "the writer writes")
        found = [reading(path) for _ in range(5000)]
    finally:
        os.close(says)
        os.waitpid(writer, 0)
    assert max(each.beat_age_s for each in found) < 5
    assert {(each.epoch, each.handled, each.received, each.sent) for each in found} == {(7, 5, 6, 4)}
    assert all(each.work == work for each in found)
