"""The soak: random faults one after the other for a long time, and at the end everything is as flat as it began."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.report import Row
from tests.chaos.scene import Scene, scene

__all__ = ["Holdings", "flat", "soak"]

WATCHDOG = "max_quarantines = 1000\n"
"""The third quarantine of an agent within an hour would halt trading."""
APART = 4
"""As many other faults come before the same one again: its alert has to be over, or it would not be told anew."""
SAMPLES = 5
MEMORY_MIB = 32
MEMORY_SHARE = 0.15
DESCRIPTORS = 24
"""By so much may the whole tree hold more at the end: each process has had another life meanwhile."""


@dataclass(frozen=True)
class Holdings:
    """What all processes of a node hold together.

    Attributes:
        memory_mib: Proportional memory.
        descriptors: Open descriptors.
    """

    memory_mib: float
    descriptors: float


def soak(seconds: float, seed: int, play: Callable[[Fault, Scene], Row], tell: Callable[[Row], None]) -> list[Row]:
    """Play random faults for so long, in one scene.

    Args:
        seconds: How long.
        seed: What everything random comes from.
        play: Plays one fault.
        tell: Called with each row as it comes.

    Returns:
        One row for each kind of fault, and one for the whole.
    """
    die = random.Random(seed)
    faults = [each for each in FAULTS if not each.alone and not each.missing()]
    rows: list[Row] = []
    samples: list[Holdings] = []
    lately: list[Fault] = []
    with scene(seed, WATCHDOG) as played:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            fault = die.choice([each for each in faults if each not in lately])
            lately = [*lately, fault][-APART:]
            rows.append(play(fault, played))
            tell(rows[-1])
            samples.append(holdings(played))
            if played.one.process is None or played.one.process.poll() is not None:
                break  # the node is down for good, as the last row tells
        count = played.count()
    differs = [count.broken] if count.broken else []
    differs += flat(samples)
    whole = Row(
        "the whole soak",
        "every promise holds; memory and descriptors are flat",
        summary(samples, len(rows)),
        lost=count.lost,
        doubled=count.doubled,
        differs="; ".join(differs),
        repeat=f"python -m tests.chaos --seed {seed} --soak {seconds:g}",
    )
    return [*merged(rows), whole]


def holdings(played: Scene) -> Holdings:
    """What the node holds now; the load rests."""
    memory = descriptors = 0
    for pid in played.one.pids():
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    memory += int(line.split()[1])
            descriptors += psutil.Process(pid).num_fds()
        except (OSError, psutil.Error):
            continue
    return Holdings(memory / 1024, descriptors)


def flat(samples: list[Holdings]) -> list[str]:
    """What has grown between the first samples and the last ones, in words; the very first is left out.

    Args:
        samples: In order, each taken at rest.
    """
    if len(samples) < 2 * SAMPLES + 1:
        return []
    first, last = typical(samples[1 : SAMPLES + 1]), typical(samples[-SAMPLES:])
    grown = []
    if last.memory_mib > first.memory_mib * (1 + MEMORY_SHARE) + MEMORY_MIB:
        grown.append(f"memory has grown from {first.memory_mib:.0f} to {last.memory_mib:.0f} MiB")
    if last.descriptors > first.descriptors + DESCRIPTORS:
        grown.append(f"open descriptors have grown from {first.descriptors:.0f} to {last.descriptors:.0f}")
    return grown


def typical(samples: list[Holdings]) -> Holdings:
    """The median of some samples."""
    return Holdings(
        statistics.median(each.memory_mib for each in samples),
        statistics.median(each.descriptors for each in samples),
    )


def summary(samples: list[Holdings], faults: int) -> str:
    """What the node held at the beginning and at the end."""
    if len(samples) < 2:
        return f"{faults} faults"
    first, last = typical(samples[1 : SAMPLES + 1]), typical(samples[-SAMPLES:])
    return (
        f"{faults} faults; {first.memory_mib:.0f} -> {last.memory_mib:.0f} MiB,"
        f" {first.descriptors:.0f} -> {last.descriptors:.0f} descriptors"
    )


def merged(rows: list[Row]) -> list[Row]:
    """One row for each kind of fault: how often it came, and the worst of what came of it."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.fault, []).append(row)
    return [
        replace(
            same[0],
            observed=f"{len(same)} times",
            noticed_s=max((each.noticed_s for each in same if each.noticed_s is not None), default=None),
            recovered_s=max((each.recovered_s for each in same if each.recovered_s is not None), default=None),
            lost=sum(each.lost for each in same),
            doubled=sum(each.doubled for each in same),
            differs="; ".join(each.differs for each in same if each.differs),
        )
        for same in found.values()
    ]
