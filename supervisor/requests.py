"""Operators' requests that are under way: each is answered when the child has come to where it was sent."""

from __future__ import annotations

import msgspec

from supervisor.transitions import Child, State

__all__ = ["Requests"]

_PATIENCE_S = 10.0


class _Open(msgspec.Struct, frozen=True):
    number: int
    op: str
    agent: str
    incarnation: int
    until: float


class Requests:
    """Requests by number, until they are settled."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self, number: int, op: str, child: Child, now: float) -> None:
        """Remember a request for a child as it stood before."""
        # What asks for a process where there is one, or for none where there is none, is settled as it stands.
        stays = op in ("release", "start") and child.live and not child.leaving
        wanted = child.incarnation if stays else child.incarnation + 1
        self._open.append(_Open(number, op, child.name, wanted, now + _PATIENCE_S))

    def settled(self, state: State, now: float) -> list[tuple[int, str, str]]:
        """Those that are done, or have waited too long, as number, child and the child's state."""
        done: list[tuple[int, str, str]] = []
        for each in list(self._open):
            child = state.child(each.agent)
            if child is None:
                continue
            if each.op in ("isolate", "stop"):
                there = child.state in ("isolated", "stopped")
            else:
                there = child.state == "running" and child.incarnation >= each.incarnation
            if there or now >= each.until:
                self._open.remove(each)
                done.append((each.number, each.agent, child.state))
        return done
