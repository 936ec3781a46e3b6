"""One call of `supervisor.policy.decide`: the state opened up, changed by an event, and settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from supervisor.specification import ChildSpec, SupervisorSpec
from supervisor.transitions import (
    Action,
    Begin,
    Child,
    Event,
    Exited,
    GiveUp,
    Isolate,
    KillChild,
    Leaving,
    Order,
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

__all__ = ["BOOT_FAILURE", "KILL_AGAIN_S", "Turn"]

BOOT_FAILURE = "boot:"
"""How the reason of a process begins that cannot start at all."""

KILL_AGAIN_S = 1.0
"""A killed process whose exit was not reported is killed again after so many seconds."""

ENDED = frozenset({"backoff", "stopped", "failed"})
"""States of a child without a process that an operator can have started at once."""

UNSETTLED = frozenset({"pending", "waiting", "starting", "backoff", "stopping"})
"""States that do not last by themselves."""


class Turn:
    """One call of `decide`: the state opened up for changes, and the actions so far."""

    def __init__(self, spec: SupervisorSpec, state: State, now: float, random: float) -> None:
        self.spec = spec
        self.now = now
        self.random = random
        self.actions: list[Action] = []
        self.specs: dict[str, ChildSpec] = {child.name: child for child in spec.children}
        self.children: dict[str, Child] = {child.name: child for child in state.children}
        self.phase = state.phase
        self.restart_times = state.restart_times
        self.reason = state.reason
        self.up = state.up
        self.had_live = self.any_live()

    def state(self) -> State:
        return State(tuple(self.children.values()), self.phase, self.restart_times, self.reason, self.up)

    # What the events mean

    def take(self, event: Event) -> None:
        match event:
            case Begin():
                if self.phase == "new":
                    self.phase = "starting"
                    self.each(lambda child: child.state == "pending", lambda child: replace(child, state="waiting"))
            case Tick():
                for name in self.children:
                    self.run_out(self.children[name])
            case Stop():
                if self.phase != "down":
                    self.phase = "stopping"
            case Ready(name, incarnation):
                child = self.children.get(name)
                if child and child.state == "starting" and child.incarnation == incarnation:
                    self.put(replace(child, state="running", due=None, ready_at=self.now))
            case Exited(name, incarnation, reason, normal):
                child = self.children.get(name)
                if child and child.live and child.incarnation == incarnation:
                    self.bury(child, reason, normal)
            case Restart(name) | Isolate(name) | Release(name) | StopOne(name) | StartOne(name):
                child = self.children.get(name)
                if child and self.phase in ("starting", "running"):
                    self.obey(child, event)

    def obey(self, child: Child, order: Order) -> None:
        match order:
            case Isolate(_, reason):
                self.set_aside(child, "isolated", reason)
            case StopOne(_, reason) if child.desired != "isolated":
                self.set_aside(child, "stopped", reason)
            case Release(_, reason) if child.desired == "isolated":
                self.bring_back(child, f"{child.name} released: {reason}")
            case StartOne(_, reason) if child.desired != "isolated":
                if child.desired == "stopped" or child.state in ENDED:
                    self.bring_back(child, f"{child.name} started: {reason}")
            case Restart(_, reason, False, None) if child.desired == "stopped":
                self.bring_back(child, f"{child.name} restarted: {reason}")
            case Restart(_, reason, kill, incarnation) if (
                child.desired == "running" and not child.leaving and incarnation in (None, child.incarnation)
            ):
                if kill and child.live:
                    self.kill(replace(child, leaving="failure", reason=reason))
                elif not kill and child.live:
                    child = replace(child, streak=0, reason=reason, cause=f"{child.name} restarted: {reason}")
                    if child.state == "starting" and self.specs[child.name].kind != "supervisor":
                        self.kill(replace(child, leaving="operator"))
                    else:
                        self.stop(child, "operator")
                elif not kill and child.state in ENDED:
                    self.bring_back(child, f"{child.name} restarted: {reason}")

    def set_aside(self, child: Child, where: Literal["isolated", "stopped"], reason: str) -> None:
        """Take a child down whatever it is doing, and leave it there."""
        child = replace(child, desired=where, reason=reason, cause="")
        if not child.live:
            self.put(replace(child, state=where, due=None))
        else:
            leaving: Leaving = "sibling" if child.leaving == "sibling" else "operator"
            self.stop(child, leaving)

    def bring_back(self, child: Child, cause: str) -> None:
        """Want a child again; a process that is still on its way out is followed by the new one."""
        child = replace(child, desired="running", streak=0, cause=cause)
        self.put(child if child.live else replace(child, state="waiting", due=None))

    def run_out(self, child: Child) -> None:
        """A state's patience ends, if it does."""
        if child.due is None or child.due > self.now:
            return
        if child.state == "backoff":
            self.put(replace(child, state="waiting", due=None))
        elif child.state == "stopping":
            self.kill(child)
        elif child.state == "starting":
            patience = self.specs[child.name].start_timeout_s
            self.kill(replace(child, leaving="failure", reason=f"not ready within {patience:g} s"))

    def bury(self, child: Child, reason: str, normal: bool) -> None:
        """A process is gone."""
        boot = self.phase == "starting" and child.incarnation == 1 and reason.startswith(BOOT_FAILURE)
        leaving = child.leaving
        gone = replace(child, state="stopped", due=None, leaving="", ready_at=None)
        gone = replace(gone, reason=gone.reason if leaving else reason)
        if child.desired == "isolated":
            self.put(replace(gone, state="isolated"))
        elif child.desired == "stopped" or self.phase in ("stopping", "giving_up"):
            self.put(gone)
        elif leaving == "operator":
            self.put(replace(gone, state="waiting"))
        elif leaving == "sibling":
            # A temporary one comes back only where a person has asked for it meanwhile.
            stays = self.specs[child.name].restart == "temporary" and not gone.cause
            self.put(gone if stays else replace(gone, state="waiting"))
        elif boot and not leaving:
            self.put(replace(gone, state="failed"))
            why = reason.removeprefix(BOOT_FAILURE).strip()
            self.give_up(f"{BOOT_FAILURE} {child.name} cannot start: {why}")
        else:
            ran = 0.0 if child.ready_at is None else self.now - child.ready_at
            self.judge(gone, ran, normal and not leaving)

    def judge(self, gone: Child, ran: float, normal: bool) -> None:
        """A process is gone that should not be: by its restart type it stays away, or it failed."""
        restart = self.specs[gone.name].restart
        if restart == "temporary" or (restart == "transient" and normal):
            self.put(gone if normal else replace(gone, state="failed"))
            return
        gone = replace(gone, crashes=gone.crashes + 1)
        since = self.now - self.spec.period_s
        self.restart_times = (*(time for time in self.restart_times if time >= since), self.now)
        if len(self.restart_times) > self.spec.intensity:
            self.put(replace(gone, state="failed"))
            count = len(self.restart_times)
            self.give_up(
                f"{count} restarts within {self.spec.period_s:g} s, the last of {gone.name}: {gone.reason}"
            )
            return
        streak = 1 if ran >= self.spec.backoff.stable_s else gone.streak + 1
        delay = self.spec.backoff.delay(streak, self.random)
        gone = replace(gone, streak=streak, cause=f"{gone.name} failed: {gone.reason}")
        if delay > 0:
            self.put(replace(gone, state="backoff", due=self.now + delay))
        else:
            self.put(replace(gone, state="waiting"))
        self.take_along(gone)

    def take_along(self, failed: Child) -> None:
        """Mark the siblings that share the fate of the one that failed."""
        if self.spec.strategy == "one_for_one" or self.specs[failed.name].alone:
            return
        names = list(self.children)
        first = 0 if self.spec.strategy == "one_for_all" else names.index(failed.name) + 1
        for name in names[first:]:
            child = self.children[name]
            if name == failed.name or self.specs[name].alone or (child.desired != "running" and not child.live):
                continue
            restart = self.specs[name].restart
            cause = child.cause if restart == "temporary" else f"{name} restarted with {failed.name}"
            if child.live:
                if child.desired == "running":
                    child = replace(child, reason=f"stopped with {failed.name}: {failed.reason}", cause=cause)
                self.put(self.patient(replace(child, leaving="sibling")))
            elif child.state == "stopped" and restart == "transient":
                self.put(replace(child, state="waiting", cause=cause))

    def give_up(self, reason: str) -> None:
        self.phase = "giving_up"
        self.reason = reason

    # What follows from the state

    def settle(self) -> None:
        """Do whatever can be done now: stop the next, start the next, say what came to be."""
        if self.had_live and not self.any_live():
            self.up = False
        if self.phase in ("stopping", "giving_up"):
            self.each(
                lambda child: child.state in ("pending", "waiting", "backoff"),
                lambda child: replace(child, state="stopped", due=None),
            )
            self.each(lambda child: child.live, self.patient)
            self.stop_the_last()
        elif any(child.leaving == "sibling" for child in self.children.values()):
            self.stop_the_last()
        elif self.phase in ("starting", "running"):
            self.start_what_can()
        self.announce()
        due = min((child.due for child in self.children.values() if child.due is not None), default=None)
        if due is not None:
            self.actions.append(WakeAt(due))

    def stop_the_last(self) -> None:
        """Reverse order: only the last live child is stopped, and only when it is gone the one before it."""
        everybody = self.phase in ("stopping", "giving_up")
        last = next(
            (
                child
                for child in reversed(self.children.values())
                if child.live and (everybody or not self.specs[child.name].alone)
            ),
            None,
        )
        if last is None or last.state == "stopping":
            return
        if last.leaving != "sibling":
            last = replace(last, reason=f"stopped: {self.reason}" if self.reason else "stopped")
        self.stop(last, "sibling")

    def start_what_can(self) -> None:
        ordered = self.phase == "starting" or self.spec.strategy != "one_for_one"
        together = self.spec.strategy == "one_for_all"
        if together and any(self.holds_up(child) for child in self.children.values() if child.state == "backoff"):
            return
        for name in self.children:
            child = self.children[name]
            if child.state == "waiting":
                self.start(child)
            if ordered and self.holds_up(self.children[name]):
                return

    def holds_up(self, child: Child) -> bool:
        """Whether later children wait for this one to be ready."""
        return self.returns(child) and not (self.specs[child.name].alone and self.phase != "starting")

    def returns(self, child: Child) -> bool:
        """Whether this one will be ready again, or for the first time."""
        return child.desired == "running" and child.state in UNSETTLED

    def announce(self) -> None:
        if self.phase in ("stopping", "giving_up") and not self.any_live():
            self.actions.append(Stopped() if self.phase == "stopping" else GiveUp(self.reason))
            self.phase = "down"
        elif self.phase in ("starting", "running") and not self.up:
            settled = not any(self.returns(child) for child in self.children.values())
            running = any(child.state == "running" for child in self.children.values())
            if settled and (running or self.phase == "starting"):
                self.phase = "running"
                self.up = True
                self.actions.append(Started())

    def any_live(self) -> bool:
        return any(child.live for child in self.children.values())

    # What is done to one child

    def start(self, child: Child) -> None:
        if child.cause and not self.specs[child.name].alone:  # whom nobody needs had nothing in its hands
            self.actions.append(RaiseEpoch(child.cause))
        incarnation = child.incarnation + 1
        due = self.now + self.specs[child.name].start_timeout_s
        self.put(replace(child, state="starting", incarnation=incarnation, due=due, cause=""))
        self.actions.append(StartChild(child.name, incarnation))

    def stop(self, child: Child, leaving: Leaving) -> None:
        """Ask a process to end, unless that was done already."""
        if child.state == "stopping":
            self.put(replace(child, leaving=leaving))
            return
        budget = self.specs[child.name].shutdown_s
        child = replace(child, leaving=leaving)
        if budget > 0:
            self.put(replace(child, state="stopping", due=self.now + budget))
            self.actions.append(StopChild(child.name, child.incarnation, budget))
        else:
            self.kill(child)

    def kill(self, child: Child) -> None:
        self.put(replace(child, state="stopping", due=self.now + KILL_AGAIN_S))
        self.actions.append(KillChild(child.name, child.incarnation))

    def patient(self, child: Child) -> Child:
        """A starting child that awaits its turn to be stopped is no longer expected to become ready."""
        return replace(child, due=None) if child.state == "starting" else child

    def put(self, child: Child) -> None:
        self.children[child.name] = child

    def each(self, which: Callable[[Child], bool], change: Callable[[Child], Child]) -> None:
        for child in list(self.children.values()):
            if which(child):
                self.put(change(child))
