"""Takes what persons and the Watchdog did to the node into the ledger, each act once and in its order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import apsw
import msgspec

from actors.ledger import INTERVENTION, Act, Ledger
from ark.interventions import Intervention

__all__ = ["Clerk", "identity"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS aletheia_taken (
    only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL, identity TEXT NOT NULL);
"""
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def identity(act: Intervention) -> str:
    """An act's id in the ledger. The number alone would not do: a file that was lost begins anew at 1."""
    return f"{INTERVENTION}:{act.number}:{hashlib.sha256(_encoder.encode(act)).hexdigest()[:16]}"


class Clerk:
    """Copies acts into a ledger, in the transaction of whoever owns the connection.

    The last act that was taken is remembered in a table beside the ledger. Where the file with the acts does not
    hold it any more, that file was lost or put back from an older copy: it is read from its beginning then, and
    what the ledger has is passed over.

    Args:
        connection: The ledger's database.
        ledger: The ledger in it.
    """

    def __init__(self, connection: apsw.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger
        connection.execute(_SCHEMA)

    def take(self, read: Callable[[int], Sequence[Intervention]], at: float) -> int:
        """Take the next acts; give how many rows were written.

        Args:
            read: Gives some acts behind a number, oldest first.
            at: The time, seconds since the epoch.

        Raises:
            JournalError: The acts cannot be read. Nothing was written.
        """
        number, known = self._taken()
        found = read(number - 1) if number else read(0)
        if number:
            found = found[1:] if found and identity(found[0]) == known else read(0)
        written = 0
        for act in found:
            own = identity(act)
            if not self._ledger.has(own):
                facts = (act.number, act.act, act.subject, act.by, act.reason, act.details, act.at)
                self._ledger.append(Act(own, "", INTERVENTION, *facts, at))
                written += 1
        if found:
            self._connection.execute(
                "INSERT OR REPLACE INTO aletheia_taken VALUES (1, ?, ?)", (found[-1].number, identity(found[-1]))
            )
        return written

    def _taken(self) -> tuple[int, str]:
        for number, known in self._connection.execute("SELECT number, identity FROM aletheia_taken"):
            return int(number), str(known)
        return 0, ""
