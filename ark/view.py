"""What the exporter knows of the node, and what it shows of it.

It knows the tree by its supervisors' word, everybody's heartbeat by the black boxes, and what is counted by the
pages of metrics, so that what it says depends on nobody. Only whether the front door answers is asked.

Once a second it takes a sample of what the gateway has counted, for the lines over time and for the objectives; all
else is looked up when somebody asks.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

import ark
from ark import exposition, gateway_page, health, page_feed, resources
from ark.config import Config
from ark.errors import ArkError
from ark.health import Verdict
from ark.home import Home
from ark.live import Live
from ark.meters import Series, read, read_pages
from ark.node_series import Facts, node_series, original_series
from ark.operator_line import OperatorLine
from ark.page_feed import Samples
from ark.recent import newest_outcomes
from ark.restarts import Restarts
from ark.showing import shown
from ark.slo_watch import SloWatch
from ark.status import SignalCounts, StatusDocument, compose, read_boxes
from ark.topology import tree
from ark.trace_finder import find_trace

__all__ = ["NodeView"]

_ASK_S = 0.5
"""So long may the front door take to say that it accepts."""
_ANSWER_HOLDS_S = 0.5
_OUTCOMES_HOLD_S = 0.1
_COUNT_HOLDS_S = 10.0
_MOST_TRACES = 2
"""So many signals are looked up at once."""
_PROTOCOL = 1


class NodeView:
    """What the routes of `ark.web` show.

    Args:
        home: The node's home.
        config: Its configuration.
        line: The way to the gateway.
    """

    def __init__(self, home: Home, config: Config, line: OperatorLine) -> None:
        self._objectives = SloWatch(home, config)
        self._home = home
        self._line = line
        self._pipeline = config.pipeline.agents
        self._backlog = config.gateway.backlog
        self._limits_s = _limits_s(config)
        self._needed = frozenset(("gateway", "pipeline", *self._pipeline))
        self._tree: Sequence[Mapping[str, Any]] = ()
        self._node = _facts(home)
        self._restarts = Restarts(home.restarts_file)
        self._signals = SignalCounts()
        self._samples = Samples()
        self._outcomes: tuple[float, list[dict[str, Any]]] = (0.0, [])
        self._answer: tuple[float, str | None] = (-1.0, None)
        self._count: tuple[float, int] = (-1.0, 0)
        self._told: dict[str, float] = {}
        self._stood: set[tuple[str, str]] = set()
        self._live = Live(self.state)
        self._asking = asyncio.Lock()
        self._tracing = asyncio.Semaphore(_MOST_TRACES)

    # What it is told

    def see_tree(self, children: Sequence[Mapping[str, Any]]) -> None:
        """Take the supervisors' word on the tree."""
        self._tree = children
        self._restarts.see(children)
        self._live.tell_soon()

    def has_acted(self) -> None:
        """Somebody has changed something, which all who follow should see."""
        self._answer = (-1.0, None)
        self._live.tell_soon()

    async def stop(self) -> None:
        """Let go of all who follow, and write down what is only known here."""
        self._live.stop()
        await self._objectives.stop()

    def look(self) -> None:
        """Take a sample; once a second."""
        page = read(self._home.page("gateway"))
        counted = exposition.gather(page)
        self._signals = gateway_page.signals(counted) or self._signals
        self._samples.add(gateway_page.sample(counted, time.time()))
        self._objectives.look(page)
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
        if time.monotonic() - self._count[0] > _COUNT_HOLDS_S:
            self._metrics()
        body = {
            "status": "healthy" if verdict.is_healthy else "unhealthy",
            "timestamp": time.time(),
            "metrics_count": self._count[1],
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
        portfolio = shown(self._home.shown("hrm", "portfolio"))
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
            outcomes=self._newest(now),
            portfolio=portfolio if isinstance(portfolio, dict) else None,
            slos=self.slos()["slos"],
            rollout=status.rollout,
        )

    async def trace(self, trace_id: str) -> dict[str, Any] | None:
        """A signal's whole way; None where it was never accepted.

        Raises:
            ArkError: It cannot be told now.
        """
        async with self._tracing:  # on a thread: files are read, and the gateway may be asked
            found = await asyncio.to_thread(find_trace, self._home, trace_id)
        return None if found.state == "unknown" else msgspec.to_builtins(found)

    def slos(self) -> dict[str, Any]:
        """The objectives, and how the node stands with each."""
        return self._objectives.keeper.document(time.time())

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type."""
        return exposition.encode(self._metrics(), accept)

    def metrics_json(self) -> dict[str, Any]:
        """The exposition as the original gave it to programs."""
        return exposition.as_json(self._metrics(), time.time())

    def _metrics(self) -> dict[str, list[Series]]:
        status, verdict = self._judge()
        facts = Facts(
            version=ark.__version__,
            children=status.children,
            ready=verdict.is_ready,
            halted=status.halted,
            alerts=status.alerts if "at" in self._home.watchdog_report() else None,
            restarts=self._restarts.totals(),
            usages=resources.usages(self._tree),
            journals=resources.journals(self._home),
            disk=resources.disk(self._home),
            rollout=status.rollout,
        )
        objectives = self._objectives.keeper.series(time.time())
        found = exposition.gather([*read_pages(self._home.pages), *node_series(facts, self._stood), *objectives])
        found |= exposition.gather(original_series(found, status.children, self._told))
        self._count = (time.monotonic(), len(found))
        return found

    def _judge(self) -> tuple[StatusDocument, Verdict]:
        boxes = read_boxes(self._home, self._tree)
        status = compose(self._home, self._tree, self._pipeline, self._signals, boxes)
        broken = next((alert.reason for alert in status.alerts if alert.fault == "seal"), "")
        waiting = (self._signals.in_flight or 0) + (self._signals.held or 0)
        full = f"{waiting} signals wait for their outcome" if waiting >= self._backlog else ""
        now = time.monotonic()
        return status, health.judge(self._tree, boxes, self._limits_s, self._needed, now, seal=broken, full=full)

    def _newest(self, now: float) -> list[dict[str, Any]]:
        at, outcomes = self._outcomes
        if abs(now - at) > _OUTCOMES_HOLD_S:
            found = newest_outcomes(self._home.data / "gateway.db")
            outcomes = outcomes if found is None else found
            self._outcomes = (now, outcomes)
        return outcomes

    async def _ask_door(self) -> str | None:
        """Why the front door does not accept; None where it does."""
        async with self._asking:  # one asks, and all who wait hear the answer
            at, why = self._answer
            if time.monotonic() - at > _ANSWER_HOLDS_S:
                try:
                    answer = await self._line.ask("status", within_s=_ASK_S)
                    why = answer.get("busy")
                except ArkError as error:
                    why = str(error)
                self._answer = (time.monotonic(), why)
        return f"gateway: {why}" if why else None


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
