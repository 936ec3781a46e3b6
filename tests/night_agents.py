"""A Joey who asks a model before he plans, for the story of a night in the documents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from actors.joey import Joey
from actors.messages import Case
from ark import Context


class ModelJoey(Joey):
    """Asks a model about every symbol; while the file `silent` of his settings is there, it does not answer."""

    def setup(self, context: Context) -> None:
        """Read where the model is."""
        settings = dict(context.settings)
        self._silent = Path(settings.pop("silent"))
        context.settings = settings
        super().setup(context)

    def handle(self, message: Case, context: Context) -> Any:
        """Ask the model first."""
        if message.signal.symbol == "NVDA":
            self._ask_the_model()
        return super().handle(message, context)

    def _ask_the_model(self) -> None:
        while self._silent.exists():
            time.sleep(0.05)
