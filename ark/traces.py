"""One signal's way as one document, from what is known of it, in whatever state it is. Pure.

The gateway, the exporter and the commands tell the same of a signal, because they all ask this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from ark import continuity
from ark.delivery import GATEWAY, STRIKES
from ark.letters import in_short
from ark.message import Span
from ark.records import Asked, Record

__all__ = [
    "HELD",
    "WAITS",
    "Busy",
    "Live",
    "TraceContinuity",
    "TraceDecision",
    "TraceDocument",
    "TraceHeld",
    "TraceLetter",
    "TraceRule",
    "TraceSpan",
    "TraceWhere",
    "trace_document",
    "unknown_trace",
    "with_footprints",
]

State: TypeAlias = Literal["finished", "held", "in_flight", "dead_letter", "unknown"]
WAITS, HELD = "waits", "held"
"""What may be done with a signal, beside what an agent is called for."""
NO_NODE = "no gateway runs, or it does not answer"


class TraceSpan(msgspec.Struct, kw_only=True):
    """An agent's stay with the signal.

    Attributes:
        agent: The agent's name.
        version: Its version.
        in_ns: When it took the signal, nanoseconds since the epoch.
        out_ns: When it let go.
        wait_ms: How long the signal had waited for it: since the one ahead let go, since it was sent (again), or
            since a person had answered; since the latest of these.
        duration_ms: How long it stayed.
        recorded: Whether it was sent again since: this is the answer that the agent has had on record from then on.
    """

    agent: str
    version: str
    in_ns: int
    out_ns: int
    wait_ms: float
    duration_ms: float
    recorded: bool


class TraceWhere(msgspec.Struct, kw_only=True):
    """Where a signal is that has not ended.

    Attributes:
        agent: Who has it, `gateway` included; nil where it is on its way and nobody can tell to whom.
        doing: What is done with it: `waits`, `held`, or what the agent was called for, such as `handle`.
        for_ms: How long it has been there, at least.
        why: Why it waits; empty where that is not known.
    """

    agent: str | None
    doing: str
    for_ms: float
    why: str = ""


class TraceHeld(msgspec.Struct, kw_only=True):
    """What a person was asked.

    Attributes:
        agent: Who asked.
        since: When.
        until: The deadline.
        reason: What.
        ruling: `approved` or `refused`; nil while nobody has answered.
        by: Who answered.
        at: When.
    """

    agent: str
    since: float
    until: float
    reason: str
    ruling: str | None = None
    by: str | None = None
    at: float | None = None


class TraceLetter(msgspec.Struct, kw_only=True):
    """Why the pipeline gave up on it.

    Attributes:
        agent: The agent that it ended last.
        strikes: How often it ended one.
        reason: How the last one ended, in one line.
    """

    agent: str
    strikes: int
    reason: str


class TraceContinuity(msgspec.Struct, kw_only=True):
    """Whether it passed through the whole pipeline.

    Attributes:
        complete: Whether every agent had it exactly once, in order, in a version that it has or had; false while it
            has not ended.
        problems: What is wrong, in words; none for a signal that is still on a sound way.
    """

    complete: bool = False
    problems: list[str] = []


class TraceRule(msgspec.Struct, kw_only=True):
    """A rule that denied or warned.

    Attributes:
        rule: Its name.
        severity: Its severity.
        message: What it says.
    """

    rule: str
    severity: str = ""
    message: str = ""


class TraceDecision(msgspec.Struct, kw_only=True):
    """A decision in short; `outcome` has all of it.

    Attributes:
        approved: Whether the order may go.
        zone: `approve`, `hold` or `deny`.
        level: Which level decided.
        violations: What denied.
        warnings: What warned.
        rules_checked: How many rules were judged.
        ruleset: SHA-256 of the rules that were judged by.
    """

    approved: bool
    zone: str = ""
    level: str = ""
    violations: list[TraceRule] = []
    warnings: list[TraceRule] = []
    rules_checked: int = 0
    ruleset: str = ""


class TraceDocument(msgspec.Struct, kw_only=True):
    """A signal's way, as far as it has come. Times that end in `at` are seconds since the epoch.

    Attributes:
        trace_id: The signal's.
        state: `finished`, `held` (a person must decide), `in_flight`, `dead_letter` or `unknown`.
        status: How it ended, as in its outcome; `held` while a person must decide, nil while it is under way.
        reason: Why, in one line; or what a person is asked.
        symbol: The signal's.
        seq: Its number of acceptance.
        traceparent: The signal's; nil for none.
        tracestate: The signal's; nil for none.
        at: When this was put together.
        accepted_at: When the door took it.
        durable_at: When that was on the disk; nil where the gateway was restarted since.
        sent_at: When it was sent into the pipeline first; nil while it was not, or where the gateway was restarted.
        resent_at: When it was sent again, the last time; nil where it was not.
        ended_at: When its outcome was written down; nil while it has none.
        attempts: How often it may have been sent.
        total_ms: From its acceptance to its end, or to `at`.
        spans: Who had it, in order; of a signal that has not ended as far as that is known.
        where: Where it is; nil once it has ended.
        held: What a person was asked about it; nil for nothing.
        letter: Of a dead letter.
        continuity: Whether it passed through the whole pipeline.
        decision: What was decided; nil for nothing.
        order: As in its outcome.
        audit: As in its outcome: `complete`, and the `disagreements` of the agents.
        ledger: As in its outcome: the ledger's row.
    """

    trace_id: str
    state: State
    status: str | None = None
    reason: str = ""
    symbol: str = ""
    seq: int | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    at: float
    accepted_at: float | None = None
    durable_at: float | None = None
    sent_at: float | None = None
    resent_at: float | None = None
    ended_at: float | None = None
    attempts: int = 0
    total_ms: float | None = None
    spans: list[TraceSpan] = []
    where: TraceWhere | None = None
    held: TraceHeld | None = None
    letter: TraceLetter | None = None
    continuity: TraceContinuity = msgspec.field(default_factory=TraceContinuity)
    decision: TraceDecision | None = None
    order: dict[str, Any] | None = None
    audit: dict[str, Any] | None = None
    ledger: dict[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status not in (None, HELD)


class Busy(msgspec.Struct, frozen=True):
    """An agent whose black box names a signal.

    Attributes:
        agent: Its name.
        handler: What was called.
        for_s: Since when, at least.
    """

    agent: str
    handler: str
    for_s: float


class Live(msgspec.Struct, frozen=True):
    """What a running gateway knows of a signal that has not ended.

    Attributes:
        durable_at, sent_at, resent_at, attempts: As in the document.
        is_under_way: Whether it is in the pipeline; otherwise it waits in the gateway.
        why: Why it waits there; empty for no reason in particular.
        busy: The agents that are at work with it now.
    """

    durable_at: float | None
    sent_at: float | None
    resent_at: float | None
    attempts: int
    is_under_way: bool
    why: str = ""
    busy: tuple[Busy, ...] = ()


class _Span(msgspec.Struct, frozen=True):
    """A span as it stands in an outcome."""

    agent: str
    version: str
    in_ns: int
    out_ns: int
    track: str = ""


class _Decision(msgspec.Struct, frozen=True):
    approved: bool
    zone: str = ""
    level: str = ""
    violations: list[TraceRule] = []
    warnings: list[TraceRule] = []
    rules_checked: list[Any] = []
    ruleset: str = ""


def unknown_trace(trace_id: str, now: float) -> TraceDocument:
    """The document of a signal that was never accepted.

    Args:
        trace_id: As it was asked for.
        now: Seconds since the epoch.
    """
    return TraceDocument(trace_id=trace_id[:64], state="unknown", at=now)


def trace_document(
    record: Record,
    *,
    now: float,
    pipeline: Sequence[str],
    versions: Mapping[str, Collection[str]] | None = None,
    live: Live | None = None,
) -> TraceDocument:
    """Put together what is known of a signal.

    Args:
        record: What the gateway's journal holds of it.
        now: Seconds since the epoch.
        pipeline: The agents that it passes or passed, in order; none where that is not known any more.
        versions: See `ark.continuity.faults`.
        live: What the gateway knows besides, where it has not ended; None where no node runs.
    """
    ended = bool(record.status)
    passage = record.passage if ended else live
    document = TraceDocument(
        trace_id=record.trace_id,
        state=_state(record),
        status=record.status or (HELD if _state(record) == "held" else None),
        symbol=record.symbol,
        seq=record.seq,
        traceparent=record.traceparent or None,
        tracestate=record.tracestate or None,
        at=now,
        accepted_at=record.accepted_at,
        attempts=_attempts(record, live),
        held=None if record.asked is None else _held(record.asked),
    )
    if passage is not None:
        document.durable_at, document.sent_at = passage.durable_at, passage.sent_at
        document.resent_at = passage.resent_at
    if record.passage is not None:
        document.ended_at = record.passage.ended_at
    if document.state == "dead_letter":
        document.letter = TraceLetter(
            agent=record.agent, strikes=record.strikes, reason=in_short(record.reason, record.trace_id)
        )
    spans, fault = _known_spans(record)
    _tell_outcome(document, record)
    document.spans = _stays(document, spans)
    document.where = None if ended else _where(record, live, now)
    document.total_ms = _ms(_end_of(document, spans, now) - record.accepted_at)
    names = pipeline or [span.agent for span in spans]
    document.continuity = _continuity(document, spans, fault, names, versions)
    return document


def with_footprints(
    document: TraceDocument, spans: Sequence[Span], pipeline: Sequence[str], *, now: float
) -> TraceDocument:
    """Add what the agents' own journals say of a signal that is under way.

    Args:
        document: Of a signal in flight; any other comes back as it is.
        spans: Who has it on record, in order; of the agent that got farthest.
        pipeline: The agents in order.
        now: Seconds since the epoch.
    """
    seen = [each for each in document.spans if not spans or each.out_ns >= spans[-1].out_ns]
    if document.state != "in_flight" or not spans or seen:
        return document
    document = msgspec.structs.replace(document, spans=_stays(document, spans))
    problems = continuity.faults(spans, pipeline, is_whole=False)
    document.continuity = TraceContinuity(problems=problems)
    where, last = document.where, spans[-1].agent
    if where is not None and where.agent is None and last in pipeline:
        place = pipeline.index(last) + 1
        following = pipeline[place] if place < len(pipeline) else GATEWAY
        where = TraceWhere(
            agent=None,
            doing=WAITS,
            for_ms=_ms(max(0.0, now - spans[-1].out_ns / 1e9)),
            why=f"{last} has let go of it; {following} or one behind it has not answered yet",
        )
        document.where = where
    return document


def _state(record: Record) -> State:
    if record.is_dead or (not record.status and record.strikes >= STRIKES):
        return "dead_letter"
    if record.status:
        return "finished"
    if record.asked is not None and record.asked.ruling is None:
        return "held"
    return "in_flight"


def _attempts(record: Record, live: Live | None) -> int:
    if record.status and record.passage is not None:
        return record.passage.attempts
    if live is not None:
        return live.attempts
    told = record.outcome.get("attempts")
    return told if isinstance(told, int) else 0


def _held(asked: Asked) -> TraceHeld:
    held = TraceHeld(agent=asked.agent, since=asked.since, until=asked.until, reason=asked.reason)
    if asked.ruling is not None:
        held.ruling, held.by, held.at = asked.ruling.word, asked.ruling.by, asked.ruling.at
    return held


def _known_spans(record: Record) -> tuple[tuple[Span, ...], str]:
    """Who had it, as far as that is written down, and what is wrong with that."""
    if not record.status:
        return (() if record.asked is None else record.asked.spans), ""
    told = record.outcome.get("spans")
    if not told and record.passage is not None and record.passage.spans is not None:
        return record.passage.spans, ""
    try:
        spans = msgspec.convert(told or [], list[_Span])
    except msgspec.ValidationError as error:
        return (), f"its spans cannot be read: {error}"
    return tuple([Span(each.agent, each.version, each.in_ns, each.out_ns, each.track) for each in spans]), ""


def _tell_outcome(document: TraceDocument, record: Record) -> None:
    outcome = record.outcome
    decision = outcome.get("decision")
    if not record.status:
        asked = record.asked
        document.reason = asked.reason if asked is not None and asked.ruling is None else ""
        decision = None if asked is None else asked.details.get("decision")
    else:
        reason = outcome.get("reason")
        document.reason = in_short(reason, record.trace_id) if isinstance(reason, str) else ""
    document.decision = _decision(decision)
    document.order, document.audit, document.ledger = (
        value if isinstance(value, dict) else None for value in map(outcome.get, ("order", "audit", "ledger"))
    )


def _decision(told: Any) -> TraceDecision | None:
    """A decision in short; None where there is none, or none of this kind: a pipeline may have another one."""
    try:
        found = msgspec.convert(told, _Decision)
    except msgspec.ValidationError:
        return None
    return TraceDecision(
        approved=found.approved,
        zone=found.zone,
        level=found.level,
        violations=found.violations,
        warnings=found.warnings,
        rules_checked=len(found.rules_checked),
        ruleset=found.ruleset,
    )


def _stays(document: TraceDocument, spans: Iterable[Span]) -> list[TraceSpan]:
    since = next(
        (each for each in (document.sent_at, document.durable_at, document.accepted_at) if each is not None), 0.0
    )
    resent_ns = None if document.resent_at is None else int(document.resent_at * 1e9)
    before_ns = int(since * 1e9)
    ruled = None if document.held is None else document.held.at
    news_ns = [int(each * 1e9) for each in (document.resent_at, ruled) if each is not None]
    stays = []
    for span in spans:
        before_ns = max([before_ns, *(each for each in news_ns if each <= span.in_ns)])
        stays.append(
            TraceSpan(
                agent=span.agent,
                version=span.version,
                in_ns=span.in_ns,
                out_ns=span.out_ns,
                wait_ms=round((span.in_ns - before_ns) / 1e6, 3),
                duration_ms=round((span.out_ns - span.in_ns) / 1e6, 3),
                recorded=resent_ns is not None and span.in_ns < resent_ns,
            )
        )
        before_ns = span.out_ns
    return stays


def _where(record: Record, live: Live | None, now: float) -> TraceWhere:
    asked = record.asked
    if _state(record) == "held":
        assert asked is not None
        return TraceWhere(agent=asked.agent, doing=HELD, for_ms=_ms(now - asked.since), why=asked.reason)
    since = record.accepted_at if asked is None or asked.ruling is None else asked.ruling.at
    if live is None:
        return TraceWhere(agent=GATEWAY, doing=WAITS, for_ms=_ms(now - since), why=NO_NODE)
    if live.busy:
        last = live.busy[-1]
        return TraceWhere(agent=last.agent, doing=last.handler, for_ms=_ms(last.for_s))
    if not live.is_under_way:
        return TraceWhere(agent=GATEWAY, doing=WAITS, for_ms=_ms(now - since), why=live.why)
    sent = max((each for each in (live.sent_at, live.resent_at) if each is not None), default=since)
    return TraceWhere(
        agent=None, doing=WAITS, for_ms=_ms(now - sent), why="it is between two agents, or in the mailbox of one"
    )


def _end_of(document: TraceDocument, spans: Sequence[Span], now: float) -> float:
    if document.ended_at is not None:
        return document.ended_at
    if document.has_ended and spans:  # an earlier version did not note it
        return spans[-1].out_ns / 1e9
    return now


def _continuity(
    document: TraceDocument,
    spans: Sequence[Span],
    fault: str,
    pipeline: Sequence[str],
    versions: Mapping[str, Collection[str]] | None,
) -> TraceContinuity:
    letter = document.letter
    if letter is not None:
        last = f", {letter.agent} last" if letter.agent else ""
        return TraceContinuity(problems=[f"it ended {letter.strikes} processes{last}, and was given up"])
    if fault:
        return TraceContinuity(problems=[fault])
    problems = continuity.faults(
        spans,
        pipeline,
        is_whole=document.has_ended,
        versions=versions,
        accepted_ns=None if document.accepted_at is None else int(document.accepted_at * 1e9),
        ended_ns=None if document.ended_at is None else int(document.ended_at * 1e9),
    )
    return TraceContinuity(complete=document.has_ended and not problems, problems=problems)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
