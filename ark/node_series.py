"""The series that nobody counts on a page: those of the tree, the disk and the alerts. Pure.

And what the original had under other names, made from what there is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ark.meters import Series
from ark.metrics import REGISTRY
from ark.rollouts import STATES, is_stopped
from ark.status import AlertStatus, ChildStatus

__all__ = ["Facts", "Usage", "node_series", "original_series", "rollout_series"]


class Usage(msgspec.Struct, frozen=True):
    """What a process holds.

    Attributes:
        memory: Resident, bytes.
        descriptors: Open file descriptors.
    """

    memory: int
    descriptors: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the node at a moment.

    Attributes:
        version: ARK's.
        children: As in a status.
        ready, halted: Whether it is.
        alerts: What stands; None where the Watchdog says nothing.
        restarts: Starts after the first one, by child.
        usages: By child.
        journals: Bytes of databases, by owner.
        disk: Free space and size of the disk under the home, bytes; None where it cannot be told.
        rollout: The one that is shown; None for none.
    """

    version: str
    children: Sequence[ChildStatus]
    ready: bool
    halted: bool
    alerts: Sequence[AlertStatus] | None
    restarts: Mapping[str, int]
    usages: Mapping[str, Usage]
    journals: Mapping[str, int]
    disk: tuple[int, int] | None
    rollout: Mapping[str, Any] | None = None


def node_series(facts: Facts, stood: set[tuple[str, str]]) -> Iterator[Series]:
    """The series that nobody counts.

    Args:
        facts: What is known of the node.
        stood: Fault and severity of the alerts that stood before; it is kept up here. What is cleared falls to 0.
    """
    yield _one("ark_build_info", 1, facts.version)
    yield _one("ark_ready", facts.ready)
    yield _one("ark_halted", facts.halted)
    for child in facts.children:
        yield from _child(child)
    for name, count in facts.restarts.items():
        yield _one("ark_child_restarts_total", count, name)
    for name, usage in facts.usages.items():
        yield _one("ark_memory_bytes", usage.memory, name)
        yield _one("ark_descriptors", usage.descriptors, name)
    for owner, size in facts.journals.items():
        yield _one("ark_journal_bytes", size, owner)
    if facts.disk is not None:
        yield _one("ark_disk_free_bytes", facts.disk[0])
        yield _one("ark_disk_size_bytes", facts.disk[1])
    if facts.alerts is not None:
        yield _one("ark_seal_intact", not any(alert.fault == "seal" for alert in facts.alerts))
        standing = Counter((alert.fault, alert.severity) for alert in facts.alerts)
        stood.update(standing)
        for fault, severity in sorted(stood):
            yield _one("ark_alerts_standing", standing[fault, severity], fault, severity)
    yield from rollout_series(facts.rollout)


def rollout_series(document: Mapping[str, Any] | None) -> Iterator[Series]:
    """The series of a rollout; none without one.

    Args:
        document: From `shown_rollout`.
    """
    if document is None:
        return
    for state in STATES:
        yield _one("ark_rollout_state", document.get("state") == state, state)
    yield _one("ark_rollout_stopped", is_stopped(document))
    for arm in ("canary", "baseline"):
        yield _one("ark_rollout_share_ratio", _number(document.get(f"{arm}_share")), arm)
    verdict = document.get("verdict")
    judged = verdict.get("metrics", ()) if isinstance(verdict, dict) else ()
    found: dict[tuple[str, str], float] = {}
    for each in judged:
        for side, decides in (
            ("harm", each.get("can_fail") or each.get("can_hold")),
            ("health", each.get("must_pass")),
        ):
            threshold = _number(each.get(f"{side}_at"))
            if decides and threshold > 0:
                part = max(0.0, _number(each.get(side)) / threshold)
                name = (str(each.get("name")), side)
                # Of several agents the one that is worst off: most harm, least health.
                worse = max if side == "harm" else min
                found[name] = worse(found.get(name, part), part)
    for (metric, side), part in sorted(found.items()):
        yield _one("ark_rollout_evidence_ratio", part, metric, side)
    to_zero = document.get("to_zero_s")
    if isinstance(to_zero, int | float):
        yield _one("ark_rollout_to_zero_seconds", to_zero)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _child(child: ChildStatus) -> Iterator[Series]:
    yield _one("ark_child_up", child.state == "running", child.name, child.kind, child.version)
    if child.heartbeat_age_s is not None:
        yield _one("ark_heartbeat_age_seconds", child.heartbeat_age_s, child.name)
    if child.mailbox_depth is not None:
        yield _one("ark_mailbox_depth", child.mailbox_depth, child.name)


def original_series(
    series: Mapping[str, Sequence[Series]], children: Sequence[ChildStatus], told: dict[str, float]
) -> Iterator[Series]:
    """What the original's dashboards look for.

    Args:
        series: All others, by the name of their metric.
        children: As in a status.
        told: What was told before of counts that are differences of others; it is kept up here.
    """
    latency = series.get("ark_agent_latency_seconds", ())
    decisions = series.get("ark_decision_latency_seconds", ())
    commits = series.get("ark_journal_commit_seconds", ())
    judged = [each for each in latency if each.labels[0] == "hrm"]
    for name, source in (
        ("ark_pass_latency_ms", decisions),
        ("decision_latency", decisions),
        ("hrm_eval_latency_ms", judged),
        ("eval_duration", judged),
        ("state_write_latency_ms", commits),
    ):
        yield from _scaled(name, source)
    for each in latency:
        yield from _scaled("handle_latency_ms", [each], each.labels[0])
    for each in commits:
        yield from _scaled("state_operation_latency_ms", [each], "commit", each.labels[0])
        yield _one("state_operations_total", sum(each.counts), "commit", each.labels[0])
    yield from _handled(series, told)
    for each in series.get("ark_signals_completed_total", ()):
        yield _one("signals_processed_total", each.value)
    agents = [child for child in children if child.kind == "agent"]
    yield _one("active_agents", sum(agent.state == "running" for agent in agents))
    yield _one("quarantine_count", sum(agent.state == "isolated" for agent in agents))
    for agent in agents:
        yield _one("agent_state_running", agent.state == "running", agent.name)
        yield _one("agent_state_mailbox_depth", agent.mailbox_depth or 0, agent.name)


def _handled(series: Mapping[str, Sequence[Series]], told: dict[str, float]) -> Iterator[Series]:
    answered = _by_agent(series.get("ark_agent_signals_total", ()))
    failed = _by_agent(series.get("ark_agent_failures_total", ()))
    for agent, count in answered.items():
        # Two figures of a page that is being written: between them, the difference must not seem to fall.
        is_page_same = told.get(f"{agent} answered", 0.0) <= count
        good = max(count - failed[agent], told.get(agent, 0.0) if is_page_same else 0.0)
        told |= {agent: good, f"{agent} answered": count}
        yield _one("handle_success_total", good, agent)
        yield _one("handle_failure_total", failed[agent], agent, "failed")
        if f"{agent}_operations_total" in REGISTRY:
            yield _one(f"{agent}_operations_total", count, agent)


def _by_agent(series: Iterable[Series]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for each in series:
        counts[each.labels[0]] += each.value
    return counts


def _scaled(name: str, source: Sequence[Series], *labels: str) -> Iterator[Series]:
    """A histogram in other units, made from one or several with the same buckets."""
    metric = REGISTRY[name]
    same = [each for each in source if each.edges == source[0].edges]
    if same:
        edges = tuple(float(f"{edge * metric.scale:.9g}") for edge in same[0].edges)
        counts = tuple(map(sum, zip(*(each.counts for each in same), strict=True)))
        yield Series(metric, labels, sum(each.value for each in same) * metric.scale, edges, counts)


def _one(name: str, value: float, *labels: str) -> Series:
    return Series(REGISTRY[name], labels, float(value))
