"""Make, list and revoke the keys by which clients are known, on this machine and on others.

`new` writes the client's key file, which holds its secret: give it to the client, and to nobody else. The node
keeps the public key. A running node takes notice at once, a revocation included.

examples:
  ark-run keys new desk --role operator
  ark-run keys new research --role injector --out research.key
  ark-run keys list
  ark-run keys revoke research --reason "the laptop was stolen"
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import msgspec

from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.errors import NodeError
from ark.home import Home
from ark.key_book import KeyBook
from ark.keys import Key, role_named
from ark.protocol import Role

HELP = "clients' keys: new, list, revoke"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = places.add_parser("new", help="make a key", description="Make a key for one client.")
    new.add_argument("name", metavar="NAME", help="a-z, 0-9, _ . and -; never given twice")
    new.add_argument("--role", required=True, metavar="ROLE", help=f"one of {', '.join(r.value for r in Role)}")
    new.add_argument("--out", type=Path, metavar="FILE", help="the client's key file (default: ./NAME.key)")
    listed = places.add_parser("list", help="every key and whether it is good", description="List every key.")
    revoke = places.add_parser("revoke", help="let a key open nothing any more", description="Revoke a key.")
    revoke.add_argument("name", metavar="NAME")
    revoke.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept with the key")
    for place in (new, listed, revoke):
        # The common options may stand behind the action, too; only where they are given do they count.
        place.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        place.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make, list or revoke."""
    home = Home(arguments.home)
    if arguments.action != "new" and not home.keys.is_dir():
        raise NodeError(f"{home.path} is no node's home", hint="name it with --home or ARK_HOME")
    home.prepare()
    book = KeyBook(home)
    match arguments.action:
        case "new":
            file = arguments.out or Path(f"{arguments.name}.key")
            key = book.new(arguments.name, role_named(arguments.role), file, by=login_name(), at=time.time())
            said = {**_facts(key), "node_public_key": book.node_public_key, "file": str(file.absolute())}
            lines = [
                f"{key.name} is a key for the role {key.role.value}",
                f"  {file} holds its secret: give it to that client, and to nobody else",
                f"  the node's public key is {book.node_public_key}",
            ]
        case "revoke":
            key = book.revoke(arguments.name, reason=arguments.reason, by=login_name(), at=time.time())
            said, lines = _facts(key), [f"{key.name} is revoked, and refused from now on"]
        case _:
            keys = book.all()
            said = {"node_public_key": book.node_public_key, "keys": [_facts(key) for key in keys]}
            lines = [f"the node's public key is {book.node_public_key}", *(_line(key) for key in keys)]
            lines += [f"{path} is damaged or a copy: it opens nothing" for path in book.damaged()]
    print(json.dumps(said, indent=2) if arguments.json else "\n".join(lines))
    return 0


def _facts(key: Key) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(key)
    return facts


def _line(key: Key) -> str:
    made = f"since {_day(key.created_at)}, by {plain(key.created_by)}"
    if key.revoked_at is not None:
        made = f"revoked {_day(key.revoked_at)}, by {plain(key.revoked_by)}: {plain(key.revoke_reason)}"
    return f"{key.name:32} {key.role.value:9} {key.public_key}  {made}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
