"""Where operators have a child of the tree stopped, started or isolated, which the supervisor does. No sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ark import protocol
from ark.errors import RequestError
from ark.protocol import Code, Request
from ark.records import Members
from ark.wire import Route

__all__ = ["TreeDesk"]

_MOST_ASKED = 64
_ASKED_S = 15.0
"""So many requests may be with the supervisor, and one that got no answer for so long counts no longer."""
_NO_REASON = "by an operator"
_NEEDS_REASON = ("isolate", "release", "stop")
_DOWN = frozenset({"isolated", "stopped", "failed"})
_REFUSALS = {
    ("stop", "isolated"): "is isolated, and down; `supervisor release` starts it",
    ("start", "isolated"): "is isolated; `supervisor release` starts it",
    ("restart", "isolated"): "is isolated; `supervisor release` starts it",
    ("release", "stopped"): "was stopped, not isolated; `supervisor start` starts it",
}
"""Why an operation cannot be done to a child of which that is wanted."""


class TreeDesk:
    """Answers `isolate`, `release`, `restart`, `stop` and `start`, most of them when the supervisor has.

    Args:
        name: The gateway's own.
        pipeline: The agents in order.
        say: Says a map to the supervisor.
        remember: Called with each request that is handed on and its agent, for the record of what persons did.

    Attributes:
        children: Each child of the tree as its supervisor describes it, parents before children.
    """

    def __init__(
        self,
        name: str,
        pipeline: Sequence[str],
        *,
        say: Callable[..., None],
        remember: Callable[[Request, str], None],
    ) -> None:
        self.children: list[dict[str, Any]] = []
        self._name = name
        self._pipeline = pipeline
        self._say = say
        self._remember = remember
        self._asked: dict[int, tuple[float, Route, msgspec.Raw]] = {}
        self._questions = 0

    @property
    def is_interrupted(self) -> bool:
        """Whether an agent of the pipeline is down until further notice, so that nothing may be sent."""
        return bool(self.interruption)

    @property
    def interruption(self) -> str:
        """Which agent of the pipeline is down until further notice, in words; empty for none."""
        # Of agents whose supervisor is down nothing is told: then it stands for them.
        down = [each for each in self.children if each["state"] in _DOWN]
        who = [
            each
            for each in down
            if each["name"] in self._pipeline or (each["kind"] == "supervisor" and not each.get("alone"))
        ]
        return f"{who[0]['name']} is {who[0]['state']}" if who else ""

    @property
    def crew(self) -> Members:
        """The agents of the pipeline in order, each with its version; empty while not all of them run."""
        running = {each["name"]: each["version"] for each in self.children if each["state"] == "running"}
        members = tuple([(name, running[name]) for name in self._pipeline if name in running])
        return members if len(members) == len(self._pipeline) else ()

    def answer(self, request: Request, route: Route, now: float) -> dict[str, Any] | None:
        """The fields of the reply; None where the supervisor is asked, and `replied` gives its answer.

        Args:
            request: One of the five.
            route: The way back to the client.
            now: Seconds on a clock that never goes back.

        Raises:
            RequestError: With the reply's code, message and field.
        """
        agent = self._check(request)
        if agent == self._name:  # who is asked for itself will not be there to answer afterwards
            self._hand_on(request, agent, 0)
            return {"agent": agent, "state": "starting" if request.op == "restart" else "running"}
        self._asked = {number: each for number, each in self._asked.items() if now - each[0] < _ASKED_S}
        if len(self._asked) >= _MOST_ASKED:
            return protocol.busy(f"{_MOST_ASKED} requests may be with the supervisor")
        self._questions += 1
        self._asked[self._questions] = (now, route, request.id)
        self._hand_on(request, agent, self._questions)
        return None

    def replied(self, number: int, agent: str, state: str) -> tuple[Route, bytes] | None:
        """The reply to whoever asked, now that the supervisor has answered; None where nobody waits for it.

        Args:
            number: That of the question.
            agent: Whom it was about.
            state: How that one stands now.
        """
        asked = self._asked.pop(number, None)
        if asked is None:
            return None
        _, route, id_ = asked
        return route, protocol.reply(id_, agent=agent, state=state)

    def _hand_on(self, request: Request, agent: str, number: int) -> None:
        self._remember(request, agent)
        self._say(
            say="request",
            number=number,
            reason=request.reason or _NO_REASON,
            op=request.op,
            agent=agent,
            by=request.who,
        )

    def _check(self, request: Request) -> str:
        """The child that it is about; raises RequestError where that cannot be done to it."""
        agent = request.agent
        if not agent:
            raise RequestError("`agent` is missing", code=Code.INVALID, field="agent")
        known = {child["name"]: child for child in self.children}
        if agent not in known and agent in self._pipeline:
            raise _refused(f"the supervisor of {agent} does not run now; see `supervisor status`")
        if agent not in known or known[agent]["parent"] is None:
            raise RequestError(
                f"no child is named {agent[:40]!r}{protocol.nearest(agent, known)}",
                code=Code.UNKNOWN_AGENT,
                field="agent",
            )
        if request.op in ("isolate", "release") and known[agent]["kind"] != "agent":
            raise _refused(f"{agent} is no agent of the pipeline; only those can be isolated")
        why_not = _REFUSALS.get((request.op, known[agent]["desired"]))
        if why_not:
            raise _refused(f"{agent} {why_not}")
        if request.op in _NEEDS_REASON:
            request.need_reason()
        if agent == self._name and request.op == "stop":
            raise _refused(
                f"the {agent} cannot be stopped: nothing could be started through it again; use"
                " `supervisor restart`, or `ark-run stop` for the whole node"
            )
        return agent


def _refused(why: str) -> RequestError:
    return RequestError(why, code=Code.REFUSED, field="agent")
