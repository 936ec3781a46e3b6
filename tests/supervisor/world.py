"""A world in which children obey a supervisor late, badly or not at all, and which checks each order."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

from supervisor.policy import (
    Action,
    Begin,
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
    SupervisorSpec,
    Tick,
    WakeAt,
    decide,
    initial,
)

FORCED_S = 0.01
"""How long the kernel takes at most to end a process for good."""


@dataclass(frozen=True)
class Trouble:
    """How children behave until `until_s`; afterwards all is well.

    Attributes:
        until_s: When failures stop.
        dies: Chance that a process dies by itself, while it starts or later.
        normal: Chance that such a death is a normal exit.
        hangs: Chance that a process never becomes ready, and that it does not obey when asked to end.
        lifetime_s: The longest life of a process that dies by itself.
        doubles: Chance that a notice is delivered twice.
    """

    until_s: float = 5.0
    dies: float = 0.5
    normal: float = 0.2
    hangs: float = 0.2
    lifetime_s: float = 2.0
    doubles: float = 0.3


@dataclass
class World:
    """Runs a supervisor against made-up children, and checks each order as it comes.

    Attributes:
        alive: The incarnations of each child that exist now, known to the supervisor or not.
        log: Everything that was ordered, with its time.
    """

    spec: SupervisorSpec
    seed: int = 0
    trouble: Trouble = field(default_factory=Trouble)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.now = 0.0
        self.state: State = initial(self.spec)
        self.alive: dict[str, set[int]] = {child.name: set() for child in self.spec.children}
        self.released: set[str] = set()
        self.isolated: set[str] = set()
        self.stopped: set[str] = set()
        self.log: list[tuple[float, Action]] = []
        self.queue: list[tuple[float, int, Event]] = []
        self.numbers = itertools.count()
        self.wake: float | None = None

    def at(self, time: float, event: Event) -> None:
        heapq.heappush(self.queue, (time, next(self.numbers), event))

    def run(self, until: float) -> None:
        while True:
            times = [self.queue[0][0]] if self.queue else []
            times += [] if self.wake is None else [self.wake]
            if not times or min(times) > until:
                self.now = until
                return
            if self.wake is not None and self.wake <= min(times):
                self.now, self.wake = max(self.now, self.wake), None
                self.take(Tick())
            else:
                time, _, event = heapq.heappop(self.queue)
                self.now = max(self.now, time)
                self.take(event)

    @property
    def ended(self) -> bool:
        return any(isinstance(action, Stopped | GiveUp) for _, action in self.log)

    # The children ------------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        match event:
            case Exited(name, incarnation):
                self.alive[name].discard(incarnation)
            case Isolate(name) if not self.ended and self.state.phase != "stopping":
                self.isolated.add(name)
                self.stopped.discard(name)
            case StopOne(name) if not self.ended and name not in self.isolated:
                self.stopped.add(name)
            case StartOne(name) | Restart(name, _, False, None) if name in self.stopped:
                self.stopped.discard(name)
                self.released.add(name)
            case Release(name) if name in self.isolated:
                self.isolated.discard(name)
                self.released.add(name)
        before = self.state
        self.state, actions = decide(self.spec, self.state, event, self.now, self.dice.random())
        for index, action in enumerate(actions):
            self.check(before, actions, index)
            self.log.append((self.now, action))
            self.obey(action)

    def obey(self, action: Action) -> None:
        bad = self.now < self.trouble.until_s
        match action:
            case StartChild(name, incarnation):
                self.alive[name].add(incarnation)
                self.begin(name, incarnation, bad)
            case StopChild(name, incarnation):
                if not (bad and self.dice.random() < self.trouble.hangs):
                    self.end(name, incarnation, self.dice.uniform(0.0, 0.05), "asked to end", True)
            case KillChild(name, incarnation):
                self.end(name, incarnation, self.dice.uniform(0.0, FORCED_S), "killed by signal 9", False)
            case WakeAt(time):
                self.wake = time

    def begin(self, name: str, incarnation: int, bad: bool) -> None:
        ready = self.dice.uniform(0.001, 0.05)
        dies = bad and self.dice.random() < self.trouble.dies
        if dies:
            life = self.dice.uniform(0.0, self.trouble.lifetime_s) * self.dice.random() ** 3
            life = min(life, self.trouble.until_s - self.now)
            self.end(name, incarnation, life, "died", self.dice.random() < self.trouble.normal)
            if life < ready:
                return
        if not (bad and self.dice.random() < self.trouble.hangs):
            for _ in range(self.copies(bad)):
                self.at(self.now + ready, Ready(name, incarnation))

    def end(self, name: str, incarnation: int, delay: float, reason: str, normal: bool) -> None:
        for _ in range(self.copies(self.now < self.trouble.until_s)):
            self.at(self.now + delay, Exited(name, incarnation, reason, normal))

    def copies(self, bad: bool) -> int:
        return 2 if bad and self.dice.random() < self.trouble.doubles else 1

    # What must hold of every order -------------------------------------------------------------------------

    def check(self, before: State, actions: list[Action], index: int) -> None:
        assert not self.ended, "something was ordered after the end"
        names = [child.name for child in self.spec.children]
        alone = {child.name for child in self.spec.children if child.alone}
        match actions[index]:
            case StartChild(name, incarnation):
                assert not self.alive[name], f"a second incarnation of {name}"
                assert name not in self.isolated, f"{name} is isolated, and was started"
                assert name not in self.stopped, f"{name} was stopped by an operator, and was started"
                old = before.child(name)
                assert old is not None
                assert incarnation == old.incarnation + 1
                assert not any(child.leaving == "sibling" for child in self.state.children), "started too soon"
                raised = index > 0 and isinstance(actions[index - 1], RaiseEpoch)
                wanted = (incarnation > 1 or name in self.released) and name not in alone
                assert raised == wanted, "the epoch and the start do not agree"
                self.released.discard(name)
                if self.spec.strategy != "one_for_one" or before.phase in ("new", "starting"):
                    for earlier in names[: names.index(name)]:
                        if earlier in alone and before.phase not in ("new", "starting"):
                            continue
                        child = self.state.child(earlier)
                        assert child is not None
                        assert child.state in ("running", "isolated", "stopped", "failed") or (
                            child.state == "stopping" and child.desired != "running"
                        ), f"{name} was started before {earlier}, which is {child.state}"
            case StopChild(name, incarnation, budget):
                assert budget > 0
                child = before.child(name)
                assert child is not None
                assert child.incarnation == incarnation
                taken_along = self.state.child(name)
                if (
                    taken_along is not None
                    and taken_along.leaving == "sibling"
                    and name not in self.isolated | self.stopped
                ):
                    for later in names[names.index(name) + 1 :]:
                        if later in alone and self.state.phase not in ("stopping", "giving_up"):
                            continue
                        assert not self.alive[later], f"{name} was stopped before {later} was gone"
            case KillChild(name, incarnation):
                child = before.child(name)
                assert child is not None
                assert child.incarnation == incarnation
            case RaiseEpoch():
                assert isinstance(actions[index + 1], StartChild)
            case Started():
                assert any(self.alive.values()) or before.phase in ("new", "starting")
            case Stopped() | GiveUp():
                assert not any(self.alive.values()), "the end was said while a process lived"
                assert index == len(actions) - 1
            case WakeAt():
                assert index == len(actions) - 1


def begin(world: World) -> World:
    world.at(0.0, Begin())
    return world


def stop_at(world: World, time: float) -> World:
    world.at(time, Stop())
    return world
