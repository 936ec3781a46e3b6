"""Agents that signals can end, at the moments that matter for dead letters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actors.aletheia import Aletheia
from actors.joey import Joey
from actors.kenny import Intent, Kenny
from actors.messages import Case
from ark import Context


class MortalJoey(Joey):
    """Dies of a signal as long as the file that its metadata name under `until` is not there."""

    def handle(self, message: Case, context: Context) -> Case:
        until = message.signal.metadata.get("until")
        if until and not os.path.exists(until):
            raise LookupError(f"the model {os.path.basename(until)} is missing")
        return super().handle(message, context)


class MortalKenny(Kenny):
    """Dies like by kill -9 of a signal that says so: between the broker's commit and his own.

    Or, as long as the file that its metadata name under `hands` is not there, before he calls the broker.
    """

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.is_to_die = False

    @contextmanager
    def performing(self, context: Context) -> Iterator[None]:
        with super().performing(context):
            yield
        if self.is_to_die:
            os._exit(9)

    def perform(self, intent: Intent, context: Context, *, again: bool) -> Case:
        hands = intent.case.signal.metadata.get("hands")
        if hands and not os.path.exists(hands):
            os._exit(9)
        self.is_to_die = intent.case.signal.metadata.get("poison") == "between the commits"
        return super().perform(intent, context, again=again)


class MortalAletheia(Aletheia):
    """Dies of a signal that says so, also of its letter, so that the gateway alone can end it."""

    poison = "POISON"

    def handle(self, message: Case, context: Context) -> Any:
        if message.signal.symbol == self.poison:
            raise ValueError("poison")
        return super().handle(message, context)

    def bury(self, letter: Any, context: Context) -> Any:
        if letter.symbol == self.poison:
            raise ValueError("poison, even as a letter")
        return super().bury(letter, context)
