"""The way back of a rollout, phase by phase. Not for use elsewhere; see `deployment.rollout`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from deployment.desired import runs, stable_of
from deployment.progress import Alarm, Phase, Rollback

if TYPE_CHECKING:
    from deployment.turn import Turn

__all__ = ["go_back", "turn_back"]

TABLE_S = 2.0
RESTART_S = 60.0
TASK_S = 60.0
"""How long the phases may take, beyond what the settings say."""
_PHASES: tuple[Phase, ...] = ("table", "restart", "undo", "health", "ramp", "validation")
_CHECKS = ("health", "validation")


def turn_back(
    turn: Turn,
    why: str,
    *,
    by: str = "deployer",
    node_is_new: bool = False,
    at_once: bool = False,
    chosen: Mapping[str, str] | None = None,
) -> None:
    """Take everything from the canary at once, and begin the way back.

    Args:
        turn: The look that found it.
        why, by: For the history.
        node_is_new: Whether the node restarted, so that there are no arms and no table to wait for.
        at_once: Whether to leave the checks away.
        chosen: The releases that somebody named to go back to, by agent.
    """
    here = turn.rollout.here
    warm = here in ("promoting", "bake") and not node_is_new
    phase: Phase = "restart" if node_is_new or here == "permanent" else "table"
    back = Rollback(
        why,
        here,
        phase,
        turn.now + (TABLE_S if phase == "table" else RESTART_S),
        # The agent's own process is the new release's, or about to be. Who names another release than the stable
        # one does not want that one's arm to decide meanwhile.
        carried=warm and not chosen,
        at_once=at_once,
        chosen=dict(chosen or {}),
    )
    turn.rollout = replace(turn.rollout, rollback=back, share=0.0)
    turn.move("aborting", why, by=by, deadline=turn.now + turn.settings.rollback_deadline_s)


def go_back(turn: Turn) -> None:
    """Look once at how far the way back is."""
    back = turn.rollout.rollback
    if back is None or turn.now >= turn.rollout.deadline:
        _trouble(turn, "the way back took too long")
        _finish(turn)
    elif back.phase == "table":
        if turn.inputs.generation == turn.rollout.generation:
            _next_phase(turn, back)
        elif turn.now >= back.until:
            _next_phase(turn, back, "not everybody follows the new table yet; the old one runs out by itself")
    elif back.phase == "restart":
        if runs(turn.inputs, stable_of(turn.rollout)):
            _next_phase(turn, back)
        elif turn.now >= back.until:
            _next_phase(turn, back, "the agent did not come back in time with the release to go back to")
    elif back.phase == "ramp":
        _ramp(turn, back)
    else:
        _do_task(turn, back)


def _do_task(turn: Turn, back: Rollback) -> None:
    result = turn.inputs.task
    if result is not None and (result.kind, result.attempt) == (back.phase, back.attempt):
        if result.ok:
            _next_phase(turn, back)
        elif back.phase == "health" and back.attempt < turn.settings.health_tries:
            later = turn.now + turn.settings.health_interval_s
            again = replace(back, attempt=back.attempt + 1, not_before=later, until=later + TASK_S)
            turn.rollout = replace(turn.rollout, rollback=again)
        else:
            _next_phase(turn, back, f"{back.phase}: {result.detail or 'it failed'}")
    elif turn.now >= back.until:
        _next_phase(turn, back, f"{back.phase}: no answer in time")


def _ramp(turn: Turn, back: Rollback) -> None:
    """Move the traffic from the warm arm to the role, step by step."""
    steps = turn.settings.ramp_back if back.carried else ()
    if back.ramp >= 0 and turn.now < back.until:
        return
    if back.ramp + 1 < len(steps):
        further = replace(back, ramp=back.ramp + 1, until=turn.now + turn.settings.ramp_back_s)
        turn.rollout = replace(turn.rollout, rollback=further)
    else:
        _next_phase(turn, replace(back, carried=False))


def _next_phase(turn: Turn, back: Rollback, trouble: str = "") -> None:
    if trouble:
        _trouble(turn, trouble)
    left = [
        phase
        for phase in _PHASES[_PHASES.index(back.phase) + 1 :]
        # A role that is not well need not be asked how it decides.
        if phase not in _CHECKS or not (back.at_once or (back.phase == "health" and trouble))
    ]
    if not left:
        turn.rollout = replace(turn.rollout, rollback=replace(back, carried=False))
        _finish(turn)
        return
    length = RESTART_S if left[0] == "restart" else TASK_S
    begun = replace(back, phase=left[0], attempt=1, not_before=turn.now, until=turn.now + length)
    turn.rollout = replace(turn.rollout, rollback=begun)


def _trouble(turn: Turn, what: str) -> None:
    turn.rollout = replace(turn.rollout, troubles=(*turn.rollout.troubles, what))
    turn.note(what)
    turn.effects.append(Alarm(f"{turn.rollout.plan.id}, on the way back: {what}"))


def _finish(turn: Turn) -> None:
    back = turn.rollout.rollback
    turn.move("rolled_back", back.why if back else "rolled back")
