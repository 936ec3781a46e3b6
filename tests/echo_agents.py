"""Small agents for tests of the runtime: one without a journal, one with, one that ends a pipeline."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from ark import Agent, Context, Durability, Hold, Signal
from ark.ruling import verify_ruling


class Passed(msgspec.Struct, frozen=True):
    """A signal, and the names of those it has passed."""

    signal: Signal
    names: tuple[str, ...]


class First(Agent[Signal]):
    """No journal; dies of what its settings name as poison."""

    takes = Signal

    def handle(self, message: Signal, context: Context) -> Passed:
        if message.metadata.get("poison") == context.agent:
            os._exit(9)
        context.log.debug("passed", symbol=message.symbol)
        if "say" in message.metadata:
            context.log.info("says", text=message.metadata["say"], password=message.metadata["say"])
            print("prints", message.metadata["say"])
        return Passed(message, (context.agent,))


class Middle(Agent[Passed]):
    """With a journal, and a table of its own that counts every signal it ever handled."""

    takes = Passed
    durability = Durability.POWER

    def setup(self, context: Context) -> None:
        context.database.execute("CREATE TABLE IF NOT EXISTS seen (trace_id TEXT, symbol TEXT, number REAL)")

    def handle(self, message: Passed, context: Context) -> Passed:
        if message.signal.metadata.get("poison") == context.agent:
            raise ValueError("poison")
        until = message.signal.metadata.get("until")
        if until and not os.path.exists(until):
            raise LookupError("the model is missing")
        context.database.execute(
            "INSERT INTO seen VALUES (?, ?, ?)",
            (context.trace_id, message.signal.symbol, message.signal.price),
        )
        return Passed(message.signal, (*message.names, context.agent))


class Asker(Middle):
    """Holds what its metadata says, halts, and tells what it sees; not ready while the file `gate` is there."""

    secrets = ("ruling",)
    tick_s = 0.05

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.ticks = 0

    def tick(self, context: Context) -> None:
        self.ticks += 1

    def ready(self, context: Context) -> bool:
        gate = context.settings.get("gate")
        return gate is None or not os.path.exists(gate)

    def handle(self, message: Passed, context: Context) -> Any:
        wish = message.signal.metadata
        if "halt" in wish:
            context.halt(wish["halt"])
            return Passed(message.signal, (*message.names, str(context.halted())))
        if "look" in wish:
            seen = {each: context.beat_age(each) for each in ("watchdog", "gateway", "alpha", "nobody")}
            return Passed(message.signal, (*message.names, repr((seen, context.free_bytes(), self.ticks))))
        if "hold" not in wish:
            return super().handle(message, context)
        if context.ruling is None:
            details = {"decision": {"approved": False, "violations": []}, "equity": "100000"}
            return Hold(context.now() + wish["hold"], "larger than usual", details)
        verify_ruling(context.secret("ruling"), context.trace_id, context.ruling)
        return Passed(message.signal, (context.ruling.word, context.ruling.by, context.ruling.reason))


class Last(Agent[Passed]):
    """Gives outcomes, and keeps them in order."""

    takes = Passed
    durability = Durability.POWER

    def setup(self, context: Context) -> None:
        context.database.execute(
            "CREATE TABLE IF NOT EXISTS ended (number INTEGER PRIMARY KEY, trace_id TEXT UNIQUE, status TEXT)"
        )

    def handle(self, message: Passed, context: Context) -> dict[str, Any]:
        names = [*message.names] if context.ruling is None else [*message.names, f"known to {context.agent}"]
        return self._end(context, message.signal.symbol, "executed", names)

    def bury(self, letter: Any, context: Context) -> dict[str, Any]:
        return self._end(context, letter.symbol, "failed", [letter.agent, letter.reason])

    @staticmethod
    def _end(context: Context, symbol: str, status: str, names: list[str]) -> dict[str, Any]:
        known = context.database.execute("SELECT 1 FROM ended WHERE trace_id = ?", (context.trace_id,)).fetchone()
        if known is None:
            context.database.execute(
                "INSERT INTO ended (trace_id, status) VALUES (?, ?)", (context.trace_id, status)
            )
        return {"trace_id": context.trace_id, "symbol": symbol, "status": status, "names": names}


class Slow(Last):
    """Ends a signal when the file is there that its metadata name."""

    version = "2.1"

    def handle(self, message: Passed, context: Context) -> dict[str, Any]:
        file = message.signal.metadata.get("file")
        while file and not os.path.exists(file):
            time.sleep(0.005)
        return super().handle(message, context)
