"""Stop the node over a home, and wait until its last process is gone."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time

from ark.errors import NodeError
from ark.home import Home

HELP = "stop the node"
_PATIENCE_S = 15.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Stop the node."""
    home = Home(arguments.home)
    pid = home.node()["pid"]
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pid = None  # its tree is ending by itself
    until = time.monotonic() + _PATIENCE_S
    while home.is_locked():
        if time.monotonic() > until:
            raise NodeError(f"the node (pid {pid}) has not stopped within {_PATIENCE_S:.0f} s", hint="kill -9 it")
        time.sleep(0.02)
    print(json.dumps({"stopped": True, "pid": pid}) if arguments.json else "stopped")
    return 0
