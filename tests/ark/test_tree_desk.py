"""What operators ask of the tree: what cannot be done is refused at once, the rest is with the supervisor."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ark.errors import RequestError
from ark.protocol import Code, Request
from ark.tree_desk import TreeDesk
from ark.wire import Route
from tests.ark.doors import packed

T = 50.0


def child(name: str, *, parent: str | None = "root", kind: str = "agent", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parent": parent,
        "kind": kind,
        "state": "running",
        "desired": "running",
        "version": "",
        **fields,
    }


class Room:
    """A desk in a node of two agents, what it said to the supervisor, and what is to be recorded."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.remembered: list[tuple[str, str]] = []
        self.desk = TreeDesk("gateway", ("alpha", "omega"), say=self._say, remember=self._remember)
        self.desk.children = [
            child("root", parent=None, kind="supervisor"),
            child("gateway", kind="service"),
            child("watchdog", kind="service"),
            child("agents", kind="supervisor"),
            child("alpha", parent="agents"),
            child("omega", parent="agents"),
        ]

    def ask(
        self, op: str, agent: str | None, *, number: int = 1, now: float = T, **fields: Any
    ) -> dict[str, Any] | None:
        request = Request(op, id=packed(number), agent=agent, **{"reason": "a test", **fields})
        return self.desk.answer(request, route(number), now)

    def refused(self, op: str, agent: str | None, **fields: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.ask(op, agent, **fields)
        assert (self.said, self.remembered) == ([], [])
        return caught.value

    def change(self, name: str, **fields: Any) -> None:
        self.desk.children = [each | fields if each["name"] == name else each for each in self.desk.children]

    def _say(self, **words: Any) -> None:
        self.said.append(words)

    def _remember(self, request: Request, subject: str) -> None:
        self.remembered.append((request.op, subject))


def route(number: int = 1) -> Route:
    return "back", [b"client %d" % number]


@pytest.fixture
def room() -> Room:
    return Room()


def test_the_supervisor_is_asked_and_its_answer_goes_to_whoever_asked(room: Room) -> None:
    assert room.ask("isolate", "alpha", number=7, by="ada") is None
    assert room.ask("restart", "omega", number=8, reason="") is None
    first, second = room.said
    words = {"say": "request", "op": "isolate", "agent": "alpha", "by": "ada", "reason": "a test"}
    assert first == {**words, "number": first["number"]}
    assert (second["by"], second["reason"]) == ("operator", "by an operator")
    assert room.remembered == [("isolate", "alpha"), ("restart", "omega")]

    replied = room.desk.replied(second["number"], "omega", "starting")
    assert replied is not None
    way, body = replied
    assert way == route(8)
    assert msgspec.msgpack.decode(body) == {"v": 1, "id": 8, "ok": True, "agent": "omega", "state": "starting"}
    assert room.desk.replied(second["number"], "omega", "starting") is None, "it is answered once"


def test_what_the_gateway_is_asked_for_itself_is_answered_before_it_is_done(room: Room) -> None:
    assert room.ask("restart", "gateway") == {"agent": "gateway", "state": "starting"}
    assert room.ask("start", "gateway") == {"agent": "gateway", "state": "running"}
    assert [each["number"] for each in room.said] == [0, 0]
    assert room.desk.replied(0, "gateway", "running") is None


def test_so_many_requests_may_be_with_the_supervisor_and_old_ones_count_no_longer(room: Room) -> None:
    for number in range(64):
        assert room.ask("restart", "alpha", number=number) is None
    busy = room.ask("restart", "alpha", now=T + 14.9)
    assert busy is not None
    assert (busy["error"]["code"], busy["retry_after_ms"]) == (Code.BUSY, 50)
    assert len(room.said) == len(room.remembered) == 64, "what is not handed on is not recorded"
    assert room.ask("restart", "gateway", now=T + 14.9) is not None, "which nobody waits for"
    assert room.ask("restart", "alpha", now=T + 15) is None
    assert room.desk.replied(1, "alpha", "running") is None, "nobody waits for that any more"


@pytest.mark.parametrize("agent", [None, ""])
def test_a_request_names_its_agent(room: Room, agent: str | None) -> None:
    error = room.refused("restart", agent)
    assert (error.code, error.field) == (Code.INVALID, "agent")


@pytest.mark.parametrize(("agent", "near"), [("alhpa", "; did you mean 'alpha'?"), ("zzz", ""), ("root", "")])
def test_a_child_that_is_none_is_unknown(room: Room, agent: str, near: str) -> None:
    error = room.refused("restart", agent)
    assert error.code == Code.UNKNOWN_AGENT
    assert str(error).startswith(f"no child is named {agent!r}{near}")


def test_an_agent_whose_supervisor_is_down_cannot_be_asked_for(room: Room) -> None:
    room.desk.children = room.desk.children[:4]
    error = room.refused("restart", "alpha")
    assert error.code == Code.REFUSED
    assert "the supervisor of alpha does not run now" in str(error)


@pytest.mark.parametrize("op", ["isolate", "release"])
def test_only_agents_of_the_pipeline_are_isolated(room: Room, op: str) -> None:
    error = room.refused(op, "watchdog")
    assert (error.code, error.field) == (Code.REFUSED, "agent")


@pytest.mark.parametrize(
    ("op", "desired", "what_to_do"),
    [
        ("stop", "isolated", "supervisor release"),
        ("start", "isolated", "supervisor release"),
        ("restart", "isolated", "supervisor release"),
        ("release", "stopped", "supervisor start"),
    ],
)
def test_what_contradicts_an_earlier_order_is_refused_and_says_what_to_type(
    room: Room, op: str, desired: str, what_to_do: str
) -> None:
    room.change("alpha", desired=desired)
    error = room.refused(op, "alpha")
    assert error.code == Code.REFUSED
    assert what_to_do in str(error)


@pytest.mark.parametrize("op", ["isolate", "release", "stop"])
def test_what_takes_an_agent_away_or_lets_it_trade_again_needs_a_reason(room: Room, op: str) -> None:
    error = room.refused(op, "alpha", reason=" ")
    assert (error.code, error.field) == (Code.INVALID, "reason")


def test_the_gateway_cannot_be_stopped(room: Room) -> None:
    error = room.refused("stop", "gateway")
    assert error.code == Code.REFUSED
    assert "supervisor restart" in str(error)


@pytest.mark.parametrize(
    ("name", "state", "is_interrupted"),
    [
        ("alpha", "running", False),
        ("alpha", "starting", False),
        ("alpha", "backoff", False),
        ("alpha", "isolated", True),
        ("omega", "stopped", True),
        ("omega", "failed", True),
        ("watchdog", "stopped", False),
        ("agents", "failed", True),
    ],
)
def test_the_pipeline_is_interrupted_while_somebody_in_it_is_down_for_good(
    room: Room, name: str, state: str, is_interrupted: bool
) -> None:
    assert room.desk.is_interrupted is False
    room.change(name, state=state)
    assert room.desk.is_interrupted is is_interrupted


def test_the_crew_is_the_pipeline_in_order_with_versions_once_all_of_it_runs(room: Room) -> None:
    room.change("alpha", version="1")
    room.change("omega", version="2", state="starting")
    room.change("gateway", version="3")
    assert room.desk.crew == ()
    room.change("omega", state="running")
    room.desk.children.reverse()
    assert room.desk.crew == (("alpha", "1"), ("omega", "2"))
