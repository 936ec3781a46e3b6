"""Whatever one arm says, the whole pipeline behind its role goes on, and nobody overrules the Graveyard."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from typing import Any

import apsw
import msgspec
import pytest

from actors.judging import Inputs, bound
from actors.messages import Case, Outcome
from ark import Agent, Durability, Signal
from ark.arm_worker import Arm
from ark.context import StageContext
from ark.delivery import GATEWAY
from ark.errors import MessageError
from ark.journal import Journal, open_database
from ark.message import (
    EVENT,
    HELD,
    NOTICE,
    OUTCOME,
    PROPOSAL,
    TRIAL,
    WORK,
    Envelope,
    Proposed,
    encode,
    pack,
    unpack,
)
from ark.routing import CANARY, LEASE_S, Route, Table, arm_name
from ark.stage import Stage
from graveyard import Limits
from tests.evidence import CountsEvidence
from tests.strangers import changed
from tests.worlds import AGENTS, SECRETS, signals

CREW = {name: agent for name, agent in AGENTS if name not in ("fragile", "gathering")}
NAMES = tuple(CREW)
SIGNALS = 100


class Line(CountsEvidence):
    """The pipeline, each agent in its stage, one after the other; one of them has a canary that decides all."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.clock = 1_700_000_000.0
        self.counts: Counter[str] = Counter()
        self.journals: dict[str, apsw.Connection] = {}
        self.stages = {name: self._stage(name, agent) for name, agent in CREW.items()}
        self.arm = Arm(CANARY, role, CREW[role](), self._context(role, {}))
        self.arm.setup()
        self.stages[role].trials.record = self
        self.pass_time(0.0)
        for name in NAMES:
            self.pass_on(name)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which the lease is renewed."""
        self.clock += seconds
        route = Route(canary=1.0, patience_s=0.5)
        table = Table(1, "r", self.clock + LEASE_S, roles={self.role: route})
        list(self.stages[self.role].turn(table, frozenset((CANARY,)), self.now_ns))

    def tell(self, difference: msgspec.Struct, *, spare: bool) -> None:
        assert len(msgspec.json.encode(difference)) < 2_000

    def now_ns(self) -> int:
        return int(self.clock * 1e9)

    def _context(self, name: str, databases: dict[str, apsw.Connection]) -> StageContext:
        return StageContext(
            name,
            version="1",
            pipeline=NAMES,
            settings={},
            clock=lambda: self.clock,
            halt=lambda: None,
            opener=lambda key: databases.setdefault(key, open_database(":memory:")),
            secrets=SECRETS,
            free_bytes=lambda: 1 << 40,
        )

    def _stage(self, name: str, agent_class: type[Agent[Any]]) -> Stage:
        agent, databases = agent_class(), {"": open_database(":memory:")}
        self.journals[name] = databases[""]
        place = NAMES.index(name)
        stage = Stage(
            agent,
            self._context(name, databases),
            successor=NAMES[place + 1] if place + 1 < len(NAMES) else GATEWAY,
            journal=None if agent.durability is Durability.NONE else Journal(databases[""]),
            epoch=1,
        )
        stage.setup()
        return stage

    def feed(self, name: str, *envelopes: Envelope) -> None:
        """Hand over a frame; what is none is lost, as in a mailbox."""
        stage = self.stages[name]
        with suppress(MessageError):
            list(stage.process(stage.admit(unpack(pack(list(envelopes)))), self.now_ns))

    def pass_on(self, name: str) -> list[tuple[str, Envelope]]:
        """Deliver the notices that an agent has sent; give the rest."""
        rest = []
        for destination, envelope in self.stages[name].take_outgoing():
            if envelope.kind == NOTICE:
                self.feed(destination, envelope)
                self.pass_on(destination)
            elif envelope.kind != EVENT:
                rest.append((destination, envelope))
        return rest

    def take(self, signal: Signal, seq: int, die: random.Random) -> Envelope:
        """Send a signal down the line; give what comes out for the gateway."""
        self.pass_time(2.0)  # whoever was sick is well again
        envelope, name = Envelope(WORK, signal.trace_id, signal.symbol, seq, 1, 1, encode(signal)), "kyle"
        while True:
            self.feed(name, envelope)
            sent = self.pass_on(name)
            if sent and sent[0][1].kind == TRIAL:
                assert [destination for destination, _ in sent] == [arm_name(self.role, CANARY)]
                self.feed(name, self.lie(sent[0][1], die))
                sent = self.pass_on(name)
                if not sent:
                    self.pass_time(1.0)
                    list(self.stages[name].overtake(self.now_ns))
                    sent = self.pass_on(name)
            ((name, envelope),) = [each for each in sent if each[1].kind != TRIAL]
            assert envelope.trace_id == signal.trace_id
            if name == GATEWAY:
                return envelope

    def lie(self, trial: Envelope, die: random.Random) -> Envelope:
        _, answer = self.arm.decide(trial, self.now_ns(), lambda: 0)
        said = msgspec.msgpack.decode(answer.payload, type=Proposed)
        if die.random() < 0.05:
            return msgspec.structs.replace(
                answer, payload=msgspec.Raw(changed(die, bytes(answer.payload)) or b"\xc0")
            )
        if self.role in ("kyle", "joey") and die.random() < 0.3:
            turned = encode(turned_round(msgspec.msgpack.decode(said.answer, type=Case), die))
            return msgspec.structs.replace(
                answer, payload=encode(msgspec.structs.replace(said, answer=bytes(turned)))
            )
        if self.role == "hrm" and die.random() < 0.3:
            verdict = msgspec.msgpack.decode(said.answer) | {"zone": "approve"}
            return msgspec.structs.replace(
                answer, payload=encode(msgspec.structs.replace(said, answer=bytes(encode(verdict))))
            )
        lie = msgspec.structs.replace(said, answer=changed(die, said.answer), held=die.random() < 0.1)
        return Envelope(PROPOSAL, CANARY, "", 0, 1, 0, encode(lie))


def turned_round(case: Case, die: random.Random) -> Case:
    """A well-formed lie: the other side, another size, another price."""
    change = msgspec.structs.replace
    if case.setup is not None:
        wrong = die.choice(
            ({"direction": "short", "stop_loss": 120.0, "target": 80.0}, {"position_size_pct": 0.07})
        )
        return change(case, setup=change(case.setup, **wrong))
    if case.market is not None and die.random() < 0.5:
        return change(case, market=change(case.market, price=case.market.price * 1.01))
    return change(case, signal=change(case.signal, direction="short"))


@pytest.mark.parametrize("role", NAMES)
def test_what_an_arm_says_ends_nobody_in_the_pipeline(role: str) -> None:
    line, die = Line(role), random.Random(role)
    wanted = [each for seed in range(1, 60, 2) for each in signals(seed)][:SIGNALS]
    wanted = [msgspec.structs.replace(each, symbol=f"T{place % 30}") for place, each in enumerate(wanted)]
    outcomes = 0
    for seq, each in enumerate(wanted, start=1):
        signal = msgspec.structs.replace(each, trace_id=f"00000000-0000-4000-8000-{seq:012d}", ts=line.clock)
        try:
            ended = line.take(signal, seq, die)
        except Exception as error:
            error.add_note(f"signal {seq}")
            raise
        assert ended.kind in (OUTCOME, HELD)
        if ended.kind == OUTCOME:
            outcomes += 1
            outcome = msgspec.msgpack.decode(ended.payload, type=Outcome)
            assert outcome.trace_id == signal.trace_id
            msgspec.json.encode(outcome)
    assert line.counts["canary_trials"] > line.counts["canary_broken"] > 0
    assert line.counts["unapproved"] > 0
    assert outcomes > SIGNALS / 2
    sent = {f"00000000-0000-4000-8000-{seq:012d}": each for seq, each in enumerate(wanted, start=1)}
    for trace_id, body in line.journals["aletheia"].execute("SELECT trace_id, body FROM ledger"):
        decision, signal = msgspec.msgpack.decode(body)["decision"], sent[trace_id]
        if decision is not None and decision["approved"]:
            ((judged,),) = line.journals["hrm"].execute(
                "SELECT body FROM hrm_judged WHERE number = ?", (decision["number"],)
            )
            inputs = msgspec.msgpack.decode(judged, type=Inputs)
            assert bound(inputs, Limits())[0] == "approve"
            if signal.action == "trade":
                assert inputs.action.side == {"long": "buy", "short": "sell"}[signal.direction]
                named = signal.position_size_pct
                assert named is None or inputs.action.position_size_pct <= Decimal(str(named))
