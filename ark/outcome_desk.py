"""Where clients ask how their signals ended: at once where that is known, otherwise they wait. No sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from ark import protocol
from ark.delivery import Pending
from ark.door import Door, Finished
from ark.errors import RequestError
from ark.protocol import Code, Request
from ark.records import trace_context
from ark.wire import Route

__all__ = ["OutcomeDesk"]

_MOST_WAITERS = 10_000
"""Clients' questions that may wait for an outcome."""
_LONGEST_WAIT_S = 600.0


class _Waiter(NamedTuple):
    """Who waits until when, on a clock that never goes back, and the id of the question."""

    until: float
    route: Route
    id: msgspec.Raw


class _Decided(msgspec.Struct, frozen=True):
    decision: msgspec.Raw = msgspec.Raw(b"\xc0")


class OutcomeDesk:
    """Answers `outcome`, and knows who waits for one.

    Args:
        door: The gateway's memory.
        most: So many may wait.
    """

    def __init__(self, door: Door, *, most: int = _MOST_WAITERS) -> None:
        self._door = door
        self._most = most
        self._waiting: dict[str, list[_Waiter]] = {}
        self._count = 0

    @property
    def is_waited_for(self) -> bool:
        """Whether `wake` should be called soon."""
        return self._count > 0

    def answer(self, request: Request, route: Route, now: float) -> dict[str, Any] | None:
        """The fields of the reply; None where the client waits, and `wake` answers.

        Args:
            request: What is asked.
            route: The way back to the client.
            now: Seconds on a clock that never goes back.

        Raises:
            RequestError: With the reply's code, message and field.
        """
        trace_id = request.need_trace_id()
        if not 0 <= request.timeout_ms <= _LONGEST_WAIT_S * 1000:
            raise RequestError(
                f"`timeout_ms` must be between 0 and {_LONGEST_WAIT_S * 1000:.0f}",
                code=Code.INVALID,
                field="timeout_ms",
            )
        outcome = self._door.intake.outcome(trace_id)
        if outcome is not None:
            return {"outcome": msgspec.Raw(outcome)}
        held = self._door.dispatcher.parked.get(trace_id)
        if held is not None:
            return {"outcome": _held_outcome(held)}
        if not self._door.is_unfinished(trace_id):
            raise protocol.never_accepted(trace_id)
        if not request.timeout_ms:
            raise _pending()
        if self._count >= self._most:
            return protocol.busy(f"{self._most} questions may wait for an outcome")
        waiter = _Waiter(now + request.timeout_ms / 1000, route, request.id)
        self._waiting.setdefault(trace_id, []).append(waiter)
        self._count += 1
        return None

    def wake(self, finished: Iterable[Finished], held: Iterable[Pending], now: float) -> list[tuple[Route, bytes]]:
        """The replies to those who have waited long enough.

        Args:
            finished: The signals that have just ended, and are committed.
            held: Those that now wait for a person.
            now: Seconds on a clock that never goes back.
        """
        if not self.is_waited_for:
            return []
        replies = []
        for ended in finished:
            replies += self._tell(ended.trace_id, msgspec.Raw(ended.outcome))
        for pending in held:
            replies += self._tell(pending.trace_id, _held_outcome(pending))
        return replies + self._give_up(now)

    def _tell(self, trace_id: str, outcome: msgspec.Raw | dict[str, Any]) -> list[tuple[Route, bytes]]:
        return [(waiter.route, protocol.reply(waiter.id, outcome=outcome)) for waiter in self._release(trace_id)]

    def _release(self, trace_id: str) -> list[_Waiter]:
        waiters = self._waiting.pop(trace_id, [])
        self._count -= len(waiters)
        return waiters

    def _give_up(self, now: float) -> list[tuple[Route, bytes]]:
        """The replies to those who wanted to wait no longer."""
        replies = []
        late = [key for key, waiters in self._waiting.items() if any(each.until <= now for each in waiters)]
        for trace_id in late:
            waiters = self._release(trace_id)
            for waiter in waiters:
                if waiter.until <= now:
                    body = protocol.reply(waiter.id, ok=False, error=protocol.error_body(_pending()))
                    replies.append((waiter.route, body))
            still = [each for each in waiters if each.until > now]
            if still:
                self._waiting[trace_id] = still
                self._count += len(still)
        return replies


def _pending() -> RequestError:
    return RequestError("no outcome yet", code=Code.PENDING, field="trace_id")


def _held_outcome(pending: Pending) -> dict[str, Any]:
    """What stands in the place of an outcome while a person must decide."""
    held = pending.held
    assert held is not None
    traceparent, tracestate = trace_context(pending.payload)
    return {
        "trace_id": pending.trace_id,
        "symbol": pending.symbol,
        "status": "held",
        "decision": msgspec.msgpack.decode(held.details, type=_Decided).decision,
        "order": None,
        "spans": [],
        "attempts": pending.sent,
        "reason": held.reason,
        "held": {"agent": held.agent, "since": held.since, "until": held.until, "details": held.details},
        "ledger": None,
        **({"traceparent": traceparent} if traceparent else {}),
        **({"tracestate": tracestate} if tracestate else {}),
    }
