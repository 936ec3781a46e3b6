import math

import pytest

from actors.window import SIZE, SLACK, Window, split_ratio
from tests.actors.bars import DAY, START, path, row, walk, window


def test_it_holds_the_newest_bars_only() -> None:
    bars = walk(SIZE + 3 * SLACK)
    made = window(bars)
    assert made.count == SIZE
    assert made.columns()[4].tolist() == [bar.close for bar in bars[-SIZE:]]
    assert made.oldest == bars[-SIZE].ts
    assert made.newest == bars[-1].ts


def test_it_says_when_old_bars_were_let_go_and_not_on_every_bar() -> None:
    made = Window()
    told = [made.append(row(bar)) for bar in walk(SIZE + 2 * SLACK + 1)]
    assert [place for place, let_go in enumerate(told) if let_go] == [SIZE + SLACK, SIZE + 2 * SLACK]


@pytest.mark.parametrize("ts", [START, START - DAY, math.nan])
def test_a_bar_that_is_not_newer_is_an_error(ts: float) -> None:
    bars = path([10.0])
    made = window(bars)
    with pytest.raises(ValueError, match="does not come after"):
        made.append((ts, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))


def test_a_two_for_one_split_is_seen_and_the_bars_before_are_adjusted() -> None:
    bars = path([100.0] * 30)
    made = window(bars)
    after = path([50.5])[0]
    split = made.split_before(after)
    assert split == 0.5
    made.append((START + 30 * DAY, *row(after)[1:6], split))
    assert made.columns()[4].tolist() == [50.0] * 30 + [50.5]
    assert made.columns()[5].tolist()[:2] == [2000.0, 2000.0]


@pytest.mark.parametrize(
    ("before", "after", "ratio"), [(700.0, 100.0, 1 / 7), (30.0, 90.0, 3.0), (30.0, 20.0, 2 / 3)]
)
def test_other_splits_are_seen_too(before: float, after: float, ratio: float) -> None:
    assert window(path([before] * 10)).split_before(path([after])[0]) == pytest.approx(ratio)


def test_a_crash_by_half_with_much_turnover_is_no_split() -> None:
    crash = path([50.0], volume=20_000.0)[0]
    assert window(path([100.0] * 30)).split_before(crash) == 1.0


def test_a_crash_that_goes_on_during_the_day_is_no_split() -> None:
    assert split_ratio(gap=0.5, day_move=0.8, turnover=1.0) == 1.0


def test_an_ordinary_gap_is_no_split() -> None:
    assert split_ratio(gap=0.85, day_move=1.0, turnover=1.0) == 1.0
