"""Whoever is killed at whatever moment of a rollout: it ends legally, and nobody decides without a living lease."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Any, NamedTuple

from ark.errors import ArkError
from tests.node import wait_until
from tests.rollout.scene import Rollouts

__all__ = ["CASTS", "Killed", "kill_once"]

CASTS = (
    *[("deployer",)] * 8,
    ("deployer", "joey.canary"),
    ("deployer", "joey.canary", "joey.baseline"),
    ("deployer", "joey"),
    ("deployer", "gateway"),
    ("deployer", "pipeline"),
    ("deployer", "rollout"),
    ("deployer", "watchdog"),
    ("joey",),
    ("gateway",),
    ("pipeline",),
    ("rollout",),
    ("root",),
    ("deployer", "root"),
    ("everything",),
)
"""Who is killed together; half of the time the deploy actor alone."""


class Killed(NamedTuple):
    """What came of one killing.

    Attributes:
        cast: Who was killed.
        at: In which state of the rollout.
        end: How that ended.
        took_s: How long after the killing.
        differs: What is not as it should be.
    """

    cast: str
    at: str
    end: str
    took_s: float
    differs: str = ""


def kill_once(
    played: Rollouts, other: str, cast: tuple[str, ...], *, delay_s: float = 6.0, within_s: float = 90.0
) -> Killed:
    """Begin a rollout of Joey, kill at a random moment of it, and see how it ends.

    Args:
        played: The node under load.
        other: A release; where it is the permanent one, the installed package is rolled out.
        cast: Who is killed.
        delay_s: How long after the start at the latest.
        within_s: How long the end may take.
    """
    stable = played.permanent("joey")
    target = "" if stable == other else other
    number = played.start("joey", target or "installed")["id"]
    time.sleep(played.die.uniform(0.0, delay_s))  # a moment by chance is what this is about
    if played.die.random() < 0.25:
        with suppress(ArkError):  # it may be over
            played.ask("deploy.abort", reason="so says the die")
    state = played.now()["state"]
    began = time.time()
    strike(played, cast)
    try:
        document = played.reach(lambda now: _is_over(played, now) and now["id"] == number, "it is over", within_s)
        end = document["state"]
        expected = target if end == "permanent" else stable
        wait_until(lambda: played.is_clean({"joey": expected}), f"joey runs {expected[:12] or 'installed'}", 60.0)
    except AssertionError as error:
        return Killed("+".join(cast), state, "?", time.time() - began, str(error))
    differs = "" if end in ("permanent", "rolled_back") else f"it is {end}"
    return Killed("+".join(cast), state, end, time.time() - began, differs)


def _is_over(played: Rollouts, now: dict[str, Any]) -> bool:
    """Whether a rollout is over; where both arms died, it asks a person whether to go on, and is told to."""
    if not now["is_over"] and any("crashed" in each for each in now["holds"]):
        with suppress(ArkError):
            played.ask("deploy.resume", reason="it was the test that killed both")
    return bool(now["is_over"])


def strike(played: Rollouts, cast: tuple[str, ...]) -> None:
    """Kill -9 these children at once; `everything` is the whole node, which is then started again."""
    if "everything" in cast:
        played.one.kill_everything()
        played.one.start()
        return
    try:
        children = {each["name"]: each["pid"] for each in played.one.status()["children"]}
    except ArkError:
        return
    for name in cast:
        if children.get(name):
            with suppress(ProcessLookupError):
                os.kill(children[name], signal.SIGKILL)
