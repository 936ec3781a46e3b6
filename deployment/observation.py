"""What a rollout sees of the node: the evidence of its arms, and how its processes do. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import apsw
import msgspec
import psutil

from ark.errors import JournalError
from ark.home import Home
from ark.journal import open_for_reading
from ark.migration import MARK
from ark.routing import arm_name
from ark.showing import shown
from ark.state import read_core
from ark.tally import tracks_in
from ark.trial_page import Row, differences_in, read_rows
from deployment.deploy_book import Shares
from deployment.samples import Counts, Difference, Facts, Pairs, Segment, Sightings, Weight

__all__ = [
    "ARMS",
    "Outcomes",
    "Watcher",
    "differences",
    "followed",
    "marks",
    "open_positions",
    "resident_bytes",
    "segments",
    "unapproved",
]

ARMS = ("canary", "baseline", "stable")
_PAIRED = tuple(Pairs.__struct_fields__)
_REASON = 300
"""Characters of a crash's reason that are kept."""
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
                own = {name: row.get(f"{arm}_{name}", 0) for name in ("trials", "broken", "slow", "held")}
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


class _Position(msgspec.Struct, frozen=True):
    """See `actors.statement.Opened`. A release that shows no more than its positions tells their symbols alone."""

    symbol: str
    source: str | None = None
    band: str | None = None


class _Portfolio(msgspec.Struct, frozen=True):
    positions: tuple[_Position, ...] = ()
    opened: tuple[_Position, ...] = ()


def open_positions(home: Home, by: str) -> dict[str, str | None] | None:
    """The symbols with an open position or an order that works, as the judge's agent shows them.

    Args:
        home: The node's home.
        by: What is shared out; see `ark.routing.Table.by`.

    Returns:
        By symbol, the key of the signal that opened it, None where that is not known; None where nothing is shown.
    """
    try:
        found = msgspec.convert(shown(home.shown("hrm", "portfolio")), _Portfolio)
    except msgspec.ValidationError:
        return None
    every = {each.symbol: each for each in (*found.positions, *found.opened)}
    keys = {"symbol": "symbol", "source": "source", "notional": "band"}
    return {symbol: getattr(each, keys[by]) for symbol, each in every.items()}


def marks(home: Home, roles: Iterable[str]) -> dict[str, object]:
    """The key of each agent that says which releases have made its state their own; see `ark.migration`.

    Raises:
        JournalError: The Mutable Core cannot be read.
    """
    core = read_core(home)
    if core is None:
        return {}
    try:
        return {role: core.get(role, MARK) for role in roles}
    finally:
        core.close()


def resident_bytes(pid: int) -> int | None:
    """How much memory a process holds; None where it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def _process_of(child: Mapping[str, Any] | None) -> str:
    """Which process a child of the tree is; empty where there is none."""
    return "" if child is None else f"{child.get('pid')} {child.get('incarnation')} {child.get('since')}"


class Watcher:
    """How the processes of a rollout do, from the tree as the supervisors tell it.

    Args:
        facts: What was seen before.
        sightings: What the next look is compared with. Both are kept together, so that who watches may be
            started anew and counts nothing twice.
    """

    def __init__(self, facts: Facts, sightings: Sightings) -> None:
        self.facts = facts
        self.sightings = sightings

    def see(self, tree: Sequence[Mapping[str, Any]], roles: Iterable[str], own: str = "stable") -> None:
        """Take in each child of the tree.

        Args:
            tree: Each child; empty where nobody has told of it yet.
            roles: The agents that the rollout is about.
            own: As what their own processes count: `canary` once they run the new release.
        """
        if not tree:
            return
        known = {str(child["name"]): child for child in tree}
        states, counted = dict(self.sightings.states), dict(self.sightings.crashes)
        counters = dict(self.sightings.counters)
        quarantined, crashes = dict(self.facts.quarantined), dict(self.facts.crashes)
        reasons = dict(self.facts.crash_reasons)
        before_promotion = self.facts.crashes_before_promotion
        if own == "canary" and before_promotion is None:
            before_promotion = dict(crashes)
        for role in roles:
            for arm in ARMS:
                name = role if arm == "stable" else arm_name(role, arm)
                counts = own if arm == "stable" else arm
                child = known.get(name)
                if child is None:
                    states.pop(name, None)
                    if arm != "stable":  # once it is wanted again it begins anew; an agent of the pipeline does not
                        counted.pop(name, None)
                        counters.pop(name, None)
                    continue
                state, now = str(child["state"]), int(child["crashes"])
                if state == "isolated" and states.get(name, state) != "isolated":
                    quarantined[counts] = quarantined.get(counts, 0) + 1
                counter = _process_of(known.get(str(child.get("parent"))))
                before = counted.get(name, now if arm == "stable" else 0)
                # A new supervisor counts from nothing, and may have come as far as the one before meanwhile.
                is_anew = now < before or counter != counters.get(name, counter)
                more = now if is_anew else now - before
                if more:
                    crashes[counts] = crashes.get(counts, 0) + more
                    reasons[counts] = str(child.get("reason") or "")[:_REASON]
                states[name], counted[name], counters[name] = state, now, counter
        self.sightings = msgspec.structs.replace(self.sightings, states=states, crashes=counted, counters=counters)
        self.facts = msgspec.structs.replace(
            self.facts,
            quarantined=quarantined,
            crashes=crashes,
            crash_reasons=reasons,
            crashes_before_promotion=before_promotion,
        )

    def weigh(
        self,
        tree: Sequence[Mapping[str, Any]],
        roles: Iterable[str],
        now: float,
        *,
        resident: Callable[[int], int | None] = resident_bytes,
    ) -> None:
        """Take in how much memory the arms hold.

        Only roles both of whose arms are warm are weighed, and anew from the beginning where either has another
        process than before: canary and baseline are compared as processes of the same age.

        Args:
            tree: Each child.
            roles: The agents that the rollout is about.
            now: Seconds on the clock of `since` in the tree.
            resident: What a process holds by its id, in bytes; None where it is gone.
        """
        known = {str(child["name"]): child for child in tree}
        weights = dict(self.sightings.weights)
        for role in roles:
            children = [known.get(arm_name(role, arm)) for arm in ("canary", "baseline")]
            pids = [
                child["pid"]
                for child in children
                if child is not None and child["pid"] is not None and now - (child["since"] or now) >= _WARM_S
            ]
            sizes = [size for size in map(resident, pids) if size is not None]
            if len(sizes) < 2:
                continue
            canary, baseline = sizes
            before = weights.get(role)
            if before is None or before.pids != tuple(pids):
                before = Weight(tuple(pids), canary, baseline)
            weights[role] = msgspec.structs.replace(before, canary=canary, baseline=baseline)
        if not weights:
            return
        self.sightings = msgspec.structs.replace(self.sightings, weights=weights)
        held = {
            name: sum(getattr(weight, name) for weight in weights.values())
            for name in ("canary", "canary_first", "baseline", "baseline_first")
        }
        self.facts = msgspec.structs.replace(self.facts, memory_bytes=held)
