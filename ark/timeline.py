"""Draws the way of a signal as lines of text: who had it when, to scale, with the waits between. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ark.delivery import GATEWAY
from ark.traces import HELD, WAITS, TraceDocument, TraceWhere

__all__ = ["ASCII", "UNICODE", "Glyphs", "draw", "duration"]

NARROWEST = 12
"""Columns of the bars, on the narrowest terminal."""
SENT_AGAIN = "sent again"
PERSON = "a person"
RECORDED = "*"


class Glyphs(NamedTuple):
    """What bars are made of.

    Attributes:
        stay: Somebody has the signal.
        wait: It waits.
        person: It waits for a person.
        mark: A moment.
        on: It goes on.
    """

    stay: str
    wait: str
    person: str
    mark: str
    on: str


UNICODE = Glyphs("█", "·", "░", "│", "▶")
ASCII = Glyphs("#", ".", ":", "|", ">")
"""For terminals that know nothing else."""


class _Row(NamedTuple):
    """One line. Times are in seconds since the epoch.

    Attributes:
        name: Whose.
        waits_s, stays_s: How long the signal waited for him, and was with him.
        parts: What is drawn: from when, until when, with what; a moment where both are one.
        goes_on: Whether the last part does.
    """

    name: str
    waits_s: float
    stays_s: float
    parts: tuple[tuple[float, float, str], ...]
    goes_on: bool = False

    @property
    def ends(self) -> float:
        return max(end for _, end, _ in self.parts)


def draw(document: TraceDocument, width: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """The time line of a signal.

    Args:
        document: The signal.
        width: Columns of the terminal.
        glyphs: What to draw with.

    Returns:
        Its lines, none longer than the width, where that is 50 or more; no lines of a signal that is not known.
    """
    if document.accepted_at is None:
        return []
    rows = list(_rows(document, glyphs))
    begin = document.accepted_at
    whole_s = max(row.ends for row in rows) - begin
    label = max(len(row.name) for row in rows)
    cells = max(NARROWEST, width - label - 26)
    lines = [f"{'':{label + 2}}{'waits':>11}{'stays':>11}  0{duration(whole_s):>{cells - 1}}"]
    for row in rows:
        figures = "".join(f"{duration(each) if each > 0 else '':>11}" for each in (row.waits_s, row.stays_s))
        bar = _bar(row, begin, whole_s, cells, glyphs)
        lines.append(f"  {row.name:{label}}{figures}  {bar}".rstrip())
    if any(span.recorded for span in document.spans):
        lines.append(f"  {RECORDED} answered from its journal when the signal was sent again")
    return lines


def duration(seconds: float) -> str:
    """A duration in at most 10 columns, in the unit that suits it."""
    if seconds < 10:
        return f"{seconds * 1000:.3f} ms" if seconds < 1 else f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.2f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} m {int(seconds % 60):02} s"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02} m"
    days = int(seconds // 86_400)
    return f"{days} d {int(seconds % 86_400 // 3600):02} h" if days < 100 else f"{days} d"


def _rows(document: TraceDocument, glyphs: Glyphs) -> Iterator[_Row]:
    accepted, where = document.accepted_at, document.where
    assert accepted is not None
    durable = max(accepted, document.durable_at or accepted)
    waits_here = where is not None and where.agent == GATEWAY and document.sent_at is None and not document.spans
    sent = document.at if waits_here else max(durable, document.sent_at or durable)
    on_disk = (accepted, durable, glyphs.stay if durable > accepted else glyphs.mark)
    yield _Row(
        GATEWAY, sent - durable, durable - accepted, (on_disk, (durable, sent, glyphs.wait)), goes_on=waits_here
    )
    if waits_here:
        return
    last = sent
    breaks = _breaks(document, glyphs)
    for span in document.spans:
        begins, ends = span.in_ns / 1e9, span.out_ns / 1e9
        while breaks and breaks[0].parts[-1][0] < begins:
            row = _behind(breaks.pop(0), last, glyphs)
            yield row
            last = max(last, row.ends)
        name = f"{span.agent}{RECORDED}" if span.recorded else span.agent
        parts = ((begins - span.wait_ms / 1000, begins, glyphs.wait), (begins, max(begins, ends), glyphs.stay))
        yield _Row(name, span.wait_ms / 1000, ends - begins, parts)
        last = max(last, ends)
    for each in breaks:
        row = _behind(each, last, glyphs)
        yield row
        last = max(last, row.ends)
    if where is not None and where.doing != HELD:
        yield _present(document, where, last, glyphs)
    elif document.ended_at is not None:
        end = document.ended_at
        yield _Row(GATEWAY, end - last, 0.0, ((min(last, end), end, glyphs.wait), (end, end, glyphs.mark)))


def _breaks(document: TraceDocument, glyphs: Glyphs) -> list[_Row]:
    """What came between the agents' stays, in the order in which it began."""
    rows = []
    held, again = document.held, document.resent_at
    if held is not None:
        asks_still = held.at is None and not document.has_ended
        until = max(held.since, held.at or document.ended_at or document.at)
        part = (held.since, until, glyphs.person)
        rows.append(_Row(PERSON, 0.0, until - held.since, (part,), goes_on=asks_still))
    if again is not None:
        rows.append(_Row(SENT_AGAIN, 0.0, 0.0, ((again, again, glyphs.mark),)))
    return sorted(rows, key=lambda row: row.parts[0][0])


def _behind(row: _Row, last: float, glyphs: Glyphs) -> _Row:
    """With the wait before it."""
    begins = row.parts[0][0]
    if begins <= last:
        return row
    return row._replace(waits_s=begins - last, parts=((last, begins, glyphs.wait), *row.parts))


def _present(document: TraceDocument, where: TraceWhere, last: float, glyphs: Glyphs) -> _Row:
    """Where the signal is now."""
    now = document.at
    since = min(now, max(last, now - where.for_ms / 1000))
    if where.doing == WAITS:
        return _Row(where.agent or "in between", now - last, 0.0, ((last, now, glyphs.wait),), goes_on=True)
    parts = ((last, since, glyphs.wait), (since, now, glyphs.stay))
    return _Row(where.agent or "in between", since - last, now - since, parts, goes_on=True)


def _bar(row: _Row, begin: float, whole_s: float, cells: int, glyphs: Glyphs) -> str:
    """A row's parts to scale. Whatever took time has a column at least, which a wait gives up to what followed."""
    drawn = [" "] * cells
    for begins, ends, glyph in sorted(row.parts, key=lambda part: part[2] != glyphs.wait):
        if glyph == glyphs.wait and ends <= begins:
            continue
        first, last = ((each - begin) / whole_s * cells if whole_s > 0 else 0.0 for each in (begins, ends))
        left = min(cells - 1, max(0, math.floor(first)))
        right = min(cells, max(left + 1, math.ceil(last - 1e-6)))
        drawn[left:right] = glyph * (right - left)
    if row.goes_on:
        drawn[-1] = glyphs.on
    return "".join(drawn)
