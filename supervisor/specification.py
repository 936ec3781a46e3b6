"""What a supervisor is told before it starts: its children, their order, and when to give up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from ark.errors import ConfigError

__all__ = ["Backoff", "ChildSpec", "Kind", "RestartType", "Strategy", "SupervisorSpec"]

Kind: TypeAlias = Literal["agent", "supervisor", "service"]
RestartType: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed child waits before it is started again.

    The first failure of a streak waits `first_s`, the n-th waits `base_s * factor ** (n - 2)`, at most
    `cap_s`; each is spread by `jitter` to both sides. A child that ran for `stable_s` before it failed begins
    a new streak.
    """

    first_s: float = 0.0
    base_s: float = 0.05
    factor: float = 2.0
    cap_s: float = 0.5
    jitter: float = 0.2
    stable_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("first_s", "base_s", "cap_s", "stable_s"):
            _require_seconds(getattr(self, name), f"backoff.{name}")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise ConfigError(f"a back-off's factor must be at least 1, not {self.factor}", field="backoff.factor")
        if not 0 <= self.jitter < 1:
            raise ConfigError(f"a back-off's jitter must lie in [0, 1), not {self.jitter}", field="backoff.jitter")

    def delay(self, streak: int, random: float) -> float:
        """Seconds to wait after failure number `streak` in a row, from 1; `random` lies in [0, 1)."""
        if streak <= 1:
            wanted = self.first_s
        else:
            doublings = min(streak - 2, 64)  # far beyond any cap, and far below a float's end
            wanted = min(self.cap_s, self.base_s * self.factor**doublings)
        return wanted * (1 + self.jitter * (2 * random - 1))


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a supervisor.

    Attributes:
        name: Unique among the children of one supervisor.
        kind: `agent` and `service` are leaves; `supervisor` has children of its own.
        restart: `permanent` is always started again, `transient` after an abnormal end, `temporary` never.
        shutdown_s: Seconds that it gets for an orderly stop before it is killed; 0 kills at once.
        start_timeout_s: Seconds that it gets from its start until it is ready.
        alone: Whether nobody needs it: its failure takes nobody along, and nobody's takes it along.
    """

    name: str
    kind: Kind = "agent"
    restart: RestartType = "permanent"
    shutdown_s: float = 2.0
    start_timeout_s: float = 10.0
    alone: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a child needs a name", field="name")
        _require_one_of(self.kind, get_args(Kind), "kind")
        _require_one_of(self.restart, get_args(RestartType), "restart")
        _require_seconds(self.shutdown_s, "shutdown_s")
        _require_seconds(self.start_timeout_s, "start_timeout_s")


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor and its children.

    Attributes:
        name: The supervisor's own name.
        strategy: Whom the failure of one child takes along.
        children: In the order in which they start; they stop in reverse.
        intensity: So many restarts within `period_s` are borne; one more, and the supervisor gives up.
        period_s: The length of the sliding window in seconds.
        backoff: How long a failed child waits.
    """

    name: str
    strategy: Strategy = "one_for_one"
    children: tuple[ChildSpec, ...] = ()
    intensity: int = 50
    period_s: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        _require_one_of(self.strategy, get_args(Strategy), "strategy")
        _require_seconds(self.period_s, "period_s")
        if self.intensity < 0:
            raise ConfigError(f"intensity must be 0 or more, not {self.intensity}", field="intensity")
        names = [child.name for child in self.children]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"supervisor {self.name} has two children named {twice[0]}", field="children")


def _require_seconds(value: float, name: str) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a number of seconds, 0 or more, not {value}", field=name)


def _require_one_of(value: str, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}", field=name)
