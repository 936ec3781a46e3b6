"""The newest outcomes, read from the gateway's journal.

To subscribe to what the gateway publishes would cost a message for each signal, whether or not anybody looks, and
would know nothing of before. The journal answers in a millisecond, also while the gateway is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from ark.errors import JournalError
from ark.journal import open_for_reading
from ark.page_feed import OUTCOMES, outcome_row

__all__ = ["newest_outcomes"]

# Signals end about in the order of their numbers, but for those for which a person or a death was waited for: of
# these the newest are looked at as well, each by an index, however many signals there ever were.
_QUERY = """
WITH newest AS (
    SELECT * FROM (SELECT seq FROM outcomes ORDER BY seq DESC LIMIT :most)
    UNION SELECT * FROM (SELECT seq FROM outcomes WHERE dead = 1 ORDER BY seq DESC LIMIT :most)
    UNION SELECT * FROM (SELECT held.seq FROM held JOIN outcomes USING (seq) ORDER BY held.seq DESC LIMIT :most)
)
SELECT outcome, accepted_at FROM newest JOIN outcomes USING (seq) JOIN signals USING (seq)
"""
_PATIENCE_S = 0.02


class _Span(msgspec.Struct):
    out_ns: int = 0


class _Spans(msgspec.Struct):
    spans: list[_Span] = []


def newest_outcomes(path: Path) -> list[dict[str, Any]] | None:
    """The newest, the newest first; None where they cannot be read now.

    Args:
        path: The gateway's journal. It is opened for each look: one put back from a backup is another file.
    """
    try:
        connection = open_for_reading(path, _PATIENCE_S)
        try:
            rows = connection.execute(_QUERY, {"most": OUTCOMES}).fetchall()
        finally:
            connection.close()
    except (apsw.Error, JournalError, OSError):
        return None
    return sorted(_rows(rows), key=lambda row: row["at"], reverse=True)[:OUTCOMES]


def _rows(rows: list[Any]) -> Iterator[dict[str, Any]]:
    for content, accepted_at in rows:
        try:
            outcome = msgspec.msgpack.decode(content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        yield outcome_row(outcome, _ended_at(content) or accepted_at)


def _ended_at(content: bytes) -> float | None:
    """When the last agent was done; None for a signal that was given up."""
    try:
        spans = msgspec.msgpack.decode(content, type=_Spans).spans
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return spans[-1].out_ns / 1e9 if spans else None
