"""The original's tripwires: what they trip over, and that they see nothing else."""

from __future__ import annotations

import msgspec
import pytest

from deployment.samples import Counts, Facts, Segment
from deployment.tripwires import Look, Tripwires, check
from deployment.verdict import Policy, Verdict

POLICY = Tripwires()


class Rollout:
    """A rollout at 10 %, minute by minute, after an hour of the stable version alone."""

    def __init__(self, stable_denied: tuple[int, ...] = (10, 20)) -> None:
        self.history: tuple[Look, ...] = ()
        self.now = 0.0
        self.canary, self.stable = Counts(), Counts()
        self.facts = Facts(quarantined={"canary": 0})
        self.pattern = stable_denied
        for _ in range(60):
            self.minute(canary=0)
        self.since = self.now

    def minute(self, *, canary: int = 100, denied: int = 0, late: int = 0, quarantined: int = 0) -> Verdict:
        """One more minute: the stable version has 900 signals, and denies a few as it always does."""
        self.now += 60
        usual = self.pattern[int(self.now // 300) % len(self.pattern)]
        self.stable = Counts(signals=self.stable.signals + 900, denied=self.stable.denied + usual)
        self.canary = Counts(
            signals=self.canary.signals + canary,
            denied=self.canary.denied + denied,
            late=self.canary.late + late,
        )
        self.facts = Facts(quarantined={"canary": self.facts.quarantined["canary"] + quarantined})
        segment = Segment("hrm", 1, 0.1, 0.1, canary=self.canary, stable=self.stable)
        self.history, verdict = check(
            self.history, [segment], self.facts, POLICY, now=self.now, since=getattr(self, "since", 0.0)
        )
        return verdict


def test_no_alarm_until_the_stage_is_over_is_a_pass() -> None:
    rollout = Rollout()
    answers = [rollout.minute(denied=1).answer for _ in range(10)]
    assert answers == ["undecided"] * 9 + ["pass"]


def test_silence_is_a_pass_too() -> None:
    rollout = Rollout()
    assert [rollout.minute(canary=0).answer for _ in range(10)][-1] == "pass"


def test_denials_above_three_standard_deviations_trip() -> None:
    rollout = Rollout()
    verdict = [rollout.minute(denied=5) for _ in range(5)][-1]
    assert (verdict.answer, verdict.rules[0].name) == ("fail", "tripwire.denials")
    assert "were denied" in verdict.why


def test_where_the_stable_version_never_denies_one_denial_trips() -> None:
    rollout = Rollout(stable_denied=(0,))
    assert rollout.minute().answer == "undecided"
    assert rollout.minute(denied=1).answer == "fail"


def test_where_there_are_not_two_windows_yet_denials_trip_nothing() -> None:
    segment = Segment("hrm", 1, 0.1, canary=Counts(signals=50, denied=50), stable=Counts(signals=50))
    _, verdict = check((), [segment], Facts(), POLICY, now=0.0, since=0.0)
    assert verdict.answer == "undecided"
    assert not any(metric.harmed for metric in verdict.metrics)


def test_three_checks_in_a_row_with_a_high_p95_trip_and_two_do_not() -> None:
    rollout = Rollout()
    answers = [rollout.minute(late=10).answer for _ in range(3)]
    assert answers == ["undecided", "undecided", "fail"]
    other = Rollout()
    assert [other.minute(late=10).answer for _ in range(2)] == ["undecided", "undecided"]
    assert other.minute(canary=10_000).answer == "undecided"
    assert other.minute(canary=10).answer == "undecided"


@pytest.mark.parametrize(("minutes", "answer"), [(9, "fail"), (11, "pass")])
def test_a_quarantine_trips_for_ten_minutes(minutes: int, answer: str) -> None:
    rollout = Rollout()
    assert rollout.minute(quarantined=1).answer == "fail"
    assert [rollout.minute().answer for _ in range(minutes)][-1] == answer


def test_between_two_checks_nobody_looks() -> None:
    rollout = Rollout()
    before = rollout.history
    segment = Segment("hrm", 1, 0.1, canary=Counts(signals=1000, denied=1000))
    after, verdict = check(before, [segment], Facts(), POLICY, now=rollout.now + 5, since=rollout.since)
    assert after == before
    assert verdict.answer == "undecided"


def test_the_history_is_bounded_and_can_be_kept() -> None:
    rollout = Rollout()
    for _ in range(60):
        rollout.minute()
    assert len(rollout.history) <= 66
    kept = msgspec.msgpack.encode(rollout.history)
    assert msgspec.msgpack.decode(kept, type=tuple[Look, ...]) == rollout.history


def test_a_plan_names_the_policy_that_it_wants() -> None:
    either = Policy | Tripwires
    assert msgspec.json.decode(b'{"kind": "tripwires", "checks": 6}', type=either) == Tripwires(checks=6)
    assert msgspec.json.decode(b'{"kind": "sequential"}', type=either) == Policy()
