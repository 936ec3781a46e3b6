"""Held decisions, ticks and agents that are not ready, under thousands of crash schedules."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from ark import Agent, Context, Durability, Hold, Signal
from ark.delivery import Dispatcher, Held, Pending
from ark.door import DEADLINE, Door
from ark.message import HELD, Envelope
from ark.ruling import verify_ruling
from ark.simulator import Faults, Report, Simulation
from ark.stage import Stage
from tests.echo_agents import First, Passed

SEEDS = 45
PORTION = 15
SOAK_SEEDS = 50_000
ENOUGH_TO_FIND = 400
SIGNALS = 12
FAULTS = Faults(kills=8, crash_chance=0.04, isolations=1)
SECRET = b"a secret of thirty-two bytes len"
SOON_S, LATE_S = 0.3, 1e6


class Early(Agent[Passed]):
    """Stands before the judge, with a journal: what it answered goes on again, with the ruling."""

    takes = Passed
    durability = Durability.PROCESS

    def handle(self, message: Passed, context: Context) -> Passed:
        return Passed(message.signal, (*message.names, context.agent))


class Judged(msgspec.Struct, frozen=True):
    """A judge's answer: `free` where nobody was asked, otherwise who ruled and how."""

    symbol: str
    verdict: str
    by: str = ""


class Judge(Agent[Passed]):
    """Asks a person about every signal whose metadata says so; dies of poison where a ruling comes with it."""

    takes = Passed
    durability = Durability.POWER
    secrets = ("ruling",)
    late_s = LATE_S

    def setup(self, context: Context) -> None:
        context.database.execute("CREATE TABLE IF NOT EXISTS judged (trace_id TEXT UNIQUE, verdict TEXT)")

    def handle(self, message: Passed, context: Context) -> Any:
        wish = message.signal.metadata.get("hold")
        if not wish:
            return self._answer(context, Judged(message.signal.symbol, "free"))
        if context.ruling is None:
            until = context.now() + (SOON_S if wish == "soon" else self.late_s)
            return Hold(until, "is this wise?", {"decision": {"approved": False}, "price": message.signal.price})
        if wish == "poison":
            raise ValueError("poison")
        verify_ruling(context.secret("ruling"), context.trace_id, context.ruling)
        return self._answer(context, Judged(message.signal.symbol, context.ruling.word, context.ruling.by))

    @staticmethod
    def _answer(context: Context, answer: Judged) -> Judged:
        context.database.execute("INSERT INTO judged VALUES (?, ?)", (context.trace_id, answer.verdict))
        return answer


class Booked(msgspec.Struct, frozen=True):
    """What `Clerk` tells once a second."""

    trace_id: str


class Clerk(Agent[Judged]):
    """Ends the pipeline; not ready until it has ticked twice; what it tells by the tick is committed before."""

    takes = Judged
    durability = Durability.POWER
    tick_s = 0.1

    def setup(self, context: Context) -> None:
        self.ticks = 0
        context.database.execute(
            "CREATE TABLE IF NOT EXISTS ended"
            " (number INTEGER PRIMARY KEY, trace_id TEXT UNIQUE, symbol TEXT, verdict TEXT, ruled INTEGER);"
            "CREATE TABLE IF NOT EXISTS told (trace_id TEXT PRIMARY KEY)"
        )

    def ready(self, context: Context) -> bool:
        return self.ticks >= 2

    def tick(self, context: Context) -> None:
        assert context.trace_id == ""
        assert context.ruling is None
        self.ticks += 1
        query = "SELECT trace_id FROM ended WHERE trace_id NOT IN (SELECT trace_id FROM told)"
        for (trace_id,) in context.database.execute(query).fetchall():
            context.database.execute("INSERT INTO told VALUES (?)", (trace_id,))
            context.send("watcher", Booked(trace_id))

    def handle(self, message: Judged, context: Context) -> dict[str, Any]:
        assert self.ticks >= 2, "it was not ready"
        return self._end(context, message.symbol, message.verdict, message.by)

    def bury(self, letter: Any, context: Context) -> dict[str, Any]:
        assert self.ticks >= 2, "it was not ready"
        known = context.database.execute(
            "SELECT symbol, verdict FROM ended WHERE trace_id = ?", (context.trace_id,)
        ).fetchone()
        if known:
            return {"trace_id": context.trace_id, "symbol": known[0], "status": known[1], "by": ""}
        return self._end(context, letter.symbol, "failed", letter.reason)

    @staticmethod
    def _end(context: Context, symbol: str, status: str, by: str) -> dict[str, Any]:
        context.database.execute(
            "INSERT INTO ended (trace_id, symbol, verdict, ruled) VALUES (?, ?, ?, ?)",
            (context.trace_id, symbol, status, context.ruling is not None),
        )
        return {"trace_id": context.trace_id, "symbol": symbol, "status": status, "by": by}


class Watcher(First):
    """Stands first; hears by notices what has ended, and keeps it only once it stands in its journal."""

    durability = Durability.PROCESS
    notices = Booked

    def setup(self, context: Context) -> None:
        context.database.execute("CREATE TABLE IF NOT EXISTS heard (trace_id TEXT PRIMARY KEY)")

    def notice(self, notice: Booked, context: Context) -> None:
        context.database.execute("INSERT OR IGNORE INTO heard VALUES (?)", (notice.trace_id,))


AGENTS: list[tuple[str, type[Agent[Any]]]] = [
    ("watcher", Watcher),
    ("early", Early),
    ("judge", Judge),
    ("clerk", Clerk),
]


def signals(seed: int) -> list[Signal]:
    """A handful: some are to be decided by a person, a few of them soon, and now and then one is a poison."""
    die = random.Random(seed)
    made = []
    for number in range(SIGNALS):
        wish = die.choices(("", "late", "soon"), (5, 3, 1))[0]
        if seed % 3 == 0 and number == SIGNALS // 2:
            wish = "poison"
        metadata = {"hold": wish} if wish else {}
        made.append(Signal(symbol=f"S{die.randrange(2)}", direction="long", price=number + 1, metadata=metadata))
    return made


def by_a_die(die: random.Random, pending: Pending) -> bool | None:
    """An operator who thinks for a while."""
    assert pending.held is not None
    return die.choice((None, None, None, False, True))


def live(
    seed: int,
    faults: Faults = FAULTS,
    answer: Callable[[random.Random, Pending], bool | None] = by_a_die,
    agents: Sequence[tuple[str, type[Agent[Any]]]] = AGENTS,
    **broken: Any,
) -> Report:
    """Run one world to its end, and check every promise."""
    world = Simulation(agents, seed=seed, faults=faults, secrets={"ruling": SECRET}, answer=answer, **broken)
    wanted = signals(seed)
    report = world.run(wanted, most_steps=20_000)
    accepted = list(world.intake_database.execute("SELECT trace_id, symbol, payload FROM signals ORDER BY seq"))
    wishes = {
        trace_id: msgspec.msgpack.decode(payload, type=Signal).metadata.get("hold")
        for trace_id, _, payload in accepted
    }
    held = {trace_id for trace_id, wish in wishes.items() if wish}
    failed = {trace_id for trace_id, outcome in report.outcomes.items() if outcome["status"] == "failed"}
    assert failed == {trace_id for trace_id, wish in wishes.items() if wish == "poison"}
    assert len(report.published) == len(set(report.published)) == len(wanted)
    assert set(report.accepted) <= set(report.outcomes)

    ended = list(world.databases["clerk"][""].execute("SELECT trace_id, symbol, verdict, ruled FROM ended"))
    assert sorted(trace_id for trace_id, _, _, _ in ended) == sorted(report.outcomes)
    for symbol in ("S0", "S1"):  # who is held gives up his place, the others keep theirs
        free = [t for t, s, *_ in ended if s == symbol and t not in held]
        assert free == [t for t, s, _ in accepted if s == symbol and t not in held]
    for trace_id, _, verdict, ruled in ended:
        assert report.outcomes[trace_id]["status"] == verdict
        assert bool(ruled) == (trace_id in held and verdict != "failed"), "the ruling goes to the end"
    for trace_id, approved in report.rulings.items():  # what the operator was told stands
        verdict = report.outcomes[trace_id]["status"]
        assert verdict in ("approved" if approved else "refused", "failed")
    for trace_id in held:
        outcome = report.outcomes[trace_id]
        assert outcome["status"] in ("approved", "refused", "failed")
        assert outcome["by"] != DEADLINE or outcome["status"] == "refused"
    told = {trace_id for (trace_id,) in world.databases["clerk"][""].execute("SELECT trace_id FROM told")}
    heard = {trace_id for (trace_id,) in world.databases["watcher"][""].execute("SELECT trace_id FROM heard")}
    assert heard <= told
    return report


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_every_promise_holds_where_a_person_must_decide(first: int) -> None:
    for seed in range(first, first + PORTION):
        run_named(seed)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SOAK_SEEDS, 2_000))
def test_every_promise_holds_where_a_person_must_decide_in_very_many_schedules(first: int) -> None:
    for seed in range(first, first + 2_000):
        run_named(seed)


def run_named(seed: int) -> None:
    """Run one seed; a failure names it."""
    try:
        live(seed)
    except Exception as error:
        error.add_note(f"repeat it with: python -c 'from tests.ark.test_holding import live; live({seed})'")
        raise


def test_the_schedules_are_not_idle() -> None:
    """Approvals, refusals, deadlines, dead letters and deaths all occur."""
    reports = [live(seed) for seed in range(30)]
    outcomes = [outcome for report in reports for outcome in report.outcomes.values()]
    assert {outcome["status"] for outcome in outcomes} == {"free", "approved", "refused", "failed"}
    assert {"operator", DEADLINE} <= {outcome["by"] for outcome in outcomes}
    assert sum(report.kills for report in reports) > 150


def test_where_nobody_ever_answers_the_deadline_does() -> None:
    class Hurried(Judge):
        late_s = SOON_S

    agents = [(name, Hurried if each is Judge else each) for name, each in AGENTS]
    for seed in range(1, 30):
        report = live(seed, answer=lambda die, pending: None, agents=agents)
        asked = [each for each in report.outcomes.values() if each["status"] in ("approved", "refused")]
        assert {each["by"] for each in asked} <= {DEADLINE}
        assert report.rulings == {}


class Halting(Early):
    """Halts at the first signal that it sees."""

    def handle(self, message: Passed, context: Context) -> Passed:
        if context.halted() is None:
            context.halt(f"at {context.trace_id}")
        assert context.halted() is not None
        return super().handle(message, context)


def test_a_simulated_halt_stands_for_every_agent_and_outlives_them_all() -> None:
    agents = [(name, Halting if each is Early else each) for name, each in AGENTS]
    for seed in range(1, 10):
        world = Simulation(agents, seed=seed, faults=FAULTS, secrets={"ruling": SECRET}, answer=by_a_die)
        report = world.run(signals(seed), most_steps=20_000)
        assert world.halt_reason in {f"at {trace_id}" for trace_id in report.outcomes}


class Unruly(Stage):
    """Forgets the ruling where it answers from its journal."""

    def _recorded(self, envelope: Envelope) -> Any:
        self.is_recorded = super()._recorded(envelope)
        return self.is_recorded

    def _onward(self, envelope: Envelope, payload: msgspec.Raw, *, spans: Any) -> tuple[str, Envelope]:
        if envelope.attempt > 1 and getattr(self, "is_recorded", None):
            envelope = msgspec.structs.replace(envelope, ruling=None)
        self.is_recorded = None
        return super()._onward(envelope, payload, spans=spans)


class Impatient(Stage):
    """Takes signals whether its agent is ready or not."""

    def setup(self) -> None:
        super().setup()
        self._may_wait = False


class Latecomer(Dispatcher):
    """Parks whatever is held, however old, and also what is ruled."""

    def hold(self, trace_id: str, epoch: int, held: Held) -> Pending | None:
        pending = self.find(trace_id)
        if pending is not None:
            pending.ruling = None
            pending.sent_in = epoch = self.epoch
        return super().hold(trace_id, epoch, held)


class LateDoor(Door):
    """A door whose dispatcher is a `Latecomer`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.dispatcher.__class__ = Latecomer


class Rash(Door):
    """Tells the operator that his word was taken, and writes it down only in memory."""

    def settle(self) -> list[Any]:
        if self._writing and self.intake.connection.execute("SELECT 1 FROM held").fetchone():
            self.intake.connection.execute("UPDATE held SET ruling = NULL")
        return super().settle()


class Sleepy(Door):
    """Never looks at the clock."""

    def expire(self, now: float) -> list[Pending]:
        return []


class Restless(Door):
    """Sends again, at each epoch, what waits for a person."""

    def hold(self, envelope: Envelope, now: float) -> Pending | None:
        return None if envelope.kind == HELD else super().hold(envelope, now)


@pytest.mark.parametrize(
    ("broken", "answer"),
    [
        pytest.param({"stage": Unruly}, by_a_die, id="does not hand the ruling on with a recorded answer"),
        pytest.param({"stage": Impatient}, by_a_die, id="does not wait for an agent that is not ready"),
        pytest.param({"door": LateDoor}, by_a_die, id="parks again what is ruled, on a late word"),
        pytest.param({"door": Rash}, by_a_die, id="does not write the ruling down"),
        pytest.param({"door": Sleepy}, lambda die, pending: None, id="lets deadlines pass"),
        pytest.param({"door": Restless}, by_a_die, id="does not hear that a signal is held"),
    ],
)
def test_breaking_a_guarantee_of_held_signals_is_found(
    broken: dict[str, Any], answer: Callable[[random.Random, Pending], bool | None]
) -> None:
    assert first_failure(broken, answer) is not None


def first_failure(broken: dict[str, Any], answer: Callable[[random.Random, Pending], bool | None]) -> int | None:
    """The first seed in which something broken on purpose shows."""
    for seed in range(ENOUGH_TO_FIND):
        try:
            live(seed, answer=answer, **broken)
        except Exception:  # noqa: BLE001 - whatever it is, it was found
            return seed
    return None
