"""What operators say to a rollout, and what they are answered. Not for use elsewhere; see `deployment.rollout`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from deployment.desired import runs
from deployment.gates import Approval, is_same_step, name_key
from deployment.progress import Answer, Override, State, Word, is_over
from deployment.way_back import turn_back

if TYPE_CHECKING:
    from deployment.turn import Turn

__all__ = ["obey"]

_PAUSABLE = frozenset(("shadow", "baseline", "stage", "bake"))


def obey(turn: Turn, word: Word) -> Answer:
    """Do as an operator says, or say why not."""
    state = turn.rollout.state
    if word.do in ("abort", "undo"):
        return _abort(turn, word)
    if is_over(turn.rollout) or state == "aborting":
        return Answer(word.id, False, f"it is {_words(state)}; plan another one")
    if word.do == "start":
        return _start(turn, word)
    if word.do == "approve":
        return _approve(turn, word)
    if word.do == "override":
        return _override(turn, word)
    if state == "plan":
        return Answer(word.id, False, "it has not been started")
    if word.do == "pause":
        return _pause(turn, word)
    if word.do == "resume":
        return _resume(turn, word)
    return _promote_fully(turn, word) if word.full else _promote(turn, word)


def _abort(turn: Turn, word: Word) -> Answer:
    rollout, state = turn.rollout, turn.rollout.state
    if state == "aborting":
        back = rollout.rollback
        if back is not None:
            carried = back.carried and not word.chosen
            chosen = {**back.chosen, **word.chosen}
            back = replace(back, at_once=back.at_once or word.at_once, carried=carried, chosen=chosen)
            turn.rollout = replace(rollout, rollback=back)
        return Answer(word.id, True, "the way back is under way")
    if state in ("rolled_back", "passed"):
        return Answer(word.id, True, f"it is {_words(state)} already")
    if state == "plan":
        turn.move("rolled_back", word.why or "withdrawn before it was started", by=word.by)
        return Answer(word.id, True, "the plan is withdrawn")
    if state == "permanent" and word.do == "abort":
        return Answer(word.id, False, "it is permanent; undo leads back to the release before")
    why = word.why or f"{word.do} by {word.by}"
    turn_back(turn, why, by=word.by, at_once=word.at_once, chosen=word.chosen)
    which = "release that was chosen" if word.chosen else "stable release"
    return Answer(word.id, True, f"the {which} decides all signals from now on")


def _start(turn: Turn, word: Word) -> Answer:
    if turn.rollout.state != "plan":
        return Answer(word.id, True, f"it is under way: {_words(turn.rollout.state)}")
    if turn.now >= turn.rollout.deadline:
        return Answer(word.id, False, "the plan is too old; make a new one")
    frozen = turn.frozen()
    if frozen:
        return Answer(word.id, False, f"{frozen}; --override-freeze REASON starts it all the same")
    turn.enter("shadow", word.why or "started", by=word.by)
    return Answer(word.id, True, "started: both arms see copies of all signals")


def _pause(turn: Turn, word: Word) -> Answer:
    state = turn.rollout.state
    if state == "paused":
        return Answer(word.id, True, "it is paused already")
    if state not in _PAUSABLE:
        return Answer(word.id, False, f"it is {_words(state)}, which cannot be paused; abort it")
    turn.interrupt("paused", word.why or "paused", by=word.by, deadline=turn.rollout.deadline)
    left = max(turn.rollout.deadline - turn.now, 0.0)
    return Answer(word.id, True, f"paused; it keeps its shares, and unless resumed is rolled back in {left:.0f} s")


def _resume(turn: Turn, word: Word) -> Answer:
    """Go on; what holds it until now is answered for, so that only what comes from now on holds it again.

    That figures cannot be trusted is nothing that a word can mend.
    """
    rollout, verdict, inputs = turn.rollout, turn.inputs.verdict, turn.inputs
    if inputs.facts is not None and verdict is not None and verdict.hold and verdict.answer != "invalid":
        turn.rollout = replace(rollout, answered=inputs.facts, answered_segments=inputs.segments)
        turn.note(f"answered for: {verdict.why}", by=word.by)
    if rollout.state == "paused":
        deadline = rollout.deadline
    elif rollout.state == "inconclusive":
        deadline = turn.now + turn.limits(rollout.here)[1]
    else:
        return Answer(word.id, True, f"it goes on: {_words(rollout.state)}")
    turn.move(rollout.here, word.why or "resumed", by=word.by, deadline=deadline, anew=False)
    return Answer(word.id, True, f"it goes on: {_words(rollout.here)}")


def _approve(turn: Turn, word: Word) -> Answer:
    rollout = turn.rollout
    gates = sorted({gate.before for gate in rollout.plan.gates}, key=_height)
    if not gates:
        return Answer(word.id, False, "it waits for nobody")
    gate = word.gate or next((each for each in gates if turn.missing(each)), gates[-1])
    if not any(is_same_step(gate, each) for each in gates):
        return Answer(word.id, False, f"there is no gate before {gate}; there are {', '.join(gates)}")
    if not word.by.strip():
        return Answer(word.id, False, "an approval needs a name")
    own = [each for each in rollout.plan.gates if is_same_step(each.before, gate)]
    if not any(not each.approvers or name_key(word.by) in map(name_key, each.approvers) for each in own):
        return Answer(word.id, False, f"{word.by} is none of those who may approve that")
    kept = [
        each
        for each in rollout.approvals
        if not (name_key(each.by) == name_key(word.by) and is_same_step(each.gate, gate))
    ]
    if len(kept) == len(rollout.approvals):
        turn.note(f"approved the step before {gate}{f': {word.why}' if word.why else ''}", by=word.by)
    turn.rollout = replace(turn.rollout, approvals=(*kept, Approval(word.by, gate, turn.now)))
    missing = turn.missing(gate)
    return Answer(word.id, True, f"approved; it takes {' and '.join(missing)}" if missing else "approved")


def _override(turn: Turn, word: Word) -> Answer:
    if not word.why.strip():
        return Answer(word.id, False, "an override needs a reason")
    lasting = turn.settings.override_s
    turn.rollout = replace(turn.rollout, override=Override(word.by, word.why, turn.now + lasting))
    turn.note(f"freezes do not count for {lasting:.0f} s: {word.why}", by=word.by)
    return Answer(word.id, True, f"freezes do not count for {lasting:.0f} s")


def _promote(turn: Turn, word: Word) -> Answer:
    rollout = turn.rollout
    if rollout.state == "paused":
        return Answer(word.id, False, "it is paused; resume it first")
    if rollout.state == "promoting":
        return Answer(word.id, True, "it is being promoted")
    missing = turn.holds(hurried=True)
    if missing:
        return Answer(word.id, False, "; ".join(missing))
    turn.advance(word.why or "told to go on", by=word.by)
    return Answer(word.id, True, f"it goes on: {_words(turn.rollout.state)}")


def _promote_fully(turn: Turn, word: Word) -> Answer:
    """Past all stages without a verdict. What people and freezes hold, they hold all the same."""
    rollout = turn.rollout
    if rollout.state == "paused":
        return Answer(word.id, False, "it is paused; resume it first")
    if rollout.state == "promoting":
        return Answer(word.id, True, "it is being promoted")
    if rollout.plan.strategy == "aa":
        return Answer(word.id, False, "an aa promotes nothing")
    if not word.why.strip():
        return Answer(word.id, False, "to promote without a verdict takes a reason")
    why = f"promoted without waiting for a verdict: {word.why}"
    if rollout.here == "bake":
        if not runs(turn.inputs, rollout.plan.roles):
            return Answer(word.id, False, "the agent does not run the release just now")
        turn.rollout = replace(rollout, forced=f"{word.why} ({word.by})")
        turn.move("permanent", why, by=word.by)
        return Answer(word.id, True, "it is permanent")
    frozen = turn.frozen()
    ahead = [gate.before for gate in rollout.plan.gates if _height(gate.before) > rollout.share]
    missing = [f"{each} before {gate}" for gate in ahead for each in turn.missing(gate)]
    if frozen or missing:
        return Answer(word.id, False, "; ".join([*([frozen] if frozen else []), *dict.fromkeys(missing)]))
    turn.rollout = replace(rollout, forced=f"{word.why} ({word.by})", share=100.0)
    turn.enter("promoting", why, by=word.by)
    return Answer(word.id, True, "it is being promoted, provisionally")


def _height(gate: str) -> float:
    return math.inf if gate == "promotion" else float(gate)


def _words(state: State) -> str:
    return {"rolled_back": "rolled back", "plan": "a plan", "aborting": "on its way back"}.get(state, state)
