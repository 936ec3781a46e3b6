"""Entries of a Redis stream, read as signals for the front door. Pure: bytes in, signals or faults out.

An entry is either one field `signal` with a map in JSON or msgpack, or the fields of a signal as text: numbers in
decimal, `features` and `metadata` in JSON, an empty text for what is absent. A signal without a trace id gets one
that follows from the stream's name and the entry's id, so that the door knows an entry that comes twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import msgspec

from ark.errors import RequestError
from ark.protocol import Code, error_body, parse_signal

__all__ = ["Entry", "derived_trace_id", "read_entry", "rejection", "take_portion"]

_NUMBERS = frozenset(
    ("price", "quantity", "position_size_pct", "leverage", "stop_loss", "target", "risk_reward_ratio", "ts")
)
_MAPS = frozenset(("features", "metadata"))
_WHOLE = b"signal"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError, TypeError)


class Entry(msgspec.Struct, frozen=True):
    """One entry.

    Attributes:
        id: Its id in the stream.
        fields: As they came.
        signal: What is given to the door; empty where it cannot be read.
        size: The signal's bytes on the wire.
        error: Why it cannot be read, as the `error` of a reply; None where it can.
    """

    id: bytes
    fields: Mapping[bytes, bytes]
    signal: dict[str, Any] = {}
    size: int = 0
    error: dict[str, Any] | None = None


def derived_trace_id(stream: str, entry_id: str) -> str:
    """The trace id of an entry that names none."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"redis:{stream}:{entry_id}"))


def read_entry(stream: str, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Read an entry; one that is no signal comes back with its error, by the same judgement as the door's."""
    try:
        signal = _whole(fields) if _WHOLE in fields else _flat(fields)
        signal["trace_id"] = signal.get("trace_id") or derived_trace_id(stream, entry_id.decode())
        packed = _packed(signal)
        parse_signal(packed)
    except RequestError as error:
        return Entry(entry_id, fields, error=error_body(error))
    return Entry(entry_id, fields, signal, len(packed))


def rejection(entry: Entry, error: Mapping[str, Any]) -> dict[bytes, bytes]:
    """What is kept of a rejected entry: its fields as they were, and what was wrong, behind `rejected.`."""
    return {
        **entry.fields,
        b"rejected.entry": entry.id,
        **{
            f"rejected.{key}".encode(): str(error.get(key) or "").encode(errors="replace")
            for key in ("code", "message", "field")
        },
    }


def take_portion(sizes: Sequence[int], most: int, most_bytes: int) -> int:
    """How many of the first signals go into one request: as many as fit, and one in any case.

    Args:
        sizes: The signals' bytes, in order.
        most: The greatest number of signals.
        most_bytes: The greatest sum of bytes.
    """
    taken = total = 0
    for size in sizes[:most]:
        total += size
        if taken and total > most_bytes:
            break
        taken += 1
    return taken


def _whole(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    if len(fields) > 1:
        raise _fault("an entry holds either one field `signal`, or the fields of a signal")
    raw = fields[_WHOLE]
    is_json = raw.lstrip()[:1] == b"{"  # no map in msgpack begins so
    try:
        value = msgspec.json.decode(raw) if is_json else msgpack.unpackb(raw)
    except (*_UNREADABLE, msgpack.UnpackException) as error:
        raise _fault(f"`signal` is a map in JSON or msgpack: {error or type(error).__name__}") from None
    if not isinstance(value, dict):
        raise _fault("`signal` is a map in JSON or msgpack")
    return value


def _flat(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    signal: dict[str, Any] = {}
    for raw_key, raw in fields.items():
        try:
            key, text = raw_key.decode(), raw.decode()
        except UnicodeDecodeError:
            raise _fault("the fields of an entry are text in UTF-8") from None
        if not text:
            continue
        try:
            if key in _NUMBERS:
                signal[key] = float(text)
            elif key in _MAPS:
                signal[key] = msgspec.json.decode(text)
            else:
                signal[key] = text
        except _UNREADABLE:
            what = "a number" if key in _NUMBERS else "a map in JSON"
            raise _fault(f"`{key}` must be {what}", field=key) from None
    return signal


def _packed(signal: dict[str, Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(signal)
    except _UNREADABLE as error:
        raise _fault(f"`signal` cannot be sent: {error}") from None
    return packed


def _fault(message: str, *, field: str = "signal") -> RequestError:
    return RequestError(message, code=Code.INVALID, field=field)
