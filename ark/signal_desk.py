"""Where signals come in: the answers to `inject`, and how many may wait at once. No sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from ark import protocol
from ark.door import Door
from ark.errors import RequestError
from ark.protocol import Code, Request
from ark.status import SignalCounts

__all__ = ["SignalDesk"]

_BACKLOG_BYTES = 64 << 20
"""Bytes of signals that may wait for their outcome, beside their number in the configuration."""


class SignalDesk:
    """Answers `inject`.

    Args:
        door: The gateway's memory.
        backlog: So many signals may wait for their outcome.
        symbols: Those that the node takes; none: all.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        door: Door,
        *,
        backlog: int,
        symbols: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._backlog = backlog
        self._symbols = symbols
        self._clock = clock

    @property
    def counts(self) -> SignalCounts:
        """How many signals there are, and how they stand."""
        intake, held = self._door.intake, len(self._door.dispatcher.parked)
        return SignalCounts(
            accepted=intake.accepted,
            in_flight=self._door.unfinished - held,
            completed=intake.completed,
            held=held,
            dead_letters=intake.letters.open,
            dead_letters_ever=intake.letters.ever,
        )

    def answer(self, request: Request) -> dict[str, Any]:
        """The fields of the reply, not to be sent before the door has settled.

        Raises:
            RequestError: The request is wrong as a whole. A wrong signal is rejected by itself, and named in the
                reply beside the others.
        """
        single = len(request.signal) > 0
        raws = [request.signal] if single else request.signals
        if not raws or (single and request.signals):
            raise RequestError(
                "inject takes either `signal`, a map, or `signals`, a list of maps",
                code=Code.INVALID,
                field="signals" if single else "signal",
            )
        most = min(protocol.MOST_SIGNALS, self._backlog)
        if len(raws) > most:
            raise RequestError(f"`signals` has at most {most} signals", code=Code.INVALID, field="signals")
        full = self.full(len(raws))
        if full:
            return protocol.busy(full)
        results = [self._take_in(raw) for raw in raws]
        if not single:
            return {"results": results}
        return {"ok": "error" not in results[0], **results[0]}

    def full(self, count: int) -> str:
        """Why so many signals more cannot be taken now; empty where they can."""
        if self._door.unfinished + count > self._backlog:
            return f"{self._backlog} signals may wait for their outcome"
        if self._door.unfinished_bytes > _BACKLOG_BYTES:
            return f"{_BACKLOG_BYTES >> 20} MiB of signals may wait for their outcome"
        return ""

    def _take_in(self, raw: msgspec.Raw) -> dict[str, Any]:
        try:
            signal, ignored = protocol.parse_signal(raw)
            if self._symbols and signal.symbol not in self._symbols:
                raise RequestError(
                    f"unknown symbol {signal.symbol!r}{protocol.nearest(signal.symbol, self._symbols)}",
                    code=Code.INVALID,
                    field="symbol",
                )
        except RequestError as error:
            return {
                "trace_id": protocol.named_trace_id(raw),
                "status": "rejected",
                "error": protocol.error_body(error),
            }
        trace_id, status = self._door.take_in(signal, self._clock())
        result: dict[str, Any] = {"trace_id": trace_id, "status": status}
        if ignored:
            result["ignored"] = ignored
        return result
