"""What the gateway does apart from its sockets: accepts, finishes, counts strikes, and sends again.

Everything taken in a round is written in one transaction; `settle` commits it, and only what `settle` has returned
may leave the process. The gateway's process and the simulator run this same class.
"""

from __future__ import annotations

import heapq
import math
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ark.delivery import STRIKES, Dispatcher, Pending
from ark.errors import MessageError
from ark.intake import Intake, read_hold
from ark.letters import Act, DeadLetter, anew
from ark.message import UNREADABLE, Envelope, Span
from ark.records import Members, Passage, trace_context
from ark.ruling import Ruling, rule
from ark.signal import Signal
from ark.tally import Limits, Tally

__all__ = ["DEADLINE", "UNANSWERED", "Door", "Finished"]

DEADLINE = "deadline"
"""Who has ruled where nobody did in time."""
UNANSWERED = "nobody answered until the deadline"
"""Why."""


class Finished(msgspec.Struct, frozen=True):
    """A signal that has its outcome.

    Attributes:
        trace_id, symbol: The signal's.
        outcome: The outcome, msgpack.
        status: Its `status`.
    """

    trace_id: str
    symbol: str
    outcome: bytes
    status: str


class _Told(msgspec.Struct, frozen=True):
    """What is read of an outcome."""

    status: str
    spans: msgspec.Raw = msgspec.Raw(b"")


_told = msgspec.msgpack.Decoder(_Told)
_maps = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Door:
    """The gateway's memory: the intake journal, and what is unfinished.

    Args:
        intake: The journal.
        epoch: The epoch that the supervisor told.
        window, stall_s: See `Dispatcher`.
        secret: What rulings are tagged with.
        limits: What the objectives about latency ask for.
        clock: Seconds since the epoch.

    Attributes:
        tally: What is counted of the outcomes.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        epoch: int,
        window: int = 512,
        stall_s: float = 30.0,
        secret: bytes = b"",
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.intake = intake
        self._clock = clock
        limits = limits or Limits()
        kept = intake.tally()
        self.tally = Tally(
            kept,
            None if kept else intake.statuses(),
            limits=limits,
            edges=limits.edges,
        )
        self._secret = secret
        self._deadlines: list[tuple[float, str]] = []
        self.dispatcher = Dispatcher(epoch=epoch, window=window, stall_s=stall_s)
        self.unfinished_bytes = 0
        """Bytes of all accepted signals without an outcome."""
        for pending in intake.unfinished():
            self.dispatcher.accept(pending)
            self.unfinished_bytes += len(pending.payload)
            if pending.held is not None:
                self._watch(pending)
        self._fresh: dict[str, Pending] = {}
        self._finished: list[Finished] = []
        self._writing = False
        self._durable = False

    @property
    def unfinished(self) -> int:
        """How many accepted signals have no outcome, those of this round included."""
        return len(self.dispatcher) + len(self._fresh)

    @property
    def held(self) -> list[Pending]:
        """The signals that wait for a person, those that have waited longest first."""
        parked = self.dispatcher.parked.values()
        return sorted(parked, key=lambda each: (each.held.since if each.held else 0.0, each.seq))

    @property
    def next_deadline(self) -> float | None:
        """When `expire` should be called next, seconds since the epoch; None where nothing is held."""
        return self._deadlines[0][0] if self._deadlines else None

    @property
    def is_writing(self) -> bool:
        """Whether `settle` will commit something."""
        return self._writing

    def take_in(self, signal: Signal, now: float) -> tuple[str, str]:
        """Take one valid signal.

        Args:
            signal: As it came.
            now: Seconds since the epoch; becomes the signal's `ts` where it has none.

        Returns:
            Its trace id, and `accepted` or `duplicate`; not to be told to anyone before `settle`.
        """
        trace_id = signal.trace_id
        if trace_id and self.is_unfinished(trace_id):
            return trace_id, "duplicate"
        trace_id = trace_id or str(uuid.uuid4())
        signal = msgspec.structs.replace(signal, trace_id=trace_id, ts=now if signal.ts is None else signal.ts)
        self._write(durable=True)
        payload = msgspec.msgpack.encode(signal)
        pending = self.intake.add(trace_id, signal.symbol, payload, now)
        if pending is None:
            return trace_id, "duplicate"
        self._take(pending)
        return trace_id, "accepted"

    def find(self, trace_id: str) -> Pending | None:
        """The accepted signal of that trace that has no outcome, if there is one."""
        return self._fresh.get(trace_id) or self.dispatcher.find(trace_id)

    def is_unfinished(self, trace_id: str) -> bool:
        """Whether a signal is accepted and has no outcome."""
        return self.find(trace_id) is not None

    def finish(self, envelope: Envelope, now: float) -> None:
        """Take an outcome from the last agent; one that comes again changes nothing.

        Args:
            envelope: Of the kind `OUTCOME`.
            now: Seconds since the epoch.

        Raises:
            MessageError: It cannot be read; the signal goes on as if it had not come.
        """
        outcome = bytes(envelope.payload)
        try:
            _told.decode(outcome)
            _maps.decode(outcome)
        except UNREADABLE as error:
            raise MessageError(f"the outcome of {envelope.trace_id!r} cannot be read: {error}") from error
        pending = self.dispatcher.finish(envelope.trace_id)
        if pending is not None:
            self._record(pending, outcome, now, envelope.spans)

    def hold(self, envelope: Envelope, now: float) -> Pending | None:
        """Take an agent's word that a person must decide.

        It is not written durably: whatever is lost is sent again, and held again.

        Args:
            envelope: Of the kind `HELD`.
            now: Seconds since the epoch.

        Returns:
            The signal that now waits for a person; None where it does not, because the word came too late.

        Raises:
            MessageError: It cannot be read; the signal goes on as if it had not come.
        """
        payload = bytes(envelope.payload)
        try:
            agent = envelope.spans[-1].agent
            held = read_hold(agent, now, payload)
        except (*UNREADABLE, IndexError) as error:
            raise MessageError(f"what is asked about {envelope.trace_id!r} cannot be read: {error}") from error
        if not math.isfinite(held.until):
            raise MessageError(f"{envelope.trace_id!r} is to be held until {held.until}, which is no time")
        pending = self.dispatcher.hold(envelope.trace_id, envelope.epoch, held)
        if pending is not None:
            self._write(durable=False)
            self.intake.hold(pending, agent, now, payload, msgspec.msgpack.encode(envelope.spans))
            self._watch(pending)
        return pending

    def rule(self, trace_id: str, *, approved: bool, by: str, reason: str, now: float) -> Ruling | None:
        """Take a person's word on a held signal, which is sent again with it.

        Args:
            trace_id: The signal.
            approved, by, reason: As in `Ruling`.
            now: Seconds since the epoch.

        Returns:
            The ruling, not to be told to anyone before `settle`; None where the signal is not held (any more).
        """
        pending = self.dispatcher.parked.get(trace_id)
        if pending is None or pending.held is None or now >= pending.held.until:
            return None
        return self._rule(pending, approved=approved, by=by, reason=reason, now=now)

    def expire(self, now: float) -> list[Pending]:
        """Refuse what nobody has ruled on until its deadline. Call it in every round.

        Args:
            now: Seconds since the epoch.

        Returns:
            The signals that were refused.
        """
        refused = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, trace_id = heapq.heappop(self._deadlines)
            pending = self.dispatcher.parked.get(trace_id)
            if pending is not None:
                self._rule(pending, approved=False, by=DEADLINE, reason=UNANSWERED, now=now)
                refused.append(pending)
        return refused

    def retry(self, letter: DeadLetter, *, by: str, reason: str, fresh: bool, now: float) -> Act | None:
        """Send a dead letter's signal anew, as a signal of its own, and deal with the letter by that.

        Args:
            letter: One that may be retried; see `ark.letters.obstacle`.
            by, reason: Who wants it, and why.
            fresh: Whether it gets the present time; otherwise it stays as old as it was.
            now: Seconds since the epoch.

        Returns:
            What was done, not to be told to anyone before `settle`; None where that signal was accepted before.
        """
        self._write(durable=True)
        signal = anew(letter, now=now if fresh else None)
        pending = self.intake.add(signal.trace_id, signal.symbol, msgspec.msgpack.encode(signal), now)
        if pending is None:
            return None
        act = Act("retried", by, reason, now, signal.trace_id)
        self.intake.letters.deal(letter.seq, act)
        self._take(pending)
        return act

    def drop(self, letter: DeadLetter, *, by: str, reason: str, now: float) -> Act:
        """Deal with a dead letter by leaving it as it is.

        Args:
            letter: One with which nobody has dealt.
            by, reason: Who does it, and why.
            now: Seconds since the epoch.

        Returns:
            What was done, not to be told to anyone before `settle`.
        """
        self._write(durable=True)
        act = Act("dropped", by, reason, now)
        self.intake.letters.deal(letter.seq, act)
        return act

    def strike(self, deaths: Iterable[dict[str, Any]], now: float) -> list[Pending]:
        """Count the signals that ended their agents.

        Args:
            deaths: Maps of `agent`, `trace_id` and `reason`.
            now: Seconds since the epoch.

        Returns:
            Those that have just become dead letters.
        """
        expelled = []
        for death in deaths:
            pending = self.dispatcher.strike(death["trace_id"], death["agent"], death["reason"])
            if pending is None:
                continue
            self._write(durable=True)
            self.intake.struck(pending, now)
            if pending.strikes == STRIKES:
                expelled.append(pending)
        for pending in self.dispatcher.hopeless():
            self.dispatcher.finish(pending.trace_id)
            self._record(pending, msgspec.msgpack.encode(_given_up(pending)), now)
        return expelled

    def note_crew(self, members: Members, now: float) -> None:
        """Take note of who makes up the pipeline, for the traces of what passes through it.

        Args:
            members: The agents in order, each with its version.
            now: Seconds since the epoch.
        """
        if members != self.intake.crews.latest:
            self._write(durable=False)
            self.intake.crews.note(members, now)

    def settle(self) -> list[Finished]:
        """Commit everything since the last time, and let what was accepted be sent.

        It waits for the disk only where something was accepted. Whoever settles outcomes before he takes signals
        in can publish them without that wait.

        Returns:
            The signals that were finished meanwhile.
        """
        if self._writing:
            self._commit()
        if self._fresh:
            now = self._clock()
            for pending in self._fresh.values():
                pending.durable_at = now
                self.dispatcher.accept(pending)
            self._fresh.clear()
        finished, self._finished = self._finished, []
        return finished

    def _take(self, pending: Pending) -> None:
        """Send a signal when it is committed."""
        self.unfinished_bytes += len(pending.payload)
        self._fresh[pending.trace_id] = pending

    def _record(self, pending: Pending, outcome: bytes, now: float, spans: tuple[Span, ...] = ()) -> None:
        self._write(durable=False)
        told = _told.decode(outcome)
        took_s, ruled = now - pending.accepted_at, pending.ruling is not None
        self.tally.add(pending.trace_id, told.status, outcome, took_s=took_s, ruled=ruled, now=now)
        outcome = _with_context(pending, outcome)
        passage = Passage(
            pending.durable_at,
            pending.sent_at,
            pending.resent_at,
            pending.sent,
            now,
            None if len(told.spans) > 1 else spans,  # nil and an empty list are one byte
        )
        oldest = (self.dispatcher.first_seq, next((each.seq for each in self._fresh.values()), None))
        first_open = min((seq for seq in oldest if seq is not None), default=pending.seq)
        self.intake.finish(
            pending, told.status, outcome, first_open=first_open, passage=msgspec.msgpack.encode(passage)
        )
        self.unfinished_bytes -= len(pending.payload)
        self._forget(pending)
        self._finished.append(Finished(pending.trace_id, pending.symbol, outcome, told.status))

    def _rule(self, pending: Pending, *, approved: bool, by: str, reason: str, now: float) -> Ruling:
        ruling = rule(self._secret, pending.trace_id, approved=approved, by=by, reason=reason, at=now)
        self._write(durable=True)
        self.intake.ruled(pending, ruling)
        self.dispatcher.rule(pending.trace_id, ruling)
        self._forget(pending)
        return ruling

    def _watch(self, pending: Pending) -> None:
        assert pending.held is not None
        self.unfinished_bytes += pending.held.size
        heapq.heappush(self._deadlines, (pending.held.until, pending.trace_id))

    def _forget(self, pending: Pending) -> None:
        """What was asked about a signal need not be kept in memory any more."""
        if pending.held is not None:
            self.unfinished_bytes -= pending.held.size
            pending.held = None

    def _commit(self) -> None:
        if self.tally.is_changed:
            self.intake.keep_tally(self.tally.content)
        self.intake.commit()
        self._writing = False

    def _write(self, *, durable: bool) -> None:
        """Be in a transaction that is at least so durable."""
        if self._writing and durable and not self._durable:
            self._commit()
        if not self._writing:
            self.intake.begin(durable=durable)
            self._writing, self._durable = True, durable


def _with_context(pending: Pending, outcome: bytes) -> bytes:
    """An outcome with the trace context that its signal came with."""
    traceparent, tracestate = trace_context(pending.payload)
    if not traceparent:
        return outcome
    added = {"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})}
    return msgspec.msgpack.encode({**_maps.decode(outcome), **added})


def _given_up(pending: Pending) -> dict[str, Any]:
    """The outcome of a dead letter that ended agents even as a letter; the ledger does not know it."""
    return {
        "trace_id": pending.trace_id,
        "symbol": pending.symbol,
        "status": "failed",
        "decision": None,
        "order": None,
        "spans": [],
        "attempts": pending.sent,
        "reason": f"given up: ended {pending.agent} even as a dead letter: {pending.reason}",
        "ledger": None,
    }
