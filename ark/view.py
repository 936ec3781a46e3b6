"""What the exporter knows of the node, and what it shows of it.

It knows the tree by its supervisors' word and everybody's heartbeat by the black boxes, so that what it says of the
health depends on nobody. Only whether the front door answers is asked.
"""

from __future__ import annotations

import platform
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

import ark
from ark import health, page_feed
from ark.config import Config
from ark.errors import ArkError, NodeError, RequestError
from ark.exposition import encode, families, gauges
from ark.health import Verdict
from ark.home import Home
from ark.live import Live
from ark.operator_line import OperatorLine
from ark.page_feed import Sample, Samples
from ark.recent import newest_outcomes
from ark.slo_watch import SloWatch
from ark.status import SignalCounts, StatusDocument, compose, read_boxes
from ark.topology import tree

__all__ = ["NodeView"]

_ASK_S = 0.5
"""So long may the front door take to say that it accepts."""
_ANSWER_HOLDS_S = 0.5
_OUTCOMES_HOLD_S = 0.1
_PROTOCOL = 1


class NodeView:
    """What the routes of `ark.web` show.

    Args:
        home: The node's home.
        config: Its configuration.
        line: The way to the gateway.
    """

    def __init__(self, home: Home, config: Config, line: OperatorLine) -> None:
        self._home = home
        self._config = config
        self._line = line
        self._pipeline = config.pipeline.agents
        self._limits_s = _limits_s(config)
        self._needed = frozenset(("gateway", "pipeline", *self._pipeline))
        self._tree: Sequence[Mapping[str, Any]] = ()
        self._node = _facts(home)
        self._signals = SignalCounts()
        self._samples = Samples()
        self._outcomes: list[dict[str, Any]] = []
        self._outcomes_at = 0.0
        self._answer: tuple[float, str | None] = (-1.0, None)
        self._live = Live(self.state)
        self._objectives = SloWatch(home, config)

    # What it is told

    def see_tree(self, children: Sequence[Mapping[str, Any]]) -> None:
        """Take the supervisors' word on the tree."""
        self._tree = children
        self._live.tell_soon()

    async def stop(self) -> None:
        """Let go of all who follow, and write down what is only known here."""
        self._live.stop()
        await self._objectives.stop()

    async def look(self) -> None:
        """Take a sample; once a second."""
        if self._live.is_followed:
            await self._ask_counts()
        self._samples.add(Sample(time.time(), self._signals.completed))
        self._objectives.look()
        self._live.tell()

    # What it shows

    @property
    def is_crowded(self) -> bool:
        """Whether nobody else can follow the page's document."""
        return self._live.is_full

    def follow(self) -> AsyncGenerator[bytes]:
        """The page's document as server-sent events."""
        return self._live.follow()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the tree is healthy, and the answer's body."""
        status, verdict = self._judge()
        body = {
            "status": "healthy" if verdict.is_healthy else "unhealthy",
            "timestamp": time.time(),
            "metrics_count": len(list(families(status))),
            "halted": status.halted,
            "halt_reason": status.halt_reason,
            "down": sorted({fault.name for fault in verdict.faults}),
            "faults": verdict.faults,
        }
        return verdict.is_healthy, body

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the node does its work, and the answer's body."""
        status, verdict = self._judge()
        reason = "; ".join(f"{fault.name}: {fault.reason}" for fault in verdict.hinders)
        reason = reason or await self._ask_door() or ""
        body = {
            "status": "not_ready" if reason else "ready",
            "timestamp": time.time(),
            "reason": reason or None,
            "halted": status.halted,
            "halt_reason": status.halt_reason,
        }
        return not reason, body

    def version(self) -> dict[str, Any]:
        """What runs here."""
        return {
            "version": ark.__version__,
            "protocol": _PROTOCOL,
            "python": platform.python_version(),
            "started_at": self._node.started_at,
            "pid": self._node.pid,
        }

    def state(self) -> dict[str, Any]:
        """The page's document."""
        status, verdict = self._judge()
        now = time.time()
        if abs(now - self._outcomes_at) > _OUTCOMES_HOLD_S:
            self._outcomes_at = now
            found = newest_outcomes(self._home.data / "gateway.db")
            self._outcomes = self._outcomes if found is None else found
        return page_feed.document(
            node={
                "version": ark.__version__,
                "ready": verdict.is_ready,
                "halted": status.halted,
                "halt_reason": status.halt_reason,
                "uptime_s": round(now - self._node.started_at, 1),
                "at": now,
            },
            children=status.children,
            signals=msgspec.structs.asdict(self._signals),
            alerts=status.alerts,
            series=self._samples.lines(),
            outcomes=self._outcomes,
            portfolio=self._shown("hrm", "portfolio"),
            slos=self.slos()["slos"],
        )

    def slos(self) -> dict[str, Any]:
        """How the node stands with its objectives."""
        return self._objectives.keeper.document(time.time())

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type."""
        await self._ask_counts()
        status, _ = self._judge()
        return encode([*families(status), *gauges(self._objectives.keeper.series(time.time()))], accept)

    def _judge(self) -> tuple[StatusDocument, Verdict]:
        boxes = read_boxes(self._home, self._tree)
        status = compose(self._home, self._tree, self._pipeline, self._signals, boxes)
        broken = next((alert.reason for alert in status.alerts if alert.fault == "seal"), "")
        now = time.monotonic()
        return status, health.judge(self._tree, boxes, self._limits_s, self._needed, now, seal=broken)

    def _shown(self, agent: str, name: str) -> dict[str, Any] | None:
        """What an agent shows under a name; None where it shows nothing."""
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            content = (self._home.run / "shown" / f"{agent}.{name}.json").read_bytes()
            found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
            return found
        return None

    # What it asks

    async def _ask_door(self) -> str | None:
        """Why the front door does not accept; None where it does."""
        at, why = self._answer
        if time.monotonic() - at > _ANSWER_HOLDS_S:
            try:
                answer = await self._line.ask("status", within_s=_ASK_S)
                why = answer.get("busy")
            except ArkError as error:
                why = str(error)
            self._answer = (time.monotonic(), why)
        return f"gateway: {why}" if why else None

    async def _ask_counts(self) -> None:
        with suppress(NodeError, RequestError, msgspec.ValidationError):
            answer = await self._line.ask("status", within_s=_ASK_S)
            self._signals = msgspec.convert(answer["signals"], SignalCounts)


class _Node(msgspec.Struct):
    pid: int | None = None
    started_at: float = 0.0


def _facts(home: Home) -> _Node:
    """What the node has written down of itself."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(home.node_file.read_bytes(), type=_Node)
    return _Node(started_at=time.time())


def _limits_s(config: Config) -> dict[str, float]:
    """Everybody who belongs to the tree, and the greatest age of a beat that the Watchdog bears."""
    limits_s = {"root": config.watchdog.interval_s * config.watchdog.missed}
    children = list(tree(config, ark.__version__)["children"])
    while children:
        child = children.pop(0)
        agent = config.agents.get(child["name"])
        limits_s[child["name"]] = (agent.patience_s if agent else 0.0) or limits_s["root"]
        children = [*child.get("options", {}).get("children", ()), *children]
    return limits_s
