"""The judge: what passes has evidence of health, what fails has evidence of harm, and nobody is blamed wrongly."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.errors import ConfigError
from deployment.judge import judge
from deployment.samples import Counts, Difference, Facts, Pairs, Segment
from deployment.verdict import COUNTS, GUARD, METRICS, PAIRS, Metric, Policy, Verdict

NOTHING = Facts()
GOOD = Segment(
    "hrm",
    1,
    0.1,
    0.1,
    canary=Counts(trials=100, signals=100, denied=3),
    baseline=Counts(trials=100, signals=100, denied=2),
    stable=Counts(trials=800, signals=800, denied=21),
    pairs=Pairs(compared=1000),
    noise=Pairs(compared=900),
)


def ask(*segments: Segment, policy: Policy | None = None, facts: Facts = NOTHING) -> Verdict:
    return judge(segments, facts, [], policy or Policy())


def but(segment: Segment = GOOD, **changes: object) -> Segment:
    return msgspec.structs.replace(segment, **changes)


def metric(verdict: Verdict, name: str) -> Metric:
    return next(each for each in verdict.metrics if each.name == name)


def counts(random: Random) -> Counts:
    trials = some(random, 5000)
    broken = some(random, trials)
    signals = random.randint((trials - broken) // 2, trials - broken)
    denied = some(random, signals)
    failed = some(random, signals - denied)
    return Counts(
        trials, broken, some(random, trials - broken), signals, denied, failed, late=some(random, signals)
    )


def pairs(random: Random) -> Pairs:
    compared = some(random, 5000)
    different = some(random, compared) if random.random() < 0.2 else 0
    declared = some(random, compared - different) if random.random() < 0.2 else 0
    alone = [each for _ in range(3) for each in two(random, compared)]
    return Pairs(compared, different, declared, *alone)


def two(random: Random, most: int) -> tuple[int, int]:
    first = some(random, most)
    return first, some(random, most - first)


def some(random: Random, most: int) -> int:
    """None, few or many, each often enough."""
    return random.randint(0, random.choice((0, min(most, 20), most)))


def segment(random: Random) -> Segment:
    canary = random.choice((0.0, 0.1, 0.25, 0.5, 1.0))
    return Segment(
        role=random.choice(("joey", "hrm")),
        generation=random.randint(1, 9),
        canary_share=canary,
        baseline_share=min(canary, 1 - canary),
        canary=counts(random),
        baseline=counts(random),
        stable=counts(random),
        pairs=pairs(random),
        replayed=pairs(random),
        noise=pairs(random),
    )


SEEDS = st.integers(0, 2**32).map(Random)
"""Hypothesis chooses the seed and not each figure: so a hundred times as many are tried in the same time."""


def test_a_good_release_passes_with_evidence_of_every_metric_that_it_takes() -> None:
    verdict = ask(GOOD)
    assert (verdict.answer, verdict.hold) == ("pass", False)
    assert [each.name for each in verdict.metrics] == list(METRICS)
    assert [each.name for each in verdict.metrics if each.must_pass] == list(PAIRS)


def test_no_evidence_is_no_pass() -> None:
    assert ask().answer == "undecided"
    assert ask(Segment("hrm", 1, 0.1, 0.1)).answer == "undecided"
    assert ask(GOOD, policy=Policy(observe_only=METRICS)).why == "no metric decides anything: there is no evidence"


def test_too_few_signals_are_undecided_and_say_how_many_more_it_takes() -> None:
    verdict = ask(but(pairs=Pairs(compared=200)))
    assert (verdict.answer, verdict.to_pass, verdict.to_fail) == ("undecided", 146, None)
    assert ask(but(pairs=Pairs(compared=200 + 145))).answer == "undecided"
    assert ask(but(pairs=Pairs(compared=200 + 146))).answer == "pass"


def test_replayed_signals_are_evidence_but_some_must_be_live() -> None:
    replayed = but(pairs=Pairs(compared=10), replayed=Pairs(compared=990), canary=Counts(trials=10, signals=10))
    assert [rule.name for rule in ask(replayed).rules] == ["few"]
    assert ask(replayed, policy=Policy(minimum_signals=10)).answer == "pass"
    assert ask(replayed, policy=Policy(minimum_signals=10, replay=False)).answer == "undecided"


def test_one_undeclared_difference_fails_with_the_counter_example() -> None:
    late = Difference("hrm", "t2", "MSFT", "approved", "true", "false", at=2.0)
    first = Difference("hrm", "t1", "AAPL", "violations.0.rule", "max_leverage", "absent", at=1.0)
    declared = Difference("hrm", "t0", "IBM", "approved", "true", "false", declared=True)
    verdict = judge([but(pairs=Pairs(compared=9, different=2))], NOTHING, [late, declared, first], Policy())
    assert (verdict.answer, verdict.counterexample) == ("fail", first)
    assert "AAPL t1 at violations.0.rule, 'max_leverage' and 'absent'" in verdict.why


def test_declared_differences_are_no_fault_and_their_denials_are_none() -> None:
    changed = but(pairs=Pairs(compared=2000, declared=300, denied_first=290, denied_second=10))
    denied = but(changed, canary=Counts(trials=100, signals=100, denied=60))
    verdict = ask(denied)
    assert verdict.answer == "pass"
    assert not metric(verdict, "counts.denied").can_fail


def test_fewer_denials_are_as_bad_as_more() -> None:
    for pairs_ in (Pairs(compared=500, denied_first=25), Pairs(compared=500, denied_second=25)):
        verdict = ask(but(pairs=pairs_))
        assert verdict.answer == "fail"
        assert "denied" in verdict.why


@pytest.mark.parametrize("what", ["slow", "broken"])
def test_trouble_of_the_canary_alone_fails_and_of_the_baseline_alone_does_not(what: str) -> None:
    assert ask(but(pairs=Pairs(compared=500, **{f"{what}_first": 25}))).answer == "fail"
    assert ask(but(pairs=Pairs(compared=500, **{f"{what}_second": 25}))).answer == "pass"


def test_what_both_arms_have_on_different_signals_is_not_blamed_on_the_canary() -> None:
    verdict = ask(but(pairs=Pairs(compared=5000, slow_first=50, slow_second=49)))
    assert metric(verdict, "pairs.slow").harm < 0


def test_a_noisy_role_fails_only_for_more_than_its_noise() -> None:
    like = but(pairs=Pairs(compared=9000, different=90), noise=Pairs(compared=8000, different=85))
    assert ask(like).answer == "pass"
    assert ask(but(like, pairs=Pairs(compared=9000, different=900))).answer == "fail"
    said = but(pairs=Pairs(compared=9000, different=9))
    assert ask(said).answer == "fail"
    assert ask(said, policy=Policy(noisy=("hrm",))).answer == "pass"


def test_the_symbols_of_a_noisy_role_are_no_more_blamed_on_the_canary_than_anybodys() -> None:
    noisy = but(pairs=Pairs(compared=9000, different=90), noise=Pairs(compared=8000, different=85))
    unlike = but(noisy, canary=Counts(trials=300, signals=300, denied=150))
    assert ask(unlike).answer == "pass"
    assert ask(unlike, policy=Policy(split="signal")).answer != "pass"


def test_a_noisy_role_that_differs_much_more_fails_before_it_decides_anything() -> None:
    shadow = Segment("joey", 1, pairs=Pairs(compared=120, different=40), noise=Pairs(compared=110))
    verdict = ask(shadow, policy=Policy(noisy=("joey",)))
    assert verdict.answer == "fail"
    assert "that the same code decided twice" in verdict.why


def test_noise_that_changes_with_the_market_is_not_blamed_on_the_canary() -> None:
    """A role that differs from itself at 1 %, and later at 5 %, when it decides nothing itself any more."""
    before = but(pairs=Pairs(compared=2520, different=25), noise=Pairs(compared=1680, different=17))
    after = but(generation=2, canary_share=0.5, baseline_share=0.5, noise=Pairs())
    for later in (
        but(after, pairs=Pairs(compared=2400, different=120)),
        but(after, pairs=Pairs(), replayed=Pairs(compared=2400, different=120)),
    ):
        verdict = ask(before, later)
        assert verdict.answer != "fail"
        assert metric(verdict, "pairs.different").harm == metric(ask(before), "pairs.different").harm
        assert not metric(verdict, "pairs.different").healthy
    same = but(after, pairs=Pairs(compared=2400, different=120), noise=Pairs(compared=1200, different=11))
    assert ask(before, same).answer == "fail"


def test_noise_of_more_signals_than_were_compared_does_not_speak_for_the_canary() -> None:
    many = but(pairs=Pairs(compared=100, different=1), noise=Pairs(compared=100_000, different=1000))
    same = but(pairs=Pairs(compared=100, different=1), noise=Pairs(compared=100, different=1))
    assert metric(ask(many), "pairs.different").health == metric(ask(same), "pairs.different").health


def test_what_pairs_can_answer_is_left_to_them() -> None:
    """Arms that are split by symbol have different symbols: more denials may be theirs."""
    symbols = but(canary=Counts(trials=300, signals=300, denied=150, failed=80, late=10))
    verdict = ask(symbols)
    assert verdict.answer == "pass"
    assert metric(verdict, "counts.denied").harm > metric(verdict, "counts.denied").harm_at


@pytest.mark.parametrize(
    "evidence",
    [
        but(pairs=Pairs(), noise=Pairs(), canary=Counts(trials=300, signals=300, denied=150)),
        but(pairs=Pairs(compared=2000, declared=300), canary=Counts(trials=300, signals=300, failed=80)),
        but(canary=Counts(trials=100, broken=30, signals=70)),
    ],
    ids=["without pairs", "with declared changes", "without usable answers"],
)
def test_by_symbols_counts_alone_hold_and_where_each_signal_is_assigned_by_itself_they_fail(
    evidence: Segment,
) -> None:
    verdict = ask(evidence)
    assert (verdict.answer, verdict.hold) == ("undecided", True)
    assert "or its share of the traffic is: look at both" in verdict.why
    assert [rule.name for rule in verdict.rules if rule.name.startswith("counts.")]
    fair = but(evidence, canary_share=0.25, baseline_share=0.25)  # so many signals are as they should be
    assert metric(ask(fair, policy=Policy(split="signal")), verdict.rules[-1].name).harmed


def test_what_counts_hold_for_can_be_answered_and_holds_again_if_it_goes_on() -> None:
    held = but(pairs=Pairs(compared=2000, declared=300), canary=Counts(trials=300, signals=300, failed=80))
    others = but(held, baseline=Counts(trials=800, signals=800), stable=Counts(signals=4000))
    well, worse = Counts(trials=1000, signals=1000, failed=80), Counts(trials=1000, signals=1000, failed=280)
    assert judge([but(others, canary=well)], NOTHING, [], Policy(), answered=[held]).answer == "pass"
    assert judge([but(others, canary=worse)], NOTHING, [], Policy(), answered=[held]).hold


def test_by_symbols_pairs_and_hard_rules_fail_whatever_counts_hold_for() -> None:
    held = but(pairs=Pairs(), noise=Pairs(), canary=Counts(trials=300, signals=300, denied=150))
    assert ask(held, facts=Facts(seal_broken=True)).answer == "fail"
    assert ask(but(held, pairs=Pairs(compared=500, slow_first=25))).answer == "fail"


def test_a_role_without_pairs_passes_by_its_counts() -> None:
    arm = Counts(trials=3000, signals=3000, denied=120, failed=6)
    fleet = Counts(trials=24_000, signals=24_000, denied=960, failed=48)
    segment = Segment("kenny", 1, 0.1, 0.1, canary=arm, baseline=arm, stable=fleet)
    verdict = ask(segment)
    assert verdict.answer == "pass"
    assert [each.name for each in verdict.metrics if each.must_pass] == list(COUNTS)
    few = but(segment, canary=Counts(trials=60, signals=60), baseline=Counts(), stable=Counts(trials=9, signals=9))
    assert ask(few).answer == "undecided"


def test_without_denials_a_role_without_pairs_passes_by_how_rare_trouble_is() -> None:
    arm, fleet = Counts(trials=500, signals=500), Counts(trials=4000, signals=4000)
    assert ask(Segment("kenny", 1, 0.1, 0.1, canary=arm, baseline=arm, stable=fleet)).answer == "pass"


def test_a_canary_that_differs_from_one_control_only_is_not_blamed() -> None:
    arm, fleet = Counts(trials=500, signals=500, denied=60), Counts(trials=4000, signals=4000, denied=100)
    verdict = ask(Segment("kenny", 1, 0.1, 0.1, canary=arm, baseline=arm, stable=fleet))
    assert verdict.answer != "fail"
    assert metric(verdict, "counts.denied").harm > metric(verdict, "counts.denied").harm_at


@pytest.mark.parametrize(
    ("canary", "policy"),
    [
        (Counts(trials=600, signals=600), Policy(split="signal")),
        (Counts(trials=500, signals=20), Policy()),
    ],
    ids=["too many signals", "outcomes that never came"],
)
def test_counts_that_do_not_add_up_are_invalid_and_hold(canary: Counts, policy: Policy) -> None:
    verdict = ask(but(canary=canary), policy=policy)
    assert (verdict.answer, verdict.hold) == ("invalid", True)
    assert metric(verdict, GUARD).harmed


def test_what_was_held_for_a_person_has_its_outcome_from_the_role_and_is_not_missed() -> None:
    """The canary's symbols are held more often than others."""
    others = but(baseline=Counts(trials=700, signals=700), stable=Counts(signals=5600))
    held = Counts(trials=700, held=210, signals=490)
    assert ask(but(others, canary=held)).answer == "pass"
    assert ask(but(others, canary=msgspec.structs.replace(held, held=0))).answer == "invalid"


def test_by_single_signals_the_arms_have_theirs_by_their_shares_though_nobody_counts_the_roles_own() -> None:
    fair = but(
        baseline=Counts(trials=700, signals=700),
        canary=Counts(trials=700, signals=700),
        stable=Counts(signals=5600),
    )
    by_signal = Policy(split="signal")
    assert ask(fair, policy=by_signal).answer == "pass"
    assert ask(but(fair, baseline_share=0.3), policy=by_signal).answer == "invalid"
    assert ask(but(fair, canary=Counts()), policy=by_signal).answer == "invalid"


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        (Counts(), "of 60 outcomes 0 are the canary's, where its share makes 0"),
        (Counts(signals=500), "of 60 outcomes 0 are the canary's, where its share makes 0"),
        (Counts(trials=40, signals=30, held=10), "of 90 outcomes 30 are the canary's, where its share makes 30"),
    ],
    ids=["before its first signal", "once the role runs the release", "with signals that wait for a person"],
)
def test_the_guard_says_whose_outcomes_there_are(canary: Counts, said: str) -> None:
    verdict = ask(but(canary=canary, baseline=Counts(trials=60, signals=60), stable=Counts(signals=900)))
    assert metric(verdict, GUARD).why.startswith(said)
    assert not metric(verdict, GUARD).harmed


def test_by_symbols_the_arms_may_have_other_shares_of_the_signals_than_of_the_table() -> None:
    assert ask(but(canary=Counts(trials=5000, signals=5000))).answer == "pass"


def test_trouble_everywhere_holds() -> None:
    late = Counts(trials=400, signals=400, late=100)
    broken = Counts(trials=400, broken=200, signals=200)
    for arm, name in ((late, "late"), (broken, "broken")):
        verdict = ask(but(canary=arm, baseline=arm, stable=arm))
        assert (verdict.answer, verdict.hold, verdict.rules[0].name) == ("undecided", True, name)


def test_trouble_that_was_answered_for_holds_only_if_it_comes_again() -> None:
    late = Counts(trials=400, signals=400, late=100)
    slow, unfair = but(canary=late, baseline=late, stable=late), but(noise=Pairs(compared=900, broken_first=300))
    for seen in (slow, unfair):
        assert judge([seen], NOTHING, [], Policy()).hold
        later = but(GOOD, generation=2)
        assert not judge([seen, later], NOTHING, [], Policy(), answered=[seen]).hold
    again = Counts(trials=800, signals=800, late=200)
    verdict = judge([but(canary=again, baseline=again, stable=again)], NOTHING, [], Policy(), answered=[slow])
    assert (verdict.hold, verdict.rules[0].name) == (True, "late")


def test_what_speaks_against_the_canary_is_not_forgiven_with_a_hold() -> None:
    bad = but(pairs=Pairs(compared=1000, broken_first=200))
    assert judge([bad], NOTHING, [], Policy(), answered=[bad]).answer == "fail"


def test_trouble_of_the_baseline_holds_instead_of_making_the_canary_look_good() -> None:
    verdict = ask(but(noise=Pairs(compared=900, broken_first=300)))
    assert (verdict.answer, verdict.hold, verdict.rules[0].name) == ("undecided", True, "baseline")


def test_the_family_shares_one_budget() -> None:
    one, two = ask(GOOD), ask(GOOD, but(role="joey"))
    assert 10 ** metric(one, "pairs.slow").harm_at == pytest.approx(len(METRICS) / 0.01)
    assert 10 ** metric(two, "pairs.slow").harm_at == pytest.approx(2 * len(METRICS) / 0.01)
    fewer = ask(GOOD, policy=Policy(observe_only=("guard.share", "hrm.counts.late", "joey.pairs.slow")))
    assert 10 ** metric(fewer, "pairs.slow").harm_at == pytest.approx((len(METRICS) - 2) / 0.01)


def test_every_role_must_pass() -> None:
    assert ask(GOOD, but(role="joey")).answer == "pass"
    assert ask(GOOD, but(role="joey", pairs=Pairs(compared=100))).answer == "undecided"
    assert ask(GOOD, but(role="joey", pairs=Pairs(compared=100, different=1))).answer == "fail"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"margin": 3.0}, "margin"),
        ({"tolerance": 0.02}, "tolerance"),
        ({"late_allowed": 0.2}, "late_allowed"),
        ({"observe_only": ("pairs.slwo",)}, "observe_only"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy(**changes)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.hint


@settings(max_examples=50)
@given(SEEDS)
def test_a_pass_has_evidence_of_every_metric_and_any_verdict_can_be_kept(random: Random) -> None:
    policy = Policy()
    seen = [segment(random) for _ in range(random.randint(0, 4))]
    verdict = ask(*seen, policy=policy)
    if verdict.answer == "pass":
        needed = [each for each in verdict.metrics if each.must_pass]
        assert needed
        assert all(each.health >= -math.log10(policy.beta) - 1e-9 for each in needed)
        assert not verdict.hold
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    again = ask(*random.sample(seen, len(seen)), policy=policy)
    assert (again.answer, again.hold, again.why) == (verdict.answer, verdict.hold, verdict.why)


@settings(max_examples=50)
@given(SEEDS)
def test_a_fault_of_both_arms_never_fails(random: Random) -> None:
    """They have the same figures, and the stable version any others."""
    fault = segment(random)
    compared = fault.pairs.compared
    alike = random.randint(0, compared // 2)
    both = but(
        fault,
        canary_share=0.25,
        baseline_share=0.25,
        baseline=fault.canary,
        pairs=Pairs(compared, 0, 0, *[alike] * 6),
        replayed=Pairs(),
    )
    assert ask(both).answer != "fail"
    assert ask(both, policy=Policy(split="signal")).answer != "fail"
    facts = Facts(quarantined={"canary": 5, "baseline": 1}, crashes={"canary": 9, "baseline": 9})
    assert ask(both, facts=facts).answer != "fail"


@settings(max_examples=50)
@given(SEEDS)
def test_a_segment_in_two_parts_says_the_same(random: Random) -> None:
    """Where the share is the table's; where it is what came, the parts know less than the whole."""
    policy, seen = Policy(split="signal"), segment(random)
    first: dict[str, object] = {}
    second: dict[str, object] = {}
    for arm in ("canary", "baseline", "stable", "pairs", "replayed", "noise"):
        whole = msgspec.structs.asdict(getattr(seen, arm))
        part = {name: random.randint(0, count) for name, count in whole.items()}
        first[arm] = type(getattr(seen, arm))(**part)
        second[arm] = type(getattr(seen, arm))(**{name: whole[name] - part[name] for name in whole})
    parts = ask(but(seen, **first), but(seen, generation=10, **second), policy=policy)
    for one, other in zip(parts.metrics, ask(seen, policy=policy).metrics, strict=True):
        assert one.health == pytest.approx(other.health, abs=1e-6)
        if one.name != "pairs.different":  # its share is what came, too
            assert one.harm == pytest.approx(other.harm, abs=1e-6)


@settings(max_examples=50)
@given(SEEDS)
def test_what_is_only_observed_never_decides(random: Random) -> None:
    verdict = ask(segment(random), policy=Policy(observe_only=METRICS))
    assert verdict.answer == "undecided"
    assert not any(each.gates for each in verdict.metrics)
