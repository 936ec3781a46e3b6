"""HRM's word to Kenny: a tag over the exact bytes of a plan.

The tag is HMAC-SHA256 under a secret that only HRM and Kenny hold. It covers the trace id, the plan's bytes,
the epoch and the expiry, each in a frame of its own length, so that no two different approvals have the same
bytes under the tag, wherever their fields begin and end.

What it does not cover:

- One use. A tag says that HRM approved this plan for this trace; that the trace is acted on once is Kenny's
  journal.
- The present epoch. A signal that comes again gets the answer that HRM recorded, with the epoch and the
  expiry of the first time; so Kenny takes an approval of an older epoch as long as it has not expired.
  `expires` is the bound.
"""

from __future__ import annotations

import hmac
import math
import struct

from actors.messages import Approval
from ark.errors import AuthenticationError

__all__ = ["approve", "verify"]

_DOMAIN = b"ark.approval.1"
_HEAD = struct.Struct(">14sQdQ")
_LENGTH = struct.Struct(">Q")


def _tag(secret: bytes, trace_id: str, plan: bytes, epoch: int, expires: float) -> bytes:
    if not secret:
        raise ValueError("an approval needs a secret")
    trace = trace_id.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(_DOMAIN, epoch, expires, len(trace))
    return hmac.digest(secret, b"".join((head, trace, _LENGTH.pack(len(plan)), plan)), "sha256")


def approve(secret: bytes, trace_id: str, plan_bytes: bytes, epoch: int, expires: float) -> Approval:
    """Tag a plan.

    Args:
        secret: Shared by HRM and Kenny alone.
        trace_id: The signal that the plan is for.
        plan_bytes: The plan, msgpack, as Kenny is to act on it.
        epoch: The epoch in which it is approved.
        expires: Until when it holds, seconds since the epoch of Unix.

    Raises:
        ValueError: The secret is empty or the expiry is not a finite number.
    """
    if not math.isfinite(expires):
        raise ValueError(f"an approval must expire, not at {expires}")
    return Approval(plan_bytes, epoch, expires, _tag(secret, trace_id, plan_bytes, epoch, expires))


def verify(secret: bytes, trace_id: str, approval: Approval, now: float, epoch: int) -> None:
    """Make sure that HRM approved exactly this plan for exactly this signal, and that it still holds.

    Args:
        secret: Shared by HRM and Kenny alone.
        trace_id: The signal at hand, from the envelope, not from the plan.
        approval: What came with it. Decode the plan from `approval.plan` only after this has returned.
        now: Seconds since the epoch of Unix.
        epoch: The newest epoch that the verifier knows of.

    Raises:
        AuthenticationError: With `field` saying what is wrong: `tag` (forged, altered, or for another
            signal), `epoch` (from one that is yet to come), or `expires`.
    """
    try:
        tag = _tag(secret, trace_id, approval.plan, approval.epoch, approval.expires)
    except (struct.error, TypeError, OverflowError) as error:
        raise AuthenticationError("the approval is malformed", field="tag") from error
    if not hmac.compare_digest(tag, approval.tag):
        raise AuthenticationError("the approval is not HRM's word on this plan for this signal", field="tag")
    if approval.epoch > epoch:
        raise AuthenticationError(
            f"the approval is of epoch {approval.epoch}, but this is epoch {epoch}", field="epoch"
        )
    if not now <= approval.expires:
        raise AuthenticationError(
            f"the approval expired {now - approval.expires:.3f} s ago",
            field="expires",
            hint="send the signal again; HRM's setting `approval_ttl_s` says how long an approval holds",
        )
