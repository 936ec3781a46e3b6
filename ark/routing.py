"""The routing table: which arm decides which signal while a rollout is under way. Pure, but for reading the file.

Beside the process of an agent (the role) may stand two arms: `canary`, from a new release, and `baseline`, a
process as fresh from the permanent one. The deploy actor writes the table, every role reads it, and a lease bounds
it: when nobody renews the lease, each role decides alone again, without having to be told. A lease that ends later
than any that is given stems from before the clock was set back, and counts no more.

The share of an arm only moves a border: a key keeps its place between 0 and 1 for the whole rollout, the canary has
what lies below its share, the baseline what lies above 1 minus its own. What is the canary's at 10 % is its own at
25 %, too.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ark.equipment import ArmSpec, Equipment
from ark.errors import RoutingError
from ark.files import replace_file

__all__ = [
    "ARMS",
    "BASELINE",
    "CANARY",
    "LEASE_S",
    "OWN",
    "Declared",
    "Route",
    "Table",
    "TableFile",
    "arm_name",
    "band_of",
    "key_of",
    "pins",
    "place_of",
    "read_table",
    "write_table",
]

CANARY = "canary"
BASELINE = "baseline"
ARMS = (CANARY, BASELINE)
OWN = ""
"""Stands for the role's own process."""

LEASE_S = 5.0
"""How long a table counts without being renewed."""
_SKEW_S = 1.0
"""A clock that is set back by less is kept right, rather than wrong before."""

Share = Annotated[float, Meta(ge=0, le=1)]
_PLACES = 1 << 64
_MAGNITUDES = 4
"""A band of notional is one power of ten divided by so many."""


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of decisions that a release announces, so that nobody takes it for a fault.

    Attributes:
        path: Which part of the decision, as a glob over `violations.0.rule`.
        before, after: What it is and what it becomes, as globs over its text; None for whatever.
        symbol: For which symbols, likewise; None for all.
    """

    path: str
    before: str | None = None
    after: str | None = None
    symbol: str | None = None


class Route(msgspec.Struct, frozen=True):
    """How one role shares its signals out.

    Attributes:
        canary, baseline: The share of each arm, 0 to 1; together at most 1.
        copies: Whether the arms are shown the other signals, too, without effect.
        replay_per_s: So many recorded signals a second are shown to both arms once more.
        patience_s: An answer that takes longer is not waited for; the role decides then.
        slow_s: An answer that takes longer counts as slow.
        declared: What the release says that it changes.
    """

    canary: Share = 0.0
    baseline: Share = 0.0
    copies: bool = True
    replay_per_s: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    patience_s: Annotated[float, Meta(gt=0, le=60)] = 2.0
    slow_s: Annotated[float, Meta(gt=0, le=60)] = 0.12
    declared: tuple[Declared, ...] = ()

    def __post_init__(self) -> None:
        if self.canary + self.baseline > 1 + 1e-9:
            raise ValueError(
                f"`canary` and `baseline` are {self.canary + self.baseline:g} together, which is above 1"
            )


class Table(msgspec.Struct, frozen=True):
    """Who decides what.

    Attributes:
        generation: Rises with each change; the evidence is kept apart by it.
        rollout: The rollout's id.
        lease_until: Until when it holds, seconds since the epoch.
        salt: What the places of keys are drawn with.
        by: What is shared out: symbols, sources, or bands of notional.
        roles: The route of each role that has arms.
        pins: Arms of symbols with an open position, whatever their signals are shared out by; `OWN` for the role
            itself. An arm without a share has none of them: they are the role's then.
        arms: The arms that are to run, by the name of their process.
        provisional: What roles themselves run from, other than their permanent release.
    """

    generation: int
    rollout: str
    lease_until: float
    salt: str = ""
    by: Literal["symbol", "source", "notional"] = "symbol"
    roles: dict[str, Route] = {}
    pins: dict[str, str] = {}
    arms: dict[str, ArmSpec] = {}
    provisional: dict[str, Equipment] = {}

    def is_in_force(self, now: float) -> bool:
        """Whether the lease is running."""
        return 0 < self.lease_until - now <= LEASE_S + _SKEW_S

    def wanted_arms(self, now: float) -> Mapping[str, ArmSpec]:
        """The arms that are to run now."""
        return self.arms if self.is_in_force(now) else {}

    def equipment(self, role: str, now: float) -> Equipment | None:
        """What a role is to run from now, where that is not its permanent release."""
        return self.provisional.get(role) if self.is_in_force(now) else None

    def route(self, role: str, now: float) -> Route | None:
        """The role's route, or None where it decides alone."""
        return self.roles.get(role) if self.is_in_force(now) else None

    def arm(self, role: str, symbol: str, key: str, now: float) -> str:
        """Who decides a signal of that role.

        Args:
            role: The agent.
            symbol: The signal's.
            key: What it is shared out by; see `Table.by`.
            now: Seconds since the epoch.
        """
        route = self.route(role, now)
        if route is None:
            return OWN
        pinned = self.pins.get(symbol)
        if pinned is not None:
            share = {CANARY: route.canary, BASELINE: route.baseline}.get(pinned, 0.0)
            return pinned if share > 0 else OWN
        return placed(place_of(self.salt, key), route)


def place_of(salt: str, key: str) -> float:
    """Where a key lies, in [0, 1): the same in every process and for ever."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _PLACES


def placed(place: float, route: Route) -> str:
    """The arm that has a place."""
    if place < route.canary:
        return CANARY
    return BASELINE if place >= 1 - route.baseline else OWN


def band_of(notional: float | None) -> str:
    """The band of notional that a value lies in: a quarter of a power of ten; nothing is known of None."""
    if notional is None or not 0 < notional < math.inf:
        return "none"
    return f"1e{math.floor(math.log10(notional) * _MAGNITUDES) / _MAGNITUDES:g}"


def key_of(by: str, symbol: str, signal: Any) -> str:
    """By what a signal is shared out.

    Args:
        by: As `Table.by`.
        symbol: The signal's.
        signal: What its sender said; what has no source or no quantity is shared out as if those were missing.
    """
    if by == "symbol":
        return symbol
    if by == "source":
        return str(getattr(signal, "source", ""))
    quantity = getattr(signal, "quantity", None)
    return band_of(None if quantity is None else quantity * getattr(signal, "price", 0.0))


def pins(old: Table | None, positions: Mapping[str, str | None], now: float) -> dict[str, str]:
    """Whom the symbols with an open position stay with: whom they have, or who has opened them.

    A pin holds for all roles, since those of a rollout have the same shares, and with them the same keys. Where
    they should differ, no arm has opened the position alone, and it is the role's own. So is one of which nothing
    is known, or that appears while no table is in force: who decides wherever nobody else may can look after any
    position.

    Args:
        old: The table so far; None where there was none of this rollout.
        positions: By symbol with an open position, the key of the signal that opened it; None: it is not known.
        now: Seconds since the epoch.
    """
    kept: Mapping[str, str] = {} if old is None else old.pins
    return {symbol: kept[symbol] if symbol in kept else _opener(old, key, now) for symbol, key in positions.items()}


def _opener(table: Table | None, key: str | None, now: float) -> str:
    if table is None or key is None or not table.is_in_force(now):
        return OWN
    place = place_of(table.salt, key)
    arms = {placed(place, route) for route in table.roles.values()}
    return arms.pop() if len(arms) == 1 else OWN


def arm_name(role: str, arm: str) -> str:
    """The name of an arm's process in the tree."""
    return f"{role}.{arm}"


class TableFile:
    """The table as a process of the tree sees it: looked at again only where the file has changed.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self.table: Table | None = None
        self.fault = ""
        self.is_news = False
        """Whether the last look found a fault that was not there before."""

    def look(self) -> bool:
        """Read the file if it is another one; say whether it was. What cannot be read is no table."""
        try:
            found = os.stat(self._path)
        except OSError:
            seen = None
        else:
            seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._seen:
            return False
        self._seen = seen
        before, self.fault = self.fault, ""
        try:
            self.table = None if seen is None else read_table(self._path)
        except RoutingError as error:
            self.table, self.fault = None, error.message
        self.is_news = bool(self.fault) and self.fault != before
        return True


_decoder = msgspec.json.Decoder(Table)


def write_table(path: Path, table: Table) -> None:
    """Put a table in force: every process sees the old one or the new one, and nothing between."""
    replace_file(path, msgspec.json.encode(table), durable=False)


def read_table(path: Path) -> Table | None:
    """The table in a file; None where there is none.

    Raises:
        RoutingError: It cannot be read.
    """
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RoutingError(f"the routing table {path} cannot be read: {error}") from error
