"""Protocol 1 of the front door: what is asked and what is answered. Bytes and values only, no sockets."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ark.errors import RequestError
from ark.signal import ACTIONS, TRACE_ID, ArrivingSignal, Signal
from ark.traceparent import check_state, read_parent

__all__ = [
    "LARGEST_MESSAGE",
    "LARGEST_SIGNAL",
    "MOST_HELD",
    "MOST_SIGNALS",
    "OPERATIONS",
    "Code",
    "Request",
    "Role",
    "busy",
    "error_body",
    "named_op",
    "named_trace_id",
    "nearest",
    "never_accepted",
    "parse_request",
    "parse_signal",
    "reply",
]

LARGEST_MESSAGE = 1 << 20
"""Bytes; a larger message ends the connection that sent it."""
LARGEST_SIGNAL = 1 << 16
"""Bytes. A signal travels through every agent, many in one frame; what is larger belongs elsewhere."""
MOST_SIGNALS = 10_000
"""In one request: a request is answered at once, and its answer is bounded as it is."""
MOST_HELD = 1000
"""Held decisions or dead letters in one reply, which is cut off at about the bytes of the largest message, too."""
LONGEST_ID = 1024
"""Bytes of a request's id, which is echoed in the reply."""
DEEPEST = 32
"""Levels of maps and lists in `features`, `metadata` and an id."""
_RETRY_AFTER_MS = 50


class Role(Enum):
    """What a client is, known by its key or, without one, by the socket that it came through."""

    INJECTOR = "injector"
    """Sends signals and asks what became of them."""
    OPERATOR = "operator"
    """Does that too, and looks after the node."""
    DEPLOYER = "deployer"
    """Brings agents out; sends no signals, and looks after nothing else."""


class Code:
    """Error codes of replies. They are part of the protocol: added, never changed."""

    MALFORMED = "malformed"
    """The bytes are not one msgpack map, or are nested too deep."""
    UNSUPPORTED_VERSION = "unsupported_version"
    """`v` is not 1."""
    UNKNOWN_OPERATION = "unknown_op"
    """There is no such `op`; the message names the nearest one."""
    FORBIDDEN = "forbidden"
    """The client's role may not do that, or its key is not good (any more)."""
    INVALID = "invalid"
    """A field is missing or wrong; `field` names it."""
    BUSY = "busy"
    """The journal's bound is reached, or it cannot be written; try again after `retry_after_ms`."""
    PENDING = "pending"
    """The signal has no outcome yet."""
    UNKNOWN_TRACE = "unknown_trace"
    """No signal with that trace id was ever accepted over this home."""
    UNKNOWN_AGENT = "unknown_agent"
    """No child of the tree has that name."""
    REFUSED = "refused"
    """The node will not do that now; the message says why."""


_ALL = frozenset(Role)
_TRADING = frozenset((Role.INJECTOR, Role.OPERATOR))
_OPERATING = frozenset((Role.OPERATOR,))
_DEPLOYING = frozenset((Role.OPERATOR, Role.DEPLOYER))

OPERATIONS: Mapping[str, frozenset[Role]] = {
    "inject": _TRADING,
    "outcome": _ALL,
    "trace": _ALL,
    "status": _ALL,
    "isolate": _OPERATING,
    "release": _OPERATING,
    "restart": _OPERATING,
    "stop": _OPERATING,
    "start": _OPERATING,
    "halt": _OPERATING,
    "resume": _OPERATING,
    "held": _OPERATING,
    "approve": _OPERATING,
    "refuse": _OPERATING,
    "dead_letters": _OPERATING,
    "dead_letter": _OPERATING,
    "retry": _OPERATING,
    "drop": _OPERATING,
    "log_level": _OPERATING,
    "deploy.plan": _DEPLOYING,
    "deploy.start": _DEPLOYING,
    "deploy.status": _ALL,
    "deploy.pause": _DEPLOYING,
    "deploy.resume": _DEPLOYING,
    "deploy.promote": _DEPLOYING,
    "deploy.approve": _DEPLOYING,
    "deploy.override": _OPERATING,
    "deploy.abort": _DEPLOYING,
    "deploy.undo": _DEPLOYING,
    "deploy.explain": _ALL,
    "deploy.history": _ALL,
    "rollback": _DEPLOYING,
}
"""Every operation, and the roles that may ask for it."""

_THAWING = ("freeze", "timezone", "budget_freeze", "budget_caution")
"""Settings of a rollout that say when it stands still."""


class Request(msgspec.Struct, frozen=True):
    """A request with its operation's fields; what does not belong to the operation is empty."""

    op: str
    v: int = 1
    id: msgspec.Raw = msgspec.Raw(b"\xc0")
    signal: msgspec.Raw = msgspec.Raw(b"")
    signals: list[msgspec.Raw] = []
    trace_id: Annotated[str, Meta(max_length=64)] | None = None
    timeout_ms: float = 0
    agent: Annotated[str, Meta(max_length=64)] | None = None
    reason: Annotated[str, Meta(max_length=500)] = ""
    by: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_HELD)] = MOST_HELD
    all: bool = False
    fresh: bool = False
    level: Annotated[str, Meta(max_length=16)] = ""
    for_s: Annotated[float, Meta(ge=0)] = 0.0
    rollout: Annotated[str, Meta(max_length=64)] = ""
    plan: dict[str, Any] = {}
    to: Annotated[str, Meta(max_length=128)] = ""
    gate: Annotated[str, Meta(max_length=16)] = ""
    full: bool = False
    now: bool = False

    @property
    def who(self) -> str:
        """In whose name it acts: the key's, or what a client without a key says of himself."""
        return self.by.strip() or "operator"

    def need_trace_id(self) -> str:
        """The trace id; raises RequestError where it is missing."""
        if not self.trace_id:
            raise RequestError("`trace_id` is missing", code=Code.INVALID, field="trace_id")
        return self.trace_id

    def need_reason(self) -> None:
        """Raises RequestError where nobody says why."""
        if not self.reason.strip():
            raise RequestError(f"{self.op} needs a `reason`", code=Code.INVALID, field="reason")


class _KnownOnly(ArrivingSignal, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A signal without unknown keys: the ordinary case, decided in one pass."""


class _Named(msgspec.Struct, frozen=True):
    trace_id: Annotated[str, Meta(pattern=TRACE_ID)] = ""


class _Head(msgspec.Struct, frozen=True):
    id: msgspec.Raw = msgspec.Raw(b"\xc0")


class _Op(msgspec.Struct, frozen=True):
    op: str = ""


_requests = msgspec.msgpack.Decoder(Request)
_named = msgspec.msgpack.Decoder(_Named)
_heads = msgspec.msgpack.Decoder(_Head)
_ops = msgspec.msgpack.Decoder(_Op)
_signals = msgspec.msgpack.Decoder(ArrivingSignal)
_known_only = msgspec.msgpack.Decoder(_KnownOnly)
_keys = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)
"""What msgspec raises for bytes that it cannot read; text that is no UTF-8 is no `DecodeError` to it."""
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
    except _UNREADABLE as error:
        raise RequestError(f"a request is one msgpack map: {error}", code=Code.MALFORMED) from None
    _check_id(request.id)
    if request.v != 1:
        raise RequestError(
            f"protocol {request.v} is not spoken here; use 1", code=Code.UNSUPPORTED_VERSION, field="v"
        )
    allowed = OPERATIONS.get(request.op)
    if allowed is None:
        raise RequestError(
            f"unknown op {request.op[:40]!r}{nearest(request.op, OPERATIONS)}",
            code=Code.UNKNOWN_OPERATION,
            field="op",
        )
    if role not in allowed:
        those = ", ".join(each.value for each in Role if each in allowed)
        raise RequestError(
            f"{request.op} is not for the role {role.value}, but for {those}",
            hint="come with such a key, or through the socket in the node's run folder",
            code=Code.FORBIDDEN,
            field="op",
        )
    if role is Role.DEPLOYER and request.op == "deploy.start":
        _check_thaw(request.plan)
    return request


def _check_thaw(plan: Mapping[str, Any]) -> None:
    """Refuse a rollout that would go on during a freeze by its own plan: that word is `deploy.override`'s."""
    settings = plan.get("settings")
    set_anew = [f"plan.settings.{name}" for name in _THAWING if isinstance(settings, dict) and name in settings]
    named = ["plan.override"] if plan.get("override") else []
    for field in (*named, *set_anew):
        those = ", ".join(each.value for each in Role if each in OPERATIONS["deploy.override"])
        raise RequestError(
            f"`{field}` lets a rollout go on during a freeze, which is not for the role deployer, but for {those}",
            code=Code.FORBIDDEN,
            field=field,
        )


def request_id(frame: bytes) -> msgspec.Raw:
    """The id of a request that may be wrong otherwise; nil where none can be read."""
    try:
        id_ = _heads.decode(frame).id
        _check_id(id_)
    except (*_UNREADABLE, RequestError):
        return msgspec.Raw(b"\xc0")
    return id_


def named_op(frame: bytes) -> str:
    """The operation that a request asks for, for who tells of it; cut short, and "" where none can be read."""
    try:
        return _ops.decode(frame).op[:40]
    except _UNREADABLE:
        return ""


def parse_signal(raw: bytes | msgspec.Raw) -> tuple[Signal, list[str]]:
    """Read one signal.

    Returns:
        The signal, and the keys that were not known and are left out.

    Raises:
        RequestError: With the field that is missing or wrong.
    """
    if len(raw) > LARGEST_SIGNAL:
        raise RequestError(f"a signal has at most {LARGEST_SIGNAL} bytes", code=Code.INVALID, field="signal")
    try:
        signal: Signal = _known_only.decode(raw)
        ignored: list[str] = []
    except _UNREADABLE:  # an unknown key, or a fault that is to be named
        signal, ignored = _read_closely(raw)
    for field in ("features", "metadata"):
        _check_tree(getattr(signal, field), field)
    if signal.traceparent or signal.tracestate:
        _check_trace(signal)
    return signal, ignored


def _read_closely(raw: bytes | msgspec.Raw) -> tuple[Signal, list[str]]:
    try:
        signal = _signals.decode(raw)
    except msgspec.ValidationError as error:
        if " - at " not in str(error) and str(error).startswith("Expected `object`"):
            raise RequestError("a signal is a map", code=Code.INVALID, field="signal") from None
        raise _invalid(str(error)) from None
    except _UNREADABLE as error:
        raise RequestError(f"a signal is a map: {error}", code=Code.MALFORMED, field="signal") from None
    try:
        given = _keys.decode(raw)
    except _UNREADABLE as error:
        raise RequestError(f"a signal is a map: {error}", code=Code.MALFORMED, field="signal") from None
    return signal, [key[:64] for key in given if key not in _FIELDS]


def named_trace_id(raw: bytes | msgspec.Raw) -> str | None:
    """The trace id that a rejected signal gave itself, so that its sender knows which one it was; None for none."""
    try:
        return _named.decode(raw).trace_id or None
    except _UNREADABLE:
        return None


def reply(id_: msgspec.Raw, /, **fields: Any) -> bytes:
    """Encode a reply that says yes, unless the fields say `ok: False`."""
    return _encoder.encode({"v": 1, "id": id_, "ok": True, **fields})


def error_body(error: RequestError) -> dict[str, Any]:
    """The `error` map of a reply."""
    return {"code": error.code, "message": str(error), "field": error.field}


def busy(why: str, *, retry_after_ms: int = _RETRY_AFTER_MS) -> dict[str, Any]:
    """The fields of a reply that asks to come again.

    Args:
        why: What has no room now.
        retry_after_ms: When, milliseconds.
    """
    error = {"code": Code.BUSY, "message": f"{why}; try again later", "field": None}
    return {"ok": False, "error": error, "retry_after_ms": retry_after_ms}


def never_accepted(trace_id: str) -> RequestError:
    """The error for a trace that nobody knows here."""
    return RequestError(f"no signal {trace_id[:64]} was ever accepted", code=Code.UNKNOWN_TRACE, field="trace_id")


def nearest(word: str, known: Any) -> str:
    """`; did you mean ...?` where something known is near, otherwise nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_id(id_: msgspec.Raw) -> None:
    """Refuse an id that could not be echoed to the client in a way that it can read."""
    if len(id_) > LONGEST_ID:
        raise RequestError(f"`id` has at most {LONGEST_ID} bytes", code=Code.INVALID, field="id")
    try:
        value = msgspec.msgpack.decode(id_)
    except (msgspec.DecodeError, ValueError, OverflowError, TypeError, RecursionError) as error:
        raise RequestError(f"`id`: {error}", code=Code.INVALID, field="id") from None
    if _fault(value, DEEPEST, finite=False):
        raise RequestError(f"`id` is nested more than {DEEPEST} levels deep", code=Code.INVALID, field="id")


def _check_tree(value: Any, field: str) -> None:
    fault = _fault(value, DEEPEST) if value else None
    if fault:
        text, path = fault
        place = ".".join((field, *(key[:64] for key in reversed(path[-4:]))))
        raise RequestError(f"`{place}` {text}", code=Code.INVALID, field=place)


def _check_trace(signal: Signal) -> None:
    """Refuse what the W3C's Trace Context does not allow, and a `tracestate` of no trace."""
    field = "traceparent" if signal.traceparent else "tracestate"
    try:
        if not signal.traceparent:
            raise ValueError("belongs to a `traceparent`, and there is none")
        read_parent(signal.traceparent)
        field = "tracestate"
        check_state(signal.tracestate)
    except ValueError as error:
        raise RequestError(f"`{field}` {error}", code=Code.INVALID, field=field) from None


def _fault(value: Any, levels: int, *, finite: bool = True) -> tuple[str, list[str]] | None:
    """What is wrong with a tree of maps and lists, and the way to it from the inside out; None for nothing."""
    if isinstance(value, float):
        return ("must be a finite number", []) if finite and not math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return None
    if isinstance(value, dict):
        inside: Any = value.items()
    elif isinstance(value, (list, tuple)):
        inside = enumerate(value)
    else:
        return None
    if not levels:
        return f"is nested more than {DEEPEST} levels deep", []
    for key, each in inside:
        fault = _fault(each, levels - 1, finite=finite)
        if fault:
            fault[1].append(str(key))
            return fault
    return None


def _invalid(message: str) -> RequestError:
    """Turn msgspec's words into ours, with the field's name."""
    text, _, place = message.partition(" - at ")
    key, _, within = place.partition(" in ")
    if key == "`key`":  # a key of a map, which is not text
        text, place = f"a key: {text}", within
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
    if field == "direction" and not missing:
        text = "`direction` must be long or short"
    if field == "symbol" and "regex" in text:
        text = "`symbol` must be 1 to 32 characters of A-Z, 0-9 and . / : ^ = _ -, and not begin with a sign"
    if field == "trace_id" and "regex" in text:
        text = "`trace_id` must be a UUID in lower case, as 0f8fad5b-d9cb-469f-a165-70867728950e"
    return RequestError(text, code=Code.INVALID, field=field)
