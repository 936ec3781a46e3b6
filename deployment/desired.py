"""The world that a rollout wants, as a function of it and the time: what to make so, whatever was so before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ark.routing import LEASE_S
from deployment.progress import Inputs, Rollout, is_over
from deployment.samples import Segment

__all__ = ["Desired", "Shares", "Table", "Task", "desired", "is_so", "observed", "shares", "stable_of"]

_BOTH = frozenset(("shadow", "baseline", "stage", "promoting", "bake"))


class Shares(msgspec.Struct, frozen=True):
    """Who decides, for each role of a rollout.

    Attributes:
        canary, baseline: Each arm's share, 0 to 1; the role's own process decides the rest.
        copies: Whether both arms see all signals, too, without effect.
    """

    canary: float = 0.0
    baseline: float = 0.0
    copies: bool = False


class Table(msgspec.Struct, frozen=True):
    """The routing table.

    Attributes:
        generation: Its number.
        rollout: Whose it is; also the salt of the hash.
        lease_until: When it counts no more unless it is renewed, seconds since the epoch.
        by: What keeps a signal with one arm: `symbol`, `source` or `notional`.
        roles: Who decides, by role.
    """

    generation: int
    rollout: str
    lease_until: float
    by: str
    roles: dict[str, Shares]


class Task(msgspec.Struct, frozen=True):
    """Something to do once on the way back, whose end `Inputs.task` tells. It may come again after a crash.

    Attributes:
        kind: `undo` undoes what the release wrote into the agents' state, and restarts those whose state changed;
            `health` asks whether the roles answer; `validation` whether they decide as they should.
        attempt: Which try it is, from 1.
        not_before: When to begin, seconds since the epoch.
    """

    kind: Literal["undo", "health", "validation"]
    attempt: int
    not_before: float


class Desired(msgspec.Struct, frozen=True):
    """What should be so now.

    Attributes:
        arms: Which arms are to run, and with which release, by role.
        table: The routing table; None for none, so that each role decides all.
        permanent: Each role's permanent release.
        provisional: The release that a role's own process is to run meanwhile; the permanent one where absent.
        provisional_until: From then on the provisional ones count no more, whoever is dead; 0 for none.
        judged: Which processes of a role run the release that is judged: `canary`, `baseline`, `stable` (its own).
        replay_rate: How many recorded signals a second to show to both arms.
        task: What is to be done once.
    """

    arms: dict[str, dict[str, str]]
    table: Table | None
    permanent: dict[str, str]
    provisional: dict[str, str]
    provisional_until: float
    judged: tuple[str, ...]
    replay_rate: float
    task: Task | None


def desired(rollout: Rollout, now: float) -> Desired:
    """The world that a rollout wants.

    Args:
        rollout: How far it is.
        now: Seconds since the epoch.
    """
    plan, here = rollout.plan, rollout.here
    promoted = here in ("promoting", "bake")
    return Desired(
        arms={role: arms for role in plan.roles if (arms := _arms(rollout, role))},
        table=None
        if here == "plan" or is_over(rollout)
        else Table(
            rollout.generation,
            plan.id,
            now + LEASE_S,
            plan.settings.by,
            dict.fromkeys(plan.roles, shares(rollout)),
        ),
        permanent=dict(plan.roles) if rollout.state == "permanent" else {**plan.stable, **_chosen(rollout)},
        provisional=dict(plan.roles) if promoted else {},
        provisional_until=rollout.deadline if promoted else 0.0,
        judged=("canary", "stable") if here == "bake" else ("canary",),
        replay_rate=plan.settings.replay_rate if here in _BOTH else 0.0,
        task=_task(rollout),
    )


def stable_of(rollout: Rollout) -> dict[str, str]:
    """What each role of a rollout runs when it is not the new release: the stable one, or what somebody chose."""
    chosen = _chosen(rollout)
    return {role: chosen.get(role, release) for role, release in rollout.plan.stable.items()}


def shares(rollout: Rollout) -> Shares:
    """Who decides in a rollout's state."""
    plan, here = rollout.plan, rollout.here
    if here == "baseline":
        return Shares(0.0, plan.baseline_share / 100, copies=True)
    if here == "stage":
        return Shares(rollout.share / 100, min(rollout.share, 100 - rollout.share) / 100, copies=True)
    if here == "promoting":
        return Shares(1.0, 0.0, copies=True)
    if here in ("shadow", "bake"):
        return Shares(copies=True)
    back = rollout.rollback
    if here == "aborting" and back is not None and back.carried:
        steps = plan.settings.ramp_back
        return Shares(0.0, 1.0 if back.ramp < 0 else 1.0 - steps[back.ramp] / 100)
    return Shares()


def is_so(rollout: Rollout, inputs: Inputs) -> bool:
    """Whether what a rollout's state is about is really so: the arms warm, the table in force, the roles running
    what they should.
    """
    wanted = desired(rollout, rollout.at)
    arms = all(
        inputs.warm.get(role, {}).get(arm) == release
        for role, arms in wanted.arms.items()
        for arm, release in arms.items()
    )
    follows = wanted.table is None or inputs.generation == wanted.table.generation
    return arms and follows and runs(inputs, wanted.provisional)


def runs(inputs: Inputs, releases: dict[str, str]) -> bool:
    """Whether the roles' own processes run these releases."""
    return all(inputs.running.get(role) == release for role, release in releases.items())


def observed(rollout: Rollout, segments: Iterable[Segment]) -> int:
    """How many signals the arms have seen under the table that a rollout wants, of the role that has seen fewest.

    A signal that both saw counts, live or replayed, or one that the canary decided with effect.
    """
    seen = dict.fromkeys(rollout.plan.roles, 0)
    for each in segments:
        if each.generation == rollout.generation and each.role in seen:
            seen[each.role] = max(each.pairs.compared + each.replayed.compared, each.canary.trials)
    return min(seen.values())


def _chosen(rollout: Rollout) -> dict[str, str]:
    return rollout.rollback.chosen if rollout.rollback is not None else {}


def _arms(rollout: Rollout, role: str) -> dict[str, str]:
    plan = rollout.plan
    both = {"canary": plan.roles[role], "baseline": plan.stable[role]}
    if rollout.here in _BOTH:
        return both
    back = rollout.rollback
    if rollout.state != "aborting" or back is None or back.source in ("plan", "permanent"):
        return {}
    # Nobody is stopped before the table that takes the signals away from them is in force.
    if back.phase == "table":
        return both
    return {"baseline": plan.stable[role]} if back.carried else {}


def _task(rollout: Rollout) -> Task | None:
    back = rollout.rollback
    if rollout.state == "aborting" and back is not None and back.phase in ("undo", "health", "validation"):
        return Task(back.phase, back.attempt, back.not_before)
    return None
