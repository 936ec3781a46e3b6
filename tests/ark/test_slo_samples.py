"""Windows out of cumulative counters: against a model that recounts every single event."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.slo_samples import COARSE_S, EVERY_S, FINE_S, Counts, Sample, Samples, Window, thinned

DAY_S = 86_400.0


def filled(*counted: tuple[float, int, int], strict: bool = False) -> Samples:
    samples = Samples(strict=strict)
    for at, good, bad in counted:
        samples.add(at, Counts(good, bad))
    return samples


# Windows


def test_a_window_is_the_difference_to_the_newest_sample_at_or_before_its_start() -> None:
    samples = filled((0, 0, 0), (100, 10, 1), (200, 30, 2))
    assert samples.window(100) == Window(20, 1, 100)
    assert samples.window(99) == Window(30, 2, 0)
    assert samples.window(150) == Window(20, 1, 100)
    assert samples.window(200) == Window(0, 0, 200)


def test_without_a_sample_nothing_happened() -> None:
    assert Samples().window(0).total == 0


def test_what_a_new_history_finds_already_counted_did_not_happen_in_it() -> None:
    samples = filled((1000, 500, 5), (1100, 510, 6))
    assert samples.window(0) == Window(10, 1, None)


def test_what_a_strict_history_finds_already_counted_as_bad_happened_at_its_first_moment() -> None:
    samples = filled((1000, 500, 5), strict=True)
    assert samples.window(0).bad == 5
    assert samples.window(1000).bad == 0


def test_samples_closer_than_the_interval_are_not_kept_and_count_all_the_same() -> None:
    samples = filled((0, 0, 0), (1, 1, 0), (14, 2, 0), (15, 3, 0), (16, 4, 0))
    assert [sample.at for sample in samples] == [0, 15]
    assert samples.window(15) == Window(1, 0, 15)
    assert samples.window(0) == Window(4, 0, 0)


def test_a_counter_that_fell_begins_anew_where_it_is() -> None:
    samples = filled((0, 0, 0), (100, 90, 9), (200, 50, 4), (300, 52, 6))
    assert samples.window(0) == Window(92, 11, 0)
    assert samples.window(200) == Window(2, 2, 200)


def test_a_strict_history_forgets_no_violation_of_a_counter_that_fell() -> None:
    samples = filled((0, 0, 0), (100, 90, 9), (200, 50, 4), strict=True)
    assert samples.window(0).bad == 13


def test_a_fall_is_kept_at_once_so_that_a_kill_after_it_counts_nothing_twice() -> None:
    samples = filled((0, 100, 0), (1, 110, 0), (2, 50, 0))
    again = Samples(kept=list(samples))
    again.add(3, Counts(51, 0))
    assert again.window(-1) == samples.window(-1)._replace(good=11)


def test_a_clock_that_was_set_back_costs_moments_and_no_events() -> None:
    samples = filled((0, 0, 0), (100, 10, 0), (200, 20, 0))
    assert samples.cut(50) == [100, 200]
    samples.add(50, Counts(25, 0))
    assert samples.window(0) == Window(25, 0, 0)


# Thinning


def test_a_day_stays_whole_and_what_is_older_keeps_one_sample_in_five_minutes() -> None:
    now, period = 40 * DAY_S, 30 * DAY_S
    times = [now - 31 * DAY_S + EVERY_S * each for each in range(int(31 * DAY_S / EVERY_S))]
    kept = [times[index] for index in thinned(times, now, period)]
    assert sum(at > now - DAY_S for at in kept) == DAY_S / EVERY_S - 1
    assert len(kept) <= 1 + 29 * DAY_S / COARSE_S + FINE_S / EVERY_S + 2
    assert kept[0] <= now - period


@given(
    gaps=st.lists(st.sampled_from([15.0, 16.5, 60.0, 299.0, 300.0, 3600.0, 90_000.0]), max_size=60),
    steps=st.lists(st.integers(0, 59), max_size=4),
    data=st.data(),
)
def test_thinning_moves_no_windows_start_by_more_than_its_bound(
    gaps: list[float], steps: list[int], data: st.DataObject
) -> None:
    period = 4 * DAY_S
    times = list(accumulate(gaps, initial=1e6))
    kept: list[float] = []
    for index, at in enumerate(times):  # as it goes in life: thinned again and again
        kept.append(at)
        if index in steps:
            kept = [kept[each] for each in thinned(kept, at, period)]
    now = times[-1]
    kept = [kept[each] for each in thinned(kept, now, period)]
    assert thinned(kept, now, period) == list(range(len(kept)))
    start = now - data.draw(st.floats(0, period))
    there, were = bisect_right(kept, start) - 1, bisect_right(times, start) - 1
    if were < 0:
        assert there < 0
        return
    bound = 0.0 if start >= now - FINE_S else COARSE_S
    assert 0 <= times[were] - kept[there] <= bound


# Against every single event

EVENTS = st.lists(st.tuples(st.floats(0, 3 * DAY_S), st.booleans()), max_size=200)


@given(
    events=EVENTS,
    looks=st.lists(st.floats(0, 3 * DAY_S), min_size=1, max_size=100, unique=True),
    kills=st.sets(st.integers(0, 99)),
    length=st.floats(60, 3 * DAY_S),
)
def test_a_window_counts_every_event_in_it_and_of_those_before_it_only_what_its_bound_allows(
    events: list[tuple[float, bool]], looks: list[float], kills: set[int], length: float
) -> None:
    looks = sorted(looks)
    samples = filled((-1.0, 0, 0))
    for index, at in enumerate(looks):
        good = sum(moment <= at and is_good for moment, is_good in events)
        bad = sum(moment <= at and not is_good for moment, is_good in events)
        samples.add(at, Counts(good, bad))
        if index in kills:  # what was not kept is gone; the counters are not
            samples = Samples(kept=list(samples))
        samples.thin(at, 3 * DAY_S)
    samples.add(looks[-1], Counts(good, bad))
    start = looks[-1] - length
    window = samples.window(start)
    before = [at for at in (-1.0, *looks) if at <= start]
    earliest = max(before, default=-1.0) - EVERY_S - COARSE_S
    for counted, kind in ((window.good, True), (window.bad, False)):
        inside = sum(start < at <= looks[-1] and is_good is kind for at, is_good in events)
        around = sum(earliest < at <= looks[-1] and is_good is kind for at, is_good in events)
        assert inside <= counted <= around


@given(
    rounds=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=40),
    length=st.integers(1, 40),
)
def test_a_home_that_is_restored_loses_and_invents_nothing_but_between_two_looks(
    rounds: list[tuple[int, int, bool]], length: int
) -> None:
    """Each round is a minute with its events, then a look; or a restore of the copy from half of the count."""
    samples = filled((0.0, 0, 0))
    seen, expected = Counts(0, 0), [(0, 0)]
    for minute, (good, bad, restored) in enumerate(rounds, 1):
        if restored:
            seen = Counts(seen.good // 2, seen.bad // 2)
            samples.add(60.0 * minute, seen)
            expected.append((0, 0))
        else:
            seen = Counts(seen.good + good, seen.bad + bad)
            samples.add(60.0 * minute, seen)
            expected.append((good, bad))
    last = expected[max(1, len(expected) - length) :]
    window = samples.window(60.0 * (len(rounds) - length))
    assert (window.good, window.bad) == (sum(good for good, _ in last), sum(bad for _, bad in last))


@pytest.mark.parametrize("strict", [False, True])
def test_what_was_kept_is_taken_up_again(strict: bool) -> None:
    samples = filled((0, 3, 2), (20, 9, 2), (40, 12, 4), strict=strict)
    again = Samples(strict=strict, kept=list(samples))
    assert again.newest == samples.newest == Sample(40, 9, 4 if strict else 2, 12, 4)
    assert [again.window(start) for start in range(-1, 41)] == [samples.window(start) for start in range(-1, 41)]
