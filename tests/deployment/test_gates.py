"""Freeze windows, the error budget and approvals."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.deploy_settings import DeployConfig, Gate
from deployment.gates import Approval, Budget, caution, freeze_end, missing_approvals, next_share, window_at

NEW_YORK = ZoneInfo("America/New_York")
OPEN = {"from": "09:15", "to": "09:45", "days": ["mon", "tue", "wed", "thu", "fri"], "why": "open"}


def settings(*freeze: dict[str, Any], timezone: str = "America/New_York") -> DeployConfig:
    return msgspec.convert({"freeze": list(freeze), "timezone": timezone}, DeployConfig)


def moment(text: str, zone: ZoneInfo = NEW_YORK) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("2026-11-20T09:14:59", None),
        ("2026-11-20T09:15:00", "open"),
        ("2026-11-20T09:44:59", "open"),
        ("2026-11-20T09:45:00", None),
        ("2026-11-21T09:30:00", None),  # a Saturday
        ("2026-07-01T09:30:00", "open"),  # summer time
    ],
)
def test_a_window_is_read_by_its_own_clock_and_days(when: str, why: str | None) -> None:
    window = window_at(settings(OPEN), moment(when))
    assert (window and window.why) == why


def test_a_window_past_midnight_belongs_to_the_day_it_begins_on() -> None:
    night = settings({"from": "22:00", "to": "06:00", "days": ["fri"]})
    assert window_at(night, moment("2026-11-20T23:00:00"))
    assert window_at(night, moment("2026-11-21T05:59:00"))
    assert not window_at(night, moment("2026-11-20T05:00:00"))
    assert not window_at(night, moment("2026-11-21T23:00:00"))


def test_dates_stand_for_themselves() -> None:
    days = settings({"dates": ["2026-12-24"], "days": ["mon"], "why": "holiday"})
    assert window_at(days, moment("2026-12-24T00:00:00"))
    assert window_at(days, moment("2026-12-24T23:59:59"))
    assert not window_at(days, moment("2026-12-25T00:00:00"))
    assert not window_at(days, moment("2026-12-21T12:00:00"))


def test_windows_that_follow_each_other_end_together() -> None:
    two = settings({"from": "09:00", "to": "10:00"}, {"from": "09:30", "to": "12:00", "why": "longer"})
    now = moment("2026-11-20T09:40:00")
    assert freeze_end(two, now) == moment("2026-11-20T12:00:00")
    window = window_at(two, now)
    assert window is not None
    assert window.why == "longer"
    assert freeze_end(two, moment("2026-11-20T08:00:00")) is None
    always = settings({})
    assert (freeze_end(always, now) or 0) - now > 6 * 86_400


@given(
    st.floats(1.7e9, 1.9e9),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.lists(st.sampled_from(["mon", "wed", "sun"]), unique=True),
)
def test_whoever_is_frozen_is_told_an_end_that_is_near(now: float, start: int, end: int, days: list[str]) -> None:
    window = {"from": f"{start // 60:02}:{start % 60:02}", "to": f"{end // 60:02}:{end % 60:02}", "days": days}
    config = settings(window)
    until = freeze_end(config, now)
    assert (until is None) == (window_at(config, now) is None)
    if until is not None:
        assert now < until <= now + 8 * 86_400 + 3600  # a day may have an hour more
        assert until >= now + 7 * 86_400 or window_at(config, until) is None


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(), "none"),
        (Budget(1.0), "none"),
        (Budget(0.26), "none"),
        (Budget(0.25), "half"),
        (Budget(0.0), "half"),
        (Budget(-0.01), "frozen"),
        (Budget(0.9, burning=True), "frozen"),
    ],
)
def test_the_budget_says_how_careful_to_be(budget: Budget, expected: str) -> None:
    assert caution(DeployConfig(), budget) == expected


@given(st.lists(st.integers(1, 99), unique=True), st.booleans())
def test_steps_reach_every_stage_and_then_all(below: list[int], half: bool) -> None:
    stages, share, seen = [*sorted(below), 100], 0.0, []
    while share < 100:
        nxt, target = next_share(stages, share, half=half)
        assert share < nxt <= target
        share = nxt
        seen.append(share)
    assert set(stages) <= set(seen)
    assert len(seen) == len(stages) * (2 if half else 1)


def test_a_person_counts_once_and_only_where_asked() -> None:
    gates = [Gate("25", ("Ada", "Bert"), 2), Gate("promotion")]

    def missing(before: str, *given: tuple[str, str, float]) -> list[str]:
        return missing_approvals(gates, before, [Approval(*each) for each in given], 1000.0, 100.0)

    assert missing("10") == []
    assert missing("25") == ["2 more approvals of Ada, Bert"]
    assert missing("25.0", ("ada", "25", 950), ("ADA ", "25", 960)) == ["1 more approval of Ada, Bert"]
    assert missing("25", ("ada", "25", 950), ("carl", "25", 950)) == ["1 more approval of Ada, Bert"]
    assert missing("25", ("ada", "25", 950), ("bert", "promotion", 950)) == ["1 more approval of Ada, Bert"]
    assert missing("25", ("ada", "25", 950), ("bert", "25", 899)) == ["1 more approval of Ada, Bert"]
    assert missing("25", ("ada", "25", 950), ("bert", "25", 901)) == []
    assert missing("promotion", ("anybody", "promotion", 1000)) == []
