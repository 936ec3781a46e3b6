"""The rules that are made from the objectives; that Prometheus takes them, promtool says where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from ark.config import SloConfig
from ark.errors import ConfigError
from ark.slo import WINDOWS, burn_alerts, definitions
from deployment.slo_rules import burn_rules

SLOS = definitions(SloConfig())


def test_every_objective_with_a_budget_has_four_alerts_and_every_window_a_recording() -> None:
    recordings, alerts = burn_rules(SLOS)
    assert [rule["record"] for rule in recordings] == [f"ark:slo_events_bad:ratio{window}" for window in WINDOWS]
    assert len(alerts) == 4 * 3
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    assert {rule["labels"]["slo"] for rule in alerts} == {"availability", "decision_latency", "hrm_latency"}


def test_an_alert_uses_only_windows_that_are_recorded() -> None:
    recordings, alerts = burn_rules(SLOS)
    recorded = {rule["record"] for rule in recordings}
    for rule in alerts:
        used = {word.split("{")[0] for word in rule["expr"].split() if word.startswith("ark:slo")}
        assert len(used) == 2
        assert used <= recorded


def test_the_factors_are_those_of_the_workbook_times_the_budget() -> None:
    _, alerts = burn_rules(SLOS)
    thresholds = [rule["expr"].split(" > ")[1].split()[0] for rule in alerts[:4]]
    assert thresholds == ["0.072", "0.03", "0.015", "0.005"]


def test_an_alert_says_whom_it_calls_and_what_to_do() -> None:
    _, alerts = burn_rules(SLOS)
    assert [rule["labels"]["severity"] for rule in alerts[:4]] == ["page", "page", "ticket", "ticket"]
    for rule in alerts:
        assert {"summary", "description", "action", "runbook", "owner"} == set(rule["annotations"])


def test_invariants_alone_have_no_rules() -> None:
    assert burn_rules(slo for slo in SLOS if slo.invariant) == ([], [])


def test_an_objective_of_which_an_alert_could_never_fire_is_refused() -> None:
    with pytest.raises(ConfigError, match="quick page alert needs a burn rate above 14"):
        burn_rules(definitions(msgspec.structs.replace(SloConfig(), latency_share=0.93)))
    assert burn_rules(definitions(msgspec.structs.replace(SloConfig(), latency_share=0.9306)))


def test_shorter_periods_have_lower_factors() -> None:
    week, month = burn_alerts(7 * 86_400), burn_alerts(30 * 86_400)
    assert [float(alert.factor) for alert in week] == [13.44, 3.5, 1.4, 0.98]
    assert [float(alert.factor) for alert in month] == [14.4, 6.0, 3.0, 1.0]


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool; `make services` gets it")
def test_an_outage_fires_one_failure_among_few_does_not_and_silence_says_nothing(tmp_path: Path) -> None:
    recordings, alerts = burn_rules(SLOS)
    rules = recordings + alerts
    plain = [{key: value for key, value in rule.items() if key != "annotations"} for rule in rules]
    for name, made in (("whole", rules), ("plain", plain)):
        groups = [{"name": "slo", "interval": "30s", "rules": made}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"groups": groups}))

    def series(good: str, bad: str) -> list[dict[str, str]]:
        name = 'ark_slo_events_total{instance="n",slo="availability",result='
        return [{"series": f'{name}"good"}}', "values": good}, {"series": f'{name}"bad"}}', "values": bad}]

    def at(time: str, alert: str, *labels: dict[str, str]) -> dict[str, object]:
        return {"eval_time": time, "alertname": alert, "exp_alerts": [{"exp_labels": each} for each in labels]}

    def case(given: list[dict[str, str]], *expected: dict[str, object]) -> dict[str, object]:
        return {"interval": "15s", "input_series": given, "alert_rule_test": list(expected)}

    page = "ARKAvailabilityBurnQuickPage"
    labels = {"severity": "page", "instance": "n", "slo": "availability"}
    absent = {
        "interval": "15s",
        "input_series": series("7x240", "3x240"),
        "promql_expr_test": [{"expr": "ark:slo_events_bad:ratio1h", "eval_time": "1h", "exp_samples": []}],
    }
    tests = [
        # Five minutes of an hour at four signals a minute, all of them failed: 8.3 % of the hour.
        case(series("0+1x220 220+0x20", "0x220 1+1x20"), at("1h", page, labels), at("50m", page)),
        # One failure among ten signals of the hour: 10 %, but a single one. The second one makes it an alert.
        case(series("0x20 9x240", "0x220 1x40"), at("1h", page)),
        case(series("0x20 9x240", "0x220 1x10 2x40"), at("1h", page, labels)),
        # An outage that is over for longer than the short window and the time that an alert is kept is none.
        case(series("0+1x100 100x20 101+1x300", "0x100 0+1x20 20x300"), at("31m", page, labels), at("47m", page)),
        absent,
    ]
    (tmp_path / "tests.json").write_text(json.dumps({"rule_files": ["plain.json"], "tests": tests}))
    assert PROMTOOL is not None
    for command in (["check", "rules", "whole.json"], ["test", "rules", "tests.json"]):
        ran = subprocess.run([PROMTOOL, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
