"""`make chaos` and `make soak`: faults under load, and a table of what came of each.

Exit code 0: every answer was as expected, nothing lost, nothing doubled. 1: something differs.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ark.errors import ArkError
from tests.chaos.faults import FAULTS, Fault, named, play
from tests.chaos.report import Row, show
from tests.chaos.scene import Scene, scene
from tests.chaos.soak import soak


@dataclass(frozen=True)
class Options:
    """How faults are played; see `tests.chaos.faults.play`."""

    seed: int
    leniency: float
    keep: Path | None

    def play(self, fault: Fault, played: Scene) -> Row:
        """Play one."""
        return play(fault, played, repeat=self.command(fault), leniency=self.leniency, keep=self.keep)

    def play_quickly(self, fault: Fault, played: Scene) -> Row:
        """Play one of very many, and count; the promises are checked at the end of all."""
        repeat = self.command(fault)
        return play(fault, played, repeat=repeat, leniency=self.leniency, keep=self.keep, thorough=False)

    def command(self, fault: Fault) -> str:
        """The command line that repeats a fault."""
        return f"python -m tests.chaos --seed {self.seed} --fault {fault.name}"


def main() -> int:
    """Play the faults that are asked for; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what everything random comes from (1)")
    parser.add_argument(
        "--fault", action="append", metavar="NAME", choices=[each.name for each in FAULTS], help="only this one"
    )
    parser.add_argument(
        "--soak", type=float, metavar="SECONDS", help="random faults for so long, memory and descriptors at the end"
    )
    parser.add_argument("--list", action="store_true", help="print the names of all faults, and end")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="put a copy of the node's files there if it differs"
    )
    parser.add_argument(
        "--leniency", type=float, default=1.0, metavar="X", help="bear X times the delays, on a busy machine (1)"
    )
    arguments = parser.parse_args()
    if arguments.list:
        print(*(each.name for each in FAULTS), sep="\n")
        return 0
    console = Console(width=None if sys.stdout.isatty() else 180)
    wanted = [named(each) for each in arguments.fault] if arguments.fault else list(FAULTS)
    options = Options(arguments.seed, arguments.leniency, arguments.keep)
    if arguments.soak is not None:
        rows = soak(arguments.soak, arguments.seed, options.play_quickly, tell)
    else:
        rows = []
        for row in played(wanted, options):
            rows.append(row)
            tell(row)
    show(rows, console)
    return 1 if any(row.differs for row in rows) else 0


def tell(row: Row) -> None:
    """Say at once how one fault went."""
    print(f"{row.fault}: {row.verdict} {row.differs}".rstrip(), file=sys.stderr, flush=True)


def played(faults: Sequence[Fault], options: Options) -> Iterator[Row]:
    """Play faults one after the other: those that can share a node on one, then the others."""
    shared = [each for each in faults if not (each.alone or each.missing())]
    random.Random(options.seed).shuffle(shared)
    if shared:
        with scene(options.seed) as common:
            for fault in shared:
                yield options.play(fault, common)
    for fault in faults:
        if fault.missing():
            yield Row(fault.name, fault.expected, skipped=fault.missing())
        elif fault.alone:
            yield played_alone(fault, options)


def played_alone(fault: Fault, options: Options) -> Row:
    """Play a fault on a node of its own."""
    own = scene(
        options.seed,
        fault.watchdog,
        start=fault.starts,
        prepare=fault.prepare,
        environment=fault.environment,
        disk_mib=fault.disk_mib,
    )
    try:
        with own as played:
            return options.play(fault, played)
    except (AssertionError, ArkError) as error:
        return Row(fault.name, fault.expected, differs=f"its node: {error}", repeat=options.command(fault))


if __name__ == "__main__":
    sys.exit(main())
