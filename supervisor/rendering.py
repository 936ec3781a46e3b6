"""What an operator reads: lines made of the status document and of events. Pure."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from ark.rollouts import is_unled
from ark.status import StatusDocument

__all__ = [
    "STYLES",
    "Status",
    "absent",
    "as_json",
    "event_line",
    "is_well",
    "status_lines",
    "tree_lines",
]

Status: TypeAlias = Mapping[str, Any]
"""The document that the operation `status` answers with."""

STYLES = {
    "RUNNING": "green",
    "STARTING": "yellow",
    "BACKOFF": "yellow",
    "ISOLATED": "magenta",
    "STOPPED": "dim",
    "FAILED": "bold red",
    "HALTED": "bold red",
}
"""How a terminal colours the words that matter."""

NAME_WIDTH = 32
STATE_WIDTH = 9
ENVELOPE = ("v", "id", "ok")
"""Keys of a reply that are not part of the document in it."""


def is_well(status: Status) -> bool:
    """Whether nothing needs an operator: the node is ready, every child runs, and trading is not halted."""
    children = status.get("children", ())
    running = bool(children) and all(child.get("state") == "running" for child in children)
    return running and bool(status.get("ready")) and not status.get("halted")


def absent(halt_reason: str | None) -> dict[str, Any]:
    """The status document where no node runs; a halt outlives the node."""
    halted = halt_reason is not None
    document = StatusDocument(state="stopped", ready=False, halted=halted, halt_reason=halt_reason)
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def as_json(document: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """A reply's document as it came, unknown keys included."""
    return json.dumps(
        {key: value for key, value in document.items() if key not in ENVELOPE}, indent=indent, default=str
    )


def status_lines(status: Status) -> list[str]:
    """One line for each child in the manner of `supervisorctl status`, then the node's own lines."""
    children = status.get("children", ())
    width = max((NAME_WIDTH, *(len(_plain(child.get("name"))) for child in children)))
    lines = [f"{_plain(child.get('name')):<{width}} {_state(child)} {_describe(child)}" for child in children]
    if not children:
        lines.append(f"no children yet, the node is {_plain(status.get('state', 'unknown'))}")
    return lines + _node_lines(status, width)


def tree_lines(status: Status) -> list[str]:
    """The children below their supervisors."""
    children = status.get("children", ())
    names = {child.get("name") for child in children}
    below: dict[Any, list[Mapping[str, Any]]] = {}
    for child in children:
        parent = child.get("parent")
        below.setdefault(parent if parent in names and parent != child.get("name") else None, []).append(child)
    rows = list(_branches(below, None, ""))
    width = max((len(label) for label, _ in rows), default=0)
    return [f"{label:<{width}}  {_state(child)} {_describe(child)}" for label, child in rows]


def event_line(event: Mapping[str, Any]) -> str:
    """One event: the local time, its kind, whom it is about, and the rest as pairs."""
    at = event.get("at")
    known = isinstance(at, int | float)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if known else "-" * 19
    kind = event.get("kind", event.get("event", "?"))
    name = event.get("name") or event.get("agent") or ""
    rest = [
        f"{_plain(key)}={_plain(value)}"
        for key, value in event.items()
        if value not in (None, "")
        and key not in ("at", "kind", "event", "name", "reason")
        and not (key == "agent" and value == name)
    ]
    reason = [_plain(event["reason"])] if event.get("reason") else []
    return f"{moment}  {_plain(kind):<12} {_plain(name):<12} {', '.join(reason + rest)}".rstrip()


def _branches(
    below: dict[Any, list[Mapping[str, Any]]], parent: Any, indent: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    children = below.pop(parent, [])  # taken out, so that a circle comes to an end
    for number, child in enumerate(children, 1):
        last = number == len(children)
        root = parent is None
        yield indent + ("" if root else "└── " if last else "├── ") + _plain(child.get("name")), child
        yield from _branches(below, child.get("name"), indent + ("" if root else "    " if last else "│   "))


def _state(child: Mapping[str, Any]) -> str:
    return f"{_plain(child.get('state', 'unknown')).upper():<{STATE_WIDTH}}"


def _describe(child: Mapping[str, Any]) -> str:
    """What stands behind the state: the process while it runs and what it cannot do, the reason otherwise."""
    running = child.get("state") == "running"
    facts = []
    if not running and child.get("reason"):
        facts.append(_plain(child["reason"]))
    if running and child.get("concern"):
        facts.append(_plain(child["concern"]))
    if child.get("pid") is not None:
        facts.append(f"pid {child['pid']}")
    if running and child.get("uptime_s") is not None:
        facts.append(f"uptime {timedelta(seconds=int(child['uptime_s']))}")
    if child.get("version"):
        facts.append(f"version {_plain(child['version'])}")
    facts.append(f"restarts {child.get('restarts', 0)}")
    if running and child.get("heartbeat_age_s") is not None:
        facts.append(f"heartbeat {child['heartbeat_age_s']:.1f} s ago")
    if child.get("mailbox_depth") is not None:
        facts.append(f"mailbox {child['mailbox_depth']}")
    return ", ".join(facts)


def _node_lines(status: Status, width: int) -> list[str]:
    lines = []
    signals = status.get("signals") or {}
    if any(value is not None for value in signals.values()):
        counts = ", ".join(f"{_plain(key).replace('_', ' ')} {value}" for key, value in signals.items())
        lines.append(f"{'signals:':<{width}} {counts}")
    if status.get("refused"):
        lines.append(f"{'refused:':<{width}} {status['refused']} attempts (`supervisor events` says whose)")
    for alert in status.get("alerts") or ():
        label = f"{_plain(alert.get('severity', 'alert'))}:"
        since = time.strftime("%H:%M:%S", time.localtime(alert.get("since")))
        text = (
            f"{_plain(alert.get('name'))} {_plain(alert.get('fault'))} since {since}: {_plain(alert.get('reason'))}"
        )
        lines.append(f"{label:<{width}} {text}")
    lines += _rollout_lines(status.get("rollout"), width)
    if status.get("halted"):
        reason = _plain(status.get("halt_reason") or "no reason given")
        lines.append(f"{'trading:':<{width}} {'HALTED':<{STATE_WIDTH}} {reason} (`ark-run resume` lifts it)")
    return lines


def _rollout_lines(rollout: Mapping[str, Any] | None, width: int) -> list[str]:
    """A rollout in a line, and in a second one why it does not go on."""
    if not rollout:
        return []
    roles = rollout.get("roles") or {}
    moved = ", ".join(
        f"{_plain(role)} {_plain(digest)[:12] or 'installed'}" for role, digest in sorted(roles.items())
    )
    state = _plain(rollout.get("state", "unknown")).replace("_", " ")
    share = f" {rollout['share']:g} %" if state == "stage" and isinstance(rollout.get("share"), int | float) else ""
    expected = rollout.get("expected") if rollout.get("expected_s") else None
    wait = f", a verdict in about {_plain(expected)}" if expected and not rollout.get("is_over") else ""
    lines = [f"{'rollout:':<{width}} {_plain(rollout.get('id'))} ({moved}): {state}{share}{wait}"]
    last = rollout.get("last") or {}
    reasons = [last["why"]] if rollout.get("is_over") and last.get("why") else list(rollout.get("holds") or ())
    if is_unled(rollout):
        reasons = ["nobody leads it: the deploy actor does not run, and every agent decides by itself"]
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        lines.append(f"{'':<{width}} {_plain(reasons[0])}{more} (`ark-run deploy explain`)")
    return lines


def _plain(value: Any) -> str:
    """Text from elsewhere on one line, without anything that a terminal would obey."""
    text = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
