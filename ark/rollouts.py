"""The rollout of the moment, from the file in which the deploy actor shows it: readable whatever hangs.

What each field says stands in docs/protocol.md, at `deploy.status`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from ark.home import Home

__all__ = ["SHOWN_S", "STATES", "is_stopped", "is_unled", "read_rollout", "shown_rollout"]

SHOWN_S = 600.0
"""For so long after its end a rollout is shown still."""
STATES = (
    "plan",
    "shadow",
    "baseline",
    "stage",
    "promoting",
    "bake",
    "paused",
    "inconclusive",
    "aborting",
    "permanent",
    "rolled_back",
    "passed",
)
_STOPPED = frozenset(("paused", "inconclusive", "aborting"))


class _Lease(msgspec.Struct):
    """What is read here of the routing table: `ark.routing` loads far more, and every status would pay for it."""

    rollout: str
    lease_until: float


def read_rollout(home: Home, now: float) -> dict[str, Any] | None:
    """The newest rollout since the node began; None where there was none, or it cannot be read.

    Beside what the deploy actor says of it there is `lease_s`: for how many seconds more the routing table counts
    if nobody renews it, None where there is none.

    Args:
        home: The node's.
        now: Seconds since the epoch.
    """
    try:
        document = json.loads(home.rollout_file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict):
        return None
    lease = None
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        lease = msgspec.json.decode(home.routes_file.read_bytes(), type=_Lease)
    is_its = lease is not None and lease.rollout == document.get("id")
    return {**document, "lease_s": round(lease.lease_until - now, 1) if lease is not None and is_its else None}


def shown_rollout(home: Home, now: float | None = None) -> dict[str, Any] | None:
    """The rollout that people are shown: one under way, or one that ended within the last ten minutes.

    Args:
        home: The node's.
        now: Seconds since the epoch; the clock's where absent.
    """
    at = time.time() if now is None else now
    document = read_rollout(home, at)
    if document is None or document.get("state") == "plan":
        return None
    since = document.get("since")
    over = document.get("is_over")
    return None if over and not (isinstance(since, int | float) and at - since <= SHOWN_S) else document


def is_unled(document: Mapping[str, Any]) -> bool:
    """Whether nobody leads a rollout that is under way: its table has run out, and each agent decides by itself."""
    if "lease_s" not in document or document.get("is_over") or document.get("state") == "plan":
        return False  # without that key it is the deploy actor's own word, who is there then
    lease_s = document["lease_s"]
    return lease_s is None or lease_s <= 0


def is_stopped(document: Mapping[str, Any]) -> bool:
    """Whether somebody should look at a rollout: it takes no step until something else happens than evidence.

    It is paused or on its way back, its deadline passed without a verdict, the judge wants somebody to look, or
    the deploy actor is not there.
    """
    if document.get("is_over"):
        return False
    verdict = document.get("verdict")
    doubts = isinstance(verdict, dict) and (verdict.get("answer") == "invalid" or bool(verdict.get("hold")))
    return document.get("state") in _STOPPED or doubts or is_unled(document)
