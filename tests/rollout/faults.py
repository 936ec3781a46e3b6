"""Canaries with planted faults, one rollout each: how soon that was seen, and how soon they decided no more."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ark.errors import ArkError
from tests.node import wait_until
from tests.rollout.scene import Decided, Rollouts

__all__ = ["LIVE", "LONG", "UNCOMPARED", "Planted", "Row", "first_live", "play", "traffic_after"]

ZERO_S = 1.0
"""Within so long after the verdict the canary decides nothing more."""
LONG = {"stage_s": 600.0}
"""A stage that only a fault ends."""


class Planted(NamedTuple):
    """A canary with a fault.

    Attributes:
        role, fault: See `tests.rollout.releases`.
        where: When it begins: `start` (it is bad from the beginning, and only copies should ever reach it), `live`
            (at half of the traffic), `warm` (there, once its memory has been weighed), or `bake`.
        settings: Of the plan.
        why: A part of the reason that is expected.
        within_s: The time within which it is to be turned back.
    """

    role: str
    fault: str
    where: str = "live"
    settings: dict[str, Any] = {}
    why: str = ""
    within_s: float = 20.0

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.role} {self.fault} ({self.where})"


class Row(NamedTuple):
    """What came of one.

    Attributes:
        name: Which.
        detected_s: From the beginning of the fault to the verdict.
        zero_s: From the verdict to the last signal that the canary decided; 0 where that was before.
        decided: How many signals the canary decided in all.
        why: The verdict's reason.
        differs: What is not as it should be; empty for nothing.
    """

    name: str
    detected_s: float
    zero_s: float
    decided: int
    why: str
    differs: str = ""


_DIFFERENT = "decided"
_NOISY = {"shadow_s": 30.0, "judge": {"noisy": ["joey"]}}
"""So that only more differences than the agent has from itself can tell, while it decides everything itself."""
UNCOMPARED = {"judge": {"observe_only": ["pairs.different", "pairs.denied"]}}
"""So that only the agent's own process can tell."""

LIVE = (
    Planted("joey", "raises", why="usable answer"),
    Planted("joey", "slow", why="joey"),
    Planted("joey", "crashes", why="crashed", within_s=30.0),
    Planted("joey", "wrong size", why=_DIFFERENT),
    Planted("joey", "denied", why=_DIFFERENT),
    Planted("joey", "denied", "start", _NOISY, "that the same code decided twice", within_s=60.0),
    Planted(
        "joey",
        "leaks",
        "warm",
        {"judge": {"memory_mb": 20.0, "memory_ratio": 1.1, "memory_times": 2.0}},
        "memory grew",
        30.0,
    ),
    Planted("joey", "raises", "bake", why="usable answer"),
    Planted("hrm", "denies", why=_DIFFERENT),
    Planted("hrm", "denies", settings={"judge": {"observe_only": ["pairs.different"]}}, why="were denied by"),
    Planted("hrm", "misses a rule", why=_DIFFERENT),
    Planted(
        "hrm", "misses a rule", settings={"judge": {"observe_only": ["pairs.different"]}}, why="were denied by"
    ),
    Planted("hrm", "approves", settings=UNCOMPARED, why="nobody had approved"),
    Planted("kenny", "wrong order", settings=UNCOMPARED, why="nobody had approved"),
    *(Planted("joey", fault, "start") for fault in ("raises", "slow", "crashes", "wrong size", "denied")),
    *(Planted("hrm", fault, "start") for fault in ("denies", "misses a rule", "approves")),
    Planted("kenny", "wrong order", "start"),
)


def first_live(played: Rollouts, role: str, since: float, within_s: float = 30.0) -> None:
    """Wait until the canary has decided a signal."""
    wait_until(
        lambda: any(each.arm == "canary" for each in played.decided(role, since)),
        f"the canary of {role} decides",
        within_s,
    )


def traffic_after(decided: list[Decided], at: float) -> float:
    """How long after a time the last signal was decided by a canary, seconds; 0 where none was."""
    return max([0.0, *(each.at - at for each in decided if each.arm == "canary")])


def play(played: Rollouts, planted: Planted) -> Row:
    """Roll out a release with a fault, and have it turned back. The load goes on afterwards."""
    began = time.time()
    trigger = played.trigger()
    digest = played.plant(planted.role, planted.fault, trigger=str(trigger))
    if planted.where == "start":
        trigger.touch()
        pulled = time.time()
    settings = {**(LONG if planted.where in ("live", "warm") else {}), **planted.settings}
    if planted.where == "bake":
        settings = {**settings, "bake_s": 600.0}
    played.start(planted.role, digest, **settings)
    if planted.where != "start":
        if planted.where == "bake":
            played.reach(lambda now: now["state"] == "bake", "the bake has begun")
        else:
            played.reach_share(50)
            first_live(played, planted.role, began)
        if planted.where == "warm":
            played.reach(lambda now: "canary_first" in now["facts"]["memory_bytes"], "its memory was weighed")
        trigger.touch()
        pulled = time.time()
    try:
        document = played.finish(planted.within_s + 30.0)
        at = played.verdict_at(document)
    except (AssertionError, ArkError, StopIteration) as error:
        played.ask("deploy.abort", reason="the test is over")
        played.finish()
        return Row(planted.name, 0.0, 0.0, 0, "", f"it was not turned back: {error!r}")
    finally:
        trigger.unlink(missing_ok=True)
    differs = []
    wait_until(lambda: played.is_clean({planted.role: ""}), "everybody is back", 30.0)
    decided = [each for each in played.decided(planted.role, began) if each.arm == "canary"]
    why = str(document["last"]["why"])
    zero_s = traffic_after(decided, at)
    if document["state"] != "rolled_back":
        differs.append(f"it is {document['state']}")
    if planted.why not in why:
        differs.append("for another reason")
    if zero_s > ZERO_S:
        differs.append(f"the canary decided for {zero_s:.2f} s more")
    if document["troubles"]:
        differs.append(f"troubles: {document['troubles']}")
    if at - pulled > planted.within_s:
        differs.append(f"not within {planted.within_s:g} s")
    return Row(planted.name, at - pulled, zero_s, len(decided), why, "; ".join(differs))
