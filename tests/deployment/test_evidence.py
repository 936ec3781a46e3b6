"""Evidence: both errors exactly, by dynamic programming, and that counts are all that matters."""

from __future__ import annotations

import functools
import math
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployment.characteristics import Characteristics, of_counts, of_exceedances, of_pairs, outlook, walk
from deployment.evidence import (
    RATIOS,
    Split,
    above,
    all_of,
    any_of,
    average,
    excess,
    more_often,
    no_excess,
    odds_share,
    off_share,
    turned,
    unlike_twice,
)
from deployment.judge import judge
from deployment.samples import Facts, Pairs, Segment
from deployment.verdict import Policy

ALPHA, BETA = 0.01, 0.05
SHARES = (0.05, 0.1, 0.25, 0.5)
NEVER = -math.inf


def crossing(chance: float, evidence: object, error: float, horizon: int = 400) -> float:
    """The probability that evidence of harm ever reaches 1 / error within the horizon."""
    return walk(
        chance,
        evidence,  # type: ignore[arg-type]
        lambda events, first: NEVER,
        fail_at=math.log(1 / error),
        pass_at=math.inf,
        horizon=horizon,
    ).failed


def passing(chance: float, evidence: object, error: float, horizon: int = 400) -> float:
    """The probability that evidence of health ever reaches 1 / error within the horizon."""
    return walk(
        chance,
        lambda events, first: NEVER,
        evidence,  # type: ignore[arg-type]
        fail_at=math.inf,
        pass_at=math.log(1 / error),
        horizon=horizon,
    ).passed


@pytest.mark.parametrize("share", SHARES)
def test_a_release_that_is_as_good_fails_with_at_most_alpha(share: float) -> None:
    assert 0 < crossing(share, lambda n, x: more_often([Split(share, n, x)]), ALPHA) <= ALPHA + 1e-9
    within = odds_share(share, 1.1)
    assert 0 < crossing(within, lambda n, x: more_often([Split(share, n, x)], 1.1), ALPHA) <= ALPHA + 1e-9
    better = odds_share(share, 0.7)
    assert crossing(better, lambda n, x: more_often([Split(share, n, x)]), ALPHA) <= ALPHA + 1e-9


@pytest.mark.parametrize("share", SHARES)
def test_one_that_is_twice_as_bad_or_worse_passes_with_at_most_beta(share: float) -> None:
    for ratio in (2, 3):
        truth = odds_share(share, ratio)
        assert passing(truth, lambda n, x: unlike_twice([Split(share, n, x)]), BETA) <= BETA + 1e-9


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_pairs_pass_wrongly_with_at_most_beta_for_every_excess_of_the_limit_or_more(rate: float) -> None:
    assert passing(rate, lambda n, x: no_excess(n, x, limit=0.05), BETA) <= BETA + 1e-9


def test_pairs_with_the_default_limit_pass_wrongly_with_at_most_beta() -> None:
    assert 0 < of_pairs(0.01, beta=BETA, horizon=1200).passed <= BETA + 1e-9


def test_what_to_expect_of_a_rollout_is_what_the_judge_says_then() -> None:
    policy = Policy()
    expected = outlook(policy, bad=0.05).fail_half
    for signals, answer in ((outlook(policy).pass_half, "pass"), (outlook(policy).pass_half - 1, "undecided")):
        pairs = Pairs(compared=signals)
        assert judge([Segment("hrm", 1, pairs=pairs)], Facts(), [], policy).answer == answer
    pairs = Pairs(compared=expected, slow_first=round(0.05 * expected) + 3)
    assert judge([Segment("hrm", 1, pairs=pairs)], Facts(), [], policy).answer == "fail"
    assert outlook(policy, roles=5).pass_half == outlook(policy).pass_half
    assert outlook(policy, roles=5, bad=0.05).fail_half > expected


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.01])
def test_pairs_within_the_tolerance_fail_with_at_most_alpha(rate: float) -> None:
    assert crossing(rate, lambda n, x: excess(n, x, tolerance=0.01), ALPHA, 800) <= ALPHA + 1e-9


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.0), (0.3, 0.2), (0.5, 0.1)])
def test_whatever_noise_there_is_an_excess_passes_with_at_most_beta(first: float, second: float) -> None:
    """All of the counts of three kinds of signals, exactly, over 40 of them."""
    assert cross_of_three(first, second, lambda n, b, c: no_excess(n, b, c, 0.1), 0.2) <= 0.2 + 1e-9


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_without_an_excess_pairs_fail_with_at_most_alpha_whatever_noise_there_is(noise: float) -> None:
    assert 0 < cross_of_three(noise, noise, excess, 0.2) <= 0.2 + 1e-9


def cross_of_three(first: float, second: float, evidence: object, error: float) -> float:
    alive, crossed = {(0, 0): 1.0}, 0.0
    for signals in range(1, 41):
        after: dict[tuple[int, int], float] = {}
        for (b, c), probability in alive.items():
            for step, chance in (((b + 1, c), first), ((b, c + 1), second), ((b, c), 1 - first - second)):
                after[step] = after.get(step, 0.0) + probability * chance
        out = {key for key in after if evidence(signals, *key) >= math.log(1 / error)}  # type: ignore[operator]
        crossed += sum(after[key] for key in out)
        alive = {key: each for key, each in after.items() if key not in out and each > 1e-9}
    return crossed


@pytest.mark.parametrize(("rate", "noise"), [(0.01, 0.0), (0.3, 0.29), (0.5, 0.2)])
def test_evidence_against_a_true_claim_is_at_most_1_on_average(rate: float, noise: float) -> None:
    for signals in (1, 2, 7, 20):
        mean = sum(
            math.comb(signals, b)
            * math.comb(signals - b, c)
            * rate**b
            * noise**c
            * (1 - rate - noise) ** (signals - b - c)
            * math.exp(no_excess(signals, b, c))
            for b in range(signals + 1)
            for c in range(signals - b + 1)
        )
        assert mean <= 1 + 1e-12


@pytest.mark.parametrize("bad", [1, 5, 12])
def test_with_the_share_of_signals_that_came_the_evidence_is_at_most_1_on_average(bad: int) -> None:
    """Given how many signals each arm had, bad ones are drawn without putting back: less spread than assumed."""
    canary, control = 10, 30
    mean = sum(
        math.comb(canary, x)
        * math.comb(control, bad - x)
        / math.comb(canary + control, bad)
        * math.exp(more_often([Split(canary / (canary + control), bad, x)]))
        for x in range(min(bad, canary) + 1)
    )
    assert mean <= 1 + 1e-12


def test_slow_signals_within_the_objective_fail_with_at_most_alpha() -> None:
    assert 0 < crossing(0.05, above, ALPHA) <= ALPHA + 1e-9
    assert of_exceedances(0.1, horizon=1500).passed <= BETA + 1e-9


@pytest.mark.parametrize("share", SHARES)
def test_the_guard_finds_a_share_off_with_at_most_alpha_where_it_is_not(share: float) -> None:
    """Two-sided, so the counts that cross lie at both ends."""
    alive, crossed = {0: 1.0}, 0.0
    for events in range(1, 201):
        after: dict[int, float] = {}
        for first, probability in alive.items():
            after[first] = after.get(first, 0.0) + probability * (1 - share)
            after[first + 1] = after.get(first + 1, 0.0) + probability * share
        out = {first for first in after if off_share([Split(share, events, first)]) >= math.log(1 / ALPHA)}
        crossed += sum(after[first] for first in out)
        alive = {first: each for first, each in after.items() if first not in out and each > 1e-14}
    assert 0 < crossed <= ALPHA + 1e-9


REFERENCE = {
    (0.10, 1): (0.0063, 0.984, 92, 259),
    (0.25, 1): (0.0066, 0.993, 49, 142),
    (0.50, 1): (0.0073, 0.993, 41, 127),
    (0.10, 2): (0.943, None, 157, 375),
    (0.25, 2): (0.956, None, 88, 205),
    (0.50, 2): (0.960, None, 83, 185),
    (0.10, 3): (0.998, None, 52, 114),
    (0.25, 3): (0.997, None, 32, 70),
    (0.50, 3): (0.997, None, 36, 73),
    (0.10, 5): (1.0, None, 20, 45),
    (0.25, 5): (1.0, None, 15, 32),
    (0.50, 5): (1.0, None, 20, 38),
    (0.10, 10): (1.0, None, 9, 19),
    (0.25, 10): (1.0, None, 10, 15),
    (0.50, 10): (1.0, None, 14, 20),
}
"""What others computed, by share and how many times worse the canary is: P(fail), P(pass), events p50 and p90."""


@pytest.mark.parametrize(("truth", "expected"), REFERENCE.items(), ids=str)
def test_the_figures_for_counts_are_those_of_the_reference(
    truth: tuple[float, int], expected: tuple[float, float | None, int, int]
) -> None:
    found = of_counts(*truth)
    assert found.failed == pytest.approx(expected[0], abs=0.0006)
    if expected[1] is None:
        assert (found.fail_half, found.fail_most) == expected[2:]
    else:
        assert found.passed == pytest.approx(expected[1], abs=0.0006)
        assert (found.pass_half, found.pass_most) == expected[2:]


def test_the_figures_for_slow_signals_are_those_of_the_reference() -> None:
    assert of_exceedances(0.045, horizon=1000).failed == pytest.approx(0.0019, abs=0.0001)
    assert of_exceedances(0.045, horizon=1000).passed > 0.98
    tenth = of_exceedances(0.1, horizon=1000)
    assert tenth.failed > 0.91
    assert tenth.fail_half == pytest.approx(254, rel=0.01)
    fifth = of_exceedances(0.2, horizon=1000)
    assert (fifth.fail_half, fifth.fail_most) == (37, 83)
    assert of_exceedances(0.5, horizon=1000).fail_half == 7


@functools.cache
def failing_from(share: float, horizon: int) -> list[int]:
    """By the number of events, from how many of the first arm on the evidence is enough."""

    def step(first: int, events: int) -> int:
        while more_often([Split(share, events, first)]) < math.log(1 / ALPHA):
            first += 1
        return first

    return list(accumulate(range(1, horizon + 1), step, initial=1))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_delay_is_what_the_exact_computation_says(share: float, ratio: float) -> None:
    horizon = 1200
    bound, chance, random = failing_from(share, horizon), odds_share(share, ratio), Random(7)
    delays = []
    for _ in range(1000):
        first, events = 0, 0
        while events < horizon and first < bound[events]:
            events += 1
            first += random.random() < chance
        delays.append(events)
    exact = alone(share, ratio, horizon)
    for part, expected in ((0.5, exact.fail_half), (0.9, exact.fail_most)):
        assert sum(delay < 0.9 * (expected or horizon) for delay in delays) / len(delays) < part + 0.02
        assert sum(delay <= 1.1 * (expected or horizon) for delay in delays) / len(delays) > part - 0.02


def alone(share: float, ratio: float, horizon: int) -> Characteristics:
    return walk(
        odds_share(share, ratio),
        lambda n, x: more_often([Split(share, n, x)]),
        lambda n, x: NEVER,
        fail_at=math.log(1 / ALPHA),
        pass_at=math.inf,
        horizon=horizon,
    )


EVENTS = st.integers(0, 100_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
SPLITS = st.lists(
    st.builds(lambda share, events: Split(share, *events), st.floats(0, 1), EVENTS), min_size=0, max_size=5
)


@settings(max_examples=40)
@given(SPLITS, st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.randoms())
def test_a_segment_in_two_parts_in_any_order_is_the_same_evidence(
    splits: list[Split], which: int, events: float, first: float, random: Random
) -> None:
    parts = list(splits)
    if parts:
        split = parts.pop(which % len(parts))
        own, other = round(first * split.first), round(events * (split.events - split.first))
        parts += [
            Split(split.share, own + other, own),
            Split(split.share, split.events - own - other, split.first - own),
        ]
    random.shuffle(parts)
    for evidence in (more_often, unlike_twice, off_share):
        assert evidence(parts) == pytest.approx(evidence(splits), rel=1e-9, abs=1e-6)


@settings(max_examples=40)
@given(SPLITS, EVENTS, st.integers(0, 1000), st.floats(0.001, 0.5))
def test_evidence_is_finite(splits: list[Split], events: tuple[int, int], second: int, limit: float) -> None:
    signals, first = events
    for evidence in (more_often, unlike_twice, off_share):
        assert math.isfinite(evidence(splits))
        assert math.isfinite(evidence(turned(splits)))
    for each in (
        no_excess(signals + second, first, second, limit),
        excess(signals + second, first, second, limit),
        above(signals, first, limit),
    ):
        assert math.isfinite(each)


@settings(max_examples=40)
@given(EVENTS, st.integers(0, 100), st.floats(0.001, 0.2))
def test_more_trouble_of_the_canary_is_more_harm_and_less_health(
    events: tuple[int, int], second: int, limit: float
) -> None:
    signals, first = events[0] + second + 1, events[1]
    assert excess(signals, first + 1, second, limit) > excess(signals, first, second, limit)
    assert no_excess(signals, first + 1, second, limit) < no_excess(signals, first, second, limit)


@settings(max_examples=40)
@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 0.5))
def test_without_knowing_which_signals_were_bad_at_both_arms_there_is_less_evidence_of_health(
    signals: int, first: float, second: float, both: float, limit: float
) -> None:
    one, other = round(first * signals), round(second * signals)
    least, most = max(0, one + other - signals), min(one, other)
    shared = least + round(both * (most - least))
    known = no_excess(signals, one - shared, other - shared, limit)
    assert no_excess(signals, one, other, limit) <= known + 1e-9


@settings(max_examples=40)
@given(EVENTS)
def test_without_a_tolerance_pairs_are_counts_with_half_a_share(events: tuple[int, int]) -> None:
    discordant, first = events
    pairs = excess(discordant + 1000, first, discordant - first)
    assert pairs == pytest.approx(more_often([Split(0.5, discordant, first)]), rel=1e-9, abs=1e-6)


def test_a_perfect_release_passes_though_nothing_ever_differs() -> None:
    found = of_pairs(0.0)
    assert found.passed == 1
    assert found.pass_half == found.pass_most == 346


def test_a_share_of_none_or_all_says_nothing() -> None:
    for share in (0.0, 1.0):
        assert more_often([Split(share, 100, round(100 * share))]) == 0


def test_several_evidences_of_one_claim_are_averaged_and_of_several_claims_the_least_counts() -> None:
    assert average([]) == 0
    assert math.exp(any_of(math.log(3), math.log(5))) == pytest.approx(4)
    assert math.exp(all_of(math.log(3), math.log(5))) == pytest.approx(3)


def test_with_the_share_of_signals_that_came_looking_all_the_time_stays_within_the_error_as_well() -> None:
    """Simulated, since no exact bound is known: 400 rollouts of equals, 60 looks while the share grows."""
    random, crossed, runs, error = Random(5), 0, 400, 0.05
    for _ in range(runs):
        top, segments = 0.0, [Split(0.0, 0, 0)]
        for share in (0.1, 0.25, 0.5):
            signals = [0, 0]
            events = [0, 0]
            for _ in range(20):
                for _ in range(24):
                    arm = int(random.random() > share)
                    signals[arm] += 1
                    events[arm] += random.random() < 0.05
                came = Split(signals[0] / sum(signals), sum(events), events[0])
                top = max(top, more_often([*segments, came]))
            segments.append(came)
        crossed += top >= math.log(1 / error)
    assert 0 < crossed / runs <= error
