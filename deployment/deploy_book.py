"""What the deploy actor remembers: every rollout with its whole history, for ever, and every routing table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ark.journal import open_database
from ark.routing import Route
from deployment.progress import Rollout
from deployment.samples import Facts, Sightings
from deployment.tripwires import Look

__all__ = ["DeployBook", "Kept", "Shares"]

FILE = "deploy.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, over INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tables (
    generation INTEGER PRIMARY KEY, rollout TEXT NOT NULL, roles BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS node (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL);
"""

Shares = dict[str, tuple[float, float]]
"""The shares of canary and baseline, by role."""


class Kept(msgspec.Struct):
    """A rollout with what is kept beside it.

    Attributes:
        rollout: How far it is.
        facts: What was seen of its processes.
        sightings: What they were like when they were seen last.
        looks: What the tripwires saw, where those judge.
        revision: The Mutable Core's revision before the release decided anything, None before that.
        evidence: The last verdict, as JSON, with all its figures.
        examples: Counter-examples that were seen, as JSON.
        arms: What the arms did, as JSON; see `report.arms_of`.
        to_zero_s: How long it took from the word to roll back until no signal was the canary's any more, seconds;
            None before that.
    """

    rollout: Rollout
    facts: Facts = Facts()
    sightings: Sightings = Sightings()
    looks: tuple[Look, ...] = ()
    revision: int | None = None
    evidence: msgspec.Raw = msgspec.Raw(b"null")
    examples: msgspec.Raw = msgspec.Raw(b"[]")
    arms: msgspec.Raw = msgspec.Raw(b"{}")
    to_zero_s: float | None = None


_kept = msgspec.json.Decoder(Kept)
_shares = msgspec.json.Decoder(Shares)


class DeployBook:
    """The database `data/deploy.db`, written by the deploy actor alone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path)
        self._connection.execute(_SCHEMA)

    def all(self) -> list[Kept]:
        """Every rollout, the oldest first."""
        rows = self._connection.execute("SELECT content FROM rollouts ORDER BY number")
        return [_kept.decode(content) for (content,) in rows]

    def find(self, rollout: str) -> Kept | None:
        """The rollout of that name."""
        row = self._connection.execute("SELECT content FROM rollouts WHERE id = ?", (rollout,)).fetchone()
        return None if row is None else _kept.decode(row[0])

    def unsettled(self) -> list[Kept]:
        """Those whose end is not written down as settled, the oldest first."""
        rows = self._connection.execute("SELECT content FROM rollouts WHERE NOT over ORDER BY number")
        return [_kept.decode(content) for (content,) in rows]

    def keep(self, kept: Kept, *, settled: bool = False) -> None:
        """Write down how far a rollout is. It is on the disk when this returns.

        Args:
            kept: Which.
            settled: Whether it is over, and the world is as its end wants it.
        """
        rollout = kept.rollout
        self._connection.execute(
            "INSERT INTO rollouts VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM rollouts), ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET over = excluded.over, content = excluded.content",
            (rollout.plan.id, settled, msgspec.json.encode(kept)),
        )

    def begin_table(self, generation: int, rollout: str, roles: Iterable[tuple[str, Route]]) -> None:
        """Write down a routing table before anybody goes by it."""
        shares: Shares = {role: (route.canary, route.baseline) for role, route in roles}
        self._connection.execute(
            "INSERT OR IGNORE INTO tables VALUES (?, ?, ?)", (generation, rollout, msgspec.json.encode(shares))
        )

    def tables(self, rollout: str) -> dict[int, Shares]:
        """The routing tables of a rollout, by generation."""
        rows = self._connection.execute("SELECT generation, roles FROM tables WHERE rollout = ?", (rollout,))
        return {generation: _shares.decode(roles) for generation, roles in rows}

    @property
    def newest_generation(self) -> int:
        """The number of the newest table there ever was."""
        rows: list[Any] = self._connection.execute("SELECT max(generation) FROM tables").fetchall()
        newest: int | None = rows[0][0]
        return newest or 0

    @property
    def node(self) -> str:
        """The name of the node's start that was written down last; empty for none."""
        row = self._connection.execute("SELECT name FROM node").fetchone()
        return "" if row is None else str(row[0])

    def begin_node(self, name: str) -> None:
        """Write down that the node was started anew, once whoever it concerns has heard of it.

        Args:
            name: That of the node's start.
        """
        self._connection.execute("INSERT OR REPLACE INTO node VALUES (1, ?)", (name,))

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()
