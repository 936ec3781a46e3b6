"""What seeing costs: throughput and latency with and without it, a scrape, and a tree that has nothing to do.

Usage: python -m tests.benchmarks.instrumentation [--signals N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import tests.node
from tests.benchmarks import measure
from tests.chaos.test_kills import FAST_HANDS, made_up_signals
from tests.node import ROOT, Node, wait_until

OFF = FAST_HANDS + "\n[metrics]\nenabled = false\n"
EXTRA = ("before_hrm", "before_kenny", "before_ledger")
LARGE = FAST_HANDS + "".join(
    [
        '\n[pipeline]\nagents = ["kyle", "joey", "before_hrm", "hrm", "before_kenny", "kenny", "before_ledger",'
        ' "aletheia"]\n',
        *(
            f'[agents.{name}]\nclass = "tests.benchmarks.passing_agent:Passing"\npath = "{ROOT}"\n'
            for name in EXTRA
        ),
    ]
)
"""Eight agents, so that the tree has thirteen processes."""
SCRAPES = 200
IDLE_S = 30.0
RATE = 200.0


def run(count: int, rounds: int, console: Console) -> dict[str, Any]:
    """All of it, one after the other; runs of a pair follow each other at once, so both meet the same machine."""
    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        found = _compare(Path(folder), count, rounds, console)
        found |= _look_at_large(Path(folder), console)
    return found


def _compare(folder: Path, count: int, rounds: int, console: Console) -> dict[str, Any]:
    signals = list(made_up_signals(count, seed=7))
    arms = {"on": Node(folder / "on", FAST_HANDS), "off": Node(folder / "off", OFF)}
    speeds: dict[str, list[float]] = {"on": [], "off": []}
    works: dict[str, list[float]] = {"on": [], "off": []}
    latencies: dict[str, list[float]] = {"on": [], "off": []}
    memory = {}
    try:
        for one in arms.values():
            one.start()
        for number in range(rounds + 1):
            for name in ("on", "off") if number % 2 else ("off", "on"):
                with console.status(f"instrumentation {name}, round {number} of {rounds}"):
                    before = sum(_times(arms[name]).values())
                    speed, _ = measure.throughput(arms[name], signals)
                    work_us = (sum(_times(arms[name]).values()) - before) / count * 1e6
                    late, _ = measure.latency(arms[name], signals[: int(5 * RATE)], RATE)
                if number:  # the first round warms up
                    speeds[name].append(speed)
                    works[name].append(work_us)
                    latencies[name].append(late["p95"])
        for name, one in arms.items():
            memory[name] = measure.memory(one)["pss_mib"]
    finally:
        for one in arms.values():
            one.stop()
    return {
        "throughput": _medians(speeds),
        "processor_us": _medians(works),
        "p95_ms": _medians(latencies),
        "memory_mib": {**memory, "ratio": memory["on"] / memory["off"]},
    }


def _medians(samples: dict[str, list[float]]) -> dict[str, float]:
    """The median of each arm, and that of the ratios of the pairs."""
    ratios = [on / off for on, off in zip(samples["on"], samples["off"], strict=True)]
    return {**{name: statistics.median(each) for name, each in samples.items()}, "ratio": statistics.median(ratios)}


def _look_at_large(folder: Path, console: Console) -> dict[str, Any]:
    one = Node(folder / "large", LARGE)
    try:
        one.start()
        with console.status("scrapes"):
            measure.throughput(one, list(made_up_signals(2_000, seed=8)))
            samples, size = _scrapes(f"http://{one.metrics}/metrics")
        children = len(one.status()["children"])
    finally:
        one.stop()
    idle = Node(folder / "idle", "")
    try:
        idle.start()
        with console.status(f"{IDLE_S:.0f} s of nothing to do"):
            share = _idle(idle)
        processes = len(idle.pids())
    finally:
        idle.stop()
    return {
        "scrape_ms": measure.percentiles(samples),
        "scrape_bytes": size,
        "scrape_children": children,
        "idle_share_of_core": share,
        "idle_processes": processes,
    }


def _scrapes(address: str) -> tuple[list[float], int]:
    samples, size = [], 0
    for _ in range(SCRAPES):
        began = time.perf_counter()
        with urllib.request.urlopen(address, timeout=10) as answer:
            size = len(answer.read())
        samples.append(time.perf_counter() - began)
    return samples, size


def _idle(one: Node) -> dict[str, float]:
    """Each process's share of one core, and that of all."""
    until = time.monotonic() + 10.0
    wait_until(lambda: time.monotonic() > until, "what a start leaves to do is done")
    before, began = _times(one), time.perf_counter()
    time.sleep(IDLE_S)
    took_s = time.perf_counter() - began
    after = _times(one)
    shares = {name: (after[name] - before[name]) / took_s for name in before.keys() & after.keys()}
    return {"all": sum(shares.values()), **dict(sorted(shares.items(), key=lambda each: -each[1]))}


def _times(one: Node) -> dict[str, float]:
    """Seconds of processor time by process."""
    found = {}
    for pid in one.pids():
        process = psutil.Process(pid)
        line = " ".join(process.cmdline())
        name = line.split()[1] if line.startswith("ark: ") else f"{process.name()} {pid}"
        times = process.cpu_times()
        found[name] = times.user + times.system
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print tables."""
    table = Table(title="instrumentation")
    for heading in ("", "on", "off", "on / off"):
        table.add_column(heading, justify="left" if not heading else "right")
    for text, key, digits in (
        ("signals/s", "throughput", 0),
        ("processor time of a signal, us", "processor_us", 0),
        (f"p95 at {RATE:.0f}/s, ms", "p95_ms", 2),
        ("memory (proportional), MiB", "memory_mib", 0),
    ):
        each = found[key]
        table.add_row(text, f"{each['on']:,.{digits}f}", f"{each['off']:,.{digits}f}", f"{each['ratio']:.3f}")
    console.print(table)
    scrape = found["scrape_ms"]
    console.print(
        f"a scrape of {found['scrape_children']} children, {found['scrape_bytes'] / 1024:.0f} KiB:"
        f" p50 {scrape['p50']:.1f} ms, p95 {scrape['p95']:.1f} ms, max {scrape['max']:.1f} ms"
    )
    shares = dict(found["idle_share_of_core"])
    whole = shares.pop("all")
    parts = ", ".join(f"{name} {share:.2%}" for name, share in list(shares.items())[:5])
    console.print(f"idle, {found['idle_processes']} processes: {whole:.2%} of one core ({parts})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=5_000, help="how many for each run (5000)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (5)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tests.node.FORKS = False  # what users start imports everything itself
    console = Console(stderr=arguments.json)
    found = run(arguments.signals, arguments.rounds, console)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, console)


if __name__ == "__main__":
    main()
