"""The delivery protocol: nothing lost, nothing twice, one symbol's signals in order. No I/O in here.

Two sides. The `Dispatcher` stands in the gateway: it knows every accepted signal that has no outcome yet, and
sends them in order, a window at a time. A `Stage` stands around each agent: it admits envelopes, has the agent
handle them, commits, and only then gives out what is to be sent (`ark.stage`).

What holds them together is the epoch, a number that only a supervisor raises:

1. Whenever a process of the pipeline (or the gateway) is restarted, the supervisor raises the epoch, gives it to
   the new process before that reads its mailbox, and tells the gateway.
2. The gateway then sends everything unfinished again, in order of acceptance, in the new epoch.
3. A stage drops what is older than the newest epoch that it was told of or has seen. What an old process still
   had in its pipes can therefore not overtake what is sent again.
4. A stage with a journal answers a trace that comes again with the recorded answer, in the new epoch.
5. A stage sends only after its commit: whatever a later stage has seen will be answered the same way for ever.

A lost envelope without a restart (which ZeroMQ over one machine does not produce, but a bug might) shows as a
stall: the gateway then asks the supervisor for a new epoch. Sending single signals again inside an epoch was
given up: after a loss it breaks the order of a symbol.

A signal that ends its agent is known by the agent's black box, and counted (`Dispatcher.strike`). At the third
strike it becomes a dead letter: it passes through the pipeline once more as a `Letter` that no agent handles, so
that reservations are released and the ledger gets its row. A letter that itself ends agents three times is
given up by the gateway alone.

A signal that a person must decide is parked (`Dispatcher.hold`): it is in no pipe, and no epoch sends it again.
Once it is ruled it is sent with the ruling attached, in this and in every later epoch; every stage hands the ruling
on, also with a recorded answer. A held signal gives up its place in the order of its symbol; the others go on.
Only what was sent in the present epoch is parked: what an older one had is sent again, and held again then. A
signal that is ruled has therefore no copy without the ruling that could still reach its agent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping

import msgspec

from ark.message import LETTER, WORK, Envelope, Letter, encode
from ark.ruling import Ruling

__all__ = ["GATEWAY", "STRIKES", "Dispatcher", "Held", "Pending"]

GATEWAY = "gateway"
"""The name under which agents reach the gateway."""
STRIKES = 3
"""So often may a signal end an agent before it is a dead letter."""


class Held(msgspec.Struct, frozen=True):
    """What a person must decide.

    Attributes:
        agent: Who asks.
        since: When the gateway heard of it, seconds since the epoch.
        until: The deadline, seconds since the epoch.
        reason: What is asked.
        details: What else the agent wants seen: a map, msgpack.
        size: Bytes of it as it came.
    """

    agent: str
    since: float
    until: float
    reason: str
    details: msgspec.Raw
    size: int


class Pending(msgspec.Struct):
    """An accepted signal without an outcome.

    Attributes:
        seq: Its number of acceptance.
        trace_id, symbol: The signal's.
        payload: The signal, msgpack.
        sent: How often it may have been sent; never too low.
        strikes: How often it ended an agent.
        agent, reason: Where and how it did so last.
        expelled: Whether it is a dead letter.
        sent_in: The epoch in which it was sent last and is still under way, 0 for none.
        held: What a person must decide about it; None where nobody must.
        ruling: How a person did.
        accepted_at: When it was taken in, seconds since the epoch.
        durable_at: When that was on the disk; None where an earlier process of the gateway wrote it.
        sent_at: When it was sent first; None where it was not, or an earlier process of the gateway did.
        resent_at: When it was sent again, the last time; None where it was not.
    """

    seq: int
    trace_id: str
    symbol: str
    payload: bytes
    sent: int = 0
    strikes: int = 0
    agent: str = ""
    reason: str = ""
    expelled: bool = False
    sent_in: int = 0
    held: Held | None = None
    ruling: Ruling | None = None
    accepted_at: float = 0.0
    durable_at: float | None = None
    sent_at: float | None = None
    resent_at: float | None = None

    @property
    def is_parked(self) -> bool:
        """Whether it waits for a person."""
        return self.held is not None and self.ruling is None and not self.expelled

    @property
    def asked_at(self) -> float:
        """Since when its outcome is the node's affair, seconds since the epoch: what a person took is not."""
        return self.accepted_at if self.ruling is None else self.ruling.at


class Dispatcher:
    """The gateway's side: what is unfinished, what is in flight, what to send next.

    Args:
        epoch: The epoch to send in.
        window: At most so many signals are in flight, so that no mailbox can overflow.
        stall_s: So long may the signal that is in flight longest be the next one to come back before `stalled` says
            so. That others come back meanwhile proves nothing for it: they may all have overtaken it.
    """

    def __init__(self, *, epoch: int, window: int = 512, stall_s: float = 30.0) -> None:
        self.epoch = epoch
        self.window = window
        self.paused = False
        self._stall_s = stall_s
        self._patience_s = stall_s
        self._progress_at: float | None = None
        self._unfinished: OrderedDict[str, Pending] = OrderedDict()
        self._unsent: deque[Pending] = deque()
        self._parked: dict[str, Pending] = {}
        self._moving: OrderedDict[str, Pending] = OrderedDict()  # the others: of 20,000, none must be passed over
        self._in_flight = 0
        self._under_way: deque[Pending] = deque()  # as sent in this epoch; the first one is in flight

    def __len__(self) -> int:
        return len(self._unfinished)

    @property
    def in_flight(self) -> int:
        """How many signals are somewhere in the pipeline."""
        return self._in_flight

    @property
    def parked(self) -> Mapping[str, Pending]:
        """The signals that wait for a person, by trace id."""
        return self._parked

    def is_under_way(self, pending: Pending) -> bool:
        """Whether a signal is somewhere in the pipeline."""
        return pending.sent_in == self.epoch

    @property
    def first_seq(self) -> int | None:
        """The number of the oldest unfinished signal, None where there is none."""
        return next((pending.seq for pending in self._unfinished.values()), None)

    @property
    def oldest(self) -> Pending | None:
        """Of the signals that have no outcome and wait for no person, the one for which that is so longest.

        As `accept` gave them; those on which a person has ruled, or that ended an agent meanwhile, come behind.
        """
        return next(iter(self._moving.values()), None)

    def find(self, trace_id: str) -> Pending | None:
        """The unfinished signal of that trace, if there is one."""
        return self._unfinished.get(trace_id)

    def accept(self, pending: Pending) -> None:
        """Take a signal whose acceptance is committed. Signals come in the order of `seq`."""
        self._unfinished[pending.trace_id] = pending
        if pending.is_parked:
            self._parked[pending.trace_id] = pending
        else:
            self._moving[pending.trace_id] = pending
            self._unsent.append(pending)

    def hold(self, trace_id: str, epoch: int, held: Held) -> Pending | None:
        """Park a signal until a person has ruled.

        Args:
            trace_id: The signal.
            epoch: The epoch in which the agent was sent the signal that it holds.
            held: What is to be decided.

        Returns:
            The signal; None where it is not to be parked: it has ended, or is ruled, or will be sent again anyway.
        """
        pending = self._unfinished.get(trace_id)
        if pending is None or pending.ruling is not None or not pending.sent_in == epoch == self.epoch:
            return None
        self._land(pending)
        if pending.expelled:
            self._unsent.append(pending)  # it was sent before it was a dead letter
            return None
        pending.held = held
        del self._moving[trace_id]
        self._parked[trace_id] = pending
        return pending

    def rule(self, trace_id: str, ruling: Ruling) -> Pending | None:
        """Send a parked signal again, with the ruling. Gives None for one that is not parked."""
        pending = self._parked.get(trace_id)
        if pending is not None:
            pending.ruling = ruling
            self._unpark(pending)
        return pending

    def raise_epoch(self, epoch: int) -> None:
        """Begin a new epoch: what is unfinished and not parked is to be sent again, in order of acceptance.

        An old epoch is ignored.
        """
        if epoch <= self.epoch:
            return
        self.epoch = epoch
        self._unsent = deque(each for each in self._unfinished.values() if not each.is_parked)
        self._in_flight = 0
        self._under_way.clear()
        self._progress_at = None

    def finish(self, trace_id: str) -> Pending | None:
        """Take a signal out: it has its outcome. Gives None for one that was out already."""
        pending = self._unfinished.pop(trace_id, None)
        if pending is None:
            return None
        self._parked.pop(trace_id, None)
        self._moving.pop(trace_id, None)
        self._land(pending)
        return pending

    def strike(self, trace_id: str, agent: str, reason: str) -> Pending | None:
        """Count that a signal ended an agent; at the third time it is expelled.

        Returns:
            The signal as it now stands, to be written down; None if it is not unfinished.
        """
        pending = self._unfinished.get(trace_id)
        if pending is None:
            return None
        pending.strikes += 1
        pending.agent = agent
        pending.reason = reason
        if pending.strikes >= STRIKES:
            pending.expelled = True
            if trace_id in self._parked:
                self._unpark(pending)
        return pending

    def hopeless(self) -> list[Pending]:
        """Dead letters that ended agents even as letters: to be finished by the gateway itself."""
        return [each for each in self._unfinished.values() if each.strikes >= 2 * STRIKES]

    def due(self, now: float, most: int = 1 << 30, *, at: float | None = None) -> list[Envelope]:
        """What to send now, in order, and at most so much. Everything given here counts as sent.

        Args:
            now: Seconds on a clock that never goes back.
            most: At most so many.
            at: The same moment, seconds since the epoch; noted for the signal's trace.
        """
        envelopes: list[Envelope] = []
        if self.paused:
            return envelopes
        while self._unsent and self._in_flight < self.window and len(envelopes) < most:
            pending = self._unsent.popleft()
            if pending.trace_id not in self._unfinished:
                continue  # finished by an answer of an older epoch before its turn came again
            if pending.sent:
                pending.resent_at = at
            else:
                pending.sent_at = at
            pending.sent += 1
            pending.sent_in = self.epoch
            self._in_flight += 1
            self._under_way.append(pending)
            envelopes.append(self._envelope(pending))
        if envelopes and self._progress_at is None:
            self._progress_at = now
        return envelopes

    def stalled(self, now: float) -> bool:
        """Whether what is in flight longest should be back; each time it says so, it waits twice as long again."""
        if self.paused or not self._in_flight:
            self._progress_at = None
            return False
        if self._progress_at is None:
            self._progress_at = now
        if now - self._progress_at < self._patience_s:
            return False
        self._progress_at = now
        self._patience_s = min(self._patience_s * 2, 16 * self._stall_s)
        return True

    def _land(self, pending: Pending) -> None:
        """Something came back for a signal: it is not under way any more."""
        if pending.sent_in == self.epoch:
            self._in_flight -= 1
        pending.sent_in = 0
        while self._under_way and self._under_way[0].sent_in != self.epoch:
            self._under_way.popleft()
            self._progress_at = None
            self._patience_s = self._stall_s

    def _unpark(self, pending: Pending) -> None:
        del self._parked[pending.trace_id]
        self._moving[pending.trace_id] = pending
        self._unsent.append(pending)

    def _envelope(self, pending: Pending) -> Envelope:
        if pending.expelled:
            letter = Letter(
                pending.trace_id, pending.symbol, pending.agent, pending.reason, pending.sent, records={}
            )
            kind, payload, ruling = LETTER, encode(letter), None
        else:
            kind, payload, ruling = WORK, msgspec.Raw(pending.payload), pending.ruling
        return Envelope(
            kind,
            pending.trace_id,
            pending.symbol,
            pending.seq,
            self.epoch,
            pending.sent,
            payload,
            ruling=ruling,
        )
