"""Supervision after Erlang/OTP as one pure function: `decide(spec, state, event, now, random)`.

Exact semantics
===============

**Starting.** `Begin` starts the children in list order, each one only after the one before is ready; the rest
stand in `waiting`. A child that is isolated or stopped, or that ended and is not to be started again, is not
waited for. A child that is not ready within `start_timeout_s` is killed, and that is a failure. A first
process at `Begin` that says it cannot boot (its reason begins with `boot:`) ends everything, since trying
again would not help: the supervisor gives up with a reason that begins alike, so that its parent gives up
too. `Started` is said once all are ready, and again each time all are ready after all processes had been
gone.

**Ending.** An exit that was not ordered is judged by the child's restart type:

========= ============= ===============
type      normal exit   abnormal exit
========= ============= ===============
permanent failure       failure
transient `stopped`     failure
temporary `stopped`     `failed`
========= ============= ===============

Exits and readiness are matched by name and incarnation, which rises with each start of a child. Whatever is
late, double, or about another process changes nothing.

**Failure.** Each failure counts one restart. More than `intensity` of them within the last `period_s` (the
bounds belong to it), and the supervisor gives up: it stops all children in reverse order and then says
`GiveUp`; its parent counts that as one failure of its own. Otherwise the child goes to `backoff`, or starts
at once if there is nothing to wait for. A restart that fails is another failure. The back-off's streak begins
anew after a child ran for `stable_s`, and when a person restarts or releases it.

**Siblings.** A failure takes along: under `one_for_one` nobody; under `rest_for_one` all later children;
under `one_for_all` all others. They are stopped in reverse order, each one only after the one behind it is
gone, then started in list order, each one only after the one before is ready. Nothing starts while siblings
are being stopped. Under `one_for_all` the delay belongs to the group: nobody starts while anybody is in
`backoff`. A sibling's end counts as no failure, however it came about, also when it died while it awaited its
turn. A transient sibling that had ended normally is started with the others; a temporary one is never started
again, unless a person asks for it. A failure during a recovery joins in: it marks whom it takes along, and
the one procedure above goes on with the greater set. A child that stands alone takes nobody along, is taken
along by nobody, and after the first start nobody waits for it; its start raises no epoch.

**Isolation.** `Isolate` stops a child whatever it is doing; it stays in `isolated` until `Release`, whatever
crashes elsewhere. It is not a failure, takes nobody along, and beats every pending restart, also the one of a
process that is just being killed. `Release` starts it anew, or at the end of a stop that is still under way.

**Stopped by an operator.** `StopOne` does the same, until `StartOne`; its state is `stopped`. The two differ
in who ends them and in how long they last: an isolation outlives the node, a stop the death of any process of
it. An isolated child cannot be stopped or started, only released; a stopped one can be isolated, and is
started by its release then. `StartOne` also starts a child that had ended, and ends a back-off; a child that
runs it leaves alone.

**Operators and the Watchdog.** `Restart` is an orderly stop and a start of this one child: no failure, no
siblings. A process that is not ready yet hears nobody and has nothing in its hands: it is killed at once, unless
it is a supervisor. `Restart` ends a back-off and starts a child that had ended or was stopped; it does not touch
an isolated one. With `kill` the Watchdog reports a hang: the process is killed at once, and its end is a failure
with the given reason. A process that is already on its way out is left to its budget.

**Stopping a process.** `StopChild`, and after the child's `shutdown_s` `KillChild`, repeated each second
until the exit comes; with a `shutdown_s` of 0 `KillChild` at once. `Stop` stops all children in reverse
order, and then says `Stopped`. It is obeyed at any time, also while giving up.

**Epochs.** `RaiseEpoch` stands right before each `StartChild` of a restart or a release, never before a first
start.

**Late children.** `with_child` adds a child that stands alone and is down, `without_child` takes away one that has
no process. Whoever calls them hands the new specification and state to the next `decide`.

**Not covered.** Isolations and stops live in
this state: whoever starts a supervisor anew passes what is isolated or stopped to `initial`. OTP's
significant children and its unlimited shutdown for supervisors are not there: every stop has a bound here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ark.errors import ConfigError
from supervisor.specification import Backoff, ChildSpec, SupervisorSpec
from supervisor.transitions import (
    Action,
    Begin,
    Child,
    Desired,
    Event,
    Exited,
    GiveUp,
    Isolate,
    KillChild,
    RaiseEpoch,
    Ready,
    Release,
    Restart,
    StartChild,
    Started,
    StartOne,
    State,
    Stop,
    StopChild,
    StopOne,
    Stopped,
    Tick,
    WakeAt,
)
from supervisor.turn import BOOT_FAILURE, KILL_AGAIN_S, Turn

__all__ = [
    "BOOT_FAILURE",
    "KILL_AGAIN_S",
    "Action",
    "Backoff",
    "Begin",
    "Child",
    "ChildSpec",
    "Desired",
    "Event",
    "Exited",
    "GiveUp",
    "Isolate",
    "KillChild",
    "RaiseEpoch",
    "Ready",
    "Release",
    "Restart",
    "StartChild",
    "StartOne",
    "Started",
    "State",
    "Stop",
    "StopChild",
    "StopOne",
    "Stopped",
    "SupervisorSpec",
    "Tick",
    "WakeAt",
    "decide",
    "initial",
    "with_child",
    "without_child",
]

NOBODY: Mapping[str, str] = MappingProxyType({})


def initial(
    spec: SupervisorSpec, isolated: Mapping[str, str] = NOBODY, stopped: Mapping[str, str] = NOBODY
) -> State:
    """The state before `Begin`.

    Args:
        spec: The supervisor.
        isolated: Reasons by name of children that stay isolated from before.
        stopped: The same of those that an operator had stopped.
    """

    def begin(name: str) -> Child:
        if name in isolated:
            return Child(name, "isolated", "isolated", reason=isolated[name])
        if name in stopped:
            return Child(name, "stopped", "stopped", reason=stopped[name])
        return Child(name)

    return State(tuple(begin(child.name) for child in spec.children))


def with_child(spec: SupervisorSpec, state: State, child: ChildSpec) -> tuple[SupervisorSpec, State]:
    """A supervisor with one more child, which is down until `StartOne`.

    Args:
        spec, state: As they are.
        child: The newcomer; it stands alone, so that no order among the others is disturbed.

    Raises:
        ConfigError: There is one of that name, or it does not stand alone.
    """
    if not child.alone:
        raise ConfigError(f"{child.name} comes late, so it has to stand alone", field="alone")
    grown = replace(spec, children=(*spec.children, child))
    return grown, replace(state, children=(*state.children, Child(child.name, "stopped", "stopped")))


def without_child(spec: SupervisorSpec, state: State, name: str) -> tuple[SupervisorSpec, State]:
    """A supervisor without a child that has no process; unchanged where it has one, or there is no such child."""
    child = state.child(name)
    if child is None or child.live:
        return spec, state
    left = tuple(each for each in spec.children if each.name != name)
    return replace(spec, children=left), replace(
        state, children=tuple(each for each in state.children if each.name != name)
    )


def decide(
    spec: SupervisorSpec, state: State, event: Event, now: float, random: float
) -> tuple[State, list[Action]]:
    """Take one event; give the new state, and what is to be done, in order.

    Args:
        spec: The supervisor; always the same for one `state`.
        state: From `initial` or from the call before.
        event: What happened.
        now: Seconds on a clock that never goes back.
        random: In [0, 1), for the jitter of a back-off.
    """
    turn = Turn(spec, state, now, random)
    turn.take(event)
    turn.settle()
    return turn.state(), turn.actions
