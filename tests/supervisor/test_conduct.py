"""How an agent deals with its signals, over a sliding window and across its processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ark.blackbox import Work
from supervisor.conduct import Conduct, ConductLimits, Record, fault, health
from supervisor.failures import Failures

WINDOW_S = 10.0
LIMITS = ConductLimits()


@dataclass(frozen=True)
class Happened:
    """One thing that happened to an agent, and the number of the look that came next."""

    look: int
    what: str
    took_ms: int = 0


@dataclass
class World:
    """An agent with its supervisor and the Watchdog's record, beside a plain list of everything that happened."""

    record: Record = field(default_factory=lambda: Record(WINDOW_S))
    failures: Failures = field(default_factory=Failures)
    work: Work = field(default_factory=Work)
    incarnation: int = 1
    now: float = 0.0
    looks: list[float] = field(default_factory=list)
    first: int = 0
    """The look from which on everything counts."""
    log: list[Happened] = field(default_factory=list)
    row: int = 0
    last: str = ""

    def answer(self, good: bool, took_ms: int = 0) -> None:
        self.work.count(took_ms * 1_000_000, failed=not good)
        self.log.append(Happened(len(self.looks), "good" if good else "failed", took_ms))
        self.row = 0 if good else self.row + 1

    def die(self, trace_id: str) -> None:
        self.failures = self.failures.after(trace_id, self.work)
        if trace_id and trace_id != self.last:
            self.last = trace_id
            self.row += 1
            self.log.append(Happened(len(self.looks), "ended"))
        self._begin()

    def look(self, after_s: float = 1.0) -> Conduct:
        self.now += after_s
        self.looks.append(self.now)
        self.record.see(replace(self.work), self.failures, self.now)
        return self.record.conduct()

    def lose_supervisor(self) -> None:
        """Its count goes with it, and begins anew, which is seen at once."""
        self.die("")
        self.log = [each for each in self.log if each.look < len(self.looks)]
        self.failures, self.row, self.last = Failures(), 0, ""
        self.look(0.1)

    def release(self) -> None:
        """It was isolated, and is let out: the supervisor counts anew, and so does the record."""
        self.die("")
        self.failures, self.row, self.last = Failures(), 0, ""
        self.record.forgive()
        self.first = max(0, len(self.looks) - 1)
        self.log = [each for each in self.log if each.look < len(self.looks)]

    def expected(self) -> Conduct:
        begin = max(
            [self.first, *(i for i, at in enumerate(self.looks) if i > self.first and at <= self.now - WINDOW_S)]
        )
        seen = [each for each in self.log if each.look > begin]
        counts = {what: sum(each.what == what for each in seen) for what in ("good", "failed", "ended")}
        answered = counts["good"] + counts["failed"]
        mean_ms = sum(each.took_ms for each in seen) / answered if answered else 0.0
        return Conduct(answered, counts["failed"] + counts["ended"], counts["ended"], self.row, mean_ms)

    def _begin(self) -> None:
        self.incarnation += 1
        self.work = Work()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.booleans(), st.integers(0, 20_000)),
        st.tuples(st.just("die"), st.sampled_from(["", "t1", "t2", "t3"])),
        st.tuples(st.just("look"), st.sampled_from([0.1, 1.0, 3.0, 9.9, 10.0, 25.0])),
        st.tuples(st.just("lose_supervisor")),
        st.tuples(st.just("release")),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_record_says_what_a_list_of_everything_that_happened_says(
    steps: list[tuple[str, *tuple[object, ...]]],
) -> None:
    world = World()
    world.look()
    for name, *arguments in steps:
        conduct = getattr(world, name)(*arguments)
        if name == "look":
            expected = world.expected()
            assert conduct.mean_latency_ms == pytest.approx(expected.mean_latency_ms)
            assert (conduct.answered, conduct.failed, conduct.ended, conduct.failed_in_a_row) == (
                expected.answered,
                expected.failed,
                expected.ended,
                expected.failed_in_a_row,
            )
            assert 0.0 <= conduct.failure_rate <= 1.0
            assert 0.0 <= health(conduct, 0.0) <= 1.0


@given(STEPS)
def test_nothing_from_before_a_release_can_make_a_fault_whatever_came_first(
    steps: list[tuple[str, *tuple[object, ...]]],
) -> None:
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.release()
    conduct = world.look()
    assert (conduct.requests, conduct.failed, conduct.failed_in_a_row) == (0, 0, 0)
    assert fault(conduct, ConductLimits(1, 0.0, 0, 0.0)) is None


@given(STEPS, st.integers(1, 8))
def test_what_fails_after_a_release_counts_in_full_also_before_the_next_look(
    steps: list[tuple[str, *tuple[object, ...]]], failed: int
) -> None:
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.release()
    for _ in range(failed):
        world.answer(good=False)
    world.die("t9")
    assert world.look().failed_in_a_row == failed + 1


def test_before_the_first_look_nothing_is_known() -> None:
    assert Record(WINDOW_S).conduct() == Conduct()


def test_a_watchdog_that_has_just_begun_knows_the_row_but_blames_nobody_for_earlier_rates() -> None:
    record = Record(WINDOW_S)
    record.see(Work(100, 50, 2, 10**12), Failures(9, 3), 1.0)
    assert record.conduct() == Conduct(failed_in_a_row=2)


def test_what_was_before_the_window_is_forgotten_but_not_the_row() -> None:
    world = World()
    world.look()
    for _ in range(4):
        world.answer(good=False, took_ms=50)
    assert world.look() == Conduct(4, 4, 0, 4, 50.0)
    for _ in range(10):
        conduct = world.look()
    assert conduct == Conduct(failed_in_a_row=4)


# What is a fault


@pytest.mark.parametrize(
    ("conduct", "kind"),
    [
        (Conduct(), None),
        (Conduct(failed_in_a_row=4), None),
        (Conduct(failed_in_a_row=5), "failures"),
        (Conduct(answered=10, failed=10, failed_in_a_row=1), None),
        (Conduct(answered=11, failed=11, failed_in_a_row=1), "failure_rate"),
        (Conduct(answered=100, failed=20), None),
        (Conduct(answered=100, failed=21), "failure_rate"),
        (Conduct(answered=80, failed=21, ended=20), "failure_rate"),
        (Conduct(answered=81, failed=20, ended=20), None),
        (Conduct(answered=10, mean_latency_ms=60_000.0), None),
        (Conduct(answered=11, mean_latency_ms=5000.0), None),
        (Conduct(answered=11, mean_latency_ms=5000.1), "latency"),
        (Conduct(answered=5, failed=6, ended=6, mean_latency_ms=60_000.0), "failure_rate"),
        (Conduct(answered=10, failed=2, ended=2, mean_latency_ms=60_000.0), None),
        (Conduct(answered=100, failed=99, failed_in_a_row=99, mean_latency_ms=60_000.0), "failures"),
    ],
)
def test_the_first_limit_that_is_exceeded_is_the_fault(conduct: Conduct, kind: str | None) -> None:
    found = fault(conduct, LIMITS)
    assert (found and found[0]) == kind


def test_the_reason_has_the_figures_that_an_operator_needs() -> None:
    assert fault(Conduct(failed_in_a_row=7), LIMITS) == ("failures", "7 signals failed in a row")
    assert fault(Conduct(answered=90, failed=40, ended=10), LIMITS) == (
        "failure_rate",
        "40 of 100 signals failed (40%, at most 20%)",
    )
    assert fault(Conduct(answered=20, mean_latency_ms=7654.3), LIMITS) == (
        "latency",
        "takes 7,654 ms for a signal on average (at most 5,000 ms)",
    )


# Health


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1e9), st.one_of(st.none(), st.floats(0, 1e6)))
def test_health_lies_between_0_and_1_and_falls_with_failures_with_latency_and_with_silence(
    good: int, failed: int, latency_ms: float, age_s: float | None
) -> None:
    score = health(Conduct(good + failed, failed, 0, 0, latency_ms), age_s)
    assert 0.0 <= score <= 1.0
    assert score >= health(Conduct(good + failed + 1, failed + 1, 0, 0, latency_ms), age_s) - 1e-9
    assert score >= health(Conduct(good + failed, failed, 0, 0, latency_ms + 1000), age_s)
    assert score >= health(Conduct(good + failed, failed, 0, 0, latency_ms), None)


def test_an_agent_that_was_not_seen_for_a_minute_loses_a_tenth() -> None:
    assert health(Conduct(), 59.9) == pytest.approx(1.0)
    assert health(Conduct(), 60.0) == pytest.approx(0.9)
    assert health(Conduct(), None) == pytest.approx(0.9)
