"""What an alert is: when it fires, what it asks of a person, and the cases that show both."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ark.config import Config, SloConfig

__all__ = ["Alert", "Case", "Fired", "Limits", "Recording", "Severity"]

RUNBOOKS = "docs/operations.md"
"""The page that every alert names a section of."""
Severity = Literal["page", "ticket", "info"]
"""`page` wakes somebody, `ticket` is for the working day, `info` is to be seen when something else is looked at."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules take from an operator's configuration.

    Attributes:
        listen: The exporter's address, `HOST:PORT`.
        slo: The objectives.
        state_write_s: The limit of a commit to a journal.
        validation_s: From where on HRM is slow, whatever was promised.
        violations_per_s: The rule book may deny so many orders.
        stream_depth: So many entries may wait in the feed's stream.
        mailbox_depth: So much may wait before an agent.
        memory_bytes: What a process may hold before the Watchdog replaces it.
        memory_of: The same of agents that have a limit of their own.
        disk_low_bytes: Less free space than that is low.
        stall_s: Without an outcome for so long the gateway sends again.
        heartbeat_s: A process without a heartbeat for so long is hung, and the Watchdog should have replaced it.
    """

    listen: str = "127.0.0.1:9090"
    slo: SloConfig = SloConfig()
    state_write_s: float = 0.1
    validation_s: float = 0.2
    violations_per_s: float = 10 / 60
    stream_depth: int = 5000
    mailbox_depth: int = 1000
    memory_bytes: int = 1024 << 20
    memory_of: tuple[tuple[str, int], ...] = ()
    disk_low_bytes: int = 1024 << 20
    stall_s: float = 30.0
    heartbeat_s: float = 10.0

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The limits of a node with a configuration."""
        watchdog = config.watchdog
        return cls(
            listen=config.metrics.listen,
            slo=config.slo,
            violations_per_s=watchdog.max_violations_per_min / 60,
            stream_depth=5 * config.redis.max_depth,
            mailbox_depth=watchdog.max_queue_depth,
            memory_bytes=watchdog.memory_limit_mb << 20,
            memory_of=tuple(
                (name, agent.memory_limit_mb << 20)
                for name, agent in sorted(config.agents.items())
                if agent.memory_limit_mb
            ),
            disk_low_bytes=watchdog.disk_low_mb << 20,
            stall_s=config.gateway.stall_s,
            # Twice the five seconds within which the original wanted a heartbeat; longer where an agent may be.
            heartbeat_s=max(10.0, 2 * watchdog.missed * watchdog.interval_s, *_patience(config)),
        )


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording rule.

    Attributes:
        name: What the result is called, `ark:WHAT:HOW`.
        expr: Its expression.
        help: What it is, in one line.
    """

    name: str
    expr: str
    help: str

    def rule(self) -> dict[str, Any]:
        """As it stands in a file of rules."""
        return {"record": self.name, "expr": self.expr}


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it must have fired in a case.

    Attributes:
        at: When it is looked at, as `4m`.
        description: The description with its values.
        labels: The labels of what fired, without the severity and other labels that the alert itself sets.
    """

    at: str
    description: str
    labels: dict[str, str] = {}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Series over time, and when the alert must be silent or must have fired.

    Attributes:
        name: What happens, as a sentence.
        series: Values by series, in promtool's notation: `0+1x10` begins at 0 and grows ten times by 1.
        silent_at: Times at which it must not fire.
        fired: What fires, and when.
        every: The time between two values, and between two evaluations.
    """

    name: str
    series: dict[str, str]
    silent_at: tuple[str, ...] = ()
    fired: tuple[Fired, ...] = ()
    every: str = "1m"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert.

    Attributes:
        name: As Alertmanager shows it.
        expr: It fires where this has a result.
        hold: For how long it must have had one, as `3m`; empty for at once.
        keep: For how long it goes on firing after that; so that what comes and goes is one alert.
        severity: Whom it calls.
        summary: What is wrong, in a line without values.
        description: The same with values, a template of Prometheus.
        action: What to do first, with the command.
        runbook: The anchor in docs/operations.md.
        follows: Alerts that explain this one: while one of them fires, nobody is told of this.
        labels: Further labels.
        cases: What shows that it fires and that it stays silent.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    action: str
    runbook: str
    hold: str = ""
    keep: str = ""
    follows: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    cases: tuple[Case, ...] = ()

    def rule(self) -> dict[str, Any]:
        """As it stands in a file of rules."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.hold} if self.hold else {}),
            **({"keep_firing_for": self.keep} if self.keep else {}),
            "labels": self._labels(),
            "annotations": self._annotations(self.description),
        }

    def tests(self, every: str) -> list[dict[str, Any]]:
        """Its cases with a certain time between two values, as tests for promtool."""
        return [
            {
                "name": f"{self.name}: {case.name}",
                "interval": case.every,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": self._looks(case),
            }
            for case in self.cases
            if case.every == every
        ]

    def _looks(self, case: Case) -> list[dict[str, Any]]:
        looks: list[dict[str, Any]] = [{"eval_time": at, "alertname": self.name} for at in case.silent_at]
        for at in dict.fromkeys(each.at for each in case.fired):
            expected = [
                {
                    "exp_labels": {**self._labels(), **each.labels},
                    "exp_annotations": self._annotations(each.description, each.labels),
                }
                for each in case.fired
                if each.at == at
            ]
            looks.append({"eval_time": at, "alertname": self.name, "exp_alerts": expected})
        return looks

    def _labels(self) -> dict[str, str]:
        return {"severity": self.severity, **self.labels}

    def _annotations(self, description: str, labels: dict[str, str] | None = None) -> dict[str, str]:
        action = self.action
        for name, value in (labels or {}).items():
            action = action.replace(f"{{{{ $labels.{name} }}}}", value)
        return {
            "summary": self.summary,
            "description": description,
            "action": action,
            "runbook": f"{RUNBOOKS}#{self.runbook}",
        }


def _patience(config: Config) -> tuple[float, ...]:
    return tuple(agent.patience_s for agent in config.agents.values())
