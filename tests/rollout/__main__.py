"""`make rollouts`: canaries with planted faults, flips of all traffic, and killing, on real nodes under load.

Exit code 0: each fault was found and turned back, nothing lost, nothing doubled, no order out of turn. 1: something
differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.rollout.fair import both, good
from tests.rollout.faults import LIVE, play
from tests.rollout.flips import flip
from tests.rollout.kills import CASTS, kill_once
from tests.rollout.scene import Rollouts, percentile, rollouts

KILLING = """
[watchdog]
interval_s = 1.0
missed = 10
answers.failures = "warn"
answers.failure_rate = "warn"
max_restarts_per_min = 100000

[supervision]
intensity = 100000
"""
"""So that nobody is isolated for dying so often."""


def main() -> int:
    """Play what is asked for; gives the exit code."""
    parts: dict[str, Callable[[argparse.Namespace], list[str]]] = {
        "faults": faults,
        "fair": lambda arguments: fairness(arguments.seed),
        "flips": flips,
        "kills": kills,
    }
    parser = argparse.ArgumentParser(prog="python -m tests.rollout", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what everything random comes from (1)")
    parser.add_argument("--only", choices=sorted(parts), help="only this part")
    parser.add_argument("--fault", default="", help="of the faults, those whose name has this in it")
    parser.add_argument("--flips", type=int, default=200, help="how often all traffic goes there and back (200)")
    parser.add_argument("--kills", type=int, default=100, help="at how many moments somebody is killed (100)")
    arguments = parser.parse_args()
    differing = [each for name, part in parts.items() if arguments.only in (None, name) for each in part(arguments)]
    for each in differing:
        say(f"DIFFERS: {each}")
    return 1 if differing else 0


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def faults(arguments: argparse.Namespace) -> list[str]:
    """Every planted fault."""
    differing, detected, zero = [], [], []
    with rollouts(seed=arguments.seed) as played:
        for planted in LIVE:
            if arguments.fault not in planted.name:
                continue
            row = play(played, planted)
            say(
                f"{row.name:32} detected {row.detected_s:6.2f} s, zero {row.zero_s:5.3f} s, {row.decided:5} of the"
                f" canary's, {row.why[:90]} {row.differs and 'DIFFERS ' + row.differs}"
            )
            if row.differs:
                differing.append(f"{row.name}: {row.differs}")
            else:
                detected.append(row.detected_s)
                zero.append(row.zero_s)
        differing += audited(played)
    say(
        f"faults: detected p50 {percentile(detected, 0.5):.2f} s, p99 {percentile(detected, 0.99):.2f} s;"
        f" from the verdict to zero p50 {percentile(zero, 0.5):.3f} s, p99 {percentile(zero, 0.99):.3f} s"
    )
    return differing


def fairness(seed: int) -> list[str]:
    """What must not be turned back, or not as the canary's fault."""
    differing = []
    for name, differs in (*good(seed), *both(seed)):
        say(f"{name} {differs and 'DIFFERS ' + differs}")
        if differs:
            differing.append(f"{name}: {differs}")
    return differing


def flips(arguments: argparse.Namespace) -> list[str]:
    """All traffic of three agents, there and back."""
    with rollouts(seed=arguments.seed) as played:
        releases = {role: played.plant(role, "good") for role in ("joey", "hrm", "kenny")}
        seen = flip(played, releases, arguments.flips)
        differing = audited(played)
    say(
        f"flips: {seen.count} of {len(releases)} agents, {seen.decided} signals decided by canaries; back: p50"
        f" {percentile(seen.back_s, 0.5):.3f} s, p99 {percentile(seen.back_s, 0.99):.3f} s, longest"
        f" {max(seen.back_s):.3f} s; there: p50 {percentile(seen.there_s, 0.5):.3f} s"
    )
    if percentile(seen.back_s, 0.99) >= 1.0:
        differing.append("flips: the canaries went on deciding for a second and more")
    return differing


def kills(arguments: argparse.Namespace) -> list[str]:
    """Somebody killed at random moments of rollouts."""
    differing, ends = [], Counter[str]()
    die = random.Random(arguments.seed)
    with rollouts(KILLING, seed=arguments.seed, rate=100.0) as played:
        release = played.plant("joey", "good")
        began = time.time()
        for number in range(arguments.kills):
            killed = kill_once(played, release, die.choice(CASTS))
            ends[f"{killed.at} -> {killed.end}"] += 1
            say(
                f"{number + 1:3} {killed.cast} in {killed.at}: {killed.end} after {killed.took_s:.1f} s"
                f" {killed.differs and 'DIFFERS ' + killed.differs}"
            )
            if killed.differs:
                differing.append(f"kill {number + 1} ({killed.cast} in {killed.at}): {killed.differs}")
                if killed.end == "?":
                    break
        say(f"kills: {sum(ends.values())} in {time.time() - began:.0f} s: {dict(ends)}")
        late = played.after_its_lease("joey")
        if late:
            differing.append(f"{len(late)} signals were decided by a canary after the lease: {late[:3]}")
        differing += audited(played)
    return differing


def audited(played: Rollouts) -> list[str]:
    """What an audit of the stopped node finds."""
    try:
        played.settle()
        assert played.one.stop() == 0, "the node did not stop in order"
        say(f"audit: {dict(played.audit())}")
    except AssertionError as error:
        return [f"audit: {error or error.__traceback__}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
