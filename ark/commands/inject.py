"""Send signals from a file or standard input, and print each outcome.

FILE holds JSON lines (one signal a line), one JSON object, or a JSON list of them; - reads standard input.

examples:
  ark-run inject signals.jsonl
  echo '{"symbol": "AAPL", "direction": "long", "price": 190, "position_size_pct": 0.05,
         "stop_loss": 180, "target": 215}' | ark-run inject -

exit codes: 0 every signal has an outcome or waits for a person, 1 some were rejected or have none yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ark.cli import add_node_options, reach
from ark.commands.held import what_to_type
from ark.errors import MessageError, RequestError
from ark.letters import in_short

HELP = "send signals and print their outcomes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("file", metavar="FILE", help="JSON or JSON lines; - for standard input")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the outcomes")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="wait so long for each (30)")


def run(arguments: argparse.Namespace) -> int:
    """Send and print."""
    signals = read_signals(arguments.file)
    failed = False
    with reach(arguments, timeout_s=max(10.0, arguments.timeout)) as client:
        results = client.inject_many(signals)
        for result in results:
            if result["status"] == "rejected" or arguments.no_wait:
                failed |= result["status"] == "rejected"
                _print(result, arguments.json)
                continue
            try:
                outcome = client.outcome(result["trace_id"], timeout_s=arguments.timeout)
            except RequestError as error:
                failed = True
                outcome = {"trace_id": result["trace_id"], "status": error.code, "reason": str(error)}
            _print(outcome, arguments.json)
    return int(failed)


def read_signals(name: str) -> list[dict[str, Any]]:
    """Read signals from a file.

    Raises:
        MessageError: The file cannot be read or is not JSON; the message names the line.
    """
    place = "standard input" if name == "-" else name
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MessageError(f"cannot read {place}: {error}") from error
    try:
        whole = json.loads(text)
        signals = whole if isinstance(whole, list) else [whole]
    except json.JSONDecodeError:
        signals = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    signals.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise MessageError(f"{place}, line {number}: not JSON: {error}") from None
    for number, signal in enumerate(signals, 1):
        if not isinstance(signal, dict):
            raise MessageError(f"{place}: signal {number} is no JSON object")
    return signals


def describe(outcome: dict[str, Any]) -> str:
    """An outcome in one line."""
    if outcome["status"] == "rejected":
        error = outcome["error"]
        return f"{outcome['trace_id'] or '-':36}  rejected  {error['message']}"
    reason = outcome.get("reason") or ""
    if "\n" in reason:  # a dead letter's, with the stack
        reason = in_short(reason, outcome["trace_id"])
    order = outcome.get("order")
    if outcome["status"] == "executed" and order:
        price = order.get("average_fill_price") or order.get("entry_price")
        reason = f"{order.get('side')} {order.get('quantity')} at {price}, {order.get('status')}"
    return f"{outcome['trace_id']}  {outcome['status']:9} {outcome.get('symbol', ''):6} {reason}".rstrip()


def _print(outcome: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(outcome, default=str) if as_json else describe(outcome), flush=True)
    if outcome["status"] == "held" and not as_json:
        print("\n".join(what_to_type(outcome["trace_id"])), flush=True)
