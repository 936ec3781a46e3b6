"""Loggers: what a line has, what it costs where it is not wanted, and that nothing secret gets into one."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.log import Log
from ark.logger import Logger, Sink, formatted, into, nearest, silent
from ark.masking import Masker, mask_fields
from ark.process_log import StandardRecords
from ark.testing import TestContext
from tests.ark.test_masking import CORE, NAMES, SECRETS, Login, Wire
from tests.ark.test_privacy import PLANTED

TRACE_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def sink(lines: list[dict[str, Any]]) -> Sink:
    return into(lines, agent="kenny", level="info", clock=lambda: 5.0)


def test_a_line_says_when_how_what_who_and_about_which_signal(lines: list[dict[str, Any]], sink: Sink) -> None:
    sink.version = "1.2"
    sink.trace_id = lambda: TRACE_ID
    sink.logger().info("order_sent", symbol="AAPL", quantity=5)

    assert list(lines[0].items()) == [
        ("at", 5.0),
        ("level", "info"),
        ("event", "order_sent"),
        ("agent", "kenny"),
        ("version", "1.2"),
        ("trace_id", TRACE_ID),
        ("symbol", "AAPL"),
        ("quantity", 5),
    ]


def test_without_a_signal_at_hand_there_is_no_trace_id(lines: list[dict[str, Any]], sink: Sink) -> None:
    sink.logger().info("started")
    sink.logger().info("other", trace_id=TRACE_ID)

    assert [line.get("trace_id") for line in lines] == [None, TRACE_ID]


def test_fields_of_a_lines_own_names_are_kept_beside_them(lines: list[dict[str, Any]], sink: Sink) -> None:
    sink.logger().info("x", agent="joey", at=1, level=2, event="y", self=3)

    assert (lines[0]["agent"], lines[0]["agent_"], lines[0]["at_"], lines[0]["level_"]) == ("kenny", "joey", 1, 2)
    assert (lines[0]["event"], lines[0]["self"]) == ("x", 3)


def test_what_is_bound_stands_in_every_line(lines: list[dict[str, Any]], sink: Sink) -> None:
    log = sink.logger()
    part = log.bind(broker="paper")
    part.info("one", symbol="A")
    part.bind(symbol="B").info("two")
    part.unbind("broker").info("three")
    part.new(x=1).info("four")
    log.info("five")

    shown = [{key: line.get(key) for key in ("broker", "symbol", "x")} for line in lines]
    assert [tuple(each.values()) for each in shown] == [
        ("paper", "A", None),
        ("paper", "B", None),
        (None, None, None),
        (None, None, 1),
        (None, None, None),
    ]


def test_a_change_of_the_level_counts_for_loggers_that_were_made_before(
    lines: list[dict[str, Any]], sink: Sink
) -> None:
    kept = sink.logger().bind(x=1)
    kept.debug("one")
    sink.threshold = logging.DEBUG
    kept.debug("two")
    sink.threshold = logging.ERROR
    kept.warning("three")
    kept.error("four")

    assert [line["event"] for line in lines] == ["two", "four"]
    assert kept.is_enabled_for("error")
    assert not kept.is_enabled_for("warning")


def test_levels_go_by_name_or_by_number(lines: list[dict[str, Any]], sink: Sink) -> None:
    log = sink.logger()
    for level in ("warning", 25, 35, "DEBUG", "nonsense", 50):
        log.log(level, "x")

    assert [line["level"] for line in lines] == ["warning", "info", "warning", "info", "critical"]
    assert nearest(1) == "debug"


def test_an_exception_is_a_text_with_its_traceback(lines: list[dict[str, Any]], sink: Sink) -> None:
    try:
        raise KeyError("price") from ValueError("before")
    except KeyError as error:
        sink.logger().exception("one")
        kept = error
    sink.logger().warning("two", exc_info=kept)
    sink.logger().warning("three", exc_info=True)

    assert [line["level"] for line in lines] == ["error", "warning", "warning"]
    for line in lines[:2]:
        assert "Traceback" in line["exception"]
        assert "test_logger.py" in line["exception"]
        assert line["exception"].endswith("KeyError: 'price'")
    assert "exception" not in lines[2]


def test_of_an_endless_traceback_the_end_is_kept(lines: list[dict[str, Any]], sink: Sink) -> None:
    def fall(depth: int) -> None:
        try:
            fall(depth - 1) if depth else int("x" * 100)
        except ValueError as error:
            raise ValueError(f"{depth} " + "y" * 2000) from error

    try:
        fall(20)
    except ValueError:
        sink.logger().exception("fell")

    assert lines[0]["exception"].endswith("y")
    assert "ValueError: 20 y" in lines[0]["exception"]


@pytest.mark.parametrize(
    ("text", "arguments", "shown"),
    [
        ("no %s here", (), "no %s here"),
        ("%s of %d, %.1f %%", ("A", 2, 3.0), "A of 2, 3.0 %"),
        ("%(a)s", ({"a": 1},), "1"),
        ("%d", ("x",), "%d ('x',)"),
        ("%s", (1, 2), "%s (1, 2)"),
        ("%z", (1,), "%z (1,)"),
        ("%s", ({},), "{}"),
        ("%s", (Wire("x"),), "{'api_key': '[redacted]', 'more': None}"),
    ],
)
def test_arguments_stand_where_the_text_marks_them_or_behind_it(
    text: str, arguments: tuple[Any, ...], shown: str
) -> None:
    assert formatted(Masker(), text, arguments) == shown


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


@pytest.mark.parametrize(
    "call",
    [
        lambda log: log.info("x", value=Broken()),
        lambda log: log.info("x %s", Broken()),
        lambda log: log.info(Broken()),
        lambda log: log.info(),
        lambda log: log.info(event="x"),
        lambda log: log.info("x", value=1 << 9000),
        lambda log: log.info("\ud800", value="\udfff"),
        lambda log: log.info("x", exc_info=Broken()),
        lambda log: log.info("x", exc_info=(1, 2, 3)),
        lambda log: log.log(object, "x"),
    ],
)
def test_nothing_that_is_wrong_with_a_line_raises(
    call: Callable[[Logger], None], lines: list[dict[str, Any]], sink: Sink
) -> None:
    call(sink.logger())

    assert len(lines) == 1


def test_a_flood_is_cut_off_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    now = [100.0]
    monkeypatch.setattr("ark.logger.time.monotonic", lambda: now[0])
    sink = Sink(written.append, agent="kenny", most_per_s=3)
    log = sink.logger()
    for number in range(10):
        log.info("x", number=number)
        log.warning("y", number=number)
    now[0] += 1
    log.info("z")

    lines = [json.loads(line) for line in written]
    assert [line["number"] for line in lines if line["event"] == "x"] == [0, 1, 2]
    assert sum(line["event"] == "y" for line in lines) == 10
    assert [(line["event"], line.get("count")) for line in lines[-2:]] == [("lines_left_out", 7), ("z", None)]


def test_a_line_that_is_not_wanted_costs_next_to_nothing() -> None:
    log, count = silent(), 20_000
    began = time.perf_counter()
    for _ in range(count):
        log.debug("x", symbol="AAPL", quantity=1)

    assert (time.perf_counter() - began) / count < 5e-6  # some 0.2e-6 on a quiet machine


def test_in_tests_of_agents_lines_are_to_be_looked_at() -> None:
    desk = TestContext(agent="quiet", now=7.0)
    desk.log.debug("looked", password="x", symbol="AAPL")

    assert desk.lines == [
        {
            "at": 7.0,
            "level": "debug",
            "event": "looked",
            "agent": "quiet",
            "version": "test",
            "trace_id": desk.trace_id,
            "password": "[redacted]",
            "symbol": "AAPL",
        }
    ]


# The attack: one secret, somewhere in what is written. The file must not have it.


def raised(error: BaseException) -> BaseException:
    try:
        try:
            raise error
        except BaseException as first:
            raise RuntimeError("around it") from first
    except RuntimeError as both:
        return both


def attack(file: Path, act: Callable[[Logger, logging.Logger], None]) -> str:
    """What stands in the file, read again so that no escaping hides anything."""
    file.unlink(missing_ok=True)
    sink = Sink(Log(file).append, agent="kenny", level="debug")
    standard = logging.Logger("library")
    standard.addHandler(StandardRecords(sink))
    act(sink.logger(), standard)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines
    assert all(line["event"] != "line_lost" for line in lines)
    return str(lines)


@given(st.sampled_from(PLANTED), st.integers(0, 20))
def test_a_secret_of_a_known_shape_gets_into_no_file(planted: tuple[str, str], way: int) -> None:
    text, secret = planted
    safe = text.replace("%", "%%")
    ways: list[Callable[[Logger, logging.Logger], None]] = [
        lambda log, std: log.info(text),
        lambda log, std: log.info("x", value=text),
        lambda log, std: log.info("x", **{text: 1}),
        lambda log, std: log.info("x", value=[{"deep": (text, {text: text.encode()})}]),
        lambda log, std: log.bind(value=text).info("x"),
        lambda log, std: log.info("x %s", text),
        lambda log, std: log.info("x %r and %s", [text], {"a": text}),
        lambda log, std: log.info("%(a)s", {"a": text}),
        lambda log, std: log.info(f"{safe} %s", "y"),
        lambda log, std: log.info("too few %s", text, text.encode()),  # noqa: PLE1205
        lambda log, std: log.error("x", exc_info=raised(ValueError(text))),
        lambda log, std: log.error("x", exc_info=raised(KeyError({"a": [text]}))),
        lambda log, std: log.error("x", error=ValueError(text)),
        lambda log, std: std.warning(text),
        lambda log, std: std.warning("x %s", text),
        lambda log, std: std.warning("x %s %s", [text], Wire(text)),
        lambda log, std: std.warning("%(a)s", {"a": text}),
        lambda log, std: std.warning("x", extra={"found": text}),
        lambda log, std: std.error("x", exc_info=raised(ValueError(text))),
        lambda log, std: std.warning("x %d", text),
        lambda log, std: logging.Logger.warning(std, ValueError(text)),
    ]
    file = Path(f"/dev/shm/ark-attack-{way}.log") if Path("/dev/shm").is_dir() else Path(f"/tmp/ark-{way}.log")
    try:
        assert secret not in attack(file, ways[way])
    finally:
        file.unlink(missing_ok=True)


@given(NAMES, SECRETS, st.integers(0, 15))
def test_what_is_named_as_a_secret_gets_into_no_file(name: str, secret: str, way: int) -> None:
    ways: list[Callable[[Logger, logging.Logger], None]] = [
        lambda log, std: log.info("x", **{name: secret}),
        lambda log, std: log.info("x", **{name: {"a": [secret.encode(errors="replace")]}}),
        lambda log, std: log.info("x", value={name: secret}),
        lambda log, std: log.info("x", value=[Login("ann", secret), Wire(secret)]),
        lambda log, std: log.bind(**{name: secret}).info("x"),
        lambda log, std: log.info("x %s", {name: secret}),
        lambda log, std: log.info("%(user)s " + f"%({name})s", {"user": "ann", name: secret}),
        lambda log, std: log.info(f"{name}=%s", secret),
        lambda log, std: log.info(f"%s: {name}: '%s'", 1, secret),
        lambda log, std: log.info(f"{name}=%d", secret),
        lambda log, std: std.warning("x", extra={name: secret}),
        lambda log, std: std.warning("%(user)s " + f"%({name})s", {"user": "ann", name: secret}),
        lambda log, std: std.warning("x %s", [{name: secret}]),
        lambda log, std: std.warning(f"{name}=%s", secret),
        lambda log, std: std.warning("x %s", Login("ann", secret)),
        lambda log, std: log.info("x", headers=[(name, 1), ("Authorization", secret)]),
    ]
    lines: list[bytes] = []
    sink = Sink(lines.append, agent="kenny", level="debug")
    standard = logging.Logger("library")
    standard.addHandler(StandardRecords(sink))
    ways[way](sink.logger(), standard)

    assert CORE not in str([json.loads(line) for line in lines])


@given(st.integers(10**9, 10**12), NAMES)
def test_a_number_that_is_named_as_a_secret_is_masked(number: int, name: str) -> None:
    sink = into([], agent="kenny", clock=time.time)

    assert str(number) not in str(mask_fields({name: number}))
    assert str(number) not in formatted(sink.masker, f"{name}: %d", (number,))
    assert str(number) not in formatted(sink.masker, f"%({name})d", ({name: number},))
