"""The gateway: the front door, the journal of accepted signals, and the one who sends them again.

One thread, one loop. Each round takes what is there, commits once, and only then answers `accepted`, sends on,
and publishes.
"""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import zmq

from ark import protocol
from ark.agent import Durability
from ark.back_pressure import BackPressure
from ark.blackbox import BlackBox, read
from ark.config import Config
from ark.control import Control, Duty
from ark.deploy_desk import DeployDesk
from ark.door import Door
from ark.errors import MessageError, NodeError, RequestError, StorageError
from ark.gatekeeper import Gatekeeper
from ark.held_desk import HeldDesk
from ark.home import Home
from ark.intake import Intake
from ark.interventions import Done, record_all
from ark.key_book import KeyBook
from ark.keys import Caller, Refusal, Refusals
from ark.letter_desk import LetterDesk
from ark.level_desk import LevelDesk
from ark.log import Log
from ark.logger import of_process
from ark.message import EVENT, HELD, OUTCOME, REPLY, Envelope, unpack
from ark.meters import Meters
from ark.news import News
from ark.outcome_desk import OutcomeDesk
from ark.protocol import Code, Request, Role
from ark.ruling import SECRET
from ark.signal_desk import SignalDesk
from ark.status import SignalCounts, compose, depths, read_boxes
from ark.storage import RETRY_S, STORAGE, Trouble, naming, open_journal
from ark.tally import Limits
from ark.trace_desk import TraceDesk
from ark.tree_desk import TreeDesk
from ark.wire import Outbox, Route, bind, mailbox

__all__ = ["GatewayWorker"]

_DRAIN = 256
"""Messages taken from one socket in one round."""
_ROUND_S = 0.05
"""A round takes no more from a front door after so long: the rest of the loop must go round, whoever floods."""
_INCOMING = 64
"""Requests of one client that may wait here, each of up to 1 MiB."""
_OUTGOING = 1000
"""Replies that may wait for one client; more are dropped."""
_RECORD_S = 0.25
"""An act is written down within so long, or logged as lost: whoever locks the file must not hold up the door."""
_REBIND_S = 2.0
_JOURNAL = "gateway.db"
_WITHOUT_JOURNAL = frozenset(
    {"status", "halt", "resume", "isolate", "release", "restart", "stop", "start", "log_level"}
)
"""What is answered also while the journal cannot be read or written."""


class GatewayWorker:
    """The worker of the gateway's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._home = Home(Path(duty.home))
        config = msgspec.convert(duty.config, Config)
        self._config = config.gateway
        self._beat_s = config.watchdog.interval_s / 4
        self._pipeline = config.pipeline.agents
        self._duty = duty
        self._epoch = duty.epoch
        self._trouble = Trouble(duty.name, self._home, box)
        self._is_open = False
        self._door: Door
        self._signals: SignalDesk
        self._outcomes: OutcomeDesk
        self._held: HeldDesk
        self._letters: LetterDesk
        self._traces: TraceDesk
        self._tree = TreeDesk(duty.name, self._pipeline, say=control.say, remember=self._remember)
        self._deploys = DeployDesk()
        self._log = of_process()
        self._news = News(Log(self._home.logs / "supervision.log", config.logs.limits))
        self._levels = LevelDesk(
            self._home,
            config.logs,
            names=lambda: [each["name"] for each in self._tree.children],
            note=self._news.note,
            remember=self._remember,
        )
        self._limits = Limits.of(config.slo)
        self._meters = self._open_meters() if config.metrics.enabled else None
        self._next_show = 0.0
        self._refusals = Refusals()
        self._pressure = BackPressure(
            self._config.back_pressure,
            self._config.window,
            beat=self._beat,
            look=lambda: depths(self._home, self._pipeline),
        )
        self._replies: list[tuple[Route, bytes]] = []
        self._done: list[Done] = []
        self._sent = 0
        self._sent_epoch = duty.epoch
        self._handled = 0

    def prepare(self) -> None:
        """Open every socket. The journal is opened in `run`: who can answer is ready, whatever the disk does."""
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        operators = f"ipc://{self._home.socket('operator')}"
        bound = partial(bind, self._zmq, largest=protocol.LARGEST_MESSAGE, incoming=_INCOMING)
        keys = KeyBook(self._home)
        gate = self._gate = Gatekeeper(self._zmq, keys, self._refuse) if self._config.curve else None
        front = bound(
            zmq.ROUTER, self._config.endpoint, outgoing=_OUTGOING, guard=gate.guard("gateway") if gate else None
        )
        back = bound(zmq.ROUTER, operators, outgoing=_OUTGOING)
        self._doors = {front: None if gate else Caller(Role.INJECTOR), back: Caller(Role.OPERATOR)}
        self._events = bound(
            zmq.PUB,
            self._config.events,
            outgoing=10_000,
            inside=f"ipc://{self._home.socket('operator-events')}",
            guard=gate.guard("events") if gate else None,
        )
        self._inbox = mailbox(self._zmq, self._home.mailbox("gateway"))
        self._first = Outbox(self._zmq, self._home.mailbox(self._pipeline[0]))
        self._deployer = Outbox(self._zmq, self._home.mailbox("deployer"))
        self._beat()

    def run(self) -> None:
        """Work until told to stop."""
        with naming(lambda: [_JOURNAL]):
            if self._await_journal():
                self._work()
        if self._gate is not None:
            self._gate.close()
        self._zmq.destroy(linger=200)

    def _work(self) -> None:
        poller = self._poller(*self._doors, self._inbox)
        while True:
            wait_s = 0.005 if self._first.is_blocked or self._outcomes.is_waited_for else self._beat_s
            if self._door.next_deadline is not None:
                wait_s = min(wait_s, max(0.001, self._door.next_deadline - time.time()))
            ready = dict(poller.poll(int(wait_s * 1000)))
            if self._inbox in ready:
                # Outcomes first: their commit does not wait for the disk, that of new signals does.
                self._collect()
                self._settle()
            if self._control.fileno() in ready and not self._hear():
                return
            self._open_doors(ready)
            self._settle()
            self._beat()

    def _await_journal(self) -> bool:
        """Open the journal; as long as that fails, answer what can be answered without. False: told to stop."""
        poller = self._poller(*self._doors)
        next_try = time.monotonic() + self._trouble.pause_s
        while True:
            if time.monotonic() >= next_try:
                try:
                    with naming(lambda: [_JOURNAL]):
                        self._door = self._open_journal()
                        self._open_desks()
                except StorageError as fault:
                    self._trouble.bear(fault)
                    next_try = time.monotonic() + RETRY_S
                else:
                    self._is_open = True
                    self._look_at_tree()
                    self._trouble.end()
                    return True
            wait_s = max(0.001, min(self._beat_s, next_try - time.monotonic()))
            ready = dict(poller.poll(int(wait_s * 1000)))
            if self._control.fileno() in ready and not self._hear():
                return False
            self._open_doors(ready)
            self._send_replies()
            self._send_published()
            self._beat()

    def _poller(self, *sockets: zmq.Socket[bytes]) -> zmq.Poller:
        poller = zmq.Poller()
        for source in (*sockets, self._control.fileno(), *(self._gate.sources if self._gate else ())):
            poller.register(source, zmq.POLLIN)
        return poller

    def _open_journal(self) -> Door:
        check_s, thorough = self._trouble.check(self._duty.incarnation)
        path = self._home.data / _JOURNAL
        connection = open_journal(path, Durability.POWER, check_s=check_s, thorough=thorough, beat=self._beat)
        try:
            return Door(
                Intake(connection, time.time()),
                epoch=self._epoch,
                window=self._config.window,
                stall_s=self._config.stall_s,
                secret=self._duty.secrets[SECRET],
                limits=self._limits,
            )
        except BaseException:
            connection.close()
            raise

    def _open_meters(self) -> Meters:
        name = self._duty.name
        return Meters(self._home.page(name), process=name, edges=self._limits.edges)

    def _open_desks(self) -> None:
        news, symbols = self._news, self._config.symbols
        self._signals = SignalDesk(self._door, backlog=self._config.backlog, symbols=symbols)
        self._outcomes = OutcomeDesk(self._door)
        self._held = HeldDesk(self._door, note=news.note, remember=self._remember)
        self._letters = LetterDesk(self._door, self._home, symbols=symbols, tell=news.tell)
        self._traces = TraceDesk(
            self._door, self._tree, self._pipeline, read_box=lambda name: read(self._home.box(name))
        )
        known = tuple([name for name, _ in self._door.intake.crews.latest])
        if known != self._pipeline:
            self._door.note_crew(tuple([(name, "") for name in self._pipeline]), time.time())

    # What comes in

    def _open_doors(self, ready: Container[Any]) -> None:
        if self._gate is not None:
            self._gate.attend(ready)
            if self._gate.has_revoked():
                self._shut_out()
        for door in self._doors:
            if door in ready:
                self._open_door(door)

    def _open_door(self, door: zmq.Socket[bytes]) -> None:
        until = time.monotonic() + _ROUND_S
        for _ in range(_DRAIN):
            try:
                route, frame, caller = self._take(door)
            except zmq.Again:
                return
            self._handled += 1
            way: Route = (door, route)
            op, code = "", "ok"
            try:
                if len(route) > 2 or any(route[1:]):  # a client's name, and the empty delimiter of a REQ
                    way = (door, route[:1])
                    raise RequestError("a request is one frame", code=Code.MALFORMED)
                request = self._admit(frame, caller)
                op = request.op
                fields = self._answer(request, way)
                if fields is not None and fields.get("ok") is False:
                    code = fields["error"]["code"]
                answer = None if fields is None else protocol.reply(request.id, **fields)
            except RequestError as error:
                op, code = protocol.named_op(frame), error.code
                if code == Code.FORBIDDEN:
                    self._refuse(Refusal(caller.why or "forbidden", op, caller.name, caller.address))
                answer = protocol.reply(protocol.request_id(frame), ok=False, error=protocol.error_body(error))
            if self._meters is not None:
                known = op if op in protocol.OPERATIONS else "other"
                self._meters.count("ark_requests_total", operation=known, code=code)
            if answer is not None:
                self._replies.append((way, answer))
            if time.monotonic() > until:
                return

    def _take(self, door: zmq.Socket[bytes]) -> tuple[list[bytes], bytes, Caller]:
        """One message: the way back, the request, and who sent it."""
        caller = self._doors[door]
        if caller is not None:
            *route, frame = door.recv_multipart(zmq.NOBLOCK)
            return route, frame, caller
        assert self._gate is not None
        *before, last = door.recv_multipart(zmq.NOBLOCK, copy=False)
        return [each.bytes for each in before], last.bytes, self._gate.caller(last)

    @staticmethod
    def _admit(frame: bytes, caller: Caller) -> Request:
        """The request, where its sender may ask for it. Who has a key acts in its name, whatever he says."""
        if caller.role is None:
            known = "is revoked" if caller.why == "revoked_key" else "is not known here"
            raise RequestError(f"the key {caller.name} {known}", code=Code.FORBIDDEN)
        request = protocol.parse_request(frame, caller.role)
        return msgspec.structs.replace(request, by=caller.name) if caller.name else request

    def _refuse(self, refusal: Refusal, **more: str) -> None:
        """Count a refused attempt and tell of it, unless many others were told of within the second."""
        kept_back = self._refusals.note(refusal.why, time.monotonic())
        if kept_back is None:
            return
        words = msgspec.structs.asdict(refusal) | more | ({"kept_back": kept_back} if kept_back else {})
        self._news.note("refused", **words)

    def _shut_out(self) -> None:
        """Have every subscriber from outside come in again, since one of them may have had the key that is revoked.

        Whose key is good misses what is published within the moment.
        """
        self._events.unbind(self._events.getsockopt_string(zmq.LAST_ENDPOINT))  # `*` by its number
        until = time.monotonic() + _REBIND_S
        while True:
            try:
                self._events.bind(self._config.events)
                return
            except zmq.ZMQError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)

    def _collect(self) -> None:
        """Take what the node's own processes send. A release's code runs there: nothing that it says ends us."""
        for _ in range(_DRAIN):
            try:
                envelopes = unpack(self._inbox.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            except MessageError as error:
                self._refuse(Refusal("unreadable", "deliver"), reason=error.message)
                continue
            for envelope in envelopes:
                self._handled += 1
                try:
                    self._receive(envelope)
                except MessageError as error:
                    self._refuse(Refusal("unreadable", "deliver"), reason=error.message)

    def _receive(self, envelope: Envelope) -> None:
        if envelope.kind == OUTCOME:
            self._door.finish(envelope, time.time())
        elif envelope.kind == HELD:
            self._held.hold(envelope, time.time())
        elif envelope.kind == EVENT:
            self._news.relay(bytes(envelope.payload), time.monotonic())
        elif envelope.kind == REPLY:
            answer = self._deploys.replied(envelope.payload)
            if answer is not None:
                self._replies.append(answer)

    def _hear(self) -> bool:
        for words in self._control.hear():
            match words["do"]:
                case "stop":
                    return False
                case "epoch":
                    self._epoch = max(self._epoch, words["epoch"])
                    if self._is_open:  # what nobody has sent ends nobody
                        self._strike(words.get("died", []))
                        self._door.dispatcher.raise_epoch(words["epoch"])
                case "tree":
                    self._tree.children = words["children"]
                    if self._is_open:
                        self._look_at_tree()
                case "reply":
                    answer = self._tree.replied(words["number"], words["agent"], words["state"])
                    if answer is not None:
                        self._replies.append(answer)
                case "event":
                    self._news.tell(words["kind"], **words["fields"])
        return True

    def _look_at_tree(self) -> None:
        self._door.dispatcher.paused = self._tree.is_interrupted
        if self._tree.crew:
            self._door.note_crew(self._tree.crew, time.time())

    def _strike(self, died: list[dict[str, Any]]) -> None:
        for pending in self._door.strike(died, time.time()):
            self._news.note(
                "dead_letter",
                trace_id=pending.trace_id,
                symbol=pending.symbol,
                agent=pending.agent,
                reason=pending.reason,
                strikes=pending.strikes,
            )

    # What is asked for

    def _answer(self, request: Request, way: Route) -> dict[str, Any] | None:
        """The fields of the reply, which goes out when the round is committed; None where it comes later."""
        if not self._is_open and request.op not in _WITHOUT_JOURNAL:
            return protocol.busy(self._why_closed, retry_after_ms=int(RETRY_S * 1000))
        match request.op:
            case "inject":
                return self._signals.answer(request)
            case "outcome":
                return self._outcomes.answer(request, way, time.monotonic())
            case "trace":
                return self._traces.answer(request, time.time())
            case "status":
                return self._status()
            case "halt" | "resume":
                return self._halt(request)
            case "log_level":
                return self._levels.answer(request, time.time())
            case "held" | "approve" | "refuse":
                return self._held.answer(request, time.time())
            case "dead_letters" | "dead_letter" | "retry" | "drop":
                return self._deal(request)
            case "rollback":
                return self._deploys.answer(request, way, time.monotonic(), time.time())
            case op if op.startswith("deploy."):
                return self._deploys.answer(request, way, time.monotonic(), time.time())
            case _:
                return self._tree.answer(request, way, time.monotonic())

    def _status(self) -> dict[str, Any]:
        document = compose(
            self._home,
            self._tree.children,
            self._pipeline,
            self._signals.counts if self._is_open else SignalCounts(),
            read_boxes(self._home, self._tree.children),
            outcomes=self._door.tally.outcomes if self._is_open else {},
            violations=self._door.tally.violations if self._is_open else 0,
            refused=self._refusals.count,
            events=self._config.events,
            busy=(self._signals.full(1) if self._is_open else self._why_closed) or None,
        )
        return msgspec.structs.asdict(document)

    @property
    def _why_closed(self) -> str:
        return self._trouble.reason or f"{STORAGE} {_JOURNAL} is being opened"

    def _halt(self, request: Request) -> dict[str, Any]:
        request.need_reason()
        halted = request.op == "halt"
        try:
            if halted:
                self._home.halt(request.reason, by=request.who, at=time.time())
            else:
                self._home.resume(request.reason, by=request.who)
        except NodeError as error:
            raise RequestError(str(error), code=Code.BUSY) from error
        self._news.tell(request.op, reason=request.reason, by=request.who)
        # At once, and alone: it has taken effect, whatever becomes of the rest of this round.
        self._record([_done(request)])
        return {"halted": halted, "halt_reason": request.reason if halted else None}

    def _deal(self, request: Request) -> dict[str, Any]:
        """Answer what an operator asks of the dead letters, or does about one."""
        full = self._signals.full(1) if request.op == "retry" else ""
        return protocol.busy(full) if full else self._letters.answer(request, request.who)

    def _remember(self, request: Request, subject: str = "", details: dict[str, Any] | None = None) -> None:
        """Keep who did what to whom: when what this round has written is committed, and before it is answered."""
        self._done.append(_done(request, subject, details))

    # What goes out

    def _settle(self) -> None:
        """Commit what this round has written, and only then let anything out."""
        self._held.expire(time.time())
        is_writing, began = self._door.is_writing, time.perf_counter()
        finished = self._door.settle()
        if is_writing and self._meters is not None:
            took_s = time.perf_counter() - began
            self._meters.observe("ark_journal_commit_seconds", took_s, owner=self._duty.name)
        self._letters.settled()
        for each in finished:
            self._news.publish(f"outcome.{each.symbol}", each.outcome)
            self._log.debug("outcome", trace_id=each.trace_id, symbol=each.symbol, status=each.status)
        held = self._held.settled()
        self._send_replies()
        self._dispatch()
        self._send_published()
        orders = self._deploys.take_orders()
        if orders or self._deployer.is_blocked:
            self._deployer.send(orders)
        self._replies += self._deploys.overdue(time.monotonic())
        for way, answer in self._outcomes.wake(finished, held, time.monotonic()):
            self._send_reply(way, answer)

    def _record(self, acts: Sequence[Done]) -> None:
        if acts:
            record_all(self._home, acts, patience_s=_RECORD_S)

    def _send_replies(self) -> None:
        self._record(self._done)
        self._done.clear()
        for way, answer in self._replies:
            self._send_reply(way, answer)
        self._replies.clear()

    def _send_published(self) -> None:
        for topic, payload in self._news.take():
            self._events.send_multipart([topic, payload], zmq.NOBLOCK)

    def _dispatch(self) -> None:
        now = time.monotonic()
        dispatcher = self._door.dispatcher
        if dispatcher.epoch != self._sent_epoch:
            self._sent_epoch, self._sent = dispatcher.epoch, 0
            self._log.info("epoch", epoch=dispatcher.epoch)
        envelopes = dispatcher.due(now, most=self._pressure.room(now), at=time.time())
        if envelopes:
            self._sent += len(envelopes)
            if self._meters is not None:
                self._meters.count("ark_signals_resent_total", sum(each.attempt > 1 for each in envelopes))
            self._pressure.sent(len(envelopes))
            self._first.send(envelopes)
            if self._log.is_enabled_for("debug"):
                for each in envelopes:
                    self._log.debug("sent", trace_id=each.trace_id, symbol=each.symbol, attempt=each.attempt)
        elif self._first.is_blocked:
            self._first.flush()
        if dispatcher.stalled(now):
            self._news.note("stalled", in_flight=dispatcher.in_flight)
            self._control.say(say="raise_epoch", reason="no outcome came back")

    @staticmethod
    def _send_reply(way: Route, answer: bytes) -> None:
        door, route = way
        # A client that does not read its replies loses them: a ROUTER drops for a full or vanished peer.
        try:
            door.send_multipart([*route, answer], zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def _show(self) -> None:
        """Write on the page what is known in full anyway; counters that stand in the journal are exact there."""
        meters, door = self._meters, self._door
        if meters is None:
            return
        counts, oldest = self._signals.counts, door.dispatcher.oldest
        door.tally.show(meters)
        for name, total in (
            ("ark_signals_accepted_total", counts.accepted),
            ("ark_signals_completed_total", counts.completed),
            ("ark_dead_letters_total", counts.dead_letters_ever),
        ):
            meters.total(name, total or 0)
        for name, value in (
            ("ark_signals_in_flight", counts.in_flight),
            ("ark_signals_held", counts.held),
            ("ark_dead_letters_open", counts.dead_letters),
        ):
            meters.gauge(name, value or 0)
        meters.gauge("ark_oldest_signal_age_seconds", max(0.0, time.time() - oldest.asked_at) if oldest else 0.0)

    def _beat(self) -> None:
        now = time.monotonic()
        if self._is_open and now >= self._next_show:
            self._next_show = now + self._beat_s
            self._show()
        self._box.beat(epoch=self._sent_epoch, handled=self._handled, received=self._handled, sent=self._sent)


def _done(request: Request, subject: str = "", details: dict[str, Any] | None = None) -> Done:
    return Done(request.op, request.who, subject, request.reason.strip(), details or {})
