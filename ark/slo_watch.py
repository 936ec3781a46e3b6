"""The exporter's part in the objectives: it takes in what the gateway has counted and keeps the history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from ark.config import Config
from ark.home import Home
from ark.log import Log
from ark.meters import Series
from ark.slo_history import FILE, SloHistory
from ark.slo_keeper import SloKeeper, counted

__all__ = ["SloWatch"]


class SloWatch:
    """The exporter's part in the objectives. Nothing here waits for the disk: a thread writes.

    Args:
        home: The node's home.
        config: Its configuration.

    Attributes:
        keeper: Knows how the node stands.
    """

    def __init__(self, home: Home, config: Config) -> None:
        self.keeper = SloKeeper(config.slo, SloHistory(home.data / FILE))
        self._log = Log(home.logs / "supervision.log")
        self._saving: asyncio.Task[None] | None = None
        self._told = ""

    def look(self, page: Iterable[Series]) -> None:
        """Take in what the gateway has counted, from its page; on the loop."""
        self.keeper.sample(counted(page), time.time())
        if self._saving is not None and self._saving.done():
            self._saving.result()  # what escapes from it is a defect, and ends the process
            self._saving = None
        if self._saving is None and self.keeper.is_unsaved:
            self._saving = asyncio.create_task(asyncio.to_thread(self.keeper.save))
        if self.keeper.trouble != self._told:
            self._told = self.keeper.trouble
            self._log.write("slo_history", name="exporter", reason=self._told or "it is written again")

    async def stop(self) -> None:
        """Write what is left."""
        if self._saving is not None:
            await self._saving
        await asyncio.to_thread(self.keeper.close)
