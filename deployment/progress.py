"""How far a rollout is: all of its durable state, what it is told, and what it answers.

States
======

=============== ============================================= ======================== ====================
state           what is so                                    goes on when             its deadline ends in
=============== ============================================= ======================== ====================
`plan`          nothing                                       somebody starts it       `rolled_back`
`shadow`        both arms see copies of all signals           minimum, signals         `inconclusive`
`baseline`      the baseline decides its share                minimum, signals         `inconclusive`
`stage`         canary and baseline decide their shares       minimum, signals, pass   `inconclusive`
`promoting`     the canary decides all; the role restarts     the role is back         `aborting`
`bake`          the role runs the release, provisionally      minimum, signals, pass   `aborting`
`paused`        as in the state that was paused               somebody resumes         `aborting`
`inconclusive`  as in the state that found no verdict         the verdict comes        `aborting`
`aborting`      the stable release decides all                the way back is done     `rolled_back`
`permanent`     the release is the node's own                 never; `undo` leads back
`rolled_back`   the stable release is the node's own          never
`passed`        an `aa` found no difference                   never
=============== ============================================= ======================== ====================

A pause keeps the shares and stops steps forwards, and nothing else: the deadline of the state that was paused goes
on, so that nobody can forget a canary, and a verdict against it ends it like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from deployment.gates import Approval, Budget
from deployment.plan import Plan
from deployment.samples import Facts, Segment

__all__ = [
    "Alarm",
    "Answer",
    "Entry",
    "Inputs",
    "Moved",
    "Override",
    "Phase",
    "Rollback",
    "Rollout",
    "State",
    "TaskResult",
    "Verdict",
    "Word",
    "create",
    "is_active",
    "is_over",
]

State = Literal[
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
]
Phase = Literal["table", "restart", "undo", "health", "ramp", "validation"]
OVER = frozenset(("permanent", "rolled_back", "passed"))


class Verdict(Protocol):
    """What a rollout wants to know of a judge's verdict."""

    @property
    def answer(self) -> Literal["pass", "fail", "undecided", "invalid"]:
        """Whether the canary is as good as the baseline; `invalid` when what was measured cannot be trusted."""

    @property
    def why(self) -> str:
        """The reason in one line."""

    @property
    def hold(self) -> bool:
        """Whether nothing should move until somebody has looked."""

    @property
    def to_pass(self) -> int | None:
        """About how many more signals it takes to pass; None where it does not lead there."""

    @property
    def to_fail(self) -> int | None:
        """About how many more signals it takes to fail; likewise."""


class Entry(msgspec.Struct, frozen=True):
    """A step in a rollout's history.

    Attributes:
        at: When, seconds since the epoch.
        source, target: The states before and after.
        share: The canary's share after it, percent.
        why: The reason, in a sentence without its full stop.
        by: Who: a person, `judge`, or `deployer` for what follows by itself.
        evidence: What the judge said just then.
        is_note: Whether it is no step, and only worth knowing.
    """

    at: float
    source: State
    target: State
    share: float
    why: str
    by: str = "deployer"
    evidence: str = ""
    is_note: bool = False


class Override(msgspec.Struct, frozen=True):
    """That an operator lets a rollout go on in spite of a freeze.

    Attributes:
        by, why: Who, and for which reason.
        until: When it ends, seconds since the epoch.
    """

    by: str
    why: str
    until: float


class Rollback(msgspec.Struct, frozen=True):
    """How far the way back is.

    Attributes:
        why: What for.
        source: The state that it began in.
        phase: What is being done.
        until: When the phase is given up, seconds since the epoch.
        attempt: Which try of the phase's task it is, from 1.
        not_before: The try is not made before.
        carried: Whether the stable release's warm arm decides all signals, until the role itself does so again.
        ramp: Which step of the ramp back it is, from 0.
        at_once: Whether to leave the checks away that come after the traffic is back.
        chosen: The releases that somebody named to go back to, by agent; where absent, the stable one.
    """

    why: str
    source: State
    phase: Phase
    until: float
    attempt: int = 1
    not_before: float = 0.0
    carried: bool = False
    ramp: int = -1
    at_once: bool = False
    chosen: dict[str, str] = {}


class Rollout(msgspec.Struct, frozen=True):
    """All durable state of one rollout.

    Attributes:
        plan: Its plan.
        state: Where it is.
        under: The state that `paused` or `inconclusive` interrupted; empty otherwise.
        share: The canary's share, percent.
        generation: The number of the routing table that it wants; it rises with each change, and only then.
        at: When it was looked at last, seconds since the epoch.
        since: When the state began.
        deadline: When the state ends at the latest; 0 for none.
        watched: For how long the state was really so, seconds.
        was_ready: Whether everything was so at the last look.
        approvals: Who approved what.
        forced: Why somebody promoted it without a verdict; empty otherwise.
        override: Who lets it go on in spite of a freeze.
        rollback: How far the way back is; None before it begins.
        troubles: What went wrong on the way back.
        answered: The facts that an operator has seen and answered for; the judge gets what came since.
        answered_segments: The evidence that was there then: what holds a rollout, and is nobody's fault, must have
            come since.
        restarts: How often the deploy actor came back while it was under way.
        history: Every step, the oldest first.
    """

    plan: Plan
    state: State = "plan"
    under: State | Literal[""] = ""
    share: float = 0.0
    generation: int = 0
    at: float = 0.0
    since: float = 0.0
    deadline: float = 0.0
    watched: float = 0.0
    was_ready: bool = False
    approvals: tuple[Approval, ...] = ()
    forced: str = ""
    override: Override | None = None
    rollback: Rollback | None = None
    troubles: tuple[str, ...] = ()
    answered: Facts = Facts()
    answered_segments: tuple[Segment, ...] = ()
    restarts: int = 0
    history: tuple[Entry, ...] = ()

    @property
    def here(self) -> State:
        """The state whose world is wanted: the one that a pause or a hold interrupted."""
        return self.under or self.state


class Word(msgspec.Struct, frozen=True):
    """What an operator says.

    Attributes:
        do: What to do. `promote` goes on by one step without waiting for the minimum; `undo` also leads back from
            a permanent release.
        by: Who says it; whoever calls `step` has made sure of that.
        why: For which reason; needed for `promote` with `full` and for `override`.
        full: With `promote`: past all further stages, without a verdict.
        gate: With `approve`: which gate, a stage's percent or `promotion`; empty: the next one.
        at_once: With `abort` and `undo`: without the checks that come after the traffic is back.
        chosen: With `abort` and `undo`: the releases to go back to, by agent; where absent, the stable one.
        id: Stands in the answer.
    """

    do: Literal["start", "pause", "resume", "promote", "abort", "undo", "approve", "override"]
    by: str = "operator"
    why: str = ""
    full: bool = False
    gate: str = ""
    at_once: bool = False
    chosen: dict[str, str] = {}
    id: str = ""


class TaskResult(msgspec.Struct, frozen=True):
    """How a task of the way back ended.

    Attributes:
        kind: Which, as in `Task`.
        attempt: Which try of it; what is late counts no more.
        ok: Whether it went well.
        detail: What was found, in a line.
    """

    kind: Literal["undo", "health", "validation"]
    attempt: int
    ok: bool
    detail: str = ""


class Inputs(msgspec.Struct, frozen=True):
    """What is so at one moment.

    Attributes:
        verdict: The judge's; None while it has not looked.
        facts: What the verdict was given with, before `answered` was taken away.
        segments: The evidence that it was given with, likewise.
        warm: The release that each role's arms run, of those that are ready: `{"joey": {"canary": "..."}}`.
        running: The release that each role's own process runs, of those that are ready.
        generation: The number of the routing table that all roles follow.
        signals: How many signals both arms have seen under that table, see `observed`.
        words: What operators said, in order.
        budget: How the error budget stands.
        task: How the task ended that `desired` asked for.
        node_restarted: Whether the node began anew since the last look, which forgets what is provisional.
        deployer_restarted: Whether the deploy actor did.
    """

    verdict: Verdict | None = None
    facts: Facts | None = None
    segments: tuple[Segment, ...] = ()
    warm: dict[str, dict[str, str]] = {}
    running: dict[str, str] = {}
    generation: int = 0
    signals: int = 0
    words: Sequence[Word] = ()
    budget: Budget = Budget()
    task: TaskResult | None = None
    node_restarted: bool = False
    deployer_restarted: bool = False


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """The rollout took a step, which stands in its history, too."""

    entry: Entry


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What to tell the operator.

    Attributes:
        id: As in the word.
        ok: Whether it is done, or was so already.
        text: What came of it, or why not and what to do.
    """

    id: str
    ok: bool
    text: str


class Alarm(msgspec.Struct, frozen=True, tag="alarm"):
    """Somebody should look at it."""

    text: str


def create(plan: Plan, now: float, generation: int = 0) -> Rollout:
    """A rollout that has not been started.

    Args:
        plan: What it is to do.
        now: Seconds since the epoch.
        generation: The number of the newest routing table there has been.
    """
    entry = Entry(now, "plan", "plan", 0.0, plan.note or "planned", plan.by or "operator")
    deadline = now + plan.settings.plan_deadline_s
    return Rollout(plan, generation=generation, at=now, since=now, deadline=deadline, history=(entry,))


def is_over(rollout: Rollout) -> bool:
    """Whether it has ended: nothing but `undo` changes it any more."""
    return rollout.state in OVER


def is_active(rollout: Rollout) -> bool:
    """Whether it has begun and not ended."""
    return rollout.state != "plan" and not is_over(rollout)
