"""Times as persons write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.moment import parse_moment, shown

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400), (" 1.5h ", 5400), ("0s", 0)]
)
def test_a_time_is_so_long_ago(text: str, seconds: float) -> None:
    assert parse_moment(text, NOW) == NOW - seconds


def test_a_time_is_an_iso_time_with_its_zone_or_the_local_one() -> None:
    assert parse_moment("2023-11-14T22:13:20+00:00") == NOW
    assert parse_moment("2023-11-14T22:13:20Z") == NOW
    assert parse_moment(time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOW))) == NOW
    assert parse_moment(shown(NOW)) == NOW


@pytest.mark.parametrize("text", ["", "yesterday", "10", "10 minutes", "-5m", "m", "nan", "1e9s", "99999-01-01"])
def test_what_is_no_time_is_answered_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 10m"):
        parse_moment(text)


@given(st.text(max_size=20))
def test_whatever_is_written_is_a_time_or_that_error(text: str) -> None:
    try:
        assert isinstance(parse_moment(text, NOW), float)
    except ValueError as error:
        if "is no time" not in str(error):
            raise
