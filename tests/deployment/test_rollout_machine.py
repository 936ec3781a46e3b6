"""Whatever happens to a rollout, in whatever order: it is in a legal state, and on its way to an end."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployment.desired import shares
from deployment.gates import Budget
from deployment.progress import Inputs, Rollout, TaskResult, Word, is_over
from deployment.rollout import desired, step
from tests.deployment.rollouts import FAIL, INVALID, NEW, OLD, PASS, START, UNDECIDED, Said, World, a_plan

VERDICTS = [None, PASS, PASS, PASS, FAIL, UNDECIDED, INVALID, Said("undecided", "look at it", hold=True)]
NEXT = {
    "plan": {"shadow", "rolled_back"},
    "shadow": {"baseline", "stage", "promoting"},
    "baseline": {"stage", "promoting"},
    "stage": {"stage", "promoting", "passed"},
    "promoting": {"bake"},
    "bake": {"permanent"},
    "aborting": {"rolled_back"},
    "permanent": {"aborting"},
    "rolled_back": set(),
    "passed": set(),
}
"""Which state may follow which, beside pauses, holds and the way back."""
PLANS = st.builds(
    a_plan,
    st.sampled_from([("joey",), ("hrm",), ("joey", "kenny")]),
    st.sampled_from(["canary", "canary", "blue-green", "aa"]),
    stages=st.sampled_from([[10, 25, 50, 100], [100], [1, 100]]),
    gates=st.sampled_from([[], [{"before": "promotion"}], [{"before": "100", "approvers": ["ada", "bert"]}]]),
    inconclusive=st.sampled_from(["hold", "abort"]),
    shadow_s=st.sampled_from([0, 60]),
    stage_s=st.sampled_from([0, 20]),
    bake_s=st.sampled_from([0, 20]),
    signals=st.sampled_from([0, 50]),
    ramp_back=st.sampled_from([[], [25, 75]]),
    health_tries=st.sampled_from([1, 3]),
)
WORDS = st.builds(
    Word,
    st.sampled_from(["start", "start", "pause", "resume", "promote", "abort", "undo", "approve", "override"]),
    by=st.sampled_from(["ada", "Ada ", "bert", "mallory", ""]),
    why=st.sampled_from(["", "a reason"]),
    full=st.booleans(),
    gate=st.sampled_from(["", "promotion", "25", "100", "nonsense"]),
    at_once=st.booleans(),
    id=st.just("7"),
)
LEGS = st.sampled_from([0.0, 0.2, 1.0, 1.0, 5.0, 61.0, 601.0, 8000.0, 1e8, -1.0, -1e6])


class Anything(RuleBasedStateMachine):
    """A rollout to which anything happens."""

    @initialize(
        plan=PLANS,
        approvers=st.sampled_from([("ada", "bert"), ("ada", "bert"), ("ada", "Ada "), ()]),
        until=st.sampled_from(["plan", "shadow", "stage", "promoting", "bake", "bake", "permanent"]),
        pause=st.booleans(),
    )
    def begin(self, plan: Any, approvers: tuple[str, ...], until: str, pause: bool) -> None:
        """Somewhere on its way, since by chance alone few come far."""
        self.world = World(plan, begun=False)
        self.world.verdict = PASS
        self.look(0.1, words=[Word("start")] if until != "plan" else [])
        for gate in {gate.before for gate in plan.gates}:
            self.look(0.1, words=[Word("approve", by=name, gate=gate) for name in approvers])
        for _ in range(150):
            if self.world.rollout.state != until:
                self.look(2.0)
        if pause:
            self.look(0.1, words=[Word("pause")])

    def look(self, passed: float, **further: Any) -> None:
        world = self.world
        self.before = world.rollout
        self.verdict = world.verdict
        self.inputs = world.inputs(**further)
        world.look(passed, **further)
        self.check()

    @rule(passed=LEGS, verdict=st.sampled_from(VERDICTS), times=st.sampled_from([1, 1, 10]))
    def time_passes(self, passed: float, verdict: Said | None, times: int) -> None:
        self.world.verdict = verdict
        for _ in range(times):
            self.look(passed)

    @rule(passed=LEGS)
    def the_judge_says_no(self, passed: float) -> None:
        self.world.verdict = FAIL
        self.look(passed)

    @rule()
    def somebody_is_in_a_hurry(self) -> None:
        self.look(0.1, words=[Word("promote", why="a reason", full=True)])

    @rule(times=st.sampled_from([5, 50]))
    def all_goes_well(self, times: int) -> None:
        self.world.verdict, self.world.budget = PASS, Budget(1.0)
        self.world.signals, self.world.broken = 1000, set()
        for _ in range(times):
            self.look(2.0)

    @rule(word=WORDS)
    def somebody_says(self, word: Word) -> None:
        self.look(0.1, words=[word])
        answer = self.world.answers[-1]
        assert answer.id == word.id
        assert answer.text
        if word.do == "abort" and not is_over(self.before):
            assert answer.ok
            assert self.world.rollout.state in ("aborting", "rolled_back")

    @rule(broken=st.sets(st.sampled_from(["arms", "table", "roles", "undo", "health", "validation"])))
    def things_break(self, broken: set[str]) -> None:
        self.world.broken = broken

    @rule(
        signals=st.sampled_from([0, 50, 1000]), left=st.sampled_from([None, 1.0, 0.1, -1.0]), burning=st.booleans()
    )
    def traffic_changes(self, signals: int, left: float | None, burning: bool) -> None:
        self.world.signals = signals
        self.world.budget = Budget(left, burning)

    @rule(node=st.booleans(), passed=LEGS)
    def something_restarts(self, node: bool, passed: float) -> None:
        self.look(passed, node_restarted=node, deployer_restarted=True)

    @rule(passed=LEGS)
    def the_deploy_actor_dies_before_it_keeps_anything(self, passed: float) -> None:
        self.world.look(passed, lost=True)

    @rule(kind=st.sampled_from(["undo", "health", "validation"]), attempt=st.integers(0, 4), ok=st.booleans())
    def a_result_comes_late(self, kind: Any, attempt: int, ok: bool) -> None:
        world = self.world
        world.now += 0.1
        self.before = world.rollout
        inputs = msgspec.structs.replace(world.inputs(), task=TaskResult(kind, attempt, ok))
        self.verdict, self.inputs = world.verdict, inputs
        world.rollout, _ = step(world.rollout, world.now, inputs)
        self.check()

    def check(self) -> None:
        """The last look was a legal one."""
        before, now, verdict = self.before, self.world.rollout, self.verdict
        if before.state != now.state:
            self.check_move(before, now)
        if verdict is FAIL and before.here in ("shadow", "baseline", "stage", "promoting", "bake"):
            assert now.state == "aborting"
        if is_over(before):
            assert now.state == before.state or (before.state, now.state) == ("permanent", "aborting")
        if now.share > before.share and not now.forced:
            assert before.here in ("shadow", "baseline", "stage")
            if before.here == "stage":
                assert verdict is PASS
        if now.history != before.history:
            assert now.history[: len(before.history)] == before.history
            assert now.history[-1].target == now.state
        else:
            assert now.state == before.state
            assert now.share == before.share
        same = shares(before) == shares(now)
        assert now.generation == before.generation + (0 if same else 1)

    def check_move(self, before: Rollout, now: Rollout) -> None:
        plan, source, target = now.plan, before.here, now.state
        if target in ("paused", "inconclusive"):
            assert now.under == source
            assert source in ("shadow", "baseline", "stage", "bake")
        elif target == "aborting":
            assert source != "plan"
        else:
            assert target in NEXT[source] or source in (target, before.under)
        if target == "promoting":
            assert plan.strategy != "aa"
            assert self.verdict is PASS or now.forced
        if target in ("promoting", "permanent") and "hrm" in plan.roles:
            people = {" ".join(each.by.split()).casefold() for each in now.approvals}
            assert len(people) >= 2
            assert all(each.by for each in now.approvals)
        if target in ("permanent", "passed"):
            assert self.verdict is PASS or now.forced
        if now.forced and not before.forced:
            assert [word.full and bool(word.why) for word in self.inputs.words] == [True]

    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def it_has_an_end(self) -> None:
        rollout = self.world.rollout
        if is_over(rollout):
            assert rollout.deadline == 0
        else:
            assert rollout.deadline > 0
            assert rollout.deadline - rollout.at <= rollout.plan.settings.plan_deadline_s

    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def the_world_that_it_wants_is_consistent(self) -> None:
        rollout, now = self.world.rollout, self.world.now
        wanted = desired(rollout, now)
        assert wanted == desired(rollout, now)
        roles = rollout.plan.roles.keys()
        assert wanted.permanent.keys() == roles
        assert set(wanted.permanent.values()) <= {NEW, OLD}
        assert (wanted.permanent == rollout.plan.roles) == (
            rollout.state == "permanent" or rollout.plan.strategy == "aa"
        )
        if wanted.table is None:
            assert rollout.state == "plan" or is_over(rollout)
            assert wanted.arms == {}
            return
        assert wanted.table.lease_until > now
        assert wanted.table.roles.keys() == roles
        for role, share in wanted.table.roles.items():
            assert share.canary >= 0
            assert share.baseline >= 0
            assert share.canary + share.baseline <= 1
            if share.canary:
                assert wanted.arms[role]["canary"] == rollout.plan.roles[role]
            if share.baseline:
                assert wanted.arms[role]["baseline"] == rollout.plan.stable[role]
        if rollout.rollback is not None:
            assert not any(share.canary for share in wanted.table.roles.values())
            assert wanted.provisional == {}
            assert wanted.replay_rate == 0
        if wanted.provisional:
            assert rollout.here in ("promoting", "bake")
            assert wanted.provisional_until == rollout.deadline

    def teardown(self) -> None:
        """Left to itself, with the judge silent, it comes to an end."""
        if not hasattr(self, "world"):
            return
        self.world.verdict = None
        for _ in range(2000):
            if self.world.is_over:
                break
            self.look(100.0)
        assert self.world.is_over


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnything = Anything.TestCase


@settings(max_examples=25)
@given(
    st.sampled_from([("permanent", 10**9), *(("rolled_back", after) for after in (5, 100, 400, 700, 800))]),
    st.sets(st.integers(0, 300), max_size=40),
    st.sets(st.integers(0, 300), max_size=10),
)
def test_a_crash_at_any_point_leads_to_the_same_end(
    expected: tuple[str, int], lost: set[int], restarted: set[int]
) -> None:
    end, harm_after = expected
    plan = a_plan(shadow_s=10, baseline_s=10, stage_s=10, bake_s=20)
    world = World(plan, begun=False)
    for index in range(3000):
        if world.is_over:
            break
        world.verdict = FAIL if world.now - START >= harm_after / 10 else PASS
        # A word that was not kept is not confirmed either, and comes again.
        words = [Word("start")] if world.rollout.state == "plan" else []
        world.look(1.0, lost=index in lost, words=words, deployer_restarted=index in restarted)
    assert world.rollout.state == end
    assert not world.rollout.troubles


def test_a_rollout_says_the_same_when_asked_twice() -> None:
    rollout = World(a_plan()).rollout
    inputs = Inputs(verdict=PASS)
    assert step(rollout, START + 5, inputs) == step(rollout, START + 5, inputs)
