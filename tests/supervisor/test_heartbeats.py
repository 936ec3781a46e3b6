"""The Watchdog's agent monitor: who is lost, who is only late, and when the machine stood still."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.errors import ConfigError
from supervisor.heartbeats import Limits, Memory, Verdict, Vital, judge

LIMITS = Limits()
NAMES = ("kyle", "joey", "hrm", "kenny", "aletheia")


@dataclass
class Watch:
    """The monitor with its memory, which last saw all well at second 9.5."""

    memory: Memory = field(default_factory=lambda: Memory(9.5))

    def at(self, now: float, **ages: float) -> list[str]:
        vitals = [Vital(name, 100, 1, age) for name, age in ages.items()]
        verdicts, self.memory = judge(vitals, LIMITS, self.memory, now)
        return [verdict.name for verdict in verdicts]


def test_a_process_is_lost_when_more_beats_are_missing_than_are_borne() -> None:
    assert Watch().at(10.0, kyle=2.0, joey=0.3) == []
    assert Watch().at(10.0, kyle=2.1, joey=0.3) == ["kyle"]


def test_one_process_gets_one_verdict_and_its_successor_its_own() -> None:
    watch = Watch()
    assert watch.at(10.0, kyle=2.1, joey=0.3) == ["kyle"]
    assert watch.at(10.5, kyle=2.6, joey=0.3) == []
    successor = [Vital("kyle", 101, 2, 2.2), Vital("joey", 100, 1, 0.1)]
    verdicts, _ = judge(successor, LIMITS, watch.memory, 11.0)
    assert [(verdict.name, verdict.incarnation, verdict.pid) for verdict in verdicts] == [("kyle", 2, 101)]


@pytest.mark.parametrize("state", ["starting", "stopping", "backoff", "isolated", "stopped", "failed", "waiting"])
def test_only_running_processes_are_judged(state: str) -> None:
    vitals = [Vital("kyle", 100, 1, 99.0, state=state), Vital("joey", 101, 1, 0.1)]
    assert judge(vitals, LIMITS, Memory(9.5), 10.0)[0] == []


@pytest.mark.parametrize(
    ("busy_with", "handler", "reason"),
    [
        ("", "", "no heartbeat for 4.2 s (4 missed), while idle"),
        ("t-1", "", "no heartbeat for 4.2 s (4 missed), busy with t-1"),
        ("t-1", "Kenny.handle", "no heartbeat for 4.2 s (4 missed), busy with t-1 in Kenny.handle"),
    ],
)
def test_the_reason_says_what_the_black_box_knows(busy_with: str, handler: str, reason: str) -> None:
    vitals = [Vital("kenny", 7, 3, 4.2, busy_with, handler), Vital("joey", 8, 1, 0.1)]
    assert judge(vitals, LIMITS, Memory(9.5), 10.0)[0] == [Verdict("kenny", 3, 7, "restart", reason)]


def test_after_a_pause_of_the_machine_everybody_gets_the_time_to_beat_again() -> None:
    watch = Watch()
    assert watch.at(70.0, kyle=61.5, joey=61.2, hrm=0.0) == []
    assert watch.at(70.5, kyle=0.1, joey=61.7, hrm=0.1) == []
    assert watch.at(72.0, kyle=0.1, joey=63.2, hrm=0.1) == []
    assert watch.at(72.1, kyle=0.2, joey=63.3, hrm=0.2) == ["joey"]


def test_when_everybody_is_late_at_once_nobody_is_restarted_at_once() -> None:
    watch = Watch()
    assert watch.at(10.0, kyle=2.1, joey=2.5) == []
    assert watch.at(10.5, kyle=0.2, joey=0.1) == []
    assert watch.at(11.0, kyle=0.7, joey=2.1) == ["joey"]


def test_a_watchdog_that_overslept_does_not_blame_a_single_process() -> None:
    watch = Watch()
    assert watch.at(30.0, kyle=20.5) == []
    assert watch.at(31.0, kyle=21.5) == []
    assert watch.at(32.1, kyle=22.6) == ["kyle"]


def test_a_respite_is_not_prolonged_by_a_watchdog_that_is_always_late() -> None:
    watch = Watch()
    lost = [name for now in range(10, 60, 5) for name in watch.at(float(now), kyle=3.0 + now, joey=3.0 + now)]
    assert lost == ["kyle", "joey"]


def test_a_watchdog_that_has_just_started_gives_everybody_the_time_to_beat() -> None:
    watch = Watch(Memory())
    assert watch.at(5.0, kyle=40.0, joey=0.5) == []
    assert watch.at(6.0, kyle=41.0, joey=0.5) == []
    assert watch.at(7.1, kyle=42.1, joey=0.6) == ["kyle"]


@pytest.mark.parametrize("limits", [{"interval_s": 0.0}, {"interval_s": float("nan")}, {"missed": 0}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Limits(**limits)  # type: ignore[arg-type]


def test_who_has_more_patience_with_him_is_late_later_and_nobody_else_is() -> None:
    def verdicts(age_s: float, patience_s: float) -> list[str]:
        vitals = [
            Vital("kenny", 7, 3, age_s, patience_s=patience_s),
            Vital("joey", 8, 1, 0.1),
            Vital("hrm", 9, 1, 2.1),
        ]
        return [verdict.name for verdict in judge(vitals, LIMITS, Memory(9.5), 10.0)[0]]

    assert verdicts(20.0, 20.0) == ["hrm"]
    assert verdicts(20.1, 20.0) == ["kenny", "hrm"]
    assert verdicts(2.0, 0.0) == ["hrm"]
    assert verdicts(2.1, 0.0) == ["kenny", "hrm"]


def test_the_respite_after_a_pause_is_each_ones_own_patience() -> None:
    memory, lost = Memory(9.5), dict[str, float]()
    for number in range(60):
        now = 70.0 + number / 2
        vitals = [
            Vital("kenny", 7, 3, now - 9.0, patience_s=20.0),
            Vital("joey", 8, 1, now - 9.0),
            Vital("hrm", 9, 1, 0.1),
        ]
        found, memory = judge(vitals, LIMITS, memory, now)
        lost |= {verdict.name: now for verdict in found}
    assert lost == {"joey": 72.5, "kenny": 90.5}


AGES = st.fixed_dictionaries({name: st.floats(0, 10) for name in NAMES})


@settings(max_examples=50, deadline=None)
@given(st.lists(AGES, max_size=20), st.floats(0.1, 3.0))
def test_nobody_is_sentenced_twice_or_without_being_late(rounds: list[dict[str, float]], gap: float) -> None:
    watch, lost = Watch(), list[str]()
    for number, ages in enumerate(rounds):
        verdicts = watch.at(number * gap, **ages)
        assert all(ages[name] > LIMITS.patience_s for name in verdicts)
        lost += verdicts
    assert len(lost) == len(set(lost))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.floats(0, 20), min_size=1),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 30)), max_size=3),
    st.floats(0.1, 0.5),
)
def test_a_hang_is_found_within_two_patiences_and_a_pause_costs_nobody(
    hangs: dict[str, float], pauses: list[tuple[float, float]], step: float
) -> None:
    """Everybody looks at the clock once a step, the monitor first; a pause stops all of them, but not the clock."""
    watch, clock, machine, lost = Watch(Memory()), 0.0, 0.0, dict[str, float]()
    ahead = sorted(pauses)
    last_beat = dict.fromkeys(NAMES, 0.0)
    while machine < 30.0:
        machine += step
        clock += step
        while ahead and ahead[0][0] <= machine:
            clock += ahead.pop(0)[1]
        ages = {name: clock - last_beat[name] for name in NAMES if name not in lost}
        for name in watch.at(clock, **ages):
            lost[name] = machine
        for name in NAMES:
            if clock - last_beat[name] >= LIMITS.interval_s and machine < hangs.get(name, 1e9):
                last_beat[name] = clock
    assert set(lost) == set(hangs)
    quiet = max((time for time, _ in pauses), default=0.0)
    for name, time in hangs.items():
        assert lost[name] <= max(time, quiet) + 2 * LIMITS.patience_s + 3 * step
