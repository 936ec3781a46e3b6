"""Recorded signals, shown to two other versions once more: evidence, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.aletheia import Aletheia
from actors.joey import Joey
from actors.kyle import Kyle, Sighting
from actors.messages import Case
from ark.agent import Agent, Durability
from ark.arm_worker import Arm
from ark.context import StageContext
from ark.journal import Journal
from ark.message import TRIAL, WORK, Envelope, Span, encode
from ark.routing import ARMS, CANARY, LEASE_S, Route, Table
from ark.signal import Bar, Signal
from ark.simulated_arms import SimulatedArms
from ark.stage import Stage
from ark.state import Core
from tests.actors.bars import path, series, shown
from tests.actors.floor import trace
from tests.actors.test_aletheia import spans as had_by
from tests.actors.test_kyle import Desk, copied, seated
from tests.evidence import CountsEvidence

PIPELINE = ("kyle", "joey", "hrm", "kenny", "aletheia")
BARS = path([100.0, 101.0, 108.0, 107.0, 100.0, 100.5])


class House(CountsEvidence):
    """An agent with its journal, and both arms of it."""

    def __init__(self, agent: type[Agent[Any]], arm: type[Arm] = Arm) -> None:
        self.role = agent.__name__.lower()
        self.database = apsw.Connection(":memory:")
        self.now_ns = 1_700_000_000 * 10**9
        self.core = Core(clock=self.clock)
        self.arms = SimulatedArms(
            {self.role: agent},
            arm=arm,
            pipeline=PIPELINE,
            version="1",
            settings={},
            clock=self.clock,
            core=lambda: self.core,
        )
        self.counts: Counter[str] = Counter()
        self.told: list[Any] = []
        self._agent = agent
        self.start()

    def start(self) -> None:
        """A new process over the same journal, in which no arm runs yet."""
        context = StageContext(
            self.role,
            version="1",
            pipeline=PIPELINE,
            settings={},
            clock=self.clock,
            halt=lambda: None,
            opener=lambda name: self.database,
            secrets={},
            core=lambda: self.core,
        )
        journal = None if self._agent.durability is Durability.NONE else Journal(self.database)
        self.stage = Stage(self._agent(), context, successor="next", journal=journal, epoch=1, record=self)
        self.stage.setup()

    def tell(self, difference: msgspec.Struct, *, spare: bool) -> None:
        self.told.append(difference)

    def clock(self) -> float:
        return self.now_ns / 1e9

    def _tick(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def take(self, message: Signal | Case, seq: int, *, attempt: int = 1) -> list[tuple[str, Envelope]]:
        symbol = getattr(message, "signal", message).symbol
        had = had_by("kyle", "joey", "hrm", "kenny")
        envelope = Envelope(WORK, trace(seq), symbol, seq, 1, attempt, encode(message), had)
        return self._run(self.stage.process(self.stage.admit([envelope]), self._tick))

    def replay(self) -> list[tuple[str, Envelope]]:
        """Begin a rollout, show what there is, and have both arms answer; give what else went out."""
        for arm in ARMS:
            self.arms.start(f"{self.role}.{arm}", 1)
        route = Route(canary=0.5, baseline=0.5, replay_per_s=1000.0)
        table = Table(1, "r1", self.clock() + LEASE_S, "r1", roles={self.role: route})
        out = self._run(self.stage.turn(table, frozenset(ARMS), self._tick))
        for _ in range(4):
            self.stage.replay(self.clock())
            out += self._run(iter(()))
            self.now_ns += 10**9
        return out

    def _run(self, points: Iterator[str]) -> list[tuple[str, Envelope]]:
        for _ in points:
            pass
        left = []
        for destination, envelope in self.stage.take_outgoing():
            if envelope.kind != TRIAL:
                left.append((destination, envelope))
                continue
            _, answer = self.arms.running[destination].decide(envelope, self._tick(), self._tick)
            left += self._run(self.stage.process(self.stage.admit([answer]), self._tick))
        return left

    def books(self) -> list[Any]:
        """Everything that the agent keeps."""
        tables = self.database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1").fetchall()
        return [self.database.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables]


def messages(agent: type[Agent[Any]]) -> list[Signal | Case]:
    signals = [shown(bar, trace_id=trace(seq)) for seq, bar in enumerate(BARS, 1)]
    return [*signals] if agent is Kyle else [Case(signal) for signal in signals]


@pytest.mark.parametrize("agent", [Kyle, Joey, Aletheia])
def test_each_recorded_signal_is_compared_once_and_changes_nothing(agent: type[Agent[Any]]) -> None:
    house, wanted = House(agent), messages(agent)
    for seq, message in enumerate(wanted, 1):
        assert len(house.take(message, seq)) == 1
    before, handled = house.books(), house.stage.handled
    assert house.replay() == []
    assert +house.counts == {"replayed_compared": len(wanted)}
    assert (house.books(), house.told) == (before, [])
    assert house.stage.handled == handled + 2 * len(wanted), "the answers of the arms"


class Wrong(Arm):
    """The canary sees another market."""

    def decide(self, envelope: Envelope, now_ns: int, clock_ns: Any) -> Any:
        agent: Any = self._agent
        if self._name == CANARY and isinstance(agent, Kyle):
            real = agent.propose
            agent.propose = (
                lambda case, context: real(  # type: ignore[method-assign]
                    msgspec.structs.replace(case, rows=case.rows[:-1]), context
                )
            )
        return super().decide(envelope, now_ns, clock_ns)


def test_a_kyle_that_decides_otherwise_is_found_by_replay_and_the_evidence_says_so() -> None:
    house = House(Kyle, Wrong)
    for seq, message in enumerate(messages(Kyle), 1):
        house.take(message, seq)
    assert house.replay() == []
    assert house.counts["replayed_different"] > 0
    assert house.counts["pairs_compared"] == 0
    assert {each.kind for each in house.told} == {"replayed"}


def test_kyles_recorded_signals_outlive_his_process_and_aletheias_do_not() -> None:
    for agent, left in ((Kyle, len(BARS)), (Aletheia, 0)):
        house = House(agent)
        for seq, message in enumerate(messages(agent), 1):
            house.take(message, seq)
        house.start()
        house.replay()
        assert house.counts["replayed_compared"] == left


def test_a_process_that_begins_in_the_middle_of_a_rollout_shows_nothing_a_second_time() -> None:
    house = House(Kyle)
    for seq, message in enumerate(messages(Kyle), 1):
        house.take(message, seq)
    house.replay()
    house.start()
    house.is_first = False
    house.replay()
    assert house.counts["replayed_compared"] == len(BARS)


def test_a_signal_that_comes_again_is_shown_once() -> None:
    house = House(Joey)
    for seq, message in enumerate(messages(Joey), 1):
        house.take(message, seq)
        house.take(message, seq, attempt=2)
    house.replay()
    assert house.counts["replayed_compared"] == len(BARS)


def test_what_is_recorded_and_cannot_be_read_ends_nobody() -> None:
    house = House(Kyle)
    for seq, message in enumerate(messages(Kyle), 1):
        house.take(message, seq)
    house.database.execute("UPDATE ark_answers SET payload = x'c1' WHERE seq = 2")
    house.replay()
    assert house.counts["replayed_compared"] == len(BARS) - 1
    house = House(Kyle)
    house.database.execute("DROP TABLE ark_answers")
    assert house.replay() == []
    assert house.counts["replayed_compared"] == 0


@settings(max_examples=15)
@given(series(most=30), st.integers(0, 4), st.randoms(use_true_random=False))
def test_kyle_rebuilds_each_recorded_signal_with_the_bars_that_were_known_before_it(
    bars: list[Bar], disorder: int, die: Any
) -> None:
    kyle, desk = seated(Desk())
    journal = Journal(desk.journal)
    wanted = [shown(bar, die.choice(("ACME", "OTHER")), ts=START_OF_ALL) for bar in bars]
    for _ in range(disorder if wanted else 0):  # bars that come late or twice, and signals without one
        again = die.choice(wanted)
        again = die.choice([again, msgspec.structs.replace(again, features={})])
        wanted.insert(die.randrange(len(wanted)), again)
    seen: list[tuple[str, str, Sighting]] = []
    for seq, signal in enumerate(wanted, 1):
        desk.trace_id = trace(seq)
        desk.clock = START_OF_ALL + seq
        seen.append((desk.trace_id, signal.symbol, kyle.case(signal, desk)))
        at_ns = int(desk.clock * 1e9)
        answer = kyle.handle(signal, desk)
        journal.record_answer(seq, desk.trace_id, bytes(encode(answer)), (Span("kyle", "1", at_ns, at_ns),))
    kept = copied(desk)
    assert [same(each) for each in kyle.recorded(512, desk)] == [same(each) for each in seen]
    assert kyle.recorded(3, desk) == kyle.recorded(512, desk)[-3:]
    assert list(copied(desk).journal.execute("SELECT * FROM bars")) == list(
        kept.journal.execute("SELECT * FROM bars")
    )


START_OF_ALL = 1_700_000_000.0


def same(recorded: tuple[str, str, Sighting]) -> tuple[str, str, Sighting]:
    """But for the side of a bar that is only shown, which says nothing."""
    trace_id, symbol, case = recorded
    signal = case.signal
    if signal.action == "observe":
        signal = msgspec.structs.replace(signal, direction="long")
    return trace_id, symbol, msgspec.structs.replace(case, signal=signal)
