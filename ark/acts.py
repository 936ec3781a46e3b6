"""What a person may do through the page: who is let, what is understood, and what comes of it. No sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from ark.errors import NodeError, RequestError
from ark.keys import Refusal, Refusals, Token
from ark.protocol import Code

__all__ = ["Act", "ActDesk", "Asker", "Refused", "read_act"]

_ANSWER_S = 15.0
"""So long may an act take: supervisors answer when the child has come to where it was sent."""
_OWN_ANSWER_S = 0.3
"""The same where the exporter itself is to go, which will not be there to hear of it."""
_LIST_S = 2.0
"""So long may the list of what is held take."""
_MOST_LISTED = 50
"""So many of the held signals are listed, the oldest first."""
_MOST_ACTS = 16
"""So many acts may be under way."""
_MOST_WAITING = 16
"""So many who came with a wrong token are kept waiting; one more is sent away at once."""
_FORGOTTEN_S = 60.0
_LONGEST_WAIT_S = 2.0
_NEEDS_AGENT = frozenset({"isolate", "release", "restart", "stop", "start"})
_NEEDS_TRACE = frozenset({"approve", "refuse"})
_ROLLOUT = frozenset({"deploy.pause", "deploy.resume", "deploy.approve", "deploy.promote", "deploy.abort"})
_STATUSES = {
    Code.INVALID: 400,
    Code.FORBIDDEN: 403,
    Code.UNKNOWN_AGENT: 404,
    Code.UNKNOWN_TRACE: 404,
    Code.REFUSED: 409,
    Code.PENDING: 409,
    Code.BUSY: 503,
}
"""HTTP's words for the gateway's."""


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One act, as it was asked for.

    Attributes:
        op: The operation of the front door.
        agent: The child that it is about, where it is about one.
        trace_id: The held signal that it is about, where it is about one.
        rollout: The rollout that it is about, where it is about one: a newer one is not meant.
        reason: Why.
    """

    op: Literal[
        "isolate",
        "release",
        "restart",
        "stop",
        "start",
        "halt",
        "resume",
        "approve",
        "refuse",
        "deploy.pause",
        "deploy.resume",
        "deploy.approve",
        "deploy.promote",
        "deploy.abort",
    ]
    agent: Annotated[str, Meta(max_length=64)] = ""
    trace_id: Annotated[str, Meta(max_length=64)] = ""
    rollout: Annotated[str, Meta(max_length=64)] = ""
    reason: Annotated[str, Meta(max_length=500)] = ""


class Refused(Exception):
    """An act that was not done, or of which nobody knows whether it was.

    Args:
        status: HTTP's.
        error: Why, in words.
        field: The field that is wrong, if there is one.
        retry_s: When to come again, where that may help.
    """

    def __init__(self, status: int, error: str, *, field: str | None = None, retry_s: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.field = field
        self.retry_s = retry_s


class Asker(Protocol):
    """The way to the gateway; see `ark.operator_line`."""

    async def ask(self, op: str, *, within_s: float, **fields: Any) -> dict[str, Any]:
        """Ask for one operation, once."""


def read_act(body: bytes) -> Act:
    """Read what is asked for.

    Raises:
        Refused: It cannot be understood, or lacks something.
    """
    try:
        act = msgspec.json.decode(body, type=Act)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, str(error)) from None
    for field, ops in (("agent", _NEEDS_AGENT), ("trace_id", _NEEDS_TRACE), ("rollout", _ROLLOUT)):
        if (act.op in ops) != bool(getattr(act, field)):
            verb = "needs" if act.op in ops else "has no"
            raise Refused(400, f"{act.op} {verb} `{field}`", field=field)
    if not act.reason.strip():
        raise Refused(400, f"{act.op} needs a `reason`", field="reason")
    return act


class ActDesk:
    """Lets in whoever has a token, and passes acts on in his name.

    Whoever has the right token is never kept waiting, however many come with wrong ones.

    Args:
        holder: Gives the token that a text is, if it is a good one.
        line: The way to the gateway.
        tell: Called with each wrong attempt that is to be told of, and how many before it were not.
        own_name: The exporter's own, in the tree.
        clock: Seconds that never go back.
        wait: Waits for so many seconds.
    """

    def __init__(
        self,
        holder: Callable[[str], Token | None],
        line: Asker,
        tell: Callable[[Refusal, int], None],
        *,
        own_name: str,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._holder = holder
        self._line = line
        self._tell = tell
        self._own_name = own_name
        self._clock = clock
        self._wait = wait
        self._refusals = Refusals()
        self._wrong: list[float] = []
        self._waiting = 0
        self._acts = 0

    async def admit(self, authorization: str) -> Token:
        """The token that a request came with.

        Args:
            authorization: The request's header of that name.

        Raises:
            Refused: It came with none, or with a wrong one; the answer to that is kept back for a while.
        """
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Refused(401, "come with `Authorization: Bearer TOKEN`; `ark-run keys token` makes one")
        token = self._holder(secret.strip())
        if token is not None:
            return token
        await self._turn_away()
        raise Refused(401, "that token is not known, or is revoked")

    async def do(self, act: Act, token: Token) -> dict[str, Any]:
        """Have an act done, in the name of a token.

        Returns:
            What the gateway says of it.

        Raises:
            Refused: It was not done, or nobody knows.
        """
        if self._acts >= _MOST_ACTS:
            raise Refused(503, f"{_MOST_ACTS} acts are under way; try again later", retry_s=1)
        self._acts += 1
        try:
            return await self._pass_on(act, token)
        finally:
            self._acts -= 1

    async def held(self) -> list[dict[str, Any]]:
        """The signals that wait for a person's word, the oldest first, as the operation `held` has them.

        Raises:
            Refused: The gateway does not answer.
        """
        try:
            answer = await self._line.ask("held", within_s=_LIST_S, limit=_MOST_LISTED)
        except RequestError as error:
            raise _in_http(error) from None
        except NodeError as error:
            raise Refused(503, str(error), retry_s=1) from None
        found: list[dict[str, Any]] = answer["held"]
        return found

    async def _pass_on(self, act: Act, token: Token) -> dict[str, Any]:
        goes_itself = act.agent == self._own_name and act.op in ("restart", "stop")
        fields: Mapping[str, str] = {
            key: value
            for key, value in (("agent", act.agent), ("trace_id", act.trace_id), ("rollout", act.rollout))
            if value
        }
        try:
            answer = await self._line.ask(
                act.op,
                within_s=_OWN_ANSWER_S if goes_itself else _ANSWER_S,
                reason=act.reason,
                by=token.name,
                **fields,
            )
        except RequestError as error:
            raise _in_http(error) from None
        except NodeError as error:
            if goes_itself:
                return {"agent": act.agent, "state": "starting" if act.op == "restart" else "stopped"}
            raise Refused(504, f"{error}; it may have been done all the same") from None
        return {key: value for key, value in answer.items() if key not in ("v", "id", "ok")}

    async def _turn_away(self) -> None:
        """Count a wrong token, and keep its answer back: the longer, the more came lately."""
        now = self._clock()
        kept_back = self._refusals.note("wrong_token", now)
        if kept_back is not None:
            self._tell(Refusal("wrong_token", "act"), kept_back)
        self._wrong = [*(at for at in self._wrong[-_MOST_WAITING:] if now - at < _FORGOTTEN_S), now]
        if self._waiting >= _MOST_WAITING:
            raise Refused(429, "too many wrong tokens; try again later", retry_s=int(_LONGEST_WAIT_S))
        self._waiting += 1
        try:
            await self._wait(min(_LONGEST_WAIT_S, 0.1 * 2 ** len(self._wrong)))
        finally:
            self._waiting -= 1


def _in_http(error: RequestError) -> Refused:
    status = _STATUSES.get(error.code, 400)
    return Refused(status, str(error), field=error.field, retry_s=1 if status == 503 else None)
