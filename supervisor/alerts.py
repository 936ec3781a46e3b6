"""Faults, what is done about each, and the alerts that tell of them: `weigh`. Pure.

A fault is what a monitor sees now. `weigh` is called with all of them again and again, and gives

- an **order** where a fault is new, or has lasted for `repeat_s` since the last one;
- an **alert** when a fault begins (`raised`), while it lasts every `repeat_s` (`repeated`), and when it has not
  been seen for `clear_s` (`cleared`). What comes again before that is the same alert, with a higher count: one that
  comes and goes tells of itself no more often than one that stays.

What is done about which fault is a table in the configuration (`ark.config.AnswersConfig`). The same agent isolated
too often is a fault of its own, `quarantines`. A child is restarted `MOST_RESTARTS` times within `repeat_s` and no
more, since a limit below what it needs would have its processes killed for ever. For hangs there is no such bound.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

__all__ = ["ADVICE", "Alert", "Answer", "Answers", "NODE", "Fault", "Memory", "Order", "weigh"]

Answer: TypeAlias = Literal["warn", "restart", "isolate", "halt"]
Key: TypeAlias = tuple[str, str]

SEVERITY = {"warn": "warning", "restart": "warning", "isolate": "critical", "halt": "emergency"}
"""How bad a fault is, by what is done about it; the words are the original's."""
_FIXED_SEVERITY = {"isolated": "critical", "halted": "emergency"}
MOST_RESTARTS = 3
"""So often the Watchdog restarts a child within `repeat_s`; for a hang as often as it hangs."""
NODE = "node"
"""The subject of faults that belong to no child."""

_RELEASE = "when that is mended: supervisor release {subject} --reason TEXT"
_RESUME = "then ark-run resume --reason TEXT"
_DOCTOR = "supervisor doctor {subject}"

ADVICE = {
    "hang": f"it was replaced; if it comes again, see which signal it hangs in: {_DOCTOR}",
    "failures": f"see what it dies of: {_DOCTOR}; {_RELEASE}",
    "failure_rate": f"see what fails: {_DOCTOR}; {_RELEASE}",
    "latency": f"see what it waits for; {_RELEASE}",
    "isolated": f"its signals wait; see why: {_DOCTOR}; {_RELEASE}",
    "memory": "look for what it keeps, or raise agents.{subject}.memory_limit_mb",
    "descriptors": "look for files and connections that it opens and never closes",
    "restarts": f"see what it dies of: {_DOCTOR}",
    "down": f"see why it does not come up: {_DOCTOR}",
    "quarantines": f"find out why it fails again and again: {_DOCTOR}; mend and release it, {_RESUME}",
    "front_door": "see supervisor status and the load of the machine; clients wait or try again meanwhile",
    "mailbox": "it is slower than what comes in; signals wait and none is lost: supervisor status",
    "backlog": "signals come faster than they are judged, or an agent is down: supervisor status; when the journal "
    "is full, the front door answers busy",
    "redis": "look at the Redis server; what waits there is not lost",
    "violations": "see which rules deny what: supervisor events --kind alarm; stop a source that does not behave",
    "dead_letter": "look at it: ark-run dead-letters list; then retry or drop it",
    "clock_jump": "see what has set the clock; ages of signals and deadlines go by it",
    "disk_low": "make room on the disk under the node's home before it is full",
    "disk_full": f"make room on the disk under the node's home, {_RESUME}",
    "storage": f"mend what it names, it then goes on by itself (docs/operations.md), {_RESUME}",
    "seal": f"see ark-run seal verify, put the rules back, {_RESUME}",
    "halted": f"see supervisor doctor; when the cause is gone, {_RESUME}",
}
"""What to do next, by the kind of fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a monitor sees.

    Attributes:
        kind: As in `ADVICE`.
        subject: The child it is about, or `node`.
        reason: What was seen, with figures.
        incarnation: The process that is meant, for a restart; None: whichever runs.
    """

    kind: str
    subject: str
    reason: str
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """What is told about a fault; see the module."""

    fault: str
    subject: str
    severity: str
    answer: Answer
    state: Literal["raised", "repeated", "cleared"]
    reason: str
    advice: str
    count: int
    since: float

    def fields(self) -> dict[str, Any]:
        """The alert as the fields of an event; the subject is its `name`."""
        return {
            "name": self.subject,
            "fault": self.fault,
            "severity": self.severity,
            "answer": self.answer,
            "state": self.state,
            "reason": self.reason,
            "advice": self.advice,
            "count": self.count,
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done now about a fault."""

    answer: Answer
    fault: Fault


@dataclass(frozen=True, slots=True)
class Answers:
    """What is done about what, and how often it is told; see `ark.config.WatchdogConfig`.

    Attributes:
        table: The answer by the kind of fault.
        agents: Who can be isolated.
        arms: Those of them that decide nothing by themselves, so that trading is never halted for one.
    """

    table: Mapping[str, Answer]
    agents: Collection[str]
    auto_isolation: bool = True
    emergency_halt: bool = True
    repeat_s: float = 300.0
    clear_s: float = 10.0
    max_quarantines: int = 3
    quarantine_period_s: float = 3600.0
    arms: Collection[str] = ()

    def to(self, fault: Fault) -> Answer:
        """What is done about a fault, as far as it is allowed and can be done."""
        if fault.kind == "seal":
            return "halt"
        answer = self.table.get(fault.kind, "warn")
        if answer == "halt" and fault.subject in self.arms:
            answer = "isolate"
        if answer == "halt" and not self.emergency_halt:
            answer = "isolate" if fault.kind in CHILD_FAULTS and fault.subject in self.agents else "warn"
        if answer == "isolate" and fault.subject not in self.agents:
            answer = "restart"
        if answer == "isolate" and not self.auto_isolation:
            answer = "warn"
        if answer == "warn" and fault.kind == "hang":
            answer = "restart"  # what beats no more does nothing for anybody
        return answer

    def isolates(self, answer: Answer, fault: Fault) -> bool:
        """Whether an answer puts an agent into quarantine, as a halt does for a fault of one process."""
        also = answer == "halt" and fault.kind in CHILD_FAULTS and self.auto_isolation
        return fault.subject in self.agents and (answer == "isolate" or also)


@dataclass(frozen=True, slots=True)
class _Standing:
    """A fault that has not been cleared."""

    fault: Fault
    answer: Answer
    since: float
    seen: float
    told: float
    ordered: float
    count: int
    present: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """What `weigh` keeps from call to call.

    Attributes:
        standing: Faults that are not cleared, by kind and subject.
        quarantines: When each agent was isolated by an order, within the period.
        restarts: When each child was restarted by an order, but for a hang, within `repeat_s`.
    """

    standing: Mapping[Key, _Standing] = field(default_factory=lambda: MappingProxyType({}))
    quarantines: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    restarts: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def active(self) -> list[Alert]:
        """The faults that stand, as alerts, the oldest first."""
        return [_alert(each, "raised") for each in sorted(self.standing.values(), key=lambda each: each.since)]


def weigh(
    faults: Sequence[Fault], memory: Memory, answers: Answers, now: float
) -> tuple[list[Alert], list[Order], Memory]:
    """Say what is to be told and to be done.

    Args:
        faults: Everything that is seen now.
        memory: From the call before; `Memory()` at first.
        answers: The table.
        now: Seconds on a clock that never goes back.
    """
    standing = dict(memory.standing)
    quarantines = dict(memory.quarantines)
    restarts = _lately(memory.restarts, answers.repeat_s, now)
    alerts: list[Alert] = []
    orders: list[Order] = []
    seen: set[Key] = set()
    ordered: set[tuple[Answer, str]] = set()  # two faults of one process need one deed, and make one quarantine
    isolated: set[str] = set()
    queue = list(faults)
    while queue:
        fault = queue.pop(0)
        key = (fault.kind, fault.subject)
        if key in seen:
            continue
        seen.add(key)
        old = standing.get(key)
        answer = answers.to(fault)
        is_new = old is None or not old.present or old.fault.incarnation != fault.incarnation
        acts = is_new or (old is not None and now - old.ordered >= answers.repeat_s)
        replaces = answer == "restart" and fault.kind != "hang"
        lately = restarts.get(fault.subject, ())
        if replaces and len(lately) >= MOST_RESTARTS:
            acts = False
        if old is None:
            new = _Standing(fault, answer, now, now, now, now, 1, True)
            alerts.append(_alert(new, "raised"))
        else:
            tells = now - old.told >= answers.repeat_s
            new = replace(
                old,
                fault=fault,
                answer=answer,
                seen=now,
                told=now if tells else old.told,
                ordered=now if acts else old.ordered,
                count=old.count + is_new,
                present=True,
            )
            if tells:
                alerts.append(_alert(new, "repeated"))
        standing[key] = new
        if not acts or answer == "warn" or (answer, fault.subject) in ordered:
            continue
        ordered.add((answer, fault.subject))
        orders.append(Order(answer, fault))
        if replaces:
            restarts[fault.subject] = (*lately, now)
        isolates = answers.isolates(answer, fault)
        if answer == "halt" and fault.kind == "hang" and not isolates:
            orders.append(Order("restart", fault))  # halted or not, what beats no more must go
        if isolates and fault.subject not in isolated:
            isolated.add(fault.subject)
            times = _recent((*quarantines.get(fault.subject, ()), now), answers.quarantine_period_s, now)
            quarantines[fault.subject] = times
            if len(times) >= answers.max_quarantines:
                queue.append(_too_often(fault, len(times), answers))
    for key, each in list(standing.items()):
        if key in seen:
            continue
        if now - each.seen >= answers.clear_s:
            del standing[key]
            alerts.append(_alert(each, "cleared"))
        elif each.present:
            standing[key] = replace(each, present=False)
    quarantines = _lately(quarantines, answers.quarantine_period_s, now)
    frozen = (MappingProxyType(standing), MappingProxyType(quarantines), MappingProxyType(restarts))
    return alerts, orders, Memory(*frozen)


CHILD_FAULTS = frozenset({"hang", "failures", "failure_rate", "latency", "memory", "descriptors", "restarts"})
"""Faults of one process: who halts trading for one of these isolates the agent as well."""


def _recent(times: Sequence[float], period_s: float, now: float) -> tuple[float, ...]:
    return tuple(time for time in times if now - time < period_s)


def _lately(known: Mapping[str, tuple[float, ...]], period_s: float, now: float) -> dict[str, tuple[float, ...]]:
    return {name: recent for name, times in known.items() if (recent := _recent(times, period_s, now))}


def _too_often(fault: Fault, count: int, answers: Answers) -> Fault:
    return Fault(
        "quarantines",
        fault.subject,
        f"isolated {count} times within {answers.quarantine_period_s / 60:.0f} minutes,"
        f" the last time for: {fault.reason}",
    )


def _alert(standing: _Standing, state: Literal["raised", "repeated", "cleared"]) -> Alert:
    fault = standing.fault
    severity = _FIXED_SEVERITY.get(fault.kind, SEVERITY[standing.answer])
    return Alert(
        fault.kind,
        fault.subject,
        severity,
        standing.answer,
        state,
        fault.reason,
        ADVICE.get(fault.kind, "see supervisor doctor").format(subject=fault.subject),
        standing.count,
        standing.since,
    )
