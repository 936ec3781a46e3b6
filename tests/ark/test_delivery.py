"""The delivery protocol without I/O: order, window, epochs, strikes; and the stage around an agent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition

from ark import Agent, Context, Durability, Effect, Hold
from ark.context import StageContext
from ark.delivery import GATEWAY, STRIKES, Dispatcher, Held, Pending
from ark.errors import AgentError
from ark.journal import Journal, open_database
from ark.message import HELD, LETTER, NOTICE, OUTCOME, WORK, Envelope, Letter, encode
from ark.meters import Meters, read
from ark.ruling import Ruling, rule
from ark.stage import LARGEST_HOLD, Stage

FILLED = {"agent": "beta", "version": "1", "track": "stable"}
HELD_NOW = Held("alpha", 1.0, 2.0, "is this wise?", msgspec.Raw(b"\x80"), 1)
RULING = rule(b"secret", "t1", approved=True, by="ada", reason="looked", at=1.0)


def pending(seq: int) -> Pending:
    return Pending(seq, f"t{seq}", f"S{seq % 3}", b"\x01")


# The gateway's side


class Protocol(RuleBasedStateMachine):
    """Accepting, sending, finishing, striking and raising epochs, in any order."""

    @initialize(window=st.integers(1, 5))
    def begin(self, window: int) -> None:
        self.dispatcher = Dispatcher(epoch=1, window=window, stall_s=10.0)
        self.window = window
        self.seqs = count(1)
        self.accepted: set[str] = set()
        self.finished: set[str] = set()
        self.sent_now: list[Envelope] = []
        """What was sent in this epoch, in order."""
        self.ever: set[str] = set()
        self.parked: set[str] = set()
        self.ruled: set[str] = set()
        self.landed: set[str] = set()
        """What was sent in this epoch and is not under way any more."""
        self.moving: list[str] = []
        """What is neither finished nor parked, in the order in which that came to be."""

    @stateful.rule(number=st.integers(1, 4))
    def accept(self, number: int) -> None:
        for _ in range(number):
            each = pending(next(self.seqs))
            self.accepted.add(each.trace_id)
            self.dispatcher.accept(each)

    @stateful.rule()
    def send(self) -> None:
        sent = self.dispatcher.due(0.0)
        if self.dispatcher.paused:
            assert sent == []
        for each in sent:
            assert each.epoch == self.dispatcher.epoch
            assert each.attempt > 1 or each.trace_id not in self.ever
            assert each.trace_id in self.accepted - self.finished - self.parked
            assert each.kind == LETTER or (each.ruling is RULING) == (each.trace_id in self.ruled)
            self.ever.add(each.trace_id)
            self.landed.discard(each.trace_id)
        self.sent_now += sent

    @precondition(lambda self: self.sent_now)
    @stateful.rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.sent_now))
        taken = self.dispatcher.finish(each.trace_id)
        assert (taken is None) == (each.trace_id in self.finished)
        self.finished.add(each.trace_id)
        self.parked.discard(each.trace_id)

    @precondition(lambda self: self.ever)
    @stateful.rule(data=st.data(), late=st.booleans())
    def hold(self, data: st.DataObject, late: bool) -> None:
        trace_id = data.draw(st.sampled_from(sorted(self.ever)))
        epoch = self.dispatcher.epoch - late
        known = self.dispatcher.find(trace_id)
        flying = trace_id in {each.trace_id for each in self.sent_now} - self.landed - self.finished
        held = self.dispatcher.hold(trace_id, epoch, HELD_NOW)
        assert (held is not None) == (
            flying and not late and trace_id not in self.ruled and known is not None and not known.expelled
        )
        if held:
            self.parked.add(trace_id)
        if flying and not late and trace_id not in self.ruled:
            self.landed.add(trace_id)

    @precondition(lambda self: self.ever)
    @stateful.rule(data=st.data())
    def rule(self, data: st.DataObject) -> None:
        trace_id = data.draw(st.sampled_from(sorted(self.ever)))
        ruled = self.dispatcher.rule(trace_id, RULING)
        assert (ruled is not None) == (trace_id in self.parked)
        if ruled:
            self.parked.discard(trace_id)
            self.ruled.add(trace_id)

    @precondition(lambda self: self.ever - self.finished)
    @stateful.rule(data=st.data())
    def finish_by_an_answer_of_an_older_epoch(self, data: st.DataObject) -> None:
        trace_id = data.draw(st.sampled_from(sorted(self.ever - self.finished)))
        assert self.dispatcher.finish(trace_id) is not None
        self.finished.add(trace_id)
        self.parked.discard(trace_id)

    @stateful.rule(by=st.integers(-1, 2))
    def raise_epoch(self, by: int) -> None:
        before = self.dispatcher.epoch
        self.dispatcher.raise_epoch(before + by)
        assert self.dispatcher.epoch == max(before, before + by)
        if by > 0:
            self.sent_now = []
            self.landed = set()

    @precondition(lambda self: self.ever)
    @stateful.rule(data=st.data())
    def strike(self, data: st.DataObject) -> None:
        trace_id = data.draw(st.sampled_from(sorted(self.ever)))
        struck = self.dispatcher.strike(trace_id, "alpha", "boom")
        assert (struck is None) == (trace_id in self.finished)
        if struck:
            assert struck.expelled == (struck.strikes >= STRIKES)
            if struck.expelled:
                self.parked.discard(trace_id)

    @stateful.rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.dispatcher.paused = paused

    @invariant()
    def the_oldest_is_the_first_that_waits_for_nobody(self) -> None:
        moving = self.accepted - self.finished - self.parked
        self.moving = [each for each in self.moving if each in moving]
        self.moving += sorted(moving.difference(self.moving), key=lambda trace_id: int(trace_id[1:]))
        oldest = self.dispatcher.oldest
        assert (oldest.trace_id if oldest else None) == next(iter(self.moving), None)

    @invariant()
    def order_holds_within_an_epoch(self) -> None:
        """But for those that were held, and came back to the end."""
        came_back = self.ruled | {each.trace_id for each in self.sent_now if each.kind == LETTER}
        seqs = [each.seq for each in self.sent_now if each.trace_id not in came_back]
        assert seqs == sorted(set(seqs))

    @invariant()
    def the_window_is_never_exceeded(self) -> None:
        flying = {each.trace_id for each in self.sent_now} - self.finished - self.landed
        assert self.dispatcher.in_flight == len(flying) <= self.window

    @invariant()
    def whatever_is_unfinished_is_known(self) -> None:
        assert len(self.dispatcher) == len(self.accepted - self.finished)
        assert set(self.dispatcher.parked) == self.parked

    def teardown(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        self.dispatcher.paused = False
        for trace_id in sorted(self.parked):
            self.dispatcher.rule(trace_id, RULING)
        self.dispatcher.raise_epoch(self.dispatcher.epoch + 1)
        order = []
        while sent := self.dispatcher.due(0.0):
            for each in sent:
                order.append(each.seq)
                assert self.dispatcher.finish(each.trace_id)
                self.finished.add(each.trace_id)
        assert order == sorted(order)
        assert self.finished == self.accepted
        assert len(self.dispatcher) == self.dispatcher.in_flight == 0


TestProtocol = Protocol.TestCase


def test_nothing_is_sent_twice_within_an_epoch() -> None:
    dispatcher = Dispatcher(epoch=1)
    dispatcher.accept(pending(1))
    assert [each.seq for each in dispatcher.due(0.0)] == [1]
    assert dispatcher.due(1.0) == []


@given(
    st.integers(1, 20),
    st.lists(
        st.one_of(st.tuples(st.just("send"), st.integers(0, 9)), st.tuples(st.just("end"), st.integers(1, 9)))
    ),
)
def test_no_more_is_sent_than_asked_for_and_what_waits_keeps_its_order(
    window: int, steps: list[tuple[str, int]]
) -> None:
    dispatcher = Dispatcher(epoch=1, window=window)
    for seq in range(1, 31):
        dispatcher.accept(pending(seq))
    sent: list[int] = []
    ended = 0
    for step, number in steps:
        if step == "send":
            now_sent = [each.seq for each in dispatcher.due(0.0, most=number)]
            assert len(now_sent) == min(number, window - (len(sent) - ended), 30 - len(sent))
            sent += now_sent
        else:
            for seq in sent[ended : ended + number]:
                assert dispatcher.finish(f"t{seq}")
            ended = min(len(sent), ended + number)
    assert sent == list(range(1, len(sent) + 1))
    assert dispatcher.in_flight == len(sent) - ended


def test_a_stall_is_told_ever_more_patiently_and_progress_makes_it_impatient_again() -> None:
    dispatcher = Dispatcher(epoch=1, stall_s=10.0)
    for seq in (1, 2):
        dispatcher.accept(pending(seq))
    assert not dispatcher.stalled(0.0)
    dispatcher.due(0.0)
    told = [now for now in range(200) if dispatcher.stalled(float(now))]
    assert told == [10, 30, 70, 150]
    dispatcher.finish("t1")
    assert [now for now in range(200, 230) if dispatcher.stalled(float(now))] == [210]


def test_what_overtakes_a_lost_signal_does_not_hide_that_it_is_lost() -> None:
    dispatcher = Dispatcher(epoch=1, stall_s=10.0)
    told = []
    for now in range(40):
        dispatcher.accept(pending(now + 1))
        dispatcher.due(float(now))
        if now != 5:
            dispatcher.finish(f"t{now + 1}")
        told += [now] * dispatcher.stalled(float(now))
    assert told == [15, 35]

    dispatcher.raise_epoch(2)
    assert [each.trace_id for each in dispatcher.due(40.0)] == ["t6"]
    dispatcher.finish("t6")
    assert not any(dispatcher.stalled(float(now)) for now in range(40, 100))


def test_a_pause_is_no_stall() -> None:
    dispatcher = Dispatcher(epoch=1, stall_s=10.0)
    dispatcher.accept(pending(1))
    dispatcher.due(0.0)
    dispatcher.paused = True
    assert not dispatcher.stalled(1000.0)
    dispatcher.paused = False
    assert not dispatcher.stalled(1001.0)
    assert dispatcher.stalled(1011.0)


def test_a_signal_that_ended_its_agent_three_times_is_sent_as_a_letter_with_the_reason() -> None:
    dispatcher = Dispatcher(epoch=1)
    dispatcher.accept(pending(1))
    for number in range(1, STRIKES + 1):
        (envelope,) = dispatcher.due(0.0)
        assert (envelope.kind, envelope.attempt) == (WORK, number)
        dispatcher.strike("t1", "alpha", f"exit code {number}")
        dispatcher.raise_epoch(dispatcher.epoch + 1)
    (envelope,) = dispatcher.due(0.0)
    letter = msgspec.msgpack.decode(envelope.payload, type=Letter)
    assert envelope.kind == LETTER
    assert (letter.trace_id, letter.agent, letter.reason) == ("t1", "alpha", "exit code 3")
    assert dispatcher.hopeless() == []
    for _ in range(STRIKES):
        dispatcher.strike("t1", "omega", "exit code 9")
    assert [each.trace_id for each in dispatcher.hopeless()] == ["t1"]


def test_a_held_signal_makes_room_and_comes_back_with_its_ruling_in_every_epoch() -> None:
    dispatcher = Dispatcher(epoch=1, window=1)
    for seq in (1, 2):
        dispatcher.accept(pending(seq))
    assert [each.seq for each in dispatcher.due(0.0)] == [1]
    assert dispatcher.hold("t1", 1, HELD_NOW)
    assert [each.seq for each in dispatcher.due(0.0)] == [2]
    dispatcher.raise_epoch(2)
    assert [each.seq for each in dispatcher.due(0.0)] == [2]
    dispatcher.finish("t2")
    assert not dispatcher.stalled(1e9)
    dispatcher.rule("t1", RULING)
    for epoch in (2, 3):
        dispatcher.raise_epoch(epoch)
        assert [(each.seq, each.ruling, each.epoch) for each in dispatcher.due(0.0)] == [(1, RULING, epoch)]
    assert dispatcher.hold("t1", 3, HELD_NOW) is None
    assert dispatcher.finish("t1")
    assert (len(dispatcher), dispatcher.in_flight) == (0, 0)


def test_a_held_signal_that_ends_its_agent_too_often_still_becomes_a_letter() -> None:
    dispatcher = Dispatcher(epoch=1)
    dispatcher.accept(pending(1))
    dispatcher.due(0.0)
    dispatcher.hold("t1", 1, HELD_NOW)
    for _ in range(STRIKES):
        assert dispatcher.due(0.0) == []
        dispatcher.strike("t1", "alpha", "boom")
    assert [each.kind for each in dispatcher.due(0.0)] == [LETTER]
    assert dispatcher.rule("t1", RULING) is None


# The agents' side


class Work(msgspec.Struct):
    n: int
    does: str = ""


class Order(msgspec.Struct):
    n: int


class Echo(Agent[Work]):
    """Answers with what it got; counts its calls."""

    takes = Work
    durability = Durability.POWER
    intends = Order
    notices = Order

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def setup(self, context: Context) -> None:
        context.database.execute("CREATE TABLE IF NOT EXISTS mine (n)")

    def handle(self, message: Work, context: Context) -> Any:
        self.calls.append(("handle", message.n, context.attempt))
        context.database.execute("INSERT INTO mine VALUES (?)", (message.n,))
        match message.does:
            case "effect":
                return Effect(Order(message.n))
            case "notice":
                context.send("omega", Order(message.n))
            case "event":
                context.event("seen", n=message.n)
            case "fail":
                context.failed("the model did not answer")
            case "hold":
                if context.ruling is None or message.n > 100:
                    return Hold(5.0, "is this wise?", {"n": message.n})
                return {"n": message.n, "by": context.ruling.by}
            case "stranger":
                context.send("nobody", Order(message.n))
        return {"n": message.n, "call": len(self.calls)}

    def perform(self, intent: Order, context: Context, *, again: bool) -> Any:
        self.calls.append(("perform", intent.n, again))
        return {"n": intent.n, "performed": True}

    def notice(self, notice: Order, context: Context) -> None:
        self.calls.append(("notice", notice.n))

    def bury(self, letter: Letter, context: Context) -> Any:
        self.calls.append(("bury", letter.trace_id))
        return {"buried": letter.trace_id, "trace_id": letter.trace_id, "status": "failed"}


class Forgetful(Echo):
    """The same without a journal."""

    durability = Durability.NONE
    intends = None

    def setup(self, context: Context) -> None:
        return

    def handle(self, message: Work, context: Context) -> Any:
        self.calls.append(("handle", message.n, context.attempt))
        return {"n": message.n, "call": len(self.calls)}


class Bench:
    """One agent's memory on the bench: stages come and go, as processes do."""

    def __init__(self, agent: type[Agent[Any]] = Echo, successor: str = "omega", page: Path | None = None) -> None:
        self.page = page
        self.database = open_database(":memory:")
        self.agent_class = agent
        self.successor = successor
        self.notes: list[tuple[str, str]] = []

    def stage(self, epoch: int = 1) -> Stage:
        """A new process over the same journal."""
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        agent = self.agent_class()
        context = StageContext(
            "beta",
            version="1",
            pipeline=("alpha", "beta", "omega"),
            settings={},
            clock=lambda: 0.0,
            halt=lambda: None,
            opener=lambda name: self.database,
            secrets={},
            meters=None if self.page is None else Meters(self.page, process="beta", filled=FILLED),
        )
        stage = Stage(
            agent,
            context,
            successor=self.successor,
            journal=None if agent.durability is Durability.NONE else Journal(self.database),
            epoch=epoch,
            note=lambda *words: self.notes.append(words),
        )
        stage.setup()
        return stage

    def mine(self) -> list[int]:
        return [n for (n,) in self.database.execute("SELECT n FROM mine ORDER BY rowid")]

    def counted(self, what: str) -> float:
        """What the processes together have counted."""
        assert self.page is not None
        found = {each.labels: each.value for each in read(self.page) if each.metric.name == "ark_setups_total"}
        return found.get((what,), 0.0)


def work(
    seq: int, *, epoch: int = 1, attempt: int = 1, does: str = "", kind: int = WORK, ruling: Ruling | None = None
) -> Envelope:
    payload: Any = Work(seq, does)
    if kind == LETTER:
        payload = Letter(f"t{seq}", "S", "alpha", "boom", 3)
    return Envelope(kind, f"t{seq}", "S", seq, epoch, attempt, encode(payload), ruling=ruling)


def run(stage: Stage, *envelopes: Envelope) -> list[tuple[str, Envelope]]:
    clock: Iterator[int] = count(1)
    list(stage.process(stage.admit(envelopes), lambda: next(clock)))
    return stage.take_outgoing()


def answers(outgoing: list[tuple[str, Envelope]]) -> list[Any]:
    return [msgspec.msgpack.decode(envelope.payload) for _, envelope in outgoing]


def test_what_is_older_than_the_newest_epoch_is_dropped_and_notices_are_not() -> None:
    stage = Bench().stage(epoch=3)
    notice = Envelope(NOTICE, "alpha", "", 0, 1, 0, encode(Order(7)))
    admitted = stage.admit([work(1, epoch=2), work(2, epoch=3), work(3, epoch=5), work(4, epoch=4), notice])
    assert [(each.kind, each.seq) for each in admitted] == [(WORK, 3), (NOTICE, 0)]
    assert (stage.epoch, stage.dropped) == (5, 3)


def test_an_answer_goes_on_with_its_epoch_and_the_span_of_the_stay() -> None:
    ((destination, envelope),) = run(Bench().stage(), work(1))
    assert destination == "omega"
    assert (envelope.kind, envelope.trace_id, envelope.seq, envelope.epoch) == (WORK, "t1", 1, 1)
    assert [(span.agent, span.version) for span in envelope.spans] == [("beta", "1")]
    assert envelope.spans[0].in_ns < envelope.spans[0].out_ns


def test_a_trace_that_comes_again_gets_the_recorded_answer_and_is_not_handled() -> None:
    bench = Bench()
    first = run(bench.stage(), work(1))
    stage = bench.stage(epoch=2)
    again = run(stage, work(1, epoch=2, attempt=2))
    assert answers(again) == answers(first)
    assert again[0][1].epoch == 2
    assert again[0][1].spans == first[0][1].spans
    assert isinstance(stage.agent, Echo)
    assert stage.agent.calls == []
    assert bench.mine() == [1]


def test_a_trace_that_stands_twice_in_one_batch_is_handled_once() -> None:
    bench = Bench()
    outgoing = run(bench.stage(), work(1), work(1, epoch=2, attempt=2))
    assert answers(outgoing) == [{"n": 1, "call": 1}]
    assert [envelope.epoch for _, envelope in outgoing] == [2]
    assert bench.mine() == [1]


def test_without_a_journal_a_trace_that_comes_again_is_handled_again() -> None:
    bench = Bench(Forgetful)
    stage = bench.stage()
    run(stage, work(1))
    assert answers(run(stage, work(1, epoch=2, attempt=2))) == [{"n": 1, "call": 2}]


@given(st.integers(0, 4), st.integers(1, 3))
def test_a_death_at_any_point_leaves_all_of_a_batch_or_nothing_and_nothing_is_out_before(
    stop: int, size: int
) -> None:
    bench = Bench()
    stage = bench.stage()
    batch = [work(seq, does="effect" if seq == 2 else "") for seq in range(1, size + 1)]
    steps = stage.process(stage.admit(batch), lambda: 1)
    reached = [name for _, name in zip(range(stop), steps, strict=False)]
    died = len(reached) == stop
    if died:
        assert stage.take_outgoing() == []
        steps.close()
    stage = bench.stage(epoch=2)
    assert bench.mine() in ([], list(range(1, size + 1)))
    again = [work(each.seq, epoch=2, attempt=2, does="effect" if each.seq == 2 else "") for each in batch]
    outgoing = run(stage, *again)
    assert [each["n"] for each in answers(outgoing)] == list(range(1, size + 1))
    assert bench.mine() == list(range(1, size + 1))


class Counting(Echo):
    """Counts each thing that it does."""

    def handle(self, message: Work, context: Context) -> Any:
        context.count("ark_setups_total", pattern="handled")
        return super().handle(message, context)

    def perform(self, intent: Order, context: Context, *, again: bool) -> Any:
        context.count("ark_setups_total", pattern="performed")
        context.count_now("ark_setups_total", pattern="asked the world")
        return super().perform(intent, context, again=again)


@given(st.integers(0, 5), st.integers(1, 3))
def test_what_a_batch_counts_is_counted_with_its_commits_and_once(
    tmp_path_factory: pytest.TempPathFactory, stop: int, size: int
) -> None:
    bench = Bench(Counting, page=tmp_path_factory.mktemp("page") / "beta.page")
    batch = [(seq, "effect" if seq == 2 else "") for seq in range(1, size + 1)]
    stage = bench.stage()
    steps = stage.process(stage.admit([work(seq, does=does) for seq, does in batch]), lambda: 1)
    for _ in zip(range(stop), steps, strict=False):
        continue
    steps.close()
    stage = bench.stage(epoch=2)
    assert bench.counted("handled") == len(bench.mine()), "what was not committed is not counted"
    run(stage, *[work(seq, epoch=2, attempt=2, does=does) for seq, does in batch])
    assert bench.counted("handled") == size
    assert bench.counted("performed") == (size > 1)
    assert (size > 1) <= bench.counted("asked the world") <= 2 * (size > 1), "the world was asked twice"


def test_an_agent_without_a_journal_counts_when_its_batch_is_done(tmp_path: Path) -> None:
    class Gathering(Forgetful):
        def settle(self, context: Context) -> None:
            context.count("ark_setups_total", len(self.calls), pattern="handled")
            self.calls.clear()

    bench = Bench(Gathering, page=tmp_path / "beta.page")
    run(bench.stage(), work(1), work(2))
    assert bench.counted("handled") == 2


def test_an_effect_is_performed_after_its_intent_is_committed_and_asked_again_after_a_death() -> None:
    bench = Bench()
    stage = bench.stage()
    for point in stage.process(stage.admit([work(1, does="effect"), work(2)]), lambda: 1):
        if point == "intended":
            assert Journal(bench.database).intent(1, "t1") is not None
            assert Journal(bench.database).answer(1, "t1") is None
            break
    assert stage.take_outgoing() == []

    stage = bench.stage(epoch=2)
    outgoing = run(stage, work(1, epoch=2, attempt=2, does="effect"), work(2, epoch=2, attempt=2))
    assert answers(outgoing) == [{"n": 1, "performed": True}, {"n": 2, "call": 2}]  # in order, though done later
    assert isinstance(stage.agent, Echo)
    assert ("perform", 1, True) in stage.agent.calls
    assert ("handle", 1, 2) not in stage.agent.calls

    stage = bench.stage(epoch=3)
    assert answers(run(stage, work(1, epoch=3, attempt=3, does="effect"))) == [{"n": 1, "performed": True}]
    assert isinstance(stage.agent, Echo)
    assert stage.agent.calls == []


def test_an_intent_that_stands_twice_in_one_batch_is_performed_once() -> None:
    bench = Bench()
    stage = bench.stage()
    for point in stage.process(stage.admit([work(1, does="effect")]), lambda: 1):
        if point == "intended":
            break
    stage = bench.stage(epoch=2)
    outgoing = run(stage, work(1, epoch=2, attempt=2, does="effect"), work(1, epoch=3, attempt=3, does="effect"))
    assert answers(outgoing) == [{"n": 1, "performed": True}]
    assert isinstance(stage.agent, Echo)
    assert [call for call in stage.agent.calls if call[0] == "perform"] == [("perform", 1, True)]


def test_notices_and_events_leave_with_the_batch_and_not_before() -> None:
    stage = Bench().stage()
    outgoing = run(stage, work(1, does="notice"), work(2, does="event"))
    assert [(destination, envelope.kind) for destination, envelope in outgoing[2:]] == [
        ("omega", NOTICE),
        (GATEWAY, 5),
    ]
    assert answers(outgoing)[3] == {"kind": "seen", "at": 0.0, "agent": "beta", "n": 2}


def test_a_notice_to_a_stranger_is_the_senders_error() -> None:
    with pytest.raises(AgentError, match="'nobody'"):
        run(Bench().stage(), work(1, does="stranger"))


def test_the_black_box_names_the_signal_and_the_handler_and_is_cleared_afterwards() -> None:
    bench = Bench()
    stage = bench.stage()
    bench.notes.clear()
    run(stage, work(1), work(2, does="effect"), work(3, kind=LETTER))
    assert [note for note in bench.notes if note[0]] == [
        ("t1", "handle"),
        ("t2", "handle"),
        ("t3", "bury"),
        ("t2", "perform"),
    ]
    assert bench.notes[-1] == ("", "")


def test_answers_and_failures_are_counted_and_a_recorded_answer_is_not() -> None:
    bench = Bench()
    stage = bench.stage()
    sent = run(stage, work(1), work(2, does="fail"), work(3, does="fail"), work(4, does="effect"))
    assert (stage.work.answered, stage.work.failed, stage.work.failed_in_a_row) == (4, 2, 0)
    assert stage.work.busy_ns > 0
    assert [destination for destination, _ in sent if destination == "gateway"] == ["gateway"] * 2, "two events"
    run(stage, work(1, attempt=2), work(5, does="fail"))
    assert (stage.work.answered, stage.work.failed, stage.work.failed_in_a_row) == (5, 3, 1)


def test_a_letter_is_buried_and_gathers_what_the_journal_knows() -> None:
    bench = Bench()
    stage = bench.stage()
    run(stage, work(1))
    ((destination, envelope),) = run(stage, work(1, kind=LETTER, attempt=4, epoch=2))
    letter = msgspec.msgpack.decode(envelope.payload, type=Letter)
    assert (destination, envelope.kind) == ("omega", LETTER)
    assert msgspec.msgpack.decode(letter.records["beta"])["buried"] == "t1"
    assert bench.mine() == [1]


def test_the_last_agent_answers_the_gateway_with_outcomes() -> None:
    stage = Bench(successor=GATEWAY).stage()
    ((destination, envelope),) = run(stage, work(1, kind=LETTER))
    assert (destination, envelope.kind) == (GATEWAY, OUTCOME)


@pytest.mark.parametrize("answer", [None, 5, {}, {"status": "executed"}, {"trace_id": "t", "status": 5}, [1]])
def test_an_outcome_that_is_none_ends_the_last_agent_and_not_the_gateway(answer: Any) -> None:
    class Wrong(Forgetful):
        def handle(self, message: Work, context: Context) -> Any:
            return answer

        def bury(self, letter: Letter, context: Context) -> Any:
            return answer

    for kind in (WORK, LETTER):
        with pytest.raises(AgentError, match="gave no outcome"):
            run(Bench(Wrong, successor=GATEWAY).stage(), work(1, kind=kind))


def test_an_effect_without_a_declared_intent_is_the_agents_error() -> None:
    class Undeclared(Echo):
        intends = None

    with pytest.raises(AgentError, match="declares no intent"):
        run(Bench(Undeclared).stage(), work(1, does="effect"))


def test_an_agent_that_declares_a_journal_must_be_given_one() -> None:
    bench = Bench()
    stage = bench.stage()
    with pytest.raises(AgentError, match="declares a journal"):
        Stage(Echo(), stage.context, successor="omega", journal=None, epoch=1)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=12))
def test_whatever_comes_in_whatever_epoch_the_order_of_the_newest_holds(arrivals: list[tuple[int, int]]) -> None:
    """Each pair is a signal's number and by how much its epoch is raised over the one before."""
    stage = Bench(Forgetful).stage()
    epoch, envelopes = 1, []
    for seq, raised in arrivals:
        epoch += raised - 1 if epoch > 1 else raised
        envelopes.append(work(seq, epoch=epoch))
    outgoing = [envelope for _, envelope in run(stage, *envelopes)]
    epochs = [envelope.epoch for envelope in outgoing]
    assert epochs == sorted(epochs)
    newest = max((each.epoch for each in envelopes), default=1)
    assert [e.seq for e in outgoing if e.epoch == newest] == [e.seq for e in envelopes if e.epoch == newest]


# Held


def test_a_hold_goes_to_the_gateway_with_the_agents_span_and_leaves_no_answer() -> None:
    bench = Bench()
    stage = bench.stage()
    (destination, envelope), (onward, _) = run(stage, work(1, does="hold"), work(2))
    assert (destination, envelope.kind, envelope.trace_id, envelope.epoch) == (GATEWAY, HELD, "t1", 1)
    assert msgspec.msgpack.decode(envelope.payload, type=Hold) == Hold(5.0, "is this wise?", {"n": 1})
    assert [span.agent for span in envelope.spans] == ["beta"]
    assert onward == "omega"
    assert Journal(bench.database).answer(1, "t1") is None
    assert bench.mine() == [1, 2]


def test_a_ruling_reaches_the_agent_and_goes_on_with_the_answer_also_with_one_from_the_journal() -> None:
    bench = Bench()
    for attempt in (2, 3):
        stage = bench.stage(epoch=attempt)
        ((_, envelope),) = run(stage, work(1, epoch=attempt, attempt=attempt, does="hold", ruling=RULING))
        assert (envelope.kind, envelope.ruling) == (WORK, RULING)
        assert answers([("", envelope)]) == [{"n": 1, "by": "ada"}]
    assert bench.mine() == [1]
    run(stage, work(2))
    assert stage.context.ruling is None


def test_a_ruling_that_comes_with_a_recorded_answer_of_an_agent_that_never_asked_goes_on() -> None:
    bench = Bench()
    run(bench.stage(), work(1))
    ((_, envelope),) = run(bench.stage(epoch=2), work(1, epoch=2, attempt=2, ruling=RULING))
    assert envelope.ruling == RULING


def test_to_hold_what_is_ruled_is_the_agents_error() -> None:
    with pytest.raises(AgentError, match="on which ada has ruled"):
        run(Bench().stage(), work(101, does="hold", ruling=RULING))


@pytest.mark.parametrize(
    "hold",
    [
        Hold(float("nan"), "why"),
        Hold(float("inf"), "why"),
        Hold("soon", "why"),  # type: ignore[arg-type]
        Hold(5.0, None),  # type: ignore[arg-type]
        Hold(5.0, "why", [1]),
        Hold(5.0, "why", {1: 2}),
        Hold(5.0, "why", {"pad": "x" * LARGEST_HOLD}),
    ],
)
def test_a_hold_that_the_gateway_could_not_read_or_keep_ends_the_agent(hold: Hold) -> None:
    class Wrong(Forgetful):
        def handle(self, message: Work, context: Context) -> Any:
            return hold

    with pytest.raises(AgentError, match="Hold"):
        run(Bench(Wrong).stage(), work(1))


def test_to_hold_while_performing_is_the_agents_error() -> None:
    class Late(Echo):
        def perform(self, intent: Order, context: Context, *, again: bool) -> Any:
            return Hold(5.0, "too late")

    with pytest.raises(AgentError, match="only `handle` can"):
        run(Bench(Late).stage(), work(1, does="effect"))


# Ticks


class Ticking(Echo):
    """Writes and tells at every tick that is not idle."""

    tick_s = 1.0
    is_idle = False

    def tick(self, context: Context) -> None:
        self.calls.append(("tick", context.trace_id, context.ruling))
        if not self.is_idle:
            context.database.execute("INSERT INTO mine VALUES (-1)")
            context.send("omega", Order(-1))


def test_what_a_tick_wrote_is_committed_before_what_it_sent_goes_out() -> None:
    bench = Bench(Ticking)
    stage = bench.stage()
    run(stage, work(1, ruling=RULING))
    bench.notes.clear()
    for point in stage.tick(lambda: 1):
        assert stage.take_outgoing() == []
        assert bench.database.in_transaction == (point == "ticked")
    assert [(to, each.kind) for to, each in stage.take_outgoing()] == [("omega", NOTICE)]
    assert bench.mine() == [1, -1]
    assert bench.notes == [("", "tick"), ("", "")]
    assert isinstance(stage.agent, Ticking)
    assert stage.agent.calls[-1] == ("tick", "", None)


def test_an_idle_tick_writes_nothing_to_the_disk(tmp_path: Path) -> None:
    bench = Bench(Ticking)
    bench.database = open_database(tmp_path / "beta.db")
    stage = bench.stage()
    commits: list[int] = []

    def committed(connection: Any, name: str, pages: int) -> int:
        commits.append(pages)
        return apsw.SQLITE_OK

    bench.database.set_wal_hook(committed)
    assert isinstance(stage.agent, Ticking)
    stage.agent.is_idle = True
    list(stage.tick(lambda: 1))
    assert commits == []
    stage.agent.is_idle = False
    list(stage.tick(lambda: 1))
    assert len(commits) == 1


# Not ready yet


class Starting(Ticking):
    """Is ready once it has heard so, or had so many ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = False

    def ready(self, context: Context) -> bool:
        return self.is_ready

    def notice(self, notice: Order, context: Context) -> None:
        self.is_ready = notice.n > 0

    def tick(self, context: Context) -> None:
        self.is_ready = True


def notice(n: int) -> Envelope:
    return Envelope(NOTICE, "alpha", "", 0, 1, 0, encode(Order(n)))


def test_what_comes_before_the_agent_is_ready_waits_in_order_with_what_comes_behind_it() -> None:
    stage = Bench(Starting).stage()
    assert run(stage, work(1), work(2, kind=LETTER)) == []
    assert run(stage, work(3), notice(0)) == []
    assert stage.stashed == 3
    outgoing = run(stage, work(4), notice(1), work(5))
    assert [envelope.seq for _, envelope in outgoing] == [1, 2, 3, 4, 5]
    assert stage.stashed == 0
    assert run(stage, work(6), notice(0))[0][1].seq == 6  # asked between batches only
    assert run(stage, work(7)) == []


def test_a_tick_that_makes_the_agent_ready_lets_go_what_waits() -> None:
    stage = Bench(Starting).stage()
    run(stage, *(work(seq) for seq in range(1, 1201)))
    points = list(stage.tick(lambda: 1))
    assert [envelope.seq for _, envelope in stage.take_outgoing()] == list(range(1, 1201))
    assert points.count("committed") == 4  # the tick's own, and three portions


def test_what_waits_is_let_go_when_a_newer_epoch_sends_it_again() -> None:
    stage = Bench(Starting).stage()
    run(stage, work(1), work(2))
    run(stage, work(1, epoch=2, attempt=2))
    assert (stage.stashed, stage.dropped) == (1, 2)
    outgoing = run(stage, work(2, epoch=2, attempt=2), notice(1))
    assert [(envelope.seq, envelope.epoch) for _, envelope in outgoing] == [(1, 2), (2, 2)]


@given(st.lists(st.sampled_from(["work", "letter", "ready", "not ready", "tick", "epoch"]), max_size=30))
def test_whenever_the_agent_is_ready_nothing_of_the_newest_epoch_is_lost_doubled_or_overtaken(
    happens: list[str],
) -> None:
    bench = Bench(Starting)
    stage = bench.stage()
    seqs, epoch = count(1), 1
    sent: list[int] = []
    got: list[int] = []
    for each in [*happens, "tick"]:
        outgoing: list[tuple[str, Envelope]] = []
        if each == "tick":
            list(stage.tick(lambda: 1))
            outgoing = stage.take_outgoing()
        elif each == "epoch":
            epoch += 1
            sent, got = [], []
        elif each in ("ready", "not ready"):
            outgoing = run(stage, notice(int(each == "ready")))
        else:
            seq = next(seqs)
            sent.append(seq)
            outgoing = run(stage, work(seq, epoch=epoch, kind=WORK if each == "work" else LETTER))
        got += [envelope.seq for _, envelope in outgoing if envelope.epoch == epoch]
    assert got == sent


def test_the_age_of_a_signal_is_without_the_time_that_a_person_took() -> None:
    one = Pending(1, "t1", "S", b"", accepted_at=5.0)
    assert one.asked_at == 5.0
    one.ruling = msgspec.structs.replace(RULING, at=90.0)
    assert one.asked_at == 90.0


@pytest.mark.parametrize(
    ("method", "metric", "value"),
    [
        ("count", "ark_audit_disagreements_total", -1.0),
        ("count_now", "ark_audit_disagreements_total", math.inf),
        ("total", "ark_ledger_rows_total", math.nan),
        ("observe", "ark_agent_latency_seconds", math.nan),
        ("observe_now", "ark_agent_latency_seconds", math.inf),
    ],
)
def test_a_count_that_would_fall_or_is_no_number_is_refused_where_it_is_made(
    tmp_path: Path, method: str, metric: str, value: float
) -> None:
    bench = Bench(Echo, page=tmp_path / "beta.page")
    stage = bench.stage()
    with pytest.raises(AgentError, match="cannot take"):
        getattr(stage.context, method)(metric, value)
