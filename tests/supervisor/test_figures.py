"""What the Watchdog counts on its page."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from ark.config import AnswersConfig
from ark.meters import Meters, read
from supervisor.alerts import Alert, Answers, Fault
from supervisor.figures import Figures

AGENTS = ("kyle", "kenny")


def figures(folder: Path) -> Figures:
    """As a new process of the Watchdog has them."""
    return Figures(Meters(folder / "watchdog.page", process="watchdog"))


def found(folder: Path, name: str) -> dict[tuple[str, ...], float]:
    return {each.labels: each.value for each in read(folder / "watchdog.page") if each.metric.name == name}


def answers(**changes: str) -> Answers:
    return Answers({**msgspec.structs.asdict(AnswersConfig()), **changes}, AGENTS)


def alert(state: str) -> Alert:
    return Alert("disk_low", "node", "warning", "warn", state, "little is free", "make room", 1, 5.0)  # type: ignore[arg-type]


def test_quarantines_that_the_configuration_foresees_are_there_from_the_beginning(tmp_path: Path) -> None:
    figures(tmp_path).begin(AGENTS, answers(memory="isolate", latency="warn", hang="halt"))
    kinds = ("failure_rate", "failures", "hang", "memory")
    assert found(tmp_path, "watchdog_quarantines_total") == {
        (agent, kind, "stable"): 0.0 for agent in AGENTS for kind in kinds
    }


def test_counts_outlive_the_watchdog_and_beginning_anew_adds_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        one = figures(tmp_path)
        one.begin(AGENTS, answers())
        one.see(["kyle", "gateway"])
        one.isolated(Fault("failures", "kenny", "5 in a row"))
        one.isolated(Fault("restarts", "kenny", "often"))
        one.hung("gateway")
    quarantines = found(tmp_path, "watchdog_quarantines_total")
    assert quarantines["kenny", "failures", "stable"] == quarantines["kenny", "restarts", "stable"] == 2
    assert sum(quarantines.values()) == 4
    assert found(tmp_path, "agent_heartbeat_failures_total") == {("kyle",): 0.0, ("gateway",): 2.0}


def test_that_a_fault_is_over_is_no_alert(tmp_path: Path) -> None:
    one = figures(tmp_path)
    for state in ("raised", "repeated", "cleared"):
        one.told(alert(state))
    assert found(tmp_path, "watchdog_events_total") == {("disk_low", "node", "warning"): 2.0}


def test_what_waits_in_redis_is_told_and_not_known_when_it_is_not(tmp_path: Path) -> None:
    one = figures(tmp_path)
    one.waits_in("ark:signals", 7)
    assert found(tmp_path, "redis_stream_depth") == {("ark:signals",): 7.0}
    one.waits_in("ark:signals", None)
    assert math.isnan(found(tmp_path, "redis_stream_depth")["ark:signals",])


def test_where_metrics_are_switched_off_nothing_is_counted() -> None:
    none = Figures(None)
    none.begin(AGENTS, answers())
    none.see(["kyle"])
    none.hung("kyle")
    none.isolated(Fault("failures", "kyle", "5 in a row"))
    none.told(alert("raised"))
    none.waits_in("ark:signals", 7)
