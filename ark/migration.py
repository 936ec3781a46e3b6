"""The state of an agent changes hands: from the release that wrote it to the one that will read it.

A release may say how it makes its own of an agent's keys in the Mutable Core (`up`), and how these become again
what the release before could read (`down`). Both are functions from the keys to the keys, and run in a process of
their own, so that no code of another release is ever imported beside an agent. What they change are revisions like
any others; a rollback that takes these back needs no way down. That is for the case in which it could not.

Which release the keys are for stands beside them, under a key of its own.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ark.changes import Change, Group
from ark.equipment import Equipment
from ark.errors import AgentError
from ark.state import Core

__all__ = ["MARK", "Run", "migrate", "run_apart"]

MARK = "ark.release"
"""The agent's key that says which release its keys are for, where that one has migrations."""
_PATIENCE_S = 60.0

Keys = dict[str, Any]
Run = Callable[[str, str, Keys], Keys]
"""Runs a function, given the folder of its code and its place: `run(code, "module:function", keys)`."""


def migrate(core: Core, role: str, equipment: Equipment, *, provisional: bool, run: Run) -> str:
    """Have the keys of an agent be for the release that it is about to run from.

    Args:
        core: The Mutable Core.
        role: The agent.
        equipment: What its process runs from.
        provisional: Whether that is on probation: then the way leads forwards, from the permanent release.
        run: Runs a migration; see `run_apart`.

    Returns:
        What was done, in a line; empty for nothing.

    Raises:
        AgentError: The migration failed. Nothing is written then.
    """
    mark = core.get(role, MARK)
    if not isinstance(mark, Mapping):
        mark = None
    if (mark is None and not equipment.up) or (mark is not None and mark.get("digest") == equipment.digest):
        return ""
    before = {each.key: each.value for each in core.entries(role) if each.key != MARK}
    after, done = before, []
    if mark is not None and not provisional:
        if mark.get("down"):
            after = run(str(mark["code"]), str(mark["down"]), after)
        done.append(f"down from {str(mark.get('digest'))[:12]}")
    if equipment.up:
        after = run(equipment.code, equipment.up, after)
        done.append(f"up to {equipment.release}")
    if not done:
        return ""
    changes = [Change(key, agent=role, gone=True) for key in sorted(before.keys() - after.keys())]
    changes += [Change(key, after[key], role) for key in sorted(after) if before.get(key, MARK) != after[key]]
    if equipment.up:
        own = {"digest": equipment.digest, "code": equipment.code, "down": equipment.down}
        changes.append(Change(MARK, own, role))
    elif mark is not None:
        changes.append(Change(MARK, agent=role, gone=True))
    reason = f"migrated {' and '.join(done)}"
    # Who goes down does so in the name of the release that goes: an undo of that one takes it back, too.
    goes = str(mark["digest"])[:12] if mark is not None and not provisional else equipment.release
    core.write([Group(tuple(changes), f"{role}@{goes or 'installed'}", reason)])
    return reason


def run_apart(code: str, place: str, keys: Keys) -> Keys:
    """Run a migration in a process of its own, which imports from that folder first.

    Raises:
        AgentError: It raised, took too long, or gave no map that JSON can say.
    """
    command = [sys.executable, "-B", "-m", "ark.migration", code, place]
    try:
        done = subprocess.run(
            command, input=json.dumps(keys).encode(), capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AgentError(f"the migration {place} took longer than {_PATIENCE_S:g} s") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise AgentError(f"the migration {place} failed: {told[-1][:300]}")
    after = json.loads(done.stdout)
    if not isinstance(after, dict):
        raise AgentError(f"the migration {place} gave no map of keys")
    return after


def main() -> None:
    """Read keys from standard input, and write what the function makes of them."""
    code, place = sys.argv[1:]
    sys.path.insert(0, code)
    module, _, name = place.partition(":")
    function = getattr(importlib.import_module(module), name)
    output, sys.stdout = sys.stdout, sys.stderr  # what the function prints is not the answer
    json.dump(function(json.load(sys.stdin)), output)


if __name__ == "__main__":
    main()
