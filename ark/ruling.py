"""A person's word on a held decision: a tag over what was ruled, on which signal, by whom and why.

The gateway makes it, the judge verifies it; no other process holds the secret, so none between them can answer in
a person's place. The tag is HMAC-SHA256; it covers the trace id and every field, each text in a frame of its own
length, so that no two different rulings have the same bytes under the tag.

What it does not cover: who the person is. The gateway takes an operator's word for his name.
"""

from __future__ import annotations

import hmac
import math
import struct

import msgspec

from ark.errors import AuthenticationError

__all__ = ["SECRET", "Ruling", "rule", "verify_ruling"]

SECRET = "ruling"
"""The name of the secret that the gateway shares with the judge; see `pipeline.secrets`."""
_DOMAIN = b"ark.ruling.1"
_HEAD = struct.Struct(">12s?d")
_LENGTH = struct.Struct(">Q")


class Ruling(msgspec.Struct, frozen=True, array_like=True):
    """How a held decision was ruled. Believe it only after `verify_ruling` has returned.

    Attributes:
        approved: Whether it may go on.
        by: Who ruled, as he called himself; `deadline` where nobody answered in time.
        reason: Why.
        at: When, seconds since the epoch.
        tag: HMAC-SHA256 over all of it and the trace id.
    """

    approved: bool
    by: str
    reason: str
    at: float
    tag: bytes

    @property
    def word(self) -> str:
        """`approved` or `refused`."""
        return "approved" if self.approved else "refused"


def rule(secret: bytes, trace_id: str, *, approved: bool, by: str, reason: str, at: float) -> Ruling:
    """Make a ruling.

    Args:
        secret: Shared by the gateway and the judge alone.
        trace_id: The signal that it is on.
        approved, by, reason, at: As in `Ruling`.

    Raises:
        ValueError: The secret is empty, or `at` is not a finite number.
    """
    if not math.isfinite(at):
        raise ValueError(f"a ruling is made at some time, not at {at}")
    ruling = Ruling(approved, by, reason, at, b"")
    return msgspec.structs.replace(ruling, tag=_tag(secret, trace_id, ruling))


def verify_ruling(secret: bytes, trace_id: str, ruling: Ruling) -> None:
    """Make sure that the gateway made exactly this ruling on exactly this signal.

    Args:
        secret: Shared by the gateway and the judge alone.
        trace_id: The signal at hand.
        ruling: What came with it, see `ark.Context.ruling`.

    Raises:
        AuthenticationError: It is forged, altered, or for another signal.
    """
    if not hmac.compare_digest(_tag(secret, trace_id, ruling), ruling.tag):
        raise AuthenticationError("the ruling is not the gateway's word on this signal", field="tag")


def _tag(secret: bytes, trace_id: str, ruling: Ruling) -> bytes:
    if not secret:
        raise ValueError("a ruling needs a secret")
    parts = [_HEAD.pack(_DOMAIN, ruling.approved, ruling.at)]
    for text in (trace_id, ruling.by, ruling.reason):
        framed = text.encode("utf-8", "surrogatepass")
        parts += (_LENGTH.pack(len(framed)), framed)
    return hmac.digest(secret, b"".join(parts), "sha256")
