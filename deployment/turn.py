"""One look at a rollout. Not for use elsewhere; see `deployment.rollout` for what it means."""

from __future__ import annotations

import math

from msgspec.structs import replace

from deployment.desired import is_so, shares
from deployment.gates import caution, freeze_end, missing_approvals, next_share, step_name, window_at
from deployment.operator_words import obey
from deployment.progress import Alarm, Answer, Entry, Inputs, Moved, Rollout, State, is_over
from deployment.way_back import go_back, turn_back

__all__ = ["LONGEST_GAP_S", "Effect", "Turn"]

Effect = Moved | Answer | Alarm
LONGEST_GAP_S = 5.0
"""The most that the time between two looks counts towards a minimum."""
_JUDGED = frozenset(("shadow", "baseline", "stage", "promoting", "bake"))


class Turn:
    """One look, made anew for each.

    Attributes:
        rollout: How far it is; what the look leaves is to be kept.
        now: Seconds since the epoch.
        inputs: What is so.
        effects: What the look leads to.
    """

    def __init__(self, rollout: Rollout, now: float, inputs: Inputs) -> None:
        self.rollout = rollout
        self.now = now
        self.inputs = inputs
        self.effects: list[Effect] = []
        self.settings = rollout.plan.settings

    def take(self) -> None:
        """Look once."""
        before = shares(self.rollout)
        self._pass_time()
        if not is_over(self.rollout):
            self._hear_of_restarts()
            self._fail()
        for word in self.inputs.words:
            self.effects.append(obey(self, word))
        # What a verdict or a word began is looked at in the next step.
        if not any(isinstance(each, Moved) for each in self.effects):
            self._look()
        if shares(self.rollout) != before:
            self.rollout = replace(self.rollout, generation=self.rollout.generation + 1, was_ready=False)

    def _look(self) -> None:
        state = self.rollout.state
        if is_over(self.rollout):
            return
        if state == "aborting":
            go_back(self)
        elif self.now >= self.rollout.deadline:
            self._end_state()
        elif self.rollout.here == "promoting":
            if self.rollout.was_ready:
                self.enter("bake", "the agent runs the release, provisionally")
        elif state not in ("plan", "paused") and not self.holds():
            self.advance(self._why_on())

    def _pass_time(self) -> None:
        """Count the time since the last look, and move everything along with a clock that was set back."""
        rollout, passed = self.rollout, self.now - self.rollout.at
        if passed < 0:
            back, override = rollout.rollback, rollout.override
            rollout = replace(
                rollout,
                since=rollout.since + passed,
                deadline=rollout.deadline and rollout.deadline + passed,
                override=override and replace(override, until=override.until + passed),
                rollback=back and replace(back, until=back.until + passed, not_before=back.not_before + passed),
            )
        ready = not is_over(rollout) and is_so(rollout, self.inputs)
        anew = self.inputs.deployer_restarted or self.inputs.node_restarted
        if ready and rollout.was_ready and not anew:
            rollout = replace(rollout, watched=rollout.watched + min(max(passed, 0.0), LONGEST_GAP_S))
        self.rollout = replace(rollout, at=self.now, was_ready=ready)

    def _hear_of_restarts(self) -> None:
        rollout = self.rollout
        if rollout.state == "plan":
            return
        if self.inputs.node_restarted:
            if rollout.state != "aborting":
                why = "the node restarted, which forgets what is not permanent"
                turn_back(self, why, node_is_new=True)
            elif rollout.rollback is not None:
                self.rollout = replace(rollout, rollback=replace(rollout.rollback, carried=False))
        elif self.inputs.deployer_restarted:
            self.rollout = replace(rollout, restarts=rollout.restarts + 1)
            if rollout.restarts == 0:
                self.note("the deploy actor came back, and goes on")

    def _fail(self) -> None:
        verdict = self.inputs.verdict
        if verdict is not None and verdict.answer == "fail" and self.rollout.here in _JUDGED:
            turn_back(self, verdict.why, by="judge")

    # Forwards.

    def advance(self, why: str, by: str = "deployer") -> None:
        """Take the one step forwards that the state leads to; `holds` has been asked."""
        rollout, plan = self.rollout, self.rollout.plan
        here = rollout.here
        if here == "shadow" and plan.baseline_share > 0:
            self.enter("baseline", why, by=by)
        elif here == "bake":
            self.move("permanent", why, by=by)
        elif rollout.share < 100:
            self.rollout = replace(rollout, share=self._next_share()[0])
            self.enter("stage", why, by=by)
        elif plan.strategy == "aa":
            self.move("passed", why, by=by)
        else:
            self.enter("promoting", why, by=by)

    def holds(self, *, hurried: bool = False) -> list[str]:
        """Why there is no step forwards yet, in words for people; empty: there can be one.

        Args:
            hurried: Whether to leave the minimum and the number of signals away.
        """
        rollout = self.rollout
        here = rollout.here
        if here == "plan":
            return ["nobody has started it"]
        missing = []
        if not rollout.was_ready:
            missing.append("not everything is ready and in force")
        least = self.limits(here)[0]
        if not hurried and rollout.watched < least:
            missing.append(f"{math.ceil(least - rollout.watched)} s of its minimum are left")
        needed = self.settings.signals * (2 if self._is_careful() else 1)
        if not hurried and self.inputs.signals < needed:
            missing.append(f"{needed - self.inputs.signals} more signals must be seen")
        return [*missing, *self._doubts(), *self._waits_for()]

    def _doubts(self) -> list[str]:
        """What the judge has against a step forwards."""
        verdict, rollout = self.inputs.verdict, self.rollout
        if verdict is not None and verdict.answer == "invalid":
            return [f"the measurement cannot be trusted: {verdict.why}"]
        if verdict is not None and verdict.hold:
            return [verdict.why]
        # Copies alone suffice for a first small share of the traffic, and not for all of it.
        takes_pass = rollout.here in ("stage", "bake") or rollout.plan.stages[0] == 100
        if not takes_pass or rollout.forced or (verdict is not None and verdict.answer == "pass"):
            return []
        return ["nothing has been judged yet" if verdict is None else f"no verdict yet: {verdict.why}"]

    def _waits_for(self) -> list[str]:
        """What else than evidence holds the next step: a freeze, and people."""
        rollout = self.rollout
        if rollout.here == "bake":
            return []
        before = ""
        if rollout.here == "stage" and rollout.share == 100:
            before = "promotion"
        elif rollout.here != "shadow" or rollout.plan.baseline_share == 0:
            before = step_name(self._next_share()[1])
        frozen = self.frozen()
        return [*([frozen] if frozen else []), *(f"{each} before {before}" for each in self.missing(before))]

    def missing(self, before: str) -> list[str]:
        """Who is still to approve the step before a stage or the promotion."""
        if not before:
            return []
        rollout = self.rollout
        return missing_approvals(rollout.plan.gates, before, rollout.approvals, self.now, self.settings.approval_s)

    def frozen(self) -> str:
        """Why nothing steps forwards, in words for people; empty: nothing is frozen."""
        override = self.rollout.override
        if override is not None and self.now < override.until:
            return ""
        if self.inputs.budget.burning:
            return "frozen: the error budget is being spent fast just now"
        if caution(self.settings, self.inputs.budget) == "frozen":
            return "frozen: the error budget is spent"
        window = window_at(self.settings, self.now)
        if window is None:
            return ""
        left = (freeze_end(self.settings, self.now) or self.now) - self.now
        return f"frozen for {math.ceil(left / 60)} min{f': {window.why}' if window.why else ''}"

    def limits(self, state: State) -> tuple[float, float]:
        """A state's minimum and its deadline, in seconds."""
        own = self.settings
        return {
            "shadow": (own.shadow_s, own.shadow_deadline_s),
            "baseline": (own.baseline_s, own.baseline_deadline_s),
            "stage": (own.stage_s, own.stage_deadline_s),
            "promoting": (0.0, own.promoting_deadline_s),
            "bake": (own.bake_s, own.bake_deadline_s),
        }[state]

    def _is_careful(self) -> bool:
        return caution(self.settings, self.inputs.budget) != "none"

    def _next_share(self) -> tuple[float, float]:
        return next_share(self.rollout.plan.stages, self.rollout.share, half=self._is_careful())

    def _why_on(self) -> str:
        verdict = self.inputs.verdict
        if verdict is not None and verdict.answer == "pass":
            return verdict.why
        return f"promoted by hand: {self.rollout.forced}" if self.rollout.forced else "nothing speaks against it"

    def _end_state(self) -> None:
        """A deadline has passed."""
        rollout = self.rollout
        why = "; ".join(self.holds()) if rollout.here not in ("plan", "promoting") else ""
        why = why or "the deadline has passed"
        if rollout.state == "plan":
            self.move("rolled_back", "nobody started it in time")
        elif rollout.state == "paused":
            turn_back(self, "nobody resumed it in time")
        elif rollout.state == "promoting":
            turn_back(self, "the agent did not come back with the release in time")
        elif rollout.state == "bake":
            turn_back(self, f"not confirmed in time: {why}")
        elif not rollout.was_ready and rollout.watched == 0:
            turn_back(self, "not everything was ready and in force in time")
        elif rollout.state == "inconclusive" or self.settings.inconclusive == "abort":
            turn_back(self, f"no verdict in time: {why}")
        else:
            self.interrupt("inconclusive", why, deadline=self.now + self.settings.hold_s)
            self.effects.append(Alarm(f"{rollout.plan.id} holds at its deadline: {why}"))

    # Steps.

    def enter(self, state: State, why: str, by: str = "deployer") -> None:
        """Go to a state with a deadline of its own."""
        self.move(state, why, by=by, deadline=self.now + self.limits(state)[1])

    def interrupt(self, state: State, why: str, *, deadline: float, by: str = "deployer") -> None:
        """Go to a state that keeps the world of the one before."""
        here = self.rollout.here
        self.move(state, why, by=by, deadline=deadline, anew=False)
        self.rollout = replace(self.rollout, under=here)

    def move(
        self, state: State, why: str, *, by: str = "deployer", deadline: float = 0.0, anew: bool = True
    ) -> None:
        """Go to a state.

        Args:
            state: Which.
            why, by: For the history.
            deadline: When it ends at the latest; 0 for never.
            anew: Whether its minimum begins anew.
        """
        rollout = self.rollout
        entry = Entry(self.now, rollout.state, state, rollout.share, why, by, self._evidence())
        self.rollout = replace(
            rollout,
            state=state,
            under="",
            since=self.now,
            deadline=deadline,
            watched=0.0 if anew else rollout.watched,
            was_ready=False if anew else rollout.was_ready,
            history=(*rollout.history, entry),
        )
        self.effects.append(Moved(entry))

    def note(self, why: str, by: str = "deployer") -> None:
        """Write something into the history that is no step."""
        rollout = self.rollout
        state = rollout.state
        entry = Entry(self.now, state, state, rollout.share, why, by, self._evidence(), is_note=True)
        self.rollout = replace(rollout, history=(*rollout.history, entry))

    def _evidence(self) -> str:
        verdict = self.inputs.verdict
        return "" if verdict is None else f"{verdict.answer}: {verdict.why}"
