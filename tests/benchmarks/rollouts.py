"""How rollouts end, on a virtual clock: the whole state machine with the real judge, on made-up traffic.

Usage: python -m tests.benchmarks.rollouts [--deployments N] [--faulty N] [--seed S] [--jobs J] [--hurried] [--json]

Healthy deployments first, of a release that does what the old one does: how many does the judge roll back? The
original's tripwires look at the same streams beside it. Then releases that are 1.5, 2, 3, 5 and 10 times worse: how
long does it take? It fails if more healthy ones are rolled back than 1 % and three standard errors.

The traffic is made to be hard: its rate follows the day, tenfold from night to noon; symbols differ in size and in
how often they are denied; now and then one symbol is denied a hundred times in half a minute; in half of all
deployments the market changes, and everything is denied, or decided otherwise by a noisy role, more or less often
from one moment on; outcomes come late; the deploy actor dies and is away for a while. All of it happens to both
arms alike, since neither is to blame.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from rich.console import Console
from rich.status import Status
from rich.table import Table

import deployment.weighing
from ark.deploy_settings import DeployConfig
from deployment.desired import Shares
from deployment.judge import judge
from deployment.plan import Plan, make_plan
from deployment.progress import Inputs, TaskResult, Word, create, is_over
from deployment.rollout import desired, observed, step
from deployment.samples import Counts, Facts, Pairs, Segment
from deployment.tripwires import Look, Tripwires, check
from deployment.verdict import Policy, Verdict

Evidence = Literal["exact", "noisy", "declared", "counts", "keyed"]
Row = np.ndarray[Any, np.dtype[Any]]
Fault = Literal["", "denied", "slow", "broken"]
EVIDENCE: tuple[Evidence, ...] = ("exact", "noisy", "declared", "counts")
FAULTS: tuple[tuple[Fault, Evidence], ...] = (
    *(("denied", "exact"), ("denied", "noisy"), ("denied", "counts")),
    *(("slow", "noisy"), ("slow", "counts"), ("broken", "exact")),
)
RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
ROLE = "hrm"
SYMBOLS = 40
START = 1_790_000_000.0
STEP_S = 5.0
TRIPWIRES = Tripwires()
_COUNTS = Counts.__struct_fields__
_PAIRS = Pairs.__struct_fields__


class Case(msgspec.Struct, frozen=True):
    """One deployment to simulate.

    Attributes:
        seed: What all of its traffic comes from.
        evidence: `exact`: the role decides the same when asked twice. `noisy`: it does not always. `declared`: it
            decides otherwise as the release declares. `counts`: its decisions are not compared, and only each
            arm's own signals speak, each assigned by itself. `keyed`: the same, but symbols are assigned, so that
            the arms have different ones.
        fault, ratio: What the release does so many times as often as the old one; empty for a healthy one.
        hurried: Whether to take a short plan and much traffic, as tests do.
    """

    seed: int
    evidence: Evidence
    fault: Fault = ""
    ratio: float = 1.0
    hurried: bool = False


class End(msgspec.Struct, frozen=True):
    """How a deployment ended.

    Attributes:
        state: The last state.
        failed: Whether it was the judge who rolled it back.
        why: For which reason it ended.
        seconds: How long it took, for one that was rolled back from the first signal that the canary was shown.
        signals: How many signals had come by then.
        tripped: Whether the original's tripwires would have rolled it back by then.
        tripped_s: After how long.
    """

    state: str
    failed: bool
    why: str
    seconds: float
    signals: int
    tripped: bool
    tripped_s: float


class Market:
    """Traffic, a tick at a time, the same for all arms."""

    def __init__(self, case: Case, tick_s: float) -> None:
        self.random = draw = np.random.default_rng(case.seed)
        self.tick_s = tick_s
        self.length_s = 400.0 if case.hurried else 3600.0
        self.rate = _spread(draw, 2, 20) * (5 if case.hurried else 1)
        self.phase = draw.uniform(0, 86_400)
        weights = 1 / np.arange(1, SYMBOLS + 1) ** draw.uniform(0.3, 0.8)
        self.weights = weights / weights.sum()
        self.buckets = draw.uniform(size=SYMBOLS)
        taste = np.exp(draw.normal(0, 0.3, SYMBOLS))
        self.denied = _spread(draw, 0.005, 0.2) * taste / (taste * self.weights).sum()
        self.slow = _spread(draw, 0.002, 0.02)
        self.broken = 0.002 if case.fault == "broken" else float(draw.choice([0.0, 0.0, 0.0005]))
        self.failed = float(draw.choice([0.0, 0.002]))
        self.flips = _spread(draw, 0.001, 0.01) if case.evidence in ("noisy", "declared") else 0.0
        self.delay = int(draw.choice([0, 1, 2, 4]))
        self.change_at = draw.uniform(0, self.length_s) if draw.random() < 0.5 else math.inf
        self.change = _spread(draw, 0.3, 3)
        self.burst_symbol, self.burst_until, self.mood = 0, -math.inf, 1.0

    def tick(self, at: float) -> tuple[Row, Row]:
        """How many signals each symbol has, and with which chance each of them is denied."""
        draw = self.random
        day = 0.55 + 0.45 * math.sin((at + self.phase) / 86_400 * 2 * math.pi)  # 0.1 to 1
        signals = draw.poisson(self.rate * day * self.tick_s * self.weights)
        self.mood = self.change if at >= self.change_at else 1.0
        chance = np.minimum(self.denied * self.mood, 0.8)
        if at >= self.burst_until and draw.random() < 3 * self.tick_s / self.length_s:
            self.burst_symbol, self.burst_until = int(draw.integers(SYMBOLS)), at + 30
        if at < self.burst_until:
            signals[self.burst_symbol] += draw.poisson(100 * self.tick_s / 30)
            chance[self.burst_symbol] = 0.9
        return signals, chance


class Book:
    """The evidence of one deployment, by routing table; outcomes come into it late."""

    def __init__(self, case: Case, market: Market) -> None:
        self.case = case
        self.market = market
        self.worse = {name: case.ratio if case.fault == name else 1.0 for name in ("denied", "slow", "broken")}
        self.shares: dict[int, Shares] = {}
        self.rows: dict[int, Row] = {}
        self.pairs: dict[tuple[int, str], Row] = {}
        self.coming: list[tuple[int, int, Row]] = []
        self.ticks = 0
        self.signals = 0

    def add(self, generation: int, shares: Shares, signals: Row, chance: Row, *, baked: bool = False) -> None:
        """What became of the signals of one tick.

        Args:
            generation, shares: Of the routing table.
            signals, chance: From `Market.tick`.
            baked: Whether the role itself runs the release that is judged.
        """
        market, draw, worse = self.market, self.market.random, self.worse
        if generation not in self.shares:
            self.shares[generation] = shares
            self.rows[generation] = np.zeros((3, len(_COUNTS)), dtype=np.int64)
        self.ticks += 1
        self.signals += int(signals.sum())
        by_symbol = self._split(shares, signals)
        own = int(by_symbol[2].sum())  # so many the role decided itself
        if baked:  # as the canary, which no arm was asked about
            by_symbol[0] += by_symbol[2]
            by_symbol[2] = 0
        denied = draw.binomial(by_symbol, chance)
        if worse["denied"] > 1:
            denied[0] = draw.binomial(by_symbol[0], np.minimum(chance * worse["denied"], 1.0))
        trials, denied = by_symbol.sum(axis=1), denied.sum(axis=1)
        rates = np.full((3, 3), (market.slow, market.failed, market.slow)).T  # slow, failed, late; by arm
        rates[0, 0] = min(rates[0, 0] * worse["slow"], 1.0)
        breaks = [min(market.broken * worse["broken"], 1.0), market.broken, market.broken]
        broken = draw.binomial(trials, breaks)
        answered = trials - broken
        slow, failed, late = draw.binomial(answered, rates)
        zero = np.zeros(3, dtype=np.int64)
        if not baked:
            asked = np.array((1, 1, 0))  # nobody counts what the role answers
            self.rows[generation] += np.stack((trials, broken, slow, *[zero] * 5), axis=1) * asked[:, np.newaxis]
        outcome = np.stack((*[zero] * 3, answered, np.minimum(denied, answered), failed, late, zero), axis=1)
        self.coming.append((self.ticks + market.delay, generation, outcome))
        while self.coming and self.coming[0][0] <= self.ticks:
            _, then, row = self.coming.pop(0)
            self.rows[then] += row
        if shares.copies and self.case.evidence in ("exact", "noisy", "declared"):
            self._pair(generation, int(signals.sum()), 0 if baked else own, float((signals * chance).sum()))

    def _split(self, shares: Shares, signals: Row) -> Row:
        """Whose signals they are, by arm and symbol. By symbol, unless each signal is assigned by itself."""
        if self.case.evidence == "counts":
            canary = self.market.random.binomial(signals, shares.canary)
            left = signals - canary
            baseline = self.market.random.binomial(left, shares.baseline / max(1 - shares.canary, 1e-9))
            return np.stack((canary, baseline, left - baseline))
        first, second = self.market.buckets < shares.canary, self.market.buckets >= 1 - shares.baseline
        return np.stack((first, second, ~(first | second))) * signals

    def _pair(self, generation: int, total: int, own: int, denied: float) -> None:
        """Signals that both arms saw, and those among them that the role decided as well, with the same code."""
        market, worse = self.market, self.worse
        if (generation, "pairs") not in self.pairs:
            self.pairs[generation, "pairs"] = np.zeros(len(_PAIRS), dtype=np.int64)
            self.pairs[generation, "noise"] = np.zeros(len(_PAIRS), dtype=np.int64)
        slow, broken = market.slow, market.broken
        slow_now, broken_now = min(slow * worse["slow"], 1.0), min(broken * worse["broken"], 1.0)
        more = min((worse["denied"] - 1) * denied / max(total, 1), 1.0)
        flips = market.flips * market.mood
        chances = (
            *(flips / 2, flips / 2, more),
            *(slow_now * (1 - slow), slow * (1 - slow_now), broken_now, broken),
        )
        first, second, more, *rest = market.random.binomial(total, chances).tolist()
        said = first + second if self.case.evidence == "declared" else 0
        different = min(first + second - said + more, total - said)
        self.pairs[generation, "pairs"] += (total, different, said, first + more, second, *rest)
        same = 0 if said else int(market.random.binomial(own, flips))
        self.pairs[generation, "noise"] += (own, same, 0, 0, 0, 0, 0, 0, 0)

    def segments(self) -> list[Segment]:
        """All of it, but for the times without a table."""
        found = []
        for generation, shares in self.shares.items():
            if generation >= 0:
                arms = [Counts(*row) for row in self.rows[generation].tolist()]
                pairs = [
                    Pairs(*self.pairs[generation, name].tolist())
                    for name in ("pairs", "noise")
                    if (generation, name) in self.pairs
                ] or [Pairs(), Pairs()]
                found.append(
                    Segment(ROLE, generation, shares.canary, shares.baseline, *arms, pairs[0], Pairs(), pairs[1])
                )
        return found


def _spread(draw: np.random.Generator, low: float, high: float) -> float:
    """A number between two, any order of magnitude as likely as another."""
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def plan_for(case: Case) -> Plan:
    """The plan that a case is rolled out by: the defaults, but for what cannot be asked of its evidence."""
    options: dict[str, Any] = {"two_people": []}
    if case.hurried:
        options |= {"shadow_s": 20, "baseline_s": 20, "stage_s": 60, "bake_s": 60, "health_interval_s": 0}
        options |= {"stage_deadline_s": 600, "hold_s": 60, "shadow_deadline_s": 300, "baseline_deadline_s": 300}
        options |= {"bake_deadline_s": 600}
    if case.evidence in ("counts", "keyed"):
        options["signals"] = 0
    settings = msgspec.convert(options, DeployConfig)
    return make_plan(f"seed-{case.seed}", {ROLE: "new"}, {ROLE: "old"}, settings=settings)


def simulate(case: Case) -> End:
    """Roll out once."""
    tick_s, looks_every = (10.0, 2) if case.hurried else (30.0, 2)
    if case.fault:
        tick_s, looks_every = 5.0, 2
    market = Market(case, tick_s)
    book = Book(case, market)
    policy = Policy(
        noisy=(ROLE,) if case.evidence == "noisy" else (), split="signal" if case.evidence == "counts" else "key"
    )
    rollout, now = create(plan_for(case), START), START
    rollout, _ = step(rollout, now, Inputs(words=[Word("start")]))
    wanted = desired(rollout, now)
    verdict: Verdict | None = None
    history: tuple[Look, ...] = ()
    tripped_s, since, ticks, away = math.inf, START, 0, 0
    while not is_over(rollout):
        ticks += 1
        table = None if away else wanted.table  # its lease is over while the deploy actor is away
        generation = table.generation if table else -1
        part = table.roles[ROLE] if table else Shares()
        book.add(generation, part, *market.tick(now - START), baked=rollout.here == "bake")
        was_away, away = away, max(0, away - 1)
        if market.random.random() < tick_s / market.length_s:
            away = int(market.random.integers(1, 5))
        if was_away and away:
            now += tick_s
            continue
        segments = book.segments()
        if ticks % looks_every == 0:
            verdict = judge(segments, Facts(), (), policy)
        if not case.fault:
            history, said = check(history, segments, Facts(), TRIPWIRES, now=now + tick_s, since=since)
            if said.answer == "fail":
                tripped_s = min(tripped_s, now + tick_s - START)
        seen = observed(rollout, segments)
        for part in range(int(tick_s / STEP_S)):
            now += STEP_S
            inputs = Inputs(
                verdict=verdict,
                warm=wanted.arms,
                running={**wanted.permanent, **wanted.provisional},
                generation=generation if part == 0 or wanted.table is None else wanted.table.generation,
                signals=seen,
                task=TaskResult(wanted.task.kind, wanted.task.attempt, True) if wanted.task else None,
                deployer_restarted=was_away > 0 and part == 0,
            )
            before = rollout
            rollout, _ = step(rollout, now, inputs)
            if rollout.generation != before.generation:
                seen, since = 0, now
            wanted = desired(rollout, now)
            if is_over(rollout):
                break
    ended = next(each for each in rollout.history if each.target in ("aborting", "permanent"))
    return End(
        rollout.state,
        ended.by == "judge",
        ended.why,
        ended.at - START,
        book.signals,
        tripped_s < math.inf,
        tripped_s,
    )


def simulate_all(cases: Sequence[Case], jobs: int, status: Status | None = None) -> list[End]:
    """Roll out all of them, in so many processes, and show how far it is."""
    # How many more signals it takes is for people, and it costs the judge most of its time.
    asked, deployment.weighing.further = deployment.weighing.further, lambda *_: None
    try:
        if jobs == 1:
            return [simulate(case) for case in cases]
        ends = []
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            for end in pool.imap(simulate, cases, chunksize=8):
                ends.append(end)
                if status is not None and len(ends) % 50 == 0:
                    failed = sum(each.failed for each in ends)
                    status.update(f"{len(ends)} of {len(cases)} healthy rollouts, {failed} rolled back")
        return ends
    finally:
        deployment.weighing.further = asked


def healthy(count: int, seed: int, *, hurried: bool = False) -> list[Case]:
    """So many healthy deployments, of all kinds of evidence that a verdict may rest on, in turn."""
    return [Case(seed + index, EVIDENCE[index % len(EVIDENCE)], hurried=hurried) for index in range(count)]


def most(count: int, share: float = 0.01) -> float:
    """How many of so many may be rolled back, by 1 % and three standard errors."""
    return count * share + 3 * math.sqrt(count * share * (1 - share))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=10_000, help="how many healthy ones (10000)")
    parser.add_argument("--faulty", type=int, default=100, help="how many of each fault (100); 0 for none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (one a core)")
    parser.add_argument("--hurried", action="store_true", help="a short plan and much traffic, as tests do")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json)
    cases = healthy(arguments.deployments, arguments.seed, hurried=arguments.hurried)
    with console.status(f"{len(cases)} healthy rollouts") as status:
        ends = simulate_all(cases, arguments.jobs, status)
    found: dict[str, Any] = {"healthy": {}, "faulty": []}
    for evidence in (*EVIDENCE, "all"):
        own = [end for case, end in zip(cases, ends, strict=True) if evidence in (case.evidence, "all")]
        found["healthy"][evidence] = summary(own)
    # Not a claim, and beside it for that: arms with different symbols, and nothing compared.
    keyed = [Case(arguments.seed + index, "keyed", hurried=arguments.hurried) for index in range(len(cases) // 20)]
    found["keyed"] = summary(simulate_all(keyed, arguments.jobs))
    for fault, evidence in FAULTS:
        for ratio in RATIOS if arguments.faulty else ():
            some = [Case(arguments.seed + index, evidence, fault, ratio) for index in range(arguments.faulty)]
            with console.status(f"{fault}, {ratio:g} times, {evidence}"):
                found["faulty"].append(
                    {
                        "fault": fault,
                        "evidence": evidence,
                        "ratio": ratio,
                        **delays(simulate_all(some, arguments.jobs)),
                    }
                )
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, console)
    every = found["healthy"]["all"]
    return 0 if every["failed"] <= most(every["deployments"]) else 1


def summary(ends: Sequence[End]) -> dict[str, Any]:
    """How healthy deployments ended."""
    return {
        "deployments": len(ends),
        "failed": sum(end.failed for end in ends),
        "inconclusive": sum(end.state == "rolled_back" and not end.failed for end in ends),
        "permanent": sum(end.state == "permanent" for end in ends),
        "tripwires": sum(end.tripped for end in ends),
        "median_s": statistics.median(end.seconds for end in ends) if ends else 0.0,
    }


def delays(ends: Sequence[End]) -> dict[str, Any]:
    """How faulty deployments ended, and how long it took to catch those that were caught."""
    caught = sorted(end.seconds for end in ends if end.failed)
    signals = sorted(end.signals for end in ends if end.failed)
    found: dict[str, Any] = {
        "deployments": len(ends),
        "caught": len(caught),
        "inconclusive": sum(end.state == "rolled_back" and not end.failed for end in ends),
        "promoted": sum(end.state == "permanent" for end in ends),
    }
    for name, part in (("median", 0.5), ("p90", 0.9)):
        place = int(part * (len(caught) - 1))
        found[f"{name}_s"] = caught[place] if caught else None
        found[f"{name}_signals"] = signals[place] if caught else None
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print it for people."""
    table = Table("evidence", "deployments", "rolled back", "no verdict", "permanent", "tripwires", "median")
    for name, row in (*found["healthy"].items(), ("keyed", found["keyed"])):
        count = max(row["deployments"], 1)
        shares = [f"{row[key] / count:.2%}" for key in ("failed", "inconclusive", "permanent", "tripwires")]
        table.add_row(name, str(row["deployments"]), *shares, f"{row['median_s'] / 60:.0f} min")
    console.print("Healthy releases; `keyed` is no kind of evidence to rely on, and not among all.", table)
    table = Table("fault", "evidence", "times", "caught", "no verdict", "promoted", "median", "p90", "signals")
    for row in found["faulty"]:
        shares = [f"{row[key] / row['deployments']:.0%}" for key in ("caught", "inconclusive", "promoted")]
        times = [f"{row[key] / 60:.1f} min" if row[key] else "" for key in ("median_s", "p90_s")]
        table.add_row(
            row["fault"], row["evidence"], f"{row['ratio']:g}", *shares, *times, str(row["median_signals"] or "")
        )
    console.print(
        "Releases that are worse by so many times. Less than the judge's limits is promoted rightly.", table
    )


if __name__ == "__main__":
    sys.exit(main())
