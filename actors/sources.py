"""What HRM remembers of each registered source: how often its claims agreed, and when it was far off the market.

A source that named a price further from the market than the rule book's collar `FAULTS` times within an hour is
quarantined until an hour after the last of them: its signals are denied by `validate_data_sources`.
"""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from actors.synthesis import Claim, Record
from graveyard.rules import COLLAR

__all__ = ["FAULTS", "QUARANTINE_S", "Sources"]

FAULTS = 3
QUARANTINE_S = 3600.0
"""Seconds: within which faults are counted together, and for how long they are held against a source."""


class _Memory(msgspec.Struct, frozen=True):
    record: Record = Record()
    faults: tuple[float, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Memory).decode


class Sources:
    """The records, in a table of HRM's journal.

    Args:
        connection: The journal; the table is made if it is not there.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE IF NOT EXISTS hrm_sources (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID"
        )
        self._known = {
            str(name): _decode(body) for name, body in connection.execute("SELECT name, body FROM hrm_sources")
        }
        self._changed: set[str] = set()

    def record(self, name: str) -> Record | None:
        """How a source's claims came out so far; None for one that nothing is known of."""
        memory = self._known.get(_key(name))
        return None if memory is None else memory.record

    def is_quarantined(self, name: str, now: float) -> bool:
        """Whether a source was far off the market too often lately.

        Args:
            name: The source's.
            now: Seconds since the epoch.
        """
        memory = self._known.get(_key(name))
        if memory is None or len(memory.faults) < FAULTS:
            return False
        return abs(now - memory.faults[-1]) < QUARANTINE_S

    def learn(self, name: str, claims: Iterable[Claim], now: float) -> None:
        """Add a signal's claims to its source's record; only for sources that stand in the register."""
        claims = tuple(claims)
        if not claims:
            return
        memory = self._known.get(_key(name), _Memory())
        faults = memory.faults
        if any(claim.name == "price" and _is_far(claim) for claim in claims):
            faults = (*[at for at in faults if abs(now - at) < QUARANTINE_S], now)[-FAULTS:]
        self._known[_key(name)] = _Memory(memory.record.after(claims), faults)
        self._changed.add(_key(name))

    def write(self) -> None:
        """Write what has changed."""
        for name in self._changed:
            self._connection.execute(
                "INSERT OR REPLACE INTO hrm_sources VALUES (?, ?)", (name, _encode(self._known[name]))
            )
        self._changed.clear()


def _key(name: str) -> str:
    return name.strip().lower()


def _is_far(claim: Claim) -> bool:
    """Whether a price is no honest one. What is no number at all is far from every price."""
    return not abs(claim.claimed - claim.known) <= float(COLLAR) * claim.known
