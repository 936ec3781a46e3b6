"""Make, list and revoke the keys by which clients are known, on this machine and on others.

`new` writes the client's key file, which holds its secret: give it to the client, and to nobody else. The node
keeps the public key. `token` does the same for a person who may act through the page in a browser. A running node
takes notice at once, a revocation included.

examples:
  ark-run keys new desk --role operator
  ark-run keys new research --role injector --out research.key
  ark-run keys token anna
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
from ark.keys import Key, Token, role_named
from ark.protocol import Role
from ark.token_book import TokenBook

HELP = "clients' keys: new, token, list, revoke"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = places.add_parser("new", help="make a key", description="Make a key for one client.")
    new.add_argument("name", metavar="NAME", help="a-z, 0-9, _ . and -; never given twice")
    new.add_argument("--role", required=True, metavar="ROLE", help=f"one of {', '.join(r.value for r in Role)}")
    new.add_argument("--out", type=Path, metavar="FILE", help="the client's key file (default: ./NAME.key)")
    token = places.add_parser("token", help="make a token for the page", description="Make a token for one person.")
    token.add_argument("name", metavar="NAME", help="in whose name it acts: a-z, 0-9, _ . and -; never given twice")
    token.add_argument("--out", type=Path, metavar="FILE", help="where the token goes (default: ./NAME.token)")
    listed = places.add_parser("list", help="every key and whether it is good", description="List every key.")
    revoke = places.add_parser(
        "revoke", help="let a key or a token open nothing any more", description="Revoke one."
    )
    revoke.add_argument("name", metavar="NAME")
    revoke.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept with the key")
    for place in (new, token, listed, revoke):
        # The common options may stand behind the action, too; only where they are given do they count.
        place.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        place.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make, list or revoke."""
    home = Home(arguments.home)
    if arguments.action not in ("new", "token") and not home.keys.is_dir():
        raise NodeError(f"{home.path} is no node's home", hint="name it with --home or ARK_HOME")
    home.prepare()
    book, tokens = KeyBook(home), TokenBook(home)
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
        case "token":
            file = arguments.out or Path(f"{arguments.name}.token")
            token = tokens.new(arguments.name, file, by=login_name(), at=time.time())
            said = {**_facts(token), "file": str(file.absolute())}
            lines = [
                f"{token.name} is a token for the role {token.role.value}",
                f"  {file} holds it: paste it into the page, and give it to nobody else",
            ]
        case "revoke":
            is_token = any(token.name == arguments.name for token in tokens.all())
            shelf: KeyBook | TokenBook = tokens if is_token else book
            grant = shelf.revoke(arguments.name, reason=arguments.reason, by=login_name(), at=time.time())
            said, lines = _facts(grant), [f"{grant.name} is revoked, and refused from now on"]
        case _:
            keys = book.all()
            people = tokens.all()
            said = {
                "node_public_key": book.node_public_key,
                "keys": [_facts(key) for key in keys],
                "tokens": [_facts(token) for token in people],
            }
            lines = [f"the node's public key is {book.node_public_key}", *(_line(key) for key in keys)]
            lines += [_line(token) for token in people]
            damaged = [*book.damaged(), *tokens.damaged()]
            lines += [f"{path} is damaged or a copy: it opens nothing" for path in damaged]
    print(json.dumps(said, indent=2) if arguments.json else "\n".join(lines))
    return 0


def _facts(grant: Key | Token) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(grant)
    facts.pop("digest", None)
    return facts


def _line(key: Key | Token) -> str:
    made = f"since {_day(key.created_at)}, by {plain(key.created_by)}"
    if key.revoked_at is not None:
        made = f"revoked {_day(key.revoked_at)}, by {plain(key.revoked_by)}: {plain(key.revoke_reason)}"
    known_by = key.public_key if isinstance(key, Key) else "a token for the page"
    return f"{key.name:32} {key.role.value:9} {known_by:40}  {made}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
