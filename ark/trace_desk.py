"""Where clients ask for a signal's whole way, ended or not. No sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ark import protocol
from ark.blackbox import Reading
from ark.delivery import Pending
from ark.door import Door
from ark.protocol import Request
from ark.records import Records
from ark.traces import Busy, Live, trace_document
from ark.tree_desk import TreeDesk

__all__ = ["TraceDesk"]


class TraceDesk:
    """Answers `trace`.

    Args:
        door: The gateway's memory.
        tree: Who runs.
        pipeline: The agents in order.
        read_box: Reads the black box of an agent.
    """

    def __init__(
        self, door: Door, tree: TreeDesk, pipeline: Sequence[str], *, read_box: Callable[[str], Reading | None]
    ) -> None:
        self._door = door
        self._tree = tree
        self._pipeline = tuple(pipeline)
        self._read_box = read_box
        self._records = Records(door.intake.connection)

    def answer(self, request: Request, now: float) -> dict[str, Any]:
        """The fields of the reply, not to be sent before the door has settled.

        Args:
            request: What is asked.
            now: Seconds since the epoch.

        Raises:
            RequestError: No signal of that trace id was ever accepted.
        """
        trace_id = request.need_trace_id()
        record = self._records.find(trace_id)
        if record is None:
            raise protocol.never_accepted(trace_id)
        pipeline, versions = self._door.intake.crews.of(record, now)
        pending = self._door.find(trace_id)
        document = trace_document(
            record,
            now=now,
            pipeline=pipeline or self._pipeline,
            versions=versions,
            live=None if pending is None else self._live(pending),
        )
        return {"trace": document}

    def _live(self, pending: Pending) -> Live:
        dispatcher = self._door.dispatcher
        is_under_way = dispatcher.is_under_way(pending)
        why = ""
        if not is_under_way:
            why = self._tree.interruption
            if not why and dispatcher.in_flight >= dispatcher.window:
                why = f"the pipeline holds {dispatcher.in_flight} signals, and no more may be in it"
        return Live(
            pending.durable_at,
            pending.sent_at,
            pending.resent_at,
            pending.sent,
            is_under_way,
            why,
            self._busy_with(pending.trace_id) if is_under_way else (),
        )

    def _busy_with(self, trace_id: str) -> tuple[Busy, ...]:
        """Who is at work with a signal, by what the processes that run have noted."""
        running = {each["name"] for each in self._tree.children if each["state"] == "running"}
        found = []
        for agent in self._pipeline:
            box = self._read_box(agent) if agent in running else None
            if box is not None and box.trace_id == trace_id:
                found.append(Busy(agent, box.handler, box.beat_age_s))
        return tuple(found)
