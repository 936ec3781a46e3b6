"""What needs no statistics: rolled back for what is the canary's alone, held for what is not."""

from __future__ import annotations

from typing import Any

import pytest

from deployment.hard_rules import hard_rules, segments_since, since
from deployment.samples import Counts, Facts, Pairs, Segment
from deployment.verdict import Policy

MIB = 1024 * 1024


def answers(**facts: Any) -> list[tuple[str, str]]:
    return [(rule.name, rule.answer) for rule in hard_rules(Facts(**facts), Policy())]


def memory(
    canary: int, canary_first: int, other: int, other_first: int, control: str = "baseline"
) -> dict[str, int]:
    figures = {"canary": canary, "canary_first": canary_first, control: other, f"{control}_first": other_first}
    return {name: count * MIB for name, count in figures.items()}


def test_nothing_wrong_is_no_rule() -> None:
    assert answers() == []
    assert answers(quarantined={"canary": 0, "baseline": 0}, crashes={"canary": 2, "baseline": 0}) == []


@pytest.mark.parametrize(
    ("facts", "name"),
    [({"seal_broken": True}, "seal"), ({"audit_broken": True}, "audit"), ({"unapproved": 1}, "unapproved")],
)
def test_what_must_never_be_rolls_back(facts: dict[str, Any], name: str) -> None:
    assert answers(**facts) == [(name, "fail")]


@pytest.mark.parametrize(
    ("quarantined", "expected"),
    [
        ({"canary": 1}, "fail"),
        ({"canary": 1, "baseline": 0, "stable": 1}, "fail"),
        ({"canary": 1, "baseline": 2}, "undecided"),
        ({"canary": 1, "stable": 1}, "undecided"),
        ({"baseline": 1}, "undecided"),
        ({"canary": 0, "baseline": 0, "stable": 1}, "undecided"),
    ],
    ids=str,
)
def test_a_quarantine_of_the_canary_alone_rolls_back_and_any_other_holds(
    quarantined: dict[str, int], expected: str
) -> None:
    assert answers(quarantined=quarantined) == [("quarantine", expected)]


@pytest.mark.parametrize(
    ("crashes", "expected"),
    [
        ({"canary": 3, "baseline": 0}, ["fail"]),
        ({"canary": 2, "baseline": 0}, []),
        ({"canary": 30, "baseline": 1}, ["undecided"]),
        ({"canary": 0, "baseline": 3}, ["undecided"]),
    ],
    ids=str,
)
def test_crashes_of_the_canary_alone_roll_back(crashes: dict[str, int], expected: list[str]) -> None:
    assert [answer for _, answer in answers(crashes=crashes)] == expected


@pytest.mark.parametrize(
    ("before", "crashes", "expected"),
    [
        ({"canary": 1}, {"canary": 1}, []),
        ({"canary": 2, "baseline": 0}, {"canary": 2, "baseline": 0}, []),
        ({"canary": 1}, {"canary": 2}, ["fail"]),
        ({}, {"canary": 1, "baseline": 0}, ["fail"]),
        ({"baseline": 1}, {"canary": 1, "baseline": 1}, ["fail"]),
        ({}, {"canary": 1, "baseline": 1}, ["undecided"]),
        ({}, {"baseline": 1}, []),
        ({"canary": 3}, {"canary": 3}, ["fail"]),
    ],
    ids=str,
)
def test_one_crash_rolls_back_after_the_promotion_and_none_from_before_does(
    before: dict[str, int], crashes: dict[str, int], expected: list[str]
) -> None:
    facts = Facts(crashes=crashes, crashes_before_promotion=before)
    assert [rule.answer for rule in hard_rules(facts, Policy())] == expected


def test_a_crash_is_told_with_what_the_process_died_of() -> None:
    why = "exit code 3: the migration moves:up failed: KeyError: 'window'"
    facts = Facts(crashes={"canary": 3}, crash_reasons={"canary": why, "stable": "killed by SIGKILL"})
    (rule,) = hard_rules(facts, Policy())
    assert rule.why == f"the canary's process crashed 3 times, and the baseline's never ({why})"


def test_a_crash_before_the_promotion_that_was_answered_for_is_not_counted_as_one_after_it() -> None:
    seen = Facts(crashes={"canary": 3, "baseline": 1})
    later = Facts(crashes={"canary": 4, "baseline": 1}, crashes_before_promotion={"canary": 4, "baseline": 1})
    assert list(hard_rules(since(later, seen), Policy())) == []


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (memory(300, 100, 110, 100), ["fail"]),
        (memory(300, 100, 100, 105), ["fail"]),
        (memory(300, 100, 110, 100, "stable"), ["fail"]),
        (memory(150, 100, 100, 100), []),  # half as much again, but not much
        (memory(1100, 1000, 1000, 1000), []),  # much, but little of what it has
        (memory(300, 100, 290, 100), ["undecided"]),  # both
        (memory(110, 100, 300, 100), []),  # the old version leaks, and the new one does not
        ({"canary": 300 * MIB, "canary_first": 100 * MIB}, []),  # nothing to compare with
    ],
    ids=str,
)
def test_memory_that_grows_much_more_than_the_baselines_is_a_leak(
    figures: dict[str, int], expected: list[str]
) -> None:
    assert [answer for _, answer in answers(memory_bytes=figures)] == expected


def test_a_rollout_that_goes_on_is_not_held_for_what_somebody_has_answered_for() -> None:
    seen = Facts(quarantined={"canary": 1, "baseline": 1}, crashes={"baseline": 3})
    later = Facts(quarantined={"canary": 2, "baseline": 1}, crashes={"baseline": 3}, unapproved=1)
    assert list(hard_rules(since(seen, seen), Policy())) == []
    assert [(rule.name, rule.answer) for rule in hard_rules(since(later, seen), Policy())] == [
        ("unapproved", "fail"),
        ("quarantine", "fail"),
    ]


def test_memory_that_both_hold_is_answered_for_until_it_grows_again_and_a_leak_of_the_canary_is_not() -> None:
    seen = Facts(memory_bytes=memory(300, 100, 290, 100))
    assert list(hard_rules(since(seen, seen), Policy())) == []
    again = Facts(memory_bytes=memory(500, 100, 480, 100))
    assert [rule.answer for rule in hard_rules(since(again, seen), Policy())] == ["undecided"]
    alone = Facts(memory_bytes=memory(310, 100, 110, 100))
    assert [rule.answer for rule in hard_rules(since(alone, seen), Policy())] == ["fail"]


def test_what_was_counted_before_an_answer_is_taken_away_table_by_table() -> None:
    seen = [Segment("hrm", 1, canary=Counts(trials=9, signals=8, late=7), noise=Pairs(compared=5))]
    now = [
        Segment("hrm", 1, 0.1, canary=Counts(trials=10, signals=9, late=7), noise=Pairs(compared=6)),
        Segment("hrm", 2, 0.25, canary=Counts(trials=3)),
    ]
    assert segments_since(now, seen) == [
        Segment("hrm", 1, 0.1, canary=Counts(trials=1, signals=1), noise=Pairs(compared=1)),
        now[1],
    ]
    assert segments_since(now, []) == now
