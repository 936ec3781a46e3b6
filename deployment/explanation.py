"""Why a rollout is where it is, in plain words, and how long it may still take. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from deployment.progress import Inputs, Rollout, State, Verdict, is_over
from deployment.rollout import holds

__all__ = ["WORDS", "describe", "duration", "expected_s", "explain"]

WORDS: Mapping[State, str] = {
    "plan": "a plan that nobody has started",
    "shadow": "in shadow: both arms see copies of all signals, and nothing that they say has an effect",
    "baseline": "taking the baseline's measure: it decides its share, and the canary still none",
    "stage": "in a stage: canary and baseline each decide their share",
    "promoting": "promoting: the agent's own process restarts with the new release",
    "bake": "baking: the agent runs the new release provisionally, and the old one stays warm",
    "paused": "paused: it keeps its shares, and its deadline goes on",
    "inconclusive": "inconclusive: its deadline passed without a verdict, and it waits for one, or for a person",
    "aborting": "on its way back: the stable release decides all signals",
    "permanent": "permanent: the new release is the node's own",
    "rolled_back": "rolled back: the stable release is the node's own",
    "passed": "passed: the same release on both arms showed no difference",
}


def explain(rollout: Rollout, inputs: Inputs, rate: float = 0.0) -> list[str]:
    """Where a rollout is, why, and what comes next; one sentence a line.

    Args:
        rollout: How far it is.
        inputs: What is so now.
        rate: How many signals a second both arms see; 0 if unknown.
    """
    lines = [f"{describe(rollout)} is {WORDS[rollout.state]}."]
    if rollout.here == "stage":
        lines.append(f"The canary's share is {rollout.share:g} %.")
    steps = [each for each in reversed(rollout.history) if not each.is_note]
    if rollout.state == "rolled_back":  # who began the way back is the reason, and not who came to its end
        steps = [each for each in steps if each.target == "aborting"] or steps
    last = steps[0] if steps else None
    if last is not None and len(rollout.history) > 1:
        lines.append(f"It came here from {last.source} because {last.why} (by {last.by}).")
        if last.evidence:
            lines.append(f"The judge said then: {last.evidence}.")
    if rollout.rollback is not None and rollout.state == "aborting":
        lines.append(f"It is at the step {rollout.rollback.phase!r} of the way back.")
    lines += [f"On the way back: {each}." for each in rollout.troubles]
    if rollout.plan.strategy == "aa" and rollout.rollback is not None and last is not None and last.by == "judge":
        lines.append(
            "Both arms run the same release: what was found is no release's fault, but the judge's settings' or the"
            " system's."
        )
    verdict = inputs.verdict
    if verdict is not None and not is_over(rollout) and rollout.state != "aborting":
        lines.append(f"The judge says now: {verdict.answer}, {verdict.why}.")
        wait = expected_s(verdict, rate)
        if wait is not None:
            lines.append(f"At the rate of now, a verdict takes about {duration(wait)} more.")
        elif verdict.answer == "undecided":
            lines.append("At the rate of now, no verdict is to be expected.")
    lines += [f"It does not go on yet: {each}." for each in holds(rollout, inputs)]
    if rollout.deadline:
        left = max(rollout.deadline - rollout.at, 0.0)
        lines.append(f"{_at_the_deadline(rollout)} in {duration(left)} at the latest.")
    return lines


def expected_s(verdict: Verdict, rate: float) -> float | None:
    """How long it may take until a verdict is there, in seconds; None if it does not lead there.

    Args:
        verdict: The newest.
        rate: How many signals a second both arms see.
    """
    if verdict.answer in ("pass", "fail"):
        return 0.0
    left = [each for each in (verdict.to_pass, verdict.to_fail) if each is not None]
    return min(left) / rate if left and rate > 0 and verdict.answer == "undecided" else None


def describe(rollout: Rollout) -> str:
    """A rollout in a few words: its name, and which releases it is about."""
    plan = rollout.plan
    moved = ", ".join(
        f"{role} {_short(release)} over {_short(plan.stable[role])}"
        if plan.strategy != "aa"
        else f"{role} {_short(release)} twice"
        for role, release in sorted(plan.roles.items())
    )
    return f"{plan.id} ({plan.strategy}: {moved})"


def duration(seconds: float) -> str:
    """A duration for people, as `90 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _at_the_deadline(rollout: Rollout) -> str:
    if rollout.state == "plan":
        return "It lapses"
    if rollout.state == "aborting":
        return "The way back ends"
    if rollout.state in ("shadow", "baseline", "stage") and rollout.plan.settings.inconclusive == "hold":
        return "It goes on, or holds"
    return "It goes on, or is rolled back"


def _short(release: str) -> str:
    return release[:12] if release else "the installed package"
