"""Whether the tree is well, from the supervisors' word on each child and the black boxes. Pure.

*Healthy* is a tree in which nothing is amiss: every process that belongs to it runs and beats within its limit,
none waits for a file that it must write, and the seal of the rule book is whole. What an operator or the Watchdog
has put aside is amiss, too: it is wanted that way, but a node without it is less than a whole one.

*Ready* is a node that does its work: the gateway, the pipeline's supervisor and each of its agents run, beat, and
wait for no file. (Whether the front door really answers is asked, not judged here.) Before an isolated agent
signals wait, so that a node with one is not ready.

A halt changes neither: a halted node does all its work, and denies. Who asks is told of it beside the answer.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec

from ark.blackbox import Reading
from ark.storage import STORAGE

__all__ = ["Fault", "Verdict", "judge"]


class Fault(msgspec.Struct, frozen=True):
    """One thing that is amiss.

    Attributes:
        name: Whose it is; `node` for the rule book's seal.
        fault: `missing`, `down`, `isolated`, `stopped`, `late`, `waits`, `seal` or `full`.
        reason: What is seen, in words.
    """

    name: str
    fault: str
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """How the tree stands.

    Attributes:
        faults: Everything that is amiss, in the tree's order.
        hinders: What keeps the node from its work: those of them that do, and a front door that is full.
    """

    faults: tuple[Fault, ...] = ()
    hinders: tuple[Fault, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is amiss."""
        return not self.faults

    @property
    def is_ready(self) -> bool:
        """Whether nothing keeps the node from its work, as far as it can be seen."""
        return not self.hinders


def judge(
    tree: Sequence[Mapping[str, Any]],
    boxes: Mapping[str, Reading | None],
    limits_s: Mapping[str, float],
    needed: Container[str],
    now: float,
    *,
    seal: str = "",
    full: str = "",
) -> Verdict:
    """Say how the tree stands.

    Args:
        tree: Each child as its supervisor describes it.
        boxes: What is in their black boxes.
        limits_s: Everybody who belongs to the tree, and the greatest age of a last beat that is borne.
        needed: Those of them without whom no signal is dealt with.
        now: Seconds on the clock of the tree's `since`.
        seal: What is wrong with the rule book's seal; empty for nothing.
        full: Why the front door takes no more signals; empty while it does. A node that has so much to do is whole.
    """
    known = {child["name"]: child for child in tree}
    faults = []
    for name, limit_s in limits_s.items():
        child = known.get(name)
        found = _missing(name) if child is None else _look(child, boxes.get(name), limit_s, now)
        if found is not None:
            faults.append(found)
    if seal:
        faults.append(Fault("node", "seal", seal))
    hinders = [fault for fault in faults if fault.name in needed]
    if full:
        hinders.append(Fault("gateway", "full", full))
    return Verdict(tuple(faults), tuple(hinders))


def _missing(name: str) -> Fault:
    return Fault(name, "missing", "nothing is known of it; its supervisor does not run")


def _look(child: Mapping[str, Any], box: Reading | None, limit_s: float, now: float) -> Fault | None:
    name, state = child["name"], child["state"]
    why = f": {child['reason']}" if child["reason"] else ""
    if state in ("isolated", "stopped") and child["desired"] == state:
        return Fault(name, state, f"{state}{why}")
    if state != "running" or child["pid"] is None:
        return Fault(name, "down", f"{state}{why}")
    own = box if box is not None and box.pid == child["pid"] else None
    if own is not None and own.reason.startswith(STORAGE):
        return Fault(name, "waits", own.reason)
    age_s = own.beat_age_s if own is not None else now - (child["since"] or now)
    if age_s > limit_s:
        return Fault(name, "late", f"no heartbeat for {age_s:.1f} s")
    return None
