"""A pipeline whose signals say how they end and how long they are judged, for tests of the objectives."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from ark import Agent, Context, Durability
from tests.echo_agents import Passed


class Judge(Agent[Passed]):
    """Stands where HRM does. Takes the seconds that a signal names as `takes_s`, and for one that names a `gate`
    until that file is there."""

    takes = Passed
    durability = Durability.POWER

    def handle(self, message: Passed, context: Context) -> Passed:
        time.sleep(message.signal.metadata.get("takes_s", 0.0))
        gate = message.signal.metadata.get("gate")
        if gate and not os.path.exists(gate):
            Path(f"{gate}.begun").write_text(str(os.getpid()))
            while not os.path.exists(gate):
                time.sleep(0.01)
        return message


class Ender(Agent[Passed]):
    """Ends a signal as its metadata say: its status, and what else stands in the outcome."""

    takes = Passed
    durability = Durability.POWER

    def handle(self, message: Passed, context: Context) -> dict[str, Any]:
        signal = message.signal
        said = msgspec.json.decode(signal.metadata.get("outcome", "{}"))
        status = signal.metadata.get("end", "executed")
        spans = [{"agent": each.agent, "in_ns": each.in_ns, "out_ns": each.out_ns} for each in context.spans]
        return {"trace_id": context.trace_id, "symbol": signal.symbol, "status": status, "spans": spans, **said}
