"""The Mutable Core beside agents' state: settings of the whole system, the truth map, and memories.

All of them are keys of the one history, with revisions, requesters and rollback; see `ark.state`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from ark.changes import Change, Group
from ark.errors import StateError
from ark.state import Core

__all__ = ["Memories", "Memory", "MemoryType", "Settings", "Truth", "Truths"]

MemoryType = Literal["embedding", "summary", "pattern"]


class Settings:
    """Settings that belong to no agent: limits, parameters of models."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, key: str, default: Any = None, *, revision: int | None = None) -> Any:
        """The value of a setting, now or as of a revision."""
        found = self._core.find("", key, kind="config", revision=revision)
        return default if found is None else found.value

    def set(self, key: str, value: Any, *, requester: str, reason: str = "", description: str = "") -> int:
        """Give a setting a value; gives the revision. Without a description the old one stays."""
        if not description and (known := self._core.find("", key, kind="config")):
            description = known.details["description"]
        change = Change(key, value, kind="config", details={"description": description})
        return self._core.write([Group((change,), requester, reason)])[0][0]


class Truth(msgspec.Struct, frozen=True):
    """What is held to be true.

    Attributes:
        key: The question.
        value: The answer.
        confidence: 0 to 1.
        sources: Who says so.
        updated_by: Who wrote it.
        at: When, seconds since the epoch.
    """

    key: str
    value: Any
    confidence: float
    sources: tuple[str, ...]
    updated_by: str
    at: float


class Truths:
    """The truth map."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get(self, key: str, *, revision: int | None = None) -> Truth | None:
        """What is held to be true, now or as of a revision; None where nothing is."""
        found = self._core.find("", key, kind="truth", revision=revision)
        if found is None:
            return None
        sources = tuple(found.details["sources"])
        return Truth(key, found.value, found.details["confidence"], sources, found.requester, found.at)

    def set(
        self,
        key: str,
        value: Any,
        *,
        confidence: float,
        sources: Sequence[str],
        requester: str,
        reason: str = "",
    ) -> int:
        """Say what is true; gives the revision.

        Raises:
            StateError: The confidence is not from 0 to 1.
        """
        details = {"confidence": confidence, "sources": list(sources)}
        change = Change(key, value, kind="truth", details=details)
        return self._core.write([Group((change,), requester, reason)])[0][0]


class Memory(msgspec.Struct, frozen=True):
    """A memory of an agent's.

    Attributes:
        id: Its own.
        agent: Whose.
        memory_type: Of what sort.
        content, metadata: What is remembered.
        at: Since when, seconds since the epoch.
        expires_at: Until when; None for ever.
    """

    id: str
    agent: str
    memory_type: MemoryType
    content: Any
    metadata: dict[str, Any]
    at: float
    expires_at: float | None


class Memories:
    """What agents remember. What has expired is not shown any more; the history keeps it."""

    def __init__(self, core: Core, clock: Callable[[], float] = time.time) -> None:
        self._core = core
        self._clock = clock

    def add(
        self,
        agent: str,
        memory_type: MemoryType,
        content: Any,
        *,
        requester: str,
        metadata: dict[str, Any] | None = None,
        ttl_s: float | None = None,
        reason: str = "",
    ) -> str:
        """Remember something; gives its id.

        Args:
            agent: Whose memory it is.
            memory_type: Of what sort.
            content, metadata: What JSON can say.
            requester, reason: Who asks for it, and why.
            ttl_s: For so long; for ever where absent.
        """
        if ttl_s is not None and ttl_s <= 0:
            raise StateError("a memory lasts for more than 0 s", field="ttl_s")
        expires_at = None if ttl_s is None else self._clock() + ttl_s
        details = {"memory_type": memory_type, "metadata": metadata or {}, "expires_at": expires_at}
        key = uuid.uuid4().hex
        self._core.write([Group((Change(key, content, agent, "memory", details=details),), requester, reason)])
        return key

    def get(self, agent: str, memory_type: MemoryType | None = None, *, limit: int = 100) -> list[Memory]:
        """What an agent remembers, newest first."""
        now = self._clock()
        found = [
            Memory(each.key, each.agent, content=each.value, at=each.at, **each.details)
            for each in sorted(self._core.entries(agent, kind="memory"), key=lambda each: -each.revision)
        ]
        return [
            each
            for each in found
            if memory_type in (None, each.memory_type) and (each.expires_at is None or each.expires_at > now)
        ][:limit]
