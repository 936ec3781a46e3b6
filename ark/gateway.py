"""The gateway: the front door, the journal of accepted signals, and the one who sends them again.

One thread, one loop. Each round takes what is there, commits once, and only then answers `accepted`, sends on,
and publishes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Container
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import zmq

from ark import protocol
from ark.agent import Durability
from ark.blackbox import BlackBox
from ark.config import Config
from ark.control import Control, Duty
from ark.delivery import Pending
from ark.door import DEADLINE, UNANSWERED, Door, Finished
from ark.errors import NodeError, RequestError, StorageError
from ark.gatekeeper import Gatekeeper
from ark.home import Home
from ark.intake import Intake
from ark.interventions import Done, record_all
from ark.key_book import KeyBook
from ark.keys import Caller, Refusal, Refusals
from ark.letter_desk import LetterDesk
from ark.log import Log
from ark.message import EVENT, HELD, OUTCOME, unpack
from ark.protocol import Code, Request, Role
from ark.ruling import SECRET
from ark.status import SignalCounts, compose, depths
from ark.storage import RETRY_S, STORAGE, Trouble, naming, open_journal
from ark.wire import Outbox, bind, mailbox

__all__ = ["GatewayWorker"]

_DRAIN = 256
"""Messages taken from one socket in one round."""
_ROUND_S = 0.05
"""A round takes no more from a front door after so long: the rest of the loop must go round, whoever floods."""
_INCOMING = 64
"""Requests of one client that may wait here, each of up to 1 MiB."""
_OUTGOING = 1000
"""Replies that may wait for one client; more are dropped."""
_BACKLOG_BYTES = 64 << 20
"""Bytes of signals that may wait for their outcome, beside their number in the configuration."""
_MOST_WAITERS = 10_000
"""Clients' questions that may wait for an outcome."""
_LONGEST_WAIT_S = 600.0
_MOST_ASKED = 64
_ASKED_S = 15.0
"""So many requests may be with the supervisor, and one that got no answer for so long counts no longer."""
_RETRY_AFTER_MS = 50
_REBIND_S = 2.0
_DEPTH_FRESH_S = 0.005
"""The depth of mailboxes is looked up at most so often."""
_MOST_KEPT = 50
"""Events of agents that are written to the log in one second."""

_JOURNAL = "gateway.db"
_WITHOUT_JOURNAL = frozenset({"status", "halt", "resume", "isolate", "release", "restart", "stop", "start"})
"""What is answered also while the journal cannot be read or written."""
_NO_REASON = "by an operator"
_NEEDS_REASON = ("isolate", "release", "stop")
_REFUSALS = {
    ("stop", "isolated"): "is isolated, and down; `supervisor release` starts it",
    ("start", "isolated"): "is isolated; `supervisor release` starts it",
    ("restart", "isolated"): "is isolated; `supervisor release` starts it",
    ("release", "stopped"): "was stopped, not isolated; `supervisor start` starts it",
}
"""Why an operation cannot be done to a child of which that is wanted."""

Route = tuple[Any, list[bytes]]
"""A socket and the frames that lead a reply back to its client."""


class _Event(msgspec.Struct, frozen=True):
    kind: str


class _Status(msgspec.Struct, frozen=True):
    status: str


class _Level(msgspec.Struct, frozen=True):
    level: str = ""


class _Denied(msgspec.Struct, frozen=True):
    decision: _Level | None = None


class _Decided(msgspec.Struct, frozen=True):
    decision: msgspec.Raw = msgspec.Raw(b"\xc0")


class GatewayWorker:
    """The worker of the gateway's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._name = duty.name
        self._control = control
        self._box = box
        self._home = Home(Path(duty.home))
        self._log = Log(self._home.logs / "supervision.log")
        config = msgspec.convert(duty.config, Config)
        self._config = config.gateway
        self._beat_s = config.watchdog.interval_s / 4
        self._pipeline = config.pipeline.agents
        self._duty = duty
        self._epoch = duty.epoch
        self._trouble = Trouble(duty.name, self._home, box)
        self._door: Door
        self._letters: LetterDesk
        self._is_open = False
        self._depth = (-math.inf, 0)
        self._outcomes: Counter[str] = Counter()
        self._violations = 0
        self._tree: list[dict[str, Any]] = []
        self._replies: list[tuple[Route, bytes]] = []
        self._published: list[tuple[bytes, bytes]] = []
        self._waiting: dict[str, list[tuple[float, Route, msgspec.Raw]]] = {}
        self._waiters = 0
        self._held_now: list[Pending] = []
        self._done: list[Done] = []
        self._asked: dict[int, tuple[float, Route, msgspec.Raw]] = {}
        self._questions = 0
        self._kept_since, self._kept = 0.0, 0
        self._refusals = Refusals()
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
            wait_s = 0.005 if self._first.is_blocked or self._waiting else self._beat_s
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
                        self._letters = LetterDesk(
                            self._door, self._home, symbols=self._config.symbols, tell=self._tell
                        )
                except StorageError as fault:
                    self._trouble.bear(fault)
                    next_try = time.monotonic() + RETRY_S
                else:
                    self._is_open = True
                    self._see_tree(self._tree)
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
            )
        except BaseException:
            connection.close()
            raise

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
            way = (door, route)
            try:
                if len(route) > 2 or any(route[1:]):  # a client's name, and the empty delimiter of a REQ
                    way = (door, route[:1])
                    raise RequestError("a request is one frame", code=Code.MALFORMED)
                answer = self._answer(self._admit(frame, caller), way)
            except RequestError as error:
                if error.code == Code.FORBIDDEN:
                    op = protocol.named_op(frame)
                    self._refuse(Refusal(caller.why or "forbidden", op, caller.name, caller.address))
                answer = protocol.reply(protocol.request_id(frame), ok=False, error=protocol.error_body(error))
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

    @staticmethod
    def _who(request: Request) -> str:
        """In whose name a request acts: the key's, or what a client without a key says of himself."""
        return request.by.strip() or "operator"

    def _refuse(self, refusal: Refusal) -> None:
        """Count a refused attempt and tell of it, unless many others were told of within the second."""
        kept_back = self._refusals.note(refusal.why, time.monotonic())
        if kept_back is None:
            return
        words = msgspec.structs.asdict(refusal) | ({"kept_back": kept_back} if kept_back else {})
        self._log.write("refused", **words)
        self._tell("refused", **words)

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
        for _ in range(_DRAIN):
            try:
                envelopes = unpack(self._inbox.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            for envelope in envelopes:
                self._handled += 1
                if envelope.kind == OUTCOME:
                    self._door.finish(envelope)
                elif envelope.kind == HELD:
                    pending = self._door.hold(envelope, time.time())
                    if pending is not None:
                        self._held_now.append(pending)
                elif envelope.kind == EVENT:
                    kind = msgspec.msgpack.decode(envelope.payload, type=_Event).kind
                    self._publish(f"event.{kind}", bytes(envelope.payload))
                    self._keep(bytes(envelope.payload))

    def _keep(self, event: bytes) -> None:
        """Write an agent's event to the log, for whoever asks later; not all of a flood."""
        now = time.monotonic()
        if now - self._kept_since >= 1.0:
            self._kept_since, self._kept = now, 0
        self._kept += 1
        if self._kept > _MOST_KEPT:
            return
        fields = {str(key): value for key, value in msgspec.msgpack.decode(event).items()}
        kind = str(fields.pop("kind"))
        if kind != "halt":  # the halt itself is in the log
            self._log.write(kind, **{key: value for key, value in fields.items() if key != "event"})

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
                    self._see_tree(words["children"])
                case "reply":
                    self._reply_asked(words)
                case "event":
                    self._tell(words["kind"], **words["fields"])
        return True

    def _see_tree(self, children: list[dict[str, Any]]) -> None:
        self._tree = children
        if not self._is_open:
            return
        down = {"isolated", "stopped", "failed"}
        # Of agents whose supervisor is down nothing is told: then it stands for them.
        self._door.dispatcher.paused = any(
            child["state"] in down and (child["name"] in self._pipeline or child["kind"] == "supervisor")
            for child in children
        )

    def _strike(self, died: list[dict[str, Any]]) -> None:
        for pending in self._door.strike(died, time.time()):
            self._note(
                "dead_letter",
                trace_id=pending.trace_id,
                symbol=pending.symbol,
                agent=pending.agent,
                reason=pending.reason,
                strikes=pending.strikes,
            )

    # What is asked for

    def _answer(self, request: Request, way: Route) -> bytes | None:
        if not self._is_open and request.op not in _WITHOUT_JOURNAL:
            why = self._trouble.reason or f"{STORAGE} {_JOURNAL} is being opened"
            return self._busy(request, why, retry_after_ms=int(RETRY_S * 1000))
        match request.op:
            case "inject":
                return self._inject(request)
            case "outcome":
                return self._outcome(request, way)
            case "status":
                return protocol.reply(request.id, **self._status())
            case "halt" | "resume":
                return self._halt(request)
            case "held":
                return self._list_held(request)
            case "approve" | "refuse":
                return self._rule(request)
            case "dead_letters" | "dead_letter" | "retry" | "drop":
                return self._deal(request)
            case _:
                return self._ask_supervisor(request, way)

    def _inject(self, request: Request) -> bytes:
        single = len(request.signal) > 0
        raws = [request.signal] if single else request.signals
        if not raws or (single and request.signals):
            raise RequestError(
                "inject takes either `signal`, a map, or `signals`, a list of maps",
                code=Code.INVALID,
                field="signals" if single else "signal",
            )
        most = min(protocol.MOST_SIGNALS, self._config.backlog)
        if len(raws) > most:
            raise RequestError(f"`signals` has at most {most} signals", code=Code.INVALID, field="signals")
        full = self._full(len(raws))
        if full:
            return self._busy(request, full)
        results = [self._take_in(raw) for raw in raws]
        if not single:
            return protocol.reply(request.id, results=results)
        return protocol.reply(request.id, **{"ok": "error" not in results[0], **results[0]})

    def _full(self, count: int) -> str:
        """Why so many signals more cannot be taken now; empty where they can."""
        if self._door.unfinished + count > self._config.backlog:
            return f"{self._config.backlog} signals may wait for their outcome"
        if self._door.unfinished_bytes > _BACKLOG_BYTES:
            return f"{_BACKLOG_BYTES >> 20} MiB of signals may wait for their outcome"
        return ""

    @staticmethod
    def _busy(request: Request, why: str, *, retry_after_ms: int = _RETRY_AFTER_MS) -> bytes:
        error = {"code": Code.BUSY, "message": f"{why}; try again later", "field": None}
        return protocol.reply(request.id, ok=False, error=error, retry_after_ms=retry_after_ms)

    def _take_in(self, raw: msgspec.Raw) -> dict[str, Any]:
        try:
            signal, ignored = protocol.parse_signal(raw)
            if self._config.symbols and signal.symbol not in self._config.symbols:
                raise RequestError(
                    f"unknown symbol {signal.symbol!r}{protocol.nearest(signal.symbol, self._config.symbols)}",
                    code=Code.INVALID,
                    field="symbol",
                )
        except RequestError as error:
            return {
                "trace_id": protocol.named_trace_id(raw),
                "status": "rejected",
                "error": protocol.error_body(error),
            }
        trace_id, status = self._door.take_in(signal, time.time())
        result: dict[str, Any] = {"trace_id": trace_id, "status": status}
        if ignored:
            result["ignored"] = ignored
        return result

    def _outcome(self, request: Request, way: Route) -> bytes | None:
        trace_id = request.trace_id
        if not trace_id:
            raise RequestError("`trace_id` is missing", code=Code.INVALID, field="trace_id")
        if not 0 <= request.timeout_ms <= _LONGEST_WAIT_S * 1000:
            raise RequestError(
                f"`timeout_ms` must be between 0 and {_LONGEST_WAIT_S * 1000:.0f}",
                code=Code.INVALID,
                field="timeout_ms",
            )
        outcome = self._door.intake.outcome(trace_id)
        if outcome is not None:
            return protocol.reply(request.id, outcome=msgspec.Raw(outcome))
        held = self._door.dispatcher.parked.get(trace_id)
        if held is not None:
            return protocol.reply(request.id, outcome=_held_outcome(held))
        if not self._door.is_unfinished(trace_id):
            raise _never_accepted(trace_id)
        if not request.timeout_ms:
            raise RequestError("no outcome yet", code=Code.PENDING, field="trace_id")
        if self._waiters >= _MOST_WAITERS:
            return self._busy(request, f"{_MOST_WAITERS} questions may wait for an outcome")
        until = time.monotonic() + request.timeout_ms / 1000
        self._waiting.setdefault(trace_id, []).append((until, way, request.id))
        self._waiters += 1
        return None

    def _status(self) -> dict[str, Any]:
        signals = SignalCounts()
        if self._is_open:
            held = len(self._door.dispatcher.parked)
            signals = SignalCounts(
                accepted=self._door.intake.accepted,
                in_flight=self._door.unfinished - held,
                completed=self._door.intake.completed,
                held=held,
                dead_letters=self._door.intake.letters.open,
                dead_letters_ever=self._door.intake.letters.ever,
            )
        document = compose(
            self._home,
            self._tree,
            self._pipeline,
            signals,
            outcomes=self._outcomes,
            violations=self._violations,
            refused=self._refusals.count,
            events=self._config.events,
        )
        return msgspec.structs.asdict(document)

    def _halt(self, request: Request) -> bytes:
        if not request.reason.strip():
            raise RequestError(f"{request.op} needs a `reason`", code=Code.INVALID, field="reason")
        by = self._who(request)
        try:
            if request.op == "halt":
                self._home.halt(request.reason, by=by, at=time.time())
            else:
                self._home.resume(request.reason, by=by)
        except NodeError as error:
            raise RequestError(str(error), code=Code.BUSY) from error
        halted = request.op == "halt"
        self._tell(request.op, reason=request.reason, by=by)
        self._remember(request)
        return protocol.reply(request.id, halted=halted, halt_reason=request.reason if halted else None)

    def _list_held(self, request: Request) -> bytes:
        held: list[dict[str, Any]] = []
        size = 0
        for pending in self._door.held[: request.limit]:
            assert pending.held is not None
            size += pending.held.size
            if held and size > protocol.LARGEST_MESSAGE:
                break
            held.append(_describe(pending))
        return protocol.reply(request.id, held=held, count=len(self._door.dispatcher.parked))

    def _rule(self, request: Request) -> bytes:
        """Take an operator's word; it is answered after the commit, like everything."""
        trace_id = request.trace_id
        if not trace_id:
            raise RequestError("`trace_id` is missing", code=Code.INVALID, field="trace_id")
        if not request.reason.strip():
            raise RequestError(f"{request.op} needs a `reason`", code=Code.INVALID, field="reason")
        by = self._who(request)
        if by == DEADLINE:
            raise RequestError(f"`by` cannot be {DEADLINE!r}, which is no person", code=Code.INVALID, field="by")
        self._expire()  # an answer that came behind the deadline is none
        ruling = self._door.rule(
            trace_id,
            approved=request.op == "approve",
            by=by,
            reason=request.reason,
            now=time.time(),
        )
        if ruling is None:
            raise self._not_held(trace_id)
        self._remember(request, trace_id)
        self._tell_ruling(trace_id, ruling.word, ruling.by, ruling.reason)
        return protocol.reply(request.id, trace_id=trace_id, ruling=ruling.word)

    def _deal(self, request: Request) -> bytes:
        """Answer what an operator asks of the dead letters, or does about one."""
        full = self._full(1) if request.op == "retry" else ""
        if full:
            return self._busy(request, full)
        return protocol.reply(request.id, **self._letters.answer(request, self._who(request)))

    def _not_held(self, trace_id: str) -> RequestError:
        """Say how a signal stands that a person cannot rule on."""
        ruling = self._door.intake.ruling(trace_id)
        by = f", {ruling.word} by {ruling.by}" if ruling else ""
        outcome = self._door.intake.outcome(trace_id)
        if outcome is not None:
            status = msgspec.msgpack.decode(outcome, type=_Status).status
            return RequestError(f"it has ended already: {status}{by}", code=Code.REFUSED, field="trace_id")
        if not self._door.is_unfinished(trace_id):
            return _never_accepted(trace_id)
        if ruling:
            return RequestError(
                f"it is already {ruling.word} by {ruling.by}: {ruling.reason}",
                code=Code.REFUSED,
                field="trace_id",
            )
        return RequestError(
            "it is still under way, and nobody is asked about it", code=Code.REFUSED, field="trace_id"
        )

    def _expire(self) -> None:
        for pending in self._door.expire(time.time()):
            self._tell_ruling(pending.trace_id, "refused", DEADLINE, UNANSWERED)

    def _tell_ruling(self, trace_id: str, ruling: str, by: str, reason: str) -> None:
        words = {"trace_id": trace_id, "ruling": ruling, "by": by, "reason": reason}
        self._log.write("ruling", **words)
        self._tell("ruling", **words)

    def _ask_supervisor(self, request: Request, way: Route) -> bytes | None:
        known = {child["name"]: child for child in self._tree}
        if not request.agent:
            raise RequestError("`agent` is missing", code=Code.INVALID, field="agent")
        if request.agent not in known and request.agent in self._pipeline:
            raise RequestError(
                f"the supervisor of {request.agent} does not run now; see `supervisor status`",
                code=Code.REFUSED,
                field="agent",
            )
        if request.agent not in known or known[request.agent]["parent"] is None:
            raise RequestError(
                f"no child is named {request.agent[:40]!r}{protocol.nearest(request.agent, known)}",
                code=Code.UNKNOWN_AGENT,
                field="agent",
            )
        if request.op in ("isolate", "release") and request.agent not in self._pipeline:
            raise RequestError(
                f"{request.agent} is no agent of the pipeline; only those can be isolated",
                code=Code.REFUSED,
                field="agent",
            )
        why_not = _REFUSALS.get((request.op, known[request.agent]["desired"]))
        if why_not:
            raise RequestError(f"{request.agent} {why_not}", code=Code.REFUSED, field="agent")
        if request.op in _NEEDS_REASON and not request.reason.strip():
            raise RequestError(f"{request.op} needs a `reason`", code=Code.INVALID, field="reason")
        if request.agent == self._name and request.op == "stop":
            raise RequestError(
                f"the {request.agent} cannot be stopped: nothing could be started through it again; use"
                " `supervisor restart`, or `ark-run stop` for the whole node",
                code=Code.REFUSED,
                field="agent",
            )
        words = {"op": request.op, "agent": request.agent, "by": self._who(request)}
        if request.agent == self._name:  # who is asked for itself will not be there to answer afterwards
            self._remember(request, request.agent)
            self._control.say(say="request", number=0, reason=request.reason or _NO_REASON, **words)
            state = "starting" if request.op == "restart" else "running"
            return protocol.reply(request.id, agent=request.agent, state=state)
        now = time.monotonic()
        self._asked = {number: each for number, each in self._asked.items() if now - each[0] < _ASKED_S}
        if len(self._asked) >= _MOST_ASKED:
            return self._busy(request, f"{_MOST_ASKED} requests may be with the supervisor")
        self._questions += 1
        self._asked[self._questions] = (now, way, request.id)
        self._remember(request, request.agent)
        self._control.say(say="request", number=self._questions, reason=request.reason or _NO_REASON, **words)
        return None

    def _remember(self, request: Request, subject: str = "") -> None:
        """Keep who did what to whom: when what this round has written is committed, and before it is answered."""
        self._done.append(Done(request.op, self._who(request), subject, request.reason.strip()))

    def _reply_asked(self, words: dict[str, Any]) -> None:
        asked = self._asked.pop(words["number"], None)
        if asked:
            _, way, id_ = asked
            self._replies.append((way, protocol.reply(id_, agent=words["agent"], state=words["state"])))

    # What goes out

    def _settle(self) -> None:
        """Commit what this round has written, and only then let anything out."""
        self._expire()
        finished = self._door.settle()
        self._letters.settled()
        for each in finished:
            self._publish(f"outcome.{each.symbol}", each.outcome)
            self._outcomes[each.status] += 1
            self._violations += each.status == "denied" and _is_violation(each.outcome)
        for pending in self._held_now:
            if pending.held is not None:
                self._note(
                    "held",
                    trace_id=pending.trace_id,
                    symbol=pending.symbol,
                    agent=pending.held.agent,
                    reason=pending.held.reason,
                    until=pending.held.until,
                )
        self._send_replies()
        self._dispatch()
        self._send_published()
        if self._waiting:
            self._wake_waiting(finished)
        self._held_now.clear()

    def _send_replies(self) -> None:
        if self._done:
            record_all(self._home, self._done)
            self._done.clear()
        for (door, route), answer in self._replies:
            self._send_reply(door, route, answer)
        self._replies.clear()

    def _send_published(self) -> None:
        for topic, payload in self._published:
            self._events.send_multipart([topic, payload], zmq.NOBLOCK)
        self._published.clear()

    def _dispatch(self) -> None:
        now = time.monotonic()
        dispatcher = self._door.dispatcher
        if dispatcher.epoch != self._sent_epoch:
            self._sent_epoch, self._sent = dispatcher.epoch, 0
        envelopes = dispatcher.due(now, most=self._room(now))
        if envelopes:
            self._sent += len(envelopes)
            self._depth = (self._depth[0], self._depth[1] + len(envelopes))
            self._first.send(envelopes)
        elif self._first.is_blocked:
            self._first.flush()
        if dispatcher.stalled(now):
            self._note("stalled", in_flight=dispatcher.in_flight)
            self._control.say(say="raise_epoch", reason="no outcome came back")

    def _room(self, now: float) -> int:
        """How much more may be sent before the fullest mailbox holds all that it may: the slowest agent first takes
        what it has. No mailbox can hold more than is in flight.
        """
        most = self._config.back_pressure
        if self._config.window <= most:
            return most
        if now - self._depth[0] > _DEPTH_FRESH_S:
            self._beat()  # what was sent counts from here on
            self._depth = (now, max(depths(self._home, self._pipeline).values(), default=0))
        return max(0, most - self._depth[1])

    def _wake_waiting(self, finished: list[Finished]) -> None:
        news: list[tuple[str, Any]] = [(each.trace_id, msgspec.Raw(each.outcome)) for each in finished]
        news += [(each.trace_id, _held_outcome(each)) for each in self._held_now if each.is_parked]
        for trace_id, outcome in news:
            for _, (door, route), id_ in self._waiting.pop(trace_id, ()):
                self._waiters -= 1
                self._send_reply(door, route, protocol.reply(id_, outcome=outcome))
        now = time.monotonic()
        pending = RequestError("no outcome yet", code=Code.PENDING, field="trace_id")
        for trace_id in [each for each, waits in self._waiting.items() if any(w[0] <= now for w in waits)]:
            still = []
            for until, (door, route), id_ in self._waiting.pop(trace_id):
                if until > now:
                    still.append((until, (door, route), id_))
                    continue
                self._waiters -= 1
                body = protocol.reply(id_, ok=False, error=protocol.error_body(pending))
                self._send_reply(door, route, body)
            if still:
                self._waiting[trace_id] = still

    @staticmethod
    def _send_reply(door: zmq.Socket[bytes], route: list[bytes], answer: bytes) -> None:
        # A client that does not read its replies loses them: a ROUTER drops for a full or vanished peer.
        try:
            door.send_multipart([*route, answer], zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def _note(self, kind: str, **fields: Any) -> None:
        """Publish an event, and write it to the log."""
        self._log.write(kind, **fields)
        self._tell(kind, **fields)

    def _tell(self, kind: str, **fields: Any) -> None:
        self._publish(f"event.{kind}", msgspec.msgpack.encode({"kind": kind, "at": time.time(), **fields}))

    def _publish(self, topic: str, payload: bytes) -> None:
        self._published.append((topic.encode(), payload))

    def _beat(self) -> None:
        self._box.beat(epoch=self._sent_epoch, handled=self._handled, received=self._handled, sent=self._sent)


def _never_accepted(trace_id: str) -> RequestError:
    return RequestError(f"no signal {trace_id[:64]} was ever accepted", code=Code.UNKNOWN_TRACE, field="trace_id")


def _is_violation(outcome: bytes) -> bool:
    """Whether the rule book itself denied; a pipeline of other agents may say `denied` in words of its own."""
    try:
        decision = msgspec.msgpack.decode(outcome, type=_Denied).decision
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return decision is not None and decision.level == "graveyard"


def _describe(pending: Pending) -> dict[str, Any]:
    """A held signal for the person who must decide."""
    held = pending.held
    assert held is not None
    return {
        "trace_id": pending.trace_id,
        "symbol": pending.symbol,
        "agent": held.agent,
        "since": held.since,
        "until": held.until,
        "reason": held.reason,
        "details": held.details,
    }


def _held_outcome(pending: Pending) -> dict[str, Any]:
    """What stands in the place of an outcome while a person must decide."""
    held = pending.held
    assert held is not None
    return {
        "trace_id": pending.trace_id,
        "symbol": pending.symbol,
        "status": "held",
        "decision": msgspec.msgpack.decode(held.details, type=_Decided).decision,
        "order": None,
        "spans": [],
        "attempts": pending.sent,
        "reason": held.reason,
        "held": {"agent": held.agent, "since": held.since, "until": held.until, "details": held.details},
        "ledger": None,
    }
