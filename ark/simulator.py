"""The simulator: the second host. One process, a virtual clock, one seed; the same agents and the same protocol.

Everything that can happen between processes happens here by the throw of a seeded die: messages are delayed,
processes die between any two steps (also between a commit and the sending behind it), their mailboxes die with
them, supervisors are slow to tell the gateway of a new epoch, clients send again what they got no answer to. A
schedule is repeated exactly by its seed. The way of testing is FoundationDB's and TigerBeetle's.

Modelled: FIFO channels from each sender to each mailbox; a frame waits at its sender and dies with it until it is
transferred, then waits in the mailbox and dies with that. Databases survive, without what was not committed.
Not modelled: a disk that lies, and two machines.
"""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import apsw
import msgspec

from ark.agent import Agent, Durability
from ark.arm_worker import Arm
from ark.context import StageContext
from ark.delivery import GATEWAY, Pending
from ark.door import Door
from ark.errors import ArkError
from ark.intake import Intake
from ark.journal import Journal, open_database
from ark.letters import DeadLetter, obstacle
from ark.message import HELD, OUTCOME, Envelope, pack, unpack
from ark.meters import Meters
from ark.ruling import SECRET
from ark.signal import Signal
from ark.simulated_arms import SimulatedArms
from ark.stage import Stage
from ark.state import Core
from ark.trials import Record

__all__ = ["Faults", "Report", "Simulation", "Stuck"]


_VERSION = "simulated"
"""Of every agent."""


class Stuck(ArkError):
    """A simulation did not come to its end: something was lost."""

    code = "stuck"


class Faults(msgspec.Struct, frozen=True):
    """How much goes wrong.

    Attributes:
        kills: How many processes are killed in all, at random moments.
        crash_chance: The chance that a process dies at each of its crash points, beside that.
        isolations: How often an agent is isolated, and later released.
    """

    kills: int = 0
    crash_chance: float = 0.0
    isolations: int = 0


class Report(msgspec.Struct):
    """What came out.

    Attributes:
        outcomes: By trace id, each decoded.
        accepted: Trace ids that a client was told were accepted, in the order of the first acceptance.
        published: Trace ids in the order in which outcomes reached the gateway's journal.
        rulings: By trace id, whether the operator approved; those that he was told of as taken.
        retries: The trace id of each retry by that of its dead letter; those that he was told of.
        steps, kills, epoch: How long it took, how many processes died, and the last epoch.
    """

    outcomes: dict[str, dict[str, Any]]
    accepted: list[str]
    published: list[str]
    rulings: dict[str, bool]
    retries: dict[str, str]
    steps: int
    kills: int
    epoch: int


class _Died(Exception):
    """The process at hand dies here."""


class _Process:
    """What dies with a process: its mailbox, the pipes it sends through, and what runs in it."""

    def __init__(self) -> None:
        self.mailbox: deque[bytes] = deque()
        self.pipes: dict[str, deque[bytes]] = {}

    def send(self, destination: str, envelopes: list[Envelope]) -> None:
        self.pipes.setdefault(destination, deque()).append(pack(envelopes))


class Simulation:
    """One run of a pipeline.

    Args:
        agents: Name and class of each, in order.
        seed: Decides everything.
        settings: The agents' settings, by name.
        secrets: Secrets by name; each agent gets those that its class names.
        faults: How much goes wrong.
        forgetful: Names of agents whose journal is lost with their process, to show that each is needed.
        stage: The class of the agents' side of the protocol, to show that each part of it is needed.
        journal, intake, door: The classes of the agents' journals, of the gateway's, and of the door, likewise.
        answer: An operator: shown a held signal at random moments, he approves it (True), refuses it (False), or
            leaves it for now (None). Without one, what is held waits for its deadline.
        deal: The same operator before a dead letter: he wants it retried (True), drops it (False), or leaves it for
            now (None). One that must not be retried he drops. The run ends when he has dealt with each.
        pages: A folder in which each agent has its page of metrics, which survives it; None: nothing is counted.
        arms: The agent of a role's arms by the role's name: a rollout is under way, whose table changes at random.
        arm: The class of an arm.
        record: Where the evidence of the rollout goes.
    """

    def __init__(
        self,
        agents: Sequence[tuple[str, type[Agent[Any]]]],
        *,
        seed: int,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        secrets: Mapping[str, bytes] | None = None,
        faults: Faults | None = None,
        forgetful: frozenset[str] = frozenset(),
        stage: type[Stage] = Stage,
        journal: type[Journal] = Journal,
        intake: type[Intake] = Intake,
        door: type[Door] = Door,
        answer: Callable[[random.Random, Pending], bool | None] | None = None,
        deal: Callable[[random.Random, DeadLetter], bool | None] | None = None,
        pages: Path | None = None,
        arms: Mapping[str, type[Agent[Any]]] | None = None,
        arm: type[Arm] = Arm,
        record: Callable[[str], Record | None] = lambda role: None,
    ) -> None:
        self._random = random.Random(seed)
        self._agents = dict(agents)
        self._names = tuple(name for name, _ in agents)
        self._settings = settings or {}
        self._secrets = secrets or {}
        self._faults = faults or Faults()
        self._forgetful = forgetful
        self._stage_class = stage
        self._journal_class = journal
        self._intake_class = intake
        self._door_class = door
        self._answer = answer
        self._deal = deal
        self._pages = pages
        self._record = record
        self._arms = SimulatedArms(
            arms or {},
            arm=arm,
            pipeline=self._names,
            version=_VERSION,
            settings=self._settings,
            clock=lambda: self.clock,
            core=lambda: self.core,
        )
        self.halt_reason: str | None = None
        self.clock = 1_700_000_000.0
        self.databases: dict[str, dict[str, apsw.Connection]] = {name: {} for name in self._names}
        self.intake_database = open_database(":memory:")
        self._processes: dict[str, _Process] = {}
        self._stages: dict[str, Stage] = {}
        self._door: Door | None = None
        self._epoch = 1
        self._isolated: str | None = None
        self._to_gateway: deque[dict[str, Any]] = deque()
        self._culprits: dict[str, str] = {}
        self._noted: dict[str, str] = {}
        self._kills_left = self._faults.kills
        self._isolations_left = self._faults.isolations
        self._unsent: deque[Signal] = deque()
        self._accepted: dict[str, None] = {}
        self._published: list[str] = []
        self._rulings: dict[str, bool] = {}
        self._retries: dict[str, str] = {}
        self._died = 0
        self._steps = 0

    @cached_property
    def core(self) -> Core:
        """The Mutable Core, which survives every process; made when it is needed."""
        return Core(clock=lambda: self.clock)

    def run(self, signals: Sequence[Signal], *, most_steps: int = 200_000) -> Report:
        """Send the signals through, until each has its outcome and no more faults are due.

        Raises:
            Stuck: It did not come to an end.
        """
        self._unsent = deque(self._with_trace_id(signal) for signal in signals)
        wanted = len(signals)
        self._restart(GATEWAY)
        for name in self._names:
            self._restart(name)
        while len(self._published) < wanted or self._kills_left or self._isolated or self._is_dealing():
            self._steps += 1
            if self._steps > most_steps:
                raise Stuck(f"{wanted - len(self._published)} signals have no outcome after {most_steps} steps")
            self.clock += self._random.random() * 0.01
            self._step()
        self._settle(most_steps)
        return Report(
            outcomes=self._outcomes(),
            accepted=list(self._accepted),
            published=self._published,
            rulings=self._rulings,
            retries=self._retries,
            steps=self._steps,
            kills=self._died,
            epoch=self._epoch,
        )

    def _settle(self, most_steps: int) -> None:
        """Let what is still under way arrive: notices between agents, answers to what was sent twice."""
        while self._is_moving() or not self._processes.keys() >= {GATEWAY, *self._names}:
            self._steps += 1
            if self._steps > most_steps:
                raise Stuck("the processes do not come to rest")
            self._step()

    def _is_moving(self) -> bool:
        return any(
            each.mailbox
            or any(pipe for destination, pipe in each.pipes.items() if destination not in self._arms.names)
            for each in self._processes.values()
        )

    # One step: something that can happen does

    def _step(self) -> None:
        choices: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        if self._door:
            choices.append((3.0, self._gateway_round, ()))
            if self._to_gateway:
                choices.append((1.0, self._tell_gateway, ()))
            if self._answer and self._door.dispatcher.parked:
                choices.append((1.0, self._ask_operator, ()))
            if self._deal and self._door.intake.letters.open:
                choices.append((1.0, self._deal_with_letter, ()))
        for name, process in self._processes.items():
            if name != GATEWAY and process.mailbox:
                a_round = self._arm_round if name in self._arms.names else self._agent_round
                choices.append((4.0, a_round, (name,)))
            if name in self._agents and self._agents[name].tick_s > 0:
                choices.append((0.5, self._tick, (name,)))
            if name in self._stages and self._arms.names:
                choices.append((0.6, self._look_at_routes, (name,)))
            for destination, pipe in process.pipes.items():
                if pipe and destination in self._processes:
                    choices.append((4.0, self._transfer, (pipe, destination)))
        for name in (GATEWAY, *self._names):
            if name not in self._processes and name != self._isolated:
                choices.append((1.0, self._restart, (name,)))
        if self._arms.names:
            choices.append((0.1, self._flip, ()))
            down = [name for name in self._arms.names if name not in self._processes]
            choices.extend((1.0, self._start_arm, (name,)) for name in down)
        if self._kills_left and self._processes and (self._unsent or self._random.random() < 0.5):
            choices.append((0.4, self._kill_someone, ()))
        if self._isolated:
            choices.append((0.2, self._release, ()))
        elif self._isolations_left:
            choices.append((0.1, self._isolate_someone, ()))
        ((_, action, arguments),) = self._random.choices(choices, [weight for weight, _, _ in choices])
        action(*arguments)

    def _gateway_round(self) -> None:
        door, process = self._door, self._processes[GATEWAY]
        assert door is not None
        try:
            while process.mailbox and self._random.random() < 0.8:
                for envelope in unpack(process.mailbox.popleft()):
                    if envelope.kind == OUTCOME:
                        door.finish(envelope, self.clock)
                    elif envelope.kind == HELD:
                        door.hold(envelope, self.clock)
            door.expire(self.clock)
            self._maybe_die()
            self._published.extend(each.trace_id for each in door.settle())
            taken = self._take_some(door)
            self._maybe_die()
            self._published.extend(each.trace_id for each in door.settle())
            self._maybe_die()
            for signal in taken:  # the client hears of it only now
                self._accepted[signal.trace_id] = None
                self._unsent.remove(signal)
            for envelope in door.dispatcher.due(self.clock, at=self.clock):
                process.send(self._names[0], [envelope])
                self._maybe_die()
            if door.dispatcher.stalled(self.clock):
                self._raise_epoch()
        except _Died:
            self._kill(GATEWAY)

    def _take_some(self, door: Door) -> list[Signal]:
        """A client's request with a few signals. One that gets no answer stays in `_unsent`, to be sent again."""
        taken = list(self._unsent)[: self._random.randrange(4)]
        for signal in taken:
            door.take_in(signal, self.clock)
        return taken

    def _ask_operator(self) -> None:
        """An operator's request; where he is not told that it was taken, he looks again."""
        door = self._door
        assert door is not None
        assert self._answer is not None
        pending = self._random.choice(door.held)
        approved = self._answer(self._random, pending)
        if approved is None:
            return
        try:
            ruling = door.rule(
                pending.trace_id, approved=approved, by="operator", reason="by a die", now=self.clock
            )
            self._maybe_die()
            self._published.extend(each.trace_id for each in door.settle())
            self._maybe_die()
            if ruling:
                self._rulings[pending.trace_id] = approved
        except _Died:
            self._kill(GATEWAY)

    def _is_dealing(self) -> bool:
        """Whether a dead letter waits for the operator, or a retry for its outcome."""
        return self._deal is not None and (
            self._door is None or self._door.intake.letters.open > 0 or self._door.unfinished > 0
        )

    def _deal_with_letter(self) -> None:
        """An operator's request about a dead letter; where he is not told that it was done, he looks again."""
        door = self._door
        assert door is not None
        assert self._deal is not None
        chosen = self._random.choice([each.trace_id for each in door.intake.letters.list(limit=100)])
        letter = door.intake.letters.find(chosen)
        assert letter is not None
        wish = self._deal(self._random, letter)
        if wish is None:
            return
        act = None
        if wish and not obstacle(letter):
            act = door.retry(letter, by="operator", reason="by a die", fresh=True, now=self.clock)
        else:
            door.drop(letter, by="operator", reason="by a die", now=self.clock)
        try:
            self._maybe_die()
            self._published.extend(each.trace_id for each in door.settle())
            self._maybe_die()
            if act:
                self._retries[letter.trace_id] = act.retry
        except _Died:
            self._kill(GATEWAY)

    def _tick(self, name: str) -> None:
        self._go_through(name, self._stages[name].tick(self._now_ns))

    def _agent_round(self, name: str) -> None:
        stage, process = self._stages[name], self._processes[name]
        batch: list[Envelope] = []
        while process.mailbox and len(batch) < 8 and self._random.random() < 0.8:
            batch.extend(unpack(process.mailbox.popleft()))
        admitted = stage.admit(batch)
        if admitted:
            self._go_through(name, stage.process(admitted, self._now_ns))

    def _flip(self) -> None:
        self._arms.flip(self._random)

    def _start_arm(self, name: str) -> None:
        self._processes[name] = _Process()
        self._arms.start(name, self._epoch)

    def _arm_round(self, name: str) -> None:
        arm, process = self._arms.running[name], self._processes[name]
        for envelope in unpack(process.mailbox.popleft()):
            role, answer = arm.decide(envelope, self._now_ns(), self._now_ns)
            process.send(role, [answer])
        arm.settle()

    def _look_at_routes(self, name: str) -> None:
        stage = self._stages[name]
        self._go_through(name, stage.turn(self._arms.table, self._arms.up(name), self._now_ns))
        if name in self._processes:
            self._go_through(name, stage.overtake(self._now_ns))
        if name in self._processes:
            stage.replay(self.clock)
            self._go_through(name, iter(()))

    def _now_ns(self) -> int:
        return int(self.clock * 1e9)

    def _go_through(self, name: str, points: Iterator[str]) -> None:
        stage, process = self._stages[name], self._processes[name]
        try:
            for _ in points:
                self._maybe_die()
            self._send_out(name, stage, process)
        except _Died:
            self._kill(name)
        except Exception:  # noqa: BLE001 - whatever escapes from an agent ends its process
            if self._noted.get(name):
                self._culprits[name] = self._noted[name]
            self._kill(name)

    def _send_out(self, name: str, stage: Stage, process: _Process) -> None:
        for destination, envelope in stage.take_outgoing():
            if destination == GATEWAY or destination in self._agents or destination in self._arms.names:
                process.send(destination, [envelope])
                self._maybe_die()

    def _transfer(self, pipe: deque[bytes], destination: str) -> None:
        self._processes[destination].mailbox.append(pipe.popleft())

    def _tell_gateway(self) -> None:
        words = self._to_gateway.popleft()
        assert self._door is not None
        if "paused" in words:
            self._door.dispatcher.paused = words["paused"]
            return
        self._door.strike(words["died"], self.clock)
        self._door.dispatcher.raise_epoch(words["epoch"])

    # Death and what follows

    def _maybe_die(self) -> None:
        if self._kills_left and self._random.random() < self._faults.crash_chance:
            self._kills_left -= 1
            raise _Died

    def _kill_someone(self) -> None:
        self._kills_left -= 1
        self._kill(self._random.choice(list(self._processes)))

    def _kill(self, name: str) -> None:
        self._died += 1
        del self._processes[name]
        if name in self._arms.names:
            del self._arms.running[name]
            for process in self._processes.values():
                process.pipes.pop(name, None)
            return
        if name == GATEWAY:
            self._door = None
            self._to_gateway.clear()
            if self.intake_database.in_transaction:
                self.intake_database.execute("ROLLBACK")
            return
        del self._stages[name]
        for connection in self.databases[name].values():
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if name in self._forgetful:
            self.databases[name].pop("", None)

    def _restart(self, name: str) -> None:
        first = self._steps == 0
        if not first:
            self._epoch += 1
        process = self._processes[name] = _Process()
        if name == GATEWAY:
            self._door = self._door_class(
                self._intake_class(self.intake_database, self.clock),
                epoch=self._epoch,
                window=8,
                secret=self._secrets.get(SECRET, b"of a simulation"),
                clock=lambda: self.clock,
            )
            self._door.note_crew(tuple([(each, _VERSION) for each in self._names]), self.clock)
            self._door.dispatcher.paused = self._isolated is not None
            return
        try:
            stage = self._stages[name] = self._make_stage(name)
            stage.setup()
            self._send_out(name, stage, process)
        except _Died:
            self._kill(name)
        if not first:
            self._raise_epoch(raised=True)

    def _raise_epoch(self, *, raised: bool = False) -> None:
        if not raised:
            self._epoch += 1
        died = [
            {"agent": agent, "trace_id": trace_id, "reason": "ended its agent"}
            for agent, trace_id in self._culprits.items()
        ]
        self._culprits.clear()
        self._to_gateway.append({"epoch": self._epoch, "died": died})

    def _isolate_someone(self) -> None:
        alive = [name for name in self._names if name in self._processes]
        if not alive:
            return
        self._isolations_left -= 1
        self._isolated = self._random.choice(alive)
        self._kill(self._isolated)
        self._to_gateway.append({"paused": True})

    def _release(self) -> None:
        name, self._isolated = self._isolated, None
        assert name is not None
        self._restart(name)
        self._to_gateway.append({"paused": False})

    def _make_stage(self, name: str) -> Stage:
        agent = self._agents[name]()
        place = self._names.index(name)

        def note(trace_id: str, handler: str) -> None:
            self._noted[name] = trace_id if handler else ""

        def opener(database: str) -> apsw.Connection:
            known = self.databases[name]
            if database not in known:
                known[database] = open_database(":memory:")
            return known[database]

        context = StageContext(
            name,
            version=_VERSION,
            pipeline=self._names,
            settings=self._settings.get(name, {}),
            clock=lambda: self.clock,
            halt=lambda: self.halt_reason,
            halter=self._halt,
            beat_age=lambda name: 0.0,
            free_bytes=lambda: 1 << 40,
            opener=opener,
            secrets={key: self._secrets[key] for key in agent.secrets if key in self._secrets},
            meters=self._meters(name, agent),
            core=lambda: self.core,
        )
        return self._stage_class(
            agent,
            context,
            successor=self._names[place + 1] if place + 1 < len(self._names) else GATEWAY,
            journal=None if agent.durability is Durability.NONE else self._journal_class(opener("")),
            epoch=self._epoch,
            note=note,
            record=self._record(name),
        )

    def _meters(self, name: str, agent: Agent[Any]) -> Meters | None:
        if self._pages is None:
            return None
        filled = {"agent": name, "version": _VERSION, "track": "stable"}
        return Meters(self._pages / f"{name}.page", process=name, own=agent.metrics, filled=filled)

    def _halt(self, reason: str) -> bool:
        if self.halt_reason is not None:
            return False
        self.halt_reason = reason
        return True

    def _outcomes(self) -> dict[str, dict[str, Any]]:
        rows = self.intake_database.execute(
            "SELECT trace_id, outcome FROM signals JOIN outcomes USING (seq) ORDER BY seq"
        )
        return {trace_id: msgspec.msgpack.decode(outcome) for trace_id, outcome in rows}

    def _with_trace_id(self, signal: Signal) -> Signal:
        if signal.trace_id:
            return signal
        trace_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        return msgspec.structs.replace(signal, trace_id=trace_id)
