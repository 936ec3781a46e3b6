"""Judge a proposed action without sending it: what would be decided now, and every rule with what it saw.

FILE holds one JSON object; - reads standard input. It is a signal, as `ark-run inject` takes it: Kyle, Joey and HRM
judge it over copies of their journals, by the settings and the account of the node. Or, with a key `kind`, an
action on data that no signal can ask for (read_data, write_data, share_data, delete_data, with `subject`,
`sensitivity` and `encrypted`): the Graveyard alone judges it.

examples:
  echo '{"symbol": "AAPL", "direction": "long", "price": 190, "position_size_pct": 0.05,
         "stop_loss": 180, "target": 215}' | ark-run check -
  echo '{"kind": "delete_data", "sensitivity": "personal", "subject": "client-7"}' | ark-run check -

exit codes: 0 it would be approved; 1 it would be denied, or cannot be judged (standard error says why); 3 a person
would be asked; 4 there would be nothing to do.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from typing import Any

import msgspec

from actors.commands.explain import WORDS, facts, mark, tell
from actors.commands.rules import policy_of
from actors.judging import decide
from actors.rehearsal import data_facts, rehearse
from ark.commands.inject import read_signals
from ark.errors import MessageError, RequestError
from ark.home import Home
from ark.protocol import parse_signal
from graveyard import Account, Action, judge

__all__ = ["HELP", "configure", "run"]

HELP = "judge a proposed action without sending it"
EXIT_APPROVED, EXIT_DENIED, EXIT_HELD, EXIT_NOTHING = 0, 1, 3, 4
_EXITS = {"approve": EXIT_APPROVED, "deny": EXIT_DENIED, "hold": EXIT_HELD}


class _DataAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    subject: str = ""
    sensitivity: str = ""
    encrypted: bool | None = None
    source: str = ""
    reasons: tuple[str, ...] = ()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("file", metavar="FILE", help="a JSON object; - for standard input")


def run(arguments: argparse.Namespace) -> int:
    """Judge and print."""
    proposed = read_signals(arguments.file)
    if len(proposed) != 1:
        place = "standard input" if arguments.file == "-" else arguments.file
        raise MessageError(f"{place} holds {len(proposed)} objects; one at a time is judged")
    home = Home(arguments.home)
    if "kind" in proposed[0]:
        return _data(home, proposed[0], arguments.json)
    return _signal(home, proposed[0], arguments.json)


def _signal(home: Home, fields: dict[str, Any], as_json: bool) -> int:
    try:
        signal, ignored = parse_signal(msgspec.msgpack.encode(fields))
    except (TypeError, OverflowError, ValueError) as error:
        raise MessageError(f"this is no signal: {error}") from error
    except RequestError as error:
        raise MessageError(str(error), field=error.field) from error
    signal = msgspec.structs.replace(
        signal, trace_id=str(uuid.uuid4()), ts=time.time() if signal.ts is None else signal.ts
    )
    found = rehearse(home, signal)
    if found.inputs is None:
        case = found.case
        refusal = case.refusal if case is not None else None
        if refusal is None:
            word, reason = "no_setup", "no pattern fits, and the signal brings no plan of its own"
        else:
            word, reason = refusal
        _print({"zone": word, "reason": reason, "ignored": ignored}, [f"{word}: {reason}"], as_json)
        return EXIT_NOTHING if refusal is None else EXIT_DENIED
    policy = policy_of(home)
    verdict = decide(found.inputs, policy.limits(), policy.rules(), telling=True)
    lines = tell(verdict, found.inputs)
    if not home.is_locked():
        lines.insert(0, f"no node runs over {home.path}: rules that ask for its signs of life deny")
    if ignored:
        lines.insert(0, f"unknown keys were left out: {', '.join(ignored)}")
    _print({**facts(verdict, found.inputs), "ignored": ignored}, lines, as_json)
    return _EXITS[verdict.zone]


def _data(home: Home, fields: dict[str, Any], as_json: bool) -> int:
    try:
        given = msgspec.convert(fields, _DataAction)
    except msgspec.ValidationError as error:
        hint = "a signal is judged without a key `kind`" if "direction" in fields else ""
        raise MessageError(f"this is no action on data: {error}", hint=hint) from error
    policy = policy_of(home)
    action = Action(
        given.kind, "", "", "", None, None, None, None, None,
        reasons=given.reasons or ((f"source {given.source}",) if given.source else ()),
        subject=given.subject, sensitivity=given.sensitivity, encrypted=given.encrypted,
    )  # fmt: skip
    register = policy.registrar().current()
    judged = judge(
        action,
        Account(None, None, None, None, messages=0),
        data_facts(home, register, given.source, (*action.reasons, given.subject)),
        policy.limits(),
        telling=True,
    )
    zone = "deny" if judged.denied else "hold" if judged.asks else "approve"
    warns = {each.rule.name for each in judged.findings if not (each.denies or each.asks)}
    lines = [f"{WORDS[zone]}: {given.kind} of {given.sensitivity or 'unnamed'} data"]
    lines += [
        f"{mark(each.word, warns=each.rule.name in warns)} {each.rule.name:24} {each.text}"
        for each in judged.statements
    ]
    told = [
        {"rule": each.rule.name, "category": each.rule.category, "word": each.word, "saw": each.text}
        for each in judged.statements
    ]
    _print({"zone": zone, "graveyard": told}, lines, as_json)
    return _EXITS[zone]


def _print(found: dict[str, Any], lines: list[str], as_json: bool) -> None:
    print(json.dumps(found, indent=2) if as_json else "\n".join(lines))
