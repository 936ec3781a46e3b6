"""The synthesis weighs what is known, leaves out what is not, and comes to one of three zones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.synthesis import (
    WEIGHTS,
    Claim,
    Record,
    Thresholds,
    claims_of,
    context_level,
    graveyard_level,
    risk_level,
    synthesize,
    truth_level,
)

level = st.floats(0, 1)
levels = st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.none() | level)


def test_the_levels_count_by_the_weights_of_the_original() -> None:
    found = synthesize({"graveyard": 1.0, "context": 0.5, "truth": 0.8, "risk": 0.5})
    assert found.score == pytest.approx((1 + 0.15 + 0.4 + 0.35) / 2.5)
    assert found.zone == "approve"
    assert found.levels == {"graveyard": 1.0, "context": 0.5, "truth": 0.8, "risk": 0.5}


def test_a_level_of_which_nothing_is_known_is_left_out() -> None:
    found = synthesize({"graveyard": 1.0, "context": None, "truth": None, "risk": 0.5})
    assert found.score == pytest.approx(1.35 / 1.7)
    assert found.levels == {"graveyard": 1.0, "risk": 0.5}
    assert found == synthesize({"graveyard": 1.0, "risk": 0.5})


def test_knowing_nothing_denies() -> None:
    assert synthesize({}).zone == "deny"
    assert synthesize({"truth": None}).score == 0.0


@pytest.mark.parametrize(
    ("score", "zone"),
    [(1.0, "approve"), (0.7, "approve"), (0.6999, "hold"), (0.4, "hold"), (0.3999, "deny"), (0.0, "deny")],
)
def test_a_score_at_a_threshold_is_in_the_better_zone(score: float, zone: str) -> None:
    assert synthesize({"risk": score}).zone == zone
    assert synthesize({"graveyard": score, "context": score, "truth": score, "risk": score}).zone == zone


def test_thresholds_can_be_raised() -> None:
    assert synthesize({"risk": 0.75}, Thresholds(approve=0.8, hold=0.6)).zone == "hold"
    assert synthesize({"risk": 0.55}, Thresholds(approve=0.8, hold=0.6)).zone == "deny"


def test_a_level_that_is_no_number_counts_as_nothing_and_an_unknown_one_is_an_error() -> None:
    assert synthesize({"risk": math.nan}).zone == "deny"
    assert synthesize({"risk": 7.0}).score == 1.0
    with pytest.raises(KeyError):
        synthesize({"karma": 1.0})


@given(levels, st.sampled_from(sorted(WEIGHTS)), level, level)
def test_the_score_lies_between_its_levels_and_rises_with_each(
    given_levels: dict[str, float | None], name: str, one: float, other: float
) -> None:
    low = synthesize({**given_levels, name: min(one, other)})
    high = synthesize({**given_levels, name: max(one, other)})
    assert 0 <= low.score <= high.score <= 1
    assert min(low.levels.values()) - 1e-9 <= low.score <= max(low.levels.values()) + 1e-9


def test_a_sound_signal_without_a_pattern_is_approved_on_an_empty_account() -> None:
    # 5 % of the equity with a stop 5 % away: half a position, a fortieth of the leverage.
    risk = risk_level(0.05 / 0.10, 0.05 / 2, 0.0025 / 0.05)
    alone = synthesize({"graveyard": graveyard_level(26, 0), "context": None, "truth": None, "risk": risk})
    assert alone.score >= 0.85
    assert alone.zone == "approve"
    claimed = truth_level(claims_of(claimed_price=100.0, close=100.2, claimed_ratio=2.0, ratio=2.0))
    assert synthesize({"graveyard": 1.0, "truth": claimed, "risk": risk}).zone == "approve"


@pytest.mark.parametrize("most_lost", [0.05, 0.02])
def test_five_positions_of_eight_per_cent_with_stops_five_per_cent_away_are_approved(most_lost: float) -> None:
    for number in range(1, 6):
        risk = risk_level(0.8, number * 0.08 / 2, number * 0.004 / most_lost)
        agreeing = truth_level(claims_of(claimed_price=100.0, close=100.0))
        for truth in (None, agreeing):
            assert synthesize({"graveyard": graveyard_level(26, 0), "truth": truth, "risk": risk}).zone == "approve"


@pytest.mark.parametrize(("rules", "warnings", "expected"), [(26, 0, 1.0), (20, 5, 0.75), (4, 9, 0.0), (0, 0, 0.0)])
def test_the_graveyards_level_falls_with_every_warning(rules: int, warnings: int, expected: float) -> None:
    assert graveyard_level(rules, warnings) == expected


def test_the_context_is_the_mean_of_confidence_and_score_where_they_are_known() -> None:
    scores = {"technical": 0.5, "weighted_total": 0.6, "completeness": 0.4}
    assert context_level(0.8, scores) == pytest.approx(0.7)
    assert context_level(None, scores) == pytest.approx(0.6)
    assert context_level(0.8, {"weighted_total": 0.0, "completeness": 0.4}) == 0.8
    assert context_level(None, {"weighted_total": 0.0, "completeness": 0.4}) is None


def test_the_truth_of_a_signal_that_claims_nothing_and_has_no_record_is_unknown() -> None:
    assert truth_level(()) is None
    assert truth_level((), Record()) is None
    assert claims_of(claimed_price=100.0, ratio=2.0) == ()


def test_claims_agree_when_near_and_less_the_further_off_they_are() -> None:
    near, off, far = (Claim("price", claimed, 100.0, 0.005) for claimed in (100.5, 102.75, 105.0))
    assert (near.agreement, near.agrees) == (1.0, True)
    assert off.agreement == pytest.approx(0.5)
    assert (far.agreement, far.agrees) == (pytest.approx(0.0), False)
    assert Claim("price", math.nan, 100.0, 0.005).agreement == 0.0
    assert Claim("risk_reward_ratio", 2.0, 0.0, 0.05).agreement == 0.0


def test_a_false_ratio_costs_half_of_the_truth() -> None:
    honest = claims_of(claimed_ratio=2.05, ratio=2.0, claimed_size=0.05, size=0.0499)
    boasting = claims_of(claimed_ratio=9.0, ratio=2.0, claimed_size=0.05, size=0.0499)
    assert truth_level(honest) == 0.75
    assert truth_level(boasting) == 0.5


def test_the_record_of_a_source_is_smoothed() -> None:
    assert Record().trust == 0.5
    assert Record(8, 0).trust == 0.9
    assert truth_level((), Record(8, 0)) == 0.9
    assert truth_level((), Record(0, 1)) == pytest.approx(1 / 3)
    claims = claims_of(claimed_price=100.0, close=100.0, claimed_ratio=9.0, ratio=2.0)
    assert Record(3, 1).after(claims) == Record(4, 2)


@given(
    st.lists(st.floats(0.1, 300), max_size=4), st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.data()
)
def test_more_agreement_never_lowers_the_truth(
    claimed: list[float], right: int, wrong: int, more: int, data: st.DataObject
) -> None:
    claims = [Claim("price", each, 100.0, 0.005) for each in claimed]
    found = truth_level(claims, Record(right, wrong))
    better = truth_level(claims, Record(right + more, wrong))
    worse = truth_level(claims, Record(right, wrong + more))
    assert better is not None
    assert worse is not None
    assert 0 <= worse <= better <= 1
    if found is None:
        return
    assert worse <= found <= better
    if claims:
        place = data.draw(st.integers(0, len(claims) - 1))
        nearer = [*claims]
        nearer[place] = Claim("price", (claims[place].claimed + 100) / 2, 100.0, 0.005)
        assert truth_level(nearer, Record(right, wrong)) >= found - 1e-12  # type: ignore[operator]
    true = truth_level([*claims, Claim("price", 100.0, 100.0, 0.005)], Record(right, wrong))
    assert true is not None
    assert true >= found - 1e-12


@given(st.tuples(*[st.floats(0, 3)] * 3), st.integers(0, 2), st.floats(0, 3))
def test_more_use_of_a_limit_never_raises_the_room(used: tuple[float, ...], which: int, more: float) -> None:
    further = [*used]
    further[which] += more
    assert 0 <= risk_level(*further) <= risk_level(*used) <= 1  # type: ignore[misc]


def test_a_share_that_nobody_knows_counts_as_all_of_it() -> None:
    assert risk_level(math.nan, 1.0, 1.0) == 0.0
    assert risk_level(0.0, 0.0, 0.0) == 1.0
