"""Simulated worlds: the trading agents under random schedules, each decided by its seed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from actors import hrm
from actors.aletheia import Aletheia
from actors.joey import Joey
from actors.kenny import Intent, Kenny, client_order_id
from actors.kyle import Kyle
from actors.messages import Case
from ark import Agent, Context, Durability, Signal, seal
from ark.delivery import Pending
from ark.letters import DeadLetter, retry_id
from ark.simulator import Faults, Report, Simulation
from tests.promises import check_promises

SIGNALS = 14
FAULTS = Faults(kills=8, crash_chance=0.03, isolations=1)


class OneLook(seal.Sealing):
    """Looks at the seal once for thousands of worlds: it takes longer than all the rest of one."""

    found: seal.Report | None = None

    def _look(self) -> seal.Report:
        if OneLook.found is None:
            OneLook.found = super()._look()
        return OneLook.found


class HRM(hrm.HRM):
    """HRM as he is, but for the look at the seal."""

    sealing = OneLook


class Fragile(Agent[Case]):
    """Dies of poison, like an agent with a bug."""

    takes = Case

    def handle(self, message: Case, context: Context) -> Case:
        if message.signal.metadata.get("poison") == "handle":
            raise ZeroDivisionError("poison")
        return message


class Gathering(Agent[Case]):
    """Gathers, and writes once a batch; dies of poison only then, when it has handled others as well."""

    takes = Case
    durability = Durability.PROCESS

    def setup(self, context: Context) -> None:
        self.gathered: list[str] = []

    def handle(self, message: Case, context: Context) -> Case:
        self.gathered.append(message.signal.metadata.get("poison", ""))
        return message

    def settle(self, context: Context) -> None:
        if "settle" in self.gathered:
            raise ZeroDivisionError("poison")
        self.gathered.clear()


class Mortal(Kenny):
    """Dies of poison between the broker's commit and his own."""

    def setup(self, context: Context) -> None:
        self.poisoned = False
        super().setup(context)

    @contextmanager
    def performing(self, context: Context) -> Iterator[None]:
        self.poisoned = False
        with super().performing(context):
            yield
        if self.poisoned:
            raise ZeroDivisionError("poison")

    def perform(self, intent: Intent, context: Context, *, again: bool) -> Case:
        self.poisoned = self.poisoned or intent.case.signal.metadata.get("poison") == "perform"
        return super().perform(intent, context, again=again)


class Mended(Fragile):
    """Dies of poison until it is retried for the second time."""

    def handle(self, message: Case, context: Context) -> Case:
        metadata = message.signal.metadata
        if metadata.get("poison") == "handle" and metadata.get("retry_of") not in retried_once(metadata):
            raise ZeroDivisionError("poison")
        return message


def retried_once(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The trace id of the first retry of a signal that carries its first trace id along."""
    first = metadata.get("first")
    return () if first is None else (retry_id(first),)


AGENTS: list[tuple[str, type[Agent[Any]]]] = [
    ("kyle", Kyle),
    ("joey", Joey),
    ("fragile", Fragile),
    ("gathering", Gathering),
    ("hrm", HRM),
    ("kenny", Kenny),
    ("aletheia", Aletheia),
]

ARMS: dict[str, type[Agent[Any]]] = {name: agent for name, agent in AGENTS if agent.splits()}
"""What stands beside each agent while a rollout is under way: the same once more."""
QUIET = Faults(kills=4, crash_chance=0.01)
"""Fewer faults, so that arms come to decide something: what was sent before is not theirs."""

SIZES = {"sound": 0.03, "too big": 0.2, "large": 0.09}
"""Shares of equity: one that is approved, one that a rule denies, one that a person is asked about."""
SECRETS = {"approval": b"a secret of thirty-two bytes len", "ruling": b"another secret of as many bytes!"}


def answer(die: random.Random, pending: Pending) -> bool | None:
    """An operator who mostly says yes, and at times leaves it for later."""
    return die.choices((True, False, None), (4, 2, 3))[0]


def signals(seed: int) -> list[Signal]:
    """A mixed handful: sound plans, plans that a rule denies or that a person is asked about, bare wishes, bars,
    and now and then a poison."""
    die = random.Random(seed)
    made = []
    for number in range(SIGNALS):
        price = 100.0 + die.randrange(-5, 6)
        common: dict[str, Any] = {"symbol": f"S{die.randrange(3)}", "direction": "long", "price": price}
        bar = {"ts": 1.6e9 + number * 86_400, "open": price, "high": price * 1.05, "low": price * 0.94}
        kind = die.choices(("sound", "too big", "large", "bare", "bar"), (6, 1, 1, 1, 3))[0]
        if kind in SIZES:
            size = SIZES[kind]
            common |= {"position_size_pct": size, "stop_loss": price * 0.96, "target": price * 1.1}
        elif kind == "bar":
            common |= {"action": "observe", "features": {"bar": {**bar, "close": price, "volume": 1e6}}}
        if seed % 2 == 0 and number == SIGNALS // 2:
            common["metadata"] = {"poison": "handle" if seed % 4 else "settle"}
        made.append(Signal(**common))
    return made


def live(seed: int, faults: Faults = FAULTS, **broken: Any) -> tuple[Simulation, Report]:
    """Run one world to its end, and check every promise.

    Args:
        seed: Decides the signals and the schedule.
        faults: How much goes wrong.
        broken: What to break on purpose; see `Simulation`.
    """
    world = Simulation(AGENTS, seed=seed, faults=faults, secrets=SECRETS, answer=answer, **broken)
    wanted = signals(seed)
    report = world.run(wanted, most_steps=20_000)
    assert len(report.published) == len(set(report.published)) == len(wanted)
    assert set(report.accepted) <= set(report.outcomes)
    poisoned = [trace_id for trace_id, outcome in report.outcomes.items() if outcome["reason"].startswith("ended ")]
    assert len(poisoned) == (1 if seed % 2 == 0 else 0)
    for outcome in report.outcomes.values():
        assert outcome["status"] != "executed" or outcome["decision"]["approved"]
        assert outcome["audit"]["disagreements"] == [], outcome
    for trace_id, approved in report.rulings.items():
        # What a person refused is never done; what he allowed is judged anew, and may still be denied.
        assert approved or report.outcomes[trace_id]["status"] != "executed"
    check_promises(lambda name: database(world, name), excused=poisoned)
    return world, report


def deal(die: random.Random, letter: DeadLetter) -> bool | None:
    """An operator who mostly retries, and at times leaves it for later or lets it be."""
    return die.choices((True, False, None), (5, 1, 3))[0]


def live_with_letters(seed: int) -> Report:
    """Run one world in which an operator deals with every dead letter, and check every promise.

    One poison ends an agent before HRM, and is mended at its second retry. Another ends Kenny when the broker has
    the order already.
    """
    agents = [(name, {"fragile": Mended, "kenny": Mortal}.get(name, agent)) for name, agent in AGENTS]
    world = Simulation(agents, seed=seed, faults=FAULTS, secrets=SECRETS, answer=answer, deal=deal)
    die = random.Random(seed)
    wanted = []
    for number, signal in enumerate(each for each in signals(seed) if not each.metadata):
        trace_id = str(uuid.UUID(int=die.getrandbits(128), version=4))
        poison = {3: "handle", 6: "perform"}.get(number)
        metadata = {"poison": poison, "first": trace_id} if poison else {}
        wanted.append(msgspec.structs.replace(signal, trace_id=trace_id, metadata=metadata))
    report = world.run(wanted, most_steps=40_000)
    gateway = database(world, "gateway")
    acts = dict(gateway.execute("SELECT trace_id, act FROM letters JOIN signals USING (seq)"))
    retries = {one: two for one, two in gateway.execute(_RETRIES) if two}
    assert None not in acts.values()
    assert set(report.retries.items()) <= set(retries.items()), "what the operator was told was done"
    assert len(report.published) == len(set(report.published)) == len(wanted) + len(retries)
    sent = {each for (each,) in database(world, "kenny-broker").execute(_TAKEN)}
    for trace_id, retry in retries.items():
        assert retry == retry_id(trace_id)
        assert client_order_id(trace_id) not in sent, "nothing is retried of which there is an order"
    check_promises(lambda name: database(world, name), excused=list(acts))
    return report


_RETRIES = "SELECT trace_id, retry FROM letters JOIN signals USING (seq)"
_TAKEN = "SELECT client_order_id FROM orders WHERE json_extract(state, '$.status') != 'rejected'"


def database(world: Simulation, stem: str) -> apsw.Connection:
    """A database of a world by the name that its file would have."""
    if stem == "gateway":
        return world.intake_database
    agent, _, name = stem.partition("-")
    return world.databases[agent][name]


def digest(report: Report) -> bytes:
    """A report as bytes, to compare runs."""
    return msgspec.msgpack.encode([report.published, report.steps, report.kills, report.epoch, report.outcomes])
