"""An agent that does what a signal's metadata says, for tests of the Watchdog."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from ark import Context
from tests.echo_agents import Middle, Passed

KEPT: list[object] = []


class Misbehaving(Middle):
    """The second of the echo agents, gone wrong."""

    def handle(self, message: Passed, context: Context) -> Passed:
        asked = message.signal.metadata
        match asked.get("does"):
            case "raise":
                raise ValueError("as the signal asked")
            case "fail":
                time.sleep(asked.get("for_s", 0.0))
                context.failed("as the signal asked")
            case "sleep":
                once = Path(asked["once"]) if "once" in asked else None
                if once is None or not once.exists():
                    if once is not None:
                        once.touch()
                    time.sleep(asked["for_s"])
            case "wait":
                while not Path(asked["file"]).exists():
                    time.sleep(0.01)
            case "leak_memory":
                if context.attempt == 1:
                    KEPT.append(bytearray(os.urandom(1 << 20) * asked["mib"]))
            case "leak_descriptors":
                most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
                KEPT.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(int(most * asked["share"])))
        return super().handle(message, context)
