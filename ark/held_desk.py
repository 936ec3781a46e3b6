"""Where persons decide about held signals: what waits for them, their word, and the deadline's. No sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ark import protocol
from ark.delivery import Pending
from ark.door import DEADLINE, UNANSWERED, Door
from ark.errors import RequestError
from ark.message import Envelope
from ark.protocol import Code, Request

__all__ = ["HeldDesk"]


class _Status(msgspec.Struct, frozen=True):
    status: str


class HeldDesk:
    """Answers `held`, `approve` and `refuse`, and refuses what nobody has ruled on in time.

    Args:
        door: The gateway's memory.
        note: Logs and publishes an event: its kind, and what belongs to it.
        remember: Called with each ruling's request and trace id, for the record of what persons did.
    """

    def __init__(self, door: Door, *, note: Callable[..., None], remember: Callable[[Request, str], None]) -> None:
        self._door = door
        self._note = note
        self._remember = remember
        self._fresh: list[Pending] = []

    def hold(self, envelope: Envelope, now: float) -> None:
        """Take an agent's word that a person must decide.

        Args:
            envelope: Of the kind `HELD`.
            now: Seconds since the epoch.
        """
        pending = self._door.hold(envelope, now)
        if pending is not None:
            self._fresh.append(pending)

    def settled(self) -> list[Pending]:
        """Tell what has come to be decided; call it when the door has settled.

        Returns:
            Those signals that now wait for a person.
        """
        if not self._fresh:
            return []
        fresh, self._fresh = self._fresh, []
        for pending in fresh:
            if pending.held is not None:
                self._note(
                    "held",
                    trace_id=pending.trace_id,
                    symbol=pending.symbol,
                    agent=pending.held.agent,
                    reason=pending.held.reason,
                    until=pending.held.until,
                )
        return [pending for pending in fresh if pending.is_parked]

    def expire(self, now: float) -> None:
        """Refuse what nobody has ruled on until its deadline. Call it in every round.

        Args:
            now: Seconds since the epoch.
        """
        for pending in self._door.expire(now):
            self._tell(pending.trace_id, "refused", DEADLINE, UNANSWERED)

    def answer(self, request: Request, now: float) -> dict[str, Any]:
        """The fields of the reply, not to be sent before the door has settled.

        Args:
            request: One of the three.
            now: Seconds since the epoch.

        Raises:
            RequestError: With the reply's code, message and field.
        """
        return self._list(request.limit) if request.op == "held" else self._rule(request, now)

    def _list(self, limit: int) -> dict[str, Any]:
        held: list[dict[str, Any]] = []
        size = 0
        for pending in self._door.held[:limit]:
            assert pending.held is not None
            size += pending.held.size
            if held and size > protocol.LARGEST_MESSAGE:
                break
            held.append(_describe(pending))
        return {"held": held, "count": len(self._door.dispatcher.parked)}

    def _rule(self, request: Request, now: float) -> dict[str, Any]:
        trace_id = request.need_trace_id()
        request.need_reason()
        if request.who == DEADLINE:
            raise RequestError(f"`by` cannot be {DEADLINE!r}, which is no person", code=Code.INVALID, field="by")
        self.expire(now)  # an answer that came behind the deadline is none
        ruling = self._door.rule(
            trace_id, approved=request.op == "approve", by=request.who, reason=request.reason, now=now
        )
        if ruling is None:
            raise self._not_held(trace_id)
        self._remember(request, trace_id)
        self._tell(trace_id, ruling.word, ruling.by, ruling.reason)
        return {"trace_id": trace_id, "ruling": ruling.word}

    def _not_held(self, trace_id: str) -> RequestError:
        """Say how a signal stands that a person cannot rule on."""
        ruling = self._door.intake.ruling(trace_id)
        outcome = self._door.intake.outcome(trace_id)
        if outcome is not None:
            status = msgspec.msgpack.decode(outcome, type=_Status).status
            by = f", {ruling.word} by {ruling.by}" if ruling else ""
            why = f"it has ended already: {status}{by}"
        elif not self._door.is_unfinished(trace_id):
            return protocol.never_accepted(trace_id)
        elif ruling:
            why = f"it is already {ruling.word} by {ruling.by}: {ruling.reason}"
        else:
            why = "it is still under way, and nobody is asked about it"
        return RequestError(why, code=Code.REFUSED, field="trace_id")

    def _tell(self, trace_id: str, ruling: str, by: str, reason: str) -> None:
        self._note("ruling", trace_id=trace_id, ruling=ruling, by=by, reason=reason)


def _describe(pending: Pending) -> dict[str, Any]:
    """A held signal for the person who must decide."""
    held = pending.held
    assert held is not None
    return {
        "trace_id": pending.trace_id,
        "symbol": pending.symbol,
        "agent": held.agent,
        "since": held.since,
        "until": held.until,
        "reason": held.reason,
        "details": held.details,
    }
