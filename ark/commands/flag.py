"""Turn things on and off in running agents: set, remove, list, sign and verify feature flags.

Flags stand in `flags.json` in the home, signed. Agents take notice within a second; a file that is not signed by
the key that the home trusts is refused, and what was in force stays so. `set` and `remove` sign with your private
key (`--key`, default ~/.config/ark/flags.key, made at the first use); the home trusts the first that signs here.
`sign` signs a file that was edited by hand. What is done here is recorded, and comes into the ledger.

Without a target `set` says what everybody else gets; with one it adds a rule, or changes the rule with that target.
VALUE is `true`, `false`, a number, or a text. Who is named nowhere gets the default in the code.

examples:
  ark-run flag set joey.new_scorer true --percent 10 --reason "a first look"
  ark-run flag set joey.new_scorer true --symbol AAPL --symbol MSFT --reason "pilots"
  ark-run flag set kenny.slices 4 --agent kenny --release 4f1c --reason "thin books"
  ark-run flag list
  ark-run flag list --for AAPL
  ark-run flag remove joey.new_scorer --reason "done"
  ark-run flag verify

exit codes: 0 done, and with verify: the file counts; 1 it could not be done, or the file does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ark import interventions
from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.errors import FlagError, NodeError
from ark.flag_file import FILE, KEY, FlagFile, fault_of_flags, load, public_key, sign, write
from ark.flags import Body, Flag, Rule, Subject, Value, decide, read
from ark.home import Home
from ark.seal import load_or_make_key

HELP = "feature flags: set, remove, list, sign, verify"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    set_ = places.add_parser("set", help="what a flag says, to all or to some", description="Set a flag.")
    set_.add_argument("name", metavar="NAME", help="a-z, 0-9, _ . and -")
    set_.add_argument("value", metavar="VALUE", help="true, false, a number, or a text")
    set_.add_argument("--percent", type=float, metavar="P", help="to so many percent of the symbols")
    for word in ("symbol", "agent", "release"):
        set_.add_argument(
            f"--{word}", action="append", default=[], metavar=word.upper(), help="to it; may be repeated"
        )
    remove = places.add_parser("remove", help="take a flag away: all get the default", description="Remove a flag.")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--rule", type=int, metavar="N", help="only its rule N, as `list` counts")
    listed = places.add_parser("list", help="what is in force", description="List the flags.")
    listed.add_argument("--for", dest="symbol", metavar="SYMBOL", help="and what they say for a symbol")
    listed.add_argument("--agent", default="", metavar="AGENT", help="the same, asked by that agent")
    signed = places.add_parser("sign", help="sign a file edited by hand", description="Sign what is there.")
    verify = places.add_parser("verify", help="whether the file counts", description="Verify the file.")
    for place in (set_, remove, signed):
        place.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
        place.add_argument("--key", type=Path, metavar="FILE", help="your private key (~/.config/ark/flags.key)")
    for place in (set_, remove, listed, signed, verify):
        # The common options may stand behind the action, too; only where they are given do they count.
        place.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        place.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    home = Home(arguments.home)
    if not home.keys.is_dir():
        raise NodeError(f"{home.path} is no node's home", hint="name it with --home or ARK_HOME")
    if "reason" in arguments and not arguments.reason.strip():
        raise FlagError("a change needs a reason", field="reason")
    match arguments.action:
        case "list":
            return _list(home, arguments)
        case "verify":
            return _verify(home, arguments)
        case "sign":
            return _sign(home, arguments)
        case _:
            return _change(home, arguments)


def _change(home: Home, arguments: argparse.Namespace) -> int:
    signed = load(home)
    flags = dict(signed.body.flags) if signed else {}
    before = flags.get(arguments.name)
    if arguments.action == "set":
        after: Flag | None = changed(before, arguments.reason.strip(), _rule(arguments))
    else:
        after = _without(arguments.name, before, arguments.rule, arguments.reason.strip())
    flags.pop(arguments.name, None)
    if after is not None:
        flags[arguments.name] = after
    act = "flag_set" if arguments.action == "set" else "flag_removed"
    details = {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}
    body = _put(home, flags, arguments, act=act, subject=arguments.name, details=details)
    if arguments.json:
        print(json.dumps({"serial": body.serial, "name": arguments.name, **details}, indent=2))
    else:
        print("\n".join(_told(arguments.name, after) if after else [f"{arguments.name} is removed"]))
    return 0


def changed(before: Flag | None, reason: str, rule: Rule) -> Flag:
    """A flag with a rule: one without a target says what everybody else gets, one with a known target replaces it.

    Args:
        before: The flag as it is; None for a new one.
        reason: Why.
        rule: The rule.
    """
    known = before or Flag()
    if rule == Rule(rule.value):
        return Flag(rule.value, known.rules, reason)
    rules = [rule if each.target == rule.target else each for each in known.rules]
    return Flag(known.value, tuple(rules if rule in rules else [*rules, rule]), reason)


def _without(name: str, before: Flag | None, rule: int | None, reason: str) -> Flag | None:
    if before is None:
        raise FlagError(f"there is no flag {name}", hint="see `ark-run flag list`", field="name")
    if rule is None:
        return None
    if not 1 <= rule <= len(before.rules):
        raise FlagError(f"flag {name} has no rule {rule}", hint=f"it has {len(before.rules)}", field="rule")
    rules = before.rules[: rule - 1] + before.rules[rule:]
    return Flag(before.value, rules, reason) if rules or before.value is not None else None


def _sign(home: Home, arguments: argparse.Namespace) -> int:
    try:
        flags = read((home.path / FILE).read_bytes()).body.flags
    except FileNotFoundError:
        raise FlagError(f"there is no {home.path / FILE}", hint="begin with `ark-run flag set`") from None
    names = sorted(flags)
    body = _put(home, flags, arguments, act="flags_signed", details={"flags": msgspec.to_builtins(flags)})
    if arguments.json:
        print(json.dumps({"serial": body.serial, "flags": names}, indent=2))
    else:
        print(f"signed, with serial {body.serial}: {', '.join(names) or 'no flags'}")
    return 0


def _put(
    home: Home,
    flags: dict[str, Flag],
    arguments: argparse.Namespace,
    *,
    act: str,
    subject: str = "",
    details: dict[str, Any],
) -> Body:
    """Sign and write the flags, and record who did what and why."""
    path = (
        arguments.key or Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "ark" / "flags.key"
    )
    key = load_or_make_key(path)
    _trust(home, key, path)
    body = Body(_newest(home) + 1, time.time(), login_name(), flags)
    write(home, sign(body, key))
    reason = arguments.reason.strip()
    told = {**details, "serial": body.serial}
    interventions.record(home, act, by=login_name(), subject=subject, reason=reason, details=told)
    return body


def _trust(home: Home, key: Ed25519PrivateKey, path: Path) -> None:
    trusted = public_key(home)
    if trusted is None:
        text = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with open(os.open(home.keys / KEY, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(text)
        interventions.record(home, "flag_key_trusted", by=login_name(), details={"public_key": text.decode()})
    elif trusted.public_bytes_raw() != key.public_key().public_bytes_raw():
        raise FlagError(
            f"{path} is not the key that this home trusts",
            hint=f"name the right one with --key; to trust this one from now on, delete {home.keys / KEY} first",
        )


def _newest(home: Home) -> int:
    """The highest serial that anybody may have seen."""
    flags = FlagFile(home, keeps=False)
    flags.look(0.0)
    try:
        written = read((home.path / FILE).read_bytes()).body.serial
    except (FlagError, OSError):
        written = 0
    # One written by hand or by a stranger may be as high as it likes, and agents have not taken it.
    return max(flags.body.serial if flags.body else 0, min(written, 1 << 40))


def _list(home: Home, arguments: argparse.Namespace) -> int:
    file = FlagFile(home, keeps=False)
    file.look(0.0)
    flags = file.body.flags if file.body else {}
    subject = Subject(arguments.agent, symbol=arguments.symbol or "")
    says = {name: decide(name, flag, subject).value for name, flag in flags.items()}
    if arguments.json:
        facts = {name: msgspec.to_builtins(flag) for name, flag in sorted(flags.items())}
        said = {"serial": file.body.serial if file.body else 0, "fault": file.fault, "flags": facts}
        if arguments.symbol:
            said["says"] = says
        print(json.dumps(said, indent=2))
        return 0
    lines = [f"NOT IN FORCE: {file.fault}"] if file.fault else []
    for name in sorted(flags):
        told = _told(name, flags[name])
        if arguments.symbol:
            told[0] += f"  [{arguments.symbol}: {_say(says[name])}]"
        lines += told
    print("\n".join(lines) or "there are no flags: every agent goes by its defaults")
    return 0


def _verify(home: Home, arguments: argparse.Namespace) -> int:
    fault = fault_of_flags(home)
    signed = None if fault else load(home)
    if arguments.json:
        print(json.dumps({"ok": not fault, "fault": fault, "serial": signed.body.serial if signed else None}))
    elif fault:
        print(f"it does not count: {fault}")
    elif signed is None:
        print("there is no file: every agent goes by its defaults")
    else:
        print(f"good: serial {signed.body.serial}, signed by {plain(signed.body.by)}")
    return 1 if fault else 0


def _rule(arguments: argparse.Namespace) -> Rule:
    rule = Rule(
        _value(arguments.value),
        tuple(arguments.symbol),
        tuple(arguments.agent),
        tuple(arguments.release),
        arguments.percent,
    )
    try:
        return msgspec.convert(msgspec.to_builtins(rule), Rule)
    except msgspec.ValidationError as error:
        raise FlagError(f"that is no rule: {error}", hint="see `ark-run flag set --help`") from None


def _value(text: str) -> Value:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float | str) else text


def _told(name: str, flag: Flag) -> list[str]:
    others = "everybody else gets the default" if flag.value is None else f"everybody else gets {_say(flag.value)}"
    lines = [
        f"{name}  {others if flag.rules else _say(flag.value)}"
        + (f"  ({plain(flag.reason)})" if flag.reason else "")
    ]
    for number, rule in enumerate(flag.rules, 1):
        targets = [
            *([f"{rule.percent:g} % of the symbols"] if rule.percent is not None else []),
            *(
                f"{word} {' or '.join(some)}"
                for word, some in (("symbol", rule.symbols), ("agent", rule.agents), ("release", rule.releases))
                if some
            ),
        ]
        lines.append(plain(f"{number}. {_say(rule.value)} for {', '.join(targets) or 'all'}").rjust(0))
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _say(value: Value | None) -> str:
    return "the default" if value is None else plain(json.dumps(value))
