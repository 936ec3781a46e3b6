"""Protocol 1 of the front door: what requests look like, and what is answered. Bytes and values only, no sockets."""

from __future__ import annotations

import difflib
import re
from enum import Enum
from typing import Any

import msgspec

from ark.errors import RequestError
from ark.signal import ACTIONS, Signal

__all__ = [
    "LARGEST_MESSAGE",
    "OPERATIONS",
    "Code",
    "Request",
    "Role",
    "error_body",
    "nearest",
    "parse_request",
    "parse_signal",
    "reply",
]

LARGEST_MESSAGE = 1 << 20
"""Bytes; a larger message ends the connection that sent it."""


class Role(Enum):
    """Who a client is, known by the socket that it came through."""

    INJECTOR = "injector"
    OPERATOR = "operator"


class Code:
    """Error codes of replies. They are part of the protocol: added, never changed."""

    MALFORMED = "malformed"
    """The bytes are not one msgpack map, or are nested too deep."""
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_OPERATION = "unknown_op"
    FORBIDDEN = "forbidden"
    """The client's role may not do that."""
    INVALID = "invalid"
    """A field is missing or wrong; `field` names it."""
    BUSY = "busy"
    """The journal's bound is reached; try again after `retry_after_ms`."""
    PENDING = "pending"
    """The signal has no outcome yet."""
    UNKNOWN_TRACE = "unknown_trace"
    UNKNOWN_AGENT = "unknown_agent"
    REFUSED = "refused"
    """The node will not do that now; the message says why."""


OPERATIONS = {
    "inject": Role.INJECTOR,
    "outcome": Role.INJECTOR,
    "status": Role.INJECTOR,
    "isolate": Role.OPERATOR,
    "release": Role.OPERATOR,
    "restart": Role.OPERATOR,
    "halt": Role.OPERATOR,
    "resume": Role.OPERATOR,
}
"""Every operation, and the least role that may ask for it."""


class Request(msgspec.Struct, frozen=True):
    """A request with its operation's fields; what does not belong to the operation is empty."""

    op: str
    v: int = 1
    id: msgspec.Raw = msgspec.Raw(b"\xc0")
    signal: msgspec.Raw = msgspec.Raw(b"")
    signals: list[msgspec.Raw] = []
    trace_id: str | None = None
    timeout_ms: float = 0
    agent: str | None = None
    reason: str = ""


class _Head(msgspec.Struct, frozen=True):
    id: msgspec.Raw = msgspec.Raw(b"\xc0")


_requests = msgspec.msgpack.Decoder(Request)
_heads = msgspec.msgpack.Decoder(_Head)
_signals = msgspec.msgpack.Decoder(Signal)
_keys = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_FIELDS = tuple(field.name for field in msgspec.structs.fields(Signal))


def parse_request(frame: bytes, role: Role) -> Request:
    """Read one request.

    Raises:
        RequestError: With the reply's code, message and field.
    """
    try:
        request = _requests.decode(frame)
    except msgspec.ValidationError as error:
        if " - at " not in str(error) and "missing" not in str(error):
            raise RequestError("a request is one msgpack map", code=Code.MALFORMED) from None
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RequestError(f"a request is one msgpack map: {error}", code=Code.MALFORMED) from None
    if request.v != 1:
        raise RequestError(
            f"protocol {request.v} is not spoken here; use 1", code=Code.UNSUPPORTED_VERSION, field="v"
        )
    least = OPERATIONS.get(request.op)
    if least is None:
        raise RequestError(
            f"unknown op {request.op[:40]!r}{nearest(request.op, OPERATIONS)}",
            code=Code.UNKNOWN_OPERATION,
            field="op",
        )
    if least is Role.OPERATOR and role is not Role.OPERATOR:
        raise RequestError(
            f"{request.op} is for operators: come through the socket in the node's run folder",
            code=Code.FORBIDDEN,
            field="op",
        )
    return request


def request_id(frame: bytes) -> msgspec.Raw:
    """The id of a request that may be wrong otherwise; nil where none can be read."""
    try:
        return _heads.decode(frame).id
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(b"\xc0")


def parse_signal(raw: bytes | msgspec.Raw) -> tuple[Signal, list[str]]:
    """Read one signal.

    Returns:
        The signal, and the keys that were not known and are left out.

    Raises:
        RequestError: With the field that is missing or wrong.
    """
    try:
        signal = _signals.decode(raw)
    except msgspec.ValidationError as error:
        if " - at " not in str(error) and str(error).startswith("Expected `object`"):
            raise RequestError("a signal is a map", code=Code.INVALID, field="signal") from None
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, OverflowError) as error:
        raise RequestError(f"a signal is a map: {error}", code=Code.MALFORMED, field="signal") from None
    given = _keys.decode(raw)
    return signal, [key[:64] for key in given if key not in _FIELDS]


def reply(id_: msgspec.Raw, **fields: Any) -> bytes:
    """Encode a reply that says yes, unless the fields say `ok: False`."""
    return _encoder.encode({"v": 1, "id": id_, "ok": True, **fields})


def error_body(error: RequestError) -> dict[str, Any]:
    """The `error` map of a reply."""
    return {"code": error.code, "message": str(error), "field": error.field}


def nearest(word: str, known: Any) -> str:
    """`; did you mean ...?` where something known is near, otherwise nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _invalid(message: str) -> RequestError:
    """Turn msgspec's words into ours, with the field's name."""
    text, _, place = message.partition(" - at ")
    field = place.strip("`").removeprefix("$").lstrip(".") or None
    missing = re.search(r"missing required field `(.+?)`", text)
    named = re.match(r"`(\w+)`", text)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
        text = f"`{field}` is missing"
    elif named and field is None:
        field = named[1]
    elif field:
        text = f"`{field}`: {text}"
    if field == "action":
        text = f"`action` must be one of {', '.join(ACTIONS)}"
    if field == "symbol" and "regex" in text:
        text = "`symbol` must be 1 to 32 characters of A-Z, 0-9 and . / : ^ = _ -, and not begin with a sign"
    return RequestError(text, code=Code.INVALID, field=field)
