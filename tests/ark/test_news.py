"""What is published goes out in order and once, and of a flood of events the log gets the beginning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.errors import MessageError
from ark.log import Log
from ark.news import News

AT = 1_700_000_000.0
T = 50.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervision.log"


@pytest.fixture
def news(path: Path) -> News:
    return News(Log(path), clock=lambda: AT)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def event(kind: str = "filled", **fields: Any) -> bytes:
    return msgspec.msgpack.encode({"kind": kind, "agent": "kenny", **fields})


def test_what_is_published_is_taken_once_in_order(news: News) -> None:
    news.publish("outcome.AAPL", b"\x80")
    news.tell("halt", reason="a test")
    (first, second) = news.take()
    assert first == (b"outcome.AAPL", b"\x80")
    assert second[0] == b"event.halt"
    assert msgspec.msgpack.decode(second[1]) == {"kind": "halt", "at": AT, "reason": "a test"}
    assert news.take() == []


def test_what_is_noted_is_logged_too_and_what_is_told_is_not(news: News, path: Path) -> None:
    news.tell("started", agent="alpha")
    news.note("stalled", in_flight=3)
    assert [topic for topic, _ in news.take()] == [b"event.started", b"event.stalled"]
    ((line),) = logged(path)
    assert (line["event"], line["in_flight"]) == ("stalled", 3)


def test_an_agents_event_is_published_as_it_said_it_and_logged(news: News, path: Path) -> None:
    said = event(event="a word that the log needs for itself", price="1.5")
    news.relay(said, T)
    assert news.take() == [(b"event.filled", said)]
    ((line),) = logged(path)
    assert (line["event"], line["agent"], line["price"]) == ("filled", "kenny", "1.5")


def test_a_halt_that_an_agent_tells_of_is_in_the_log_already(news: News, path: Path) -> None:
    news.relay(event("halt", reason="a test"), T)
    assert len(news.take()) == 1
    assert logged(path) == []


def test_of_a_flood_all_is_published_and_fifty_a_second_are_logged(news: News, path: Path) -> None:
    for number in range(80):
        news.relay(event(number=number), T + number / 100)
    assert len(news.take()) == 80
    assert [line["number"] for line in logged(path)] == list(range(50))
    news.relay(event(number=80), T + 1)
    assert logged(path)[-1]["number"] == 80


@pytest.mark.parametrize(
    "event",
    [
        b"\xc1",
        b"\x80",
        b"\x90",
        msgspec.msgpack.encode({"kind": 7}),
        b"\x82\xa4kind\xa1x\xa1y\xa1\xff",
        b"\x82\xa4kind\xa1x\xa1y" + b"\x91" * 9_999,
    ],
)
def test_what_is_no_event_reaches_nobody(news: News, path: Path, event: bytes) -> None:
    with pytest.raises(MessageError):
        news.relay(event, T)
    assert (news.take(), logged(path)) == ([], [])


def test_an_events_field_may_have_any_name(news: News, path: Path) -> None:
    news.relay(event(self="me"), T)
    assert logged(path)[0]["self"] == "me"
