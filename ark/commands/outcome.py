"""Print the outcome of one signal.

exit codes: 0 there is one, or it waits for a person; 1 there is none (yet).
"""

from __future__ import annotations

import argparse
import json

from ark.cli import add_node_options, reach
from ark.commands.inject import describe

HELP = "the outcome of one signal"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("trace_id", metavar="TRACE_ID")
    parser.add_argument("--timeout", type=float, default=0.0, metavar="S", help="wait so long for it (0)")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    with reach(arguments) as client:
        outcome = client.outcome(arguments.trace_id, timeout_s=arguments.timeout)
    print(json.dumps(outcome, indent=2, default=str) if arguments.json else describe(outcome))
    return 0
