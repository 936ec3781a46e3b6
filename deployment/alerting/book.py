"""All alerts in groups, each of which becomes a file of rules and a file of tests."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from deployment.alerting.alert import Alert, Limits
from deployment.alerting.canary import canary
from deployment.alerting.capacity import capacity
from deployment.alerting.freshness import freshness
from deployment.alerting.invariants import INVARIANTS
from deployment.alerting.objectives import objectives
from deployment.alerting.original import original
from deployment.alerting.rollout import ROLLOUT

__all__ = ["Group", "groups"]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that are evaluated together.

    Attributes:
        name: Of the group and of its files.
        title: What they are about.
        alerts: The alerts.
    """

    name: str
    title: str
    alerts: tuple[Alert, ...]


def groups(limits: Limits) -> tuple[Group, ...]:
    """Every alert for a node with certain limits."""
    made: Iterable[tuple[str, str, tuple[Alert, ...]]] = (
        ("invariants", "What must never be", INVARIANTS),
        ("freshness", "What should move and does not", freshness(limits)),
        ("objectives", "The error budgets", objectives(limits)),
        ("original", "The original's alerts", original(limits)),
        ("capacity", "Storage, memory, broker, Watchdog", capacity(limits)),
        ("canary", "A canary that must be rolled back", canary(limits)),
        ("rollout", "A rollout that waits, or was rolled back", ROLLOUT),
    )
    return tuple(Group(name=name, title=title, alerts=alerts) for name, title, alerts in made)
