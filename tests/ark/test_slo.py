"""How a node stands with its objectives, against figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import SloConfig, load
from ark.errors import ConfigError
from ark.slo import DAY_S, WINDOWS, Slo, Standing, burn_alerts, definitions, judge
from ark.slo_samples import Counts, Samples

SLOS = {slo.name: slo for slo in definitions(SloConfig())}
AVAILABILITY = SLOS["availability"]
MINUTE = 60.0


def told(slo: Slo, *minutes: tuple[int, int], now: float | None = None) -> Standing:
    """How the node stands after minutes with so many good and bad events each, looked at once a minute."""
    samples = Samples(strict=slo.invariant)
    good = bad = 0
    samples.add(0.0, Counts(0, 0))
    for minute, (more_good, more_bad) in enumerate(minutes, 1):
        good, bad = good + more_good, bad + more_bad
        samples.add(MINUTE * minute, Counts(good, bad))
    return judge(slo, samples, MINUTE * len(minutes) if now is None else now)


def firing(standing: Standing) -> list[tuple[str, str]]:
    return [(alert.severity, alert.speed) for alert in standing.firing]


def test_an_outage_of_five_minutes_by_hand() -> None:
    """100 signals a minute for 10 hours, and in the last five minutes every one of them fails.

    5 minutes: 500 of 500 bad, 100 % / 0.5 % = 200 times too fast. 30 minutes: 500 of 3000, 33.3. An hour: 500 of
    6000, 8.33 % / 0.5 % = 16.7, above 14.4, and 200 is, too: page. Six hours: 500 of 36000, 2.78, below 6. A day,
    of which ten hours are there: 500 of 60000, 1.67, below 3. Three days: the same, above 1, and 2.78 is, too:
    ticket. Budget: 60000 x 0.5 % = 300 allowed, 500 spent, 1 - 500/300 = -0.667 left.
    """
    standing = told(AVAILABILITY, *[(100, 0)] * 595, *[(0, 100)] * 5)
    assert (standing.state, standing.value) == ("violated", 0.0)
    assert (standing.window.good, standing.window.bad) == (0, 500)
    assert standing.burn == {
        "5m": 200,
        "30m": Fraction(100, 3),
        "1h": Fraction(50, 3),
        "2h": Fraction(25, 3),
        "6h": Fraction(25, 9),
        "1d": Fraction(5, 3),
        "3d": Fraction(5, 3),
    }
    assert firing(standing) == [("page", "quick"), ("ticket", "slow")]
    assert standing.budget is not None
    assert (standing.budget.allowed, standing.budget.spent) == (300, 500)
    assert standing.budget.remaining == Fraction(-2, 3)
    assert standing.budget.exhausted is True


def test_ten_minutes_after_the_outage_nobody_is_paged_any_more() -> None:
    standing = told(AVAILABILITY, *[(100, 0)] * 585, *[(0, 100)] * 5, *[(100, 0)] * 10)
    assert (standing.state, standing.value) == ("met", 1.0)
    assert firing(standing) == [("ticket", "slow")]


def test_the_objective_itself_is_met_and_spends_exactly_the_budget() -> None:
    standing = told(AVAILABILITY, (995, 5))
    assert (standing.state, standing.value) == ("met", 0.995)
    assert standing.burn["5m"] == 1
    assert standing.budget is not None
    assert standing.budget.remaining == 0
    assert standing.budget.exhausted is True
    assert told(AVAILABILITY, (994, 5)).state == "violated"


def test_no_event_in_the_window_is_unknown_and_never_met() -> None:
    for slo in SLOS.values():
        standing = told(slo)
        assert (standing.state, standing.value, standing.firing) == ("unknown", None, ())
    quiet = told(AVAILABILITY, (100, 0), *[(0, 0)] * 6)
    assert quiet.state == "unknown"
    assert quiet.burn["5m"] is None
    assert quiet.burn["30m"] == 0
    assert quiet.budget is not None
    assert quiet.budget.remaining == 1


def test_nothing_at_all_has_no_budget_that_could_be_spent() -> None:
    budget = told(AVAILABILITY).budget
    assert budget is not None
    assert (budget.remaining, budget.exhausted) == (None, None)


def test_one_violation_of_an_invariant_stands_until_the_period_is_over() -> None:
    completeness = SLOS["audit_completeness"]
    violated = told(completeness, (1000, 1), (10**6, 0))
    assert violated.state == "violated"
    assert violated.value == (1000 + 10**6) / (1001 + 10**6)
    assert (violated.budget, violated.burn, violated.firing) == (None, {}, ())
    samples = Samples(strict=True)
    for at, good, bad in ((0.0, 0, 0), (60.0, 1000, 1), (90.0, 1010, 1), (29.0 * DAY_S, 2000, 1)):
        samples.add(at, Counts(good, bad))
    assert judge(completeness, samples, 60.0 + 30 * DAY_S - 1).state == "violated"
    assert judge(completeness, samples, 60.0 + 30 * DAY_S).state == "met"


def test_ethics_drift_is_counted_and_not_shared_out() -> None:
    drift = SLOS["ethics_drift"]
    assert (drift.objective, drift.operator, drift.unit) == (0.0, "==", "events")
    assert told(drift, (100, 0)).value == 0.0
    standing = told(drift, (98, 2))
    assert (standing.state, standing.value) == ("violated", 2.0)


# Low traffic


def test_one_bad_event_alone_fires_nothing_and_two_do() -> None:
    assert firing(told(AVAILABILITY, (0, 1))) == []
    assert firing(told(AVAILABILITY, (12, 1))) == []
    assert firing(told(AVAILABILITY, (11, 2))) == [
        ("page", "quick"),
        ("page", "slow"),
        ("ticket", "quick"),
        ("ticket", "slow"),
    ]


def test_from_so_many_events_on_the_guard_changes_nothing() -> None:
    assert [alert.enough(AVAILABILITY.budget) for alert in burn_alerts(AVAILABILITY.period_s)] == [14, 34, 67, 200]
    for alert in burn_alerts(AVAILABILITY.period_s):
        enough = alert.enough(AVAILABILITY.budget)
        assert Fraction(1, enough) / AVAILABILITY.budget <= alert.factor
        assert Fraction(1, enough - 1) / AVAILABILITY.budget > alert.factor


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=30))
def test_a_burn_alert_fires_exactly_when_both_its_windows_say_so(minutes: list[tuple[int, int]]) -> None:
    standing = told(AVAILABILITY, *minutes)
    expected = []
    for alert in burn_alerts(AVAILABILITY.period_s):
        shares = []
        for window in (alert.long, alert.short):
            within = minutes[-WINDOWS[window] // 60 :]
            total = sum(good + bad for good, bad in within)
            shares.append(Fraction(sum(bad for _, bad in within), total) if total else Fraction(0))
        bad = sum(bad for _, bad in minutes[-WINDOWS[alert.long] // 60 :])
        if bad >= 2 and all(share > alert.factor / 200 for share in shares):
            expected.append((alert.severity, alert.speed))
    assert firing(standing) == expected


# The definitions


def test_every_objective_says_what_it_is_for_and_what_to_do() -> None:
    assert list(SLOS) == ["availability", "decision_latency", "hrm_latency", "audit_completeness", "ethics_drift"]
    for slo in SLOS.values():
        assert slo.description.endswith(".")
        assert slo.owner
        assert slo.runbook
        assert slo.period_s == 30 * DAY_S
        assert slo.window_s == (slo.period_s if slo.invariant else 300)
    assert "400 ms" in SLOS["decision_latency"].description
    assert "120 ms" in SLOS["hrm_latency"].description


@pytest.mark.parametrize("days", [7, 8, 14, 27, 28, 30, 90])
def test_factor_and_share_belong_together_and_slower_alerts_have_lower_ones(days: int) -> None:
    alerts = burn_alerts(days * DAY_S)
    factors = [alert.factor for alert in alerts]
    assert factors == sorted(factors, reverse=True)
    for alert in alerts:
        assert alert.factor == alert.spends * days * DAY_S / WINDOWS[alert.long]
        assert WINDOWS[alert.long] == 12 * WINDOWS[alert.short]


def test_the_settings_come_from_the_originals_variables() -> None:
    slo = load(
        None,
        {
            "SLO_AVAILABILITY_TARGET": "0.99",
            "SLO_P95_LATENCY_MS": "250",
            "SLO_HRM_EVAL_LATENCY_MS": "80.5",
            "SLO_WINDOW_SECONDS": "600",
        },
    ).slo
    assert (slo.availability, slo.latency_ms, slo.hrm_latency_ms, slo.window_s) == (0.99, 250, 80.5, 600)


@pytest.mark.parametrize(
    ("settings", "field", "says"),
    [
        ({"availability": 0.9}, "slo.availability", "set it to 0.9306 or more, or slo.budget_days to fewer days"),
        ({"availability": 99.5}, "slo.availability", "< 1.0"),
        ({"availability": 1.0}, "slo.availability", "< 1.0"),
        ({"latency_share": 0.5}, "slo.latency_share", "quick page alert"),
        ({"hrm_latency_share": 0.93}, "slo.hrm_latency_share", "burn rate above 14.4"),
        ({"budget_days": 90}, "slo.latency_share", "over 90 days"),
        ({"budget_days": 6}, "slo.budget_days", ">= 7"),
        ({"window_s": 5}, "slo.window_s", ">= 60"),
        ({"latency_ms": 0}, "slo.latency_ms", "> 0"),
        ({"latencyms": 3}, "slo.latencyms", "latency_ms"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(settings: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, {}, {("slo", key): value for key, value in settings.items()})
    assert error.value.field == field
    assert says in str(error.value)


def test_the_lowest_objective_that_is_named_is_taken() -> None:
    assert load(None, {}, {("slo", "availability"): 0.9306}).slo.availability == 0.9306
    quarter = {("slo", "budget_days"): 90, ("slo", "latency_share"): 0.98, ("slo", "hrm_latency_share"): 0.98}
    assert load(None, {}, quarter).slo.budget_days == 90


def test_a_definition_is_data() -> None:
    assert {slo["name"] for slo in map(msgspec.to_builtins, SLOS.values())} == set(SLOS)
