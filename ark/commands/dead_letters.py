"""Look at the signals that the pipeline gave up on, and deal with each: retry it, or drop it.

A signal that ends its agent three times is a dead letter: it is not sent again by itself, and ends as `failed`.

  list    those that nobody has dealt with, newest first; --all: the others, too
  show    one of them: the signal, the whole reason with the stack trace, the outcome, whether an order exists
  retry   send it anew, as a signal of its own with its own trace id; once for each letter
  drop    take it off the list; nothing is sent

`list` and `show` read the gateway's journal and work while the node is down; `retry` and `drop` need it.

A retry stays as old as the signal was, and Kyle refuses what is older than 15 minutes (`max_age_s`): it then ends
as `expired`. --fresh gives it the present time. Look first whether its price still holds.

A retry is refused where an order may exist: nothing is executed twice. `show` says what to look at.

exit codes: 0 done, also where there is none to list; 1 it could not be done, standard error says why; 2 wrong
command line.

examples:
  ark-run dead-letters list
  ark-run dead-letters show 0f8fad5b-d9cb-469f-a165-70867728950e
  ark-run dead-letters retry 0f8fad5b-d9cb-469f-a165-70867728950e --reason "the model is back" --fresh
  ark-run dead-letters drop --all --reason "a test feed"
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from ark.client import Client
from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.commands.inject import describe
from ark.errors import JournalError, RequestError
from ark.home import Home
from ark.journal import open_for_reading
from ark.letters import Letters, can_read
from ark.protocol import MOST_HELD, Code

HELP = "signals that the pipeline gave up on: list, show, retry, drop"
OLD_S = 900.0
"""Kyle's `max_age_s`, unless it was set otherwise."""
_LONG = ("trace_id", "symbol", "status", "reason", "decision", "spans")
"""What `show` has said, or leaves to `ark-run trace`."""
_ORDERS = {
    "none": "none was sent",
    "sent": "there is one",
    "unknown": "NOT KNOWN: nobody could ask the broker",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("what", choices=("list", "show", "retry", "drop"), help="what to do")
    parser.add_argument("trace_id", nargs="?", metavar="TRACE_ID", help="which one; for show, retry and drop")
    parser.add_argument("--reason", default="", help="why; needed for retry and drop, and kept")
    parser.add_argument("--fresh", action="store_true", help="retry: give it the present time (see above)")
    parser.add_argument(
        "--all", action="store_true", help="list: also what was dealt with; retry, drop: all that nobody dealt with"
    )
    parser.add_argument(
        "--limit",
        type=int,
        choices=range(1, MOST_HELD + 1),
        default=MOST_HELD,
        metavar="N",
        help=f"list, retry and drop at most so many, the newest first ({MOST_HELD})",
    )
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="retry: wait so long for the outcome (5)"
    )
    parser.set_defaults(wrong=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Do one of the four."""
    _check(arguments)
    match arguments.what:
        case "list":
            return _list(arguments)
        case "show":
            return _show(arguments)
        case "retry":
            return _retry(arguments)
    return _drop(arguments)


def _check(arguments: argparse.Namespace) -> None:
    what, named = arguments.what, arguments.trace_id is not None
    if what == "list" and named:
        arguments.wrong("list takes no TRACE_ID; did you mean show?")
    if what == "show" and not named:
        arguments.wrong("show needs a TRACE_ID; `ark-run dead-letters list` has them")
    if what in ("retry", "drop"):
        if named == arguments.all:
            arguments.wrong(f"{what} needs either a TRACE_ID or --all")
        if not arguments.reason.strip():
            arguments.wrong(f"{what} needs --reason TEXT")


def _list(arguments: argparse.Namespace) -> int:
    letters = _letters(arguments.home)
    found = [each.summary() for each in letters.list(limit=arguments.limit, everything=arguments.all)]
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    count = letters.ever if arguments.all else letters.open
    none = "no dead letters" if arguments.all or not letters.ever else "no dead letters that nobody has dealt with"
    print("\n".join(line_of(each) for each in found) or none)
    if count > len(found):
        print(f"and {count - len(found)} older ones", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    letter = _letters(arguments.home).find(arguments.trace_id)
    if letter is None:
        raise RequestError(
            f"{arguments.trace_id} is no dead letter of this node",
            code=Code.UNKNOWN_TRACE,
            field="trace_id",
            hint="`ark-run dead-letters list --all` has them; `ark-run trace` tells of any signal",
        )
    whole = letter.whole()
    print(json.dumps(whole, indent=2, default=str) if arguments.json else "\n".join(tell(whole, time.time())))
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    done: list[dict[str, Any]] = []
    code = 0
    with Client.for_home(arguments.home) as client:
        for trace_id in _wanted(arguments):
            try:
                reply = client.retry(trace_id, reason=arguments.reason, by=login_name(), fresh=arguments.fresh)
            except RequestError as error:
                if not arguments.all or error.code == Code.BUSY:
                    raise
                print(f"{trace_id}: {error}", file=sys.stderr)
                code = 1
                continue
            done.append({key: reply[key] for key in ("trace_id", "act", "retry")})
            if not arguments.json:
                print(f"{trace_id}  retried as {reply['retry']}", flush=True)
        for each in done:
            each["outcome"] = _outcome(client, each["retry"], arguments.timeout)
            if not arguments.json:
                outcome = each["outcome"]
                print(
                    describe(outcome)
                    if outcome
                    else f"{each['retry']}  no outcome yet; ask for it with `ark-run outcome`"
                )
    ends = {each["outcome"]["status"] for each in done if each["outcome"]}
    if "expired" in ends and not arguments.fresh:
        print(
            "hint: too old by now, since a retry stays as old as the signal was; --fresh gives it the present time."
            " A letter is retried once: inject the signal anew if it is still wanted",
            file=sys.stderr,
        )
    if arguments.json:
        print(json.dumps(done if arguments.all else done[0], default=str))
    return code


def _drop(arguments: argparse.Namespace) -> int:
    done = []
    with Client.for_home(arguments.home) as client:
        for trace_id in _wanted(arguments):
            reply = client.drop(trace_id, reason=arguments.reason, by=login_name())
            done.append({key: reply[key] for key in ("trace_id", "act")})
            if not arguments.json:
                print(f"{trace_id}  dropped")
    if arguments.json:
        print(json.dumps(done if arguments.all else done[0]))
    return 0


def _wanted(arguments: argparse.Namespace) -> list[str]:
    if not arguments.all:
        return [arguments.trace_id]
    found = [each.trace_id for each in _letters(arguments.home).list(limit=arguments.limit)]
    if not found:
        print("no dead letters that nobody has dealt with", file=sys.stderr)
    return found[::-1]  # the oldest first, as they came


def _outcome(client: Client, trace_id: str, timeout_s: float) -> dict[str, Any] | None:
    try:
        return client.outcome(trace_id, timeout_s=timeout_s)
    except RequestError as error:
        if error.code != Code.PENDING:
            raise
        return None


def _letters(home: Path) -> Letters:
    """The dead letters as they lie in the journal; whether a node runs makes no difference."""
    path = Home(home).data / "gateway.db"
    try:
        return Letters(can_read(open_for_reading(path)))
    except apsw.Error as error:
        raise JournalError(
            f"cannot read {path}: {error}", hint="try again; it may have been made just now"
        ) from error


def line_of(summary: dict[str, Any]) -> str:
    """One dead letter in one line.

    Args:
        summary: As in `ark.letters.DeadLetter.summary`.
    """
    died = _moment(summary["died_at"] or summary["accepted_at"])
    act = summary["act"]
    done = f"  [{act['act']} by {plain(act['by'])}]" if act else ""
    return (
        f"{died}  {summary['trace_id']}  {summary['symbol']:8} {summary['agent']:10} {summary['strikes']} tries"
        f"{done}  {plain(summary['reason'])}"
    )


def tell(whole: dict[str, Any], now: float) -> list[str]:
    """All of a dead letter, line by line.

    Args:
        whole: As in `ark.letters.DeadLetter.whole`.
        now: Seconds since the epoch.
    """
    outcome = whole["outcome"] or {}
    died = f"died {_moment(whole['died_at'])}, " if whole["died_at"] else ""
    return [
        f"{whole['trace_id']}  {whole['symbol']}",
        f"  {died}accepted {_moment(whole['accepted_at'])}",
        f"  ended an agent {whole['strikes']} times, the last time {whole['agent']}",
        f"  order: {_ORDERS[whole['order']]}",
        f"  done about it: {_done(whole['act'])}",
        "reason:",
        *_block(whole["reason"]),
        "signal, as it was accepted:",
        *_block(json.dumps(whole["signal"], indent=2, default=str)),
        f"outcome: {plain(outcome.get('status', 'too large to be shown here'))}{_decision(outcome)}",
        *_block(
            json.dumps({key: each for key, each in outcome.items() if key not in _LONG}, indent=2, default=str)
        ),
        f"  (`ark-run trace {whole['trace_id']}` tells the rest)",
        *_advice(whole, now),
    ]


def _decision(outcome: dict[str, Any]) -> str:
    decision = outcome.get("decision")
    if not isinstance(decision, dict):
        return ""
    return f"; the decision was {'approved' if decision.get('approved') else 'denied'}"


def _done(act: dict[str, Any] | None) -> str:
    if act is None:
        return "nothing yet"
    into = f" as {act['retry']}" if act["retry"] else ""
    return f"{act['act']}{into} by {plain(act['by'])} at {_moment(act['at'])}: {plain(act['reason'])}"


def _advice(whole: dict[str, Any], now: float) -> Iterator[str]:
    """What can be typed, if anything can."""
    if whole["act"]:
        return
    trace_id = whole["trace_id"]
    if whole["obstacle"]:
        yield f"it cannot be retried: {plain(whole['obstacle'])}"
    else:
        age_s = now - float(whole["signal"].get("ts") or whole["accepted_at"])
        if age_s > OLD_S:
            yield f"when the cause is mended (it is {age_s / 60:.0f} min old; without --fresh Kyle refuses it):"
            yield f"  ark-run dead-letters retry {trace_id} --fresh --reason TEXT"
        else:
            yield "when the cause is mended:"
            yield f"  ark-run dead-letters retry {trace_id} --reason TEXT"
    yield "when nothing is to be done about it any more:"
    yield f"  ark-run dead-letters drop {trace_id} --reason TEXT"


def _block(text: str) -> Iterator[str]:
    """Lines of a text from elsewhere, without anything that a terminal would obey."""
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        yield f"  {' ' * indent}{plain(line)}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
