"""Where operators ask for the levels of the logs, and wish for others. No sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ark.config import LogsConfig
from ark.errors import RequestError
from ark.home import Home
from ark.levels import ALL, DEFAULT, LEVELS, Wish, in_force, reset, wish
from ark.protocol import Code, Request, nearest

__all__ = ["LevelDesk"]

_NO_REASON = "by an operator"
LONGEST_S = 30 * 86_400.0
"""For so long at most a wish may last; one that should last longer belongs into the configuration."""


class LevelDesk:
    """Answers `log_level`. The wishes are written down before it is answered; the processes look there themselves.

    Args:
        home: The node's home.
        settings: The configured levels.
        names: Gives the names of all processes of the tree.
        note: Tells of a change, and keeps it in the chronicle.
        remember: Called with each request that changed something, its subject and details, for the record of what
            persons did.
    """

    def __init__(
        self,
        home: Home,
        settings: LogsConfig,
        *,
        names: Callable[[], Iterable[str]],
        note: Callable[..., None],
        remember: Callable[[Request, str, dict[str, Any]], None],
    ) -> None:
        self._home = home
        self._settings = settings
        self._names = names
        self._note = note
        self._remember = remember

    def answer(self, request: Request, now: float) -> dict[str, Any]:
        """The fields of the reply.

        Args:
            request: For a level, or to be shown those in force.
            now: Seconds since the epoch.

        Raises:
            RequestError: With the reply's code, message and field.
        """
        names = list(self._names())
        wishes = self._home.levels()
        if request.level:
            name = self._check(request, names)
            level = next((each for each in LEVELS if each == request.level), None)
            reason = request.reason.strip() or _NO_REASON
            until = now + request.for_s if request.for_s else None
            if level is None:
                wishes = reset(wishes, name)
            else:
                wishes = wish(wishes, name, Wish(level, until, request.who, reason, now))
            try:
                self._home.keep_levels(wishes)
            except OSError as error:
                raise RequestError(f"it cannot be written down: {error.strerror}", code=Code.BUSY) from error
            details = {"level": request.level, "for_s": request.for_s or None}
            self._note("log_level", name=name, **details, reason=reason, by=request.who)
            self._remember(request, name, details)
        elif request.agent:
            names = names if self._checked(request.agent, names) == ALL else [request.agent]
        settings = self._settings
        shown = in_force(names, wishes, settings.levels, settings.level, now)
        return {"levels": [msgspec.to_builtins(each) for each in shown]}

    def _check(self, request: Request, names: list[str]) -> str:
        """Whose level is meant; raises RequestError where that cannot be changed so."""
        if not request.agent:
            raise RequestError(f"`agent` is missing; {ALL} for every process", code=Code.INVALID, field="agent")
        name = self._checked(request.agent, names)
        if request.level not in (*LEVELS, DEFAULT):
            raise RequestError(
                f"`level` must be one of {', '.join((*LEVELS, DEFAULT))}{nearest(request.level, LEVELS)}",
                code=Code.INVALID,
                field="level",
            )
        if not request.for_s <= LONGEST_S:
            raise RequestError(
                f"`for_s` is at most {LONGEST_S:.0f}; set the level in ark.toml instead",
                code=Code.INVALID,
                field="for_s",
            )
        if request.for_s and request.level == DEFAULT:
            raise RequestError(f"`for_s` says nothing of {DEFAULT}", code=Code.INVALID, field="for_s")
        return name

    @staticmethod
    def _checked(name: str, names: list[str]) -> str:
        if name != ALL and name not in names:
            raise RequestError(
                f"no process is named {name[:40]!r}{nearest(name, [*names, ALL])}",
                code=Code.UNKNOWN_AGENT,
                field="agent",
            )
        return name
