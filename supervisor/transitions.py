"""What a supervisor remembers, what it hears, and what it orders: the words of `supervisor.policy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Action",
    "Begin",
    "Child",
    "ChildState",
    "Desired",
    "Event",
    "Exited",
    "GiveUp",
    "Isolate",
    "KillChild",
    "Leaving",
    "Order",
    "Phase",
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
    "Tick",
    "WakeAt",
]

ChildState: TypeAlias = Literal[
    "pending", "waiting", "starting", "running", "backoff", "stopping", "stopped", "isolated", "failed"
]
Desired: TypeAlias = Literal["running", "stopped", "isolated"]
Leaving: TypeAlias = Literal["", "failure", "sibling", "operator"]
Phase: TypeAlias = Literal["new", "starting", "running", "stopping", "giving_up", "down"]

LIVE: frozenset[ChildState] = frozenset({"starting", "running", "stopping"})
"""States in which a process exists, as far as the supervisor was told."""


# What it remembers


@dataclass(frozen=True, slots=True)
class Child:
    """What a supervisor knows of one child.

    Attributes:
        name: As in the specification.
        state: Where it stands.
        desired: What an operator or the Watchdog wants of it; only they change it.
        incarnation: Number of its current or last process; 0 before the first.
        streak: Failures in a row, for the back-off.
        crashes: Failures ever: ends that nobody had ordered, hangs, and starts that took too long.
        due: When the state's patience ends: the back-off's end, the start's time-out, the shutdown's budget.
        reason: Why it last ended, or is about to.
        leaving: Why a live process is on its way out; empty: it is not.
        cause: Why the next start raises the epoch; empty: it is a first start.
        ready_at: When its current process became ready.
    """

    name: str
    state: ChildState = "pending"
    desired: Desired = "running"
    incarnation: int = 0
    streak: int = 0
    crashes: int = 0
    due: float | None = None
    reason: str = ""
    leaving: Leaving = ""
    cause: str = ""
    ready_at: float | None = None

    @property
    def restarts(self) -> int:
        """Starts after the first one, whatever they were for."""
        return max(0, self.incarnation - 1)

    @property
    def live(self) -> bool:
        """Whether a process exists, as far as the supervisor was told."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class State:
    """What a supervisor knows.

    Attributes:
        children: In the order of the specification.
        phase: Where the supervisor itself stands.
        restart_times: When failures led to restarts, within the period, newest last.
        reason: Why it gives up; empty: it does not.
        up: Whether `Started` was said since everything was down.
    """

    children: tuple[Child, ...]
    phase: Phase = "new"
    restart_times: tuple[float, ...] = ()
    reason: str = ""
    up: bool = False

    def child(self, name: str) -> Child | None:
        """The child of that name, or None."""
        return next((child for child in self.children if child.name == name), None)


# What it hears


@dataclass(frozen=True, slots=True)
class Begin:
    """Start all children. Said once."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A process does its work."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Exited:
    """A process is gone, or could not be made. `boot:` before the reason says that it cannot start at all."""

    name: str
    incarnation: int
    reason: str = ""
    normal: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop all children, and then the supervisor."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace one process by a new one.

    Attributes:
        name: The child.
        reason: Why; shown to operators.
        kill: False: an operator asks; orderly, and not a failure. True: the Watchdog found it hanging;
            killed at once, and a failure like a crash.
        incarnation: The process that is meant; any other one is left alone. None: whichever runs.
    """

    name: str
    reason: str = ""
    kill: bool = False
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Isolate:
    """Stop one child, and keep it down until it is released."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Start an isolated child anew."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StopOne:
    """Stop one child, and keep it down until an operator wants it started."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StartOne:
    """Start one child that an operator had stopped, or that had ended, or that awaits its next try."""

    name: str
    reason: str = ""


Order: TypeAlias = Restart | Isolate | Release | StopOne | StartOne
"""What a person or the Watchdog wants of one child."""

Event: TypeAlias = Begin | Ready | Exited | Tick | Stop | Order


# What it orders


@dataclass(frozen=True, slots=True)
class StartChild:
    """Make the child's process. Answered by `Ready` or `Exited`."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class StopChild:
    """Ask the process to end. Answered by `Exited`; after `budget_s` follows `KillChild`."""

    name: str
    incarnation: int
    budget_s: float


@dataclass(frozen=True, slots=True)
class KillChild:
    """End the process with SIGKILL. Repeated until `Exited` comes."""

    name: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class RaiseEpoch:
    """Raise the epoch; the `StartChild` behind it is given the new one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Started:
    """Every child that is wanted has become ready, for the first time or after all were down."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """All children are stopped, as asked. The last action of all."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """All children are stopped, after more failures than this one bears. The last action of all."""

    reason: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a `Tick` at that time. Replaces an earlier wish."""

    time: float


Action: TypeAlias = StartChild | StopChild | KillChild | RaiseEpoch | Started | Stopped | GiveUp | WakeAt
