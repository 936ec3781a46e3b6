"""Go back to the release before: of the rollout under way, or of the newest one if that is permanent already.

The stable release decides every signal within a second; then what the new one wrote into the agents' state is
undone, and the agents are checked. --to makes another release the permanent one at once, without a canary; what the
agents keep goes down with it, and up only with --now.

--now leaves these checks away, and waits two seconds for the node at most. Where it does not answer, or its deploy
actor does not, it goes back by the files of the home, which needs neither.

examples:
  ark-run rollback --reason "denies too much"
  ark-run rollback --now --reason "wrong sizes"
  ark-run rollback --to 3fa81c04 --reason "the last one that was good"
  ark-run rollback --to installed --reason "back to what ARK came with"

exit codes: 0 done, or begun where the deploy actor does the rest (see `ark-run deploy status`); 1 it could not be
done.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from ark.cli import add_node_options, reach, remote
from ark.commands.approve import login_name
from ark.errors import MessageError, NodeError, RequestError
from ark.home import Home
from ark.protocol import Code

__all__ = ["HELP", "configure", "run"]

HELP = "go back to the release before, or to another one"
_PATIENCE_S = 10.0
_NOW_S = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept for ever")
    parser.add_argument(
        "--to",
        default="",
        metavar="RELEASE",
        help="this release, by its digest or the beginning of it, or `installed` (default: the one before)",
    )
    parser.add_argument("--now", action="store_true", help="at once, with or without the node's help")
    parser.add_argument("--by-name", default="", metavar="NAME", help="who says so (default: your login)")


def run(arguments: argparse.Namespace) -> int:
    """Go back."""
    reason, by = arguments.reason.strip(), arguments.by_name.strip() or login_name()
    if not reason:
        raise MessageError("a rollback needs a reason", field="reason")
    words: dict[str, Any] = {"reason": reason, "by": by, "now": arguments.now}
    try:
        with reach(arguments, timeout_s=_NOW_S if arguments.now else _PATIENCE_S) as client:
            reply = client.request("rollback", to=arguments.to, **words)
    except NodeError as error:
        return _by_files(arguments, by, reason, error)
    except RequestError as error:
        if error.code != Code.BUSY:
            raise
        return _by_files(arguments, by, reason, NodeError(str(error)))
    said = {key: value for key, value in reply.items() if key not in ("v", "id", "ok")}
    if arguments.json:
        print(json.dumps(said, indent=2, default=str))
    elif arguments.to:
        print(f"{', '.join(said['roles'])}: {said['release']} is permanent, and runs from now on")
    else:
        print(f"{said['rollout']['id']}: {said['text']}")
    return 0


def _by_files(arguments: argparse.Namespace, by: str, reason: str, error: NodeError) -> int:
    """The way back that needs nobody."""
    if remote(arguments) is not None:
        raise error
    if not arguments.now:
        raise NodeError(str(error), hint="--now goes back without it, by the files of the home") from error
    from deployment import emergency  # it loads what verifies releases

    home = Home(arguments.home)
    if not home.data.is_dir():
        raise NodeError(f"there is no home at {home.path}", hint="name it with --home or ARK_HOME")
    note = emergency.way_back(home, arguments.to, by=by, reason=reason, now=time.time())
    troubles = emergency.go_back(home, note)
    roles = {role: digest[:12] or "the installed package" for role, digest in sorted(note.roles.items())}
    if arguments.json:
        told = {"rollout": note.rollout or None, "roles": note.roles, "by_files": True, "troubles": troubles}
        print(json.dumps(told, indent=2))
        return 0
    print(f"done by the files of the home, since {str(error).rstrip('.')}")
    for role, release in roles.items():
        print(f"  {role} runs from {release}, as soon as its supervisor looks (`supervisor status`)")
    for trouble in troubles:
        print(f"  {trouble}")
    return 0
