"""The document that the page shows, put together from what is known. Pure.

It is one map for `GET /state` and for each message of `/live`, so that the page has one way to draw itself. What is
not known is null, never a guess.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

__all__ = ["OUTCOMES", "SECONDS", "Sample", "Samples", "document", "outcome_row", "percentile", "significant"]

SECONDS = 300
"""Points of each line over time, one a second."""
OUTCOMES = 20
"""Outcomes that are shown."""
_LONGEST = 300
"""Characters of a reason or a rule."""
_VOLATILE = ("uptime_s", "heartbeat_age_s")


class Sample(msgspec.Struct, frozen=True):
    """What had been counted at a moment.

    Attributes:
        at: Seconds since the epoch.
        ended: Signals that had their outcome; None where that is not known.
        edges: Upper edges of the latency's buckets, seconds, without the last, infinite one.
        counts: How many fell into each bucket, the infinite one included; not cumulative.
    """

    at: float
    ended: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()


class Samples:
    """The newest samples, one a second.

    Args:
        most: So many points are kept.
    """

    def __init__(self, most: int = SECONDS) -> None:
        self._points: deque[tuple[int, float | None, float | None, float | None]] = deque(maxlen=most)
        self._last: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Take the next one; its difference to the one before makes a point."""
        before, self._last = self._last, sample
        if before is None or sample.at <= before.at:
            return
        rate = None
        if sample.ended is not None and before.ended is not None and sample.ended >= before.ended:
            rate = round((sample.ended - before.ended) / (sample.at - before.at), 3)
        counts: Sequence[float] = ()
        if sample.edges == before.edges and len(sample.counts) == len(before.counts):
            counts = [now - then for now, then in zip(sample.counts, before.counts, strict=True)]
        middle, slow = (_milliseconds(percentile(sample.edges, counts, share)) for share in (0.5, 0.95))
        self._points.append((int(sample.at), rate, middle, slow))

    def lines(self) -> dict[str, list[Any]]:
        """The points as the page draws them."""
        keys = ("at", "throughput", "p50_ms", "p95_ms")
        columns = zip(*self._points, strict=True) if self._points else [()] * len(keys)
        return {key: list(column) for key, column in zip(keys, columns, strict=True)}


def percentile(edges: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """A percentile from a histogram, interpolated within its bucket, as Prometheus does.

    Args:
        edges: Upper edges, without the last, infinite one.
        counts: Of each bucket, the infinite one included; not cumulative.
        share: 0.95 for the 95th.

    Returns:
        None where nothing was counted, or counts go back. The last finite edge for what is beyond it.
    """
    total = sum(counts)
    if not edges or total <= 0 or any(count < 0 for count in counts):
        return None
    rank, seen = share * total, 0.0
    for (low, high), count in zip(pairwise((0.0, *edges)), counts, strict=False):
        if count and seen + count >= rank:
            return min(high, low + (high - low) * max(0.0, rank - seen) / count)
        seen += count
    return edges[-1]


def outcome_row(outcome: Mapping[str, Any], at: float | None) -> dict[str, Any]:
    """What the page shows of an outcome.

    Args:
        outcome: As it was published. Of a pipeline of other agents only what ARK itself needs is there.
        at: When it ended, seconds since the epoch.
    """
    decision = outcome.get("decision")
    violations = decision.get("violations") if isinstance(decision, dict) else None
    rules = [_rule(each) for each in violations if isinstance(each, dict)] if isinstance(violations, list) else []
    reason = outcome.get("reason")
    return {
        "trace_id": str(outcome.get("trace_id", "")),
        "symbol": str(outcome.get("symbol", "")),
        "status": str(outcome.get("status", "")),
        "reason": str(reason)[:_LONGEST] if reason else None,
        "rules": rules[:10],
        "at": at,
    }


def document(
    *,
    node: Mapping[str, Any],
    children: Iterable[Any],
    signals: Mapping[str, Any],
    alerts: Iterable[Any],
    series: Mapping[str, Any],
    outcomes: Sequence[Mapping[str, Any]],
    portfolio: Mapping[str, Any] | None,
    slos: Sequence[Mapping[str, Any]],
    rollout: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole document.

    Args:
        node: `version`, `ready`, `halted`, `halt_reason`, `uptime_s` and `at`.
        children, alerts: As in a status.
        signals: Counts as in a status.
        series: From `Samples.lines`.
        outcomes: From `outcome_row`, the newest first.
        portfolio: What HRM shows of the account; None where it shows nothing.
        slos: The objectives and how they stand.
        rollout: The one in progress; None for none.
    """
    return {
        "node": dict(node),
        "children": [msgspec.to_builtins(child) for child in children],
        "signals": dict(signals),
        "alerts": [msgspec.to_builtins(alert) for alert in alerts],
        "series": dict(series),
        "outcomes": list(outcomes[:OUTCOMES]),
        "portfolio": portfolio,
        "slos": list(slos),
        "rollout": rollout,
    }


def significant(state: Mapping[str, Any]) -> bytes:
    """The part of a document that tells a new one from the same one a second later: all but clocks and ages.

    A second in which nothing ended moves the lines by a point; as long as they only hold such points, nothing has
    changed.
    """
    node = {key: value for key, value in state["node"].items() if key not in ("at", "uptime_s")}
    children = [{key: value for key, value in child.items() if key not in _VOLATILE} for child in state["children"]]
    series = state["series"]
    quiet = not any(series["throughput"]) and not any(value is not None for value in series["p95_ms"])
    lines = None if quiet else series
    return msgspec.json.encode({**state, "node": node, "children": children, "series": lines})


def _rule(violation: Mapping[str, Any]) -> str:
    rule, message = violation.get("rule", ""), violation.get("message", "")
    return (f"{rule}: {message}" if message else str(rule))[:_LONGEST]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
