"""Kenny's record of fills: what is announced to HRM, numbered 1, 2, 3 and on without gaps.

It is fed from the broker's own record, in the broker's order, and additionally says when an approved plan
ended without an entry, so that HRM gives back what it reserved. It lies in Kenny's journal: a number is
durable before anyone hears of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import apsw
import msgspec

from actors.brokers import BrokerFill
from actors.messages import Fill
from ark.signal import Signal

__all__ = ["FillLog"]

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(Fill)
_NOTHING = Decimal(0)


class FillLog:
    """The record, in tables of Kenny's journal.

    Attributes:
        head: The number of the newest fill; 0: there is none.
        broker_head: The broker's number of the newest fill that was taken over.
    """

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        database.execute(
            "CREATE TABLE IF NOT EXISTS kenny_fills (number INTEGER PRIMARY KEY, broker INTEGER UNIQUE,"
            " fill BLOB NOT NULL)"
        )
        rows = database.execute(
            "SELECT coalesce(max(number), 0), coalesce(max(broker), 0) FROM kenny_fills"
        ).fetchall()
        self.head = int(rows[0][0])  # type: ignore[arg-type]
        self.broker_head = int(rows[0][1])  # type: ignore[arg-type]

    def take(self, line: BrokerFill, trace_id: str) -> Fill:
        """Take over the broker's next line.

        Args:
            line: With the number after `broker_head`.
            trace_id: The signal whose order it is; empty for an order that is not ours.
        """
        fill = Fill(
            self.head + 1,
            trace_id,
            line.symbol,
            line.side,
            line.leg,
            line.quantity,
            line.price,
            line.fee,
            line.at,
        )
        self._append(fill, line.number)
        self.broker_head = line.number
        return fill

    def cancel(self, trace_id: str, signal: Signal, at: float) -> Fill:
        """Note that an approved plan ended without an entry, and without the broker knowing of it.

        Args:
            trace_id: The signal's, as it stands on the envelope.
            signal: For symbol, side and price.
            at: Now, seconds since the epoch.
        """
        fill = Fill(
            self.head + 1,
            trace_id,
            signal.symbol,
            "buy" if signal.direction == "long" else "sell",
            "cancel",
            _NOTHING,
            Decimal(repr(signal.price)),
            _NOTHING,
            at,
            sent=False,
        )
        self._append(fill, None)
        return fill

    def after(self, number: int, limit: int) -> Iterator[Fill]:
        """The fills after a number, oldest first."""
        for (body,) in self._database.execute(
            "SELECT fill FROM kenny_fills WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
        ):
            yield _decoder.decode(body)

    def _append(self, fill: Fill, broker: int | None) -> None:
        self._database.execute(
            "INSERT INTO kenny_fills VALUES (?, ?, ?)", (fill.number, broker, _encoder.encode(fill))
        )
        self.head = fill.number
