"""A node under load and under attack, and what a fault needs of it: log, processes, probes, and the count."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ark.blackbox import read
from ark.client import Client
from ark.errors import ArkError
from ark.journal import open_for_reading
from tests.chaos.agents import UNRULY
from tests.chaos.load import FlooderProcess, Load, made_up_trace
from tests.node import Node, wait_until
from tests.promises import check_promises

__all__ = ["AGENTS", "Count", "Lines", "Scene", "lives", "scene"]

AGENTS = ("kyle", "joey", "hrm", "kenny", "aletheia")
WATCHDOG = """
[watchdog]
interval_s = 1.0
missed = 2
"""
"""The defaults, which the promises are about."""
CONFIG = (
    UNRULY
    + """
[agents.kenny.settings]
max_actions_per_minute = 100000
burst_limit = 1000

[agents.hrm.settings]
max_position_size = 0.06
"""
)
"""Agents that misbehave on demand, and enough orders a minute that many signals reach the broker."""
PROBE = {"symbol": "PROBE", "direction": "long", "price": 100.0}
PROBE_PATIENCE_S = 0.3
"""A probe that gets no answer for so long is asked again; the trace id keeps it one signal."""


class Lines:
    """The lines of `logs/supervision.log` as they come, over its rotation.

    Args:
        path: The log; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None
        self._rest = b""
        self._seen: list[dict[str, Any]] = []

    def mark(self) -> None:
        """Forget what was written until now."""
        self.since_mark()
        self._seen.clear()

    def since_mark(self) -> list[dict[str, Any]]:
        """Every line since the mark."""
        if self._file is None and self._path.exists():
            self._file = self._path.open("rb")
        if self._file is not None:
            moved = self._is_moved()
            *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
            for line in whole:
                with suppress(ValueError):
                    self._seen.append(json.loads(line))
            if moved:
                self.close()
        return self._seen

    def close(self) -> None:
        """Close the file; it is opened anew at the next look."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._rest = b""

    def _is_moved(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except OSError:
            return True


class Count:
    """What became of everything that was accepted.

    Attributes:
        lost: Accepted signals without an outcome or without a row in the ledger.
        doubled: Rows too many, in the ledger or of a client order id at the broker.
        broken: The first promise that does not hold, in words; empty where all hold.
    """

    def __init__(self, lost: int, doubled: int, broken: str) -> None:
        self.lost = lost
        self.doubled = doubled
        self.broken = broken


class Scene:
    """One node with its load and its flood.

    Attributes:
        one: The node.
        die: What everything random comes from.
        load: The honest signals.
        lines: The node's log.
        accepted: Trace ids of accepted probes and of signals that a fault has injected.
        struck_at: When the fault was injected, seconds since the epoch.
        struck_pid: The process that was sent a signal of the operating system.
    """

    def __init__(self, one: Node, seed: int) -> None:
        self.one = one
        self.die = random.Random(seed)
        self.load = Load(one.gateway, random.Random(seed + 1))
        self.lines = Lines(one.home.logs / "supervision.log")
        self.accepted: set[str] = set()
        self.struck_at = 0.0
        self.struck_pid: int | None = None
        self._seed = seed
        self._flood: FlooderProcess | None = None

    def begin(self) -> None:
        """Let load and flood begin."""
        self.load.start()
        self.load.go_on()
        self._flood = FlooderProcess(self.one.gateway, self._seed + 2)

    def end(self) -> dict[str, int]:
        """End load and flood; gives what the flood has sent."""
        self.load.finish()
        flood, self._flood = self._flood, None
        return flood.finish() if flood else {}

    # Doing harm

    def strike(self) -> None:
        """Say that the fault is injected now."""
        self.struck_at = time.time()

    def pid(self, name: str) -> int:
        """The process of a child that runs; waits until it does."""

        def running() -> int | None:
            try:
                child = self.one.child(name)
            except (ArkError, StopIteration):
                return None
            # The status may still tell of one who has just been killed.
            fresh = child["state"] == "running" and child["pid"] != self.struck_pid and lives(child["pid"])
            return child["pid"] if fresh else None

        found: int = wait_until(running, f"{name} runs")
        return found

    def admin(self) -> int:
        """Thespian's admin: the root's parent."""
        return psutil.Process(self.pid("root")).ppid()

    def send(self, name: str, number: int) -> None:
        """Send a child a signal of the operating system, as the fault."""
        self.struck_pid = self.pid(name)
        self.strike()
        os.kill(self.struck_pid, number)

    def token(self) -> Path:
        """A file for the metadata of a signal that asks for misbehaviour; see `tests.chaos.agents`."""
        path = self.one.home.path / f"token-{self.die.getrandbits(32):x}"
        path.touch()
        return path

    def inject(self, *, within_s: float = 30.0, **changes: Any) -> str:
        """Inject one signal until it is accepted; gives its trace id."""
        trace_id = made_up_trace(self.die)
        made = {**PROBE, "trace_id": trace_id, **changes}

        def let_in() -> bool:
            try:
                with Client(self.one.gateway, timeout_s=PROBE_PATIENCE_S) as client:
                    return client.inject(made)["status"] in ("accepted", "duplicate")
            except ArkError:
                return False

        wait_until(let_in, "the front door accepts a signal", within_s)
        self.accepted.add(trace_id)
        return trace_id

    def ask_for(self, what: str, agent: str, **details: Any) -> str:
        """Inject a signal whose metadata asks an agent to misbehave; gives its trace id."""
        return self.inject(metadata={"chaos": what, "agent": agent, **details})

    # Looking

    def wait_line(self, wanted: Callable[[dict[str, Any]], bool], what: str, within_s: float) -> dict[str, Any]:
        """Wait for a line of the log, from the mark on."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines.since_mark() if wanted(line)), None)

        line: dict[str, Any] = wait_until(found, what, within_s)
        return line

    def outcome(self, trace_id: str, within_s: float) -> dict[str, Any]:
        """The outcome of a signal; a door that does not answer is asked again."""

        def ended() -> dict[str, Any] | None:
            try:
                with Client(self.one.gateway, timeout_s=PROBE_PATIENCE_S) as client:
                    return client.outcome(trace_id, timeout_s=PROBE_PATIENCE_S)
            except ArkError:
                return None

        outcome: dict[str, Any] = wait_until(ended, f"signal {trace_id} has its outcome", within_s)
        return outcome

    def recover(self, within_s: float) -> float:
        """Wait until a new signal has its outcome and the whole tree runs; gives the seconds that it took."""
        began = time.monotonic()
        trace_id = self.inject(within_s=within_s)
        self.outcome(trace_id, within_s)
        wait_until(self.is_well, "all is well", within_s)
        return time.monotonic() - began

    def is_well(self) -> bool:
        """Whether every child runs, none of them the process that was struck, and trading is not halted."""
        try:
            status = self.one.status()
        except ArkError:
            return False
        pids = [child["pid"] for child in status["children"]]
        return bool(status["ready"]) and not status["halted"] and self.struck_pid not in pids

    def operate(self, *command: str) -> str:
        """Run one of ARK's commands, as an operator would; gives what it prints.

        Raises:
            AssertionError: It says that it could not.
        """
        done = self.one.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
        return done.stdout

    def answers(self) -> str:
        """What supervisor and Watchdog did since the mark, in a few words, in the order in which it began."""
        told: Counter[str] = Counter()
        for line in self.lines.since_mark():
            if line["event"] in ("exited", "hung", "isolate", "gave_up"):
                told[f"{line['event']} {line['name']}"] += 1
            elif line["event"] == "rebuilt":
                told["tree rebuilt"] += 1
            elif line["event"] == "alert" and line["state"] == "raised":
                told[f"{line['fault']} {line['name']} -> {line['answer']}"] += 1
            elif line["event"] in ("halt", "seal_broken"):
                told[line["event"]] += 1
        return ", ".join(each if times == 1 else f"{each} x{times}" for each, times in told.items())

    def keep(self, folder: Path) -> None:
        """Copy what the node has written, for whoever looks into a failure: journals, logs, black boxes, status."""
        shutil.copytree(self.one.home.path, folder, ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True)
        with suppress(ArkError):
            (folder / "status.json").write_text(json.dumps(self.one.status(), indent=1))
        for name in os.listdir(self.one.home.run / "box"):
            box = read(self.one.home.box(name))
            if box is not None:
                (folder / f"box-{name}.json").write_bytes(msgspec.json.encode(box))
        lines = "".join(json.dumps(line) + "\n" for line in self.lines.since_mark())
        (folder / "lines.jsonl").write_text(lines)

    # Counting

    def settle(self, within_s: float = 60.0) -> None:
        """Let the load rest, and wait until everything that was accepted has its outcome."""
        self.load.rest(within_s)

        def at_rest() -> bool:
            try:
                signals = self.one.status()["signals"]
            except ArkError:
                return False
            return bool(signals["accepted"] == signals["completed"] + signals["held"])

        wait_until(at_rest, "everything that was accepted has its outcome", within_s)

    def count(self, within_s: float = 60.0, *, thorough: bool = True, clock_was_set: bool = False) -> Count:
        """Count what was lost and what came twice; the load rests meanwhile.

        Args:
            within_s: How long the last signals may take.
            thorough: Whether every promise is checked, too, along the whole ledger.
            clock_was_set: See `tests.promises.check_promises`.
        """
        broken = ""
        try:
            self.settle(within_s)
        except AssertionError as error:
            broken = str(error)
        remembered = self.accepted | self.load.accepted
        ended = self._column("gateway", "SELECT trace_id FROM signals JOIN outcomes USING (seq)")
        rows = Counter(self._column("aletheia", "SELECT trace_id FROM ledger"))
        orders = Counter(self._column("kenny-broker", "SELECT client_order_id FROM submissions"))
        lost = len(remembered - (set(ended) & set(rows)))
        doubled = sum(each - 1 for counter in (rows, orders, Counter(ended)) for each in counter.values())
        if self.load.refused:
            broken = broken or f"the door refused an honest signal: {self.load.refused[0]}"
        return Count(lost, doubled, broken or (self._broken_promise(clock_was_set) if thorough else ""))

    def _broken_promise(self, clock_was_set: bool) -> str:
        dead = self._column("gateway", "SELECT trace_id FROM signals JOIN outcomes USING (seq) WHERE dead = 1")
        until = time.monotonic() + 10.0
        while True:
            try:
                check_promises(
                    lambda name: open_for_reading(self.one.home.data / f"{name}.db"),
                    excused=dead,
                    clock_was_set=clock_was_set,
                )
            except AssertionError as error:
                # What an agent tells another one aside may be under way for a moment more.
                if time.monotonic() > until:
                    return f"a promise does not hold: {error or error.__traceback__}"
                time.sleep(0.05)
            else:
                return ""

    def _column(self, name: str, query: str) -> list[str]:
        connection = open_for_reading(self.one.home.data / f"{name}.db")
        try:
            return [value for (value,) in connection.execute(query)]
        finally:
            connection.close()


def lives(pid: int) -> bool:
    """Whether a process is there and is not merely waiting to be forgotten."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def scene(
    seed: int,
    watchdog: str = "",
    *,
    start: bool = True,
    prepare: Callable[[Path], None] = lambda home: None,
    environment: Mapping[str, str] | None = None,
    disk_mib: int = 0,
) -> Iterator[Scene]:
    """A node under load in a temporary folder, gone at the end whatever happened.

    Args:
        seed: What everything random comes from.
        watchdog: Further lines for the table `[watchdog]`.
        start: Whether to start the node, and the load with it.
        prepare: Called with the home before the start.
        environment: Variables for the node alone; `HOME` in their values is replaced by the node's home.
        disk_mib: Where it is not 0, the home is a small disk of its own, of so many MiB.
    """
    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        if disk_mib:
            options = f"size={disk_mib}m,mode=0700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(home)], check=True)
        prepare(home)
        one = Node(home, WATCHDOG + watchdog + CONFIG)
        one.environment = {key: value.replace("HOME", str(home)) for key, value in (environment or {}).items()}
        played = Scene(one, seed)
        try:
            if start:
                one.start()
                played.begin()
            yield played
        finally:
            try:
                played.end()
            finally:
                _end(one)
                played.lines.close()
                if disk_mib:
                    subprocess.run(["umount", "-l", str(home)], check=True)


def _end(one: Node) -> None:
    for pid in one.pids():  # who is stopped does not end in order
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    if one.process and one.process.poll() is None:
        try:
            one.stop()
        except (AssertionError, subprocess.TimeoutExpired):
            one.kill_everything()
    else:
        one.kill_everything()
