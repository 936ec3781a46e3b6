"""A short selection of `make chaos`: faults of every kind that a person need not mend, on one node under load."""

from __future__ import annotations

import pytest

from tests.chaos.faults import named, play
from tests.chaos.scene import scene

SELECTION = ("kill-kenny", "exception", "busy-loop", "kill-start")
LENIENCY = 10.0
"""The delays themselves are `make chaos`'s affair: here others may be using the machine."""


@pytest.mark.timeout(180)
def test_each_fault_is_answered_as_expected_and_nothing_is_lost_or_doubled() -> None:
    with scene(seed=1) as played:
        rows = [
            play(named(name), played, repeat=f"python -m tests.chaos --fault {name}", leniency=LENIENCY)
            for name in SELECTION
        ]
        flood = played.end()
    assert {row.fault: row.differs for row in rows} == dict.fromkeys(SELECTION, "")
    assert all((row.lost, row.doubled) == (0, 0) for row in rows)
    assert len(played.load.accepted) > 20
    assert sum(flood.values()) > 20
