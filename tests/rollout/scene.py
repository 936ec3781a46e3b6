"""A node under load on which rollouts run one after the other, and what its journals say of them afterwards."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ark
from ark.equipment import permanent_releases
from ark.errors import ArkError
from ark.journal import open_for_reading
from ark.message import Span
from ark.records import Record, Records
from ark.routing import read_table
from tests.chaos.load import Load, made_up_trace
from tests.node import Node, node, wait_until
from tests.promises import check_promises
from tests.rollout.releases import plant

__all__ = ["Decided", "Rollouts", "made_up_trades", "percentile", "rollouts"]

CONFIG = """
[agents.kenny.settings]
max_actions_per_minute = 100000
burst_limit = 10000

[agents.hrm.settings.ruleset]
forbidden_sources = ["insider_tip", "rumour"]

[metrics]
enabled = false

[deploy]
stages = [50, 100]
shadow_s = 0.3
baseline_s = 0
stage_s = 0.5
bake_s = 0.5
signals = 10
two_people = []
health_interval_s = 0.2
"""
"""Rollouts in seconds, and as many orders as there are signals. Without figures no error budget is ever spent."""
PATIENT = {"late_allowed": 0.9, "late_limit": 0.95}
"""On a busy machine everybody is late, and a rollout holds for it: of no canary's fault, but here for too long."""
SYMBOLS = 400


def made_up_trades(die: random.Random) -> Iterator[dict[str, Any]]:
    """Signals without an end, four of each symbol in a row, so that their order counts.

    A position is opened, and closed by the symbol's next bar: hundreds of orders, few positions at a time. About an
    eighth of what is judged is too large for the Graveyard, and as much comes from where the ruleset forbids it.
    """
    number = 0
    while True:
        number += 1
        base = {"symbol": f"S{number % SYMBOLS}", "direction": "long", "price": 100.0}
        plan = {"position_size_pct": 0.005, "stop_loss": 99.0, "target": 102.0}
        extra: dict[str, Any] = {}
        kind = die.random()
        if kind < 0.15:
            extra = {**plan, "position_size_pct": 0.5}
        elif kind < 0.30:
            extra = {**plan, "source": "rumour"}
        bar = {"ts": time.time(), "open": 100.0, "high": 103.0, "low": 100.0, "close": 100.0, "volume": 1e5}
        if die.random() < 0.5:
            bar |= {"high": 100.0, "low": 97.0}
        for each in (extra, plan, {}, {"action": "observe", "features": {"bar": bar}}):
            yield {**base, **each, "trace_id": made_up_trace(die)}


class Decided(NamedTuple):
    """What one agent made of one signal.

    Attributes:
        trace_id: The signal.
        arm: Who decided: `canary`, `baseline`, `stable`, or nothing where no rollout was under way.
        generation: Of the routing table.
        version: The version that decided.
        at: When, seconds since the epoch.
    """

    trace_id: str
    arm: str
    generation: int
    version: str
    at: float


class Rollouts:
    """One node with its load.

    Attributes:
        one: The node.
        load: The signals.
        leases: When which lease was seen in the routing table, each as a pair of seconds since the epoch.
    """

    def __init__(self, one: Node, seed: int, rate: float) -> None:
        self.one = one
        self.home = one.home
        self.die = random.Random(seed)
        self.load = Load(one.gateway, random.Random(seed + 1), rate=rate)
        self.load.signals = made_up_trades(random.Random(seed + 2))
        self.leases: list[tuple[float, float]] = []
        self._ended: list[Record] = []
        self._finished = threading.Event()
        self._looker = threading.Thread(target=self._look, daemon=True)
        self._number = 0
        self._versions = {"": ark.__version__}

    # The node

    def begin(self) -> None:
        """Let the load begin."""
        self.load.start()
        self.load.go_on()
        self._looker.start()

    def end(self) -> None:
        """End the load."""
        self._finished.set()
        self.load.finish()

    def _look(self) -> None:
        """Note every table that is in force."""
        seen: tuple[int, float] | None = None
        while not self._finished.wait(0.01):
            with suppress(ArkError):
                table = read_table(self.home.routes_file)
                if table is not None and seen != (table.generation, table.lease_until):
                    seen = (table.generation, table.lease_until)
                    self.leases.append((time.time(), table.lease_until))

    def trigger(self) -> Path:
        """A file that is not there yet, for a planted fault."""
        self._number += 1
        return self.home.path.parent / f"trigger-{self._number}"

    def plant(self, role: str, fault: str, **options: Any) -> str:
        """Build a release; see `tests.rollout.releases.plant`."""
        self._number += 1
        version = f"2.0.{self._number}"
        digest = plant(self.home, role, fault, version=version, **options)
        self._versions[digest] = version
        return digest

    # One rollout

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the deploy actor, through the door, as an operator."""
        with self.one.client() as client:
            return client.request(op, **fields)

    def start(self, role: str, digest: str, *, strategy: str = "canary", **settings: Any) -> dict[str, Any]:
        """Start a rollout; gives its document."""
        settings = {**settings, "judge": {**PATIENT, **settings.get("judge", {})}}
        plan = {"roles": {role: digest}, "strategy": strategy, "settings": settings}
        document: dict[str, Any] = self.ask("deploy.start", plan=plan)["rollout"]
        return document

    def now(self) -> dict[str, Any]:
        """The newest rollout's document; an empty one while nobody answers."""
        with suppress(ArkError):
            with self.one.client() as client:
                # A gateway that is killed with the question in hand never answers it.
                found = client.request("deploy.status", patience_s=1.0)["rollout"]
            if found is not None:
                return dict(found)
        return {"id": "", "state": "", "share": 0.0, "is_over": False, "holds": [], "verdict": None}

    def reach(
        self, condition: Callable[[dict[str, Any]], Any], what: str, within_s: float = 60.0
    ) -> dict[str, Any]:
        """Wait until the newest rollout is so; gives its document."""
        seen: dict[str, Any] = {}

        def is_so() -> bool:
            seen.clear()
            seen.update(self.now())
            return bool(condition(seen))

        try:
            wait_until(is_so, what, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen.get('state')} {seen.get('holds')} {seen.get('last')}") from None
        return dict(seen)

    def reach_share(self, percent: float, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until the canary decides so much of the traffic."""
        return self.reach(
            lambda now: (now["is_over"] and _fail(now)) or (now["state"] == "stage" and now["share"] >= percent),
            f"the canary has {percent:g} %",
            within_s,
        )

    def finish(self, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until the newest rollout is over; gives its whole document."""
        self.reach(lambda now: now["is_over"], "the rollout is over", within_s)
        document: dict[str, Any] = self.ask("deploy.explain")["rollout"]
        return document

    def verdict_at(self, document: dict[str, Any]) -> float:
        """When a rollout was turned back, seconds since the epoch."""
        return next(float(each["at"]) for each in document["history"] if each["target"] == "aborting")

    def permanent(self, role: str) -> str:
        """The digest of an agent's permanent release; empty for the installed package."""
        found = permanent_releases(self.home.permanent_file).get(role)
        return "" if found is None else found.digest

    def is_clean(self, roles: dict[str, str]) -> bool:
        """Whether no arm runs, no table is in force, and these roles run these releases, for good."""
        try:
            children = {each["name"]: each for each in self.one.status()["children"]}
        except ArkError:
            return False
        return not self.home.routes_file.exists() and all(
            f"{role}.canary" not in children
            and children[role]["state"] == "running"
            and children[role]["version"] == self._versions[digest]
            and self.permanent(role) == digest
            for role, digest in roles.items()
        )

    # The journals

    def decided(self, role: str, since: float = 0.0) -> list[Decided]:
        """What an agent decided of all that was accepted since a time."""
        found = []
        for record in self._records():
            if record.accepted_at < since:
                continue
            for span in spans_of(record):
                if span.agent == role:
                    arm, _, generation = span.track.partition(":")
                    found.append(
                        Decided(record.trace_id, arm, int(generation or 0), span.version, span.out_ns / 1e9)
                    )
        return found

    def _records(self) -> list[Record]:
        """Every signal; those that had ended at an earlier look are not read again."""
        gateway = open_for_reading(self.home.data / "gateway.db")
        try:
            new = list(Records(gateway).after(self._ended[-1].seq if self._ended else 0, limit=10_000_000))
        finally:
            gateway.close()
        records = [*self._ended, *new]
        self._ended += itertools.takewhile(lambda each: bool(each.status), new)
        return records

    def settle(self, within_s: float = 60.0) -> None:
        """Let the load rest, and wait until everything has its outcome."""
        self.load.rest(within_s)

        def at_rest() -> bool:
            try:
                return not self.one.status()["signals"]["in_flight"]
            except ArkError:
                return False

        wait_until(at_rest, "every signal has its outcome", within_s)

    def audit(self) -> Counter[str]:
        """Check, with the node stopped, all that ARK promises; gives how the signals ended.

        Raises:
            AssertionError: A promise is broken.
        """
        records = self._records()
        known = {each.trace_id for each in records if each.status}
        assert not self.load.refused, self.load.refused[:3]
        assert self.load.accepted <= known, f"{len(self.load.accepted - known)} accepted signals have no outcome"
        dead = [each.trace_id for each in records if each.is_dead]
        check_promises(lambda name: open_for_reading(self.home.data / f"{name}.db"), excused=dead)
        return Counter(each.status for each in records)

    def after_its_lease(self, role: str) -> list[Decided]:
        """What a canary decided although no lease was running any more."""
        found = []
        for each in self.decided(role):
            if each.arm == "canary":
                lease = max((until for at, until in self.leases if at <= each.at + 0.05), default=-math.inf)
                if each.at > lease + 0.05:
                    found.append(each)
        return found


def spans_of(record: Record) -> tuple[Span, ...]:
    """Who had a signal."""
    if record.passage is not None and record.passage.spans is not None:
        return record.passage.spans
    return tuple(
        Span(
            each["agent"],
            each["version"],
            int(each["in_ns"]),
            int(each["out_ns"]),
            each.get("track", ""),
        )
        for each in record.outcome.get("spans", ())
    )


def percentile(values: list[float], share: float) -> float:
    """A percentile, the nearest that was measured; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _fail(document: dict[str, Any]) -> bool:
    raise AssertionError(f"it is over before: {document['last']}")


@contextmanager
def rollouts(
    config: str = "", *, seed: int = 1, rate: float = 120.0, environment: dict[str, str] | None = None
) -> Iterator[Rollouts]:
    """A node under load, gone at the end whatever happened.

    Args:
        config: Added to `CONFIG`.
        seed: What everything random comes from.
        rate: Signals a second.
        environment: Variables for the node alone; `HOME` in their values is replaced by the node's home.
    """
    with node(CONFIG + config, start=False) as one:
        one.environment = {
            key: value.replace("HOME", str(one.home.path)) for key, value in (environment or {}).items()
        }
        one.start()
        played = Rollouts(one, seed, rate)
        try:
            played.begin()
            yield played
        finally:
            played.end()
