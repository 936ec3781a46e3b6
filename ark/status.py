"""What `status` answers: the supervisors' word on each child, beside what the black boxes say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ark.blackbox import Reading, read
from ark.home import Home
from ark.storage import STORAGE

__all__ = ["compose", "depths"]


def compose(
    home: Home, tree: list[dict[str, Any]], pipeline: tuple[str, ...], signals: Mapping[str, int | None]
) -> dict[str, Any]:
    """Put the status together.

    Args:
        home: Where the black boxes are.
        tree: Each child as its supervisor describes it, parents before children.
        pipeline: The agents in order.
        signals: Counts by name; None where they are not known.
    """
    boxes = {child["name"]: read(home.box(child["name"])) for child in tree}
    now = time.monotonic()
    children = []
    for child in tree:
        box = boxes[child["name"]]
        alive = child["pid"] is not None
        waits = _waits_for(child, box)
        children.append(
            {
                "name": child["name"],
                "parent": child["parent"],
                "kind": child["kind"],
                "state": child["state"],
                "pid": child["pid"],
                "version": child["version"],
                "restarts": child["restarts"],
                "uptime_s": round(now - child["since"], 3) if alive and child["since"] else None,
                "heartbeat_age_s": round(box.beat_age_s, 3) if alive and box else None,
                "mailbox_depth": _depth(child["name"], pipeline, boxes),
                "reason": waits or child["reason"],
                "concern": box.concern or None if alive and box and box.pid == child["pid"] else None,
            }
        )
    watched = home.watchdog_report()
    for child in children:
        child |= {key: value for key, value in watched["agents"].get(child["name"], {}).items() if child["pid"]}
    reason = home.halt_reason()
    ready = bool(children) and all(child["state"] == "running" for child in children)
    ready = ready and not any(_waits_for(child, boxes[child["name"]]) for child in tree)
    return {
        "state": "running" if children else "starting",
        "halted": reason is not None,
        "halt_reason": reason,
        "ready": ready,
        "children": children,
        "signals": dict(signals),
        "health": watched["health"],
        "alerts": watched["alerts"],
        "webhook": watched["webhook"],
    }


def _waits_for(child: dict[str, Any], box: Reading | None) -> str:
    """What a living process says that it waits for, as one whose file cannot be written; empty for nothing."""
    own = box is not None and box.pid == child["pid"]
    return box.reason if box is not None and own and box.reason.startswith(STORAGE) else ""


def depths(home: Home, pipeline: tuple[str, ...]) -> dict[str, int]:
    """How many envelopes of the newest epoch were sent to each agent and not taken by it yet."""
    boxes = {name: read(home.box(name)) for name in ("gateway", *pipeline)}
    return {name: _depth(name, pipeline, boxes) or 0 for name in pipeline}


def _depth(name: str, pipeline: tuple[str, ...], boxes: dict[str, Reading | None]) -> int | None:
    """How many envelopes of the newest epoch were sent to an agent and not taken by it yet."""
    if name not in pipeline:
        return None
    place = pipeline.index(name)
    before = boxes.get(pipeline[place - 1] if place else "gateway")
    own = boxes.get(name)
    if before is None or own is None or own.epoch > before.epoch:
        return 0
    taken = own.received if own.epoch == before.epoch else 0
    return max(0, before.sent - taken)
