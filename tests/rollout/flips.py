"""Routing tables that go back and forth under load: how soon after a flip back nothing is decided by the canary."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from ark.equipment import INSTALLED, ArmSpec
from ark.routing import ARMS, LEASE_S, Route, Table, arm_name, write_table
from deployment.releases import open_release
from tests.node import wait_until
from tests.rollout.scene import Rollouts

__all__ = ["Flips", "flip"]


class Flips(NamedTuple):
    """What was measured.

    Attributes:
        count: How many times all traffic went to the canaries and back.
        decided: How many signals canaries decided.
        back_s: After each flip back, how long until the last of them, by role and flip.
        there_s: After each flip there, how long until the first; where there was one.
    """

    count: int
    decided: int
    back_s: list[float]
    there_s: list[float]


def flip(played: Rollouts, releases: Mapping[str, str], count: int) -> Flips:
    """Flip all traffic to the canaries and back so often.

    Args:
        played: The node under load; no rollout may be under way.
        releases: The canary's release of each role.
        count: How often.
    """
    home = played.home
    arms = {
        arm_name(role, arm): ArmSpec(
            role, arm, open_release(home, digest).equipment(role) if arm == "canary" else INSTALLED
        )
        for role, digest in releases.items()
        for arm in ARMS
    }
    generation = 0

    def put(canary: float) -> float:
        nonlocal generation
        generation += 1
        roles = dict.fromkeys(releases, Route(canary))
        at = time.time()
        write_table(home.routes_file, Table(generation, "flips", at + LEASE_S, "salt", "symbol", roles, {}, arms))
        return at

    def are_warm() -> bool:
        put(0.0)
        states = {each["name"]: each["state"] for each in played.one.status()["children"]}
        return all(states.get(name) == "running" for name in arms)

    wait_until(are_warm, "all arms run", 30.0)
    began = time.time()
    there, back = [], []
    for _ in range(count):
        there.append(put(1.0))
        time.sleep(played.die.uniform(0.05, 0.35))  # the pace of the flips, not a wait for anything
        back.append(put(0.0))
        time.sleep(played.die.uniform(0.05, 0.35))
    home.routes_file.unlink()
    played.settle()
    ends = [*there[1:], time.time()]
    back_s, there_s, decided = [], [], 0
    for role in releases:
        times = sorted(each.at for each in played.decided(role, began - 1) if each.arm == "canary")
        decided += len(times)
        for begun, left, end in zip(there, back, ends, strict=True):
            back_s.append(max([0.0, *(at - left for at in times if left < at < end)]))
            there_s += [at - begun for at in times if begun <= at < left][:1]
    return Flips(count, decided, back_s, there_s)
