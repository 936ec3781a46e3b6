"""The state of an agent changes hands: from the release that wrote it to the one that will read it.

A release may say how it makes its own of an agent's keys in the Mutable Core (`up`), and how these become again
what the release before could read (`down`). Both are functions from the keys to the keys, and run in a process of
their own, so that no code of another release is ever imported beside an agent. What they change are revisions like
any others; a rollback that takes these back needs no way down. That is for the case in which it could not.

Which releases have made the keys their own stands beside them, under a key of its own, the newest last. Where
a release among them becomes permanent again, or one that was permanent when one of them came, the keys go down all
the steps to it, and never up again. Whoever else comes goes up from where the keys are, or, without an `up`, reads
them as they are.

A way up is tried before that: each time that the canary starts, over a copy of the keys, and what comes of it is
thrown away. So one that fails is found before the release decides anything.

A way down is there for getting back, so nothing stops it: where a release may not be run any more, is gone, or
fails at it, the keys become those that were there before it came. What was written since stands in the history.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ark.changes import Change, Group, check_change
from ark.equipment import INSTALLED, Equipment, load_released, verify_release
from ark.errors import AgentError, ArkError
from ark.home import Home
from ark.state import Core

__all__ = [
    "MARK",
    "START_SHARE",
    "Migrated",
    "Run",
    "goes_up",
    "is_from_before",
    "migrate",
    "of_releases",
    "rehearse",
    "release_of_keys",
    "run_apart",
]

MARK = "ark.release"
"""The agent's key that says which releases have made its keys their own."""
START_SHARE = 0.8
"""So much of the time that an agent has to start its migrations may take: who is killed cannot say why."""

Keys = dict[str, Any]
Run = Callable[[str, Literal["up", "down"], Keys], Keys]
"""Runs a release's migration, given its digest: `run(digest, "down", keys)`."""


class _Step(msgspec.Struct, frozen=True):
    """A release that went up.

    Attributes:
        digest: Which.
        before: The release that was permanent when it came; empty for the installed package.
        revision: The newest one of the Mutable Core when it came.
    """

    digest: str
    before: str
    revision: int


class Migrated(NamedTuple):
    """What was done.

    Attributes:
        what: In a line.
        is_lossy: Whether what was written for a release is not in the keys any more, but in the history alone.
    """

    what: str
    is_lossy: bool = False


def release_of_keys(mark: object) -> str:
    """The digest of the release that an agent's keys are for, by its key `MARK`; empty where none has gone up."""
    return _newest(_steps(mark))


def goes_up(mark: object, equipment: Equipment) -> bool:
    """Whether an agent's keys, by its key `MARK`, are of a release before this one, which makes them its own."""
    steps, digest = _steps(mark), equipment.digest
    return bool(equipment.up) and digest != _newest(steps) and not _way_down(steps, digest)


def is_from_before(mark: object, digest: str) -> bool:
    """Whether a release is one from before the keys of an agent became what they are, by its key `MARK`."""
    steps = _steps(mark)
    return digest != _newest(steps) and _way_down(steps, digest) > 0


def migrate(core: Core, role: str, equipment: Equipment, *, permanent: str, run: Run) -> Migrated | None:
    """Have the keys of an agent be for the release that it is about to run from.

    Args:
        core: The Mutable Core.
        role: The agent.
        equipment: What its process runs from.
        permanent: The digest of its permanent release, which may be the same.
        run: Runs a migration; see `of_releases`.

    Returns:
        What was done; None for nothing.

    Raises:
        ArkError: The way up failed. Nothing is written then.
    """
    mark = core.get(role, MARK)
    steps = _steps(mark)
    digest = equipment.digest
    back = _way_down(steps, digest)
    # On probation nobody goes down: from there, the permanent release would not find its own keys again.
    if (digest == _newest(steps) or digest != permanent) if back else not goes_up(mark, equipment):
        return None
    revision = core.revision()
    before = after = _keys(core, role)
    if back:
        done, is_lossy = [], False
        for step in reversed(steps[-back:]):
            name = step.digest[:12]
            try:
                after = _sound(role, run(step.digest, "down", after))
                done.append(f"down from {name}")
            except ArkError as error:
                after, is_lossy = _keys(core, role, step.revision), True
                done.append(f"back to revision {step.revision}, before {name} came, since {error.message}")
        # In the name of the release that goes: an undo of that one takes it back, too.
        goes, made = steps[-1].digest[:12], Migrated(" and ".join(done), is_lossy)
        steps = steps[:-back]
    else:
        after = run(digest, "up", after)
        goes, made = equipment.release, Migrated(f"up to {equipment.release}")
        steps = (*steps, _Step(digest, permanent if permanent != digest else _newest(steps), revision))
    changes = [Change(key, agent=role, gone=True) for key in sorted(before.keys() - after.keys())]
    changes += [Change(key, after[key], role) for key in sorted(after) if before.get(key, MARK) != after[key]]
    changes.append(
        Change(MARK, [msgspec.to_builtins(each) for each in steps], role)
        if steps
        else Change(MARK, agent=role, gone=True)
    )
    core.write([Group(tuple(changes), f"{role}@{goes}", f"migrated {made.what}")])
    return made


def rehearse(core: Core, role: str, equipment: Equipment, *, run: Run) -> None:
    """Go the way up that an agent would go from its keys of now, and write nothing.

    Args:
        core: The Mutable Core.
        role: The agent.
        equipment: What it is to run from.
        run: Runs a migration; see `of_releases`.

    Raises:
        ArkError: It failed, or what it gave cannot be kept.
    """
    if goes_up(core.get(role, MARK), equipment):
        _sound(role, run(equipment.digest, "up", _keys(core, role)))


def _steps(mark: object) -> tuple[_Step, ...]:
    try:
        return msgspec.convert(mark or (), tuple[_Step, ...])
    except msgspec.ValidationError:
        return ()


def _newest(steps: Sequence[_Step]) -> str:
    return steps[-1].digest if steps else INSTALLED.digest


def _way_down(steps: Sequence[_Step], digest: str) -> int:
    """How many steps lead down to a release; 0 where none do."""
    for count in range(1, len(steps) + 1):
        if digest in (steps[-count].before, _newest(steps[:-count])):
            return count
    return 0


def _sound(role: str, keys: Keys) -> Keys:
    """Keys that can be kept."""
    for key, value in keys.items():
        check_change(Change(key, value, role))
    return keys


def _keys(core: Core, role: str, revision: int | None = None) -> Keys:
    return {each.key: each.value for each in core.entries(role, revision=revision) if each.key != MARK}


def of_releases(home: Home, role: str, *, within_s: float) -> Run:
    """Runs the migrations that the releases of a home have for an agent, each verified before that.

    Args:
        home: Where the releases are.
        role: The agent.
        within_s: How long all of them together may take from now on, seconds.

    What it gives raises `ArkError`: the release must not be run or has no such way, or it failed.
    """

    until = time.monotonic() + within_s

    def run(digest: str, way: Literal["up", "down"], keys: Keys) -> Keys:
        equipment = verify_release(home, role, Equipment(digest))
        place = equipment.up if way == "up" else equipment.down
        if not place:
            raise AgentError(f"the release {equipment.release} has no way {way}")
        try:
            return run_apart(equipment.code, place, keys, within_s=until - time.monotonic())
        except subprocess.TimeoutExpired as error:
            raise AgentError(
                f"the migration {place} was not done {within_s:.3g} s after the start",
                hint=f"give {role} longer to start: `start_timeout_s`",
            ) from error

    return run


def run_apart(code: str, place: str, keys: Keys, *, within_s: float) -> Keys:
    """Run a migration in a process of its own, which imports from that folder first.

    Raises:
        AgentError: It raised, or gave no map that JSON can say.
        subprocess.TimeoutExpired: It was not done within so many seconds.
    """
    command = [sys.executable, "-B", "-m", "ark.migration", code, place]
    done = subprocess.run(
        command, input=json.dumps(keys).encode(), capture_output=True, timeout=within_s, check=False
    )
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
    function = load_released(place, code)
    output, sys.stdout = sys.stdout, sys.stderr  # what the function prints is not the answer
    json.dump(function(json.load(sys.stdin)), output)


if __name__ == "__main__":
    main()
