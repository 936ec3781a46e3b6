"""`Agent`, the class that people derive from, and `Context`, what an agent may know and do.

An agent knows no process, no socket and no thread. Two hosts run the same agent: a supervised process with a
ZeroMQ mailbox (`ark.host`), and the simulator with a virtual clock (`ark.simulator`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    import apsw

    from ark.interventions import Intervention
    from ark.logger import Logger
    from ark.message import Letter, Span
    from ark.metrics import Metric
    from ark.ruling import Ruling
    from ark.state_desk import StateDesk

__all__ = ["MOST_RECORDED", "Agent", "Context", "Durability", "Effect", "Hold"]

MOST_RECORDED = 512
"""So many of the newest signals are shown once more, where a rollout wants that."""

FlagValue = TypeVar("FlagValue", bool, int, float, str)


class Durability(Enum):
    """What an agent's journal survives."""

    NONE = "none"
    """No journal: the agent is a function of its message; a replayed message is handled again."""
    PROCESS = "process"
    """Survives the death of any process, not that of the machine (SQLite `synchronous=NORMAL`)."""
    POWER = "power"
    """Survives a power cut (`synchronous=FULL`): what was sent on had reached the disk before."""


class Effect(msgspec.Struct, frozen=True):
    """Something that an agent wants to do to the world outside.

    Returned from `Agent.handle` instead of a message. The host commits the intent to the agent's journal first,
    and only then calls `Agent.perform`.

    Attributes:
        intent: What is to be done, as a message of the agent's type `intends`.
    """

    intent: Any


class Hold(msgspec.Struct, frozen=True):
    """A person must decide.

    Returned from `Agent.handle` instead of a message. No answer is recorded and nothing goes to the next agent;
    the gateway keeps the signal until an operator has ruled, or the deadline has (by refusing), and sends it
    again then, with the ruling in `Context.ruling`. To hold a signal that carries a ruling is an error.

    `handle` is called again for a signal that it held: with the ruling, and now and then once more without,
    after a process died. What it wrote meanwhile is committed, so write nothing that must not be written twice.

    Attributes:
        until: The deadline, seconds since the epoch.
        reason: What is asked, in one line, for the person.
        details: A map of what the person, and whoever asks for the outcome, should see. Its key `decision`, if
            there is one, is the `decision` of the outcome while the signal is held. At most 64 KiB as msgpack.
    """

    until: float
    reason: str
    details: Any = {}


class Context(Protocol):
    """What an agent may know of the moment, and what it may ask of its host.

    Attributes:
        agent: The agent's own name in the pipeline.
        version: The agent's own version.
        pipeline: The names of all agents of the pipeline, in order.
        settings: The agent's own settings from `ark.toml`.
        database: The agent's journal for tables of its own, or None for `Durability.NONE`. Whatever is written
            while a message is handled is committed together with the answer to it, before that is sent.
        trace_id: The id of the signal at hand.
        epoch: The newest epoch that this agent knows of.
        attempt: 1 if the signal at hand was never sent before.
        received_ns: When this agent's process took the signal at hand, nanoseconds since the epoch.
        spans: The agents that had the signal at hand before.
        ruling: How a person ruled on the signal at hand, where it was held; None for all others. Verify it with
            `ark.ruling.verify_ruling` before acting on it.
        log: Writes lines into `logs/<agent>.log`, as `context.log.info("order_sent", symbol="AAPL")`, each with the
            trace id of the signal at hand. Secrets and figures of the account are masked.
        state: The agent's keys in the Mutable Core, as `context.state.set("window", [1, 2])`, where every change is
            a revision that can be taken back. What is changed while a message is handled is kept with the answer
            to it, exactly once.
    """

    agent: str
    version: str
    pipeline: tuple[str, ...]
    settings: Mapping[str, Any]
    trace_id: str
    epoch: int
    attempt: int
    received_ns: int
    spans: tuple[Span, ...]
    ruling: Ruling | None
    log: Logger
    state: StateDesk

    @property
    def database(self) -> apsw.Connection: ...

    def open(self, name: str) -> apsw.Connection:
        """A database of the agent's own beside its journal, outside the journal's transactions.

        For what stands for the world outside, such as the paper broker's books: it commits by itself, and
        survives the agent.
        """

    def span(self, ended_at: float) -> Span:
        """The agent's own stay with the signal at hand, as the trace tells it.

        Args:
            ended_at: When it had handled the signal, seconds since the epoch.
        """

    def now(self) -> float:
        """The time, in seconds since the epoch. Agents ask for it here and nowhere else."""

    def halted(self) -> str | None:
        """The reason of the halt while trading is halted, otherwise None."""

    def halt(self, reason: str) -> None:
        """Halt trading at once, in the agent's name, without waiting for the batch at hand to be committed.

        A halt that stands already stays as it is, with its own reason. Only a person lifts a halt.
        """

    def beat_age(self, name: str) -> float | None:
        """Seconds since the loop of a process went round, up to some 50 ms too few.

        Args:
            name: `watchdog`, `gateway`, or an agent's.

        Returns:
            None where no process of that name has begun since the node was started.
        """

    def privacy_faults(self) -> Mapping[str, str]:
        """What lies open that should not, looked at every few seconds.

        Returns:
            Under `home` which file or folder of the node others may read, under `credentials` which setting holds
            a credential in plain text, under `log` whether the log lets through what it should mask; each empty
            where nothing is wrong.
        """

    def free_bytes(self) -> int | None:
        """Free space on the disk under the node's data, up to a second old; None where it cannot be told."""

    def interventions(self, after: int) -> Sequence[Intervention]:
        """What persons and the Watchdog did to the node, behind a number, oldest first, some hundreds at once.

        Raises:
            JournalError: It cannot be read now.
        """

    def secret(self, name: str) -> bytes:
        """A secret that the supervisor gave to this agent alone.

        Raises:
            AgentError: This agent was not given that secret.
        """

    def flag(self, name: str, default: FlagValue, /) -> FlagValue:
        """What a feature flag says for the signal at hand: by its symbol, the agent, and its release.

        Flags change while the agent runs, up to a second after the file does. One signal may be handled again and
        then meet another answer; one symbol always gets the same as long as the flag stays as it is.

        Args:
            name: The flag's, such as `joey.new_scorer`.
            default: What to give where there is no such flag, where it says something of another type, and where no
                file of flags counts. It must be the safe side.
        """

    def failed(self, reason: str) -> None:
        """Say that the signal at hand could not be dealt with as it should, although it is answered.

        The Watchdog counts it like a signal that ended the agent: too many in a row, or too great a share, and the
        agent is isolated. For a model that does not answer, a broker that cannot be reached; not for a signal that
        is refused for good reasons.
        """

    def count(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter once the batch at hand is committed; what is handled again is not counted twice.

        Labels named `agent`, `version` and `track` are filled in. A label has few values, all known beforehand:
        never a trace id, a symbol or a text from outside.

        Raises:
            AgentError: There is no counter of that name, its labels are others, or it would fall.
        """

    def total(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a counter to what it has come to, once the batch at hand is committed; see `count`.

        For what the agent's own tables count, over the life of the home. It never falls.
        """

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge once the batch at hand is committed; see `count`."""

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        """Count a value in a histogram once the batch at hand is committed; see `count`."""

    def count_now(self, metric: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter at once, whatever becomes of the batch; see `count`.

        For what was done to the world outside, such as a request that failed and ends the agent.
        """

    def observe_now(self, metric: str, value: float, /, **labels: str) -> None:
        """Count a value in a histogram at once; see `count_now`."""

    def show(self, name: str, document: Any) -> None:
        """Have the node's page show a document, the newest of that name, about a second after the commit.

        For what is worth looking at and no metric, such as open positions. Costs nothing while nothing changes.

        Args:
            name: A plain word.
            document: What msgspec can encode as JSON.
        """

    def send(self, agent: str, notice: Any) -> None:
        """Send a notice to another agent once the batch at hand is committed. At most once: it may be lost."""

    def event(self, kind: str, **fields: Any) -> None:
        """Publish an event under the topic `event.<kind>` once the batch at hand is committed."""


Taken = TypeVar("Taken")


class Agent(Generic[Taken]):
    """One stage of a pipeline: takes a message, gives the next one.

    Derive from it, set `takes`, write `handle`. Whatever escapes from a method ends the process: the supervisor
    starts a new one, the gateway sends again what was unfinished, and a signal that ends its agent three times
    becomes a dead letter.
    """

    takes: ClassVar[type]
    """The type of message that `handle` takes (a `msgspec.Struct`)."""
    intends: ClassVar[type | None] = None
    """The type of the intent in an `Effect`, for agents that return one."""
    notices: ClassVar[Any] = None
    """The type, or union of tagged types, of notices that `notice` takes; None: the agent takes none."""
    durability: ClassVar[Durability] = Durability.NONE
    """What the agent's journal survives. With a journal, a message that comes again gets the recorded answer."""
    recalls: ClassVar[bool] = False
    """Whether the agent keeps its answers in tables of its own and gives them again through `recall`; the journal
    then records none. For agents whose answers are rows of theirs anyway, such as a ledger's."""
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """The agent's own metrics, beside those of `ark.metrics`; their names should begin with that of the agent."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """Names of secrets that the agent needs; the supervisor makes one for all who name the same."""
    version: ClassVar[str] = ""
    """The agent's version; empty: that of ARK."""
    weighs: ClassVar[Any] = None
    """The type of the case that `case` makes for another version of the agent; None: the message itself."""
    proposes: ClassVar[Any] = None
    """The type of what `propose` returns; None: a message like the one taken."""
    unlike: ClassVar[tuple[str, ...]] = ()
    """Parts of a proposal in which two versions may differ without deciding differently: globs over paths such as
    `notes.*`. For times and texts."""
    tick_s: ClassVar[float] = 0.0
    """Every how many seconds `tick` is called, between batches; 0 for never."""

    def setup(self, context: Context) -> None:
        """Called once in the new process, before the first message, with the journal open.

        Make tables and load state here. Not called between messages, and not called again after a failure: a
        failed process is replaced. What it writes is committed before the first message.
        """

    def handle(self, message: Taken, context: Context) -> Any:
        """Answer one message: return the message for the next agent, an `Effect`, or a `Hold`.

        Called once for a signal, as far as the journal can tell: with a journal, not called for a signal that is
        already answered; without one, called again after a restart. Must not reach outside: other processes do
        not know yet that it was called.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to handle a message")

    def perform(self, intent: Any, context: Context, *, again: bool) -> Any:
        """Do what `handle` intended, and return the message for the next agent.

        Called after the intent is committed. With `again` an earlier process may or may not have done it
        already: ask the world before doing it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to perform its intent")

    def tick(self, context: Context) -> None:
        """Called every `tick_s` seconds, also while no message comes; late while a batch is at work.

        What it writes is committed before what it sent goes out. It belongs to no signal: the context's trace id
        is empty. Not called before `setup` has returned, and not made up for where it was missed.
        """

    def ready(self, context: Context) -> bool:
        """Whether the agent can take signals now. Notices and ticks come in any case.

        A stash, only for while the agent starts or reconciles: as long as this is False, signals and dead
        letters wait in this process, in order, and are handled as soon as it is True; during a rollout also what
        other versions of the agent answer, or leave to it. Asked before and after each batch and each tick, never
        in between. Nothing else than a notice or a tick can make it True, so an agent that waits here for good
        stands still with the whole pipeline. What waits is in memory only: the gateway has it, and sends it again
        when the process dies.
        """
        return True

    def recall(self, trace_id: str, context: Context) -> Any:
        """The answer that was given to a signal before, or None. Called only where `recalls` is set."""
        return None

    def settle(self, context: Context) -> None:
        """Called after the messages of a batch, before their commit: write here what was gathered.

        Called for agents without a journal, too, which may have something to count.

        Called after each message that is sent again, too, so that one that always fails here is known by its name.
        """

    def performing(self, context: Context) -> AbstractContextManager[Any]:
        """Entered around all calls of `perform` that share one commit: a place to let the outside batch, too."""
        return nullcontext()

    def notice(self, notice: Any, context: Context) -> None:
        """Take a side message from another agent. It may be lost, and may come twice: number what matters."""

    def bury(self, letter: Letter, context: Context) -> Any:
        """Let go of a signal that the pipeline gave up on; release what was reserved for it.

        Called instead of `handle` when the dead letter passes. A message that is returned is attached to the
        letter under the agent's name; the last agent of a pipeline returns the outcome. Not called by agents
        before the one that failed only: every agent sees the letter pass.
        """
        return None

    # Beside a version of its own that is on trial. The process of the agent keeps the journal and the last word.

    @classmethod
    def splits(cls) -> bool:
        """Whether another version can decide beside this one: an agent without a journal can as it is, one with
        must say what of it is a pure decision (`propose`).
        """
        return cls.durability is Durability.NONE or cls.propose is not Agent.propose

    def setup_arm(self, context: Context) -> None:
        """Called instead of `setup` in the process of a version that is on trial: it has no journal, no secret and
        no other agent to talk to.
        """
        self.setup(context)

    def case(self, message: Taken, context: Context) -> Any:
        """What a version on trial needs to decide on a message, as `weighs` says; None where nothing is to decide.

        Called in the agent's own process, right before `handle` where that decides the signal.
        """
        return message

    def propose(self, case: Any, context: Context) -> Any:
        """Decide on a case without any effect, in the process of the version on trial."""
        return self.handle(case, context)

    def adopt(self, message: Taken, proposal: Any, context: Context) -> Any:
        """Answer a message as another version proposes; what may be returned is what `handle` may.

        Called in the agent's own process. Look at the proposal as at a stranger's.

        Raises:
            ProposalError: It may not be done. The agent's own process decides then, and the rollout ends.
        """
        return proposal

    def recorded(self, most: int, context: Context) -> Sequence[tuple[str, str, Any]]:
        """Cases of earlier signals, for versions on trial to decide on once more, without any effect.

        For an agent whose `case` is its message, its process remembers the newest ones, and this is not asked.

        Args:
            most: How many, of the newest.
            context: As for a message.

        Returns:
            Trace id, symbol and case of each, the oldest first; none where nothing is kept.
        """
        return ()

    def proposed(self, answer: Any) -> Any:
        """What `propose` would have returned for what `handle` just answered; None where that cannot be told."""
        return None if isinstance(answer, (Effect, Hold)) else answer

    def refuses(self, proposal: Any) -> bool:
        """Whether a proposal is a no to the signal."""
        return False

    def teardown(self, context: Context) -> None:
        """Called before an orderly stop. Not called when the process is killed: do nothing needed here."""
