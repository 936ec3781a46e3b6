"""Releases with planted faults: each is as good as the installed package until its trigger is pulled.

The trigger is a file, so that a test knows to the millisecond since when a release was bad, and can plant a fault
that no copy of the traffic has shown before.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from ark.home import Home
from deployment.releases import build
from deployment.sources import from_folder
from tests.node import ROOT

__all__ = ["ALL_THE_TIME", "BOTH", "FAULTS", "plant"]

ALL_THE_TIME = "True"
"""Stands for a trigger that is pulled already."""

BOTH = f"""
[agents.joey]
class = "tests.rollout.shared_joey:Joey"
path = "{ROOT}"
"""
"""A node whose Joey, and every release over it, imports code that a test can break for all of them."""

_CODE = """\
import os
import time

from msgspec.structs import replace

from {module} import {name} as Installed


class Planted(Installed):
    version = "{version}"
    hoard = []

    def propose(self, case, context):
        answer = super().propose(case, context)
        if {trigger}:
            {fault}
        return answer
"""
_MIGRATIONS = """

class Keeping(Planted):
    def handle(self, message, context):
        if {trigger}:
            context.state.set("windows", context.state.get("windows", 0) + 1, "one more")
        return super().handle(message, context)


def up(keys):
    if {trigger}:
        {up}
    return {{"windows" if key == "window" else key: value for key, value in keys.items()}}


def down(keys):
    return {{"window" if key == "windows" else key: value for key, value in keys.items()}}
"""
_AGENTS = {
    "joey": ("actors.joey", "Joey"),
    "hrm": ("actors.hrm", "HRM"),
    "kenny": ("actors.kenny", "Kenny"),
}

FAULTS = {
    "good": "pass",
    # Joey's and everybody's
    "raises": "raise ValueError('planted')",
    "slow": "time.sleep(0.5)",
    "crashes": "os._exit(9)",
    "leaks": "self.hoard.append(os.urandom(1 << 17))",
    # Joey's
    "wrong size": """
if answer.setup is not None and answer.setup.position_size_pct:
    setup = replace(answer.setup, position_size_pct=answer.setup.position_size_pct * 0.5)
    answer = replace(answer, setup=setup)""",
    "denied": """
setup = answer.setup
if setup is not None and setup.stop_loss and hash(case.signal.trace_id) % 2:
    setup = replace(setup, entry="limit", entry_price=setup.stop_loss * 0.9)  # below the stop of a long
    answer = replace(answer, setup=setup)""",
    "smaller": """
if answer.setup is not None and answer.setup.position_size_pct == 0.005:
    answer = replace(answer, setup=replace(answer.setup, position_size_pct=0.004))""",
    # HRM's
    "denies": """
if answer.zone == "approve" and hash(context.trace_id) % 2:
    answer = replace(answer, zone="deny", level="synthesis")""",
    "misses a rule": """
if answer.zone == "deny" and answer.level == "ruleset":
    answer = replace(answer, zone="approve", violations=())""",
    "approves": """
if answer.zone == "deny" and answer.level == "graveyard":
    answer = replace(answer, zone="approve", violations=())""",
    # Kenny's
    "wrong order": "answer = replace(answer, quantity=answer.quantity * 2)",
}
"""What a release does once its trigger is pulled, by name: statements after `answer` is what the installed package
says."""


def plant(
    home: Home,
    role: str,
    fault: str,
    *,
    trigger: str = ALL_THE_TIME,
    version: str = "2.0.0",
    shared: bool = False,
    changes: tuple[dict[str, Any], ...] = (),
    migrates: bool = False,
    up: str = "pass",
) -> str:
    """Build a release of one agent with a fault; gives its digest.

    Args:
        home: Of the node that is to run it.
        role: `joey`, `hrm` or `kenny`.
        fault: One of `FAULTS`.
        trigger: From when on: a file's path, or `ALL_THE_TIME`.
        version: Its version.
        shared: Whether it is built over the code of `BOTH`.
        changes: What its manifest declares.
        migrates: Whether it renames the key `window` of what the agent keeps to `windows`, and writes it where it
            decides alone, once its trigger is pulled.
        up: What its migration does first, once the trigger is pulled.
    """
    module, name = ("tests.rollout.shared_joey", "Joey") if shared else _AGENTS[role]
    body = FAULTS[fault].strip().replace("\n", "\n            ")
    code = (_CODE + (_MIGRATIONS if migrates else "")).format(
        module=module,
        name=name,
        version=version,
        trigger=trigger if trigger == ALL_THE_TIME else f"os.path.exists({trigger!r})",
        fault=body,
        up=up,
    )
    folder = (
        home.path.parent
        / "sources"
        / re.sub(r"\W+", "_", f"{role} {fault} {version} {len(changes)} {up} {trigger}")[-80:]
    )
    folder.mkdir(parents=True)
    (folder / "planted.py").write_text(code)
    said: dict[str, Any] = {"name": "planted", "version": version, "agents": {role: "planted:Planted"}}
    if migrates:
        said["agents"] = {role: "planted:Keeping"}
        said["migrations"] = {role: {"up": "planted:up", "down": "planted:down"}}
    if changes:
        said["changes"] = [dict(each, agent=role) for each in changes]
    release, _ = build(home, from_folder(Path(folder)), said=said, key=None, by="tests", at=time.time())
    return release.digest
