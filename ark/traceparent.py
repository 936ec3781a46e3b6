"""The trace context of the W3C: whose trace a signal belongs to, outside of ARK.

`traceparent` names a trace, the span in it that caused the signal, and whether the caller records it; `tracestate`
holds what each tracing system wants to find again. See https://www.w3.org/TR/trace-context/. Pure.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["LONGEST_TRACEPARENT", "LONGEST_TRACESTATE", "Parent", "check_state", "read_parent"]

LONGEST_TRACEPARENT = 256
"""Characters. Version 00 has 55; a later one may have more."""
LONGEST_TRACESTATE = 512
"""Characters: as many as the specification wants to be handed on."""
MOST_MEMBERS = 32

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}", re.ASCII)
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
_FORM = "00-<32 hexadecimal digits>-<16>-<2>, in lower case"


class Parent(msgspec.Struct, frozen=True):
    """What a `traceparent` says.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes: the span that caused the signal.
        is_sampled: Whether the caller may have recorded it.
    """

    trace_id: bytes
    span_id: bytes
    is_sampled: bool


def read_parent(text: str) -> Parent:
    """Read a `traceparent`, also one of a later version of the specification, as far as that is known.

    Raises:
        ValueError: It is none; the message says why.
    """
    found = _PARENT.fullmatch(text)
    if found is None:
        raise ValueError(f"must have the form {_FORM}")
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff":
        raise ValueError("has the version ff, which there is not")
    if version == "00" and more is not None:
        raise ValueError(f"goes on behind its end; it must have the form {_FORM}")
    if not int(trace_id, 16):
        raise ValueError("has a trace id of zeros alone")
    if not int(span_id, 16):
        raise ValueError("has a parent id of zeros alone")
    return Parent(bytes.fromhex(trace_id), bytes.fromhex(span_id), bool(int(flags, 16) & 1))


def check_state(text: str) -> None:
    """Check a `tracestate`.

    Raises:
        ValueError: It is none; the message says why.
    """
    seen: set[str] = set()
    for member in text.split(","):
        stripped = member.strip(" \t")
        if not stripped:
            continue
        key, equals, value = stripped.partition("=")
        if not equals:
            raise ValueError("is a list of KEY=VALUE, with commas between them")
        if not _KEY.fullmatch(key):
            raise ValueError(f"has the key {key[:40]!r}, which is none")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"has a value of {key[:40]!r} that is none")
        if key in seen:
            raise ValueError(f"has the key {key[:40]!r} twice")
        seen.add(key)
    if len(seen) > MOST_MEMBERS:
        raise ValueError(f"has {len(seen)} members; {MOST_MEMBERS} are allowed")
