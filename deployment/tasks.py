"""What the deploy actor has done beside its loop: undoing, checking, asking. One thread: the loop never waits."""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ark.config import Config
from ark.errors import ArkError
from ark.home import Home
from ark.state import open_core, read_core
from deployment.deploy_book import Kept
from deployment.desired import Task, stable_of
from deployment.gates import Budget
from deployment.progress import TaskResult

__all__ = ["Invariants", "Tasks"]

_NAME = "deployer"
"""In whose name state is undone."""
_BUDGET_S = 5.0
_SEAL = "immutable_graveyard"
"""How the reason of a halt begins that the rule book's seal is behind."""
_AUDIT_S = 60.0
_AUDIT_PATIENCE_S = 30.0
_HTTP_PATIENCE_S = 2.0
_BACK_S = 20.0
"""So long an agent may take to be back before the way back counts as troubled."""


class Invariants(msgspec.Struct, frozen=True):
    """What must hold whatever is rolled out."""

    seal_broken: bool = False
    audit_broken: bool = False


class Tasks:
    """Does one thing at a time.

    Args:
        home: The node's.
        config: The node's.

    Attributes:
        result: How the newest task of a way back ended; None while it has not.
        budget: How the error budget stood when it was asked for last.
        changed: Agents whose state was undone, and who have not been restarted since.
        tree: Each child as its supervisor describes it now.
    """

    def __init__(self, home: Home, config: Config) -> None:
        self.result: TaskResult | None = None
        self.budget = Budget()
        self.changed: set[str] = set()
        self.tree: Sequence[Mapping[str, Any]] = ()
        self._home = home
        self._config = config
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tasks")
        self._begun: tuple[str, str, int] | None = None
        self._pending: Future[TaskResult] | None = None
        self._audit_broken = False
        self._asked: dict[str, tuple[float, Future[Any]]] = {}
        """By what is asked for: when that began, by a clock that never goes back, and what came of it."""

    def begin(self) -> None:
        """Another rollout: what was done for the one before counts no more."""
        self.result, self._begun, self._pending = None, None, None

    def look(self, tick: float) -> None:
        """Take in what is done, and ask anew for what gets old.

        Args:
            tick: Seconds on a clock that never goes back.
        """
        if self._pending is not None and self._pending.done():
            self.result = _outcome(self._pending)
            self._pending = None
        self._ask("budget", _BUDGET_S, tick, self._read_budget)
        self._ask("audit", _AUDIT_S, tick, self._verify_audit)

    def do(self, task: Task, kept: Kept, tree: Sequence[Mapping[str, Any]], now: float) -> None:
        """Begin a task, unless that was done already, or it is not time yet."""
        name = (kept.rollout.plan.id, task.kind, task.attempt)
        if name == self._begun or now < task.not_before:
            return
        self._begun = name
        work = {"undo": self._undo, "health": self._health, "validation": self._validate}[task.kind]
        self._pending = self._pool.submit(_guarded, task, work, kept, list(tree))

    def revision(self) -> int:
        """The newest revision of the Mutable Core; 0 where nothing was ever written.

        Raises:
            JournalError: It cannot be read. Nobody may take that for nothing: all of it would be undone.
        """
        core = read_core(self._home)
        if core is None:
            return 0
        try:
            return core.revision()
        finally:
            core.close()

    def invariants(self) -> Invariants:
        """What was found last."""
        halted = self._home.halt_reason() or ""
        return Invariants(halted.startswith(_SEAL), self._audit_broken)

    def _ask(self, name: str, every_s: float, tick: float, what: Callable[[], None]) -> None:
        asked_at, pending = self._asked.get(name, (-math.inf, None))
        if (pending is None or pending.done()) and tick - asked_at >= every_s:
            self._asked[name] = (tick, self._pool.submit(what))

    # The tasks

    def _undo(self, kept: Kept, tree: list[Mapping[str, Any]]) -> str:
        """Undo what the release wrote into the agents' state since it decided its first signal."""
        if kept.revision is None:
            return "the release has written nothing"
        plan = kept.rollout.plan
        writers = {f"{role}@{release[:12]}" for role, release in plan.roles.items() if release}
        reason = f"rollout {plan.id} was rolled back"
        core = open_core(self._home)
        try:
            done = core.undo(kept.revision, of=writers.__contains__, by=_NAME, reason=reason)
            undone = [
                each for each in core.since(kept.revision) if (each.requester, each.reason) == (_NAME, reason)
            ]
        finally:
            core.close()
        # Also what a process undid that was killed before it could say so: who had read that must start again.
        self.changed.update(each.agent for each in undone if each.agent in plan.roles)
        taken, conflicts = len(undone), len(done.conflicts)
        if conflicts:
            raise _Failed(f"{taken} keys are back, {conflicts} were written by others since; see `ark-run state`")
        return f"{taken} keys are back"

    def _health(self, kept: Kept, tree: list[Mapping[str, Any]]) -> str:
        """Whether each role runs, from the release to go back to."""
        known = {each["name"]: each for each in tree}
        for role, release in stable_of(kept.rollout).items():
            child = known.get(role)
            if child is None or child["state"] != "running":
                raise _Failed(f"{role} is {child['state'] if child else 'not there'}")
            if child["release"] != release:
                raise _Failed(f"{role} runs {child['release'][:12] or 'the installed package'}")
        return "all roles run the release to go back to"

    def _validate(self, kept: Kept, tree: list[Mapping[str, Any]]) -> str:
        """Whether the ledger is whole, and nobody decides but the roles themselves."""
        self._verify_audit()
        if self._audit_broken:
            raise _Failed("the ledger's chain is broken; see `ark-run audit verify`")
        until = time.monotonic() + _BACK_S
        while True:  # whose state was undone is started again just now
            try:
                return self._health(kept, list(self.tree))
            except _Failed:
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)

    # What is asked now and then

    def _read_budget(self) -> None:
        if not self._config.metrics.enabled:
            return
        with suppress(OSError, http.client.HTTPException, ValueError, KeyError, TypeError, ArkError):
            place = urlsplit(str(self._home.node()["metrics"]))
            connection = http.client.HTTPConnection(place.netloc, timeout=_HTTP_PATIENCE_S)
            try:
                connection.request("GET", "/slos")
                self.budget = _budget_in(json.loads(connection.getresponse().read()))
            finally:
                connection.close()

    def _verify_audit(self) -> None:
        """By the command that people use: the ledger is another package's."""
        if not (self._home.data / "aletheia.db").exists():
            return
        command = [sys.executable, "-m", "ark.cli", "audit", "verify", "--json", "--home", str(self._home.path)]
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_AUDIT_PATIENCE_S, check=False
            )
            self._audit_broken = done.returncode == 1


class _Failed(Exception):
    """A task did not go well."""


def _guarded(
    task: Task, work: Callable[[Kept, list[Mapping[str, Any]]], str], kept: Kept, tree: list[Mapping[str, Any]]
) -> TaskResult:
    try:
        return TaskResult(task.kind, task.attempt, True, work(kept, tree))
    except (_Failed, ArkError) as error:
        return TaskResult(task.kind, task.attempt, False, str(error))
    except Exception as error:  # noqa: BLE001 - a task that fails ends nobody; it is tried again or told of
        return TaskResult(task.kind, task.attempt, False, f"{type(error).__name__}: {error}")


def _outcome(pending: Future[TaskResult]) -> TaskResult:
    return pending.result()


def _budget_in(document: Any) -> Budget:
    """The scarcest budget of all objectives, and whether any is being spent fast."""
    slos = document["slos"] if isinstance(document, dict) else document
    left = [each["budget"]["remaining"] for each in slos if each.get("budget")]
    known = [each for each in left if each is not None]
    burning = any(
        alert["firing"] and alert["severity"] == "page"
        for each in slos
        for alert in (each.get("burn") or {}).get("alerts", ())
    )
    return Budget(min(known, default=None), burning)
