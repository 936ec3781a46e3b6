"""The registry: every metric of ARK in one place, with its unit, its labels, and who uses it.

What is not in here is not exposed; what nobody uses is not in here (a test looks at both). Names of the original
system keep their spelling where its dashboards expect them; those in milliseconds are derived from the histogram in
seconds when they are exposed (`Metric.derived_from`).

No label ever holds a trace id, a symbol of a signal or a text from outside: the values of each label come from a
small set, and a page (`ark.meters`) bounds how many series one metric can have, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from ark.errors import AgentError

__all__ = ["EDGES", "EDGES_S", "REGISTRY", "Kind", "Metric", "check", "check_value", "edges"]

Kind = Literal["counter", "gauge", "histogram"]

# fmt: off
EDGES_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0
)
# fmt: on
"""Upper edges of a histogram's buckets in seconds: the original's 14, some below and some above them. The limits of
the objectives come to them, so that the share within a limit is counted and not estimated; see `edges`."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        name: As it is exposed; a counter ends in `_total`.
        kind: `counter`, `gauge` or `histogram`.
        help: What it says, in one line.
        unit: Of its value: `seconds`, `bytes`, `ratio`, `hertz`, `currency`; empty for plain numbers.
        labels: The names of its labels.
        used_by: Who looks at it: `alert:NAME`, `panel:TITLE`, `slo:NAME`, `judge:NAME`, `page`.
        derived_from: The histogram of which it is another view, with other units and fewer labels.
        scale: What each value of that is multiplied by.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    derived_from: str = ""
    scale: float = 1.0


def edges(limits_s: Iterable[float]) -> tuple[float, ...]:
    """The upper edges of all buckets, seconds, rising.

    Args:
        limits_s: The limits of latency objectives; each becomes an edge.
    """
    return tuple(sorted({*EDGES_S, *limits_s}))


EDGES = edges((0.12, 0.4))
"""The edges with the default limits."""


def check(
    known: Mapping[str, Metric], name: str, kind: Kind, labels: Iterable[str], *, given: Iterable[str]
) -> Metric:
    """The metric of that name, kind and labels.

    Args:
        known: All that there are.
        name, kind: Of the metric.
        labels: Names of labels of which there is a value.
        given: Those of them that were given for this metric, and must all be labels of it.

    Raises:
        AgentError: There is none.
    """
    metric = known.get(name)
    if metric is None:
        raise AgentError(f"there is no metric {name!r}", hint="an agent names its own in its class's `metrics`")
    if metric.kind != kind:
        raise AgentError(f"metric {name} is a {metric.kind}, not a {kind}")
    if not set(given) <= set(metric.labels) <= set(labels):
        named = ", ".join(metric.labels) or "no labels"
        raise AgentError(f"metric {name} has {named}, but was given {', '.join(sorted(given)) or 'none'}")
    return metric


def check_value(name: str, kind: Kind, value: float) -> float:
    """The value, where that metric can take it: a counter never falls, and no sum survives what is no number.

    Args:
        name, kind: Of the metric.
        value: What is added to a counter, what a gauge is set to, or what is counted in a histogram.

    Raises:
        AgentError: It cannot.
    """
    if kind != "gauge" and not (math.isfinite(value) and (kind == "histogram" or value >= 0)):
        raise AgentError(f"metric {name} is a {kind}, and cannot take {value!r}")
    return value


def _counter(name: str, help: str, *labels: str, unit: str = "") -> Metric:
    return Metric(name=name, kind="counter", help=help, labels=labels, unit=unit)


def _gauge(name: str, help: str, *labels: str, unit: str = "") -> Metric:
    return Metric(name=name, kind="gauge", help=help, labels=labels, unit=unit)


def _histogram(name: str, help: str, *labels: str) -> Metric:
    return Metric(name=name, kind="histogram", help=help, labels=labels, unit="seconds")


_AGENT = ("agent", "version", "track")
"""The labels that the host fills in: who, in which version, and on which track, `stable` or `canary`."""

_AT_MOST = "Never too many; a kill may leave out a batch."
"""What can be said of a counter that is written down right behind a commit, and for each answer once."""

_SIGNALS = (
    _counter("ark_signals_accepted_total", "Signals that were accepted, over the life of the home."),
    _counter("ark_signals_completed_total", "Signals that have their outcome, over the life of the home."),
    _counter("ark_outcomes_total", "Outcomes by status, since the home is counted.", "status"),
    _histogram("ark_decision_latency_seconds", "From acceptance to outcome, unless a person was asked."),
    _counter("ark_slo_events_total", "Events that an objective counts, good or bad.", "slo", "result"),
    _counter("ark_ethics_drift_total", "Outcomes with an order that no decision approved."),
    _counter("ark_violations_total", "Outcomes that the rule book itself denied."),
    _counter("ark_dead_letters_total", "Signals that the pipeline gave up on."),
    _gauge("ark_dead_letters_open", "Dead letters that nobody has dealt with."),
    _gauge("ark_signals_in_flight", "Accepted signals without an outcome that are not held."),
    _gauge("ark_signals_held", "Signals that wait for a person."),
    _gauge("ark_oldest_signal_age_seconds", "Age of the oldest signal in flight; 0 for none.", unit="seconds"),
    _counter("ark_requests_total", "Requests at the front door, by what came of them.", "operation", "code"),
    _counter("ark_signals_resent_total", "Signals that were sent into the pipeline again."),
    _histogram("ark_journal_commit_seconds", "What a commit to a journal took.", "owner"),
    _gauge("ark_journal_bytes", "Size of a process's databases.", "owner", unit="bytes"),
)

_AGENTS = (
    _counter("ark_agent_signals_total", "Signals that an agent answered.", *_AGENT, "attempt"),
    _counter("ark_agent_failures_total", "Signals that an agent called failed.", *_AGENT),
    _histogram("ark_agent_latency_seconds", "From taking a signal to its answer.", *_AGENT),
    _counter("ark_agent_dropped_total", "Envelopes of an older epoch that an agent dropped.", "agent"),
    _counter("ark_series_dropped_total", "Values that a full page of metrics had no room for.", "process"),
)

_TREE = (
    _gauge("ark_child_up", "1 while the child runs.", "name", "kind", "version"),
    _counter("ark_child_restarts_total", "Starts of a child after the first one.", "name"),
    _gauge("ark_heartbeat_age_seconds", "Since the child's loop went round.", "name", unit="seconds"),
    _gauge("ark_mailbox_depth", "Envelopes that were sent to an agent and not taken yet.", "name"),
    _gauge("ark_memory_bytes", "Resident memory.", "name", unit="bytes"),
    _gauge("ark_descriptors", "Open file descriptors.", "name"),
    _gauge("ark_ready", "1 while the node accepts and every agent works."),
    _gauge("ark_halted", "1 while trading is halted."),
    _gauge("ark_seal_intact", "1 while the seal of the rule book is whole."),
    _gauge("ark_alerts_standing", "Faults that stand, as the Watchdog tells of them.", "fault", "severity"),
    _gauge("ark_disk_free_bytes", "Free space under the node's home.", unit="bytes"),
    _gauge("ark_disk_size_bytes", "Size of the disk under the node's home.", unit="bytes"),
    _gauge("ark_build_info", "1; what runs.", "version"),
    _counter("watchdog_quarantines_total", "Agents that the Watchdog isolated.", "agent", "reason", "track"),
    _counter("agent_heartbeat_failures_total", "Processes that were found hung.", "agent"),
    _counter(
        "watchdog_events_total", "Alerts that the Watchdog raised or repeated.", "event_type", "agent", "severity"
    ),
    _gauge("redis_stream_depth", "Entries that wait in the feed's stream; NaN while that is not known.", "stream"),
)

_ROLLOUT = (
    _gauge("ark_rollout_state", "1 for the state of the rollout of the moment; absent without one.", "state"),
    _gauge(
        "ark_rollout_stopped",
        "1 while a rollout is paused or on its way back, has no verdict at its deadline, or nobody leads it.",
    ),
    _gauge("ark_rollout_share_ratio", "Each arm's share of the traffic.", "arm", unit="ratio"),
    _gauge(
        "ark_rollout_evidence_ratio",
        "Evidence of harm or of health, of what it takes; at 1 it decides. Of several agents the worst off.",
        "metric",
        "side",
        unit="ratio",
    ),
    _gauge(
        "ark_rollout_to_zero_seconds",
        "From the word to roll back until no signal was the canary's any more.",
        unit="seconds",
    ),
)

_TRADING = (
    _gauge("kyle_ingest_rate", "Signals that Kyle took a second, over the last minute.", unit="hertz"),
    _gauge("ark_feed_age_seconds", "Since the newest bar began; absent before the first.", "feed", unit="seconds"),
    _gauge(
        "joey_pattern_confidence_avg",
        "Mean confidence of the last 100 patterns that Joey's process found; absent before the first.",
        unit="ratio",
    ),
    _counter(
        "ark_setups_total",
        "Signals by the pattern that Joey found, `none` for none; what is sent again after a kill is not counted.",
        "pattern",
    ),
    _counter(
        "graveyard_validations_total",
        "Judgements by the rule book, over the life of the home; exact. What a person answers is judged again.",
    ),
    _counter(
        "hrm_denials_total",
        f"Rules by which plans were denied, each rule of a decision once. {_AT_MOST}",
        "rule_id",
        "agent",
        "action_type",
        "track",
    ),
    _counter(
        "ark_decisions_total",
        f"Plans that were approved, denied, or held for a person, and which level said so. {_AT_MOST}",
        "result",
        "level",
    ),
    _counter("ark_breaker_trips_total", f"Circuit breakers that opened. {_AT_MOST}", "breaker"),
    _gauge("ark_equity", "Equity of the account: cash, and what is held at its newest prices.", unit="currency"),
    _gauge("ark_exposure_ratio", "Value of open positions and of reservations, of equity.", unit="ratio"),
    _gauge("ark_drawdown_ratio", "Fall of equity below the highest that there was, of that.", unit="ratio"),
    _gauge("ark_open_positions", "Open positions, by symbol and side."),
    _gauge(
        "kenny_exec_success_rate",
        "Share of the last 100 approved plans that are filled or work at the broker; absent before the first.",
        unit="ratio",
    ),
    _counter(
        "ark_orders_total",
        f"Approved plans by what Kenny first said of them: filled, working, denied, expired, failed. {_AT_MOST}",
        "broker",
        "status",
    ),
    _histogram("ark_broker_request_seconds", "What a request to the broker took.", "broker", "operation"),
    _counter(
        "ark_broker_errors_total",
        "Requests to the broker that failed; an order that it does not take is an answer.",
        "broker",
        "operation",
    ),
    _counter("ark_ledger_rows_total", "Rows of the ledger, over the life of the home; exact."),
    _counter("ark_audit_disagreements_total", f"Outcomes over which the agents disagree. {_AT_MOST}"),
)

_OBJECTIVES = (
    _gauge("ark_slo_objective_ratio", "The share of good events that is promised.", "slo", unit="ratio"),
    _gauge("ark_slo_budget_remaining_ratio", "What is left of the error budget.", "slo", unit="ratio"),
    _gauge("ark_slo_burn_rate", "How fast the budget is spent; 1 spends it in its period.", "slo", "window"),
)


def _derived(name: str, source: str, help: str, *labels: str, scale: float = 1000.0) -> Metric:
    return Metric(
        name=name,
        kind="histogram",
        help=help,
        labels=labels,
        unit="milliseconds" if scale == 1000.0 else "seconds",
        derived_from=source,
        scale=scale,
    )


_ORIGINAL = (
    _derived("ark_pass_latency_ms", "ark_decision_latency_seconds", "From acceptance to outcome."),
    _derived("hrm_eval_latency_ms", "ark_agent_latency_seconds", "HRM's time for a signal."),
    _derived("state_write_latency_ms", "ark_journal_commit_seconds", "What a commit to a journal took."),
    _derived(
        "state_operation_latency_ms", "ark_journal_commit_seconds", "What a journal took.", "operation", "agent"
    ),
    _derived("handle_latency_ms", "ark_agent_latency_seconds", "An agent's time for a signal.", "agent"),
    _derived("decision_latency", "ark_decision_latency_seconds", "From acceptance to outcome.", scale=1.0),
    _derived("eval_duration", "ark_agent_latency_seconds", "HRM's time for a signal.", scale=1.0),
    _counter("agent_method_errors_total", "Errors that ended an agent.", "agent", "method", "error_type"),
    _counter("state_operations_total", "Operations on journals.", "operation", "agent"),
    _counter("handle_success_total", "Signals that an agent answered and did not call failed.", "agent"),
    _counter("handle_failure_total", "Signals that an agent failed at.", "agent", "error_type"),
    *(
        _counter(f"{name}_operations_total", f"Signals that {name} answered.", "agent")
        for name in ("kyle", "joey", "hrm", "kenny", "aletheia")
    ),
    _counter("signals_processed_total", "Signals that have their outcome."),
    _gauge("active_agents", "Agents that run."),
    _gauge("quarantine_count", "Agents that are isolated."),
    _gauge("agent_state_running", "1 while the agent runs.", "agent"),
    _gauge("agent_state_mailbox_depth", "Envelopes that wait for the agent.", "agent"),
)
"""Names of the original that have a better one above; its dashboards find them all the same."""

_USED_BY: Mapping[str, tuple[str, ...]] = {
    "ark_signals_accepted_total": ("alert:ARKNoOutcomes", "alert:ARKFeedStale", "panel:Throughput"),
    "ark_signals_completed_total": ("alert:ARKNoOutcomes", "panel:Throughput"),
    "ark_outcomes_total": ("panel:Outcomes",),
    "ark_decision_latency_seconds": ("panel:Decision latency",),
    "ark_slo_events_total": (
        "slo:availability",
        "slo:decision_latency",
        "slo:hrm_latency",
        "slo:audit_completeness",
        "alert:ARKAuditIncomplete",
        "alert:ARKAvailabilitySLOViolation",
        "panel:Objectives met",
    ),
    "ark_ethics_drift_total": ("slo:ethics_drift", "alert:ARKEthicsDrift", "panel:Bad events of objectives"),
    "ark_violations_total": ("alert:ARKEthicsViolationSpike", "panel:Rule book"),
    "ark_dead_letters_total": ("panel:Given up on",),
    "ark_dead_letters_open": ("alert:ARKDeadLettersOpen", "panel:Waiting for a person"),
    "ark_signals_in_flight": ("alert:ARKNoOutcomes", "panel:In flight"),
    "ark_signals_held": ("alert:ARKDecisionWaits", "panel:Waiting for a person"),
    "ark_oldest_signal_age_seconds": ("alert:ARKOldestSignalStuck", "panel:Age of the oldest signal in flight"),
    "ark_requests_total": ("alert:ARKFrontDoorBusy", "panel:Front door"),
    "ark_signals_resent_total": ("panel:Sent and handled again",),
    "ark_journal_commit_seconds": ("alert:ARKStateWriteLatencyHigh", "panel:Commits to journals"),
    "ark_journal_bytes": ("panel:Databases and disk",),
    "ark_agent_signals_total": (
        "judge:canary",
        "alert:ARKAgentHighErrorRate",
        "alert:ARKCanaryHRMDenialsSpike",
        "panel:Signals of each agent",
    ),
    "ark_agent_failures_total": ("alert:ARKAgentHighErrorRate", "panel:Failures of each agent"),
    "ark_agent_latency_seconds": (
        "judge:canary",
        "alert:ARKGraveyardSlowValidation",
        "alert:ARKCanaryLatencyBreach",
        "panel:Latency of each agent",
    ),
    "ark_agent_dropped_total": ("panel:Sent and handled again",),
    "ark_series_dropped_total": ("alert:ARKMetricsDropped", "panel:Values without room"),
    "ark_child_up": ("alert:ARKChildDown", "panel:Processes"),
    "ark_child_restarts_total": ("alert:ARKChildRestarts", "panel:Restarts"),
    "ark_heartbeat_age_seconds": ("alert:ARKHeartbeatStale", "panel:Heartbeats"),
    "ark_mailbox_depth": ("alert:ARKMailboxDeep", "panel:Mailboxes"),
    "ark_memory_bytes": ("alert:ARKMemoryHigh", "panel:Memory"),
    "ark_descriptors": ("panel:File descriptors",),
    "ark_ready": ("alert:ARKNotReady", "panel:Ready"),
    "ark_halted": ("alert:ARKHalted", "panel:Trading halted"),
    "ark_seal_intact": ("alert:ARKSealBroken", "panel:Seal intact"),
    "ark_alerts_standing": ("alert:ARKWatchdogAlert", "panel:Alerts"),
    "ark_disk_free_bytes": ("alert:ARKDiskSpaceLow", "alert:ARKDiskFillsUp", "panel:Databases and disk"),
    "ark_disk_size_bytes": ("alert:ARKDiskSpaceLow", "alert:ARKDiskFillsUp", "panel:Databases and disk"),
    "ark_build_info": ("panel:Version",),
    "watchdog_quarantines_total": (
        "judge:canary",
        "alert:ARKAgentQuarantined",
        "alert:ARKCanaryQuarantineDetected",
        "panel:Quarantines and hangs",
    ),
    "agent_heartbeat_failures_total": ("alert:ARKAgentHeartbeatMissing", "panel:Quarantines and hangs"),
    "watchdog_events_total": ("panel:Alerts that the Watchdog told",),
    "redis_stream_depth": ("alert:ARKRedisQueueDepthHigh", "panel:Feed"),
    "kyle_ingest_rate": ("panel:Feed",),
    "ark_feed_age_seconds": ("alert:ARKFeedStale", "panel:Age of the bars"),
    "joey_pattern_confidence_avg": ("panel:Confidence of patterns",),
    "ark_setups_total": ("panel:Setups",),
    "graveyard_validations_total": ("panel:Rule book",),
    "hrm_denials_total": ("judge:canary", "alert:ARKCanaryHRMDenialsSpike", "panel:Denials by rule"),
    "ark_decisions_total": ("panel:Decisions",),
    "ark_breaker_trips_total": ("alert:ARKBreakerTripped", "panel:Rule book"),
    "ark_equity": ("panel:Equity",),
    "ark_exposure_ratio": ("panel:Exposure and drawdown",),
    "ark_drawdown_ratio": ("panel:Exposure and drawdown",),
    "ark_open_positions": ("panel:Open positions",),
    "kenny_exec_success_rate": ("alert:ARKExecutionFails", "panel:Executed of approved"),
    "ark_orders_total": ("panel:Orders",),
    "ark_broker_request_seconds": ("alert:ARKBrokerErrors", "panel:Broker"),
    "ark_broker_errors_total": ("alert:ARKBrokerErrors", "panel:Errors of the broker"),
    "ark_ledger_rows_total": ("panel:Ledger",),
    "ark_audit_disagreements_total": ("alert:ARKAuditDisagreement", "panel:Ledger"),
    "ark_rollout_state": ("alert:ARKRolledBack", "panel:State of the rollout"),
    "ark_rollout_stopped": ("alert:ARKRolloutStopped", "panel:State of the rollout"),
    "ark_rollout_share_ratio": ("panel:Shares of the arms",),
    "ark_rollout_evidence_ratio": ("panel:Evidence of what it takes",),
    "ark_rollout_to_zero_seconds": ("panel:Back to the stable version",),
    "ark_slo_objective_ratio": ("panel:Objectives met",),
    "ark_slo_budget_remaining_ratio": ("panel:Error budget left",),
    "ark_slo_burn_rate": ("panel:Burn rate",),
    "ark_pass_latency_ms": ("panel:Pass, evaluation, state write",),
    "hrm_eval_latency_ms": ("panel:Pass, evaluation, state write",),
    "state_write_latency_ms": ("panel:Pass, evaluation, state write",),
    "state_operation_latency_ms": ("panel:Operations on state, handling",),
    "handle_latency_ms": ("panel:Operations on state, handling",),
    "decision_latency": ("panel:Decision, evaluation",),
    "eval_duration": ("panel:Decision, evaluation",),
    "agent_method_errors_total": ("panel:Failures of each agent",),
    "state_operations_total": ("panel:Signals, operations on state",),
    "handle_success_total": ("panel:Handled and failed",),
    "handle_failure_total": ("panel:Handled and failed",),
    "kyle_operations_total": ("panel:Operations",),
    "joey_operations_total": ("panel:Operations",),
    "hrm_operations_total": ("panel:Operations",),
    "kenny_operations_total": ("panel:Operations",),
    "aletheia_operations_total": ("panel:Operations",),
    "signals_processed_total": ("panel:Signals, operations on state",),
    "active_agents": ("panel:Agents that run, agents in quarantine",),
    "quarantine_count": ("panel:Agents that run, agents in quarantine",),
    "agent_state_running": ("panel:State of agents",),
    "agent_state_mailbox_depth": ("panel:State of agents",),
}
"""Who looks at each metric; not all of them, but enough to know that somebody does. The test of
`tests/deployment/test_consumers.py` holds it against the alerts and panels in `deployment`."""

REGISTRY: Mapping[str, Metric] = {
    each.name: msgspec.structs.replace(each, used_by=_USED_BY.get(each.name, ()))
    for each in (*_SIGNALS, *_AGENTS, *_TREE, *_ROLLOUT, *_TRADING, *_OBJECTIVES, *_ORIGINAL)
}
"""Every metric by its name."""
