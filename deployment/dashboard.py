"""The Grafana dashboard, as rows of panels; `document` makes Grafana's JSON of them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from deployment.promql import braces

__all__ = ["DATASOURCE", "ROWS", "UID", "Panel", "Row", "document"]

UID = "ark-node"
"""What Grafana knows the dashboard by."""
DATASOURCE = "ark-prometheus"
"""What it knows the Prometheus by that is set up beside it."""
_WIDTH = 24
"""Of Grafana's grid."""

Kind = Literal["timeseries", "stat", "table"]


class Panel(msgspec.Struct, frozen=True):
    """One panel.

    Attributes:
        title: Above it.
        queries: Expressions by their legend, which may name labels as `{{agent}}`.
        unit: Grafana's name of the values' unit.
        text: What it shows, where the title does not say it.
        kind: How it is drawn.
        width: In columns of the 24.
        stacked: Whether series lie on top of each other.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    text: str = ""
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False


class Row(msgspec.Struct, frozen=True):
    """Panels under a heading.

    Attributes:
        title: The heading.
        panels: In their order.
        collapsed: Whether it is closed at first.
    """

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


def of(metric: str, *matchers: str) -> str:
    """A metric of the nodes that are chosen."""
    return metric + braces('instance=~"$instance"', *matchers)


def rate(metric: str, by: str, *matchers: str) -> str:
    """Events a second."""
    return f"sum by ({by}) (rate({of(metric, *matchers)}[$__rate_interval]))"


def p(percent: int, histogram: str, by: str = "", *matchers: str) -> str:
    """A quantile of a histogram over five minutes."""
    labels = f"{by}, le" if by else "le"
    inner = f"sum by ({labels}) (rate({of(histogram + '_bucket', *matchers)}[5m]))"
    return f"histogram_quantile({percent / 100:g}, {inner})"


_OVERVIEW = Row(
    "Overview",
    (
        Panel("Ready", {"{{instance}}": of("ark_ready")}, "bool_yes_no", kind="stat", width=4),
        Panel("Trading halted", {"{{instance}}": of("ark_halted")}, "bool_yes_no", kind="stat", width=4),
        Panel("Seal intact", {"{{instance}}": of("ark_seal_intact")}, "bool_yes_no", kind="stat", width=4),
        Panel(
            "Waiting for a person",
            {"decisions": of("ark_signals_held"), "dead letters": of("ark_dead_letters_open")},
            kind="stat",
            width=4,
        ),
        Panel("Version", {"{{version}}": of("ark_build_info")}, kind="table", width=4),
        Panel(
            "Alerts",
            {
                "{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "Watchdog: {{fault}}": f"max by (fault) ({of('ark_alerts_standing')})",
            },
            kind="stat",
            width=4,
        ),
        Panel(
            "Objectives met",
            {"{{slo}}": of("ark:slo_met:bool5m")},
            "bool_yes_no",
            "Over the last five minutes. Where nothing happened it is unknown, and nothing is shown.",
            kind="stat",
        ),
        Panel(
            "Error budget left",
            {"{{slo}}": of("ark_slo_budget_remaining_ratio")},
            "percentunit",
            "Of the share of bad events that an objective allows over its period.",
        ),
        Panel(
            "Burn rate",
            {"{{slo}}, {{window}}": of("ark_slo_burn_rate")},
            text="At 1 the budget lasts exactly for its period.",
        ),
        Panel(
            "Bad events of objectives",
            {
                "{{slo}}": of("ark:slo_events_bad:increase5m"),
                "ethics drift": f"increase({of('ark_ethics_drift_total')}[5m])",
            },
            text="Within five minutes.",
        ),
        Panel(
            "Share of good events",
            {
                "{{slo}}": f"1 - {of('ark:slo_events_bad:ratio1h')}",
                "{{slo}}, promised": of("ark_slo_objective_ratio"),
            },
            "percentunit",
            "Within an hour, and what is promised.",
            width=16,
        ),
    ),
)

_PIPELINE = Row(
    "Pipeline",
    (
        Panel(
            "Throughput",
            {
                "accepted": rate("ark_signals_accepted_total", "instance"),
                "ended": of("ark:signals_completed:rate5m"),
                "ended, mean of an hour": of("ark:signals_completed:rate1h"),
            },
            "cps",
        ),
        Panel("Outcomes", {"{{status}}": rate("ark_outcomes_total", "status")}, "cps", stacked=True),
        Panel(
            "Decision latency",
            {
                "p50": of("ark:decision_latency_seconds:p50_5m"),
                "p95": of("ark:decision_latency_seconds:p95_5m"),
                "p99": of("ark:decision_latency_seconds:p99_5m"),
            },
            "s",
            "From acceptance to outcome, without what a person was asked about.",
        ),
        Panel(
            "In flight",
            {"in flight": of("ark_signals_in_flight"), "held": of("ark_signals_held")},
            text="Accepted signals without an outcome.",
        ),
        Panel("Age of the oldest signal in flight", {"age": of("ark_oldest_signal_age_seconds")}, "s"),
        Panel(
            "Front door",
            {"{{operation}} {{code}}": rate("ark_requests_total", "operation, code")},
            "cps",
            "Requests by what came of them.",
        ),
        Panel("Signals of each agent", {"{{agent}}": of("ark:agent_signals:rate5m")}, "cps"),
        Panel(
            "Latency of each agent",
            {
                "{{agent}}, p50": p(50, "ark_agent_latency_seconds", "agent"),
                "{{agent}}, p95": of("ark:agent_latency_seconds:p95_5m"),
            },
            "s",
            "From taking a signal to its answer.",
        ),
        Panel(
            "Failures of each agent",
            {
                "{{agent}}, called failed": rate("ark_agent_failures_total", "agent"),
                "{{agent}}, ended by {{error_type}}": rate("agent_method_errors_total", "agent, error_type"),
            },
            "cps",
        ),
        Panel("Mailboxes", {"{{name}}": of("ark_mailbox_depth")}),
        Panel(
            "Sent and handled again",
            {
                "sent again": rate("ark_signals_resent_total", "instance"),
                "{{agent}}, handled again": rate("ark_agent_signals_total", "agent", 'attempt="again"'),
                "{{agent}}, of an older epoch": rate("ark_agent_dropped_total", "agent"),
            },
            "cps",
            "After a process was replaced.",
        ),
        Panel(
            "Given up on",
            {"ever": of("ark_dead_letters_total"), "open": of("ark_dead_letters_open")},
            text="Dead letters.",
        ),
    ),
)

_TRADING = Row(
    "Trading",
    (
        Panel("Equity", {"equity": of("ark_equity")}, "currencyUSD"),
        Panel(
            "Exposure and drawdown",
            {"exposure": of("ark_exposure_ratio"), "drawdown": of("ark_drawdown_ratio")},
            "percentunit",
            "Of equity.",
        ),
        Panel("Open positions", {"positions": of("ark_open_positions")}),
        Panel("Setups", {"{{pattern}}": rate("ark_setups_total", "pattern")}, "cps", "By pattern.", stacked=True),
        Panel(
            "Decisions",
            {"{{result}}, {{level}}": rate("ark_decisions_total", "result, level")},
            "cps",
            "What came of them, and on which level they were made.",
            stacked=True,
        ),
        Panel("Denials by rule", {"{{rule_id}}": of("ark:denials:rate5m")}, "cps", stacked=True),
        Panel(
            "Rule book",
            {
                "judged": rate("graveyard_validations_total", "instance"),
                "denied by it": rate("ark_violations_total", "instance"),
                "{{breaker}} opened": rate("ark_breaker_trips_total", "breaker"),
            },
            "cps",
        ),
        Panel("Orders", {"{{broker}}, {{status}}": rate("ark_orders_total", "broker, status")}, "cps"),
        Panel(
            "Executed of approved",
            {"of the last 100": of("kenny_exec_success_rate")},
            "percentunit",
        ),
        Panel(
            "Broker",
            {
                "{{operation}}, p95": p(95, "ark_broker_request_seconds", "operation"),
            },
            "s",
            "What its requests take.",
        ),
        Panel(
            "Errors of the broker",
            {"{{broker}}, {{operation}}": rate("ark_broker_errors_total", "broker, operation")},
            "cps",
        ),
        Panel("Age of the bars", {"{{feed}}": of("ark_feed_age_seconds")}, "s", "The newest of each feed."),
        Panel(
            "Feed",
            {"taken by Kyle": of("kyle_ingest_rate"), "waiting in {{stream}}": of("redis_stream_depth")},
            text="Signals a second over the last minute, and what waits in Redis.",
        ),
        Panel("Confidence of patterns", {"of the last 100": of("joey_pattern_confidence_avg")}, "percentunit"),
        Panel(
            "Ledger",
            {
                "rows": rate("ark_ledger_rows_total", "instance"),
                "disagreements": rate("ark_audit_disagreements_total", "instance"),
            },
            "cps",
        ),
    ),
)

_SUPERVISION = Row(
    "Supervision",
    (
        Panel("Processes", {"{{name}}": f"min by (name) ({of('ark_child_up')})"}, text="1 while it runs."),
        Panel("Restarts", {"{{name}}": f"increase({of('ark_child_restarts_total')}[5m])"}, text="In five minutes."),
        Panel("Heartbeats", {"{{name}}": of("ark_heartbeat_age_seconds")}, "s", "Since the last one."),
        Panel(
            "Quarantines and hangs",
            {
                "{{agent}} isolated for {{reason}}": (
                    f"sum by (agent, reason) ({of('watchdog_quarantines_total')})"
                ),
                "{{agent}} hung": f"sum by (agent) ({of('agent_heartbeat_failures_total')})",
            },
            text="Since the node started.",
        ),
        Panel(
            "Alerts that the Watchdog told",
            {"{{event_type}}, {{agent}}": f"sum by (event_type, agent) ({of('watchdog_events_total')})"},
            text="Since the node started.",
        ),
        Panel("Memory", {"{{name}}": of("ark_memory_bytes")}, "bytes"),
        Panel("File descriptors", {"{{name}}": of("ark_descriptors")}),
        Panel(
            "Cost of a scrape",
            {"{{instance}}": 'scrape_duration_seconds{job="ark",instance=~"$instance"}'},
            "s",
        ),
        Panel(
            "Values without room",
            {"{{process}}": f"increase({of('ark_series_dropped_total')}[5m])"},
            text="A process counts more than its page can hold: a label has too many values.",
        ),
    ),
)

_STORAGE = Row(
    "Storage",
    (
        Panel(
            "Commits to journals",
            {
                "{{owner}}, p50": p(50, "ark_journal_commit_seconds", "owner"),
                "{{owner}}, p95": of("ark:journal_commit_seconds:p95_5m"),
            },
            "s",
            "What they take; most of it is the disk's fsync.",
        ),
        Panel("Commits", {"{{owner}}": rate("ark_journal_commit_seconds_count", "owner")}, "cps"),
        Panel(
            "Databases and disk",
            {
                "{{owner}}": of("ark_journal_bytes"),
                "free": of("ark_disk_free_bytes"),
                "size of the disk": of("ark_disk_size_bytes"),
            },
            "bytes",
        ),
    ),
)

_TRACKS = "agent, version, track"
_ROLLOUT = Row(
    "Rollout",
    (
        Panel("Versions", {"{{name}} {{version}}": f"max by (name, version) ({of('ark_child_up')})"}, kind="table"),
        Panel(
            "Signals by version",
            {"{{agent}} {{version}} {{track}}": rate("ark_agent_signals_total", _TRACKS)},
            "cps",
        ),
        Panel(
            "Latency by version, p95",
            {"{{agent}} {{version}} {{track}}": p(95, "ark_agent_latency_seconds", _TRACKS)},
            "s",
        ),
        Panel(
            "Failures by version",
            {"{{agent}} {{version}} {{track}}": rate("ark_agent_failures_total", _TRACKS)},
            "cps",
        ),
        Panel("Denials by track", {"{{track}}": rate("hrm_denials_total", "track")}, "cps"),
        Panel(
            "Canary against stable",
            {
                "denials of the canary": of("ark:canary_denials:sum10m"),
                "judged by the canary": of("ark:canary_judged:sum10m"),
                "denials of the stable version": of("ark:stable_denials:sum1h"),
                "judged by the stable version": of("ark:stable_judged:sum1h"),
            },
            text="What `ARKCanaryHRMDenialsSpike` compares: ten minutes of the canary with an hour.",
        ),
        Panel(
            "State of the rollout",
            {"{{state}}": f"{of('ark_rollout_state')} > 0", "stopped": of("ark_rollout_stopped")},
        ),
        Panel("Shares of the arms", {"{{arm}}": of("ark_rollout_share_ratio")}, "percentunit"),
        Panel(
            "Evidence of what it takes",
            {"{{metric}}, {{side}}": of("ark_rollout_evidence_ratio")},
            "percentunit",
            text="Harm at 100 % rolls back, health at 100 % lets it go on; of several agents the worst off.",
        ),
        Panel(
            "Back to the stable version",
            {"from the word to no signal": of("ark_rollout_to_zero_seconds")},
            "s",
            kind="stat",
        ),
    ),
)

_OPERATIONS = ("kyle", "joey", "hrm", "kenny", "aletheia")
_ORIGINAL = Row(
    "Names of the original",
    (
        Panel(
            "Pass, evaluation, state write",
            {
                f"{name}, p95": p(95, name)
                for name in ("ark_pass_latency_ms", "hrm_eval_latency_ms", "state_write_latency_ms")
            },
            "ms",
        ),
        Panel(
            "Operations on state, handling",
            {
                "{{agent}} {{operation}}, p95": p(95, "state_operation_latency_ms", "agent, operation"),
                "{{agent}}, p95": p(95, "handle_latency_ms", "agent"),
            },
            "ms",
        ),
        Panel(
            "Decision, evaluation",
            {f"{name}, p95": p(95, name) for name in ("decision_latency", "eval_duration")},
            "s",
        ),
        Panel(
            "Operations",
            {f"{name}": rate(f"{name}_operations_total", "agent") for name in _OPERATIONS},
            "cps",
        ),
        Panel(
            "Signals, operations on state",
            {
                "signals": rate("signals_processed_total", "instance"),
                "{{agent}} {{operation}}": rate("state_operations_total", "agent, operation"),
            },
            "cps",
        ),
        Panel(
            "Handled and failed",
            {
                "{{agent}}": rate("handle_success_total", "agent"),
                "{{agent}} {{error_type}}": rate("handle_failure_total", "agent, error_type"),
            },
            "cps",
        ),
        Panel(
            "Agents that run, agents in quarantine",
            {"active_agents": of("active_agents"), "quarantine_count": of("quarantine_count")},
        ),
        Panel(
            "State of agents",
            {
                "{{agent}} running": of("agent_state_running"),
                "{{agent}} mailbox": of("agent_state_mailbox_depth"),
            },
        ),
    ),
    collapsed=True,
)

ROWS: tuple[Row, ...] = (_OVERVIEW, _PIPELINE, _TRADING, _SUPERVISION, _STORAGE, _ROLLOUT, _ORIGINAL)
"""The whole dashboard."""


def document() -> dict[str, Any]:
    """Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    number, top = 1, 0
    for row in ROWS:
        heading: dict[str, Any] = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"h": 1, "w": _WIDTH, "x": 0, "y": top},
            "panels": [],
        }
        placed, top = _place(row.panels, first=number + 1, top=top + 1)
        number += 1 + len(placed)
        panels.append(heading)
        if row.collapsed:
            heading["panels"] = placed
        else:
            panels += placed
    return {
        "uid": UID,
        "title": "ARK node",
        "tags": ["ark"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_instances()]},
        "panels": panels,
    }


def _place(panels: tuple[Panel, ...], *, first: int, top: int) -> tuple[list[dict[str, Any]], int]:
    """Panels from left to right, and the line below the last one."""
    left, placed = 0, []
    for number, panel in enumerate(panels):
        if left + panel.width > _WIDTH:
            left, top = 0, top + 8
        placed.append(_drawn(panel, first + number, {"h": 8, "w": panel.width, "x": left, "y": top}))
        left += panel.width
    return placed, top + 8


def _drawn(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    now = panel.kind != "timeseries"
    custom = {
        "fillOpacity": 20 if panel.stacked else 0,
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    legend = {"displayMode": "list", "placement": "bottom"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _source(),
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, **({} if now else {"custom": custom, "min": 0})},
            "overrides": [],
        },
        "options": {} if now else {"legend": legend, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + place_of),
                "datasource": _source(),
                "expr": expr,
                "legendFormat": label,
                "exemplar": "_bucket" in expr,
                **({"instant": True, "range": False} if now else {"range": True}),
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for place_of, (label, expr) in enumerate(panel.queries.items())
        ],
    }


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": DATASOURCE}


def _instances() -> dict[str, Any]:
    query = "label_values(ark_build_info, instance)"
    return {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": _source(),
        "definition": query,
        "query": {"query": query, "refId": "instances"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
