"""How much each process says in its log: the configured levels, and what operators wish for a while. Pure.

The wishes stand in `run/levels.json`, written by the gateway alone; every process looks there from its heartbeat.
They are gone with the next start of the node, one that is for a while with its end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias, get_args

import msgspec

__all__ = ["ALL", "DEFAULT", "LEVELS", "Level", "Shown", "Wish", "Wishes", "in_force", "number", "reset", "wish"]

Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]

LEVELS: tuple[Level, ...] = get_args(Level)
"""From the one that says most."""
ALL = "all"
"""Stands for every process."""
DEFAULT = "default"
"""Stands for the configured level: takes a wish back."""


class Wish(msgspec.Struct, frozen=True):
    """What an operator wants of one process, or of all.

    Attributes:
        level: From which on it should write.
        until: When that ends by itself, seconds since the epoch; None: with the next start of the node.
        by, reason: Who wants it, and why.
        at: Since when, seconds since the epoch.
    """

    level: Level
    until: float | None
    by: str
    reason: str
    at: float


class Shown(msgspec.Struct, frozen=True):
    """The level in force for one process.

    Attributes:
        name: Whose.
        level: From which on it writes.
        wish: Who wants it so; None: it is the configured one.
    """

    name: str
    level: Level
    wish: Wish | None


Wishes: TypeAlias = Mapping[str, Wish]
"""By the name of a process, or `ALL`."""


def number(level: str) -> int:
    """The level as the standard library counts it; that of `info` for an unknown word."""
    known: int = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    return known


def wish(wishes: Wishes, name: str, new: Wish) -> dict[str, Wish]:
    """The wishes with one more; one for all takes the place of every other."""
    return {ALL: new} if name == ALL else {**wishes, name: new}


def reset(wishes: Wishes, name: str) -> dict[str, Wish]:
    """The wishes without one; without any for `ALL`."""
    return {} if name == ALL else {each: kept for each, kept in wishes.items() if each != name}


def in_force(
    names: Iterable[str], wishes: Wishes, configured: Mapping[str, Level], default: Level, now: float
) -> list[Shown]:
    """The level of each process.

    Args:
        names: The processes.
        wishes: What operators want; a wish for one counts more than one for all.
        configured: Levels from the configuration by name.
        default: The configured level of everybody else.
        now: Seconds since the epoch.
    """
    found = []
    for name in names:
        kept = next(
            (each for each in map(wishes.get, (name, ALL)) if each and (each.until is None or now < each.until)),
            None,
        )
        found.append(Shown(name, kept.level if kept else configured.get(name, default), kept))
    return found
