"""What the Watchdog counts, on its page. Only its own loop calls this: a page has one writer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from ark.meters import Meters
from supervisor.alerts import CHILD_FAULTS, Alert, Answers, Fault

__all__ = ["Figures"]

TRACK = "stable"
"""Of the agents that the Watchdog isolates."""


class Figures:
    """Counts at once; does nothing without a page.

    Args:
        meters: The page; None: metrics are switched off.
    """

    def __init__(self, meters: Meters | None) -> None:
        self._meters = meters
        self._known: set[str] = set()

    def begin(self, agents: Collection[str], answers: Answers) -> None:
        """Have there from the beginning what may be counted: nobody sees a count rise that begins with 1.

        Of quarantines those that the configuration foresees; others have a series from their first on.
        """
        if self._meters is None:
            return
        for agent in sorted(agents):
            for kind in sorted(CHILD_FAULTS):
                fault = Fault(kind, agent, "")
                if answers.isolates(answers.to(fault), fault):
                    self._meters.count("watchdog_quarantines_total", 0, agent=agent, reason=kind, track=TRACK)

    def see(self, names: Iterable[str]) -> None:
        """Have there who may be found hung."""
        for name in set(names) - self._known:
            self._known.add(name)
            if self._meters is not None:
                self._meters.count("agent_heartbeat_failures_total", 0, agent=name)

    def hung(self, name: str) -> None:
        """A process was found hung."""
        if self._meters is not None:
            self._meters.count("agent_heartbeat_failures_total", agent=name)

    def isolated(self, fault: Fault) -> None:
        """An agent was isolated."""
        if self._meters is not None:
            agent, _, arm = fault.subject.partition(".")
            self._meters.count("watchdog_quarantines_total", agent=agent, reason=fault.kind, track=arm or TRACK)

    def told(self, alert: Alert) -> None:
        """An alert was told; that a fault is over is none."""
        if self._meters is not None and alert.state != "cleared":
            self._meters.count(
                "watchdog_events_total", event_type=alert.fault, agent=alert.subject, severity=alert.severity
            )

    def waits_in(self, stream: str, depth: int | None) -> None:
        """So much waits in the feed's stream; None: not known."""
        if self._meters is not None:
            self._meters.gauge("redis_stream_depth", math.nan if depth is None else depth, stream=stream)
