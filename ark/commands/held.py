"""List the decisions that wait for a person: what is asked, by when, and what to type.

Nobody's answer until the deadline is a refusal.

exit codes: 0 listed, also where there is none; 1 the node does not answer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from ark.cli import add_node_options, reach
from ark.protocol import MOST_HELD

HELP = "decisions that wait for a person"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument(
        "--limit",
        type=int,
        default=MOST_HELD,
        metavar="N",
        help=f"list at most so many, the oldest first ({MOST_HELD})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    with reach(arguments) as client:
        held = client.held(limit=arguments.limit)
    if arguments.json:
        print(json.dumps(held, indent=2, default=str))
        return 0
    now = time.time()
    print("\n".join(line for each in held for line in ask(each, now)) or "nothing waits for a person")
    return 0


def ask(held: dict[str, Any], now: float) -> list[str]:
    """One decision, line by line.

    Args:
        held: As the operation `held` gives it.
        now: Seconds since the epoch.
    """
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held["until"]))
    left_s = max(0.0, held["until"] - now)
    return [
        f"{held['trace_id']}  {held['symbol']}  {plain(held['reason'])}",
        f"  {held['agent']} asks; without an answer until {until} (in {_duration(left_s)}) it is refused",
        *_details(held["details"]),
        *what_to_type(held["trace_id"]),
    ]


def _details(details: dict[str, Any]) -> Iterator[str]:
    """What fits on a line, and what a decision complains of; `--json` has the rest."""
    for key, value in details.items():
        if not isinstance(value, dict | list):
            yield f"  {plain(key)}: {plain(value)}"
    decision = details.get("decision")
    for kind in ("violations", "warnings"):
        complaints = decision.get(kind) if isinstance(decision, dict) else None
        for each in complaints if isinstance(complaints, list) else ():
            if isinstance(each, dict):
                yield f"  {kind[:-1]} {plain(each.get('rule'))}: {plain(each.get('message'))}"


def what_to_type(trace_id: str) -> list[str]:
    """The commands that answer."""
    return [f"  ark-run {word} {trace_id} --reason TEXT" for word in ("approve", "refuse")]


def plain(value: Any) -> str:
    """Text from elsewhere on one line, without anything that a terminal would obey."""
    text = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
