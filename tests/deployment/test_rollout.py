"""The state machine of a rollout, case by case."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest

from deployment.gates import Budget
from deployment.progress import Inputs, Rollback, Rollout, Word, create
from deployment.rollout import conflict, desired, holds, observed, step, undo_conflict, worth_undoing
from deployment.samples import Counts, Facts, Pairs, Segment
from tests.deployment.rollouts import FAIL, INVALID, NEW, OLD, PASS, START, UNDECIDED, Said, World, a_plan

ALL = ["shadow", "baseline", "stage 10", "stage 25", "stage 50", "stage 100", "promoting", "bake", "permanent"]


def at(state: str, world: World | None = None) -> World:
    """A world whose rollout has come so far."""
    world = world or World(a_plan())
    world.verdict = PASS
    world.until(state)
    world.verdict = UNDECIDED
    return world


def test_a_healthy_release_goes_through_every_state_and_becomes_permanent() -> None:
    world = World(a_plan(), generation=7)
    world.verdict = PASS
    assert world.end().state == "permanent"
    assert world.steps == ALL
    wanted = desired(world.rollout, world.now)
    assert wanted.permanent == {"joey": NEW}
    assert (wanted.arms, wanted.table, wanted.provisional, wanted.task) == ({}, None, {}, None)
    assert world.rollout.generation == 7 + 8  # each table but the first and the promotion's is a new one
    assert world.rollout.deadline == 0


def test_shares_grow_stage_by_stage_for_both_arms_alike() -> None:
    world = World(a_plan())
    world.verdict = PASS
    seen = []
    while not world.is_over:
        table = desired(world.rollout, world.now).table
        assert table is not None
        share = table.roles["joey"]
        if not seen or seen[-1] != (share.canary, share.baseline, share.copies):
            seen.append((share.canary, share.baseline, share.copies))
        world.look(5)
    assert seen == [
        (0, 0, True),
        (0, 0.1, True),
        (0.1, 0.1, True),
        (0.25, 0.25, True),
        (0.5, 0.5, True),
        (1, 0, True),
        (0, 0, True),
    ]


def test_every_stage_takes_its_minimum_its_signals_and_a_pass() -> None:
    world = at("stage")
    world.signals = 1_000
    world.go(599)
    assert world.rollout.share == 10
    world.go(60)
    assert world.rollout.share == 10
    assert holds(world.rollout, world.inputs()) == ["no verdict yet: it takes more signals"]
    world.verdict, world.signals = PASS, 10
    world.look()
    assert holds(world.rollout, world.inputs()) == ["40 more signals must be seen"]
    world.signals = 50
    world.look()
    assert world.rollout.share == 25
    assert holds(world.rollout, world.inputs())[:2] == [
        "not everything is ready and in force",
        "600 s of its minimum are left",
    ]


def test_shadow_goes_on_without_a_pass_but_not_without_signals() -> None:
    world = World(a_plan())
    world.signals = 0
    world.go(100)
    assert world.rollout.state == "shadow"
    world.signals = 50
    world.go(2)
    assert world.rollout.state == "baseline"


@pytest.mark.parametrize("state", ["shadow", "baseline", "stage", "promoting", "bake"])
def test_a_fail_takes_the_traffic_from_the_canary_in_the_same_step(state: str) -> None:
    world = at(state)
    world.verdict = FAIL
    world.look()
    assert world.rollout.state == "aborting"
    wanted = desired(world.rollout, world.now)
    assert wanted.table is not None
    assert wanted.table.roles["joey"].canary == 0
    assert wanted.provisional == {}
    assert wanted.permanent == {"joey": OLD}
    assert world.end().state == "rolled_back"
    assert not world.rollout.troubles
    assert world.rollout.history[-1].why == FAIL.why


@pytest.mark.parametrize("state", ["shadow", "baseline", "stage", "bake"])
def test_a_fail_is_heard_in_a_pause(state: str) -> None:
    world = at(state)
    assert world.say("pause").ok
    world.verdict = FAIL
    world.look()
    assert world.rollout.state == "aborting"


def test_a_fail_is_heard_while_it_is_inconclusive() -> None:
    world = at("inconclusive", World(a_plan(signals=2_000_000)))
    world.verdict = FAIL
    world.look()
    assert world.rollout.state == "aborting"


def test_a_rollback_from_a_stage_leaves_all_to_the_role_at_once() -> None:
    world = at("stage")
    world.say("abort", why="a doubt")
    wanted = desired(world.rollout, world.now)
    assert wanted.table is not None
    assert wanted.table.roles["joey"] == type(wanted.table.roles["joey"])()
    assert wanted.arms == {"joey": {"canary": NEW, "baseline": OLD}}, (
        "nobody is stopped before the table is in force"
    )
    world.look()
    assert desired(world.rollout, world.now).arms == {}
    assert world.end().state == "rolled_back"


def test_a_rollback_from_the_bake_lets_the_warm_arm_decide_until_the_role_is_back_and_well() -> None:
    world = at("bake", World(a_plan(ramp_back=[50], ramp_back_s=10)))
    assert desired(world.rollout, world.now).judged == ("canary", "stable")
    assert desired(world.rollout, world.now).provisional == {"joey": NEW}
    assert desired(world.rollout, world.now).provisional_until == world.rollout.deadline
    world.say("abort")
    phases, shares = [], []
    while not world.is_over:
        back, wanted = world.rollout.rollback, desired(world.rollout, world.now)
        assert back is not None
        assert wanted.table is not None
        phases.append(back.phase)
        shares.append(wanted.table.roles["joey"].baseline)
        if shares[-1]:
            assert wanted.arms["joey"]["baseline"] == OLD
        world.look()
    assert list(dict.fromkeys(phases)) == ["table", "restart", "undo", "health", "ramp", "validation"]
    assert list(dict.fromkeys(shares)) == [1, 0.5, 0]
    assert shares[phases.index("validation")] == 0
    assert world.rollout.state == "rolled_back"


def test_now_leaves_the_checks_away() -> None:
    world = at("bake")
    world.say("abort", at_once=True)
    phases = set()
    while not world.is_over:
        assert world.rollout.rollback is not None
        phases.add(world.rollout.rollback.phase)
        world.look()
    assert phases == {"table", "restart", "undo", "ramp"}


def test_a_check_of_health_is_made_again_before_it_counts_as_bad() -> None:
    world = at("stage", World(a_plan(health_tries=4, health_interval_s=3)))
    world.broken = {"health"}
    world.say("abort")
    began, tries = world.now, []
    while not world.is_over:
        task = desired(world.rollout, world.now).task
        if task is not None and task.kind == "health" and (not tries or tries[-1][0] != task.attempt):
            tries.append((task.attempt, task.not_before - began))
        world.look()
    assert [attempt for attempt, _ in tries] == [1, 2, 3, 4]
    assert all(later - earlier >= 3 for (_, earlier), (_, later) in pairwise(tries))
    assert world.rollout.troubles == ("health: as tested",)
    assert [each.text for each in world.alarms] == ["r1, on the way back: health: as tested"]


@pytest.mark.parametrize(
    "broken", [{"table"}, {"roles"}, {"undo"}, {"validation"}, {"table", "roles", "undo", "health"}]
)
def test_the_way_back_ends_whatever_does_not_become_so(broken: set[str]) -> None:
    world = at("bake")
    world.broken = broken
    world.say("abort")
    began = world.now
    world.until("rolled_back", every=1)
    assert world.rollout.troubles
    assert world.now - began <= world.rollout.plan.settings.rollback_deadline_s + 1
    assert len(world.alarms) == len(world.rollout.troubles)


def test_a_stage_without_a_verdict_becomes_inconclusive_and_then_rolls_back() -> None:
    world = at("stage")
    world.until("inconclusive", within=7300)
    assert desired(world.rollout, world.now).table is not None
    assert world.rollout.here == "stage"
    assert "no verdict yet" in world.alarms[-1].text
    world.until("aborting", within=3700)
    assert world.end().state == "rolled_back"
    assert "no verdict in time" in world.rollout.history[-1].why


def test_a_verdict_that_comes_late_ends_an_inconclusive_state() -> None:
    world = at("inconclusive", World(a_plan(signals=2_000_000)))
    world.verdict, world.signals = PASS, 3_000_000
    assert world.end().state == "permanent"


def test_a_plan_may_say_that_no_verdict_is_a_rollback() -> None:
    world = at("stage", World(a_plan(inconclusive="abort")))
    world.until("aborting", within=7300)
    assert "inconclusive" not in world.steps


def test_resume_gives_an_inconclusive_state_its_whole_length_once_more() -> None:
    world = at("stage")
    world.until("inconclusive")
    assert world.say("resume", why="the night is quiet").ok
    assert world.rollout.state == "stage"
    assert world.rollout.deadline == world.now + 7200


def test_a_pause_stops_steps_forwards_and_extends_no_deadline() -> None:
    world = at("stage")
    deadline = world.rollout.deadline
    shares = desired(world.rollout, world.now).table
    world.say("pause", by="ada", why="to look")
    world.verdict = PASS
    world.go(1000, every=5)
    assert world.rollout.state == "paused"
    now = desired(world.rollout, world.now).table
    assert now is not None
    assert shares is not None
    assert (now.roles, now.generation) == (shares.roles, shares.generation)
    assert world.rollout.deadline == deadline
    assert world.say("promote").text == "it is paused; resume it first"
    assert world.say("resume").ok
    assert world.rollout.deadline == deadline
    world.look()
    assert world.rollout.share == 25, "what was seen in the pause counts"
    world.say("pause")
    world.until("aborting", within=7300)
    assert world.rollout.history[-1].why == "nobody resumed it in time"


def test_a_provisional_release_that_nobody_confirms_is_rolled_back() -> None:
    world = at("bake")
    world.until("aborting", within=7300)
    assert world.rollout.history[-1].why.startswith("not confirmed in time: no verdict yet")
    assert world.end().state == "rolled_back"


def test_a_role_that_does_not_come_back_with_the_release_is_rolled_back() -> None:
    world = at("stage")
    world.verdict = PASS
    world.until("promoting")
    world.broken = {"roles"}
    world.until("aborting", within=130)


def test_arms_that_never_come_up_are_no_question_of_patience() -> None:
    world = World(a_plan(), begun=False)
    world.broken = {"arms"}
    world.say("start")
    world.until("rolled_back", within=3000)
    assert "inconclusive" not in world.steps
    assert world.rollout.history[-1].why == "not everything was ready and in force in time"


def test_a_node_that_restarts_forgets_what_is_not_permanent() -> None:
    for state in ("shadow", "stage", "promoting", "bake"):
        world = at(state)
        world.look(node_restarted=True)
        assert world.rollout.state == "aborting"
        assert desired(world.rollout, world.now).arms == {}, "there is nothing warm any more"
        assert world.end().state == "rolled_back"
    world = at("permanent")
    world.look(node_restarted=True)
    assert world.rollout.state == "permanent"
    world = World(a_plan(), begun=False)
    world.look(node_restarted=True)
    assert world.rollout.state == "plan"


def test_a_deploy_actor_that_comes_back_in_time_goes_on() -> None:
    world = at("stage")
    world.go(300)
    world.verdict = PASS
    watched = world.rollout.watched
    world.look(1000, deployer_restarted=True)
    assert world.rollout.state == "stage"
    assert world.rollout.watched == watched, "what nobody watched does not count"
    world.look(1, deployer_restarted=True)
    notes = [each.why for each in world.rollout.history if each.is_note]
    assert notes == ["the deploy actor came back, and goes on"]
    assert world.rollout.restarts == 2
    assert world.end().state == "permanent"


def test_a_deploy_actor_that_comes_back_too_late_turns_back() -> None:
    world = at("bake")
    world.verdict = PASS
    world.look(100_000, deployer_restarted=True)
    assert world.rollout.state == "aborting"


def test_a_clock_that_is_set_back_moves_the_deadline_along() -> None:
    world = at("stage")
    left = world.rollout.deadline - world.now
    world.look(-50_000)
    assert world.rollout.deadline - world.now == left
    world.verdict = PASS
    assert world.end().state == "permanent"


def test_a_clock_that_jumps_forwards_never_makes_a_state_succeed() -> None:
    world = at("bake")
    world.verdict = PASS
    world.look(890)
    assert world.rollout.state == "bake"
    assert world.rollout.watched <= 5
    world.look(100_000)
    assert world.rollout.state == "aborting"


def test_promote_goes_on_without_the_minimum_and_not_without_a_pass() -> None:
    world = at("stage")
    world.look()
    answer = world.say("promote")
    assert not answer.ok
    assert answer.text == "no verdict yet: it takes more signals"
    world.verdict = PASS
    assert world.say("promote", by="ada").ok
    assert world.rollout.share == 25
    assert world.rollout.history[-1].by == "ada"


def test_promote_full_takes_a_reason_and_bakes_all_the_same() -> None:
    world = at("shadow")
    assert not world.say("promote", full=True).ok
    assert world.rollout.state == "shadow"
    assert world.say("promote", full=True, by="ada", why="the market opens").ok
    assert world.rollout.state == "promoting"
    assert world.end().state == "permanent"
    assert world.rollout.forced == "the market opens (ada)"
    assert not any(each.target == "stage" for each in world.moves)


def test_no_word_stands_against_a_fail() -> None:
    world = at("stage")
    world.verdict = FAIL
    answer = world.say("promote", full=True, why="I know better")
    assert not answer.ok
    assert world.rollout.state == "aborting"


def test_an_invalid_measurement_holds_and_never_passes() -> None:
    world = at("stage")
    world.verdict = INVALID
    world.go(1000, every=5)
    assert world.rollout.share == 10
    assert "cannot be trusted" in holds(world.rollout, world.inputs())[0]
    assert not world.say("promote").ok


def test_a_verdict_that_asks_to_hold_is_held_until_somebody_answers_for_it() -> None:
    world = at("stage")
    world.verdict = Said("undecided", "the Watchdog isolated both", hold=True)
    world.go(700)
    assert holds(world.rollout, world.inputs()) == ["the Watchdog isolated both"]
    facts = Facts(quarantined={"canary": 1, "baseline": 1})
    world.look(facts=facts)
    assert world.rollout.answered == Facts()
    segments = (Segment("joey", 1, canary=Counts(trials=9)),)
    world.look(facts=facts, segments=segments, words=[Word("resume", by="ada")])
    assert (world.rollout.answered, world.rollout.answered_segments) == (facts, segments)
    assert world.rollout.history[-1].why == "answered for: the Watchdog isolated both"


def test_nobody_answers_for_figures_that_cannot_be_trusted() -> None:
    world = at("stage")
    world.verdict = Said("invalid", "the shares are not as assigned", hold=True)
    world.look(facts=Facts(crashes={"canary": 1}), words=[Word("resume", by="ada")])
    assert world.rollout.answered == Facts()
    assert "answered" not in world.rollout.history[-1].why


def test_abort_and_undo_are_heard_in_every_state_and_again_change_nothing() -> None:
    for state in ("shadow", "baseline", "stage", "promoting", "bake", "paused", "inconclusive"):
        for word in ("abort", "undo"):
            world = World(a_plan(signals=2_000_000 if state == "inconclusive" else 0))
            if state == "paused":
                at("stage", world)
                world.say("pause")
            else:
                at(state, world)
            assert world.say(word).ok
            assert world.rollout.state == "aborting"
            before = world.rollout.history
            assert world.say(word, passed=0).ok
            assert world.rollout.history == before
            world.end()
            assert world.say(word).ok
            assert world.rollout.state == "rolled_back"


def test_undo_leads_back_from_a_permanent_release() -> None:
    world = at("permanent")
    assert not world.say("abort").ok
    assert world.say("undo", by="ada", why="the client complains").ok
    assert world.rollout.state == "aborting"
    wanted = desired(world.rollout, world.now)
    assert wanted.permanent == {"joey": OLD}
    assert wanted.arms == {}
    assert world.end().state == "rolled_back"
    assert not world.rollout.troubles


def test_a_release_is_undone_only_while_it_is_the_one_that_counts() -> None:
    done = at("permanent").rollout
    assert undo_conflict(done, [done], {"joey": NEW}) == ""
    assert undo_conflict(done, [done], {"joey": OLD}) == "joey has had another release since; undo that one first"
    other = World(msgspec.structs.replace(a_plan(["kenny"]), id="r2")).rollout
    assert undo_conflict(done, [done, other], {"joey": NEW}) == "r2 is under way; abort it first"


def test_without_a_name_undo_means_the_newest_rollout_that_brought_a_release() -> None:
    def ended(name: str, **fields: Any) -> Rollout:
        plan = msgspec.structs.replace(a_plan(strategy=fields.pop("strategy", "canary")), id=name)
        return msgspec.structs.replace(create(plan, START), **fields)

    permanent = ended("r1", state="permanent")
    frozen, left, aa = ended("r2", state="rolled_back"), ended("r3"), ended("r4", state="passed", strategy="aa")
    back = ended("r5", state="rolled_back", rollback=Rollback("worse", "stage", "table", START))
    active = ended("r6", state="stage")
    assert worth_undoing([permanent, frozen, left, aa]) == permanent
    assert worth_undoing([permanent, back, frozen]) == back
    assert worth_undoing([permanent, back, active]) == active
    assert worth_undoing([frozen, left, aa]) is None


@pytest.mark.parametrize("late", [False, True])
def test_a_chosen_release_is_what_the_way_back_leads_to(late: bool) -> None:
    world = at("bake")
    chosen = {"joey": "c" * 64, "kyle": "c" * 64}
    if late:
        world.say("undo")
        assert desired(world.rollout, world.now).arms
    assert world.say("undo", chosen=chosen, at_once=True).ok
    wanted = desired(world.rollout, world.now)
    assert wanted.permanent == chosen
    assert wanted.table is not None
    assert wanted.table.roles["joey"].baseline == 0
    assert world.end(every=0.5).troubles == ()
    assert desired(world.rollout, world.now).permanent == chosen


def test_a_plan_that_nobody_starts_lapses_and_one_can_be_withdrawn() -> None:
    world = World(a_plan(), begun=False)
    assert desired(world.rollout, world.now).table is None
    assert world.say("promote").text == "it has not been started"
    assert not world.say("pause").ok
    world.until("rolled_back", within=90_000, every=600)
    assert world.steps == ["rolled_back"]
    world = World(a_plan(), begun=False)
    assert world.say("abort").ok
    assert world.rollout.state == "rolled_back"
    assert not world.say("start").ok


def test_two_rollouts_at_once_are_refused() -> None:
    first = World(a_plan()).rollout
    second = msgspec.structs.replace(a_plan(), id="r2")
    assert "r1 is under way and is about joey, too" in conflict(second, [first])
    assert "each would be blamed" in conflict(msgspec.structs.replace(a_plan(["kenny"]), id="r2"), [first])
    assert conflict(first.plan, [first]) == ""
    assert conflict(second, [create(a_plan(), START)]) == ""
    assert conflict(second, [at("permanent").rollout]) == ""


def test_a_bundle_moves_as_one() -> None:
    world = World(a_plan(["joey", "kenny"]))
    world.verdict = PASS
    world.until("promoting")
    wanted = desired(world.rollout, world.now)
    assert wanted.provisional == {"joey": NEW, "kenny": NEW}
    one = msgspec.structs.replace(world.inputs(), running={"joey": NEW, "kenny": OLD})
    for _ in range(3):
        world.now += 1
        world.rollout, _ = step(world.rollout, world.now, one)
    assert world.rollout.state == "promoting"
    assert world.end().state == "permanent"


def test_an_aa_passes_without_promoting_anything() -> None:
    world = World(a_plan(strategy="aa"))
    world.verdict = PASS
    assert world.end().state == "passed"
    assert world.steps == ["shadow", "baseline", "stage 10", "stage 25", "stage 50", "stage 100", "passed"]
    assert desired(world.rollout, world.now).permanent == {"joey": OLD}
    world = World(a_plan(strategy="aa"))
    assert not world.say("promote", full=True, why="x").ok
    world.verdict = FAIL
    assert world.end().state == "rolled_back"


def test_blue_green_goes_from_copies_to_all_traffic_and_takes_a_pass_before() -> None:
    world = World(a_plan(strategy="blue-green", gates=[{"before": "promotion"}]))
    world.go(100)
    assert world.rollout.state == "shadow"
    world.verdict = PASS
    world.look()
    assert holds(world.rollout, world.inputs()) == ["1 more approval before 100"]
    assert world.say("approve", by="bert").ok
    assert world.end().state == "permanent"
    assert world.steps == ["shadow", "stage 100", "promoting", "bake", "permanent"]


def test_gates_wait_for_their_people() -> None:
    world = World(
        a_plan(["hrm"], gates=[{"before": "25", "approvers": ["Ada", "Bert", "Carl"]}, {"before": "promotion"}])
    )
    world.verdict = PASS
    world.until("stage")
    world.go(700)
    assert holds(world.rollout, world.inputs()) == ["2 more approvals of Ada, Bert, Carl before 25"]
    assert not world.say("approve", by="mallory").ok
    assert world.say("approve", by=" ada ").text == "approved; it takes 1 more approval of Ada, Bert, Carl"
    assert world.say("approve", by="ADA").text == "approved; it takes 1 more approval of Ada, Bert, Carl"
    assert world.rollout.share == 10
    assert world.say("approve", by="Carl").text == "approved"
    world.look()
    assert world.rollout.share == 25
    refused = world.say("promote", full=True, why="hurry")
    assert refused.text == "2 more approvals before promotion"
    for name in ("ada", "dora"):
        assert world.say("approve", by=name).ok
    assert world.end().state == "permanent"


def test_an_approval_that_is_too_old_counts_no_more() -> None:
    world = World(a_plan(gates=[{"before": "10"}], approval_s=60), begun=False)
    world.say("approve", by="ada")
    world.now += 100
    world.say("start")
    world.verdict = PASS
    world.until("baseline")
    world.go(100)
    assert "1 more approval before 10" in holds(world.rollout, world.inputs())


def test_a_spent_budget_freezes_steps_forwards_and_never_a_rollback() -> None:
    world = World(a_plan(), begun=False)
    world.budget = Budget(-0.1)
    assert not world.say("start").ok
    assert world.rollout.state == "plan"
    assert not world.say("override").ok
    assert world.say("override", by="ada", why="it mends the fault").ok
    assert world.say("start").ok
    world.verdict = PASS
    world.go(3601, every=5)
    share = world.rollout.share
    assert share > 0
    world.go(1300, every=5)
    assert world.rollout.share == share, "an override ends"
    assert "frozen: the error budget is spent" in holds(world.rollout, world.inputs())
    world.verdict = FAIL
    assert world.end().state == "rolled_back"


def test_a_small_budget_halves_the_steps_and_doubles_the_signals() -> None:
    world = World(a_plan())
    world.budget = Budget(0.2)
    world.verdict = PASS
    world.signals = 99
    world.go(100)
    assert world.rollout.state == "shadow"
    world.signals = 100
    assert world.end().state == "permanent"
    shares = [each.share for each in world.moves if each.target == "stage"]
    assert shares == [5, 10, 17.5, 25, 37.5, 50, 75, 100]


def test_a_freeze_window_holds_every_step_but_the_last() -> None:
    world = World(a_plan(freeze=[{"why": "earnings"}]), begun=False)
    answer = world.say("start")
    assert "earnings" in answer.text
    assert "--override-freeze" in answer.text
    world.say("override", why="planned")
    world.say("start")
    world.verdict = PASS
    world.until("bake", within=4000)
    world.rollout = msgspec.structs.replace(world.rollout, override=None)
    assert world.end().state == "permanent"


def test_what_was_observed_is_counted_by_table_and_by_the_role_that_has_seen_fewest() -> None:
    rollout = World(a_plan(["joey", "kenny"])).rollout
    now = rollout.generation
    segments = [
        Segment("joey", now - 1, pairs=Pairs(compared=900)),
        Segment("joey", now, pairs=Pairs(compared=30), replayed=Pairs(compared=20)),
        Segment("kenny", now, canary=Counts(trials=12)),
        Segment("aletheia", now),
    ]
    assert observed(rollout, segments) == 12
    assert observed(rollout, segments[:2]) == 0


def test_without_any_input_nothing_goes_on() -> None:
    rollout = World(a_plan()).rollout
    for second in range(1, 1000):
        rollout, effects = step(rollout, rollout.at + 1, Inputs())
        assert not effects, second
    assert rollout.state == "shadow"
