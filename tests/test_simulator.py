"""Thousands of crash schedules, and proof that they would find what they are meant to find."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from ark.errors import ArkError
from ark.intake import Intake
from ark.journal import Journal
from ark.message import Envelope
from ark.simulator import Faults
from ark.stage import Stage
from tests.node import ROOT
from tests.promises import figures_agree
from tests.worlds import database, digest, live, live_with_letters

SEEDS = 45
PORTION = 15
COUNTED_SEEDS = 8
SOAK_SEEDS = 200_000
ENOUGH_TO_FIND = 400


@pytest.mark.parametrize("first", range(0, SEEDS, PORTION))
def test_every_promise_holds_in_every_schedule(first: int) -> None:
    for seed in range(first, first + PORTION):
        run_named(seed)


def test_what_the_agents_count_is_what_the_ledger_says_whoever_died(tmp_path: Path) -> None:
    kills = 0
    for seed in range(COUNTED_SEEDS):
        pages = tmp_path / str(seed)
        pages.mkdir()
        world, report = live(seed, Faults(kills=40, crash_chance=0.03), pages=pages)
        kills += report.kills
        figures_agree(partial(database, world), pages, exact=True)
    assert kills >= 40 * COUNTED_SEEDS


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS + SOAK_SEEDS, 2_000))
def test_every_promise_holds_in_very_many_schedules(first: int) -> None:
    for seed in range(first, first + 2_000):
        run_named(seed)


@pytest.mark.parametrize("first", range(0, SEEDS // 10, PORTION // 5))
def test_an_operator_deals_with_dead_letters_in_every_schedule(first: int) -> None:
    retries = 0
    for seed in range(first, first + PORTION // 5):
        try:
            retries += len(live_with_letters(seed).retries)
        except (AssertionError, ArkError, ValueError) as error:
            error.add_note(f"the seed is {seed}")
            raise
    assert retries > 0


def test_without_the_look_at_the_order_a_schedule_shows_something_executed_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ark.simulator.obstacle", lambda letter: "")
    with pytest.raises(AssertionError, match="nothing is retried of which there is an order"):
        all(live_with_letters(seed) for seed in range(ENOUGH_TO_FIND))


def run_named(seed: int) -> None:
    """Run one seed; a failure names it."""
    try:
        live(seed)
    except (AssertionError, ArkError, ValueError) as error:
        error.add_note(f"repeat it with: python -c 'from tests.worlds import live; live({seed})'")
        raise


def test_a_seed_is_repeated_exactly_in_another_process() -> None:
    script = (
        "import hashlib; from tests.worlds import digest, live; "
        "print(hashlib.sha256(digest(live(11)[1])).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONPATH": str(ROOT)}
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == hashlib.sha256(digest(live(11)[1])).hexdigest()


class Late:
    """Lets out what was not committed: its commits happen at the next occasion."""

    connection: apsw.Connection

    def begin(self, **how: bool) -> None:
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        return


class LateJournal(Late, Journal):
    """Sends answers before they are committed."""


class LateIntake(Late, Intake):
    """Acknowledges signals before they are committed."""


class EpochBlind(Stage):
    """Handles whatever comes, however old."""

    def admit(self, envelopes: Iterator[Envelope]) -> list[Envelope]:  # type: ignore[override]
        return list(envelopes)


class Untold(Stage):
    """Is not told the epoch in which it is started."""

    def setup(self) -> None:
        self.epoch = 0
        super().setup()


class Sleepwalker(Stage):
    """Forgets that a trace can come again: treats each envelope as the first."""

    def admit(self, envelopes: Iterator[Envelope]) -> list[Envelope]:  # type: ignore[override]
        admitted = super().admit(envelopes)
        return [Envelope(e.kind, e.trace_id, e.symbol, e.seq, e.epoch, 1, e.payload, e.spans) for e in admitted]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"journal": LateJournal}, id="sends before the commit"),
        pytest.param({"intake": LateIntake}, id="acknowledges before the commit"),
        pytest.param({"stage": EpochBlind}, id="drops the epoch check"),
        pytest.param({"stage": Untold}, id="does not tell a new process its epoch"),
        pytest.param({"stage": Sleepwalker}, id="does not answer from the journal"),
        pytest.param({"forgetful": frozenset({"hrm"})}, id="forgets HRM's journal"),
        pytest.param({"forgetful": frozenset({"kenny"})}, id="forgets Kenny's journal"),
        pytest.param({"forgetful": frozenset({"aletheia"})}, id="forgets the ledger"),
    ],
)
def test_breaking_a_guarantee_is_found(broken: dict[str, object]) -> None:
    assert first_failure(broken) is not None


def first_failure(broken: dict[str, object]) -> int | None:
    """The first seed in which something broken on purpose shows."""
    for seed in range(ENOUGH_TO_FIND):
        try:
            live(seed, **broken)
        except Exception:  # noqa: BLE001 - whatever it is, it was found
            return seed
    return None
