"""The worker of an arm: another version of an agent, which decides on what the agent's own process shows it.

It has a mailbox and a heartbeat like an agent, and nothing else of one: no journal, no secret, no way to any other
agent. What it is asked comes from its role, and what it proposes goes there. An error in it is told to the role as
such; only what the process itself dies of ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import msgspec
import zmq

from ark.agent import Agent, Durability, Hold
from ark.blackbox import BlackBox, Work, read
from ark.config import Config
from ark.context import StageContext
from ark.control import Control, Duty
from ark.equipment import Equipment, load_agent
from ark.errors import AgentError, BootError, MessageError
from ark.flags import Body
from ark.home import Home
from ark.logger import of_process
from ark.message import PROPOSAL, TRIAL, Envelope, Proposed, Trial, encode, unpack
from ark.meters import Meters
from ark.migration import START_SHARE, of_releases, rehearse
from ark.state import Core, read_core
from ark.tally import Limits
from ark.wire import Outbox, mailbox

if TYPE_CHECKING:
    from ark.flag_desk import FlagDesk

__all__ = ["Arm", "ArmWorker"]

_DRAIN = 8
_SLOW_S = 0.005
"""An answer does not wait for longer than this for the others of its frame."""
_REASON = 300
"""Characters of an error that are told."""


class Arm:
    """What an arm does with a trial; without I/O, so that the simulator can run it, too.

    Args:
        name: `canary` or `baseline`.
        role: The agent's name in the pipeline.
        agent: The agent, not yet set up.
        context: What it may know.
    """

    def __init__(self, name: str, role: str, agent: Agent[Any], context: StageContext) -> None:
        self.work = Work()
        self._name = name
        self._role = role
        self._agent = agent
        self._context = context
        self._trials = msgspec.msgpack.Decoder(Trial)
        self._cases: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(agent.weighs or agent.takes)

    def setup(self) -> None:
        """Let the agent get ready to decide."""
        self._agent.setup_arm(self._context)
        self._let_go()

    def decide(self, envelope: Envelope, now_ns: int, clock_ns: Callable[[], int]) -> tuple[str, Envelope]:
        """Decide on one trial.

        Args:
            envelope: Of the kind `TRIAL`.
            now_ns: The time, nanoseconds since the epoch.
            clock_ns: Gives nanoseconds on a clock that never goes back, for how long it takes.

        Returns:
            The role's name, and the proposal for it.
        """
        trial = self._trials.decode(envelope.payload)
        context, began = self._context, clock_ns()
        context.at(envelope, now_ns)
        answer, held, error = b"", False, ""
        try:
            said = self._agent.propose(self._cases.decode(trial.case), context)
            held, answer = isinstance(said, Hold), bytes(encode(said))
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:_REASON]
            context.log.warning("trial_failed", exc_info=failure)
        took_ns = clock_ns() - began
        changes = context.state.proposed(kept=trial.live and not error)
        self.work.count(took_ns, failed=bool(error) or context.take_failure())
        context.note_answer(took_ns / 1e9, failed=bool(error))
        context.away()
        proposed = Proposed(
            trial.number, self._name, took_ns, answer, held, error, context.version, context.release, changes
        )
        return self._role, Envelope(
            PROPOSAL, self._name, envelope.symbol, envelope.seq, envelope.epoch, 0, encode(proposed)
        )

    def settle(self) -> None:
        """After a batch: count, and let go of what the agent wanted to tell others."""
        if self._agent.durability is Durability.NONE:  # others write down there what they gathered in `handle`
            self._agent.settle(self._context)
        self._let_go()

    def _let_go(self) -> None:
        self._context.take_sent()  # an arm has nobody to talk to
        self._context.state.proposed(kept=False)
        self._context.state.settle_proposed()
        self._context.settle_measured()


class ArmWorker:
    """One arm in its own process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        home = self._home = Home(Path(duty.home))
        self._inbox = mailbox(self._zmq, home.mailbox(duty.name))
        role, arm = duty.options["role"], duty.options["arm"]
        self._outbox = Outbox(self._zmq, home.mailbox(role))
        config = msgspec.convert(duty.config, Config)
        self._beat_s = config.watchdog.interval_s / 4
        settings = config.agents[role]
        equipment = msgspec.convert(duty.options.get("equipment", {}), Equipment)
        agent_class, equipment = load_agent(self._home, role, equipment, class_=settings.class_, path=settings.path)
        if not (isinstance(agent_class, type) and issubclass(agent_class, Agent)):
            raise BootError(
                f"{equipment.class_ or settings.class_} is no ark.Agent", hint="derive it from `ark.Agent`"
            )
        if not agent_class.splits():
            raise BootError(f"{role} keeps a journal and has no `propose`: it cannot decide beside another version")
        self.version: str = agent_class.version or equipment.version or duty.options["version"]
        self._databases: dict[str, apsw.Connection] = {}
        self._name = duty.name
        self._core: Core | None = None
        meters = None
        if config.metrics.enabled:
            meters = Meters(
                home.page(duty.name),
                process=duty.name,
                edges=Limits.of(config.slo).edges,
                own=agent_class.metrics,
                filled={"agent": role, "version": self.version, "track": arm},
            )
        context = StageContext(
            role,
            version=self.version,
            pipeline=config.pipeline.agents,
            settings=settings.settings,
            clock=time.time,
            halt=home.halt_reason,
            halter=lambda reason: False,
            beat_age=self._beat_age,
            free_bytes=home.free_bytes,
            opener=self._open,
            secrets={},
            meters=meters,
            log=of_process(),
            release=equipment.release,
            core=self._read_core,
            flags=self._open_flags,
        )
        context.epoch = duty.epoch
        self._arm = Arm(arm, role, agent_class(), context)
        self._role = role
        self._equipment = equipment
        self._migration_s = START_SHARE * config.supervision.start_timeout_s
        self._durability = agent_class.durability
        self._epoch = duty.epoch
        self._handled = 0

    def prepare(self) -> None:
        """Let the agent get ready, once it is known that the role can have the state for it."""
        if self._equipment.up:
            run = of_releases(self._home, self._role, within_s=self._migration_s)
            rehearse(self._read_core(), self._role, self._equipment, run=run)
        self._box.note("", "setup")
        self._arm.setup()
        self._box.note("", "")
        self._beat()

    def run(self) -> None:
        """Decide until told to stop."""
        poller = zmq.Poller()
        poller.register(self._inbox, zmq.POLLIN)
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            wait_s = 0.005 if self._outbox.is_blocked else self._beat_s
            ready = dict(poller.poll(round(wait_s * 1000)))
            if self._control.fileno() in ready and any(each.get("do") == "stop" for each in self._control.hear()):
                self._zmq.destroy(linger=0)
                return
            if self._inbox in ready:
                self._take()
            elif self._outbox.is_blocked:
                self._outbox.flush()
            self._beat()

    def _take(self) -> None:
        for _ in range(_DRAIN):
            try:
                batch = unpack(self._inbox.recv(zmq.NOBLOCK))
            except zmq.Again:
                break
            except MessageError:  # nothing of it was asked; the role decides where no answer comes
                continue
            answers, began = [], time.monotonic()
            for envelope in batch:
                if envelope.kind != TRIAL:
                    continue
                self._epoch = max(self._epoch, envelope.epoch)
                self._box.note(envelope.trace_id, "propose")
                _, answer = self._arm.decide(envelope, time.time_ns(), time.monotonic_ns)
                answers.append(answer)
                self._handled += 1
                if time.monotonic() - began > _SLOW_S:
                    self._outbox.send(answers)
                    self._beat()
                    answers, began = [], time.monotonic()
            self._box.note("", "settle")
            self._arm.settle()
            self._box.note("", "")
            self._outbox.send(answers)
            self._beat()

    def _beat(self) -> None:
        self._box.beat(epoch=self._epoch, handled=self._handled, received=0, sent=0, work=self._arm.work)

    def _beat_age(self, name: str) -> float | None:
        box = read(self._home.box(name))
        return None if box is None else box.beat_age_s

    def _read_core(self) -> Core:
        """What an arm sees of the Mutable Core; its role writes it."""
        if self._core is None:
            self._core = read_core(self._home)
        return self._core or Core()

    def _open_flags(self, changed: Callable[[Body], None], refused: Callable[[str], None]) -> FlagDesk:
        from ark.flag_desk import FileProvider, FlagDesk  # 50 ms, for those who use it

        return FlagDesk(self._name, FileProvider(self._home, changed=changed, refused=refused))

    def _open(self, name: str) -> apsw.Connection:
        """Whatever an arm writes is its own, and gone with it."""
        if self._durability is Durability.NONE:
            raise AgentError("an agent that declares no journal asks for a database")
        return self._databases.setdefault(name, apsw.Connection(":memory:"))
