"""What the gateway counts of outcomes: how they ended, how long they took, and what the objectives make of them.

The counts stand in the gateway's journal and are committed with the outcomes that they count, so they are exact:
whoever is killed whenever, each outcome of the home is counted once. Objectives, burn rates and the original's
metrics are made from them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from ark.message import UNREADABLE
from ark.meters import Exemplar, Meters
from ark.metrics import EDGES, edges

if TYPE_CHECKING:
    from ark.config import SloConfig

__all__ = ["MOST_TRACKS", "Limits", "Tally", "tracks_in"]

MOST_TRACKS = 256
"""Of so many agents, arms and routing tables the outcomes are kept apart."""

_DECIDED = frozenset({"executed", "denied", "no_setup"})
"""How a signal ends of which the node made what it should."""
_OBJECTIVES = ("availability", "decision_latency", "hrm_latency", "audit_completeness")
_UNKNOWN = "unknown"
"""The status of an order of which nobody can say whether it exists; the audit tells of it."""
_STATUSES = _DECIDED | {"expired", "failed"}


class Limits(msgspec.Struct, frozen=True):
    """What the objectives about latency ask for.

    Attributes:
        decision_s: From acceptance to outcome, seconds.
        judge: The agent with an objective of its own.
        judge_s: Its time for a signal, seconds.
    """

    decision_s: float = 0.4
    judge: str = "hrm"
    judge_s: float = 0.12

    @classmethod
    def of(cls, settings: SloConfig) -> Limits:
        """Those of the table `[slo]`."""
        return cls(settings.latency_ms / 1000, judge_s=settings.hrm_latency_ms / 1000)

    @property
    def edges(self) -> tuple[float, ...]:
        """The upper edges of a latency's buckets, these limits among them."""
        return edges((self.decision_s, self.judge_s))


class _Kept(msgspec.Struct):
    """What stands in the journal.

    Attributes:
        outcomes: By status.
        violations: Those that the rule book itself denied.
        drift: Those with an order that no decision approved.
        events: Good and bad ones, by objective.
        edges, latencies, latency_s: The latency's buckets, how many fell into each, and the sum.
        tracks: Of signals that agents decided while a rollout was under way: by agent and track, as
            `joey canary:17`, how many ended, and of these how many were denied, failed, or late.
    """

    outcomes: dict[str, int] = {}
    violations: int = 0
    drift: int = 0
    events: dict[str, list[int]] = {}
    edges: tuple[float, ...] = ()
    latencies: list[int] = []
    latency_s: float = 0.0
    tracks: dict[str, list[int]] = {}


class _Decision(msgspec.Struct, frozen=True):
    approved: bool = False
    level: str = ""


class _Order(msgspec.Struct, frozen=True):
    status: str = ""


class _Span(msgspec.Struct, frozen=True):
    agent: str
    in_ns: int
    out_ns: int
    track: str = ""


class _Audit(msgspec.Struct, frozen=True):
    disagreements: list[msgspec.Raw] = []


class _Outcome(msgspec.Struct, frozen=True):
    """What is read of an outcome; a pipeline of other agents may leave all of it away."""

    decision: _Decision | None = None
    order: _Order | None = None
    spans: list[_Span] = []
    audit: _Audit | msgspec.UnsetType | None = msgspec.UNSET
    ledger: dict[str, msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


_outcomes = msgspec.msgpack.Decoder(_Outcome)
_kept = msgspec.msgpack.Decoder(_Kept)
_fields = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_each = {field.name: msgspec.msgpack.Decoder(field.type) for field in msgspec.structs.fields(_Outcome)}


class Tally:
    """Counts outcomes.

    Args:
        kept: What `content` gave last, from the journal; empty for a home that has counted nothing yet.
        outcomes: How many of each status there are, for such a home.
        limits: What the objectives ask for.
        edges: The upper edges of the latency's buckets, seconds. Where they are others than before, latency is
            counted from nothing.

    Attributes:
        is_changed: Whether `content` has changed since it was asked for.
    """

    def __init__(
        self,
        kept: bytes = b"",
        outcomes: dict[str, int] | None = None,
        *,
        limits: Limits | None = None,
        edges: Sequence[float] = EDGES,
    ) -> None:
        self._kept = _kept.decode(kept) if kept else _Kept(outcomes=dict(outcomes or {}))
        self._limits = limits or Limits()
        if self._kept.edges != tuple(edges):
            self._kept.edges = tuple(edges)
            self._kept.latencies = [0] * (len(edges) + 1)
            self._kept.latency_s = 0.0
        self._exemplars: dict[int, Exemplar] = {}
        self.is_changed = False

    @property
    def outcomes(self) -> dict[str, int]:
        """How many outcomes there are, by status."""
        return self._kept.outcomes

    @property
    def violations(self) -> int:
        """How many of them the rule book itself denied."""
        return self._kept.violations

    @property
    def content(self) -> bytes:
        """All of it, for the journal."""
        self.is_changed = False
        return msgspec.msgpack.encode(self._kept)

    def add(self, trace_id: str, status: str, outcome: bytes, *, took_s: float, ruled: bool, now: float) -> None:
        """Count one outcome.

        Args:
            trace_id, status, outcome: What ended, how, and the outcome as msgpack.
            took_s: Since it was accepted, seconds.
            ruled: Whether a person was asked, so that it says nothing of the node's own speed.
            now: Seconds since the epoch.
        """
        kept, limits = self._kept, self._limits
        self.is_changed = True
        kept.outcomes[status] = kept.outcomes.get(status, 0) + 1
        said = _read(outcome)
        decision = said.decision
        kept.violations += status == "denied" and decision is not None and decision.level == "graveyard"
        approved = decision is not None and decision.approved
        kept.drift += said.order is not None and said.order.status != _UNKNOWN and not approved
        self._event("availability", status in _DECIDED or (ruled and status == "expired"))
        if not ruled:
            took_s = max(0.0, took_s)
            self._event("decision_latency", took_s <= limits.decision_s)
            bucket = bisect_left(kept.edges, took_s)
            kept.latencies[bucket] += 1
            kept.latency_s += took_s
            self._exemplars[bucket] = Exemplar(trace_id, took_s, now)
        for span in said.spans:
            if span.track:
                self._track(span, status, late=not ruled and took_s > limits.decision_s)
            if span.agent == limits.judge:
                self._event("hrm_latency", span.out_ns - span.in_ns <= limits.judge_s * 1e9)
        audit, ledger = said.audit, said.ledger
        if audit is not msgspec.UNSET or ledger is not msgspec.UNSET:  # a pipeline without a ledger promises none
            # A dead letter did not pass everybody, and its row says so: that is an audit, too.
            agreed = isinstance(audit, _Audit) and not audit.disagreements
            self._event("audit_completeness", agreed and bool(ledger))

    def show(self, meters: Meters) -> None:
        """Write the counts on the gateway's page."""
        kept = self._kept
        # Each is there from the beginning, at 0: Prometheus does not see a count rise that begins with 1.
        counts = {status: kept.outcomes.get(status, 0) for status in _STATUSES}
        counts["other"] = sum(kept.outcomes.values()) - sum(counts.values())
        for status, count in counts.items():
            meters.total("ark_outcomes_total", count, status=status)
        meters.total("ark_violations_total", kept.violations)
        meters.total("ark_ethics_drift_total", kept.drift)
        for slo in _OBJECTIVES:
            good, bad = kept.events.get(slo, (0, 0))
            meters.total("ark_slo_events_total", good, slo=slo, result="good")
            meters.total("ark_slo_events_total", bad, slo=slo, result="bad")
        meters.histogram("ark_decision_latency_seconds", kept.latencies, kept.latency_s)
        for exemplar in self._exemplars.values():
            meters.exemplar("ark_decision_latency_seconds", exemplar)
        self._exemplars.clear()

    def _track(self, span: _Span, status: str, *, late: bool) -> None:
        tracks, name = self._kept.tracks, f"{span.agent} {span.track}"
        counts = tracks.get(name)
        if counts is None:
            if len(tracks) >= MOST_TRACKS:  # those of the oldest routing table go
                del tracks[min(tracks, key=_generation)]
            counts = tracks[name] = [0, 0, 0, 0]
        counts[0] += 1
        counts[1] += status == "denied"
        counts[2] += status in ("failed", "expired")
        counts[3] += late

    def _event(self, slo: str, good: bool) -> None:
        counts = self._kept.events.setdefault(slo, [0, 0])
        counts[not good] += 1


def tracks_in(kept: bytes) -> dict[str, list[int]]:
    """The counts of a rollout's arms, from what `Tally.content` gave; see there for what they are."""
    return _kept.decode(kept).tracks


def _generation(name: str) -> int:
    number = name.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _read(outcome: bytes) -> _Outcome:
    """What can be read of an outcome: a field that makes no sense costs that field alone."""
    try:
        return _outcomes.decode(outcome)
    except UNREADABLE:
        pass
    found = {}
    with suppress(*UNREADABLE):
        for name, raw in _fields.decode(outcome).items():
            if name in _each:
                with suppress(*UNREADABLE):
                    found[name] = _each[name].decode(raw)
    return _Outcome(**found)
