"""Finds the way of a signal for whoever can read the node's home: in the journals first, then at the gateway.

What has ended is read from the gateway's journal alone, so that asking for it costs the gateway nothing, and needs
no running node. Of what has not ended the gateway is asked, and then the agents' own journals, which know a signal
before it comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

import apsw
import msgspec

from ark.client import Client
from ark.errors import JournalError, NodeError, RequestError
from ark.home import Home
from ark.journal import Journal, open_for_reading
from ark.message import Span
from ark.protocol import Code
from ark.records import Crews, Records
from ark.traces import TraceDocument, trace_document, unknown_trace, with_footprints

__all__ = ["find_trace"]

_ANSWER_S = 2.0
_PATIENCE_S = 0.5
"""How long a file may be locked by somebody before it is left alone."""


def find_trace(
    home: Home, trace_id: str, *, timeout_s: float = _ANSWER_S, clock: Callable[[], float] = time.time
) -> TraceDocument:
    """All that can be found out about a signal. It reads files and waits for the gateway: call it from a thread.

    Args:
        home: The node's home; the node need not run.
        trace_id: The signal's.
        timeout_s: How long the gateway may take.
        clock: Seconds since the epoch.

    Returns:
        Its document, also for a signal that was never accepted.

    Raises:
        JournalError: The gateway's journal cannot be read.
        NodeError: There is none, and no node runs.
    """
    path = home.data / "gateway.db"
    if not path.exists():
        home.node()  # says so if no node runs; one that has just begun makes the file
    with closing(open_for_reading(path, _PATIENCE_S)) as connection:
        record = Records(connection).find(trace_id)
        if record is None:
            return unknown_trace(trace_id, clock())
        pipeline, versions = Crews(connection).of(record, clock())
    document = trace_document(record, now=clock(), pipeline=pipeline, versions=versions)
    if document.has_ended:
        return document
    with suppress(NodeError):  # without a node, what is written down is all there is
        document = _ask(home, trace_id, timeout_s)
    if document.state != "in_flight" or document.seq is None:
        return document
    spans = _footprints(home, document.seq, trace_id, pipeline)
    return with_footprints(document, spans, pipeline, now=clock())


def _ask(home: Home, trace_id: str, timeout_s: float) -> TraceDocument:
    try:
        with Client.for_home(home.path, timeout_s=timeout_s) as client:
            return msgspec.convert(client.trace(trace_id), TraceDocument)
    except RequestError as error:
        if error.code == Code.BUSY:
            raise NodeError(str(error)) from error
        raise


def _footprints(home: Home, seq: int, trace_id: str, pipeline: Sequence[str]) -> tuple[Span, ...]:
    """Who has had a signal, by the journal of the agent that got farthest; nothing where none can be read."""
    for agent in reversed(pipeline):
        path = home.data / f"{agent}.db"
        if path.exists():
            with suppress(JournalError, apsw.Error), closing(open_for_reading(path, _PATIENCE_S)) as connection:
                spans = Journal.spans(connection, seq, trace_id)
                if spans:
                    return spans
    return ()
