"""What people who write agents need to test them: a context without a node.

Example:
    >>> desk = TestContext(agent="quiet", now=1_700_000_000.0)
    >>> answer = drive(MyAgent(), case, desk)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw
import msgspec

from ark.agent import Agent, Effect, FlagValue
from ark.errors import AgentError
from ark.interventions import Intervention
from ark.logger import into
from ark.message import Span
from ark.metrics import REGISTRY, Kind, Metric, check, check_value
from ark.ruling import Ruling
from ark.state import Core
from ark.state_desk import StateDesk

__all__ = ["TestContext", "drive"]


class TestContext:
    """A context whose clock, halt and secrets the test sets, and which keeps what the agent sent.

    Attributes:
        clock: The time that `now` gives, seconds since the epoch; set it as you like.
        halt_reason: What `halted` gives, and where `halt` writes.
        track: Who decides the signal at hand, while a rollout is under way; see `ark.message.Span`.
        ruling: How a person ruled on the signal at hand; None by default. Make one with `ark.ruling.rule`.
        beats: What `beat_age` gives by name; 0.0 where a name is absent.
        free: What `free_bytes` gives.
        faults: What `privacy_faults` gives.
        acts: What `interventions` gives, in order; an error in its place is raised.
        sent: Notices as pairs of agent and notice, in order.
        events: Events as pairs of kind and fields, in order.
        failures: The reasons of `failed`, in order.
        measured: What was counted and observed, and what gauges and totals were set to: metric, labels and value,
            in order.
        shown: The newest document of each name.
        metrics: Metrics that may be used beside those of `ark.metrics`: the agent's own.
        lines: What was written with `log`, as it would stand in the file, in order.
        flags: What `flag` gives by name; its default where a name is absent.
        core: The Mutable Core, in memory; `drive` writes what the agent changed through `state` into it.
    """

    __test__ = False

    def __init__(
        self,
        agent: str = "agent",
        *,
        now: float = 1_700_000_000.0,
        pipeline: tuple[str, ...] = ("kyle", "joey", "hrm", "kenny", "aletheia"),
        settings: Mapping[str, Any] | None = None,
        secrets: Mapping[str, bytes] | None = None,
    ) -> None:
        self.agent = agent
        self.version = "test"
        self.pipeline = pipeline
        self.settings = settings or {}
        self.trace_id = "00000000-0000-4000-8000-000000000000"
        self.epoch = 1
        self.attempt = 1
        self.received_ns = int(now * 1e9)
        self.spans: tuple[Span, ...] = ()
        self.track = ""
        self.clock = now
        self.halt_reason: str | None = None
        self.ruling: Ruling | None = None
        self.beats: dict[str, float | None] = {}
        self.free: int | None = 1 << 40
        self.faults: dict[str, str] = {"home": "", "credentials": "", "log": ""}
        self.acts: list[Intervention] | Exception = []
        self.sent: list[tuple[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[str] = []
        self.measured: list[tuple[str, dict[str, str], float]] = []
        self.shown: dict[str, Any] = {}
        self.metrics: tuple[Metric, ...] = ()
        self.lines: list[dict[str, Any]] = []
        sink = into(self.lines, agent=agent, clock=self.now)
        sink.version = self.version
        sink.trace_id = lambda: self.trace_id
        self.log = sink.logger()
        self.flags: dict[str, bool | int | float | str] = {}
        self.core = Core(clock=self.now)
        self.state = StateDesk(agent, self.version, lambda: self.core)
        self._secrets = dict(secrets or {})
        self._databases: dict[str, apsw.Connection] = {}

    @property
    def database(self) -> apsw.Connection:
        return self.open("")

    def open(self, name: str) -> apsw.Connection:
        if name not in self._databases:
            self._databases[name] = apsw.Connection(":memory:")
        return self._databases[name]

    def span(self, ended_at: float) -> Span:
        ended_ns = max(int(ended_at * 1e9), self.received_ns)
        return Span(self.agent, self.version, self.received_ns, ended_ns, self.track)

    def now(self) -> float:
        return self.clock

    def halted(self) -> str | None:
        return self.halt_reason

    def halt(self, reason: str) -> None:
        if self.halt_reason is None:
            self.halt_reason = reason
            self.event("halt", reason=reason, by=self.agent)

    def beat_age(self, name: str) -> float | None:
        return self.beats.get(name, 0.0)

    def privacy_faults(self) -> Mapping[str, str]:
        return self.faults

    def free_bytes(self) -> int | None:
        return self.free

    def interventions(self, after: int) -> list[Intervention]:
        if isinstance(self.acts, Exception):
            raise self.acts
        return [act for act in self.acts if act.number > after]

    def secret(self, name: str) -> bytes:
        if name not in self._secrets:
            raise AgentError(f"agent {self.agent} was not given the secret {name}")
        return self._secrets[name]

    def flag(self, name: str, default: FlagValue, /) -> FlagValue:
        said = self.flags.get(name, default)
        return said if type(said) is type(default) else default

    def failed(self, reason: str) -> None:
        self.failures.append(reason)

    def count(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        self._measure(metric, "counter", labels, amount)

    def total(self, metric: str, value: float, /, **labels: str) -> None:
        self._measure(metric, "counter", labels, value)

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        self._measure(metric, "gauge", labels, value)

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        self._measure(metric, "histogram", labels, value)

    count_now = count
    observe_now = observe

    def counted(self, metric: str, /, **labels: str) -> float:
        """The sum of what was counted in a metric, in the series with these labels; 0 where that is nothing."""
        return sum(
            value for name, given, value in self.measured if name == metric and labels.items() <= given.items()
        )

    def latest(self, metric: str, /, **labels: str) -> float | None:
        """What a gauge, or a total, was set to last in a series with these labels; None where it was not."""
        found = [
            value for name, given, value in self.measured if name == metric and labels.items() <= given.items()
        ]
        return found[-1] if found else None

    def _measure(self, metric: str, kind: Kind, labels: dict[str, str], value: float) -> None:
        known = {**REGISTRY, **{each.name: each for each in self.metrics}}
        check(known, metric, kind, {"agent", "version", "track", *labels}, given=labels)
        self.measured.append((metric, labels, check_value(metric, kind, value)))

    def show(self, name: str, document: Any) -> None:
        self.shown[name] = msgspec.json.decode(msgspec.json.encode(document))

    def send(self, agent: str, notice: Any) -> None:
        if agent not in self.pipeline:
            raise AgentError(f"agent {self.agent} sends a notice to {agent!r}, which is no agent of the pipeline")
        self.sent.append((agent, notice))

    def event(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, fields))


def drive(agent: Agent[Any], message: Any, context: TestContext, *, again: bool = False) -> Any:
    """Take one message through `handle` and `settle`, and through `perform` if the agent returns an `Effect`.

    The answer, also a `Hold`, goes through msgpack and back, as it would on the wire, so that what cannot travel
    fails here.
    """
    answer = agent.handle(message, context)
    agent.settle(context)
    if isinstance(answer, Effect):
        answer = agent.perform(answer.intent, context, again=again)
    context.state.apply(context.state.take())
    wire = msgspec.msgpack.Encoder(decimal_format="string").encode(answer)
    return msgspec.msgpack.decode(wire, type=type(answer))
