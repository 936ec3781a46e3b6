"""The Watchdog's agent monitor: who stopped beating, and has therefore to be replaced. Pure.

An agent beats from the same loop that does its work, so a loop that is stuck stops beating. `judge` is called
twice an interval or more often, with the age of everybody's last beat, and gives a verdict for each process
that is lost:

1. A process is late when it missed more than `missed` beats: its last beat is older than `missed * interval_s`, or
   than the patience that one has with this agent.
2. A late process gets one verdict in its life. The supervisor's answer is SIGKILL, which always comes true; a
   second verdict could only hit the wrong process.
3. Only a running process is judged. While it starts, stops or waits, the supervisor's own time-outs hold.
4. When the machine itself stood still (a suspended laptop, a frozen container), everybody is late at once, and
   nobody is to blame. A pause is assumed when two or more are watched and every one of them is late, when
   `judge` is called more than one interval after the last time, and when it is called for the first time, since
   nobody knows what was before. Everybody who is late then gets the patience of rule 1 anew; whoever has still
   not beaten after it is judged. Being late still does not prolong it, and whoever beats is judged by rule 1
   again.

Not covered: with a single watched process, only the Watchdog's own lateness tells a pause from a hang.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from ark.errors import ConfigError

__all__ = ["Limits", "Memory", "Process", "Verdict", "Vital", "judge"]

Process: TypeAlias = tuple[str, int, int]
"""Name, incarnation and pid: one process and no other."""


@dataclass(frozen=True, slots=True)
class Vital:
    """What the Watchdog sees of one process.

    Attributes:
        name: The agent.
        pid: Its process.
        incarnation: As the supervisor counts it.
        beat_age_s: Seconds since its last beat; for one that never beat, since it became ready.
        busy_with: The trace id in its black box; empty: it is idle.
        handler: The handler in its black box; may be empty.
        state: As the supervisor sees it; only `running` is judged.
        patience_s: How long it may be without a beat; 0: as long as everybody.
    """

    name: str
    pid: int
    incarnation: int
    beat_age_s: float
    busy_with: str = ""
    handler: str = ""
    state: str = "running"
    patience_s: float = 0.0

    @property
    def process(self) -> Process:
        return (self.name, self.incarnation, self.pid)


@dataclass(frozen=True, slots=True)
class Limits:
    """How often agents beat, and how many beats they may miss."""

    interval_s: float = 1.0
    missed: int = 2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.interval_s) and self.interval_s > 0):
            raise ConfigError(f"interval_s must be above 0, not {self.interval_s}", field="interval_s")
        if self.missed < 1:
            raise ConfigError(f"missed must be 1 or more, not {self.missed}", field="missed")

    @property
    def patience_s(self) -> float:
        """The greatest age of a last beat that is still borne."""
        return self.missed * self.interval_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """One process is lost.

    Attributes:
        name: The agent.
        incarnation: The process that is meant, for `supervisor.policy.Restart`.
        pid: The same.
        answer: What is to be done.
        reason: What an operator reads.
    """

    name: str
    incarnation: int
    pid: int
    answer: Literal["restart"]
    reason: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What `judge` keeps from call to call. Start with `Memory()`.

    Attributes:
        judged_at: When it was last called.
        sentenced: Processes that had their verdict.
        respites: Until when a process is let be after a pause of the machine.
    """

    judged_at: float | None = None
    sentenced: frozenset[Process] = frozenset()
    respites: Mapping[Process, float] = field(default_factory=lambda: MappingProxyType({}))


def judge(vitals: Sequence[Vital], limits: Limits, memory: Memory, now: float) -> tuple[list[Verdict], Memory]:
    """Say who is lost, by the rules above.

    Args:
        vitals: Everybody who is watched, in any order.
        limits: How long a beat may be missing.
        memory: From the call before.
        now: Seconds on the clock that the ages were taken from; it never goes back.
    """
    patience = {vital.process: vital.patience_s or limits.patience_s for vital in vitals}
    watched = [vital for vital in vitals if vital.state == "running" and vital.process not in memory.sentenced]
    late = {
        vital.process: now - vital.beat_age_s for vital in watched if vital.beat_age_s > patience[vital.process]
    }
    respites = {
        process: until
        for process, until in memory.respites.items()
        if process in late
        and late[process] < until - patience[process]  # it has not beaten since it got the respite
    }

    overslept = memory.judged_at is None or now - memory.judged_at > limits.interval_s
    everybody = len(watched) > 1 and len(late) == len(watched)
    if overslept or everybody:
        for process in late:
            respites.setdefault(process, now + patience[process])

    verdicts = [
        Verdict(vital.name, vital.incarnation, vital.pid, "restart", _reason(vital, limits))
        for vital in watched
        if vital.process in late and respites.get(vital.process, -math.inf) < now
    ]
    present = {vital.process for vital in vitals}
    sentenced = {*memory.sentenced, *((v.name, v.incarnation, v.pid) for v in verdicts)} & present
    return verdicts, Memory(now, frozenset(sentenced), MappingProxyType(respites))


def _reason(vital: Vital, limits: Limits) -> str:
    missed = int(vital.beat_age_s / limits.interval_s)
    reason = f"no heartbeat for {vital.beat_age_s:.1f} s ({missed} missed)"
    if not vital.busy_with:
        return f"{reason}, while idle"
    where = f" in {vital.handler}" if vital.handler else ""
    return f"{reason}, busy with {vital.busy_with}{where}"
