"""Writes the files by which a node is watched: `python -m deployment.observability`.

Everything under `deployment/prometheus`, `deployment/alertmanager` and `deployment/grafana` comes from here, for
the default configuration; `ark-run monitoring write` writes the same for an operator's own. A test fails when what
is written differs from what this would write.

PyYAML writes the YAML: expressions over several lines and texts with colons, quotes and braces are where YAML that
is put together by hand breaks, and the standard library has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ark.slo import definitions
from deployment import dashboard
from deployment.alerting import Limits, groups
from deployment.alerting.recordings import RECORDINGS
from deployment.routing import routing
from deployment.slo_rules import burn_rules

__all__ = [
    "FOLDER",
    "OPERATORS",
    "PROMETHEUS_PORT",
    "Done",
    "committed",
    "files",
    "main",
    "rule_tests",
    "write_files",
]

FOLDER = Path(__file__).parent
OPERATORS = frozenset({"prometheus/prometheus.yml", "alertmanager/alertmanager.yml"})
"""Files that an operator changes, and which are not written over."""
PROMETHEUS_PORT = 9091
"""Of loopback; 9090, which Prometheus takes by default, is the exporter's."""
_HEAD = "# Written by `ark-run monitoring write`. It is written over: put what is yours into a file of its own.\n"
_PROMETHEUS = """\
# Prometheus of an ARK node. The node's exporter has port 9090, so start Prometheus with
#   --web.listen-address=127.0.0.1:9091 --storage.tsdb.path=DIR
# and, for the traces behind the points of the dashboard, --enable-feature=exemplar-storage.
"""
_ALERTMANAGER = """\
# Alertmanager of an ARK node.
# TO FILL IN: the address of the pager, and the mail server, sender and recipient of tickets. Names under .invalid
# never exist: until they are replaced, nobody is told of anything. Secrets belong into files of their own, readable
# by Alertmanager alone: smtp_auth_password_file, and http_config.authorization.credentials_file of a webhook.
"""


class Done(msgspec.Struct, frozen=True):
    """What was written into an operator's folder.

    Attributes:
        written: Paths of files that are now as they should be.
        beside: Paths of files that the operator has changed, and beside which the new ones lie as `.new`.
    """

    written: tuple[str, ...]
    beside: tuple[str, ...]


def main() -> None:
    """Write the committed files anew, and take away what is no longer written."""
    written = {**files(Limits()), **rule_tests(Limits())}
    for path in committed():
        if path.relative_to(FOLDER).as_posix() not in written:
            path.unlink()
    for name, text in written.items():
        _write(FOLDER / name, text)


def committed() -> list[Path]:
    """The files that lie where these are written."""
    folders = ("prometheus", "alertmanager", "grafana")
    return [path for folder in folders for path in sorted((FOLDER / folder).rglob("*")) if path.is_file()]


def write_files(folder: Path, limits: Limits) -> Done:
    """Write all files into an operator's folder, and nothing over what is his.

    Rules that an earlier version has written, and this one does not, are taken away: Prometheus would load them.

    Raises:
        OSError: One cannot be written.
    """
    made = files(limits, dashboards=str(folder / "grafana"))
    beside = []
    for name, text in made.items():
        path = folder / name
        if name in OPERATORS and path.exists() and path.read_text(encoding="utf-8") != text:
            beside.append(name)
            path = path.with_name(f"{path.name}.new")
        _write(path, text)
    for path in (folder / "prometheus" / "rules").glob("*.yml"):
        if f"prometheus/rules/{path.name}" not in made and path.read_text(encoding="utf-8").startswith(_HEAD):
            path.unlink()
    return Done(written=tuple(name for name in made if name not in beside), beside=tuple(beside))


def files(limits: Limits, dashboards: str = "/var/lib/grafana/dashboards") -> dict[str, str]:
    """Every file by its path under the folder.

    Args:
        limits: What the operator's configuration says.
        dashboards: The folder in which Grafana looks for `dashboard.json`.
    """
    every = groups(limits)
    rules = {"recordings": _recordings(limits), **{each.name: _rules(each.alerts) for each in every}}
    return {
        "prometheus/prometheus.yml": _PROMETHEUS + write_yaml(_scraping(limits)),
        **{
            f"prometheus/rules/{name}.yml": _HEAD + write_yaml({"groups": [{"name": f"ark-{name}", "rules": each}]})
            for name, each in rules.items()
        },
        "alertmanager/alertmanager.yml": _ALERTMANAGER
        + write_yaml(routing(alert for group in every for alert in group.alerts)),
        "grafana/dashboard.json": json.dumps(dashboard.document(), indent=1) + "\n",
        "grafana/provisioning/datasources/ark.yml": _HEAD + write_yaml(_datasource()),
        "grafana/provisioning/dashboards/ark.yml": _HEAD + write_yaml(_provider(dashboards)),
    }


def rule_tests(limits: Limits) -> dict[str, str]:
    """The tests for promtool by their paths; their cases are made for the default configuration."""
    written = {}
    for group in groups(limits):
        nothing = {
            "name": "nothing is known",
            "interval": "1m",
            "input_series": [{"series": 'up{job="ark",instance="n"}', "values": "1x10"}],
            "alert_rule_test": [{"eval_time": "10m", "alertname": each.name} for each in group.alerts],
        }
        # promtool evaluates every rule at each step: cases with long steps have a file of their own, and what is
        # recorded is only looked at by those who use it.
        names = [*(["recordings"] if any("ark:" in each.expr for each in group.alerts) else []), group.name]
        for every in sorted({case.every for alert in group.alerts for case in alert.cases}):
            cases = [test for alert in group.alerts for test in alert.tests(every)]
            document = {
                "rule_files": [f"../rules/{name}.yml" for name in names],
                "evaluation_interval": every,
                # Without an order promtool takes any, and a rule may see what was recorded a step ago.
                "group_eval_order": [f"ark-{name}" for name in names],
                "tests": [*cases, *([nothing] if every == "1m" else [])],
            }
            written[f"prometheus/tests/{group.name}-{every}.yml"] = _HEAD + write_yaml(document)
    return written


def _rules(alerts: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [each.rule() for each in alerts]


def _recordings(limits: Limits) -> list[dict[str, Any]]:
    shares, _ = burn_rules(definitions(limits.slo))
    return [*shares, *(each.rule() for each in RECORDINGS)]


def _scraping(limits: Limits) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "15s", "scrape_timeout": "10s", "evaluation_interval": "15s"},
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
        "scrape_configs": [{"job_name": "ark", "static_configs": [{"targets": [limits.listen]}]}],
    }


def _datasource() -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "ARK",
                "uid": dashboard.DATASOURCE,
                "type": "prometheus",
                "access": "proxy",
                "url": f"http://127.0.0.1:{PROMETHEUS_PORT}",
                "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
            }
        ],
    }


def _provider(folder: str) -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "providers": [
            {"name": "ARK", "type": "file", "allowUiUpdates": False, "options": {"path": folder}},
        ],
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_yaml(content: Mapping[str, Any]) -> str:
    """A document in YAML: keys in their order, texts over several lines as blocks."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116))


_Dumper: Any = type("_Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
"""Writes every text where it belongs, not a reference to another place."""


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


if __name__ == "__main__":
    main()
