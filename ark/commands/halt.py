"""Halt trading: nothing is approved any more, also after a restart, until `ark-run resume`.

Works without a running node, too: the next one starts halted.
"""

from __future__ import annotations

import argparse
import json
import time

from ark import interventions
from ark.cli import add_node_options, reach, remote
from ark.client import Client
from ark.commands.approve import login_name
from ark.errors import MessageError, NodeError
from ark.home import Home

HELP = "halt trading"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("--reason", required=True, help="why; shown to everybody who asks")


def run(arguments: argparse.Namespace) -> int:
    """Halt."""
    return change(arguments, "halt")


def change(arguments: argparse.Namespace, op: str) -> int:
    """Halt or resume, through the node or, where none runs over the home, in that."""
    if not arguments.reason.strip():
        raise MessageError(f"{op} needs a reason", field="reason")
    elsewhere = remote(arguments)
    if elsewhere is not None:
        with reach(arguments) as client:
            halted = client.request(op, reason=arguments.reason, by=login_name())["halted"]
        said = {"halted": halted, "reason": arguments.reason, "node": elsewhere[0]}
        print(json.dumps(said) if arguments.json else f"{op} at {elsewhere[0]}: done")
        return 0
    home = Home(arguments.home)
    try:
        with Client.for_home(arguments.home) as client:
            client.request(op, reason=arguments.reason, by=login_name())
    except NodeError:
        # A halt must not depend on a node that answers: agents look at the file itself.
        home.prepare()
        if op == "halt":
            home.halt(arguments.reason, by=login_name(), at=time.time())
        else:
            home.resume(arguments.reason, by=login_name())
        interventions.record(home, op, by=login_name(), reason=arguments.reason.strip())
    halted = home.halt_reason() is not None
    print(json.dumps({"halted": halted, "reason": arguments.reason}) if arguments.json else f"{op}: done")
    return 0
