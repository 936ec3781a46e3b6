"""A rollout as people and programs are told of it: one document, from what is kept and what is so. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from deployment.deploy_book import Kept
from deployment.desired import shares
from deployment.explanation import duration, expected_s, explain
from deployment.observation import ARMS
from deployment.progress import Inputs, is_over
from deployment.rollout import holds
from deployment.samples import Segment

__all__ = ["Rate", "arms_of", "document_of"]

_RATE_S = 30.0


class Rate:
    """How many signals a second both arms see, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, count: float, now: float) -> None:
        """Take a count that only rises."""
        if not self._seen or now - self._seen[-1][0] >= 1.0 or now < self._seen[-1][0]:
            self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Signals a second; 0 while nothing is known."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return max(0.0, (last - first) / (ended - began)) if ended > began else 0.0


def arms_of(segments: Iterable[Segment]) -> dict[str, Any]:
    """What the arms of each role did under all routing tables together: counts of each arm, and of pairs."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for segment in segments:
        of = found.setdefault(segment.role, {name: Counter() for name in (*ARMS, "pairs", "replayed")})
        for name, counts in of.items():
            counts.update(msgspec.structs.asdict(getattr(segment, name)))
    return {role: {name: dict(counts) for name, counts in of.items()} for role, of in found.items()}


def document_of(kept: Kept, inputs: Inputs, *, rate: float = 0.0, full: bool = False) -> dict[str, Any]:
    """The document of `deploy.status`, `deploy.explain` and `deploy.history`.

    Args:
        kept: The rollout.
        inputs: What is so now; empty for one that is not under way.
        rate: Signals a second that both arms see.
        full: With its plan, its whole history, and the reasons in words.
    """
    rollout = kept.rollout
    plan, verdict = rollout.plan, inputs.verdict
    share = shares(rollout)
    wait_s = None if verdict is None else expected_s(verdict, rate)
    document: dict[str, Any] = {
        "id": plan.id,
        "state": rollout.state,
        "under": rollout.under or None,
        "strategy": plan.strategy,
        "roles": dict(plan.roles),
        "stable": dict(plan.stable),
        "stages": plan.stages,
        "split_by": plan.settings.by,
        "policy": plan.settings.policy,
        "share": rollout.share,
        "canary_share": share.canary,
        "baseline_share": share.baseline,
        "by": plan.by,
        "note": plan.note,
        "since": rollout.since,
        "deadline": rollout.deadline or None,
        "is_over": is_over(rollout),
        "holds": holds(rollout, inputs),
        "signals": inputs.signals,
        "rate_per_s": round(rate, 3),
        "expected_s": None if wait_s is None else round(wait_s, 1),
        "expected": None if wait_s is None else duration(wait_s),
        "verdict": msgspec.json.decode(kept.evidence),
        "arms": msgspec.json.decode(kept.arms),
        "budget": msgspec.to_builtins(inputs.budget),
        "phase": rollout.rollback.phase if rollout.rollback and rollout.state == "aborting" else None,
        "to_zero_s": kept.to_zero_s,
        "facts": msgspec.to_builtins(kept.facts),
        "troubles": list(rollout.troubles),
        "last": msgspec.to_builtins(rollout.history[-1]) if rollout.history else None,
    }
    if full:
        document["plan"] = msgspec.to_builtins(plan)
        document["history"] = msgspec.to_builtins(rollout.history)
        document["explanation"] = explain(rollout, inputs, rate)
        document["examples"] = msgspec.json.decode(kept.examples)
    return document
