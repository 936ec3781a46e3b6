"""A rollout as a pure function: `step(rollout, now, inputs) -> (rollout, effects)`.

`desired(rollout, now)` says what the world should be like; whoever calls this keeps the rollout that comes back,
and then makes the world so. Both may be done again after a crash at any point: what a step decided stands in the
rollout, and what the world lacks is seen anew.

Exact semantics
===============

**Time.** Deadlines count all time since a state began, also while nobody looked. Minimums count only what was
watched: time between two looks, at most `LONGEST_GAP_S` of it, if all was so at both. So a clock that jumps
forwards can end a state, and never make it succeed. A clock that jumps backwards moves the deadlines along.

**Order within a step.** A node that restarted, then the judge's `fail`, then operators' words. If none of these
moved it: the way back, or the deadline, or one step forwards.

**Failing.** A `fail` in any state from `shadow` on, also paused, takes the traffic from the canary in the same
step, before anything else is undone, and no `promote` stands against it. An `invalid` verdict, and one that asks
to hold, only hold.

**Forwards.** Every step takes the state's minimum and so many signals. From a stage on, and before a first stage
of 100 %, it takes the judge's `pass`, or a person's `promote` with `full` and a reason. Freeze windows and the
error budget hold every step but the last one, which changes nothing that runs: a bake that is confirmed during a
freeze becomes permanent. Gates hold the step that they stand before, also on the way by half steps, and `full`
passes none of them without its people.

**Deadlines.** A state that can go on for longer without harm becomes `inconclusive` first, which still goes on if
the verdict comes, and `resume` there is a person's word for the whole length once more.

**Back.** `abort` and `undo` are heard in every state, and again change nothing. The phases: `table` waits until
the new table is in force, `restart` until the roles run the stable release where they did not, then the tasks
`undo` and `health` (with retries), `ramp` moves the traffic from the stable release's warm arm to the role, and
the task `validation`. A phase that takes too long is noted as a trouble, and the next one begins; the end is
always `rolled_back`.

**Restarts.** A node that restarts ends what has begun and is not permanent. The deploy actor's restart changes
nothing but that the time was not watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ark.migration import is_from_before, release_of_keys
from deployment.desired import Desired, desired, observed
from deployment.plan import Plan
from deployment.progress import Inputs, Rollout, create, is_active, is_over
from deployment.turn import LONGEST_GAP_S, Effect, Turn

__all__ = [
    "LONGEST_GAP_S",
    "Desired",
    "Effect",
    "Inputs",
    "Rollout",
    "conflict",
    "create",
    "desired",
    "holds",
    "observed",
    "state_conflict",
    "step",
    "undo_conflict",
    "worth_undoing",
]


def step(rollout: Rollout, now: float, inputs: Inputs) -> tuple[Rollout, list[Effect]]:
    """Look once.

    Args:
        rollout: How far it is.
        now: Seconds since the epoch.
        inputs: What is so.
    """
    turn = Turn(rollout, now, inputs)
    turn.take()
    return turn.rollout, turn.effects


def holds(rollout: Rollout, inputs: Inputs) -> list[str]:
    """Why a rollout takes no step forwards now, in words for people; empty: it does, or it has none to take."""
    if is_over(rollout) or rollout.here in ("aborting", "promoting"):
        return []
    return Turn(rollout, rollout.at, inputs).holds()


def conflict(plan: Plan, rollouts: Iterable[Rollout]) -> str:
    """Why a plan cannot be started beside other rollouts; empty if it can.

    One at a time: two of the same agent would contradict each other, and two of different ones would each be
    blamed for the other's faults, since every signal passes both.
    """
    for other in rollouts:
        if is_active(other) and other.plan.id != plan.id:
            shared = ", ".join(sorted(other.plan.roles.keys() & plan.roles.keys()))
            about = f"is about {shared}, too" if shared else "each would be blamed for the other's faults"
            return f"{other.plan.id} is under way and {about}; wait for its end, abort it, or roll all out as one"
    return ""


def state_conflict(plan: Plan, marks: Mapping[str, object]) -> str:
    """Why a plan cannot be started with the state that the agents keep; empty if it can.

    A release from before a way up that the state has gone would not know it, in any stage; and on probation, where
    nobody goes down, it would write its own keys beside those that it is to find there later.

    Args:
        plan: Which.
        marks: The key `ark.migration.MARK` of each agent that has one.
    """
    for role, digest in sorted(plan.roles.items()):
        mark = marks.get(role)
        if digest != plan.stable[role] and is_from_before(mark, digest):
            to, now = digest[:12] or "installed", release_of_keys(mark)[:12]
            return (
                f"{role} keeps its state as release {now} does, and {to} is from before that;"
                f" `ark-run rollback --to {to} --reason TEXT` goes back at once, and takes the state along"
            )
    return ""


def worth_undoing(rollouts: Sequence[Rollout]) -> Rollout | None:
    """The rollout that `undo` means where none is named, oldest first: the newest one that brought a release.

    One that was never started, and an `aa`, brought none. One that was rolled back did: whoever asks twice would
    otherwise lose the release before it, too.
    """
    for each in reversed(rollouts):
        never_started = each.state == "plan" or (each.state == "rolled_back" and each.rollback is None)
        if is_active(each) or not (never_started or each.plan.strategy == "aa"):
            return each
    return None


def undo_conflict(rollout: Rollout, rollouts: Iterable[Rollout], permanent: Mapping[str, str]) -> str:
    """Why a permanent rollout cannot be undone; empty if it can.

    Args:
        rollout: Which.
        rollouts: All others.
        permanent: The permanent release of each agent now.
    """
    for other in rollouts:
        if is_active(other) and other.plan.id != rollout.plan.id:
            return f"{other.plan.id} is under way; abort it first"
    later = sorted(role for role, release in rollout.plan.roles.items() if permanent.get(role, "") != release)
    return f"{', '.join(later)} has had another release since; undo that one first" if later else ""
