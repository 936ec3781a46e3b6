"""Agents for a live test of what is kept and what is switched: they tell both in the outcome."""

from __future__ import annotations

from ark import Context, Signal
from tests.echo_agents import First, Middle, Passed


class Counter(First):
    """Without a journal; counts its signals in the Mutable Core, and says what a flag says."""

    def handle(self, message: Signal, context: Context) -> Passed:
        count = context.state.get("count", 0) + 1
        context.state.set("count", count, "one more")
        return Passed(message, (str(count), str(context.flag("alpha.new", False))))


class Keeper(Middle):
    """With a journal; keeps the symbol that it saw last."""

    def handle(self, message: Passed, context: Context) -> Passed:
        context.state.set("last", message.signal.symbol)
        return Passed(message.signal, (*message.names, str(context.state.get("last"))))
