"""What the Watchdog has told of and done, counted for `/metrics`."""

from __future__ import annotations

from ark.meters import Meters
from supervisor.alerts import CHILD_FAULTS, Alert, Answers, Fault

__all__ = ["Tallies"]


class Tallies:
    """Counters on the Watchdog's page; without one, nothing is counted.

    Args:
        meters: The page; None where the node has no metrics.
        answers: What is done about what. Who can be isolated has a counter for each fault from the start: what
            begins with its first event is not seen to grow.
    """

    def __init__(self, meters: Meters | None, answers: Answers) -> None:
        self._meters = meters
        if meters is None:
            return
        for agent in answers.agents:
            meters.count("agent_heartbeat_failures_total", 0.0, agent=agent)
            for kind in sorted(CHILD_FAULTS):
                fault = Fault(kind, agent, "")
                if answers.isolates(answers.to(fault), fault):
                    self._count_isolation(fault, 0.0)

    def told(self, alert: Alert) -> None:
        """Count an alert, when it is raised and each time that it is repeated."""
        if self._meters is not None and alert.state != "cleared":
            self._meters.count(
                "watchdog_events_total", event_type=alert.fault, agent=alert.subject, severity=alert.severity
            )

    def isolated(self, fault: Fault) -> None:
        """Count that an agent was isolated."""
        self._count_isolation(fault, 1.0)

    def hung(self, name: str) -> None:
        """Count that a process was found hung."""
        if self._meters is not None:
            self._meters.count("agent_heartbeat_failures_total", agent=name)

    def _count_isolation(self, fault: Fault, times: float) -> None:
        if self._meters is not None:
            self._meters.count(
                "watchdog_quarantines_total", times, agent=fault.subject, reason=fault.kind, track="stable"
            )
