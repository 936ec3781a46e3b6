"""`make bench`: what ARK costs beside the yardsticks, in one run on one machine.

Usage: python -m tests.benchmarks [--signals N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import tests.node
from tests.benchmarks import instrumentation, judging, measure, relay
from tests.chaos.test_kills import FAST_HANDS, made_up_signals
from tests.node import Node

SINGLE_INCIDENTS = """
[supervision]
stable_s = 0.001
"""
"""Each kill is an incident of its own: no back-off from the one before is measured."""
AGENTS = ("kyle", "joey", "hrm", "kenny", "aletheia")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=20_000, help="how many for throughput (20000)")
    parser.add_argument("--kills", type=int, default=10, help="how often each agent is killed (10)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tests.node.FORKS = False  # what users start imports everything itself
    console = Console(stderr=arguments.json)
    found = run(arguments.signals, arguments.kills, console)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, console)


def run(count: int, kills: int, console: Console) -> dict[str, Any]:
    """All measurements, one after the other."""
    signals = list(made_up_signals(count, seed=7))
    named = [{**each, "trace_id": str(uuid.uuid4())} for each in signals]
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "signals": count}
    with console.status("judging"):
        found["judging"] = judging.run(rounds=3)
    with console.status("yardsticks"):
        found["raw"] = relay.throughput(named, commit=False)
        found["raw_with_commit"] = relay.throughput(named, commit=True)
        for rate in (100, 1_000):
            samples = relay.latency(named[: 5 * rate], rate, commit=True)
            found[f"latency_{rate}_raw_with_commit"] = measure.percentiles(samples)
    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        one = Node(Path(folder) / "home", FAST_HANDS + SINGLE_INCIDENTS)
        with console.status("start"):
            began = time.perf_counter()
            one.start()
            found["ready_s"] = time.perf_counter() - began
            found["memory_idle"] = measure.memory(one)
        try:
            with console.status("latency"):
                found["latency_100"], found["hrm_100"] = measure.latency(one, signals[:500], 100.0)
                found["latency_1000"], found["hrm_1000"] = measure.latency(one, signals[:5_000], 1_000.0)
            with console.status("throughput"):
                found["ark"], found["ended"] = measure.throughput(one, signals)
            found["memory_after"] = measure.memory(one)
            with console.status("recovery"):
                found["recovery"] = {name: measure.recovery(one, name, signals[:kills]) for name in AGENTS}
        finally:
            one.stop()
    found["instrumentation"] = instrumentation.run(5_000, 5, console)
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print tables."""
    judging.show(found["judging"], console)
    table = Table(title=f"{found['signals']} signals through five processes on {found['cores']} cores")
    for heading in ("", "messages/s", "of raw"):
        table.add_column(heading, justify="left" if not heading else "right")
    for text, key in (
        ("(a) raw pyzmq + msgpack", "raw"),
        ("(b) the same, one SQLite commit a batch", "raw_with_commit"),
        ("(c) ARK, inject to outcome, all guarantees", "ark"),
    ):
        table.add_row(text, f"{found[key]:,.0f}", f"{found[key] / found['raw']:.0%}")
    console.print(table)
    console.print(f"outcomes in (c): {found['ended']}")
    table = Table(title="milliseconds")
    for heading in ("", "p50", "p95", "p99", "max"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = [
        ("(b) at 100/s", found["latency_100_raw_with_commit"]),
        ("(c) at 100/s", found["latency_100"]),
        ("(b) at 1,000/s", found["latency_1000_raw_with_commit"]),
        ("(c) at 1,000/s", found["latency_1000"]),
        ("of it HRM, judging, at 100/s", found["hrm_100"]),
        ("of it HRM, judging, at 1,000/s", found["hrm_1000"]),
    ]
    rows += [(f"kill -9 {name} to the next outcome", each) for name, each in found["recovery"].items()]
    for text, each in rows:
        table.add_row(text, *(f"{each[key]:.2f}" for key in ("p50", "p95", "p99", "max")))
    console.print(table)
    instrumentation.show(found["instrumentation"], console)
    idle, after = found["memory_idle"], found["memory_after"]
    console.print(f"start to ready: {found['ready_s']:.2f} s")
    console.print(
        f"memory (proportional) of {idle['processes']} processes: {idle['pss_mib']:.0f} MiB idle,"
        f" {after['pss_mib']:.0f} MiB after the run"
    )


if __name__ == "__main__":
    main()
