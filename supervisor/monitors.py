"""What the Watchdog's monitors make of what they read: faults. Pure; how agents do is in `supervisor.conduct`, who
hangs in `supervisor.heartbeats`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.alerts import NODE, Fault

__all__ = [
    "BusLimits",
    "Clock",
    "Door",
    "Lasting",
    "Rate",
    "Restarts",
    "Usage",
    "bus_faults",
    "disk_faults",
    "redis_faults",
    "tree_faults",
    "usage_faults",
]

MINUTE_S = 60.0
MIB = 1 << 20
STORAGE = "storage:"
"""How the word of a process begins that waits for its journal."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the front door answered, or did not.

    Attributes:
        at: When it was asked, seconds on the steady clock.
        round_trip_s: How long the answer took; None: none came.
        status: The status document; empty without an answer.
        error: Why there was none.
    """

    at: float
    round_trip_s: float | None
    status: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class BusLimits:
    """What is borne; see `ark.config.WatchdogConfig`.

    Attributes:
        backlog: So many accepted signals may wait for their outcome before it is a fault.
    """

    max_round_trip_s: float = 1.0
    max_queue_depth: int = 1000
    backlog: int = 16_000
    max_redis_depth: int = 1000


def bus_faults(door: Door, limits: BusLimits) -> list[Fault]:
    """What is wrong with the front door, the mailboxes and the backlog."""
    if door.round_trip_s is None:
        return [Fault("front_door", NODE, f"the front door does not answer: {door.error}")]
    faults = []
    if door.round_trip_s > limits.max_round_trip_s:
        faults.append(
            Fault(
                "front_door",
                NODE,
                f"the front door took {door.round_trip_s:.1f} s to answer (at most {limits.max_round_trip_s:g} s)",
            )
        )
    for child in door.status.get("children", ()):
        depth = child.get("mailbox_depth")
        if depth is not None and depth > limits.max_queue_depth:
            reason = f"{depth} wait in its mailbox (at most {limits.max_queue_depth})"
            faults.append(Fault("mailbox", str(child["name"]), reason))
    waiting = door.status.get("signals", {}).get("in_flight") or 0  # unknown while its journal cannot be opened
    if waiting > limits.backlog:
        faults.append(Fault("backlog", NODE, f"{waiting} accepted signals wait for their outcome"))
    return faults


def redis_faults(round_trip_s: float | None, depth: int | None, error: str, limits: BusLimits) -> list[Fault]:
    """What is wrong with the Redis of the feed, or with how much waits in it.

    Args:
        round_trip_s: How long it took to answer; None: it did not.
        depth: How much waits in the stream; None: not known.
        error: Why something is not known.
        limits: What is borne.
    """
    if round_trip_s is None or error:
        return [Fault("redis", NODE, error or "Redis does not answer")]
    if round_trip_s > limits.max_round_trip_s:
        return [Fault("redis", NODE, f"Redis took {round_trip_s:.1f} s to answer")]
    if depth is not None and depth > limits.max_redis_depth:
        return [Fault("redis", NODE, f"{depth} signals wait in Redis (at most {limits.max_redis_depth})")]
    return []


class Rate:
    """How much a count that only rises has risen within a minute; one that falls has begun anew."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._sum = 0
        self._samples: deque[tuple[float, int]] = deque()

    def see(self, count: int, now: float) -> int:
        """Take the count as it is now, and give by how much it has risen within the last minute.

        The first count that is seen is where it begins: what was before happened at some other time.
        """
        if self._last is None:
            self._samples.append((now, 0))
        else:
            self._sum += count - self._last if count >= self._last else count
        self._last = count
        self._samples.append((now, self._sum))
        while len(self._samples) > 1 and self._samples[1][0] <= now - MINUTE_S:
            self._samples.popleft()
        return self._sum - self._samples[0][1]


class Restarts:
    """How often each child was restarted within the last minute."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    def faults(self, tree: Sequence[Mapping[str, Any]], most: int, now: float) -> list[Fault]:
        """Who was restarted too often.

        Args:
            tree: Each child as its supervisor describes it.
            most: So many restarts within a minute are borne.
            now: Seconds on the steady clock.
        """
        faults = []
        for child in tree:
            name = str(child["name"])
            count = self._rates.setdefault(name, Rate()).see(child["restarts"], now)
            if count > most:
                why = f"; the last time: {child['reason']}" if child.get("reason") else ""
                faults.append(Fault("restarts", name, f"restarted {count} times within a minute{why}"))
        return faults


class Clock:
    """Compares the wall clock with the steady one."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def fault(self, wall: float, steady: float, most_s: float) -> Fault | None:
        """Whether the wall clock has jumped since the last look.

        Args:
            wall: Seconds since the epoch.
            steady: Seconds on the steady clock, read at the same moment.
            most_s: So much drift between two looks is borne.
        """
        last, self._last = self._last, (wall, steady)
        if last is None:
            return None
        jump_s = (wall - last[0]) - (steady - last[1])
        if abs(jump_s) <= most_s:
            return None
        way = "forwards" if jump_s > 0 else "backwards"
        return Fault("clock_jump", NODE, f"the clock was set {way} by {abs(jump_s):.1f} s")


class Lasting:
    """How long each child has not been as it should be."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def longer_than(self, names: Sequence[str], patience_s: float, now: float) -> list[tuple[str, float]]:
        """Those of the named that have been named for longer than that, and for how long."""
        self._since = {name: self._since.get(name, now) for name in names}
        return [(name, now - since) for name, since in self._since.items() if now - since > patience_s]


def tree_faults(tree: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> list[Fault]:
    """What the tree itself tells: who is isolated, and who waits for his journal.

    Args:
        tree: Each child as its supervisor describes it.
        words: What each living process says of itself in its black box, by name.
    """
    faults = []
    for child in tree:
        name = str(child["name"])
        if child["state"] == "isolated":
            faults.append(Fault("isolated", name, f"it is isolated: {child.get('reason') or 'no reason given'}"))
        word = words.get(name, "")
        if word.startswith(STORAGE):
            faults.append(Fault("storage", name, word.removeprefix(STORAGE).strip()))
    return faults


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds.

    Attributes:
        name, incarnation: The child's process.
        memory: Resident bytes.
        descriptors: How many it has open.
        most_descriptors: How many it may have open; below 0: as many as it likes.
    """

    name: str
    incarnation: int
    memory: int
    descriptors: int
    most_descriptors: int


def usage_faults(
    usages: Sequence[Usage], memory_limits_mb: Mapping[str, int], limit_mb: int, descriptors_share: float
) -> list[Fault]:
    """Who holds too much.

    Args:
        usages: What each process holds.
        memory_limits_mb: Limits of single children in MiB, by name.
        limit_mb: The limit of all others.
        descriptors_share: The greatest share of its descriptors that a process may have open.
    """
    faults = []
    for each in usages:
        limit = memory_limits_mb.get(each.name) or limit_mb
        if each.memory > limit * MIB:
            reason = f"it holds {each.memory / MIB:,.0f} MiB of memory (at most {limit:,} MiB)"
            faults.append(Fault("memory", each.name, reason, each.incarnation))
        if 0 <= descriptors_share * each.most_descriptors < each.descriptors:
            reason = f"it has {each.descriptors} of {each.most_descriptors} file descriptors open"
            faults.append(Fault("descriptors", each.name, reason, each.incarnation))
    return faults


def disk_faults(free: int | None, low_mb: int, full_mb: int) -> list[Fault]:
    """Whether the disk under the home is nearly full, or full.

    Args:
        free: Free bytes; None: nobody could tell.
        low_mb, full_mb: From where on it is which, MiB.
    """
    if free is None:
        return [Fault("disk_low", NODE, "the free space on the disk cannot be told")]
    if free < full_mb * MIB:
        return [Fault("disk_full", NODE, f"{free / MIB:,.0f} MiB are free on the disk (at least {full_mb:,} MiB)")]
    if free < low_mb * MIB:
        return [Fault("disk_low", NODE, f"{free / MIB:,.0f} MiB are free on the disk (low from {low_mb:,} MiB on)")]
    return []
