"""What a rollout sees of the node: the evidence of its arms, and how its processes do. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import apsw
import msgspec
import psutil

from ark.errors import JournalError
from ark.home import Home
from ark.journal import open_for_reading
from ark.routing import arm_name
from ark.showing import shown
from ark.tally import tracks_in
from ark.trial_page import Row, differences_in, read_rows
from deployment.deploy_book import Shares
from deployment.samples import Counts, Difference, Facts, Pairs, Segment

__all__ = [
    "ARMS",
    "Outcomes",
    "Watcher",
    "differences",
    "followed",
    "open_positions",
    "segments",
    "unapproved",
]

ARMS = ("canary", "baseline", "stable")
_PAIRED = tuple(Pairs.__struct_fields__)
_WARM_S = 20.0
"""A process has taken what it needs by so long after its start."""


class Outcomes:
    """Reads how signals ended, by the arm that decided them, from the gateway's journal."""

    def __init__(self, home: Home) -> None:
        self._path = home.data / "gateway.db"
        self._connection: apsw.Connection | None = None

    def tracks(self) -> Mapping[str, Sequence[int]]:
        """By `role arm:generation`: ended, denied, failed, late. Empty where it cannot be read now."""
        try:
            if self._connection is None:
                self._connection = open_for_reading(self._path, 0.5)
            row = self._connection.execute("SELECT content FROM tally").fetchone()
            return {} if row is None else tracks_in(row[0])
        except (apsw.Error, msgspec.DecodeError, JournalError):
            self.close()
            return {}

    def close(self) -> None:
        """Let the file go; it is opened again when it is needed."""
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close()
            self._connection = None


def segments(
    home: Home, roles: Iterable[str], tables: Mapping[int, Shares], tracks: Mapping[str, Sequence[int]]
) -> list[Segment]:
    """The evidence of each role under each routing table.

    Args:
        home: Where the pages are.
        roles: The agents that the rollout is about.
        tables: The shares under each of its routing tables.
        tracks: From `Outcomes.tracks`.
    """
    found = []
    for role in roles:
        rows = read_rows(home.trials(role))
        for generation, shares in sorted(tables.items()):
            row = rows.get(generation, {})
            canary, baseline = shares.get(role, (0.0, 0.0))

            def counts(arm: str, row: Row = row, role: str = role, generation: int = generation) -> Counts:
                ended = tracks.get(f"{role} {arm}:{generation}", (0, 0, 0, 0))
                own = {name: row.get(f"{arm}_{name}", 0) for name in ("trials", "broken", "slow")}
                return Counts(**own, **dict(zip(("signals", "denied", "failed", "late"), ended, strict=True)))

            def pairs(kind: str, row: Row = row) -> Pairs:
                return Pairs(**{name: row.get(f"{kind}_{name}", 0) for name in _PAIRED})

            segment = Segment(
                role,
                generation,
                canary,
                baseline,
                counts("canary"),
                counts("baseline"),
                counts("stable"),
                pairs("pairs"),
                pairs("replayed"),
                pairs("noise"),
            )
            if row or segment.stable.signals:
                found.append(segment)
    return found


def followed(home: Home, roles: Iterable[str]) -> int:
    """The number of the newest routing table that all of these roles go by; 0 for none."""
    return min((max(read_rows(home.trials(role)), default=0) for role in roles), default=0)


def unapproved(home: Home, roles: Iterable[str], generations: Iterable[int]) -> int:
    """How often an arm proposed what may not be done, under these routing tables."""
    wanted = set(generations)
    return sum(
        row["unapproved"]
        for role in roles
        for generation, row in read_rows(home.trials(role)).items()
        if generation in wanted
    )


def differences(home: Home, roles: Iterable[str], generations: Iterable[int]) -> list[Difference]:
    """The counter-examples of these routing tables, canary against baseline."""
    wanted = set(generations)
    found = []
    for role in roles:
        for each in differences_in(home.differences(role)):
            if each.get("generation") in wanted and each.get("kind") != "noise":
                with suppress(msgspec.ValidationError):
                    found.append(msgspec.convert(each, Difference))
    return found


def open_positions(home: Home) -> list[str]:
    """The symbols with an open position or an order that works, as the judge's agent shows them."""
    document = shown(home.shown("hrm", "portfolio"))
    positions = document.get("positions", ()) if isinstance(document, dict) else ()
    return sorted({str(each.get("symbol", "")) for each in positions if isinstance(each, dict)} - {""})


class Watcher:
    """How the processes of a rollout do, from the tree as the supervisors tell it.

    Args:
        facts: What was seen before.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._states: dict[str, str] = {}
        self._restarts: dict[str, int] = {}

    def see(self, tree: Sequence[Mapping[str, Any]], roles: Iterable[str], own: str = "stable") -> None:
        """Take in each child of the tree.

        Args:
            tree: Each child.
            roles: The agents that the rollout is about.
            own: As what their own processes count: `canary` once they run the new release.
        """
        known = {str(child["name"]): child for child in tree}
        quarantined, crashes = dict(self.facts.quarantined), dict(self.facts.crashes)
        for role in roles:
            for arm in ARMS:
                name = role if arm == "stable" else arm_name(role, arm)
                counts = own if arm == "stable" else arm
                child = known.get(name)
                if child is None:
                    self._states.pop(name, None)
                    self._restarts.pop(name, None)
                    continue
                state, restarts = str(child["state"]), int(child["restarts"])
                if state == "isolated" and self._states.get(name, state) != "isolated":
                    quarantined[counts] = quarantined.get(counts, 0) + 1
                before = self._restarts.get(name, restarts if arm == "stable" else 0)
                meant = arm == "stable" and "to run from release" in (child.get("reason") or "")
                if restarts > before and not meant:
                    crashes[counts] = crashes.get(counts, 0) + restarts - before
                self._states[name], self._restarts[name] = state, restarts
        self.facts = msgspec.structs.replace(self.facts, quarantined=quarantined, crashes=crashes)

    def weigh(self, tree: Sequence[Mapping[str, Any]], roles: Iterable[str], now: float) -> None:
        """Take in how much memory the arms hold.

        Args:
            tree: Each child.
            roles: The agents that the rollout is about.
            now: Seconds on the clock of `since` in the tree.
        """
        memory = dict(self.facts.memory_bytes)
        wanted = {arm_name(role, arm): arm for role in roles for arm in ("canary", "baseline")}
        held: dict[str, int] = {}
        warm = True
        for child in tree:
            arm = wanted.get(str(child["name"]))
            if arm is None or child["pid"] is None:
                continue
            warm = warm and now - (child["since"] or now) >= _WARM_S
            with suppress(psutil.Error):
                held[arm] = held.get(arm, 0) + psutil.Process(child["pid"]).memory_info().rss
        if not warm:
            return
        for arm, size in held.items():
            memory[arm] = size
            memory.setdefault(f"{arm}_first", size)
        self.facts = msgspec.structs.replace(self.facts, memory_bytes=memory)
