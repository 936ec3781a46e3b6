"""Acts through the page: who is let, what is understood, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ark.acts import Act, ActDesk, Refused, read_act
from ark.errors import ClientKeyError, NodeError, RequestError
from ark.home import Home
from ark.keys import Refusal, Token, digest, holder, new_token
from ark.protocol import OPERATIONS, Role
from ark.token_book import TokenBook

SECRET = "ark_right"
TOKEN = Token("anna", Role.OPERATOR, digest(SECRET), 1.0, "root")
HALT = Act("halt", reason="news")
ABORT = Act("deploy.abort", rollout="r1", reason="odd sizes")
Got = TypeVar("Got")


class Line:
    """A gateway that answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: dict[str, Any] | Exception = {"v": 1, "id": 1, "ok": True, "halted": True}

    async def ask(self, op: str, *, within_s: float, **fields: Any) -> dict[str, Any]:
        self.asked.append((op, fields))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Scene:
    """A desk with its surroundings."""

    def __init__(self) -> None:
        self.line = Line()
        self.now = 0.0
        self.waits: list[float] = []
        self.told: list[tuple[Refusal, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.desk = ActDesk(
            lambda secret: holder(secret, [TOKEN]),
            self.line,
            lambda refusal, kept_back: self.told.append((refusal, kept_back)),
            own_name="exporter",
            clock=lambda: self.now,
            wait=self.wait,
        )

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self.gate.wait()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def run(coroutine: Coroutine[Any, Any, Got]) -> Got:
    return asyncio.run(coroutine)


def refused(coroutine: Coroutine[Any, Any, Any]) -> Refused:
    with pytest.raises(Refused) as found:
        run(coroutine)
    return found.value


# Tokens


def test_a_token_is_known_by_its_digest_as_long_as_it_is_good() -> None:
    revoked = Token("anna", Role.OPERATOR, digest(SECRET), 1.0, "root", 2.0)

    assert holder(SECRET, [TOKEN]) is TOKEN
    assert holder(SECRET, [revoked]) is None
    assert holder(TOKEN.digest, [TOKEN]) is None


@given(some.text())
def test_no_other_text_is_a_token(text: str) -> None:
    assert holder(text, [TOKEN]) is None or text == SECRET


def test_each_token_is_another() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_a_book_of_tokens_keeps_no_token(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    file = tmp_path / "anna.token"
    book = TokenBook(home)
    book.new("anna", file, by="root", at=1.0)
    secret = file.read_text().strip()

    kept = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert secret.encode() not in kept
    assert file.stat().st_mode & 0o777 == 0o600
    found = TokenBook(home).holder(secret)
    assert found is not None
    assert (found.name, found.role) == ("anna", Role.OPERATOR)


def test_a_token_that_is_revoked_counts_no_more_at_once_and_its_name_is_not_given_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    book, asking = TokenBook(home), TokenBook(home)
    book.new("anna", tmp_path / "anna.token", by="root", at=1.0)
    secret = (tmp_path / "anna.token").read_text().strip()
    assert asking.holder(secret)

    book.revoke("anna", reason="left", by="root", at=2.0)

    assert asking.holder(secret) is None
    with pytest.raises(ClientKeyError, match="taken"):
        book.new("anna", tmp_path / "second.token", by="root", at=3.0)


# Who is let


@pytest.mark.parametrize("header", ["Bearer ark_right", "bearer  ark_right ", "BEARER ark_right"])
def test_who_has_the_token_is_let_in(header: str, scene: Scene) -> None:
    assert run(scene.desk.admit(header)) is TOKEN
    assert scene.waits == []


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic ark_right", "ark_right"])
def test_who_comes_without_one_is_told_how_to_get_one(header: str, scene: Scene) -> None:
    error = refused(scene.desk.admit(header))

    assert error.status == 401
    assert "keys token" in error.error


def test_who_comes_with_a_wrong_one_waits_longer_each_time_and_is_told_of(scene: Scene) -> None:
    for _ in range(8):
        assert refused(scene.desk.admit("Bearer no")).status == 401

    assert scene.waits == sorted(scene.waits)
    assert (scene.waits[0], scene.waits[-1]) == (0.2, 2.0)
    assert [refusal.why for refusal, _ in scene.told] == ["wrong_token"] * 5
    scene.now = 100.0
    refused(scene.desk.admit("Bearer no"))
    assert scene.waits[-1] == 0.2
    assert scene.told[-1][1] == 3


def test_a_flood_of_wrong_ones_keeps_nobody_out_who_has_the_right_one(scene: Scene) -> None:
    async def flood() -> tuple[list[int], Token]:
        scene.gate.clear()
        wrong = [asyncio.create_task(scene.desk.admit("Bearer no")) for _ in range(100)]
        await asyncio.sleep(0)
        admitted = await scene.desk.admit(f"Bearer {SECRET}")
        scene.gate.set()
        errors = await asyncio.gather(*wrong, return_exceptions=True)
        return [error.status for error in errors if isinstance(error, Refused)], admitted

    statuses, admitted = run(flood())

    assert admitted is TOKEN
    assert sorted(statuses) == [401] * 16 + [429] * 84


# What is understood


@pytest.mark.parametrize(
    "body",
    [
        b'{"op": "halt", "reason": "news"}',
        b'{"op": "isolate", "agent": "kyle", "reason": "odd"}',
        b'{"op": "approve", "trace_id": "t", "reason": "seen"}',
    ],
)
def test_an_act_with_all_that_it_needs_is_understood(body: bytes) -> None:
    assert read_act(body).reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"[]", "object"),
        (b"\xff", "(?i)utf|invalid|malformed"),
        (b'{"op": "inject", "reason": "x"}', "(?i)invalid enum"),
        (b'{"op": "halt"}', "needs a `reason`"),
        (b'{"op": "halt", "reason": " "}', "needs a `reason`"),
        (b'{"op": "halt", "reason": "x", "agent": "kyle"}', "has no `agent`"),
        (b'{"op": "stop", "reason": "x"}', "needs `agent`"),
        (b'{"op": "approve", "reason": "x"}', "needs `trace_id`"),
        (b'{"op": "halt", "reason": "x", "by": "ben"}', "by"),
        (b'{"op": "halt", "reason": "' + b"x" * 501 + b'"}', "500"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words) as found:
        read_act(body)
    assert found.value.status == 400


def test_every_act_is_an_operation_of_the_front_door() -> None:
    assert set(get_args(get_type_hints(Act)["op"])) <= set(OPERATIONS)


# What comes of it


def test_an_act_is_done_in_the_name_of_the_token(scene: Scene) -> None:
    assert run(scene.desk.do(HALT, TOKEN)) == {"halted": True}
    run(scene.desk.do(Act("isolate", agent="kyle", reason="odd"), TOKEN))
    run(scene.desk.do(ABORT, TOKEN))

    assert scene.line.asked == [
        ("halt", {"reason": "news", "by": "anna"}),
        ("isolate", {"reason": "odd", "by": "anna", "agent": "kyle"}),
        ("deploy.abort", {"reason": "odd sizes", "by": "anna", "rollout": "r1"}),
    ]


@pytest.mark.parametrize(
    ("code", "status"),
    [("invalid", 400), ("forbidden", 403), ("unknown_agent", 404), ("refused", 409), ("busy", 503), ("new", 400)],
)
def test_what_the_gateway_refuses_is_refused_with_its_words(code: str, status: int, scene: Scene) -> None:
    scene.line.answer = RequestError("kyle is isolated", code=code, field="agent")
    error = refused(scene.desk.do(HALT, TOKEN))

    assert (error.status, error.error, error.field) == (status, "kyle is isolated", "agent")


def test_of_an_act_without_an_answer_nobody_knows_whether_it_was_done(scene: Scene) -> None:
    scene.line.answer = NodeError("no answer")
    error = refused(scene.desk.do(HALT, TOKEN))

    assert error.status == 504
    assert "may have been done" in error.error


def test_what_is_held_is_listed_as_the_gateway_has_it(scene: Scene) -> None:
    scene.line.answer = {"v": 1, "id": 1, "ok": True, "held": [{"trace_id": "t"}]}
    assert run(scene.desk.held()) == [{"trace_id": "t"}]
    assert [op for op, _ in scene.line.asked] == ["held"]

    scene.line.answer = NodeError("no answer")
    assert refused(scene.desk.held()).status == 503
    scene.line.answer = RequestError("the journal cannot be opened", code="busy")
    assert refused(scene.desk.held()).error == "the journal cannot be opened"


def test_who_sends_the_exporter_itself_away_gets_his_answer_before_it_goes(scene: Scene) -> None:
    scene.line.answer = NodeError("no answer")

    assert run(scene.desk.do(Act("restart", agent="exporter", reason="x"), TOKEN))["agent"] == "exporter"
