from hypothesis import given
from hypothesis import strategies as st

from actors.rate import WINDOW_S, Rate


def test_a_steady_stream_has_its_rate_and_silence_has_none_after_a_minute() -> None:
    rate = Rate()
    assert [rate.see(5 * second, float(second)) for second in range(1, 200)][1:] == [5.0] * 198
    found = [rate.see(995, 199.0 + second) for second in range(1, 61)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0.0


def test_a_clock_that_is_set_back_begins_anew() -> None:
    rate = Rate()
    rate.see(100, 1_000.0)
    assert rate.see(200, 500.0) == 0.0
    assert rate.see(210, 510.0) == 1.0


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 30.0)), min_size=1, max_size=300))
def test_what_is_kept_is_a_minute_and_the_sum_is_what_came_in_it(steps: list[tuple[int, float]]) -> None:
    rate, now, count, past = Rate(), 0.0, 0, [(0.0, 0)]
    rate.see(0, 0.0)
    for more, wait_s in steps:
        now, count = now + wait_s, count + more
        past.append((now, count))
        found = rate.see(count, now)
        began, before = max((each for each in past if each[0] <= now - WINDOW_S), default=past[0])
        assert found == (count - before) / (now - began)
