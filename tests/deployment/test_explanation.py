"""A rollout in plain words."""

from __future__ import annotations

import pytest

from deployment.explanation import WORDS, duration, expected_s, explain
from tests.deployment.rollouts import FAIL, OLD, PASS, UNDECIDED, Said, World, a_plan


def test_every_state_has_words() -> None:
    world = World(a_plan())
    assert "aborting" in WORDS
    for verdict in (None, UNDECIDED, PASS):
        world.verdict = verdict
        while not world.is_over and len(world.moves) < 5:
            world.look(5)
            lines = explain(world.rollout, world.inputs(), 10.0)
            assert WORDS[world.rollout.state] in lines[0]
            assert all(line.endswith(".") and "\n" not in line for line in lines)
            if world.rollout.state == "stage" and verdict is not PASS:
                break


def test_it_says_what_is_missing_and_how_long_it_may_take() -> None:
    world = World(a_plan())
    world.verdict = PASS
    world.until("stage")
    world.verdict = Said("undecided", "joey: about 600 more signals", to_pass=600, to_fail=None)
    world.go(60)
    text = "\n".join(explain(world.rollout, world.inputs(), rate=2.0))
    assert "The canary's share is 10 %." in text
    assert "a verdict takes about 5 min more" in text
    assert "It does not go on yet: 541 s of its minimum are left." in text
    assert "no verdict yet: joey: about 600 more signals" in text
    assert "It goes on, or holds in 119 min at the latest." in text
    assert f"joey {'a' * 12} over {OLD[:12]}" in text


def test_it_says_why_it_was_rolled_back_and_by_whom() -> None:
    world = World(a_plan(strategy="aa"))
    world.verdict = FAIL
    world.broken = {"health"}
    world.end()
    text = "\n".join(explain(world.rollout, world.inputs()))
    assert "because five times the denials" in text
    assert "health: as tested" in text
    assert "no release's fault" in text


def test_whoever_led_it_back_is_named_at_its_end_too_and_the_judge_is_not_blamed_for_it() -> None:
    world = World(a_plan(strategy="aa"))
    world.verdict = PASS
    world.until("shadow")
    world.say("abort", by="ada", why="a walk")
    world.end()
    text = "\n".join(explain(world.rollout, world.inputs()))
    assert "because a walk (by ada)" in text
    assert "no release's fault" not in text


@pytest.mark.parametrize(
    ("verdict", "rate", "expected"),
    [
        (Said("undecided", "", to_pass=100, to_fail=40), 4.0, 10.0),
        (Said("undecided", "", to_pass=None, to_fail=None), 4.0, None),
        (Said("undecided", "", to_pass=100), 0.0, None),
        (Said("invalid", "", to_pass=100), 4.0, None),
        (Said("pass", ""), 0.0, 0.0),
    ],
)
def test_a_decision_is_expected_by_the_rate_of_now(verdict: Said, rate: float, expected: float | None) -> None:
    assert expected_s(verdict, rate) == expected


def test_durations_are_readable() -> None:
    assert [duration(each) for each in (0, 1.2, 119, 120, 7199, 7200)] == [
        "0 s",
        "2 s",
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
    ]
