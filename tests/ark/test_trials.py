"""A role and its arms: whatever arms do and the table says, each signal leaves once, in the order of its symbol."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.agent import Agent, Context, Hold
from ark.changes import Change
from ark.context import StageContext
from ark.equipment import ArmSpec, Equipment
from ark.errors import ProposalError
from ark.message import PROPOSAL, TRIAL, WORK, Envelope, Proposed, Trial, encode
from ark.routing import ARMS, BASELINE, CANARY, LEASE_S, OWN, Declared, Route, Table, arm_name
from ark.stage import Stage
from ark.state import Core
from ark.trials import Trials
from tests.evidence import CountsEvidence

ROLE = "beta"
SYMBOLS = ("A", "B", "C")


class Word(msgspec.Struct, frozen=True):
    number: int
    is_case: bool = True


class Role(Agent[Word]):
    """Has nothing for arms to decide where a word is no case, and adopts whatever is not negative."""

    takes = Word
    proposes = Word
    decided: ClassVar[list[tuple[int, str]]] = []
    tracks: ClassVar[dict[int, str]] = {}
    is_ready: ClassVar[bool] = True

    def ready(self, context: Context) -> bool:
        return self.is_ready

    def handle(self, message: Word, context: Context) -> Word:
        self.tracks[message.number] = context.span(context.now()).track
        self.decided.append((message.number, "role"))
        return message

    def case(self, message: Word, context: Context) -> Word | None:
        return message if message.is_case else None

    def adopt(self, message: Word, proposal: Word, context: Context) -> Word:
        if proposal.number < 0:
            raise ProposalError("it is negative")
        self.tracks[message.number] = context.span(context.now()).track
        self.decided.append((message.number, "arm"))
        return message


class World(CountsEvidence):
    """One role whose arms answer when they are told to."""

    def __init__(self) -> None:
        Role.decided.clear()
        Role.is_ready = True
        self.core = Core(clock=lambda: 0.0)
        context = StageContext(
            ROLE,
            version="1",
            pipeline=("alpha", ROLE, "omega"),
            settings={},
            clock=lambda: 0.0,
            halt=lambda: None,
            opener=lambda name: None,  # type: ignore[arg-type,return-value]
            secrets={},
            core=lambda: self.core,
        )
        self.stage = Stage(Role(), context, successor="omega", journal=None, epoch=1, record=self)
        self.stage.setup()
        self.counts: Counter[str] = Counter()
        self.now_ns = 0
        self.in_force: tuple[Route, frozenset[str]] | None = None
        self.accepted: list[Envelope] = []
        self.asked: dict[str, list[Envelope]] = {arm: [] for arm in ARMS}
        self.sent: list[int] = []
        self.tracks: dict[int, str] = {}

    def turn(self, canary: float, baseline: float, up: frozenset[str]) -> None:
        self.in_force = Route(canary, min(baseline, 1 - canary)), up
        self._renew()

    def _renew(self) -> None:
        """Give the lease a new length, as the deploy actor does."""
        if self.in_force is not None:
            route, up = self.in_force
            equipment = Equipment("0123456789abcdef", "new")
            arms = {arm_name(ROLE, CANARY): ArmSpec(ROLE, CANARY, equipment)}
            table = Table(1, "r", self.now_ns / 1e9 + LEASE_S, "salt", roles={ROLE: route}, arms=arms)
            self._run(self.stage.turn(table, up, self._clock))

    def signal(self, symbol: str, *, is_case: bool = True) -> None:
        seq = len(self.accepted) + 1
        self.accepted.append(Envelope(WORK, f"t{seq}", symbol, seq, 1, 1, encode(Word(seq, is_case))))
        self.send(self.accepted[-1])

    def answer(self, arm: str, how: str = "good", changes: tuple[Change, ...] = ()) -> None:
        """Have an arm answer the oldest thing that it was asked."""
        if not self.asked[arm]:
            return
        trial = self.asked[arm].pop(0)
        asked = msgspec.msgpack.decode(trial.payload, type=Trial)
        word = msgspec.msgpack.decode(asked.case, type=Word)
        if how == "wrong":
            word = Word(-1)
        answer = {"unreadable": b"\xc1"}.get(how, bytes(encode(word)))
        error = "boom" if how == "broken" else ""
        proposed = Proposed(
            asked.number, arm, 1, answer, error=error, version="1.5", release="its own word", changes=changes
        )
        self.send(Envelope(PROPOSAL, arm, trial.symbol, trial.seq, trial.epoch, 0, encode(proposed)))

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self._renew()
        self._run(self.stage.overtake(self._clock))

    def ready(self, is_ready: bool) -> None:
        Role.is_ready = is_ready
        if is_ready:
            self._run(self.stage.tick(self._clock))

    def end(self) -> None:
        self.in_force = None
        self._run(self.stage.turn(None, frozenset(), self._clock))
        self.ready(True)

    def send(self, envelope: Envelope) -> None:
        self._run(self.stage.process(self.stage.admit([envelope]), self._clock))

    def _run(self, points: Any) -> None:
        list(points)
        for destination, envelope in self.stage.take_outgoing():
            if envelope.kind == TRIAL:
                self.asked[destination.removeprefix(f"{ROLE}.")].append(envelope)
            else:
                self.sent.append(envelope.seq)
                self.tracks[envelope.seq] = envelope.spans[-1].track
                assert Role.tracks[envelope.seq] == envelope.spans[-1].track, "the role was told otherwise"

    def _clock(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def check(self) -> None:
        """Each signal went on once, and none before an earlier one of its symbol."""
        assert sorted(self.sent) == [each.seq for each in self.accepted]
        for symbol in SYMBOLS:
            of = [each.seq for each in self.accepted if each.symbol == symbol]
            assert [seq for seq in self.sent if seq in set(of)] == of


STEPS = st.one_of(
    st.tuples(st.just("signal"), st.sampled_from(SYMBOLS), st.booleans()),
    st.tuples(
        st.just("answer"), st.sampled_from(ARMS), st.sampled_from(("good", "good", "wrong", "broken", "unreadable"))
    ),
    st.tuples(
        st.just("turn"),
        st.sampled_from((0.0, 0.5, 1.0)),
        st.sampled_from((0.0, 0.5, 1.0)),
        st.frozensets(st.sampled_from(ARMS)),
    ),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 1.5, 5.0))),
    st.tuples(st.just("ready"), st.booleans()),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_arms_do_each_signal_leaves_once_in_its_order(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset(ARMS))
    for kind, *rest in steps:
        if kind == "signal":
            world.signal(rest[0], is_case=rest[1])
        else:
            getattr(world, kind)(*rest)
    world.end()
    world.check()


@pytest.mark.parametrize("how", ["good", "wrong", "broken"])
def test_what_arms_do_not_decide_waits_for_the_signal_before_it(how: str) -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset((CANARY,)))
    world.signal("A")
    world.signal("A", is_case=False)
    world.signal("B", is_case=False)
    assert world.sent == [3]
    world.answer(CANARY, how)
    assert world.sent == [3, 1, 2]


def test_an_arm_decides_its_own_signals_and_is_shown_the_others() -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset(ARMS))
    world.signal("A")
    world.answer(BASELINE)
    assert world.sent == []
    world.answer(CANARY)
    assert Role.decided == [(1, "arm")]
    world.turn(0.0, 0.0, frozenset(ARMS))
    world.signal("A")
    assert Role.decided == [(1, "arm"), (2, "role")]
    assert [len(world.asked[arm]) for arm in ARMS] == [1, 1]
    assert arm_name(ROLE, CANARY) == "beta.canary"


class Told:
    """A record in memory."""

    def __init__(self) -> None:
        self.figures: Counter[str] = Counter()
        self.differences: list[Any] = []
        self.spared: list[bool] = []
        self.rollouts: list[str] = []

    is_first = True

    def begin(self, generation: int, rollout: str) -> None:
        self.rollouts.append(rollout)

    def count(self, figure: str, amount: int = 1) -> None:
        self.figures[figure] += amount

    def tell(self, difference: msgspec.Struct, *, spare: bool) -> None:
        self.differences.append(difference)
        self.spared.append(spare)


class Lists(Agent[list[str]]):
    """Decides with lists."""

    takes = list[str]
    proposes = list[str]

    def handle(self, message: list[str], context: Context) -> list[str]:
        return message


def compared(
    baseline: list[str], canary: list[str], own: list[str] | None = None, *, release: str = "old"
) -> tuple[Told, Trials]:
    """What is told of one signal while the role is to run from `new`, by a role that runs from some release."""
    told = Told()
    trials = Trials(ROLE, Lists(), told, release)
    route = Route(declared=(Declared("*", before="[0-9]*"),))
    table = Table(7, "r", LEASE_S, roles={ROLE: route}, provisional={ROLE: Equipment("new")})
    trials.turn(table, frozenset(ARMS), 0.0)
    trials.give(Envelope(WORK, "t1", "A", 1, 1, 1, encode("")), encode("case"), 0, OWN, 0.0, own=own)
    for arm, said in ((CANARY, canary), (BASELINE, baseline)):
        trials.take(Proposed(1, arm, 1, bytes(encode(said))), 0.0)
    return told, trials


def test_a_role_that_runs_what_is_judged_is_the_canary_and_no_measure_of_noise() -> None:
    told, trials = compared(["a"], ["b"], own=["b"], release="new")
    assert told.figures == {"pairs_compared": 1, "pairs_different": 1}
    assert trials.own_track == trials.track(CANARY) == "canary:7"
    told, trials = compared(["a"], ["b"], own=["b"])  # it has not been restarted yet
    assert told.figures["noise_different"] == 1
    assert trials.own_track == "stable:7"


def test_what_is_not_declared_is_found_behind_whatever_is() -> None:
    before, after = [str(number) for number in range(40)], [str(number + 1) for number in range(40)]
    told, _ = compared([*before, "x"], [*after, "x"])
    assert told.figures == {"pairs_compared": 1, "pairs_declared": 1}
    assert [each.declared for each in told.differences] == told.spared == [True]
    told, _ = compared([*before, "x"], [*after, "y"])
    assert told.figures == {"pairs_compared": 1, "pairs_different": 1}
    assert [(each.path, each.canary, each.baseline) for each in told.differences] == [("40", "y", "x")]


def test_a_counter_example_must_be_kept_and_what_shows_noise_alone_need_not() -> None:
    told, _ = compared(["a"], ["b"], own=["c"])
    assert told.rollouts == ["r"]
    assert [(each.kind, spared) for each, spared in zip(told.differences, told.spared, strict=True)] == [
        ("pairs", False),
        ("noise", True),
    ]


def test_of_many_undeclared_differences_a_few_are_told() -> None:
    told, _ = compared(["a"] * 50, ["b"] * 50)
    assert told.figures["pairs_different"] == 1
    assert len(told.differences) == 4


def test_an_answer_that_came_in_time_is_adopted_when_the_role_is_ready_however_late_that_is() -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset(ARMS))
    world.signal("A")
    world.ready(False)
    world.answer(CANARY)
    world.signal("A")
    world.wait(3.0)
    assert Role.decided == []
    assert world.stage.stashed == 1, "the answer is no signal"
    assert world.counts == {"canary_trials": 1}  # the baseline is late, and it is not its own
    world.ready(True)
    assert Role.decided == [(1, "arm")]
    assert not world.counts["canary_broken"]
    world.answer(CANARY)
    assert world.sent == [1, 2]


@pytest.mark.parametrize("how", ["late", "gone"])
def test_what_an_arm_leaves_waits_for_the_role_to_be_ready_and_goes_before_what_came_later(how: str) -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset((CANARY,)))
    world.signal("A")
    world.signal("A", is_case=False)
    world.ready(False)
    world.signal("A")
    if how == "late":
        world.wait(3.0)
    else:
        world.turn(1.0, 0.0, frozenset())
    assert (Role.decided, world.stage.stashed) == ([], 3)
    world.ready(True)
    assert Role.decided == [(1, "role"), (2, "role"), (3, "role")]
    assert world.sent == [1, 2, 3]


def test_what_was_taken_back_and_waits_is_let_go_when_a_newer_epoch_sends_it_again() -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset((CANARY,)))
    world.signal("A")
    world.ready(False)
    world.wait(3.0)
    again = msgspec.structs.replace(world.accepted[0], epoch=2, attempt=2)
    world.send(again)
    assert (world.stage.stashed, world.stage.dropped) == (1, 1)
    world.ready(True)
    assert world.sent == [1]


def test_an_arm_that_goes_keeps_the_answers_that_it_gave() -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset(ARMS))
    world.signal("A")
    world.answer(CANARY)
    world.turn(1.0, 0.0, frozenset((BASELINE,)))
    world.answer(BASELINE)
    assert world.sent == [1]
    assert world.counts == {"canary_trials": 1, "pairs_compared": 1}


def test_an_arm_changes_state_in_the_name_of_the_release_that_the_table_gives_it() -> None:
    world = World()
    for arm in ARMS:
        world.turn(float(arm == CANARY), float(arm == BASELINE), frozenset((arm,)))
        world.signal("A")
        world.answer(arm, changes=(Change(f"by {arm}", 1),))
    by = {each.key: each.requester for each in world.core.since(0)}
    assert by == {"by canary": "beta@0123456789ab", "by baseline": "beta@1.5"}


@pytest.mark.parametrize("how", ["good", "wrong", "broken"])
def test_what_only_waited_behind_an_arms_signal_counts_as_nobodys(how: str) -> None:
    world = World()
    world.turn(1.0, 0.0, frozenset((CANARY,)))
    world.signal("A")
    world.signal("A", is_case=False)
    world.signal("B", is_case=False)
    world.answer(CANARY, how)
    assert world.tracks == {1: "canary:1" if how == "good" else "stable:1", 2: "", 3: ""}


def test_what_an_arm_holds_for_a_person_is_counted_where_it_is_the_arms_own() -> None:
    told = Told()
    trials = Trials(ROLE, Lists(), told)
    trials.turn(Table(7, "r", LEASE_S, roles={ROLE: Route(canary=1.0)}), frozenset(ARMS), 0.0)
    trials.give(Envelope(WORK, "t1", "A", 1, 1, 1, encode("")), encode("case"), 0, CANARY, 0.0)
    hold = bytes(encode(Hold(9.0, "may it?")))
    for arm in (BASELINE, CANARY):
        returned, taken = trials.take(Proposed(1, arm, 1, hold, held=True), 0.0)
        assert (returned is not None, taken) == (arm == CANARY, [])
    assert told.figures == {"canary_trials": 1, "canary_held": 1, "pairs_compared": 1}
