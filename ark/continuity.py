"""Whether a signal passed through the whole pipeline: who had it, in which order, when, and in which version.

The one check of that; Aletheia, `ark-run trace` and `/traces/{id}` all ask it. Pure. Waiting is no fault, however
long: a signal may stand before an agent that is isolated, or wait for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ark.message import Span
from ark.routing import ARMS

__all__ = ["CLOCK_TOLERANCE_NS", "faults"]

CLOCK_TOLERANCE_NS = 50_000_000
"""By how much one agent may seem to take a signal before another one let go: 50 ms. Agents of one machine share a
clock, which time synchronisation may set back; agents of two machines have two clocks."""


def faults(
    spans: Sequence[Span],
    pipeline: Sequence[str],
    *,
    is_whole: bool = True,
    versions: Mapping[str, Collection[str]] | None = None,
    accepted_ns: int | None = None,
    ended_ns: int | None = None,
) -> list[str]:
    """Say what is wrong with a signal's way.

    Args:
        spans: Who had it, in the order in which they were written down.
        pipeline: The names of all who should have had it, in order.
        is_whole: Whether all of them should have had it by now; otherwise they are its beginning.
        versions: The versions that each agent has or had; None, or an agent that is absent: not known.
        accepted_ns: When the door took it, nanoseconds since the epoch; None: not known.
        ended_ns: When its outcome was written down; None: not known, or it has none.

    Returns:
        Each fault in words; none for a way without a gap.
    """
    expected = tuple(pipeline if is_whole else pipeline[: len(spans)])
    return [
        *_of_order(tuple([span.agent for span in spans]), expected),
        *_of_times(spans, accepted_ns, ended_ns),
        *_of_versions(spans, versions or {}),
    ]


def _of_order(seen: tuple[str, ...], expected: tuple[str, ...]) -> Iterator[str]:
    if seen != expected:
        yield f"it passed {', '.join(seen) or 'nobody'} instead of {', '.join(expected) or 'nobody'}"


def _of_times(spans: Sequence[Span], accepted_ns: int | None, ended_ns: int | None) -> Iterator[str]:
    before: Span | None = None
    for span in spans:
        if span.out_ns < span.in_ns - CLOCK_TOLERANCE_NS:
            yield f"{span.agent} let go of it before taking it"
        if before is not None and span.in_ns < before.out_ns - CLOCK_TOLERANCE_NS:
            yield f"{span.agent} took it before {before.agent} let go"
        if accepted_ns is not None and span.in_ns < accepted_ns - CLOCK_TOLERANCE_NS:
            yield f"{span.agent} took it before it was accepted"
        if ended_ns is not None and span.out_ns > ended_ns + CLOCK_TOLERANCE_NS:
            yield f"{span.agent} let go of it after it had ended"
        before = span


def _of_versions(spans: Sequence[Span], versions: Mapping[str, Collection[str]]) -> Iterator[str]:
    for span in spans:
        known = versions.get(span.agent)
        if not span.version:
            yield f"{span.agent} names no version"
        elif known is not None and span.version not in known and not _is_of_an_arm(span):
            yield f"{span.agent} never had the version {span.version}"


def _is_of_an_arm(span: Span) -> bool:
    """Whether another process than the agent's own decided, which had whatever version was on trial."""
    return span.track.partition(":")[0] in ARMS
