"""Agents that do not stay: one that leaves when a signal says so, and one that cannot stay up."""

from __future__ import annotations

import os

from ark import Context, Signal
from tests.echo_agents import First, Passed


class Leaver(First):
    """Ends as if it had been asked to, of a signal that says so."""

    def handle(self, message: Signal, context: Context) -> Passed:
        if message.metadata.get("leave"):
            os._exit(0)
        return super().handle(message, context)


class Mayfly(First):
    """Comes up, and dies."""

    tick_s = 0.01

    def tick(self, context: Context) -> None:
        raise RuntimeError("the licence server is gone")


class Sleeper(First):
    """Takes a second to stop in order."""

    def teardown(self, context: Context) -> None:
        until = context.now() + 1.0
        while context.now() < until:
            os.sched_yield()
        path = context.settings["goodbye"]
        with open(path, "w") as file:
            file.write("goodbye")
