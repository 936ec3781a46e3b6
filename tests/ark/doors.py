"""A gateway's memory for the tests of its desks, and what agents would do to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ark.agent import Hold
from ark.door import Door, Finished
from ark.intake import Intake
from ark.journal import open_database
from ark.message import HELD, OUTCOME, Envelope, Span, encode
from ark.signal import Signal

NOW = 1_700_000_000.0
SIGNAL = Signal("AAPL", "long", 100.0)
UNTIL = NOW + 60


def open_door(path: Path) -> Door:
    return Door(
        Intake(open_database(path / "gateway.db"), NOW), epoch=1, secret=b"a secret of thirty-two bytes len"
    )


def accept(door: Door, symbol: str = "AAPL") -> str:
    """A signal that is accepted and sent; gives its trace id."""
    trace_id, _ = door.take_in(msgspec.structs.replace(SIGNAL, symbol=symbol), NOW)
    door.settle()
    door.dispatcher.due(0.0)
    return trace_id


def end(door: Door, trace_id: str, status: str = "executed", **fields: Any) -> list[Finished]:
    """Its outcome comes."""
    payload = encode({"trace_id": trace_id, "status": status, **fields})
    door.finish(Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, payload), NOW)
    return door.settle()


def asking(trace_id: str, *, until: float = UNTIL, details: dict[str, Any] | None = None) -> Envelope:
    """An agent's word that a person must decide."""
    payload = encode(Hold(until, "is this wise?", details or {"decision": {"approved": False}, "price": 7}))
    return Envelope(HELD, trace_id, "AAPL", 1, 1, 1, payload, (Span("judge", "1.0", 1, 2),))


def packed(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def plain(value: Any) -> Any:
    """As a client reads it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))
