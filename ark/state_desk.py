"""What an agent sees of the Mutable Core, and how its changes become revisions exactly once.

A change that an agent makes while it handles a message is seen by itself at once, and by nobody else before the
batch is committed. Changes of one message are one group, with an origin: the agent, the trace id, and what was
being done. With a journal, groups are written into it, in the commit that holds the answers, and from there into
the Mutable Core; a process that dies in between finds them at its next start. Without one, they are written before
the answers are sent, and a message that comes again is handled again. Either way a group whose origin the Mutable
Core knows is not written a second time, so each message has its effect there once.

What belongs to no message (`setup`, `tick`, `notice`, `settle`) has an origin of its own. Without a journal it may
be lost with the process.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ark.changes import Change, Group, check_change, check_name
from ark.errors import StateError
from ark.state import Core

__all__ = ["StateDesk"]

_PROPOSED_S = 10.0
"""So long a change that a role was asked to write is seen by the version on trial that proposed it, at most."""
_SETTLE_S = 0.05
"""It looks at most so often whether that is done."""


class StateDesk:
    """The agent's own state, and what it may read beside it. See `ark.agent.Context.state`.

    Args:
        agent: The agent's name.
        release: What it runs; its changes are asked for by `agent@release`.
        core: Gives the Mutable Core; called when it is needed first.
        token: Names this process; a random one where absent.
    """

    def __init__(self, agent: str, release: str, core: Callable[[], Core], *, token: str = "") -> None:
        self.requester = f"{agent}@{release}"
        """Who asks for the agent's changes."""
        self._agent = agent
        self._open = core
        self._token = token or secrets.token_hex(6)
        self._count = 0
        self._origin = ""
        self._is_again = self._is_known = False
        self._changes: list[tuple[Change, str]] = []
        self._groups: list[Group] = []
        self._seen: dict[str, Change] = {}
        self._proposed: dict[str, tuple[tuple[Change, ...], float]] = {}
        self._settled_at = 0.0

    # For agents

    def get(self, key: str, default: Any = None, *, agent: str = "") -> Any:
        """The value of a key.

        Args:
            key: Which.
            default: What to give where there is none.
            agent: Whose; the agent's own where absent. Of others only what is committed is seen.
        """
        if agent in ("", self._agent):
            change = self._seen.get(key)
            if change is not None:
                return default if change.gone else change.value
        return self._open().get(agent or self._agent, key, default)

    def all(self, *, agent: str = "") -> dict[str, Any]:
        """Every key with its value; see `get`."""
        found = {each.key: each.value for each in self._open().entries(agent or self._agent)}
        if agent in ("", self._agent):
            for key, change in self._seen.items():
                if change.gone:
                    found.pop(key, None)
                else:
                    found[key] = change.value
        return found

    def setting(self, key: str, default: Any = None) -> Any:
        """A setting of the whole system, which persons set."""
        found = self._open().find("", key, kind="config")
        return default if found is None else found.value

    def set(self, key: str, value: Any, reason: str = "") -> None:
        """Give a key of the agent's own a value.

        For what changes now and then, not with each signal: every change is kept for ever.

        Args:
            key: Which.
            value: None, bool, int, float, text, list, or a map with texts for keys; at most 256 KiB as JSON.
            reason: Why, for those who read the history.

        Raises:
            StateError: The key or the value cannot be kept.
        """
        self._change(Change(key, value, self._agent), reason)

    def delete(self, key: str, reason: str = "") -> None:
        """Delete a key of the agent's own."""
        self._change(Change(key, agent=self._agent, gone=True), reason)

    def _change(self, change: Change, reason: str) -> None:
        # What the agent changes in it later is not what it asked to be kept.
        change = msgspec.structs.replace(change, value=check_change(change))
        if not self._knows():
            self._changes.append((change, reason))
            self._seen[change.key] = change

    # For the host

    def turn_to(self, trace_id: str = "", phase: str = "", *, again: bool = False) -> None:
        """What the agent changes from now on belongs to this.

        Args:
            trace_id: The message's trace; empty where there is none.
            phase: What is done with it.
            again: Whether that may have been done before.
        """
        self._close_group()
        self._origin = f"{self._agent}/{trace_id}/{phase}" if trace_id else ""
        self._is_again, self._is_known = again and bool(trace_id), False

    def take(self) -> list[Group]:
        """The changes since the last call, to be kept and then applied."""
        self._close_group()
        groups, self._groups = self._groups, []
        return groups

    def apply(self, groups: Sequence[Group]) -> None:
        """Make changes; those that are made already are passed over.

        Raises:
            JournalError: They cannot be written.
        """
        self._open().write(groups)
        self._seen.clear()

    def forget(self) -> None:
        """Let go of what was changed since the last turn."""
        self._changes.clear()
        self._seen = {change.key: change for group in self._groups for change in group.changes}

    def adopt(self, changes: Sequence[Change], release: str) -> bool:
        """Take the changes that another version of the agent made for the message at hand, in that one's name.

        Returns:
            Whether they can be kept; none of them is taken otherwise.
        """
        own = [Change(each.key, each.value, self._agent, gone=each.gone) for each in changes]
        requester = f"{self._agent}@{release}"
        try:
            check_name("requester", requester)
            for change in own:
                check_change(change)
        except StateError:
            return False
        self._close_group()
        if not self._knows():
            self._groups.append(Group(tuple(own), requester, "", self._origin))
            self._seen.update({change.key: change for change in own})
        return True

    # For the host of a version on trial, which may read, and whose changes its role writes

    def proposed(self, *, kept: bool) -> tuple[Change, ...]:
        """What was changed since the last turn.

        Args:
            kept: Whether the role is asked to write it. Until it has, it is seen here.
        """
        changes = tuple(change for change, _ in self._changes)
        self._changes.clear()
        if changes and kept:
            self._proposed[self._origin] = (changes, time.monotonic() + _PROPOSED_S)
        self._see_proposed()
        return changes if kept else ()

    def settle_proposed(self) -> None:
        """Look, now and then, what of it the role has written, or has not within reason."""
        now = time.monotonic()
        if self._proposed and now - self._settled_at > _SETTLE_S:
            self._settled_at = now
            core = self._open()
            for origin, (_, until) in list(self._proposed.items()):
                if now > until or core.has(origin):
                    del self._proposed[origin]
            self._see_proposed()

    def _see_proposed(self) -> None:
        self._seen = {change.key: change for changes, _ in self._proposed.values() for change in changes}

    def _knows(self) -> bool:
        """Whether an earlier process has written what came of the message at hand."""
        if self._is_again:
            self._is_again, self._is_known = False, self._open().has(self._origin)
        return self._is_known

    def _close_group(self) -> None:
        if not self._changes:
            return
        if not self._origin:
            self._count += 1
            self._origin = f"{self._agent}//{self._token}.{self._count}"
        reasons = list(dict.fromkeys(reason for _, reason in self._changes if reason))
        changes = tuple(change for change, _ in self._changes)
        self._groups.append(Group(changes, self.requester, "; ".join(reasons), self._origin))
        self._changes.clear()
        self._origin = ""
