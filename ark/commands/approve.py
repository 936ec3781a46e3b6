"""Approve a decision that waits for a person, wait a moment for what becomes of the signal, and print it.

The judge looks at the signal once more with your word, and may still deny it where the moment has passed.

exit codes: 0 your word stands (also where the outcome did not come in time), 1 the signal was not held (any more).
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
from typing import Any

from ark.cli import add_node_options, reach
from ark.commands.inject import describe
from ark.errors import RequestError
from ark.protocol import Code

HELP = "approve a held decision"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("trace_id", metavar="TRACE_ID")
    parser.add_argument("--reason", required=True, help="why; it is kept with the decision")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="wait so long for the outcome (5)")


def run(arguments: argparse.Namespace) -> int:
    """Approve."""
    return answer(arguments, "approve")


def answer(arguments: argparse.Namespace, op: str) -> int:
    """Approve or refuse in the name of who is logged in, and print what becomes of it."""
    with reach(arguments) as client:
        ruling = client.request(op, trace_id=arguments.trace_id, reason=arguments.reason, by=login_name())["ruling"]
        outcome: dict[str, Any] | None = None
        try:
            outcome = client.outcome(arguments.trace_id, timeout_s=arguments.timeout)
        except RequestError as error:
            if error.code != Code.PENDING:
                raise
    if arguments.json:
        print(json.dumps({"trace_id": arguments.trace_id, "ruling": ruling, "outcome": outcome}, default=str))
    else:
        print(f"{arguments.trace_id}  {ruling}")
        print(describe(outcome) if outcome else "no outcome yet; ask for it with `ark-run outcome`")
    return 0


def login_name() -> str:
    """Who runs this command, as the system knows him."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name[:64]
    except KeyError:
        return str(os.getuid())
