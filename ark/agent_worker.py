"""The worker that runs one agent: its mailbox, its journal, its heartbeat, in a plain poll loop.

A plain loop that drains the mailbox reaches several times the throughput of asyncio sockets, and lets one commit
carry as many signals as happen to be there, without ever waiting for more.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec
import zmq

from ark import interventions, state
from ark.agent import Agent, Durability
from ark.blackbox import BlackBox, read
from ark.config import Config
from ark.context import StageContext
from ark.control import Control, Duty
from ark.delivery import GATEWAY
from ark.equipment import INSTALLED, Equipment, load_agent, permanent_releases
from ark.errors import BootError, MessageError, RoutingError, StorageError
from ark.flags import Body
from ark.home import Home
from ark.host import EXIT_OK
from ark.journal import Journal
from ark.log import Log
from ark.logger import of_process
from ark.message import LETTER, NOTICE, WORK, Envelope, unpack
from ark.meters import Meters
from ark.migration import START_SHARE, migrate, of_releases
from ark.privacy import privacy_faults
from ark.routing import ARMS, TableFile, arm_name
from ark.showing import Showing
from ark.stage import Stage
from ark.storage import RETRY_S, Trouble, naming, open_journal
from ark.tally import Limits
from ark.trial_page import TrialPage
from ark.wire import Outbox, mailbox

if TYPE_CHECKING:
    from ark.flag_desk import FlagDesk

__all__ = ["AgentWorker"]

_DRAIN = 8
"""Frames taken in one round; together with `wire.FRAME` this bounds a batch."""
_HALT_FRESH_S = 0.001
_BEAT_FRESH_S = 0.05
_ARMS_FRESH_S = 0.05
_ARM_SILENT_S = 3.0
"""An arm that has not beaten its heart for so long is not there, whatever the Watchdog makes of it."""
_OPENNESS_FRESH_S = 5.0
_SPACE_FRESH_S = 1.0
"""A fact about the world outside is looked up at most so often."""


class AgentWorker:
    """One agent in its own process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._duty = duty
        self._control = control
        # Bound first: those who send to it connect again while the agent is still being imported.
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox = mailbox(self._zmq, Home(Path(duty.home)).mailbox(duty.name))
        self._box = box
        self._home = Home(Path(duty.home))
        config = msgspec.convert(duty.config, Config)
        self._beat_s = config.watchdog.interval_s / 4
        pipeline = config.pipeline.agents
        place = pipeline.index(duty.name)
        self._successor = pipeline[place + 1] if place + 1 < len(pipeline) else GATEWAY
        settings = config.agents[duty.name]
        equipment = msgspec.convert(duty.options.get("equipment", {}), Equipment)
        agent_class, equipment = load_agent(
            self._home, duty.name, equipment, class_=settings.class_, path=settings.path
        )
        if not (isinstance(agent_class, type) and issubclass(agent_class, Agent)):
            raise BootError(
                f"{equipment.class_ or settings.class_} is no ark.Agent", hint="derive it from `ark.Agent`"
            )
        start_s = settings.start_timeout_s
        self._migration_s = START_SHARE * (config.supervision.start_timeout_s if start_s is None else start_s)
        self._agent_class = agent_class
        self._equipment = equipment
        self._release = equipment.release
        self.version: str = agent_class.version or equipment.version or duty.options["version"]
        self._log = of_process()
        self._trouble = Trouble(duty.name, self._home, box)
        self._halt_reason: str | None = None
        self._halt_looked_at = -1.0
        self._beats: dict[str, tuple[float, float | None]] = {}
        self._space: tuple[float, int | None] = (-math.inf, None)
        self._openness: tuple[float, Mapping[str, str]] = (-math.inf, {})
        self._settings = {name: each.settings for name, each in config.agents.items()}
        self._pipeline = pipeline
        self._meters = self._open_meters(config) if config.metrics.enabled else None
        self._showing = Showing(lambda name: self._home.shown(duty.name, name))
        self._databases: dict[str, apsw.Connection] = {}
        self._core: state.Core | None = None
        self._outboxes: dict[str, Outbox] = {}
        self._routes = TableFile(self._home.routes_file)
        self._arms: frozenset[str] = frozenset()
        self._arms_looked_at = -math.inf
        self._recordless = False
        self._counted_epoch = duty.epoch
        self._received = 0
        self._sent = 0

    def prepare(self) -> None:
        """Let the agent load its state; wait as long as its files cannot be read and written."""
        if self._trouble.pause_s:
            self._pause(self._trouble.pause_s)
        while True:
            try:
                with naming(self._files):
                    self._set_up()
                break
            except StorageError as fault:
                self._log.error("waits_for_storage", reason=fault.line)
                self._box.note("", "")
                self._close_databases()
                self._trouble.bear(fault)
                self._pause(RETRY_S)
        self._trouble.end()
        self._send()
        self._beat()

    def _set_up(self) -> None:
        """Make the agent, and let it load its state. After a failure all of it is done anew, with another agent."""
        duty, agent = self._duty, self._agent_class()
        self._agent = agent
        context = StageContext(
            duty.name,
            version=self.version,
            pipeline=self._pipeline,
            settings=self._settings[duty.name],
            clock=time.time,
            halt=self._halted,
            halter=self._halt,
            beat_age=self._beat_age,
            free_bytes=self._free_bytes,
            privacy_faults=self._privacy_faults,
            interventions=lambda after: list(interventions.read(self._home, after=after)),
            opener=self._open,
            secrets={name: duty.secrets[name] for name in agent.secrets if name in duty.secrets},
            meters=self._meters,
            show=self._showing.put,
            log=self._log,
            release=self._release,
            core=self._open_core,
            flags=self._open_flags,
        )
        if self._trouble.reason and os.path.exists(self._home.data / state.FILE):
            self._open_core()  # what is wrong may be wrong with this file, which is opened when it is needed
        self._stage = Stage(
            agent,
            context,
            successor=self._successor,
            journal=None if agent.durability is Durability.NONE else Journal(self._open("")),
            epoch=duty.epoch,
            note=self._box.note,
        )
        self._migrate()
        self._stage.setup()

    def _migrate(self) -> None:
        """Have the agent's state be for the release that it runs from, before it reads any."""
        if not self._equipment.up and not (self._home.data / "deploy.db").exists():
            return  # no release ever ran here
        name, permanent = self._duty.name, self._equipment.digest
        if self._duty.options.get("provisional"):
            with suppress(RoutingError):  # the supervisor says so, and nobody goes back until it can be read
                permanent = permanent_releases(self._home.permanent_file).get(name, INSTALLED).digest
        run = of_releases(self._home, name, within_s=self._migration_s)
        done = migrate(self._open_core(), name, self._equipment, permanent=permanent, run=run)
        if done is not None:
            log = self._log.warning if done.is_lossy else self._log.info
            log("migrated", what=done.what)

    def _open_meters(self, config: Config) -> Meters:
        name, options = self._duty.name, self._duty.options
        return Meters(
            self._home.page(name),
            process=name,
            edges=Limits.of(config.slo).edges,
            own=self._agent_class.metrics,
            filled={"agent": name, "version": self.version, "track": options.get("track", "stable")},
        )

    def _pause(self, seconds: float) -> None:
        """Wait, alive and ready to be stopped."""
        until = time.monotonic() + seconds
        while True:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            readable, _, _ = select.select([self._control.fileno()], [], [], min(left_s, self._beat_s))
            if readable and any(words.get("do") == "stop" for words in self._control.hear()):
                os._exit(EXIT_OK)
            self._live()

    def _live(self) -> None:
        self._box.beat(epoch=self._duty.epoch, handled=0, received=0, sent=0)

    def _files(self) -> list[str]:
        return [self._file(name) for name in self._databases] or [self._file("")]

    def _file(self, name: str) -> str:
        return f"{self._duty.name}-{name}.db" if name else f"{self._duty.name}.db"

    def _close_databases(self) -> None:
        for connection in self._databases.values():
            with suppress(apsw.Error):
                connection.close()
        self._databases.clear()
        if self._core is not None:
            with suppress(apsw.Error):
                self._core.close()
            self._core = None

    def run(self) -> None:
        """Work until told to stop."""
        try:
            with naming(self._files):
                self._loop()
        except Exception as error:
            self._count_error(error)
            raise

    def _count_error(self, error: Exception) -> None:
        """An error that ends the process is counted here, where it is known what it was."""
        box = read(self._home.box(self._duty.name))
        if self._meters is not None and box is not None:
            self._meters.count(
                "agent_method_errors_total",
                agent=self._duty.name,
                method=box.handler or "loop",
                error_type=type(error).__name__,
            )

    def _loop(self) -> None:
        inbox = self._inbox
        poller = zmq.Poller()
        poller.register(inbox, zmq.POLLIN)
        poller.register(self._control.fileno(), zmq.POLLIN)
        tick_s = self._agent.tick_s
        next_tick = time.monotonic() + tick_s if tick_s > 0 else math.inf
        while True:
            blocked = any(outbox.is_blocked for outbox in self._outboxes.values())
            patience_s = _ARMS_FRESH_S if self._stage.trials.active else self._beat_s
            wait_s = min(0.005 if blocked else patience_s, max(0.0, next_tick - time.monotonic()))
            ready = dict(poller.poll(math.ceil(wait_s * 1000)))
            if self._control.fileno() in ready:
                for words in self._control.hear():
                    if words.get("do") == "stop":
                        self._agent.teardown(self._stage.context)
                        self._zmq.destroy(linger=100)
                        return
            self._look_at_routes()
            if inbox in ready:
                self._work(self._drain(inbox))
            elif blocked:
                self._send()
            if time.monotonic() >= next_tick:
                self._go_through(self._stage.tick(time.time_ns))
                next_tick = time.monotonic() + tick_s
            looked_at, asked_for = self._openness
            if asked_for and time.monotonic() - looked_at > _OPENNESS_FRESH_S:
                self._look_for_openness()
            self._beat()

    def _look_at_routes(self) -> None:
        """Go by the routing table, and by which arms are there; take back what they are too late with."""
        changed = self._routes.look()
        table = self._routes.table
        if changed and self._routes.is_news:
            self._log.error("routes_unreadable", reason=self._routes.fault)
        route = None if table is None else table.route(self._duty.name, time.time())
        if route is None:
            if self._stage.trials.table is not None:
                self._go_through(self._stage.turn(None, frozenset(), time.time_ns))
            return
        self._open_record()
        now = time.monotonic()
        if changed or now - self._arms_looked_at > _ARMS_FRESH_S:
            self._arms_looked_at = now
            arms = frozenset(arm for arm in ARMS if self._is_there(arm_name(self._duty.name, arm)))
            if changed or arms != self._arms:
                self._arms = arms
                self._go_through(self._stage.turn(table, arms, time.time_ns))
            self._go_through(self._stage.overtake(time.time_ns))
            self._stage.replay(time.time())
            self._send()

    def _open_record(self) -> None:
        """Only now: on a full disk an agent that has no arms must not want a page for them."""
        if self._stage.trials.record is not None:
            return
        name = self._duty.name
        try:
            self._stage.trials.record = TrialPage(self._home.trials(name), self._home.differences(name))
        except OSError as error:
            if not self._recordless:
                self._log.error("trials_not_recorded", reason=str(error))
            self._recordless = True

    def _is_there(self, arm: str) -> bool:
        box = read(self._home.box(arm))
        if box is None or not box.loops or box.beat_age_s > _ARM_SILENT_S:
            return False
        try:
            os.kill(box.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _work(self, batch: list[Envelope]) -> None:
        admitted = self._stage.admit(batch)
        if self._stage.epoch != self._counted_epoch:
            self._counted_epoch, self._received, self._sent = self._stage.epoch, 0, 0
            self._log.info("epoch", epoch=self._counted_epoch)
        for envelope in admitted:
            if envelope.attempt > 1 and envelope.kind != NOTICE:
                self._log.debug("sent_again", trace_id=envelope.trace_id, attempt=envelope.attempt)
            if envelope.kind in (WORK, LETTER) and envelope.epoch == self._counted_epoch:
                self._received += 1
        if not admitted:
            return
        # The depth of the mailbox is seen while the batch is at work, not only when it is done.
        self._beat()
        self._go_through(self._stage.process(admitted, time.time_ns))

    def _go_through(self, points: Iterator[str]) -> None:
        for point in points:
            if point == "committed":
                self._beat()  # what had waited for the agent may be many commits
        self._send()

    def _drain(self, inbox: zmq.Socket[bytes]) -> list[Envelope]:
        batch: list[Envelope] = []
        for _ in range(_DRAIN):
            try:
                batch.extend(unpack(inbox.recv(zmq.NOBLOCK)))
            except zmq.Again:
                break
            except MessageError as error:  # as if it were lost: whatever matters is sent again
                self._log.error("frame_unreadable", reason=error.message)
        return batch

    def _send(self) -> None:
        by_destination: dict[str, list[Envelope]] = {}
        for destination, envelope in self._stage.take_outgoing():
            by_destination.setdefault(destination, []).append(envelope)
            if envelope.kind != NOTICE and destination == self._successor and envelope.epoch == self._counted_epoch:
                self._sent += 1
        for destination, envelopes in by_destination.items():
            outbox = self._outboxes.get(destination)
            if outbox is None:
                outbox = self._outboxes[destination] = Outbox(self._zmq, self._home.mailbox(destination))
            outbox.send(envelopes)
        for outbox in self._outboxes.values():
            if outbox.is_blocked:
                outbox.flush()

    def _halted(self) -> str | None:
        """The halt, looked up at most once a millisecond: the file system is asked for it."""
        now = time.monotonic()
        if now - self._halt_looked_at > _HALT_FRESH_S:
            self._halt_reason = self._home.halt_reason()
            self._halt_looked_at = now
        return self._halt_reason

    def _halt(self, reason: str) -> bool:
        self._halt_looked_at = -1.0
        return self._home.halt_once(reason, by=self._duty.name, at=time.time())

    def _beat_age(self, name: str) -> float | None:
        now = time.monotonic()
        looked_at, age_s = self._beats.get(name, (-math.inf, None))
        if now - looked_at > _BEAT_FRESH_S:
            box = read(self._home.box(name))
            age_s = None if box is None else box.beat_age_s
            self._beats[name] = (now, age_s)
        return age_s

    def _privacy_faults(self) -> Mapping[str, str]:
        if not self._openness[1]:
            self._look_for_openness()
        return self._openness[1]

    def _look_for_openness(self) -> None:
        """Look anew; between batches, where no signal has to wait for it."""
        self._openness = (time.monotonic(), privacy_faults(self._home.path, self._settings))

    def _free_bytes(self) -> int | None:
        now = time.monotonic()
        looked_at, free = self._space
        if now - looked_at > _SPACE_FRESH_S:
            free = self._home.free_bytes()
            self._space = (now, free)
        return free

    def _beat(self) -> None:
        self._showing.flush(time.monotonic())
        # What waits in the stage until its agent is ready counts as if it were in the mailbox.
        self._box.beat(
            epoch=self._stage.epoch,
            handled=self._stage.handled,
            received=self._received - self._stage.stashed,
            sent=self._sent,
            work=self._stage.work,
        )

    def _open(self, name: str) -> apsw.Connection:
        if name not in self._databases:
            durability = Durability.POWER if name else self._agent.durability
            if durability is Durability.NONE:
                raise BootError(
                    f"agent {self._duty.name} asks for a database but declares no journal",
                    hint="set `durability` on its class",
                )
            check_s, thorough = self._trouble.check(self._duty.incarnation)
            self._databases[name] = open_journal(
                self._home.data / self._file(name), durability, check_s=check_s, thorough=thorough, beat=self._live
            )
        return self._databases[name]

    def _open_core(self) -> state.Core:
        if self._core is None:
            check_s, thorough = self._trouble.check(self._duty.incarnation)
            self._core = state.open_core(self._home, check_s=check_s, thorough=thorough, beat=self._live)
        return self._core

    def _open_flags(self, changed: Callable[[Body], None], refused: Callable[[str], None]) -> FlagDesk:
        from ark.flag_desk import FileProvider, FlagDesk  # 50 ms, for those who use it

        def refuse(fault: str) -> None:
            Log(self._home.logs / "supervision.log").write("flags_refused", name=self._duty.name, reason=fault)
            refused(fault)

        return FlagDesk(self._duty.name, FileProvider(self._home, changed=changed, refused=refuse))
