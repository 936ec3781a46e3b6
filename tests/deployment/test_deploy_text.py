"""A rollout in words and bars: what `ark-run deploy` and `supervisor status` print."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ark.node_series import rollout_series
from ark.rollouts import is_stopped
from deployment.arms_text import bar, status_lines
from deployment.deploy_book import Kept
from deployment.deploy_text import explanation_lines, history_lines, plan_lines, story_lines
from deployment.forecast import forecast
from deployment.gates import Budget
from deployment.judge import judge
from deployment.manifest import Change
from deployment.plan import Plan
from deployment.release_views import Comparison
from deployment.report import arms_of, document_of
from deployment.samples import Counts, Difference, Facts, Pairs, Segment
from deployment.verdict import Policy
from supervisor.rendering import absent
from supervisor.rendering import status_lines as supervisor_lines
from tests.deployment.rollouts import FAIL, START, World, a_plan

SEEN = [
    Segment(
        "joey",
        generation,
        0.1,
        0.1,
        Counts(trials=20, signals=20, denied=3),
        Counts(trials=18, signals=18, denied=1),
        Counts(trials=160, signals=160, denied=9),
        Pairs(compared=60, denied_first=4),
    )
    for generation in (1, 2)
]
EXAMPLE = Difference("joey", "t-1", "IBM", "setup.size", "0.04", "0.08", at=5.0)


def document(world: World, **changes: Any) -> dict[str, Any]:
    """What the deploy actor says of a rollout, as it comes over the wire."""
    verdict = judge(SEEN, Facts(), [], Policy())
    kept = Kept(
        world.rollout,
        evidence=msgspec.Raw(msgspec.json.encode(verdict)),
        examples=msgspec.Raw(msgspec.json.encode([EXAMPLE])),
        arms=msgspec.Raw(msgspec.json.encode(arms_of(SEEN))),
    )
    inputs = msgspec.structs.replace(world.inputs(), verdict=verdict)
    made: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode(document_of(kept, inputs, rate=12.0, full=True) | changes)
    )
    return made


def in_stage(**settings: Any) -> World:
    world = World(a_plan(**settings))
    world.until("stage")
    return world


def test_both_arms_stand_side_by_side_with_the_evidence_that_it_takes() -> None:
    text = "\n".join(status_lines(document(in_stage()), START + 200))

    assert "r1  canary: joey bbbbbbbbbbbb -> aaaaaaaaaaaa" in text
    assert "stage 10 % of 10,25,50,100" in text
    assert "denied                     6         2        18" in text
    assert "both saw 120 and 0 replayed" in text
    (line,) = [each for each in text.splitlines() if "pairs.denied" in each]
    assert line.count("[") == 2
    assert "%" in line


def test_a_rollout_that_holds_says_why_and_who_is_to_look() -> None:
    world = in_stage(gates=[{"before": "25", "approvers": ["anna"]}])
    shown = document(world)
    assert "1 more approval of anna before 25" in "\n".join(status_lines(shown, world.now))
    assert not is_stopped(shown)  # a gate is not a fault

    world.say("pause", why="lunch", by="ben")
    shown = document(world)
    text = "\n".join(status_lines(shown, world.now))
    assert "paused (in stage) 10 %" in text
    assert "lunch (by ben)" in text
    assert is_stopped(shown)


def test_what_went_wrong_is_explained_with_an_example() -> None:
    world = in_stage()
    world.verdict = FAIL
    world.end()
    shown = document(world, to_zero_s=0.21)

    assert "after 0.21 s" in "\n".join(status_lines(shown, world.now))
    lines = explanation_lines(shown)
    assert any("five times the denials" in each for each in lines)
    assert "  see it    ark-run trace t-1" in lines
    story = "\n".join(story_lines(shown))
    assert "stage 10 %" in story
    assert "five times the denials (by judge)" in story
    assert history_lines([shown])[1].startswith("r1       rolled back  canary    joey bbbbbbbbbbbb -> aaaaaaaaaaaa")
    assert history_lines([]) == ["nothing was ever rolled out here"]
    assert status_lines(None, 0.0) == ["nothing was ever rolled out here"]


def test_the_supervisors_status_has_it_in_two_lines() -> None:
    world = in_stage()
    world.signals = 0
    shown = {**document(world), "lease_s": 4.0}
    lines = supervisor_lines({**absent(None), "rollout": shown})
    assert [each.split(":")[0] for each in lines].count("rollout") == 1
    assert "(joey aaaaaaaaaaaa): stage 10 %" in lines[-2]
    assert "not everything is ready and in force (and " in lines[-1]

    shown["lease_s"] = -1.0
    assert "the deploy actor does not run" in supervisor_lines({**absent(None), "rollout": shown})[-1]
    assert is_stopped(shown)


def test_what_is_exported_is_the_state_the_shares_and_the_evidence() -> None:
    series = {(each.metric.name, *each.labels): each.value for each in rollout_series(document(in_stage()))}

    assert series["ark_rollout_state", "stage"] == 1
    assert sum(value for name, value in series.items() if name[0] == "ark_rollout_state") == 1
    assert series["ark_rollout_share_ratio", "canary"] == 0.1
    assert 0 < series["ark_rollout_evidence_ratio", "pairs.denied", "harm"] < 1
    assert list(rollout_series(None)) == []


def test_a_plan_says_what_it_changes_its_steps_and_what_is_to_be_expected() -> None:
    plan = a_plan(("hrm",), gates=[{"before": "25", "approvers": ["anna", "ben"], "needed": 2}], replay_rate=5.0)
    change = Change("hrm", "stricter", "decision.violations.*")
    lines = plan_lines(
        plan,
        changes=[
            ("hrm", Comparison("bbb", "aaa", ("new.py",), (), ("old.py",), True, {"numpy": ("1", "2")}), [change])
        ],
        expected=forecast(plan.settings, 1, 20.0),
        rate=20.0,
        budget=Budget(0.1),
        conflict="",
        now=START,
    )
    text = "\n".join(lines)

    assert "decides otherwise: decision.violations.*, anything -> anything (stricter)" in text
    assert "+ new.py" in text
    assert "numpy 1 -> 2" in text
    assert "2 people of anna, ben must approve (`ark-run deploy approve --gate 25`)" in text
    assert "2 people must approve (`ark-run deploy approve --gate promotion`)" in text
    assert "10% left: half steps, and twice the signals" in text
    assert "after 346 signals at both arms, about 14 s with 20 signals a second and 5 replayed" in text


def test_a_plan_that_cannot_be_started_says_so() -> None:
    plan = a_plan(freeze=[{"why": "the open"}], policy="tripwires")
    text = "\n".join(
        plan_lines(
            plan,
            changes=None,
            expected=forecast(plan.settings, 1, None),
            rate=None,
            budget=Budget(),
            conflict="r0 is under way",
            now=START,
        )
    )

    assert "FROZEN for" in text
    assert "the open" in text
    assert "CANNOT START: r0 is under way" in text
    assert "tripwires" in text


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "aa"])
def test_every_strategy_has_its_steps(strategy: Any) -> None:
    plan: Plan = a_plan(strategy=strategy)
    text = "\n".join(
        plan_lines(plan, changes=[], expected=None, rate=None, budget=Budget(), conflict="", now=START)
    )

    assert ("bake " in text) == (strategy != "aa")
    assert ("baseline   a fresh" in text) == (strategy != "blue-green")


@given(some.floats(allow_nan=False, allow_infinity=False))
def test_a_bar_is_never_longer_or_shorter_than_it_is(part: float) -> None:
    assert len(bar(part)) == 18


def test_what_an_agent_says_cannot_write_to_the_terminal() -> None:
    shown = document(in_stage())
    shown["verdict"]["counterexample"] = {**msgspec.to_builtins(EXAMPLE), "canary": "\x1b[2Jgone"}

    assert "\x1b" not in "\n".join([*status_lines(shown, START), *explanation_lines(shown)])


@pytest.mark.parametrize(
    ("rate", "replay", "limit", "wait_s"),
    [
        (20.0, 0.0, 0.01, 17.3),
        (20.0, 5.0, 0.01, 13.8),
        (0.1, 20.0, 0.01, 500.0),  # of 50 live signals
        (1.0, 1000.0, 0.001, 2956.0),  # 512 are recorded, and no more
        (0.0, 20.0, 0.01, None),
        (None, 20.0, 0.01, None),
    ],
)
def test_replay_shortens_the_wait_by_what_is_recorded_and_never_below_the_live_signals(
    rate: float | None, replay: float, limit: float, wait_s: float | None
) -> None:
    plan = a_plan(("hrm",), replay_rate=replay, judge={"limit": limit, "tolerance": 0.0})
    found = forecast(plan.settings, 1, rate)
    assert found is not None
    assert found.wait_s == wait_s
