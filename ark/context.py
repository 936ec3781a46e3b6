"""The context that a stage gives to its agent; both hosts use this one, with their own clock, files and halt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ark.agent import FlagValue
from ark.changes import Change, Group
from ark.errors import AgentError
from ark.flags import Body, Subject
from ark.logger import Logger, silent
from ark.message import EVENT, LETTER, NOTICE, Envelope, Span, encode
from ark.meters import Measured, Meters
from ark.metrics import Kind, check_value
from ark.ruling import Ruling
from ark.state import Core
from ark.state_desk import StateDesk

if TYPE_CHECKING:
    from ark.flag_desk import FlagDesk
    from ark.interventions import Intervention

__all__ = ["StageContext"]


SOUND: Mapping[str, str] = {"home": "", "credentials": "", "log": ""}
"""What `privacy_faults` gives where nothing lies open."""


class StageContext:
    """See `ark.agent.Context` for what agents may rely on.

    Args:
        agent, version, pipeline, settings: As in `Context`.
        clock: Gives seconds since the epoch.
        halt: Gives the reason of a halt, or None.
        halter: Halts trading for a reason, and says whether it was not halted before.
        beat_age, free_bytes, privacy_faults, interventions: As in `Context`.
        opener: Opens a database of the agent's by name; the empty name is its journal.
        log: As in `Context`; where absent, what is written there goes nowhere.
        secrets: The secrets that this agent was given.
        meters: Where it counts; None for nowhere.
        show: As in `Context`.
        release: What the agent runs from; its version where absent.
        core: Gives the Mutable Core, when it is needed first; where absent, one in memory.
        flags: Opens the feature flags, when one is asked for first: told whom to call with new flags, and with why
            a file with flags does not count. Where absent, every flag says its default.
    """

    def __init__(
        self,
        agent: str,
        *,
        version: str,
        pipeline: tuple[str, ...],
        settings: Mapping[str, Any],
        clock: Callable[[], float],
        halt: Callable[[], str | None],
        opener: Callable[[str], apsw.Connection],
        secrets: Mapping[str, bytes],
        halter: Callable[[str], bool] = lambda reason: False,
        beat_age: Callable[[str], float | None] = lambda name: 0.0,
        free_bytes: Callable[[], int | None] = lambda: None,
        privacy_faults: Callable[[], Mapping[str, str]] = lambda: SOUND,
        interventions: Callable[[int], Sequence[Intervention]] = lambda after: (),
        meters: Meters | None = None,
        show: Callable[[str, Any], None] = lambda name, document: None,
        log: Logger | None = None,
        release: str = "",
        core: Callable[[], Core] | None = None,
        flags: Callable[[Callable[[Body], None], Callable[[str], None]], FlagDesk] | None = None,
    ) -> None:
        self.agent = agent
        self.version = version
        self.pipeline = pipeline
        self.settings = settings
        self.trace_id = ""
        self.epoch = 0
        self.attempt = 0
        self.received_ns = 0
        self.spans: tuple[Span, ...] = ()
        self._decider = (version, "")
        self.ruling: Ruling | None = None
        self.log = log or silent()
        self.log.sink.version = version
        self.log.sink.trace_id = lambda: self.trace_id
        self.now = clock
        self.halted = halt
        self.beat_age = beat_age
        self.free_bytes = free_bytes
        self.privacy_faults = privacy_faults
        self.interventions = interventions
        self._halter = halter
        self._opener = opener
        self._secrets = dict(secrets)
        self._sent: list[tuple[str, int, msgspec.Raw]] = []
        self._failed = False
        self._meters = meters
        self._measured: list[Measured] = []
        self._answers: list[tuple[float, str]] = []
        self._first = self._failures = 0
        self.show = show
        self.symbol = ""
        self._open_flags = flags
        self._flags: FlagDesk | None = None
        self.release = release or version
        self.state = StateDesk(agent, self.release, core or _in_memory(clock))

    @property
    def database(self) -> apsw.Connection:
        return self._opener("")

    def open(self, name: str) -> apsw.Connection:
        if not name.isidentifier():
            raise AgentError(f"agent {self.agent} asks for a database named {name!r}; use a plain word")
        return self._opener(name)

    def secret(self, name: str) -> bytes:
        if name not in self._secrets:
            raise AgentError(
                f"agent {self.agent} was not given the secret {name!r}",
                hint="name it in the class's `secrets` and in `pipeline.secrets`",
            )
        return self._secrets[name]

    def halt(self, reason: str) -> None:
        if self._halter(reason):
            self.event("halt", reason=reason, by=self.agent)

    def send(self, agent: str, notice: Any) -> None:
        if agent not in self.pipeline:
            raise AgentError(f"agent {self.agent} sends a notice to {agent!r}, which is no agent of the pipeline")
        self._sent.append((agent, NOTICE, encode(notice)))

    def event(self, kind: str, **fields: Any) -> None:
        told = {"kind": kind, "at": self.now(), "agent": self.agent, **fields}
        self._sent.append(("gateway", EVENT, encode(told)))

    def count(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        if self._meters is not None:
            self._measured.append(_measured(self._meters, metric, "counter", amount, labels))

    def total(self, metric: str, value: float, /, **labels: str) -> None:
        if self._meters is not None:
            measured = _measured(self._meters, metric, "counter", value, labels)
            self._measured.append(measured._replace(whole=True))

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        if self._meters is not None:
            self._measured.append(_measured(self._meters, metric, "gauge", value, labels))

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        if self._meters is not None:
            measured = _measured(self._meters, metric, "histogram", value, labels)
            self._measured.append(measured._replace(trace_id=self.trace_id, at=self.now()))

    def count_now(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        if self._meters is not None:
            self._meters.write(_measured(self._meters, metric, "counter", amount, labels))

    def observe_now(self, metric: str, value: float, /, **labels: str) -> None:
        if self._meters is not None:
            measured = _measured(self._meters, metric, "histogram", value, labels)
            self._meters.write(measured._replace(trace_id=self.trace_id, at=self.now()))

    def note_answer(self, took_s: float, *, failed: bool) -> None:
        """Count that the signal at hand was answered. Each signal comes here: it must cost next to nothing."""
        if self._meters is not None:
            self._answers.append((took_s, self.trace_id))
            self._first += self.attempt == 1
            self._failures += failed

    def _settle_answers(self, meters: Meters) -> None:
        count, first, failures = len(self._answers), self._first, self._failures
        if first:
            meters.count("ark_agent_signals_total", first, attempt="first")
        if count > first:
            meters.count("ark_agent_signals_total", count - first, attempt="again")
        if failures:
            meters.count("ark_agent_failures_total", failures)
        meters.observe_all("ark_agent_latency_seconds", self._answers, self.now())
        self._answers.clear()
        self._first = self._failures = 0

    def settle_measured(self) -> None:
        """Write down what was counted: what it belongs to is committed."""
        if self._meters is not None and self._answers:
            self._settle_answers(self._meters)
        if self._meters is not None and self._measured:
            for each in self._measured:
                self._meters.write(each)
            self._measured.clear()

    def flag(self, name: str, default: FlagValue, /) -> FlagValue:
        if self._open_flags is None:
            return default
        if self._flags is None:
            self._flags = self._open_flags(self._flags_changed, self._flags_refused)
        subject = Subject(self.agent, self.release, self.symbol, self.trace_id)
        return self._flags.value(name, default, subject)

    def _flags_changed(self, body: Body) -> None:
        self.log.info("flags_changed", serial=body.serial, by=body.by)
        self.event("flags_changed", serial=body.serial, by=body.by)

    def _flags_refused(self, fault: str) -> None:
        self.log.error("flags_refused", reason=fault)
        self.event("flags_refused", reason=fault)

    def failed(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self.event("failed", trace_id=self.trace_id, reason=reason)

    def take_failure(self) -> bool:
        """Whether the agent called the signal at hand failed; forgets it."""
        failed, self._failed = self._failed, False
        return failed

    def apply_state(self, groups: Sequence[Group]) -> None:
        """Write changes of the agent's state into the Mutable Core: what they belong to is committed."""
        began_s = time.perf_counter()
        self.state.apply(groups)
        if self._meters is not None:
            took_s = time.perf_counter() - began_s
            self._meters.observe("ark_journal_commit_seconds", took_s, owner="state")

    def adopt_changes(self, envelope: Envelope, changes: Sequence[Change], release: str) -> None:
        """Make the changes of another version that has decided the signal, in the place of the agent's own."""
        if changes:
            self._turn_state_to(envelope, "handle")
            if not self.state.adopt(changes, release):
                self.log.error("changes_refused", release=release)

    def forget_changes(self) -> None:
        """Let go of what the signal at hand has changed of the agent's state so far."""
        self.state.forget()

    def _turn_state_to(self, envelope: Envelope, phase: str) -> None:
        if envelope.kind == LETTER:
            phase = "letter"
        elif envelope.ruling is not None:
            phase += " ruled"
        self.state.turn_to(envelope.trace_id, phase, again=envelope.attempt > 1)

    def at(self, envelope: Envelope, received_ns: int, phase: str = "handle") -> None:
        """Turn to the next signal.

        Args:
            envelope: With the signal, or its letter.
            received_ns: When it was taken, nanoseconds since the epoch.
            phase: What the agent does with it: `handle`, `adopt` or `perform`.
        """
        self._turn_state_to(envelope, phase)
        self._failed = False
        self.symbol = envelope.symbol
        self.trace_id = envelope.trace_id
        self.attempt = envelope.attempt
        self.received_ns = received_ns
        self.spans = envelope.spans
        self._decider = (self.version, "")
        self.ruling = envelope.ruling

    def decided_by(self, version: str, track: str) -> None:
        """Note who decides the signal at hand, for the agent's span; see `ark.message.Span`."""
        self._decider = (version or self.version, track)

    def span(self, ended_at: float) -> Span:
        version, track = self._decider
        return Span(self.agent, version, self.received_ns, max(int(ended_at * 1e9), self.received_ns), track)

    def away(self) -> None:
        """Turn away from any signal."""
        self.state.turn_to()
        self.trace_id = self.symbol = ""
        self.attempt = self.received_ns = 0
        self.spans = ()
        self.ruling = None

    def take_sent(self) -> list[tuple[str, int, msgspec.Raw]]:
        """What the agent sent beside its answers, as destination, kind and payload; empties the list."""
        sent, self._sent = self._sent, []
        return sent


def _in_memory(clock: Callable[[], float]) -> Callable[[], Core]:
    made: list[Core] = []

    def core() -> Core:
        if not made:
            made.append(Core(clock=clock))
        return made[0]

    return core


def _measured(meters: Meters, name: str, kind: Kind, value: float, labels: Mapping[str, str]) -> Measured:
    """What was measured, refused where the agent measures it, and not when its batch is committed."""
    return Measured(meters.place(name, kind, labels), check_value(name, kind, value))
