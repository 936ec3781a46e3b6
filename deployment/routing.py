"""Whom an alert is sent to, and which alerts go without saying: the configuration of Alertmanager."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployment.alerting import Alert

__all__ = ["RECEIVERS", "routing"]

RECEIVERS = {"page": "pager", "ticket": "tickets", "info": "nobody"}
"""Who gets an alert of each severity."""
NODE_GONE = "ARKExporterAbsent"
"""While a node cannot be seen, what is known of it is old."""


def routing(alerts: Iterable[Alert]) -> dict[str, Any]:
    """The configuration.

    Both receivers are placeholders under `.invalid`, a name that never exists: until an operator has put his own
    there, alerts are only seen in Alertmanager itself.

    Args:
        alerts: All that there are.
    """
    return {
        "global": {
            "resolve_timeout": "5m",
            "smtp_from": "alertmanager@example.invalid",
            "smtp_smarthost": "mail.example.invalid:587",
        },
        "route": {
            "receiver": RECEIVERS["ticket"],
            "group_by": ["alertname", "instance"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "1d",
            "routes": [
                {
                    # One call for what goes wrong on one node at the same time.
                    "matchers": ['severity="page"'],
                    "receiver": RECEIVERS["page"],
                    "group_by": ["instance"],
                    "group_wait": "10s",
                    "group_interval": "1m",
                    "repeat_interval": "1h",
                },
                {"matchers": ['severity="info"'], "receiver": RECEIVERS["info"]},
            ],
        },
        "inhibit_rules": _inhibitions(alerts),
        "receivers": [
            {
                "name": RECEIVERS["page"],
                "webhook_configs": [{"url": "http://pager.example.invalid/ark", "send_resolved": True}],
            },
            {
                "name": RECEIVERS["ticket"],
                "email_configs": [{"to": "tickets@example.invalid", "send_resolved": True}],
            },
            {"name": RECEIVERS["info"]},
        ],
    }


def _inhibitions(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    followers: dict[str, list[str]] = {}
    for alert in alerts:
        for source in alert.follows:
            followers.setdefault(source, []).append(alert.name)
    rules = [_inhibition([f'alertname="{NODE_GONE}"'], ['alertname=~"ARK.+"', 'severity=~"ticket|info"'])]
    for source, names in followers.items():
        rules.append(_inhibition([f'alertname="{source}"'], [f'alertname=~"{"|".join(names)}"']))
    # Of one budget the more urgent alert says it all.
    urgent = _inhibition(['severity="page"', 'slo=~".+"'], ['severity="ticket"', 'slo=~".+"'])
    return [*rules, {**urgent, "equal": ["instance", "slo"]}]


def _inhibition(source: list[str], target: list[str]) -> dict[str, Any]:
    return {"source_matchers": source, "target_matchers": target, "equal": ["instance"]}
