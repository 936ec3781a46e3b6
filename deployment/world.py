"""From what a rollout wants to files: the routing table, and what each process runs from. Opens releases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from ark.equipment import ArmSpec
from ark.routing import Declared, Route, Table, arm_name, pins
from deployment.desired import Desired
from deployment.releases import Release

__all__ = ["table_of", "without_old_arms"]


def table_of(
    wanted: Desired,
    *,
    before: Table | None,
    opened: Callable[[str], Release],
    positions: Mapping[str, str | None] | None,
    now: float,
    slow_s: float,
) -> Table | None:
    """The routing table that a rollout wants; None where it wants none.

    Args:
        wanted: What it wants.
        before: The table in force.
        opened: Gives a release by its digest.
        positions: Symbols with an open position, which stay with the arm that opened it; see `ark.routing.pins`.
            None: nobody knows now, and what is pinned stays so.
        now: Seconds since the epoch.
        slow_s: What takes longer counts as slow, seconds.
    """
    table = wanted.table
    if table is None:
        return None
    roles = {}
    for role, shares in table.roles.items():
        canary = wanted.arms.get(role, {}).get("canary", "")
        manifest = opened(canary).manifest
        declared = tuple(
            Declared(each.path, each.before, each.after, each.symbol)
            for each in (manifest.changes if manifest else ())
            if each.agent == role
        )
        roles[role] = Route(
            shares.canary,
            shares.baseline,
            copies=shares.copies,
            replay_per_s=min(1000.0, wanted.replay_rate),
            slow_s=min(60.0, slow_s),  # more is not taken: an arm is waited for two seconds
            declared=declared,
        )
    same = before if before is not None and before.rollout == table.rollout else None
    if positions is None:
        positions = {} if same is None else dict.fromkeys(same.pins)
    return Table(
        table.generation,
        table.rollout,
        table.lease_until,
        table.rollout,
        table.by,  # type: ignore[arg-type]
        roles,
        pins(same, positions, now),
        {
            arm_name(role, arm): ArmSpec(role, arm, opened(release).equipment(role))
            for role, arms in wanted.arms.items()
            for arm, release in arms.items()
        },
        {role: opened(release).equipment(role) for role, release in wanted.provisional.items()},
    )


def without_old_arms(table: Table, tree: Iterable[Mapping[str, Any]]) -> Table:
    """A table without the roles beside which another rollout's arms still stand, and without their arms.

    They have the same names: what the old ones answer, and that they end, would be taken for the new ones' doing.

    Args:
        table: What is wanted.
        tree: Each child of the tree.
    """
    known = {str(child["name"]): child["release"] for child in tree}
    old = {
        arm.role
        for name, arm in table.arms.items()
        if known.get(name, arm.equipment.digest) != arm.equipment.digest
    }
    if not old:
        return table
    return msgspec.structs.replace(
        table,
        roles={role: route for role, route in table.roles.items() if role not in old},
        arms={name: arm for name, arm in table.arms.items() if arm.role not in old},
    )
