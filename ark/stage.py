"""The agent's side of the delivery protocol (see `ark.delivery`): admit, handle, commit, then send. No I/O.

While a rollout is under way, a stage asks the agent's arms, too (see `ark.trials`): what an arm proposes for a
signal of its own is adopted, committed and sent on here, in the role's name and epoch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import apsw
import msgspec

from ark.agent import MOST_RECORDED, Agent, Durability, Effect, Hold
from ark.blackbox import Work
from ark.changes import Group
from ark.context import StageContext
from ark.delivery import GATEWAY
from ark.errors import AgentError, JournalError, ProposalError, StorageError
from ark.journal import Answer, Journal
from ark.message import (
    HELD,
    LETTER,
    NOTICE,
    OUTCOME,
    PROPOSAL,
    UNREADABLE,
    WORK,
    Envelope,
    Letter,
    Proposed,
    Span,
    encode,
)
from ark.routing import OWN, Table
from ark.trials import Record, Returned, TakenBack, Trials

__all__ = ["LARGEST_HOLD", "Stage"]

LARGEST_HOLD = 1 << 16
"""Bytes of a `Hold`, which is shown to everybody who asks."""
_FOLLOWING = (NOTICE, PROPOSAL)
"""The kinds that raise no epoch."""
_PORTION = 512
"""At most so many of those that waited for their agent are taken in one commit, as of a mailbox in one round."""


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
        record: Where the evidence of a rollout goes; None for nowhere.
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
        record: Record | None = None,
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
        self._taken_back: list[TakenBack] = []  # before everything in the stash
        self.trials = Trials(context.agent, agent, record, context.release)
        self._proposals = msgspec.msgpack.Decoder(Proposed)
        self._is_whole = type(agent).case is Agent.case  # the message itself is the case
        self._newest: deque[tuple[str, str, msgspec.Raw]] = deque(maxlen=MOST_RECORDED)
        self._replay: deque[tuple[str, str, Any]] = deque()
        self._replaying: tuple[str, float] = ("", 0.0)

    @property
    def stashed(self) -> int:
        """How many signals and letters wait here until the agent is ready; arms' answers are none."""
        return len(self._taken_back) + sum(each.kind != PROPOSAL for each in self._stash)

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
        an epoch that the agents after it have not seen. Arms tell of no new epoch; they only know what was asked.
        """
        envelopes = list(envelopes)
        newest = max([self.epoch, *(each.epoch for each in envelopes if each.kind not in _FOLLOWING)])
        if newest > self.epoch:
            self.epoch = newest
            self.trials.forget()
        admitted = [each for each in envelopes if each.kind == NOTICE or each.epoch == self.epoch]
        self.dropped += len(envelopes) - len(admitted)
        if len(admitted) < len(envelopes):
            self.context.count("ark_agent_dropped_total", len(envelopes) - len(admitted))
        if self._stash and self._stash[0].epoch < self.epoch:
            self.dropped += len(self._stash)
            self._stash = [each for each in self._stash if each.epoch == self.epoch]
            self.dropped -= len(self._stash)
        if self._taken_back and self._taken_back[0].envelope.epoch < self.epoch:
            self.dropped += len(self._taken_back)
            self._taken_back.clear()
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
        if self._is_waited_for or not self.agent.ready(self.context):
            self._stash.extend(each for each in batch if each.kind != NOTICE)
            batch = [each for each in batch if each.kind == NOTICE]
        if batch:
            yield from self._process(batch, now_ns)
            yield from self._process_stash(now_ns)

    def turn(self, table: Table | None, up: frozenset[str], now_ns: Callable[[], int]) -> Iterator[str]:
        """Go by a routing table, with these arms running; decide here what is taken back from arms.

        It waits for the agent as what comes in does. Yields as `process` does.
        """
        yield from self._take_over(self.trials.turn(table, up, now_ns() / 1e9, self._came()), now_ns)

    def overtake(self, now_ns: Callable[[], int]) -> Iterator[str]:
        """Decide here what arms are too late with, as `turn` does. Yields as `process` does."""
        yield from self._take_over(self.trials.overdue(now_ns() / 1e9, self._came()), now_ns)

    def _take_over(self, taken: list[TakenBack], now_ns: Callable[[], int]) -> Iterator[str]:
        if not taken:
            return
        if self._may_wait:
            self._taken_back += taken
            yield from self._process_stash(now_ns)
        else:
            yield from self._process([], now_ns, taken)

    def _came(self) -> set[tuple[int, str]]:
        """The answers of arms that wait here: the numbers of their trials, and whose they are."""
        came = set()
        for each in self._stash:
            if each.kind == PROPOSAL:
                with suppress(*UNREADABLE):
                    proposed = self._proposals.decode(each.payload)
                    came.add((proposed.number, proposed.arm))
        return came

    def replay(self, now: float) -> None:
        """Show recorded signals to both arms once more, as many as are due, each once in a rollout.

        Args:
            now: Seconds since the epoch.
        """
        trials = self.trials
        per_s = trials.replay_per_s
        if not per_s or trials.table is None:
            return
        rollout, shown_at = self._replaying
        if rollout != trials.table.rollout:
            rollout, shown_at = trials.table.rollout, now
            self._replay = deque(self._recorded_cases())
            self.context.log.info("replay", rollout=rollout, cases=len(self._replay))
        due = min(int((now - shown_at) * per_s), len(self._replay), trials.room)
        for _ in range(max(0, due)):
            trace_id, symbol, decided = self._replay.popleft()
            case = encode(decided)
            envelope = Envelope(WORK, trace_id, symbol, 0, self.epoch, 2, case)
            self._outgoing.extend(trials.show_again(envelope, case, now))
        if due > 0 or now < shown_at:
            shown_at = now
        self._replaying = (rollout, shown_at)

    def _recorded_cases(self) -> Iterable[tuple[str, str, Any]]:
        """What there is to show once more. No rollout is worth the life of the role's own process."""
        if self._is_whole:  # what was taken back from an arm, or sent again, came more than once
            return {each[0]: each for each in self._newest}.values()
        self.context.away()
        try:
            return self.agent.recorded(MOST_RECORDED, self.context)
        except Exception as error:
            self.context.log.error("not_replayed", exc_info=error)
            return ()

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

    @property
    def _is_waited_for(self) -> bool:
        """Whether anything waits here until the agent is ready."""
        return bool(self._taken_back or self._stash)

    def _process_stash(self, now_ns: Callable[[], int]) -> Iterator[str]:
        while self._is_waited_for and self.agent.ready(self.context):
            taken, self._taken_back = self._taken_back, []
            portion, self._stash = self._stash[:_PORTION], self._stash[_PORTION:]
            yield from self._process(portion, now_ns, taken)

    def _process(
        self, batch: list[Envelope], now_ns: Callable[[], int], taken: Sequence[TakenBack] = ()
    ) -> Iterator[str]:
        """See `process`; what was taken back from arms comes first, and no arm is asked about it any more."""
        context, journal = self.context, self._journal
        context.epoch = self.epoch
        if journal:
            journal.begin()
        work = _Batch(self, now_ns)
        for each in taken:
            work.own(each)
        for envelope in batch:
            if envelope.kind == WORK:
                work.signal(envelope)
            elif envelope.kind == PROPOSAL:
                work.proposal(envelope)
            elif envelope.kind == LETTER:
                context.at(envelope, now_ns())
                self._note(envelope.trace_id, "bury")
                work.outgoing.append(self._buried(envelope))
            elif envelope.kind == NOTICE and self._notices:
                context.away()
                self._note("", "notice")
                self.agent.notice(self._notices.decode(envelope.payload), context)
        context.away()
        self._note("", "settle")
        self.agent.settle(context)
        self._note("", "")
        self.handled += len(taken) + len(batch)
        yield "handled"
        yield from self._commit(now_ns)
        if work.effects and journal:
            yield "intended"
            journal.begin()
            work.perform()
            yield "performed"
            yield from self._commit(now_ns)
        yield "committed"
        self._outgoing.extend(each for each in work.outgoing if each is not None)
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

    def _answered(self, at: _Place, answer: Any, answered_ns: int) -> tuple[str, Envelope]:
        envelope, received_ns = at.envelope, at.received_ns
        version = at.version or self.context.version
        span = Span(self.context.agent, version, received_ns, answered_ns, at.track)
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

    def _case(self, envelope: Envelope, message: Any) -> msgspec.Raw | None:
        """What arms are given of a signal; None where there is nothing for them to decide."""
        if self._is_whole:
            return envelope.payload
        self._note(envelope.trace_id, "case")
        case = self.agent.case(message, self.context)
        return None if case is None else encode(case)

    def _collect_sent(self) -> None:
        for destination, kind, payload in self.context.take_sent():
            sender = self.context.agent
            self._outgoing.append((destination, Envelope(kind, sender, "", 0, self.epoch, 0, payload)))


class _Place(msgspec.Struct, frozen=True):
    """A signal on its way through the agent.

    Attributes:
        envelope: The signal.
        received_ns: When it came, nanoseconds since the epoch.
        version, track: Of the arm that decided it, for its span; see `ark.message.Span`.
    """

    envelope: Envelope
    received_ns: int
    version: str = ""
    track: str = ""


class _Batch:
    """What one pass through the agent gathers: what is to be sent, in order, and the effects that go before it."""

    def __init__(self, stage: Stage, now_ns: Callable[[], int]) -> None:
        self.outgoing: list[tuple[str, Envelope] | None] = []
        self.effects: list[tuple[int, _Place, Any, bool]] = []
        self._stage = stage
        self._now_ns = now_ns

    def own(self, taken: TakenBack) -> None:
        """Answer a signal here, which is the role's after all."""
        self.signal(taken.envelope, own=True, is_case=taken.is_case)

    def signal(self, envelope: Envelope, *, own: bool = False, is_case: bool = True) -> None:
        """Answer a signal: as before, or here, or (unless it must be `own`) through an arm.

        Args:
            envelope: The signal.
            own: Whether no arm is to be asked.
            is_case: Whether an arm could decide it; where arms are asked it is looked at anew.
        """
        stage, received_ns = self._stage, self._now_ns()
        if stage._journal and envelope.attempt > 1:
            recorded = stage._recorded(envelope)
            if recorded:
                self.outgoing.append(stage._onward(envelope, msgspec.Raw(recorded.payload), spans=recorded.spans))
                return
            intent = stage._recorded_intent(envelope)
            if intent is not None:
                self._intend(_Place(envelope, received_ns), intent, again=True)
                return
        stage.context.at(envelope, received_ns)
        message = stage._decoder.decode(envelope.payload)
        trials = stage.trials
        if stage._is_whole:
            stage._newest.append((envelope.trace_id, envelope.symbol, envelope.payload))
        if not trials.active or own:
            stage._note(envelope.trace_id, "handle")
            track = trials.own_track if is_case else ""
            stage.context.decided_by("", track)
            answer = stage.agent.handle(message, stage.context)
        else:
            now = received_ns / 1e9
            case = stage._case(envelope, message)
            arm = OWN if case is None else trials.arm_for(envelope, message, now)
            if case is not None and arm != OWN:
                self.outgoing.extend(trials.give(envelope, case, received_ns, arm, now))
                return
            if case is None and trials.wait_behind(envelope):
                return
            stage._note(envelope.trace_id, "handle")
            # Where no arm could have decided it, how it ends says nothing about any.
            track = trials.own_track if case is not None else ""
            stage.context.decided_by("", track)
            answer = stage.agent.handle(message, stage.context)
            if case is not None:
                proposed = stage.agent.proposed(answer)
                self.outgoing.extend(trials.give(envelope, case, received_ns, OWN, now, own=proposed))
        self._answer(_Place(envelope, received_ns, "", track), answer)

    def proposal(self, envelope: Envelope) -> None:
        """Adopt what an arm proposes for a signal of its own; decide here what it failed on."""
        stage = self._stage
        try:
            proposed = stage._proposals.decode(envelope.payload)
        except UNREADABLE:
            stage.dropped += 1  # whose it is cannot be told; what hangs on it is taken back when it is late
            return
        returned, taken = stage.trials.take(proposed, self._now_ns() / 1e9)
        if returned is not None:
            given = returned.given
            refusal, taken = self._adopt(returned), [TakenBack(each, is_case=False) for each in given.behind]
            if refusal is not None:
                stage.trials.refuse(returned, refusal, self._now_ns() / 1e9)
                taken = [TakenBack(given.envelope, is_case=True), *taken, *stage.trials.take_back(returned.arm)]
        for each in taken:
            self.own(each)

    def _adopt(self, returned: Returned) -> str | None:
        """Answer as an arm proposes; say why not, where that may or can not be done.

        Whatever a stranger's proposal makes of this, the signal is not lost and its agent lives: what was written
        meanwhile is taken back.
        """
        stage, envelope = self._stage, returned.given.envelope
        context, journal, before = stage.context, stage._journal, len(self.outgoing)
        context.at(envelope, returned.given.received_ns, "adopt")
        stage._note(envelope.trace_id, "adopt")
        message = stage._decoder.decode(envelope.payload)
        track = stage.trials.track(returned.arm)
        context.decided_by(returned.version, track)
        try:
            with journal.attempt() if journal else nullcontext():
                answer = stage.agent.adopt(message, returned.answer, context)
                self._answer(_Place(envelope, returned.given.received_ns, returned.version, track), answer)
                context.adopt_changes(envelope, returned.changes, returned.release)
        except (apsw.Error, JournalError, StorageError):
            raise  # nobody's fault but the disk's
        except Exception as error:
            del self.outgoing[before:]
            self.effects = [each for each in self.effects if each[0] < before]
            context.forget_changes()
            if isinstance(error, ProposalError):
                return error.message
            context.log.error("proposal_not_adopted", arm=returned.arm, exc_info=error)
            return f"it cannot be adopted: {type(error).__name__}: {error}"
        return None

    def perform(self) -> None:
        """Do what was intended; every intent is committed."""
        stage, context = self._stage, self._stage.context
        with stage.agent.performing(context):
            for position, at, intent, again in self.effects:
                context.at(at.envelope, at.received_ns, "perform")
                context.decided_by(at.version, at.track)
                stage._note(at.envelope.trace_id, "perform")
                answer = stage.agent.perform(intent, context, again=again)
                if isinstance(answer, Hold):
                    raise AgentError(f"agent {context.agent} holds a signal in `perform`; only `handle` can")
                self.outgoing[position] = stage._answered(at, answer, self._now_ns())
        context.away()
        stage._note("", "")

    def _answer(self, at: _Place, answer: Any) -> None:
        stage, envelope = self._stage, at.envelope
        if isinstance(answer, Effect):
            if not stage._journal or not stage._intents:
                raise AgentError(f"agent {stage.context.agent} returned an effect but declares no intent")
            stage._journal.record_intent(envelope.seq, envelope.trace_id, bytes(encode(answer.intent)))
            self._intend(at, answer.intent, again=False)
        elif isinstance(answer, Hold):
            self.outgoing.append(stage._held(envelope, answer, at.received_ns, self._now_ns()))
        else:
            self.outgoing.append(stage._answered(at, answer, self._now_ns()))
        if envelope.attempt > 1:
            # Sent again, perhaps because this very signal ends its agent while a batch is settled: settled alone,
            # it is the one that is noted.
            stage._note(envelope.trace_id, "settle")
            stage.agent.settle(stage.context)

    def _intend(self, at: _Place, intent: Any, *, again: bool) -> None:
        self.effects.append((len(self.outgoing), at, intent, again))
        self.outgoing.append(None)
