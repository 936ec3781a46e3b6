"""The log: what it writes, and that nothing stops for it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ark.log import Limits, Log, expire, older, tidy

DAY_S = 86_400.0


def test_a_line_is_one_json_object_with_the_time(tmp_path: Path) -> None:
    log = Log(tmp_path / "events.log")

    log.write("started", name="kyle")
    log.write("exited", name="kyle")

    lines = [json.loads(line) for line in (tmp_path / "events.log").read_text().splitlines()]
    assert [(line["event"], line["name"]) for line in lines] == [("started", "kyle"), ("exited", "kyle")]
    assert lines[0]["at"] <= lines[1]["at"]


def test_a_full_disk_loses_the_line_and_stops_nobody() -> None:
    Log(Path("/dev/full")).write("started", name="kyle")


def test_a_log_that_has_grown_large_is_put_aside_and_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    log = Log(path, Limits(largest=1000, keep=3))

    for number in range(60):
        log.write("x", number=number, padding="." * 100)

    parts = [path, *older(path)]
    numbers = [[json.loads(line)["number"] for line in part.read_text().splitlines()] for part in reversed(parts)]
    assert [part.name for part in parts] == ["events.log", "events.log.1", "events.log.2", "events.log.3"]
    assert [each for part in numbers for each in part] == list(range(numbers[0][0], 60))
    assert all(part.stat().st_size < 1300 for part in parts)


def test_who_does_not_know_the_limits_puts_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"x" * (20 << 20))

    Log(path).write("first")

    assert older(path) == []


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (1, 1), (2, 2)])
def test_fewer_are_kept_when_fewer_are_wanted(tmp_path: Path, keep: int, left: int) -> None:
    path = tmp_path / "events.log"
    for number in range(1, 6):
        path.with_name(f"events.log.{number}").write_bytes(b"x")
    path.write_bytes(b"y" * 200)

    Log(path, Limits(largest=100, keep=keep)).write("first")

    assert len(older(path)) == left
    assert path.read_text().count("\n") == 1


def test_a_log_is_put_aside_when_its_first_line_is_old(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    limits = Limits(keep=5, retention_s=5 * DAY_S)
    path.write_text(json.dumps({"at": time.time() - 0.9 * DAY_S}) + "\n")
    Log(path, limits).write("young")
    assert older(path) == []

    path.write_text(json.dumps({"at": time.time() - 1.1 * DAY_S}) + "\n")
    Log(path, limits).write("old")
    assert len(older(path)) == 1
    assert "old" in path.read_text()


def test_what_nobody_has_written_to_for_long_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    names = ["events.log.1", "events.log.2", "gone.log", "gone.log.1", "note.txt", "events.log"]
    for name in names:
        (tmp_path / name).write_text("x\n")
    now = time.time()
    for name in ("events.log.2", "gone.log", "gone.log.1", "note.txt"):
        os.utime(tmp_path / name, (now - 31 * DAY_S,) * 2)

    expire(path, 30 * DAY_S, now)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(set(names) - {"events.log.2"})
    tidy(tmp_path, 30 * DAY_S, now)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["events.log", "events.log.1", "note.txt"]


def test_no_credential_and_no_personal_data_gets_into_a_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "events.log")

    log.write("exited", reason="ValueError: password=hunter2", seen=[{"by": "bob@example.com"}], api_key="x1")

    text = (tmp_path / "events.log").read_text()
    assert "hunter2" not in text
    assert "bob" not in text
    assert "x1" not in text
    assert json.loads(text)["event"] == "exited"


def test_a_digest_keeps_its_name_and_value(tmp_path: Path) -> None:
    log = Log(tmp_path / "events.log")

    log.write("sealed", digest="ab" * 32)

    assert json.loads((tmp_path / "events.log").read_text())["digest"] == "ab" * 32
