"""How signals ended since the gateway's process began, by their status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from ark.door import Finished

__all__ = ["Tally"]


class _Level(msgspec.Struct, frozen=True):
    level: str = ""


class _Denied(msgspec.Struct, frozen=True):
    decision: _Level | None = None


_denials = msgspec.msgpack.Decoder(_Denied)


class Tally:
    """Counts outcomes.

    Attributes:
        outcomes: How many, by status.
        violations: Those of them that the rule book itself denied.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.violations = 0

    def add(self, finished: Iterable[Finished]) -> None:
        """Count some more."""
        for each in finished:
            self.outcomes[each.status] += 1
            self.violations += each.status == "denied" and _is_violation(each.outcome)


def _is_violation(outcome: bytes) -> bool:
    """Whether the rule book itself denied; a pipeline of other agents may say `denied` in words of its own."""
    try:
        decision = _denials.decode(outcome).decision
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return decision is not None and decision.level == "graveyard"
