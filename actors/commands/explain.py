"""Say in plain words why a signal was approved, denied or held: every rule, with the numbers that it saw.

HRM keeps what each of its last hundred thousand judgements was made from; this judges that once more, by the same
functions, and has every rule tell what it saw. Works without a running node, too.

exit codes: 0 explained, 1 there is nothing to explain: the signal is unknown, or nobody judged it (yet).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import apsw
import msgspec

from actors.commands.rules import JUDGE, policy_of
from actors.judging import Inputs, Verdict, decide
from ark.client import Client
from ark.errors import ArkError, NodeError
from ark.home import Home
from ark.intake import recorded_outcome
from ark.journal import open_for_reading
from graveyard import ruleset_digest

__all__ = ["HELP", "WORDS", "configure", "facts", "mark", "run", "tell"]

HELP = "why a signal was approved or denied"
_inputs = msgspec.msgpack.Decoder(Inputs)
WORDS = {"approve": "APPROVED", "hold": "HELD for a person", "deny": "DENIED"}
MARKS = {"pass": "  ok ", "breach": " NO  ", "ask": " ASK ", "unknown": " NO  ", "silent": "  -  "}
MARKS_OF_WARNINGS = {"breach": "warn ", "unknown": "  ?  "}
"""For a rule that only warns: of what it saw, or that a fact is missing that only a live market has."""


class UnexplainedError(ArkError):
    """There is nothing that could be explained."""

    code = "unexplained"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("trace_id", metavar="TRACE_ID")


def run(arguments: argparse.Namespace) -> int:
    """Explain one decision."""
    home = Home(arguments.home)
    outcome = _outcome(home, arguments.trace_id)
    decision = outcome.get("decision")
    if not decision:
        raise UnexplainedError(
            f"nobody judged {arguments.trace_id}: it ended as {outcome['status']}"
            + (f", {outcome['reason']}" if outcome.get("reason") else ""),
            hint="`ark-run trace` tells its story",
        )
    inputs = _judged(home, int(decision.get("number") or 0), arguments.trace_id)
    policy = policy_of(home)
    limits = policy.limits()
    book = policy.rules()
    verdict = decide(inputs, limits, book, telling=True)
    changed = (decision["ruleset"], decision.get("operator_rules")) != (ruleset_digest(limits), book.digest)
    found = {"trace_id": arguments.trace_id, "status": outcome["status"], **facts(verdict, inputs)}
    found |= {"decision": decision, "rules_changed_since": changed}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{arguments.trace_id}  {outcome.get('symbol', '')}  {outcome['status']}")
    if changed:
        print("the rules have changed since; what follows is by those in force now")
    ruling = decision.get("ruling")
    if ruling:
        said = "allowed it" if ruling["approved"] else "refused it"
        print(f"{ruling['by']} {said}: {ruling['reason']}")
    if decision.get("approved") and outcome["status"] != "executed":
        print(f"the judge approved it; after him it ended as {outcome['status']}: {outcome.get('reason', '')}")
    print("\n".join(tell(verdict, inputs)))
    return 0


def facts(verdict: Verdict, inputs: Inputs) -> dict[str, Any]:
    """A verdict as plain values, every rule with the numbers it saw."""
    return {
        "zone": verdict.zone,
        "level": verdict.level,
        "score": verdict.score,
        "levels": verdict.levels,
        "violations": msgspec.to_builtins(verdict.violations),
        "warnings": msgspec.to_builtins(verdict.warnings),
        "graveyard": [
            {"rule": each.rule.name, "category": each.rule.category, "word": each.word, "saw": each.text}
            for each in verdict.statements
        ],
        "ruleset": [
            {"rule": each.rule.title, "stage": each.rule.stage, "word": each.word, "saw": each.text}
            for each in verdict.ruleset_statements
        ],
        "action": msgspec.to_builtins(inputs.action),
    }


def tell(verdict: Verdict, inputs: Inputs) -> list[str]:
    """A verdict in lines for people."""
    action = inputs.action
    lines = [
        f"{action.side} {action.quantity} {action.symbol} at {action.price} ({action.entry}),"
        f" stop {action.stop_loss}, target {action.target}"
    ]
    lines.append(f"{WORDS[verdict.zone]}, by the level `{verdict.level}`")
    for violation in verdict.violations:
        lines.append(f"  because of {violation.rule} ({violation.severity}): {violation.message}")
    warns = {each.rule for each in verdict.warnings}
    lines.append("")
    lines.append("the Graveyard:")
    for each in verdict.statements:
        lines.append(f"{mark(each.word, warns=each.rule.name in warns)} {each.rule.name:24} {each.text}")
    if verdict.ruleset_statements:
        lines.append("the ruleset:")
        for told in verdict.ruleset_statements:
            lines.append(f"{mark(told.word, warns=told.rule.title in warns)} {told.rule.title:42} {told.text}")
    if verdict.score is not None:
        levels = ", ".join(f"{name} {level:.2f}" for name, level in sorted(verdict.levels.items()))
        lines.append(f"the synthesis: {verdict.score:.3f} ({levels})")
    elif verdict.zone == "deny":
        lines.append("the synthesis was not asked: an earlier level had denied")
    return lines


def mark(word: str, *, warns: bool) -> str:
    """What stands before a rule's sentence.

    Args:
        word: The rule's.
        warns: Whether it only warns.
    """
    return MARKS_OF_WARNINGS.get(word, MARKS[word]) if warns else MARKS[word]


def _outcome(home: Home, trace_id: str) -> dict[str, Any]:
    """How a signal ended or stands: from the node, or, where none runs, from its journal."""
    try:
        with Client.for_home(home.path) as client:
            return client.outcome(trace_id)
    except NodeError:
        connection = open_for_reading(home.data / "gateway.db")
    try:
        outcome = recorded_outcome(connection, trace_id)
        if outcome is None:
            return _held(connection, trace_id)
    finally:
        connection.close()
    found: dict[str, Any] = msgspec.msgpack.decode(outcome)
    return found


def _held(connection: apsw.Connection, trace_id: str) -> dict[str, Any]:
    """How a signal stands that has not ended, from the gateway's journal."""
    for symbol, hold in connection.execute(
        "SELECT symbol, hold FROM signals LEFT JOIN held USING (seq) WHERE trace_id = ?", (trace_id,)
    ):
        if hold is None:
            raise UnexplainedError(f"{trace_id} has not ended, and nobody is asked about it")
        details = msgspec.msgpack.decode(hold)["details"]
        return {"symbol": symbol, "status": "held", "decision": details.get("decision")}
    raise UnexplainedError(f"no signal {trace_id[:64]} was ever accepted")


def _judged(home: Home, number: int, trace_id: str) -> Inputs:
    connection = open_for_reading(home.data / f"{JUDGE}.db")
    try:
        for (body,) in connection.execute("SELECT body FROM hrm_judged WHERE number = ?", (number,)):
            return _inputs.decode(bytes(body))
    finally:
        connection.close()
    raise UnexplainedError(
        f"what {trace_id} was judged by is not kept any more",
        hint="the last hundred thousand judgements are; `ark-run trace` shows the decision itself",
    )
