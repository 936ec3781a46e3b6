"""Orders to the deploy actor: each gets one answer, its own or that nobody answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ark.deploy_desk import DeployDesk, Order, Reply
from ark.errors import MessageError
from ark.message import ORDER, encode
from ark.protocol import Request

ROUTE: Any = ("client", b"1")


def said(*of: Any) -> msgspec.Raw:
    """What the deploy actor sends."""
    return encode(Reply(*of))


def told(reply: bytes) -> dict[str, Any]:
    return msgspec.msgpack.decode(reply, type=dict[str, Any])


def asked(desk: DeployDesk, now: float = 0.0, **fields: Any) -> int:
    request = Request("deploy.start", id=msgspec.Raw(b"\x07"), by="ada", reason=" new ", **fields)
    assert desk.answer(request, ROUTE, now, 1_000.0 + now) is None
    (envelope,) = desk.take_orders()
    assert envelope.kind == ORDER
    order = msgspec.msgpack.decode(envelope.payload, type=Order)
    assert (order.op, order.by, order.reason, order.asked_at) == ("deploy.start", "ada", "new", 1_000.0 + now)
    return order.number


def test_a_reply_goes_to_whoever_asked_and_once() -> None:
    desk = DeployDesk()
    first, second = asked(desk), asked(desk, plan={"release": "ab"})
    assert first != second
    assert desk.take_orders() == []
    route, reply = desk.replied(said(second, {"rollout": "r7"})) or (None, b"")
    assert route == ROUTE
    assert (told(reply)["ok"], told(reply)["id"], told(reply)["rollout"]) == (True, 7, "r7")
    assert desk.replied(said(second, {"rollout": "r7"})) is None
    assert desk.replied(said(99)) is None


def test_an_error_comes_back_with_its_code_and_field() -> None:
    desk = DeployDesk()
    _, reply = desk.replied(said(asked(desk), {}, "refused", "it is frozen", "plan.override")) or (None, b"")
    assert not told(reply)["ok"]
    error = told(reply)["error"]
    assert (error["code"], error["message"], error["field"]) == ("refused", "it is frozen", "plan.override")


def test_who_gets_no_answer_is_told_so_and_a_late_one_reaches_nobody() -> None:
    desk = DeployDesk()
    number = asked(desk)
    assert desk.overdue(5.0) == []
    ((route, reply),) = desk.overdue(5.1)
    assert route == ROUTE
    assert "rollback --now" in told(reply)["error"]["message"]
    assert desk.overdue(9.0) == []
    assert desk.replied(said(number)) is None


@pytest.mark.parametrize("payload", [b"\xc1", b"\x80", b"\x91\x01", b"\x81\xa6number\xa1x", b"\x91" * 9_999])
def test_a_reply_that_is_none_takes_nobodys_answer_away(payload: bytes) -> None:
    desk = DeployDesk()
    number = asked(desk)
    with pytest.raises(MessageError):
        desk.replied(msgspec.Raw(payload))
    assert desk.replied(said(number, {"id_": 1})) is not None


def test_no_more_are_taken_than_can_be_remembered() -> None:
    desk = DeployDesk()
    for _ in range(64):
        asked(desk)
    fields = desk.answer(Request("deploy.start"), ROUTE, 0.0, 0.0) or {}
    assert fields["error"]["code"] == "busy"
    assert desk.take_orders() == []
    desk.overdue(6.0)
    assert asked(desk, 6.0) == 65
