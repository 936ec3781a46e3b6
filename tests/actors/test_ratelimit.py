"""The token bucket keeps its promise for every course of time, and is safe against a clock that jumps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ratelimit import Bucket, Limit, full, take
from ark.errors import ConfigError

limits = st.builds(Limit, st.floats(0.5, 6000), st.integers(1, 100))
waits = st.lists(st.floats(0, 30), max_size=200)


def test_ten_go_at_once_by_default_and_the_eleventh_waits_a_second() -> None:
    limit = Limit()
    bucket = full(limit, 100.0)
    for _ in range(10):
        bucket, granted = take(bucket, limit, 100.0)
        assert granted
    bucket, granted = take(bucket, limit, 100.9)
    assert not granted
    bucket, granted = take(bucket, limit, 101.0)
    assert granted


@given(limits, waits)
def test_a_bucket_never_holds_more_than_its_burst_nor_less_than_nothing(limit: Limit, pauses: list[float]) -> None:
    now, bucket = 1_700_000_000.0, full(limit, 1_700_000_000.0)
    for pause in pauses:
        now += pause
        bucket, _ = take(bucket, limit, now)
        assert 0 <= bucket.tokens <= limit.burst


@given(limits, waits)
def test_no_span_of_time_sees_more_than_its_burst_and_its_rate(limit: Limit, pauses: list[float]) -> None:
    now, bucket = 0.0, full(limit, 0.0)
    granted_at: list[float] = []
    for pause in pauses:
        now += pause
        bucket, granted = take(bucket, limit, now)
        if granted:
            granted_at.append(now)
    for first in range(0, len(granted_at), 7):
        for last in range(first, len(granted_at)):
            span = granted_at[last] - granted_at[first]
            assert last - first + 1 <= limit.burst + span * limit.per_minute / 60 + 1e-6


@given(limits, st.lists(st.floats(-1e6, 1e6), max_size=50))
def test_a_clock_that_goes_backwards_brings_no_token(limit: Limit, jumps: list[float]) -> None:
    now, bucket = 1e9, Bucket(0.0, 1e9)
    for jump in jumps:
        before = bucket
        bucket, granted = take(bucket, limit, now + jump)
        if now + jump <= before.at:
            assert bucket.tokens == before.tokens - granted
        now += jump


def test_after_a_jump_backwards_tokens_come_back_at_the_usual_rate() -> None:
    limit = Limit(60, 10)
    bucket, granted = take(Bucket(0.0, 1000.0), limit, 10.0)
    assert not granted
    assert take(bucket, limit, 11.0)[1]


def test_a_stored_bucket_is_cut_down_to_a_lowered_limit() -> None:
    bucket, granted = take(Bucket(10.0, 0.0), Limit(60, 2), 0.0)
    assert granted
    assert bucket.tokens == 1


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (60, 0)])
def test_a_limit_that_makes_no_sense_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ConfigError):
        Limit(rate, burst)
