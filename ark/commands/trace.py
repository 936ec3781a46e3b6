"""Tell the story of one signal: who had it, for how long, and what each said.

exit codes: 0 it has ended, or waits for a person; 1 it has not, or was never accepted.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from ark.cli import add_node_options, reach
from ark.commands.held import what_to_type

HELP = "the story of one signal"
_BAR = 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("trace_id", metavar="TRACE_ID")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    with reach(arguments) as client:
        outcome = client.outcome(arguments.trace_id, timeout_s=0.0)
    print(json.dumps(outcome, indent=2, default=str) if arguments.json else "\n".join(tell(outcome)))
    return 0


def tell(outcome: dict[str, Any]) -> list[str]:
    """The story, line by line."""
    lines = [f"{outcome['trace_id']}  {outcome.get('symbol', '')}  {outcome['status']}"]
    if outcome.get("reason"):
        lines.append(f"  {outcome['reason']}")
    attempts = outcome.get("attempts", 1)
    if attempts > 1:
        lines.append(f"  sent {attempts} times, because a process was restarted meanwhile")
    if outcome["status"] == "held":
        return [*lines, *what_to_type(outcome["trace_id"])]
    lines.extend(_timeline(outcome.get("spans") or []))
    lines.extend(_decision(outcome.get("decision")))
    lines.extend(_order(outcome.get("order")))
    for disagreement in (outcome.get("audit") or {}).get("disagreements", ()):
        lines.append(f"disagreement: {disagreement}")
    ledger = outcome.get("ledger")
    if ledger:
        lines.append(f"ledger row {ledger['seq']}, hash {ledger['hash'][:16]}…")
    else:
        lines.append("in no ledger row: the dead letter ended its agents, too")
    return lines


def _timeline(spans: list[dict[str, Any]]) -> list[str]:
    if not spans:
        return []
    start = min(span["in_ns"] for span in spans)
    whole = max(1, max(span["out_ns"] for span in spans) - start)
    lines = [f"timeline, {whole / 1e6:.3f} ms:"]
    for span in spans:
        left = int((span["in_ns"] - start) / whole * (_BAR - 1))
        length = max(1, round((span["out_ns"] - span["in_ns"]) / whole * _BAR))
        bar = (" " * left + "█" * length)[:_BAR]
        stay_ms = (span["out_ns"] - span["in_ns"]) / 1e6
        lines.append(f"  {span['agent']:12} {bar:{_BAR}} {stay_ms:8.3f} ms  version {span['version']}")
    return lines


def _decision(decision: dict[str, Any] | None) -> list[str]:
    if not decision:
        return ["decision: none was needed"]
    checked = len(decision.get("rules_checked", ()))
    word = "approved" if decision["approved"] else "denied"
    lines = [f"decision: {word}, {checked} rules checked, ruleset {str(decision.get('ruleset', ''))[:16]}…"]
    for kind in ("violations", "warnings"):
        for each in decision.get(kind, ()):
            lines.append(f"  {kind[:-1]} {each['rule']} ({each['severity']}): {each['message']}")
    return lines


def _order(order: dict[str, Any] | None) -> list[str]:
    if not order:
        return ["order: none"]
    return ["order:", *(f"  {key:18} {value}" for key, value in order.items() if value is not None)]
