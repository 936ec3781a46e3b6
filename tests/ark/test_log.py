"""The log: what it writes, and that nothing stops for it."""

from __future__ import annotations

import json
from pathlib import Path

from ark.log import Log


def test_a_line_is_one_json_object_with_the_time(tmp_path: Path) -> None:
    log = Log(tmp_path / "events.log")

    log.write("started", name="kyle")
    log.write("exited", name="kyle")

    lines = [json.loads(line) for line in (tmp_path / "events.log").read_text().splitlines()]
    assert [(line["event"], line["name"]) for line in lines] == [("started", "kyle"), ("exited", "kyle")]
    assert lines[0]["at"] <= lines[1]["at"]


def test_a_full_disk_loses_the_line_and_stops_nobody() -> None:
    Log(Path("/dev/full")).write("started", name="kyle")


def test_a_log_that_has_grown_large_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_bytes(b"x" * (9 << 20))
    log = Log(path)

    log.write("first")
    log.write("second")

    assert (tmp_path / "events.log.1").stat().st_size > 9 << 20
    assert path.read_text().count("\n") == 1


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
