"""Whom alerts are sent to, and which go without saying: by amtool and by a real Alertmanager."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from deployment.alerting import Alert, Limits, groups
from deployment.observability import FOLDER
from deployment.routing import NODE_GONE, RECEIVERS, routing
from tests.monitoring import alertmanager, needs, run_tool
from tests.node import wait_until

CONFIG = FOLDER / "alertmanager" / "alertmanager.yml"
ALERTS = {alert.name: alert for group in groups(Limits()) for alert in group.alerts}


def test_what_explains_an_alert_is_an_alert_as_urgent_as_it() -> None:
    for alert in ALERTS.values():
        for source in alert.follows:
            assert source in ALERTS, alert.name
            assert alert.severity != "page" or ALERTS[source].severity == "page", (alert.name, source)


def test_no_two_alerts_explain_each_other() -> None:
    def explains(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, seen
        for source in ALERTS[name].follows:
            explains(source, (*seen, name))

    for name in ALERTS:
        explains(name, ())


def test_the_receivers_are_placeholders_that_reach_nobody_and_hold_no_secret() -> None:
    document = routing(ALERTS.values())

    (pager,) = document["receivers"][0]["webhook_configs"]
    (tickets,) = document["receivers"][1]["email_configs"]
    assert all(".invalid" in each for each in (pager["url"], tickets["to"], *list(document["global"].values())[1:]))
    assert "password" not in json.dumps(document)


@pytest.mark.monitoring
@needs("amtool")
def test_alertmanager_takes_the_configuration() -> None:
    assert "SUCCESS" in run_tool("amtool", "check-config", CONFIG)


@pytest.mark.monitoring
@needs("amtool")
@pytest.mark.parametrize("severity", ["page", "ticket", "info"])
def test_each_severity_goes_to_its_receiver(severity: str) -> None:
    alert = next(each for each in ALERTS.values() if each.severity == severity)
    labels = [f"{key}={value}" for key, value in facts(alert, "n").items()]

    said = run_tool("amtool", "config", "routes", "test", f"--config.file={CONFIG}", *labels)

    assert said.strip() == RECEIVERS[severity]


@pytest.mark.monitoring
@needs("amtool")
def test_an_alert_of_no_severity_makes_a_ticket() -> None:
    said = run_tool("amtool", "config", "routes", "test", f"--config.file={CONFIG}", "alertname=Another")

    assert said.strip() == RECEIVERS["ticket"]


@pytest.mark.monitoring
@needs("alertmanager")
def test_what_an_alert_explains_is_not_told_and_what_it_does_not_is(tmp_path: Path) -> None:
    # On `gone` the node cannot be seen, on `halted` trading is halted, on `well` neither; all else fires on each.
    causes = {NODE_GONE: "gone", "ARKHalted": "halted", "ARKSealBroken": ""}
    others = [alert for alert in ALERTS.values() if alert.name not in causes]
    firing = [facts(alert, node) for alert in others for node in ("gone", "halted", "well")]
    firing += [facts(ALERTS[name], node) for name, node in causes.items() if node]
    with alertmanager(tmp_path, CONFIG) as url:
        told = told_of(url, firing)

    assert "ARKHalted" in told["halted"]
    # The node is gone: what would call somebody and is not explained by that stays, invariants above all.
    assert {name for name in told["gone"] if ALERTS[name].severity != "page"} == set()
    assert {"ARKExporterAbsent", "ARKEthicsDrift", "ARKAuditIncomplete", "ARKDiskSpaceLow"} <= told["gone"]
    assert not {"ARKNotReady", "ARKAvailabilityBurnQuickPage", "ARKHeartbeatStale"} & told["gone"]
    assert "ARKEthicsViolationSpike" not in told["halted"]
    assert "ARKEthicsViolationSpike" in told["well"]


def facts(alert: Alert, node: str) -> dict[str, str]:
    """The labels that an alert has when it fires on a node."""
    return {"alertname": alert.name, "severity": alert.severity, **alert.labels, "instance": node}


def told_of(url: str, firing: list[dict[str, str]]) -> dict[str, set[str]]:
    """The names of alerts that are not inhibited, by node, of those that fire."""
    request = urllib.request.Request(
        f"{url}/api/v2/alerts",
        data=json.dumps([{"labels": labels} for labels in firing]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200

    def looked_at() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        done = [each for each in found if each["status"]["state"] != "unprocessed"]
        return done if len(done) == len(firing) else []

    def explained() -> list[dict[str, Any]]:
        """Once the causes count: they are taken in beside what they explain, and not before it."""
        done = looked_at()
        muted = {each["labels"]["instance"] for each in done if each["status"]["inhibitedBy"]}
        return done if {"gone", "halted"} <= muted else []

    told: dict[str, set[str]] = {}
    for each in wait_until(explained, "every alert was looked at", within_s=30.0):
        if not each["status"]["inhibitedBy"]:
            told.setdefault(each["labels"]["instance"], set()).add(each["labels"]["alertname"])
    return told
