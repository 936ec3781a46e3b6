"""Where clients have a rollout started, looked at or ended, which the deploy actor does. No sockets."""

from __future__ import annotations

from typing import Any

import msgspec

from ark import protocol
from ark.errors import MessageError, RequestError
from ark.message import ORDER, UNREADABLE, Envelope, encode
from ark.protocol import Code, Request
from ark.wire import Route

__all__ = ["DeployDesk", "Order", "Reply"]

_MOST_ASKED = 64
_PATIENCE_S = 5.0
"""The deploy actor looks ten times a second; one that has not answered within this does not run."""


class Order(msgspec.Struct, frozen=True):
    """What a client asks of the deploy actor: the payload of an `ORDER`.

    Attributes:
        number: The gateway's, which comes back with the reply.
        op: The operation, as in the protocol.
        by: In whose name.
        reason: Why.
        rollout: Which rollout; empty: the one under way, or else the newest.
        plan: What to roll out and how, a map as the operation wants it.
        to: The release to go back to.
        gate: Which gate is approved.
        full: Past all further stages, without a verdict.
        now: Without the checks that come after the traffic is back.
        limit: At most so many entries.
        asked_at: When it was asked, seconds since the epoch; what is old by the time it is read is not done.
    """

    number: int
    op: str
    by: str = "operator"
    reason: str = ""
    rollout: str = ""
    plan: dict[str, Any] = {}
    to: str = ""
    gate: str = ""
    full: bool = False
    now: bool = False
    limit: int = protocol.MOST_HELD
    asked_at: float = 0.0


class Reply(msgspec.Struct, frozen=True):
    """What the deploy actor answers: the payload of a `REPLY`.

    Attributes:
        number: As in the order.
        fields: Those of the reply.
        code, message, field: Of an error; an empty code for none.
    """

    number: int
    fields: dict[str, Any] = {}
    code: str = ""
    message: str = ""
    field: str | None = None


_replies = msgspec.msgpack.Decoder(Reply)


class DeployDesk:
    """Hands orders on, and remembers who waits for the answer."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[float, Route, msgspec.Raw]] = {}
        self._number = 0
        self._orders: list[Envelope] = []

    def answer(self, request: Request, route: Route, now: float, at: float) -> dict[str, Any] | None:
        """The fields of the reply; None where the deploy actor is asked, and `replied` gives its answer.

        Args:
            request: One of the operations of rollouts.
            route: The way back to the client.
            now: Seconds on a clock that never goes back.
            at: The same moment, seconds since the epoch.
        """
        if len(self._asked) >= _MOST_ASKED:
            return protocol.busy(f"{_MOST_ASKED} requests may be with the deploy actor")
        self._number += 1
        self._asked[self._number] = (now, route, request.id)
        order = Order(
            self._number,
            request.op,
            request.who,
            request.reason.strip(),
            request.rollout,
            request.plan,
            request.to,
            request.gate,
            request.full,
            request.now,
            request.limit,
            at,
        )
        self._orders.append(Envelope(ORDER, request.who, "", 0, 0, 0, encode(order)))
        return None

    def take_orders(self) -> list[Envelope]:
        """What is to be sent to the deploy actor; empties the list."""
        orders, self._orders = self._orders, []
        return orders

    def replied(self, payload: msgspec.Raw) -> tuple[Route, bytes] | None:
        """The reply to whoever asked; None where nobody waits for it any more.

        Args:
            payload: A `Reply`, msgpack.

        Raises:
            MessageError: It is none.
        """
        try:
            reply = _replies.decode(payload)
        except UNREADABLE as error:
            raise MessageError(f"a reply of the deploy actor cannot be read: {error}") from error
        asked = self._asked.pop(reply.number, None)
        if asked is None:
            return None
        _, route, id_ = asked
        if not reply.code:
            return route, protocol.reply(id_, **reply.fields)
        refusal = RequestError(reply.message, code=reply.code, field=reply.field)
        return route, protocol.reply(id_, ok=False, error=protocol.error_body(refusal))

    def overdue(self, now: float) -> list[tuple[Route, bytes]]:
        """The replies to those whom the deploy actor left without an answer."""
        late = [number for number, (at, _, _) in self._asked.items() if now - at > _PATIENCE_S]
        error = RequestError(
            "the deploy actor does not answer; see `supervisor status`. Without it no canary decides anything, and"
            " `ark-run rollback --now` needs no deploy actor",
            code=Code.REFUSED,
        )
        told = []
        for number in late:
            _, route, id_ = self._asked.pop(number)
            told.append((route, protocol.reply(id_, ok=False, error=protocol.error_body(error))))
        return told
