"""The tables and the canaries notice a judge that was made wrong."""

from __future__ import annotations

import random
from typing import Any

import pytest

from graveyard import canaries, ethics, judge
from tests.graveyard.cases import NAMES, complaints
from tests.graveyard.mutate import CASES, EQUIVALENT, Mutant, complaint, mutants

SAMPLE = 25


def test_nothing_is_wrong_with_the_judge_as_it_is() -> None:
    assert complaint(judge) == ""
    assert {case.rule for case in CASES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_check_that_always_passes_fails_its_canary_and_its_table(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passing(*_: Any) -> Any:
        return ethics.PASS

    checks = tuple((rule, passing if rule.name == name else check) for rule, check in ethics._CHECKS)
    monkeypatch.setattr(ethics, "_CHECKS", checks)
    assert canaries.failing(judge) == (f"{name} let its canary pass",)
    assert complaints((case for case in CASES if case.rule == name), judge)


def _sample() -> list[Mutant]:
    told_apart = [each for each in mutants() if each.name not in EQUIVALENT]
    return random.Random(7).sample(told_apart, SAMPLE)


@pytest.mark.parametrize("mutant", _sample(), ids=lambda each: each.name)
def test_a_mistake_in_a_check_is_noticed(mutant: Mutant) -> None:
    assert not mutant.survives()
