"""The way of a signal as the spans that tracing systems know: one for the signal, and under it one for each hop.

Pure. A repetition gives the same spans: ids follow from the signal's trace id. Attributes hold the field's words
and no figure of the account: no price, no quantity, no reason in words, and nobody's name.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec

from ark.delivery import GATEWAY
from ark.traceparent import read_parent
from ark.traces import TraceDocument

__all__ = ["ExportedSpan", "ExportedTrace", "Value", "exported_trace", "is_wanted"]

Value: TypeAlias = str | bool | int | float | tuple[str, ...]
ROOT = "signal"
PERSON = "person"


class ExportedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """One span.

    Attributes:
        name: What it is of: `signal`, an agent's name, `gateway`, or `person`.
        span_id: 8 bytes.
        parent_id: That of the span above; None where there is none.
        start_ns, end_ns: Nanoseconds since the epoch.
        attributes: By name.
        events: What happened meanwhile: name, nanoseconds since the epoch, attributes.
        error: Why it failed, in a word; empty where it did not.
    """

    name: str
    span_id: bytes
    parent_id: bytes | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: tuple[tuple[str, int, Mapping[str, Value]], ...] = ()
    error: str = ""


class ExportedTrace(msgspec.Struct, frozen=True):
    """The spans of one signal.

    Attributes:
        trace_id: 16 bytes: that of the `traceparent`, otherwise the signal's own.
        tracestate: The signal's; empty for none.
        spans: That of the signal first. Its parent, if it has one, is elsewhere.
    """

    trace_id: bytes
    tracestate: str
    spans: tuple[ExportedSpan, ...]


def is_wanted(document: TraceDocument, share: float) -> bool:
    """Whether a signal's way is exported.

    Args:
        document: The signal, which has ended.
        share: Of the signals without a `traceparent`; those that failed always are. A `traceparent` says itself.
    """
    if document.traceparent:
        return read_parent(document.traceparent).is_sampled
    if _error(document):
        return True
    lot = int.from_bytes(hashlib.sha256(document.trace_id.encode()).digest()[:7], "big")
    return lot < share * (1 << 56)


def exported_trace(document: TraceDocument) -> ExportedTrace:
    """The spans of a signal that has ended."""
    parent = read_parent(document.traceparent) if document.traceparent else None
    children = tuple(_children(document))
    accepted_ns = _ns(document.accepted_at or 0.0)
    ended_ns = accepted_ns if document.ended_at is None else _ns(document.ended_at)
    root = ExportedSpan(
        name=ROOT,
        span_id=_span_id(document.trace_id, ROOT),
        parent_id=None if parent is None else parent.span_id,
        start_ns=min([accepted_ns, *(each.start_ns for each in children)]),
        end_ns=max([ended_ns, *(each.end_ns for each in children)]),
        attributes=dict(_attributes(document)),
        events=tuple(_events(document)),
        error=_error(document),
    )
    return ExportedTrace(
        _trace_id(document.trace_id) if parent is None else parent.trace_id,
        document.tracestate or "",
        (root, *children),
    )


def _children(document: TraceDocument) -> Iterator[ExportedSpan]:
    root_id = _span_id(document.trace_id, ROOT)

    def child(name: str, place: str, start_ns: int, end_ns: int, **attributes: Value) -> ExportedSpan:
        return ExportedSpan(
            name=name,
            span_id=_span_id(document.trace_id, place),
            parent_id=root_id,
            start_ns=start_ns,
            end_ns=max(start_ns, end_ns),
            attributes={f"ark.{key}": value for key, value in attributes.items()},
        )

    if document.accepted_at is not None and document.sent_at is not None:
        yield child(GATEWAY, GATEWAY, _ns(document.accepted_at), _ns(document.sent_at), agent=GATEWAY)
    for number, span in enumerate(document.spans):
        yield child(
            span.agent,
            f"{number} {span.agent}",
            max(0, span.in_ns),
            span.out_ns,
            agent=span.agent,
            version=span.version,
            wait_ms=span.wait_ms,
            recorded=span.recorded,
        )
    held = document.held
    if held is not None and held.at is not None:
        asked, answered = _ns(held.since), _ns(held.at)
        yield child(PERSON, PERSON, asked, answered, agent=held.agent, ruling=held.ruling or "")


def _attributes(document: TraceDocument) -> Iterator[tuple[str, Value]]:
    yield "ark.trace_id", document.trace_id
    yield "ark.symbol", document.symbol
    yield "ark.status", document.status or ""
    yield "ark.attempts", document.attempts
    yield "ark.complete", document.continuity.complete
    if document.continuity.problems:
        yield "ark.problems", tuple(document.continuity.problems)
    if document.ledger is not None and isinstance(document.ledger.get("seq"), int):
        yield "ark.ledger.row", document.ledger["seq"]
    decision = document.decision
    if decision is not None:
        yield "ark.approved", decision.approved
        yield "ark.zone", decision.zone
        yield "ark.level", decision.level
        yield "ark.rules", tuple([each.rule for each in decision.violations])
    if document.letter is not None:
        yield "ark.letter.agent", document.letter.agent
        yield "ark.letter.strikes", document.letter.strikes
    error = _error(document)
    if error:
        yield "error.type", error


def _events(document: TraceDocument) -> Iterator[tuple[str, int, Mapping[str, Value]]]:
    if document.durable_at is not None:
        yield "durable", _ns(document.durable_at), {}
    if document.resent_at is not None:
        yield "sent again", _ns(document.resent_at), {"ark.attempts": document.attempts}


def _error(document: TraceDocument) -> str:
    if document.state == "dead_letter":
        return "dead_letter"
    return "failed" if document.status == "failed" else ""


def _trace_id(trace_id: str) -> bytes:
    try:
        found = uuid.UUID(trace_id).bytes
    except ValueError:
        found = bytes(16)
    # Zeros alone are no trace id to others.
    return found if any(found) else hashlib.sha256(trace_id.encode()).digest()[:16]


def _span_id(trace_id: str, place: str) -> bytes:
    found = hashlib.sha256(f"{trace_id} {place}".encode()).digest()[:8]
    return found if any(found) else b"\1" * 8


def _ns(at: float) -> int:
    return max(0, int(at * 1e9))
