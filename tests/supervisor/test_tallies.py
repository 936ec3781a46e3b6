"""What the Watchdog counts: alerts, quarantines and hangs, from zero on and over its own death."""

from __future__ import annotations

from pathlib import Path

import pytest

from ark.meters import Meters, read
from supervisor.alerts import Alert, Answers, Fault
from supervisor.tallies import Tallies

ANSWERS = Answers({"failures": "isolate", "latency": "warn", "hang": "restart", "memory": "halt"}, ("hrm", "joey"))
RAISED = Alert("failures", "hrm", "critical", "isolate", "raised", "5 in a row", "see", 1, 0.0)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "watchdog.page"


def tallies(page: Path) -> Tallies:
    return Tallies(Meters(page, process="watchdog"), ANSWERS)


def counted(page: Path, name: str) -> dict[tuple[str, ...], float]:
    return {series.labels: series.value for series in read(page) if series.metric.name == name}


def test_who_can_be_isolated_has_a_counter_before_it_is(page: Path) -> None:
    tallies(page)

    assert counted(page, "watchdog_quarantines_total") == {
        (agent, reason, "stable"): 0.0 for agent in ("hrm", "joey") for reason in ("failures", "memory")
    }
    assert counted(page, "agent_heartbeat_failures_total") == {("hrm",): 0.0, ("joey",): 0.0}


def test_an_alert_counts_when_it_is_told_and_not_when_it_is_over(page: Path) -> None:
    made = tallies(page)
    for state in ("raised", "repeated", "cleared"):
        made.told(Alert("failures", "hrm", "critical", "isolate", state, "5 in a row", "see", 1, 0.0))  # type: ignore[arg-type]

    assert counted(page, "watchdog_events_total") == {("failures", "hrm", "critical"): 2.0}


def test_the_next_watchdog_goes_on_counting(page: Path) -> None:
    for _ in range(2):
        made = tallies(page)
        made.isolated(Fault("failures", "hrm", "5 in a row"))
        made.hung("gateway")

    assert counted(page, "watchdog_quarantines_total")["hrm", "failures", "stable"] == 2.0
    assert counted(page, "agent_heartbeat_failures_total")["gateway",] == 2.0


def test_without_metrics_nothing_is_counted() -> None:
    made = Tallies(None, ANSWERS)
    made.told(RAISED)
    made.isolated(Fault("failures", "hrm", ""))
    made.hung("hrm")
