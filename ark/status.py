"""What `status` answers: the supervisors' word on each child, beside what the black boxes say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ark.blackbox import Reading, read
from ark.home import Home
from ark.rollouts import shown_rollout
from ark.storage import STORAGE

__all__ = ["AlertStatus", "ChildStatus", "SignalCounts", "StatusDocument", "compose", "depths", "read_boxes"]


class _Figures(msgspec.Struct, kw_only=True):
    """What the Watchdog knows of a child."""

    health: float | None = None
    requests: int | None = None
    failures: int | None = None
    failures_in_a_row: int | None = None
    mean_latency_ms: float | None = None
    memory_mb: float | None = None
    descriptors: int | None = None


class ChildStatus(_Figures, kw_only=True):
    """One child of the tree.

    Attributes:
        name: Its name.
        parent: Its supervisor's name; nil for the root.
        kind: `supervisor`, `service` or `agent`.
        state: `running`, `starting`, `isolated`, `backoff`, `stopped` or `failed`.
        pid: Of its process; nil while it has none.
        version: The agent's, or ARK's.
        restarts: Starts after the first one, whatever they were for.
        uptime_s: Since its process was made; nil while it has none.
        heartbeat_age_s: Since its loop went round.
        mailbox_depth: Envelopes that were sent to it and that it has not taken yet; nil for what is no agent.
        reason: Why it is as it is, or why its last process ended.
        concern: What keeps a process that runs from its work.
        health: 1 is well: half of it the share of signals that did not fail, 0.3 its speed, 0.2 whether it was seen
            within a minute. For agents, once the Watchdog knows.
        requests, failures, mean_latency_ms: What it did within the Watchdog's window (`watchdog.window_s`).
        failures_in_a_row: Failed signals without a good one among them, up to now.
        memory_mb: Resident memory, MiB.
        descriptors: How many file descriptors it has open.
    """

    name: str
    parent: str | None
    kind: str
    state: str
    pid: int | None
    version: str
    restarts: int
    uptime_s: float | None
    heartbeat_age_s: float | None
    mailbox_depth: int | None
    reason: str | None
    concern: str | None = None


class SignalCounts(msgspec.Struct, kw_only=True):
    """The signals, over the life of the home; nil while the gateway's journal cannot be opened.

    Attributes:
        accepted: All that were ever accepted: completed, held and in flight together.
        in_flight: Those without an outcome that are not held.
        completed: Those that have their outcome.
        held: Those that wait for a person now.
        dead_letters: Those that the pipeline gave up on and that nobody has dealt with.
        dead_letters_ever: All that it ever gave up on.
    """

    accepted: int | None = None
    in_flight: int | None = None
    completed: int | None = None
    held: int | None = None
    dead_letters: int | None = None
    dead_letters_ever: int | None = None


class AlertStatus(msgspec.Struct, kw_only=True):
    """A fault that stands, as the Watchdog tells of it.

    Attributes:
        name: The child it is about, or `node`.
        fault: Which, as in `[watchdog.answers]`, or `isolated`, `halted`, `seal`.
        severity: `warning`, `critical` or `emergency`.
        answer: What was done: `warn`, `restart`, `isolate` or `halt`.
        state: `raised`.
        reason: What was seen, with figures.
        advice: What to do next.
        count: How often it came, since it was first told of.
        since: When it came first, seconds since the epoch.
    """

    name: str
    fault: str
    severity: str
    answer: str
    state: str
    reason: str
    advice: str
    count: int
    since: float


class StatusDocument(msgspec.Struct, kw_only=True):
    """What the operation `status` and `supervisor status --json` give.

    Attributes:
        state: `running`; `starting` while there is no tree yet. From the command also `stopped` where no node runs,
            and `unreachable` where one does not answer.
        ready: Whether every child runs and none waits for its journal.
        halted: Whether trading is halted.
        halt_reason: Why.
        children: Parents before children.
        signals: Counts of signals.
        health: The mean health of the agents that are not isolated; nil while the Watchdog says nothing.
        alerts: What stands, the oldest first.
        webhook: How the webhook stands; nil without one.
        outcomes: Outcomes by their status, over the life of the home; empty while the journal cannot be opened.
        violations: Those of them that the rule book itself denied.
        refused: Attempts that were refused since the gateway's process began: unknown keys, forbidden operations,
            and what own processes sent and nobody can read.
        events: Where the node publishes; nil where it does not answer.
        busy: Why the front door takes no signals now; nil where it does.
        rollout: The one under way, or that ended within ten minutes, as `deploy.status` has it; nil for none.
    """

    state: str
    ready: bool
    halted: bool
    halt_reason: str | None
    children: list[ChildStatus] = []
    signals: SignalCounts = msgspec.field(default_factory=SignalCounts)
    health: float | None = None
    alerts: list[AlertStatus] = []
    webhook: dict[str, Any] | None = None
    outcomes: dict[str, int] = {}
    violations: int = 0
    refused: int = 0
    events: str | None = None
    busy: str | None = None
    rollout: dict[str, Any] | None = None


class _Watched(msgspec.Struct):
    health: float | None = None
    agents: dict[str, _Figures] = {}
    alerts: list[AlertStatus] = []
    webhook: dict[str, Any] | None = None


def read_boxes(home: Home, tree: Sequence[Mapping[str, Any]]) -> dict[str, Reading | None]:
    """The black boxes of a tree's children, by name; None where there is none, or it cannot be read."""
    boxes: dict[str, Reading | None] = dict.fromkeys(child["name"] for child in tree)
    for name in boxes:
        with suppress(OSError):
            boxes[name] = read(home.box(name))
    return boxes


def compose(
    home: Home,
    tree: Sequence[Mapping[str, Any]],
    pipeline: tuple[str, ...],
    signals: SignalCounts,
    boxes: Mapping[str, Reading | None],
    *,
    outcomes: Mapping[str, int] | None = None,
    violations: int = 0,
    refused: int = 0,
    events: str | None = None,
    busy: str | None = None,
) -> StatusDocument:
    """Put the status together.

    Args:
        home: Where the halt and the Watchdog's report are.
        tree: Each child as its supervisor describes it, parents before children.
        pipeline: The agents in order.
        boxes: From `read_boxes`.
        signals, outcomes, violations, refused, events, busy: As in the document.
    """
    watched = _watched(home)
    now = time.monotonic()
    children = []
    for child in tree:
        box = boxes[child["name"]]
        alive = child["pid"] is not None
        seen = watched.agents.get(child["name"]) if alive else None
        children.append(
            ChildStatus(
                name=child["name"],
                parent=child["parent"],
                kind=child["kind"],
                state=child["state"],
                pid=child["pid"],
                version=child["version"],
                restarts=child["restarts"],
                uptime_s=round(now - child["since"], 3) if alive and child["since"] else None,
                heartbeat_age_s=round(box.beat_age_s, 3) if alive and box else None,
                mailbox_depth=_depth(child["name"], pipeline, boxes),
                reason=_waits_for(child, box) or child["reason"],
                concern=(box.concern or None) if alive and box and box.pid == child["pid"] else None,
                **(msgspec.structs.asdict(seen) if seen else {}),
            )
        )
    reason = home.halt_reason()
    waits = any(_waits_for(child, boxes[child["name"]]) for child in tree)
    return StatusDocument(
        state="running" if children else "starting",
        ready=bool(children) and not waits and all(child.state == "running" for child in children),
        halted=reason is not None,
        halt_reason=reason,
        children=children,
        signals=signals,
        health=watched.health,
        alerts=watched.alerts,
        webhook=watched.webhook,
        outcomes=dict(outcomes or {}),
        violations=violations,
        refused=refused,
        events=events,
        busy=busy,
        rollout=shown_rollout(home),
    )


def _watched(home: Home) -> _Watched:
    """What the Watchdog wrote down last; nothing where that cannot be read."""
    try:
        return msgspec.convert(home.watchdog_report(), _Watched)
    except msgspec.ValidationError:
        return _Watched()


def _waits_for(child: Mapping[str, Any], box: Reading | None) -> str:
    """What a living process says that it waits for, as one whose file cannot be written; empty for nothing."""
    own = box is not None and box.pid == child["pid"]
    return box.reason if box is not None and own and box.reason.startswith(STORAGE) else ""


def depths(home: Home, pipeline: tuple[str, ...]) -> dict[str, int]:
    """How many envelopes of the newest epoch were sent to each agent and not taken by it yet."""
    boxes = {name: read(home.box(name)) for name in ("gateway", *pipeline)}
    return {name: _depth(name, pipeline, boxes) or 0 for name in pipeline}


def _depth(name: str, pipeline: tuple[str, ...], boxes: Mapping[str, Reading | None]) -> int | None:
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
