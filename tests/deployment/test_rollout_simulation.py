"""Whole rollouts on a virtual clock, with the real judge; `make rollouts` runs 10,000 of them."""

from __future__ import annotations

import pytest

from tests.benchmarks.rollouts import EVIDENCE, Case, Fault, delays, healthy, most, simulate_all, summary


@pytest.fixture(scope="module")
def ends() -> dict[str, object]:
    return summary(simulate_all(healthy(48, seed=1, hurried=True), jobs=1))


def test_healthy_releases_are_not_rolled_back(ends: dict[str, int]) -> None:
    assert ends["deployments"] == 48
    assert ends["failed"] <= most(48)
    assert ends["permanent"] >= 30
    assert ends["failed"] + ends["inconclusive"] + ends["permanent"] == 48


def test_the_tripwires_roll_back_more_of_the_same_streams(ends: dict[str, int]) -> None:
    assert ends["tripwires"] > ends["failed"]


@pytest.mark.parametrize("fault", ["denied", "slow"])
def test_a_release_that_is_much_worse_is_caught_and_never_promoted(fault: Fault) -> None:
    cases = [Case(seed, "noisy", fault, 20.0, hurried=True) for seed in range(1, 6)]
    found = delays(simulate_all(cases, jobs=1))
    assert found["caught"] == 5
    assert found["promoted"] == 0


def test_the_same_seed_gives_the_same_rollout() -> None:
    for evidence in EVIDENCE[1:3]:
        case = Case(11, evidence, hurried=True)
        assert simulate_all([case], 1) == simulate_all([case], 1)
