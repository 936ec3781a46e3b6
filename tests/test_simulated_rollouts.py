"""Schedules in which arms come and go, and tables change at any moment: every old promise holds all the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors.joey import Joey
from actors.judging import Inputs, bound
from actors.messages import Case
from ark import Context
from ark.arm_worker import Arm
from ark.errors import ArkError
from ark.message import PROPOSAL, Envelope, Proposed, Trial, encode
from ark.simulator import Faults, Simulation
from ark.stage import Stage
from ark.trial_page import Row, TrialPage, differences_in, read_rows
from graveyard import Limits
from tests import worlds
from tests.promises import check_promises
from tests.strangers import changed, otherwise
from tests.worlds import AGENTS, SECRETS, answer, database, live, signals

ARMS = {name: agent for name, agent in AGENTS if agent.splits()}
"""What stands beside each agent: the same once more."""
QUIET = Faults(kills=4, crash_chance=0.01)
"""So few that arms come to decide something: what was sent before is never theirs."""
SEEDS = 8
WILD_SEEDS = 20


def page_of(folder: Path, role: str) -> TrialPage:
    return TrialPage(folder / f"{role}.trials", folder / f"{role}.differences")


def rows_in(folder: Path) -> Iterator[tuple[str, Row]]:
    for role in ARMS:
        for row in read_rows(folder / f"{role}.trials").values():
            yield role, row


def consistent(row: Row) -> None:
    """Nothing is counted that cannot be."""
    assert min(row.values()) >= 0
    for kind in ("pairs", "replayed", "noise"):
        assert row[f"{kind}_compared"] >= row[f"{kind}_different"] + row[f"{kind}_declared"]
        assert row[f"{kind}_compared"] >= row[f"{kind}_broken_first"] + row[f"{kind}_broken_second"]
        assert row[f"{kind}_compared"] >= row[f"{kind}_denied_first"] + row[f"{kind}_denied_second"]


def seeded(seed: int, run: Callable[[], Any]) -> Any:
    """Run one seed; a failure names it."""
    try:
        return run()
    except (AssertionError, ArkError, ValueError) as error:
        error.add_note(f"the seed is {seed}")
        raise


def test_every_promise_holds_while_arms_come_and_go_and_tables_change_at_any_moment(tmp_path: Path) -> None:
    figures: Counter[str] = Counter()
    replayed: Counter[str] = Counter()
    for seed in range(SEEDS):
        pages = tmp_path / str(seed)
        pages.mkdir()
        seeded(seed, lambda: live(seed, QUIET, arms=ARMS, record=partial(page_of, pages)))  # noqa: B023 - run at once
        for role, row in rows_in(pages):
            consistent(row)
            figures.update(row)
            replayed[role] += row["replayed_compared"]
            told = differences_in(pages / f"{role}.differences")
            assert [each for each in told if each["kind"] != "broken"] == [], "the same release decides the same"
    assert min(figures["canary_trials"], figures["baseline_trials"]) > SEEDS
    assert min(figures["pairs_compared"], figures["noise_compared"], figures["replayed_compared"]) > 2 * SEEDS
    assert figures["canary_broken"] > 0
    assert set(+replayed) == set(ARMS)


class Wild(Arm):
    """Answers late, never, twice, in the wrong order, in the name of other epochs, and with anything at all.

    What it is asked in earnest it answers wrongly every other time, in a way that can be read.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.kept: list[tuple[str, Envelope]] = []

    def decide(self, envelope: Envelope, now_ns: int, clock_ns: Callable[[], int]) -> tuple[str, Envelope]:
        role, answer = super().decide(envelope, now_ns, clock_ns)
        die = random.Random(f"{now_ns}{self._name}")
        said = msgspec.msgpack.decode(answer.payload, type=Proposed)
        if msgspec.msgpack.decode(envelope.payload, type=Trial).live and die.random() < 0.5:
            said = msgspec.structs.replace(said, answer=otherwise(die, said.answer))
            return role, msgspec.structs.replace(answer, payload=encode(said))
        kept = self.kept.pop() if self.kept and die.random() < 0.7 else None
        if die.random() < 0.15:
            self.kept.append((role, answer))
            return kept or (
                role,
                msgspec.structs.replace(answer, payload=encode(die.choice([-1, {}, [7, "canary"]]))),
            )
        if kept is not None:
            self.kept.append((role, answer))
            return kept
        if die.random() < 0.5:
            return role, answer
        changes: dict[str, Any] = {
            "answer": lambda: changed(die, said.answer),
            "held": lambda: not said.held,
            "error": lambda: "x" * die.choice((1, 1000)),
            "took_ns": lambda: die.choice((-1, 1 << 62)),
            "version": lambda: die.choice(("", "9" * 1000, "\0")),
            "number": lambda: said.number + die.choice((-1, 1)),
            "arm": lambda: die.choice(("", "canary", "baseline", "stable")),
        }
        for name in die.choices(list(changes), (12, 1, 1, 1, 1, 1, 1), k=die.choice((1, 1, 1, 2))):
            said = msgspec.structs.replace(said, **{name: changes[name]()})
        epoch = envelope.epoch + die.choice((0, 0, 0, 0, -1, 7))
        return role, Envelope(PROPOSAL, "", "", 0, epoch, 0, encode(said))


class Unmoved(Stage):
    """Notes what ends it, but for what is to."""

    fatal: list[Exception] = []

    def process(self, *args: Any, **how: Any) -> Iterator[str]:
        try:
            yield from super().process(*args, **how)
        except Exception as error:
            if not isinstance(error, ZeroDivisionError):
                Unmoved.fatal.append(error)
            raise


def test_every_promise_holds_whatever_arms_say(tmp_path: Path) -> None:
    unapproved = 0
    Unmoved.fatal.clear()
    for seed in range(WILD_SEEDS):
        pages = tmp_path / str(seed)
        pages.mkdir()
        seeded(seed, lambda: run_wild(seed, pages))  # noqa: B023 - run at once
        for _, row in rows_in(pages):
            consistent(row)
            unapproved += row["unapproved"]
    assert unapproved > 0


def run_wild(seed: int, pages: Path) -> None:
    world = Simulation(
        AGENTS,
        seed=seed,
        faults=Faults(kills=2),
        secrets=SECRETS,
        answer=answer,
        arms=ARMS,
        arm=Wild,
        stage=Unmoved,
        record=partial(page_of, pages),
    )
    wanted = signals(seed)
    report = world.run(wanted, most_steps=20_000)
    if Unmoved.fatal:
        raise Unmoved.fatal[0]
    assert len(report.published) == len(set(report.published)) == len(wanted)
    poisoned = [trace_id for trace_id, outcome in report.outcomes.items() if outcome["reason"].startswith("ended ")]
    assert len(poisoned) == (1 if seed % 2 == 0 else 0)
    check_promises(lambda name: database(world, name), excused=poisoned)
    nothing_passes_the_graveyard(world)


def nothing_passes_the_graveyard(world: Simulation) -> None:
    """What was approved is what the Graveyard allows on the very inputs that were judged."""
    judged = dict(database(world, "hrm").execute("SELECT number, body FROM hrm_judged"))
    for (body,) in database(world, "aletheia").execute("SELECT body FROM ledger WHERE status <> 'intervention'"):
        decision = msgspec.msgpack.decode(body)["decision"]
        if decision is not None and decision["approved"]:
            inputs = msgspec.msgpack.decode(judged[decision["number"]], type=Inputs)
            assert bound(inputs, Limits())[0] == "approve"


class Hasty(Joey):
    """Says of every other signal that there is nothing to do."""

    def propose(self, case: Case, context: Context) -> Case:
        said: Case = super().propose(case, context)
        return msgspec.structs.replace(said, setup=None) if int(context.trace_id[:4], 16) % 2 else said


def test_another_decision_is_told_with_its_signal_and_in_pairs(tmp_path: Path) -> None:
    figures: Counter[str] = Counter()
    for seed in range(3):
        arms = {"joey": Hasty}
        seeded(seed, lambda: worlds.live(seed, Faults(), arms=arms, record=partial(page_of, tmp_path)))  # noqa: B023
    for _, row in rows_in(tmp_path):
        consistent(row)
        figures.update(row)
    assert figures["noise_different"] > 0, "it is the role from which both arms differ"
    assert figures["pairs_different"] == 0
    assert {each["path"] for each in differences_in(tmp_path / "joey.differences")} <= {"setup", "answer"}
