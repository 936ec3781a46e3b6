"""The files by which a node is watched: written from the code, true to it, and nobody's machine."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from ark.config import AgentConfig, Config, MetricsConfig, SloConfig
from deployment.alerting import Alert, Limits, groups
from deployment.alerting.alert import RUNBOOKS
from deployment.alerting.capacity import OWN_ALERT
from deployment.dashboard import ROWS, document
from deployment.observability import FOLDER, committed, files, rule_tests, write_files
from supervisor.alerts import ADVICE
from tests.node import BIN, ROOT
from tests.test_docs import anchors

LIMITS = Limits()
ALERTS = [alert for group in groups(LIMITS) for alert in group.alerts]
BY_NAME = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
ORIGINAL = {
    "ARKAvailabilitySLOViolation",
    "ARKLatencySLOViolation",
    "ARKHRMLatencySLOViolation",
    "ARKAgentQuarantined",
    "ARKAgentHighErrorRate",
    "ARKAgentHeartbeatMissing",
    "ARKEthicsViolationSpike",
    "ARKGraveyardSlowValidation",
    "ARKRedisQueueDepthHigh",
    "ARKStateWriteLatencyHigh",
    "ARKDiskSpaceLow",
    "ARKCanaryHRMDenialsSpike",
    "ARKCanaryQuarantineDetected",
    "ARKCanaryLatencyBreach",
}


def test_the_committed_files_are_what_the_code_says() -> None:
    there = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in committed()}

    assert there == {**files(LIMITS), **rule_tests(LIMITS)}, "run `make docs`"


def test_nothing_in_them_is_of_one_machine() -> None:
    for path in committed():
        text = path.read_text()
        for word in (str(ROOT), str(Path.home()) + "/", socket.gethostname()):
            assert word not in text, f"{path.name} holds {word}"


def test_the_default_configuration_is_what_they_are_written_for() -> None:
    assert Limits.of(Config()) == LIMITS


def test_every_alert_of_the_original_is_there() -> None:
    assert {alert.name for alert in ALERTS} >= ORIGINAL
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


@BY_NAME
def test_each_alert_has_a_case_that_fires_and_one_that_does_not(alert: Alert) -> None:
    assert any(case.fired for case in alert.cases)
    assert any(case.silent_at for case in alert.cases)


@BY_NAME
def test_each_alert_says_what_is_wrong_and_what_to_do(alert: Alert) -> None:
    assert alert.summary
    assert not re.search(r"{{|\.$", alert.summary)
    assert alert.description.endswith(".")
    assert alert.runbook in anchors(ROOT / RUNBOOKS), f"{RUNBOOKS} has no section {alert.runbook}"


@BY_NAME
def test_what_an_alert_tells_one_to_type_or_to_look_at_is_there(alert: Alert) -> None:
    ark_run = {each.name for each in entry_points(group="ark.commands")}
    panels = {panel.title for row in ROWS for panel in row.panels}
    for quoted in re.findall(r"`([^`]+)`", alert.action):
        program, *rest = quoted.split()
        if program == "ark-run":
            assert rest[0] in ark_run, quoted
        elif program == "supervisor":
            assert rest[0] in supervisor_commands(), quoted
        elif "panel" in alert.action and quoted[0].isupper():
            assert quoted in panels, quoted


def test_what_the_watchdog_tells_of_is_told_once() -> None:
    assert set(OWN_ALERT.split("|")) <= set(ADVICE)


def test_the_rules_follow_the_configuration() -> None:
    config = Config(
        metrics=MetricsConfig(listen="127.0.0.1:9190"),
        slo=SloConfig(latency_ms=250.0, availability=0.999),
        agents={"joey": AgentConfig(class_="actors.joey:Joey", memory_limit_mb=4096, patience_s=60.0)},
    )
    written = files(Limits.of(config))
    rules = {
        rule["alert"]: rule
        for name, text in written.items()
        if name.startswith("prometheus/rules/") and "recordings" not in name
        for rule in yaml.safe_load(text)["groups"][0]["rules"]
    }

    scraped = yaml.safe_load(written["prometheus/prometheus.yml"])["scrape_configs"]
    assert scraped[0]["static_configs"] == [{"targets": ["127.0.0.1:9190"]}]
    assert "> 0.001\n" in rules["ARKAvailabilitySLOViolation"]["expr"]
    assert "250 ms" in rules["ARKLatencySLOViolation"]["annotations"]["description"]
    assert 'le="0.25"' in rules["ARKCanaryLatencyBreach"]["expr"]
    assert 'ark_memory_bytes{name="joey"} > 3435973836.8' in rules["ARKMemoryHigh"]["expr"]
    # An agent that may be without a heartbeat for a minute is not stale after ten seconds.
    assert rules["ARKHeartbeatStale"]["expr"] == "ark_heartbeat_age_seconds > 60"


def test_what_an_operator_has_changed_is_not_written_over(tmp_path: Path) -> None:
    first = write_files(tmp_path, LIMITS)
    mine = tmp_path / "alertmanager" / "alertmanager.yml"
    mine.write_text("route: {receiver: me}\nreceivers: [{name: me}]\n")
    (tmp_path / "prometheus" / "rules" / "mine.yml").write_text("groups: []\n")
    old = tmp_path / "prometheus" / "rules" / "of_an_earlier_version.yml"
    old.write_text((tmp_path / "prometheus" / "rules" / "canary.yml").read_text())

    second = write_files(tmp_path, Limits(mailbox_depth=7))

    assert first.beside == ()
    assert second.beside == ("alertmanager/alertmanager.yml",)
    assert mine.read_text().startswith("route: {receiver: me}")
    assert mine.with_name("alertmanager.yml.new").exists()
    assert "ark_mailbox_depth > 7" in (tmp_path / "prometheus" / "rules" / "freshness.yml").read_text()
    assert (tmp_path / "prometheus" / "rules" / "mine.yml").exists()
    assert not old.exists()


def test_the_dashboard_is_one_that_grafana_can_place() -> None:
    made = document()
    panels = [inner for panel in made["panels"] for inner in (panel, *panel.get("panels", ()))]
    ids = [panel["id"] for panel in panels]

    assert len(ids) == len(set(ids))
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["targets"]
    assert not overlapping([panel["gridPos"] for panel in panels if panel["type"] != "row"])


def test_the_files_that_grafana_is_told_of_are_where_it_looks(tmp_path: Path) -> None:
    write_files(tmp_path, LIMITS)

    source = yaml.safe_load((tmp_path / "grafana/provisioning/datasources/ark.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((tmp_path / "grafana/provisioning/dashboards/ark.yml").read_text())["providers"][0]
    dashboard = json.loads((Path(provider["options"]["path"]) / "dashboard.json").read_text())
    assert {
        target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    } == {source["uid"]}


@cache
def supervisor_commands() -> set[str]:
    """The commands that `supervisor --help` names."""
    said = subprocess.run([BIN / "supervisor", "--help"], capture_output=True, text=True, timeout=30, check=True)
    return set(re.findall(r"^    (\w+) ", said.stdout, re.MULTILINE))


def overlapping(places: list[dict[str, int]]) -> list[tuple[Any, Any]]:
    """Pairs of places that share a cell of the grid."""
    return [
        (one, other)
        for number, one in enumerate(places)
        for other in places[:number]
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ]
