"""Revisions of the Mutable Core, and what of them can be taken back. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ark.changes import Kind

__all__ = ["Conflict", "Revision", "Taken", "Undoing", "by_release", "plan", "stands_for"]


class Revision(msgspec.Struct, frozen=True):
    """One change that was made.

    Attributes:
        revision: Its number; contiguous over all keys.
        at: When, seconds since the epoch.
        kind, agent, key: What was changed.
        version: Its number among those of this key, from 1.
        operation: `create`, `update`, `delete` or `rollback`.
        value: What is there since; None where nothing is (then `gone`).
        before: What was there; None where nothing was (then `was_gone`).
        gone, was_gone: Whether the key is, and was, absent.
        details: What else belongs to the key.
        requester, reason: Who asked for it, and why.
        previous: The revision of this key before; 0 for none.
        restores: The revision whose value this one brought back, 0 where that was the key's absence; None where it
            took nothing back.
        origin: See `Group`.
    """

    revision: int
    at: float
    kind: Kind
    agent: str
    key: str
    version: int
    operation: str
    value: Any
    before: Any
    gone: bool
    was_gone: bool
    details: dict[str, Any]
    requester: str
    reason: str
    previous: int
    restores: int | None
    origin: str

    @property
    def place(self) -> tuple[Kind, str, str]:
        """What was changed."""
        return self.kind, self.agent, self.key


class Taken(msgspec.Struct, frozen=True):
    """A key that was taken back.

    Attributes:
        kind, agent, key: Which.
        revisions: What was undone, newest first.
        restores: The revision whose value is there again, 0 where the key is absent again.
        revision: The new revision that did it; 0 in a dry run.
        value: What is there now; None where nothing is.
    """

    kind: Kind
    agent: str
    key: str
    revisions: tuple[int, ...]
    restores: int
    revision: int
    value: Any


class Conflict(msgspec.Struct, frozen=True):
    """A change that was not taken back, since somebody else has written the key after it.

    Attributes:
        kind, agent, key: Which key.
        revision: The change.
        later: The newest revision of somebody else after it.
        requester: Who that was.
    """

    kind: Kind
    agent: str
    key: str
    revision: int
    later: int
    requester: str


class Undoing(msgspec.Struct, frozen=True):
    """What `Core.undo` did, or would do.

    Attributes:
        taken: The keys that were taken back, in the order in which that was done.
        conflicts: What was left alone, newest first.
    """

    taken: tuple[Taken, ...]
    conflicts: tuple[Conflict, ...]


def by_release(release: str) -> Callable[[str], bool]:
    """Whether a requester is an agent of that release."""
    return lambda requester: requester.endswith(f"@{release}")


def plan(
    rows: Mapping[int, Revision], since: int, of: Callable[[str], bool]
) -> tuple[list[int], int, list[Conflict]]:
    """What of a key can be undone, the revision whose value it then has, and what cannot.

    The chain of changes is followed from the newest back. A change that took others back stands for the one that
    it restored, so that what is undone already is not met again.
    """
    undone: list[int] = []
    place = stands_for(rows, max(rows), since, of)
    while place > since and of(rows[place].requester):
        undone.append(place)
        place = stands_for(rows, rows[place].previous, since, of)
    target, later, conflicts = place, rows.get(place), []
    while place > since and later is not None:
        row = rows[place]
        if of(row.requester):
            conflicts.append(Conflict(*row.place, place, later.revision, later.requester))
        place = stands_for(rows, row.previous, since, of)
    return undone, target, conflicts


def stands_for(
    rows: Mapping[int, Revision], place: int, since: int = 0, of: Callable[[str], bool] = lambda requester: False
) -> int:
    """The revision that one stands for: what somebody else took back is passed over."""
    while place > since and (restores := rows[place].restores) is not None and not of(rows[place].requester):
        place = restores
    return place
