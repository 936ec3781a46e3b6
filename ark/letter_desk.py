"""What operators ask about dead letters at the front door: answers in, no sockets.

What was done is recorded for the ledger and told to the world only when it is committed, and at the next start
where the process died in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from ark import interventions, protocol
from ark.door import Door
from ark.errors import RequestError
from ark.home import Home
from ark.letters import DeadLetter, obstacle
from ark.log import Log
from ark.protocol import Code, Request

__all__ = ["LetterDesk"]

_ROOM = 1 << 16
"""Bytes of a reply that are left to whatever is not the list or the outcome."""
_MOST = protocol.LARGEST_MESSAGE - _ROOM
_VERBS = {"retried": "retry", "dropped": "drop"}
_lengths = msgspec.msgpack.Encoder()


class _Status(msgspec.Struct, frozen=True):
    status: str


class LetterDesk:
    """Answers `dead_letters`, `dead_letter`, `retry` and `drop`.

    Args:
        door: The gateway's memory.
        home: Where acts are recorded.
        symbols: Those that the node takes; none: all.
        tell: Publishes an event: its kind, and what belongs to it.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        door: Door,
        home: Home,
        *,
        symbols: Collection[str] = (),
        tell: Callable[..., None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._letters = door.intake.letters
        self._home = home
        self._log = Log(home.logs / "supervision.log")
        self._symbols = symbols
        self._tell = tell
        self._clock = clock
        self._done = list(self._letters.untold())
        self._left = {letter.seq for letter in self._done}
        """Those of an earlier process, which may have recorded them before it died."""

    def answer(self, request: Request, by: str) -> dict[str, Any]:
        """The fields of the reply, not to be sent before the door has settled.

        Args:
            request: One of the four.
            by: Who asks.

        Raises:
            RequestError: With the reply's code, message and field.
        """
        if request.op == "dead_letters":
            return self._list(request)
        letter = self._find(request.need_trace_id())
        if request.op == "dead_letter":
            return self._show(letter)
        request.need_reason()
        if request.op == "retry":
            return self._retry(letter, request, by)
        return self._drop(letter, request, by)

    def settled(self) -> None:
        """Record and tell what was done; call it when the door has settled."""
        if not self._done:
            return
        recorded = []
        for letter in self._done:
            act = letter.act
            assert act is not None
            verb = _VERBS[act.act]
            words = {"trace_id": letter.trace_id, "symbol": letter.symbol, "by": act.by, "reason": act.reason}
            details = {"symbol": letter.symbol, "agent": letter.agent}
            if act.retry:
                words["retry"] = details["retry"] = act.retry
            if (
                letter.seq in self._left and interventions.is_kept(self._home, verb, letter.trace_id)
            ) or interventions.record(
                self._home, verb, subject=letter.trace_id, by=act.by, reason=act.reason, details=details
            ):
                recorded.append(letter.seq)  # what cannot be is tried again at the next start
            self._log.write(act.act, **words)
            self._tell(act.act, **words)
        self._door.intake.begin(durable=False)
        self._letters.tell(recorded)
        self._door.intake.commit()
        self._done.clear()

    def _list(self, request: Request) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        size = 0
        for letter in self._letters.list(limit=request.limit, everything=request.all):
            summary = letter.summary()
            size += len(_lengths.encode(summary))
            if size > _MOST:
                break
            found.append(summary)
        count = self._letters.ever if request.all else self._letters.open
        return {"dead_letters": found, "count": count}

    @staticmethod
    def _show(letter: DeadLetter) -> dict[str, Any]:
        whole = letter.whole()
        if len(letter.payload) + len(letter.outcome) > _MOST:  # no agent of ours gives one so large
            whole["outcome"] = None
        return {"dead_letter": whole}

    def _retry(self, letter: DeadLetter, request: Request, by: str) -> dict[str, Any]:
        refused = obstacle(letter)
        if not refused and self._symbols and letter.symbol not in self._symbols:
            refused = f"the symbol {letter.symbol} is not among those that this node takes any more"
        if not refused:
            act = self._door.retry(letter, by=by, reason=request.reason, fresh=request.fresh, now=self._clock())
            if act is not None:
                self._done.append(msgspec.structs.replace(letter, act=act))
                return {"trace_id": letter.trace_id, "act": act.act, "retry": act.retry}
            refused = "the signal that its retry would be was accepted before"
        raise RequestError(refused, code=Code.REFUSED, field="trace_id")

    def _drop(self, letter: DeadLetter, request: Request, by: str) -> dict[str, Any]:
        if letter.act is not None:
            raise RequestError(obstacle(letter), code=Code.REFUSED, field="trace_id")
        act = self._door.drop(letter, by=by, reason=request.reason, now=self._clock())
        self._done.append(msgspec.structs.replace(letter, act=act))
        return {"trace_id": letter.trace_id, "act": act.act}

    def _find(self, trace_id: str) -> DeadLetter:
        letter = self._letters.find(trace_id)
        if letter is not None:
            return letter
        outcome = self._door.intake.outcome(trace_id)
        if outcome is not None:
            status = msgspec.msgpack.decode(outcome, type=_Status).status
            raise RequestError(f"it is no dead letter: it ended as {status}", code=Code.REFUSED, field="trace_id")
        if self._door.is_unfinished(trace_id):
            raise RequestError(
                "it is no dead letter, or not yet: it has no outcome", code=Code.REFUSED, field="trace_id"
            )
        raise protocol.never_accepted(trace_id)
