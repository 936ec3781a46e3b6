"""How often signals ended an agent: what the supervisor counts at each exit, for the Watchdog. Pure.

The black box of a process is gone with its successor, so its last words are counted when it is buried. One signal
that ends its agent several times, as it does until it is a dead letter, counts once: it is one failure of the
signal's, tried again by the runtime.
"""

from __future__ import annotations

import msgspec

from ark.blackbox import Work

__all__ = ["Failures", "in_a_row"]


class Failures(msgspec.Struct, frozen=True):
    """What came of all processes of one agent that are gone.

    Attributes:
        ended: Signals that ended a process.
        in_a_row: Failed signals without a good one among them, up to the last exit.
        last: The trace id of the last signal that ended a process.
        answered, failed, busy_ns: What they had done; see `Work`.
    """

    ended: int = 0
    in_a_row: int = 0
    last: str = ""
    answered: int = 0
    failed: int = 0
    busy_ns: int = 0

    def after(self, trace_id: str, work: Work) -> Failures:
        """What is known after one more process is gone.

        Args:
            trace_id: The signal in whose handler it ended; empty: it was in none.
            work: What it had done until then.
        """
        is_new = bool(trace_id) and trace_id != self.last
        return Failures(
            self.ended + is_new,
            in_a_row(self, work) + is_new,
            trace_id if is_new else self.last,
            self.answered + work.answered,
            self.failed + work.failed,
            self.busy_ns + work.busy_ns,
        )


def in_a_row(before: Failures, work: Work) -> int:
    """Failed signals without a good one among them, up to now.

    Args:
        before: What came of the processes before.
        work: What the present one has done.
    """
    good = work.answered > work.failed
    return work.failed_in_a_row if good else before.in_a_row + work.failed
