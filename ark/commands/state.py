"""Look at the Mutable Core, change it, and take changes back: what agents keep, settings, the truth map, memories.

Every change is a revision, with who asked for it and why; nothing that was once written is lost. The commands go to
the file itself, while the node runs, too: agents see a change with their next look. What a person does here is
recorded, and comes into the ledger. Values are JSON (`0.5`, `"text"`, `[1, 2]`).

examples:
  ark-run state show
  ark-run state show joey --at 1200
  ark-run state show --kind config --at 2h
  ark-run state history joey window
  ark-run state set joey window '[20, 50]' --reason "shorter"
  ark-run state set --kind config max_symbols 40 --reason "more room"
  ark-run state undo --since 1200 --release 4f1c --reason "worse decisions" --dry-run
  ark-run state undo --since 1200 --requester anna --reason "mistyped"

exit codes: 0 done; 1 it could not be done; 3 with undo: some keys were left alone, since somebody else wrote them
later.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import msgspec

from ark import interventions
from ark.changes import Change, Group, Kind
from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.errors import NodeError, StateError
from ark.home import Home
from ark.moment import parse_moment, shown
from ark.revisions import Revision, Undoing, by_release
from ark.state import Core, open_core, read_core

HELP = "what may change and be taken back: show, history, set, undo"

EXIT_CONFLICTS = 3
_WIDTH = 60
_KINDS: tuple[Kind, ...] = get_args(Kind)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = places.add_parser("show", help="every key with its value", description="Show what there is.")
    show.add_argument("names", nargs="*", metavar="AGENT KEY", help="of that agent, or that key alone")
    show.add_argument(
        "--at", metavar="WHEN", help="as of a revision (`1200`), or a time (`2h`, `2026-03-01T14:30`)"
    )
    history = places.add_parser("history", help="the changes of a key, or of all", description="Show changes.")
    history.add_argument(
        "names", nargs="*", metavar="AGENT KEY", help="which key; without, the newest changes of all"
    )
    history.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (50)")
    set_ = places.add_parser("set", help="give a key a value, or delete it", description="Change a key.")
    set_.add_argument("names", nargs="+", metavar="AGENT KEY VALUE", help="which key, and its value as JSON")
    set_.add_argument("--delete", action="store_true", help="delete the key; there is no VALUE then")
    undo = places.add_parser(
        "undo", help="take back what somebody wrote since a revision", description="Take changes back."
    )
    undo.add_argument("--since", type=int, required=True, metavar="REVISION", help="that one itself stays")
    whose = undo.add_mutually_exclusive_group(required=True)
    whose.add_argument("--release", metavar="RELEASE", help="what agents of that release wrote")
    whose.add_argument("--requester", metavar="NAME", help="what that one wrote: a person, or AGENT@RELEASE")
    undo.add_argument("--dry-run", action="store_true", help="only say what would be done")
    for place in (show, history, set_):
        place.add_argument(
            "--kind", choices=_KINDS, default="state", help="what the key belongs to (state); `config` has no AGENT"
        )
    for place in (set_, undo):
        place.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    for place in (show, history, set_, undo):
        # The common options may stand behind the action, too; only where they are given do they count.
        place.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        place.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Show, change, or take back."""
    home = Home(arguments.home)
    if not home.data.is_dir():
        raise NodeError(f"{home.path} is no node's home", hint="name it with --home or ARK_HOME")
    if "reason" in arguments and not arguments.reason.strip():
        raise StateError("a change needs a reason", field="reason")
    if arguments.action in ("show", "history"):
        core = read_core(home) or Core()
        try:
            return (_show if arguments.action == "show" else _history)(core, arguments)
        finally:
            core.close()
    core = open_core(home)
    try:
        return (_set if arguments.action == "set" else _undo)(core, home, arguments)
    finally:
        core.close()


def _show(core: Core, arguments: argparse.Namespace) -> int:
    revision = None if arguments.at is None else _revision(core, arguments.at)
    agent, key = _place(arguments)
    found = core.entries(agent, kind=arguments.kind, revision=revision)
    if key is not None:
        found = [each for each in found if each.key == key]
    if arguments.json:
        of = core.revision() if revision is None else revision
        print(json.dumps({"revision": of, "keys": [facts(each) for each in found]}, indent=2))
    else:
        print("\n".join(_entry(each) for each in found) or "there is nothing")
    return 0


def _history(core: Core, arguments: argparse.Namespace) -> int:
    agent, key = _place(arguments)
    if key is None:
        known = core.since(max(0, core.revision() - arguments.limit)) if agent is None else core.since(0)
        found = [each for each in reversed(known) if agent in (None, each.agent)][: arguments.limit]
    else:
        found = core.history(agent or "", key, kind=arguments.kind, limit=arguments.limit)
    if arguments.json:
        print(json.dumps({"revisions": [facts(each) for each in found]}, indent=2))
    else:
        print("\n".join(_change(each) for each in found) or "there is nothing")
    return 0


def _set(core: Core, home: Home, arguments: argparse.Namespace) -> int:
    if arguments.kind in ("truth", "memory"):
        raise StateError(f"a {arguments.kind} is not set by hand", hint="agents write these", field="kind")
    wanted = (2 if arguments.kind == "state" else 1) + (not arguments.delete)
    if len(arguments.names) != wanted:
        words = [*(["AGENT"] if arguments.kind == "state" else []), "KEY", *([] if arguments.delete else ["VALUE"])]
        raise StateError(f"name {' '.join(words)}", hint="see `ark-run state set --help`")
    *place, value = arguments.names if not arguments.delete else (*arguments.names, None)
    agent, key = place if arguments.kind == "state" else ("", *place)
    details = {}
    if arguments.kind == "config" and (known := core.find("", key, kind="config")):
        details = known.details
    change = Change(key, _value(value), agent, arguments.kind, arguments.delete, details)
    ((revision,),) = core.write([Group((change,), login_name(), arguments.reason.strip())])
    made = core.history(agent, key, kind=arguments.kind, limit=1)[0]
    interventions.record(
        home,
        "state_set",
        by=login_name(),
        subject=f"{agent} {key}".strip(),
        reason=arguments.reason.strip(),
        details={"revision": revision, "kind": arguments.kind, "value": made.value, "before": made.before},
    )
    print(json.dumps(facts(made), indent=2) if arguments.json else _change(made))
    return 0


def _undo(core: Core, home: Home, arguments: argparse.Namespace) -> int:
    of = by_release(arguments.release) if arguments.release else lambda name: name == arguments.requester
    done = core.undo(
        arguments.since, of=of, by=login_name(), reason=arguments.reason.strip(), dry=arguments.dry_run
    )
    if done.taken and not arguments.dry_run:
        interventions.record(
            home,
            "state_undone",
            by=login_name(),
            subject=arguments.release or arguments.requester,
            reason=arguments.reason.strip(),
            details={
                "since": arguments.since,
                "revisions": [each.revision for each in done.taken],
                "conflicts": [each.revision for each in done.conflicts],
            },
        )
    if arguments.json:
        print(json.dumps({"dry_run": arguments.dry_run, **msgspec.to_builtins(done)}, indent=2))
    else:
        print("\n".join(_told(done, dry=arguments.dry_run)))
    return EXIT_CONFLICTS if done.conflicts else 0


def facts(revision: Revision) -> dict[str, Any]:
    """A revision for machines."""
    known: dict[str, Any] = msgspec.to_builtins(revision)
    return known


def _told(done: Undoing, *, dry: bool) -> list[str]:
    verb = "would be taken back" if dry else "taken back"
    lines = [
        f"{_name(each.kind, each.agent, each.key)}  {verb} to"
        f" {_text(each.value) if each.restores else 'nothing, as before'}"
        f" (undoes {', '.join(str(number) for number in each.revisions)}"
        f"{'' if dry else f'; revision {each.revision}'})"
        for each in done.taken
    ]
    lines += [
        f"{_name(each.kind, each.agent, each.key)}  left alone: {plain(each.requester)} wrote it later"
        f" (revision {each.later}, after {each.revision})"
        for each in done.conflicts
    ]
    return lines or ["there is nothing to take back"]


def _place(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    names = list(arguments.names)
    if arguments.kind in ("config", "truth"):
        names.insert(0, "")
    if len(names) > 2:
        raise StateError(f"what is {names[2]!r}?", hint="name at most AGENT and KEY")
    agent, key = (*names, None, None)[:2]
    return agent, key


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=lambda name: float("nan"))
    except ValueError:
        raise StateError(
            f"{text!r} is no JSON", hint="a text needs quotes of its own: '\"text\"'", field="value"
        ) from None


def _revision(core: Core, text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return core.revision_at(parse_moment(text))
    except ValueError as error:
        raise StateError(f"{error}, or a revision such as 1200", field="at") from None


def _name(kind: str, agent: str, key: str) -> str:
    return plain(" ".join(word for word in ("" if kind == "state" else kind, agent, key) if word))


def _entry(each: Revision) -> str:
    return (
        f"{_name(each.kind, each.agent, each.key):32} {_text(each.value):{_WIDTH}}"
        f" {each.revision:>6}  {shown(each.at)}  {plain(each.requester)}"
    )


def _change(each: Revision) -> str:
    before = "nothing" if each.was_gone else _text(each.before)
    value = "nothing" if each.gone else _text(each.value)
    reason = f": {plain(each.reason)}" if each.reason else ""
    return (
        f"{each.revision:>6}  {shown(each.at)}  {each.operation:8} {_name(each.kind, each.agent, each.key)}"
        f"  {before} -> {value}  by {plain(each.requester)}{reason}"
    )


def _text(value: Any) -> str:
    text = plain(json.dumps(value))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
