"""The delivery protocol: nothing lost, nothing twice, one symbol's signals in order. No I/O in here.

Two sides. The `Dispatcher` stands in the gateway: it knows every accepted signal that has no outcome yet, and
sends them in order, a window at a time. A `Stage` stands around each agent: it admits envelopes, has the agent
handle them, commits, and only then gives out what is to be sent.

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

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ark.agent import Agent, Durability, Effect, Hold
from ark.blackbox import Work
from ark.changes import Group
from ark.context import StageContext
from ark.errors import AgentError
from ark.journal import Answer, Journal
from ark.message import HELD, LETTER, NOTICE, OUTCOME, WORK, Envelope, Letter, Span, encode
from ark.ruling import Ruling

__all__ = ["GATEWAY", "STRIKES", "Dispatcher", "Held", "Pending", "Stage"]

GATEWAY = "gateway"
"""The name under which agents reach the gateway."""
STRIKES = 3
"""So often may a signal end an agent before it is a dead letter."""
LARGEST_HOLD = 1 << 16
"""Bytes of a `Hold`, which is shown to everybody who asks."""
_PORTION = 512
"""At most so many of those that waited for their agent are taken in one commit, as of a mailbox in one round."""


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


class _Outcome(msgspec.Struct, frozen=True):
    """What the gateway reads of an outcome."""

    trace_id: str
    status: str


class _Hold(msgspec.Struct, frozen=True):
    """What the gateway reads of a `Hold`."""

    until: float
    reason: str
    details: dict[str, Any]


class Stage:
    """The agent's side: admits, has the agent handle, commits, and gives out what to send.

    Args:
        agent: The agent, not yet set up.
        context: What it may know; see `ark.context`.
        successor: The name of the next agent, or `GATEWAY` for the last one.
        journal: The agent's journal, or None for an agent without.
        epoch: The epoch that the supervisor told.
        note: Called before each message with the trace id and the name of what is about to be called, and
            with two empty texts when that has returned: the black box.
    """

    def __init__(
        self,
        agent: Agent[Any],
        context: StageContext,
        *,
        successor: str,
        journal: Journal | None,
        epoch: int,
        note: Callable[[str, str], None] = lambda trace_id, handler: None,
    ) -> None:
        if agent.durability is not Durability.NONE and journal is None:
            raise AgentError(f"agent {context.agent} declares a journal and was given none")
        self.agent = agent
        self.context = context
        self.epoch = epoch
        self.handled = 0
        self.dropped = 0
        self.work = Work()
        self._successor = successor
        self._journal = journal
        self._note = note
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(agent.takes)
        self._outcomes = msgspec.msgpack.Decoder(_Outcome)
        self._holds = msgspec.msgpack.Decoder(_Hold)
        self._letters = msgspec.msgpack.Decoder(Letter)
        self._notices = None if agent.notices is None else msgspec.msgpack.Decoder(agent.notices)
        self._intents: msgspec.msgpack.Decoder[Any] | None = (
            None if agent.intends is None else msgspec.msgpack.Decoder(agent.intends)
        )
        self._outgoing: list[tuple[str, Envelope]] = []
        self._may_wait = type(agent).ready is not Agent.ready
        self._stash: list[Envelope] = []

    @property
    def stashed(self) -> int:
        """How many signals and letters wait here until the agent is ready."""
        return len(self._stash)

    def setup(self) -> None:
        """Let the agent load its state; what it wrote is committed, what it sent is in `take_outgoing`."""
        self._note("", "setup")
        self.context.epoch = self.epoch
        if self._journal:
            self._apply_changes(self._journal.changes())
            self._journal.begin()
        self.agent.setup(self.context)
        changes = self._keep_changes()
        if self._journal:
            self._journal.commit()
        self._apply_changes(changes)
        self.context.settle_measured()
        self._note("", "")
        self._collect_sent()

    def admit(self, envelopes: Iterable[Envelope]) -> list[Envelope]:
        """Sort out what is older than the newest epoch; notices belong to no epoch.

        Also what came before the newest epoch within the same frames: an agent must not answer it in the name of
        an epoch that the agents after it have not seen.
        """
        envelopes = list(envelopes)
        self.epoch = max([self.epoch, *(each.epoch for each in envelopes if each.kind != NOTICE)])
        admitted = [each for each in envelopes if each.kind == NOTICE or each.epoch == self.epoch]
        self.dropped += len(envelopes) - len(admitted)
        if len(admitted) < len(envelopes):
            self.context.count("ark_agent_dropped_total", len(envelopes) - len(admitted))
        if self._stash and self._stash[0].epoch < self.epoch:
            self.dropped += len(self._stash)
            self._stash = [each for each in self._stash if each.epoch == self.epoch]
            self.dropped -= len(self._stash)
        return admitted

    def take_outgoing(self) -> list[tuple[str, Envelope]]:
        """What is committed and may be sent, as pairs of destination and envelope, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def process(self, batch: list[Envelope], now_ns: Callable[[], int]) -> Iterator[str]:
        """Take admitted envelopes through the agent, one commit for all of them.

        While the agent is not ready, signals and letters are put aside; what was put aside before is taken as soon
        as it is, in commits of its own.

        Yields the name of each point at which a death of the process makes a difference; a host runs it to the
        end, the simulator may stop at any of them. Nothing of a commit is in `take_outgoing` before its end.

        Args:
            batch: Admitted envelopes, in order.
            now_ns: The clock, nanoseconds since the epoch.
        """
        if not self._may_wait:
            yield from self._process(batch, now_ns)
            return
        yield from self._process_stash(now_ns)
        if self._stash or not self.agent.ready(self.context):
            self._stash.extend(each for each in batch if each.kind != NOTICE)
            batch = [each for each in batch if each.kind == NOTICE]
        if batch:
            yield from self._process(batch, now_ns)
            yield from self._process_stash(now_ns)

    def tick(self, now_ns: Callable[[], int]) -> Iterator[str]:
        """Call the agent's `tick`, in a commit of its own; then take what had waited for the agent, if it is ready.

        Yields as `process` does.
        """
        context, journal = self.context, self._journal
        context.epoch = self.epoch
        context.away()
        if journal:
            journal.begin()
        self._note("", "tick")
        self.agent.tick(context)
        self._note("", "")
        yield "ticked"
        yield from self._commit(now_ns)
        yield "committed"
        self._collect_sent()
        yield from self._process_stash(now_ns)

    def _process_stash(self, now_ns: Callable[[], int]) -> Iterator[str]:
        while self._stash and self.agent.ready(self.context):
            portion, self._stash = self._stash[:_PORTION], self._stash[_PORTION:]
            yield from self._process(portion, now_ns)

    def _process(self, batch: list[Envelope], now_ns: Callable[[], int]) -> Iterator[str]:
        context, journal = self.context, self._journal
        context.epoch = self.epoch
        outgoing: list[tuple[str, Envelope] | None] = []
        effects: list[tuple[int, Envelope, int, Any, bool]] = []
        if journal:
            journal.begin()
        for envelope in batch:
            if envelope.kind == WORK:
                received_ns = now_ns()
                recorded = intent = None
                if journal and envelope.attempt > 1:
                    recorded = self._recorded(envelope)
                    intent = None if recorded else self._recorded_intent(envelope)
                if recorded:
                    outgoing.append(self._onward(envelope, msgspec.Raw(recorded.payload), spans=recorded.spans))
                    continue
                if intent is not None:
                    effects.append((len(outgoing), envelope, received_ns, intent, True))
                    outgoing.append(None)
                    continue
                context.at(envelope, received_ns)
                self._note(envelope.trace_id, "handle")
                answer = self.agent.handle(self._decoder.decode(envelope.payload), context)
                if isinstance(answer, Effect):
                    if not journal or not self._intents:
                        raise AgentError(f"agent {context.agent} returned an effect but declares no intent")
                    journal.record_intent(envelope.seq, envelope.trace_id, bytes(encode(answer.intent)))
                    effects.append((len(outgoing), envelope, received_ns, answer.intent, False))
                    outgoing.append(None)
                elif isinstance(answer, Hold):
                    outgoing.append(self._held(envelope, answer, received_ns, now_ns()))
                else:
                    outgoing.append(self._answered(envelope, answer, received_ns, now_ns()))
                if envelope.attempt > 1:
                    # Sent again, perhaps because this very signal ends its agent while a batch is settled: settled
                    # alone, it is the one that is noted.
                    self._note(envelope.trace_id, "settle")
                    self.agent.settle(context)
            elif envelope.kind == LETTER:
                context.at(envelope, now_ns())
                self._note(envelope.trace_id, "bury")
                outgoing.append(self._buried(envelope))
            elif envelope.kind == NOTICE and self._notices:
                context.away()
                self._note("", "notice")
                self.agent.notice(self._notices.decode(envelope.payload), context)
        context.away()
        self._note("", "settle")
        self.agent.settle(context)
        self._note("", "")
        self.handled += len(batch)
        yield "handled"
        yield from self._commit(now_ns)
        if effects and journal:
            yield "intended"
            journal.begin()
            with self.agent.performing(context):
                for position, envelope, received_ns, intent, again in effects:
                    context.at(envelope, received_ns, "perform")
                    self._note(envelope.trace_id, "perform")
                    answer = self.agent.perform(intent, context, again=again)
                    if isinstance(answer, Hold):
                        raise AgentError(f"agent {context.agent} holds a signal in `perform`; only `handle` can")
                    outgoing[position] = self._answered(envelope, answer, received_ns, now_ns())
            context.away()
            self._note("", "")
            yield "performed"
            yield from self._commit(now_ns)
        yield "committed"
        self._outgoing.extend(each for each in outgoing if each is not None)
        self._collect_sent()

    def _commit(self, now_ns: Callable[[], int]) -> Iterator[str]:
        changes = self._keep_changes()
        if self._journal:
            began_ns = now_ns()
            self._journal.commit()
            took_s = max(0, now_ns() - began_ns) / 1e9
            self.context.observe("ark_journal_commit_seconds", took_s, owner=self.context.agent)
        # At once: what a death in between leaves uncounted stays so, since its answers are recorded.
        self.context.settle_measured()
        if changes:
            yield "kept"
            self._apply_changes(changes)

    def _keep_changes(self) -> list[Group]:
        """Keep what the agent changed of its state with what is about to be committed."""
        changes = self.context.state.take()
        if self._journal:
            self._journal.keep_changes(changes)
        return changes

    def _apply_changes(self, changes: list[Group]) -> None:
        if changes:
            self.context.apply_state(changes)
            if self._journal:
                self._journal.note_applied()

    def _recorded(self, envelope: Envelope) -> Answer | None:
        if self.agent.recalls:
            message = self.agent.recall(envelope.trace_id, self.context)
            return None if message is None else Answer(bytes(encode(message)), envelope.spans)
        return self._journal.answer(envelope.seq, envelope.trace_id) if self._journal else None

    def _recorded_intent(self, envelope: Envelope) -> Any:
        if not self._intents or not self._journal:
            return None
        intent = self._journal.intent(envelope.seq, envelope.trace_id)
        return None if intent is None else self._intents.decode(intent)

    def _answered(
        self, envelope: Envelope, answer: Any, received_ns: int, answered_ns: int
    ) -> tuple[str, Envelope]:
        span = Span(self.context.agent, self.context.version, received_ns, answered_ns)
        spans = (*envelope.spans, span)
        payload = encode(answer)
        self._count(max(0, answered_ns - received_ns))
        if self._successor == GATEWAY:
            self._check_outcome(payload)
        if self._journal and not self.agent.recalls:
            self._journal.record_answer(envelope.seq, envelope.trace_id, bytes(payload), spans)
        return self._onward(envelope, payload, spans=spans)

    def _count(self, took_ns: int) -> None:
        failed = self.context.take_failure()
        self.work.count(took_ns, failed=failed)
        self.context.note_answer(took_ns / 1e9, failed=failed)

    def _held(self, envelope: Envelope, hold: Hold, received_ns: int, held_ns: int) -> tuple[str, Envelope]:
        agent = self.context.agent
        if envelope.ruling is not None:
            raise AgentError(
                f"agent {agent} holds signal {envelope.trace_id}, on which {envelope.ruling.by} has ruled",
                hint="look at `context.ruling` first: a person is asked once",
            )
        payload = encode(hold)
        try:
            checked = self._holds.decode(payload)
        except msgspec.DecodeError as error:
            raise AgentError(f"agent {agent} returned a wrong Hold: {error}") from error
        if not math.isfinite(checked.until) or len(payload) > LARGEST_HOLD:
            raise AgentError(
                f"agent {agent} returned a Hold of {len(payload)} bytes until {checked.until}",
                hint=f"it needs a deadline, and has at most {LARGEST_HOLD} bytes",
            )
        spans = (*envelope.spans, Span(agent, self.context.version, received_ns, held_ns))
        return GATEWAY, Envelope(
            HELD,
            envelope.trace_id,
            envelope.symbol,
            envelope.seq,
            envelope.epoch,
            envelope.attempt,
            payload,
            spans,
        )

    def _buried(self, envelope: Envelope) -> tuple[str, Envelope]:
        letter = self._letters.decode(envelope.payload)
        recorded = self._recorded(envelope)
        if recorded:
            letter = msgspec.structs.replace(
                letter, records={**letter.records, self.context.agent: recorded.payload}
            )
        answer = self.agent.bury(letter, self.context)
        if self._successor == GATEWAY:
            payload = encode(answer)
            self._check_outcome(payload)
            return self._onward(envelope, payload, spans=envelope.spans)
        if answer is not None:
            records = {**letter.records, self.context.agent: bytes(encode(answer))}
            letter = msgspec.structs.replace(letter, records=records)
        return self._onward(envelope, encode(letter), spans=envelope.spans)

    def _check_outcome(self, payload: msgspec.Raw) -> None:
        """An outcome that the gateway could not read must end the agent that gave it, and not the gateway."""
        try:
            self._outcomes.decode(payload)
        except msgspec.DecodeError as error:
            raise AgentError(
                f"agent {self.context.agent} is the last one and gave no outcome: {error}",
                hint="an outcome is a map with `trace_id` and `status`, and whatever else it wants",
            ) from error

    def _onward(self, envelope: Envelope, payload: msgspec.Raw, *, spans: tuple[Span, ...]) -> tuple[str, Envelope]:
        kind = OUTCOME if self._successor == GATEWAY else envelope.kind
        return self._successor, Envelope(
            kind,
            envelope.trace_id,
            envelope.symbol,
            envelope.seq,
            envelope.epoch,
            envelope.attempt,
            payload,
            spans,
            envelope.ruling,
        )

    def _collect_sent(self) -> None:
        for destination, kind, payload in self.context.take_sent():
            sender = self.context.agent
            self._outgoing.append((destination, Envelope(kind, sender, "", 0, self.epoch, 0, payload)))
