"""Logs for people: one line for each, safe for a terminal, and on it only what matters."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.home import Home
from ark.log import Limits, Log
from ark.log_reader import LogReader, log_names
from ark.log_text import level_of, shown
from ark.terminal import Terminal, matters, said, wants_colours
from supervisor.log_view import LogView, WantedLines, level_lines

TRACE_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
LINE = {
    "at": 1.5,
    "level": "info",
    "event": "order",
    "agent": "kenny",
    "version": "1",
    "trace_id": TRACE_ID,
    "symbol": "AAPL",
    "note": "two words",
}
FAILED = {
    "at": 2.0,
    "level": "critical",
    "event": "failed",
    "agent": "kenny",
    "exception": "Traceback:\n  in x\nKeyError: 1",
}


def test_a_line_has_its_time_level_process_event_fields_and_trace_id() -> None:
    (line,) = shown(LINE)
    assert line.split(" ", 2)[2] == f"info     kenny      order  symbol=AAPL  note='two words'  trace_id={TRACE_ID}"


def test_a_traceback_stands_below_its_line_or_its_end_in_it() -> None:
    assert list(shown(FAILED))[1:] == ["    Traceback:", "      in x", "    KeyError: 1"]
    (line,) = shown(FAILED, whole=False)
    assert line.endswith("KeyError: 1")


def test_a_line_of_the_chronicle_has_the_level_of_its_kind() -> None:
    kinds = {"exited": "error", "halt": "critical", "release": "info", "isolate": "warning", "whatever": "debug"}
    assert {kind: level_of({"event": kind}) for kind in kinds} == kinds
    alert = {"event": "alert", "severity": "emergency", "state": "raised"}
    assert [level_of(alert), level_of({**alert, "state": "cleared"})] == ["critical", "info"]
    reason = "exit code 70: Traceback (most recent call last):\n  File x\nKeyError: 'price'\n"
    (line,) = shown({"at": 1.0, "event": "exited", "name": "joey", "reason": reason})
    assert line.split(" ", 2)[2] == "error    joey       exited  exit code 70: KeyError: 'price'"


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["at", "level", "event", "agent", "name", "trace_id", "reason", "exception", "stack", "x", "\x1b[2J"]
        ),
        values,
    ),
    st.booleans(),
)
def test_whatever_stands_in_a_line_nothing_is_left_that_a_terminal_would_obey(
    line: dict[str, Any], whole: bool
) -> None:
    for text in shown(line, whole=whole):
        assert text.isprintable()
    assert isinstance(matters(line), bool)


def test_colours_are_for_terminals_that_want_them() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colours(Screen(), {})
    assert wants_colours(Screen(), {"NO_COLOR": "", "TERM": "xterm"})
    assert not wants_colours(Screen(), {"NO_COLOR": "1"})
    assert not wants_colours(Screen(), {"TERM": "dumb"})
    assert not wants_colours(io.StringIO(), {})
    assert "\033[" in "".join(shown(LINE, colours=True))


@pytest.mark.parametrize(
    ("line", "is_shown"),
    [
        ({"event": "started", "incarnation": 1}, False),
        ({"event": "started", "incarnation": 2}, True),
        ({"event": "node_started"}, False),
        ({"event": "exited", "name": "joey"}, True),
        ({"event": "whatever"}, False),
        ({"event": "order", "level": "info"}, False),
        ({"event": "stdout", "level": "info"}, True),
        ({"event": "odd", "level": "warning"}, True),
        ({"event": "failed", "level": "critical"}, False),
    ],
)
def test_on_the_terminal_is_what_changed_what_went_wrong_and_what_is_printed(
    line: dict[str, Any], is_shown: bool
) -> None:
    assert matters(line) is is_shown


@pytest.fixture
def home(tmp_path: Path) -> Home:
    place = Home(tmp_path / "home")
    place.prepare()
    return place


def write(home: Home, name: str, *lines: dict[str, Any]) -> None:
    with open(home.logs / f"{name}.log", "ab") as file:
        file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_the_terminal_shows_what_comes_in_its_order_and_what_was_before_not(home: Home) -> None:
    said_lines: list[str] = []
    write(home, "kenny", {"at": 1.0, "level": "error", "event": "old"})
    screen = Terminal(home, ["kenny", "joey"], said_lines.append, as_json=True, colours=False)
    write(
        home, "kenny", {"at": 4.0, "level": "error", "event": "second"}, {"at": 9.0, "level": "info", "event": "no"}
    )
    write(home, "supervision", {"at": 3.0, "event": "exited", "name": "kenny"})
    write(home, "joey", {"at": 5.0, "level": "warning", "event": "third"})
    screen.show()
    screen.show()
    assert [json.loads(line)["event"] for line in said_lines] == ["exited", "second", "third"]
    assert json.loads(said("ark has stopped"))["text"] == "ark has stopped"
    screen.close()


def test_of_a_flood_the_terminal_shows_the_beginning_and_how_much_more_there_was(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("ark.terminal.time.monotonic", lambda: now[0])
    told: list[str] = []
    screen = Terminal(home, ["kenny"], told.append, as_json=False, colours=False)
    write(home, "kenny", *({"at": float(n), "level": "error", "event": f"e{n}"} for n in range(50)))
    screen.show()
    assert len(told) == 20
    now[0] += 1
    screen.show()
    assert told[20].startswith("30 more lines")


# Reading


def test_a_log_is_read_from_a_place_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "kenny.log"
    log = Log(path, Limits(largest=1000, keep=5))
    for number in range(60):
        log.write("x", number=number, padding="." * 60)
    numbers = [json.loads(line)["number"] for _, line in LogReader(path, reach=1500).lines()]
    assert numbers == list(range(numbers[0], 60))
    assert 8 <= len(numbers) <= 16
    assert len(list(LogReader(path).lines())) > 30


def test_a_reader_that_skips_reads_only_what_comes_also_into_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "kenny.log"
    early, late = LogReader(path), LogReader(path)
    early.skip()
    Log(path).write("one")
    late.skip()
    Log(path).write("two")
    assert [json.loads(line)["event"] for _, line in early.lines()] == ["one", "two"]
    assert [json.loads(line)["event"] for _, line in late.lines()] == ["two"]


def test_all_logs_are_one_story(home: Home) -> None:
    for number in range(6):
        name = ("kenny", "joey")[number % 2]
        line = {"at": float(number), "level": ("info", "error")[number // 3], "event": "x", "agent": name}
        write(home, name, {**line, "trace_id": f"{number}aaa-bbb"})
    write(home, "supervision", {"at": 9.0, "event": "exited"})
    assert log_names(home.logs) == ["joey", "kenny"]

    def ats(names: list[str], wanted: WantedLines, last: int | None = None) -> list[float]:
        return [line["at"] for line in LogView(home, names, wanted, last).read()]

    assert ats([], WantedLines()) == [0, 1, 2, 3, 4, 5]
    assert ats(["joey"], WantedLines()) == [1, 3, 5]
    assert ats([], WantedLines(), 2) == [4, 5]
    assert ats([], WantedLines(), 0) == []
    assert ats([], WantedLines(level="warning")) == [3, 4, 5]
    assert ats([], WantedLines(trace="4aaa")) == [4]
    assert ats([], WantedLines(since=2.5), 1) == [5]


def test_what_comes_is_read_once_also_from_processes_that_are_new(home: Home) -> None:
    write(home, "kenny", {"at": 1.0, "event": "x"})
    view = LogView(home, [], WantedLines(), 50)
    assert len(view.read()) == 1
    write(home, "kenny", {"at": 2.0, "event": "y"})
    write(home, "joey", {"at": 3.0, "event": "z"})
    assert [line["event"] for line in view.read()] == ["y", "z"]
    assert view.read() == []
    view.close()


def test_levels_are_a_line_for_each_process() -> None:
    wish = {"level": "debug", "until": None, "by": "ann\x1b", "reason": "odd fills", "at": 1.0}
    lines = level_lines(
        [{"name": "kyle", "level": "info", "wish": None}, {"name": "kenny", "level": "debug", "wish": wish}]
    )
    assert lines == [
        "kyle             info",
        "kenny            debug     until the next start, by ann\ufffd: odd fills",
    ]
