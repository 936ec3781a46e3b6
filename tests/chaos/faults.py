"""Every fault: how it is injected, what answer is expected, how noticing and recovery are seen."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil

from ark.errors import ArkError
from tests.chaos.agents import MEMORY_LIMIT_MIB
from tests.chaos.report import Row
from tests.chaos.scene import AGENTS, Scene, lives
from tests.disk import damage, filled, put_back
from tests.node import wait_until

__all__ = ["FAULTS", "Fault", "named", "play"]

CRASH_S = 0.05
"""A crash is to be noticed within so long."""
HANG_S = 2.0
"""A hang is to be noticed within two heartbeats of one second."""
LOOK_S = 0.25
"""How often the Watchdog looks: a beat that is just young enough at one look is judged at the next."""
LOOK_AT_AGENTS_S = 5.0
"""How often it looks at how agents do, at memory, descriptors and disk."""
LATE_S = 5.0
"""How much later its word may come: it may have begun to look a moment before."""

Line = dict[str, Any]


class Fault:
    """One fault. To be played in a scene; see `play`.

    Attributes:
        name: As in the table and for `--fault`.
        expected: The expected answer, in words.
        notice_s: Within so many seconds it is to be noticed; None where nobody has to.
        recover_s: Within so many seconds after the fault, or after `mend`, all is to be well again.
        alone: Whether it gets a node of its own.
        watchdog, starts, environment, disk_mib: For its own node, see `tests.chaos.scene.scene`.
    """

    name = ""
    expected = ""
    notice_s: float | None = None
    recover_s = 10.0
    alone = False
    watchdog = ""
    starts = True
    environment: Mapping[str, str] = {}
    disk_mib = 0

    def missing(self) -> str:
        """What is missing here to inject it; empty for nothing."""
        return ""

    def prepare(self, home: Path) -> None:
        """Make ready its own node's home before the start."""

    def strike(self, scene: Scene) -> None:
        """Inject it, and call `scene.strike` right before."""
        raise NotImplementedError

    def is_notice(self, line: Line) -> bool:
        """Whether a line of `logs/supervision.log` says that it was noticed."""
        raise NotImplementedError

    def notice(self, scene: Scene, within_s: float) -> float:
        """Wait until it is noticed; gives when that was, seconds since the epoch."""
        line = scene.wait_line(self.is_notice, f"nobody noticed {self.name}", within_s)
        return float(line["at"])

    def mend(self, scene: Scene) -> None:
        """Do what a person has to do, where one has to."""

    def check(self, scene: Scene) -> None:
        """Check what else is expected, once all is well.

        Raises:
            AssertionError: It is not so.
        """

    def clean(self, scene: Scene) -> None:
        """Take away what it left, whatever happened."""


def play(
    fault: Fault,
    scene: Scene,
    *,
    repeat: str,
    leniency: float = 1.0,
    keep: Path | None = None,
    thorough: bool = True,
) -> Row:
    """Inject a fault, see what comes of it, and count.

    Args:
        fault: The fault.
        scene: Where.
        repeat: The command line that repeats it.
        leniency: What the times within which it is to be noticed and mended are multiplied with.
        keep: Where a copy of the node's files is put if anything differs, in a folder named like the fault.
        thorough: Whether every promise is checked at the end; see `Scene.count`.
    """
    differs: list[str] = []
    noticed_s = recovered_s = None
    observed = ""
    scene.load.go_on()
    scene.lines.mark()
    scene.struck_pid = None
    mends = type(fault).mend is not Fault.mend
    try:
        fault.strike(scene)
        patience_s = fault.recover_s * leniency
        if not mends:
            recovered_s = scene.recover(patience_s)
        if fault.notice_s is not None:
            noticed_s = max(0.0, fault.notice(scene, fault.notice_s * leniency + 10.0) - scene.struck_at)
            if noticed_s > fault.notice_s * leniency:
                differs.append(f"noticed after {noticed_s:.3f} s, not within {fault.notice_s:g} s")
        if mends:
            fault.mend(scene)
            recovered_s = scene.recover(patience_s)
        fault.check(scene)
    except (AssertionError, ArkError, OSError, subprocess.SubprocessError, psutil.Error) as error:
        differs.append(str(error) or repr(error))
    finally:
        observed = scene.answers()
        if differs and keep is not None:
            scene.keep(keep / fault.name)
        fault.clean(scene)
    count = scene.count(thorough=thorough, clock_was_set=isinstance(fault, ClockJump))
    if count.lost or count.doubled:
        differs.append(f"{count.lost} lost, {count.doubled} doubled")
    if count.broken:
        differs.append(count.broken)
    return Row(
        fault.name,
        fault.expected,
        observed,
        noticed_s,
        recovered_s,
        count.lost,
        count.doubled,
        "; ".join(differs),
        repeat=repeat,
    )


# Processes that die


class Kill(Fault):
    """kill -9 of one process."""

    notice_s = CRASH_S

    def __init__(self, child: str) -> None:
        self.child = child
        self.name = f"kill-{child}"
        self.expected = "a new process"
        if child in ("root", "admin"):
            self.expected = "a new tree"

    def strike(self, scene: Scene) -> None:
        if self.child == "admin":
            admin = scene.admin()
            scene.strike()
            os.kill(admin, signal.SIGKILL)
        else:
            scene.send(self.child, signal.SIGKILL)

    def is_notice(self, line: Line) -> bool:
        if self.child in ("root", "admin"):  # with the admin dies the root
            return bool(line["event"] == "rebuilt")
        return line["event"] == "exited" and line["name"] == self.child


class Exit(Fault):
    """A handler that ends its process, whenever it meets one signal."""

    name = "exit-in-handler"
    expected = "a new process, three times, then a dead letter"
    notice_s = 10 * CRASH_S  # the signal has to come there first

    def strike(self, scene: Scene) -> None:
        scene.strike()
        self.poison = scene.ask_for("exit", "joey")

    def is_notice(self, line: Line) -> bool:
        return line["event"] == "exited" and line["name"] == "joey" and self.poison in line["reason"]

    def check(self, scene: Scene) -> None:
        is_dead_letter(scene, self.poison, "joey")
        deaths = sum(1 for line in scene.lines.since_mark() if self.is_notice(line))
        assert deaths == 3, f"it died {deaths} times of it"


class Exception_(Exit):
    """A handler that raises, whenever it meets one signal."""

    name = "exception"

    def strike(self, scene: Scene) -> None:
        scene.strike()
        self.poison = scene.ask_for("raise", "joey")


def is_dead_letter(scene: Scene, trace_id: str, agent: str) -> None:
    """Check that a signal was given up because of an agent."""
    outcome = scene.outcome(trace_id, 20.0)
    assert outcome["status"] == "failed", f"the poison ended as {outcome['status']}, not as failed"
    assert agent in outcome["reason"], f"the outcome does not name {agent}: {outcome['reason']}"


class FiftyRestarts(Fault):
    """One agent dies fifty times within a minute."""

    name = "fifty-restarts"
    expected = "fifty new processes; nobody gives up"
    notice_s = CRASH_S
    alone = True
    times = 50
    pace_s = 0.6

    def strike(self, scene: Scene) -> None:
        began = time.monotonic()
        for number in range(self.times):
            scene.send("joey", signal.SIGKILL)
            self.last = scene.struck_at
            at = began + (number + 1) * self.pace_s
            wait_until(lambda at=at: time.monotonic() > at, "the next one's turn", within_s=60)
        assert time.monotonic() - began < 60.0, "the machine is too slow for fifty restarts a minute"

    def is_notice(self, line: Line) -> bool:
        return line["event"] == "exited" and line["name"] == "joey" and line["at"] >= self.last

    def check(self, scene: Scene) -> None:
        gave_up = [line for line in scene.lines.since_mark() if line["event"] == "gave_up"]
        assert not gave_up, f"a supervisor gave up: {gave_up[0]['reason']}"


class KillStarter(Fault):
    """kill -9 of `ark-run start`."""

    name = "kill-start"
    expected = "no process left within 2 s; a fresh start finishes everything"
    recover_s = 20.0
    patience_s = 2.0

    def strike(self, scene: Scene) -> None:
        assert scene.one.process is not None
        pids = scene.one.pids()
        scene.strike()
        scene.one.process.kill()
        scene.one.process.wait()
        wait_until(lambda: not any(lives(pid) for pid in pids), "no process is left", self.patience_s)
        scene.one.start(wait=False)


class TwoStarts(Fault):
    """Two starts over one home at the same moment."""

    name = "two-starts"
    expected = "one runs; the other says why not, exit code 1"
    recover_s = 20.0
    alone = True
    starts = False

    def strike(self, scene: Scene) -> None:
        scene.strike()
        first = scene.one.start(wait=False).process
        second = scene.one.start(wait=False).process
        assert first is not None
        assert second is not None

        def one_is_out() -> bool:
            return (first.poll() is None) != (second.poll() is None)

        wait_until(one_is_out, "exactly one start has won", within_s=20)
        winner, loser = (first, second) if first.poll() is None else (second, first)
        scene.one.process = winner
        said = scene.one.output.read_text()
        assert loser.returncode == 1, f"the loser ended with {loser.returncode}"
        assert "a node is already running" in said, f"the loser said {said!r}"
        scene.begin()


# Processes that hang


class Stop(Fault):
    """SIGSTOP: the process is there and does nothing."""

    expected = "killed, a new process"

    def __init__(self, child: str) -> None:
        self.child = child
        self.name = f"stop-{child}"
        # The root, which alone looks after the Watchdog, is sure of it only after four more looks. The guardian,
        # who would have to build everything anew for it, gives the root three beats more.
        self.notice_s = HANG_S + {"watchdog": 5 * LOOK_S, "root": 3.0 + LOOK_S}.get(child, LOOK_S)
        if child == "root":
            self.expected = "killed, a new tree"

    def strike(self, scene: Scene) -> None:
        scene.send(self.child, signal.SIGSTOP)

    def is_notice(self, line: Line) -> bool:
        if self.child == "root":
            return line["event"] == "rebuilt" and "stuck" in line["reason"]
        return line["event"] == "hung" and line["name"] == self.child


class Loop(Fault):
    """A handler that never returns, once."""

    name = "busy-loop"
    expected = "killed, a new process; the signal is handled again"
    notice_s = HANG_S + 2 * LOOK_S  # the signal has to come there first

    def strike(self, scene: Scene) -> None:
        token = scene.token()
        scene.strike()
        self.trace_id = scene.ask_for("loop", "hrm", token=str(token))

    def is_notice(self, line: Line) -> bool:
        return line["event"] == "hung" and line["name"] == "hrm" and self.trace_id in line["reason"]

    def check(self, scene: Scene) -> None:
        outcome = scene.outcome(self.trace_id, 10.0)
        assert outcome["status"] == "no_setup", f"the signal ended as {outcome['status']}"


# Agents that misbehave, and what the Watchdog does about it


class Misconduct(Fault):
    """An agent on which the Watchdog's monitors have a word to say.

    Attributes:
        agent: Who.
        fault: The kind of the alert.
        answer: What the Watchdog does about it.
    """

    agent = "joey"
    fault = ""
    answer = ""
    notice_s = LOOK_AT_AGENTS_S + LATE_S

    def is_notice(self, line: Line) -> bool:
        return (
            line["event"] == "alert"
            and line["state"] == "raised"
            and (line["name"], line["fault"], line["answer"]) == (self.agent, self.fault, self.answer)
        )


class ExceptionStorm(Misconduct):
    """Many poisonous signals, and nothing good among them."""

    name = "exception-storm"
    expected = "isolated after 5 failures in a row; each a dead letter once it is released"
    fault = "failures"
    answer = "isolate"
    notice_s = 20.0  # five times three deaths, with the waiting in between
    recover_s = 30.0
    poisons = 8

    def strike(self, scene: Scene) -> None:
        scene.settle()
        scene.strike()
        self.dead = [scene.ask_for("raise", self.agent, symbol=f"POISON{number}") for number in range(self.poisons)]

    def mend(self, scene: Scene) -> None:
        wait_until(lambda: scene.one.child(self.agent)["state"] == "isolated", "it is isolated")
        scene.operate("supervisor", "release", self.agent, "--reason", "the storm is over")
        scene.load.go_on()

    def check(self, scene: Scene) -> None:
        for trace_id in self.dead:
            is_dead_letter(scene, trace_id, self.agent)


class SlowHandler(Misconduct):
    """An agent that takes too long for each of its signals."""

    name = "slow-handler"
    expected = "isolated; released, all goes on"
    fault = "latency"
    answer = "isolate"
    alone = True
    watchdog = "max_latency_ms = 50.0\n"
    notice_s = 2 * LOOK_AT_AGENTS_S + LATE_S  # two looks apart it takes more than ten signals of half a second
    most = 40

    def strike(self, scene: Scene) -> None:
        # Nothing else in the window over which the mean is taken. One by one: a batch of them would be a hang.
        scene.settle()
        scene.strike()
        for _ in range(self.most):
            trace_id = scene.ask_for("sleep", self.agent, seconds=0.5)
            if any(self.is_notice(line) for line in scene.lines.since_mark()):
                return
            with suppress(AssertionError):
                scene.outcome(trace_id, 2.0)

    def mend(self, scene: Scene) -> None:
        wait_until(lambda: scene.one.child(self.agent)["state"] == "isolated", "it is isolated")
        scene.operate("supervisor", "release", self.agent, "--reason", "it is quick again")
        scene.load.go_on()


class MemoryGrowth(Misconduct):
    """An agent that keeps more and more."""

    name = "memory-growth"
    expected = "a new process"
    fault = "memory"
    answer = "restart"
    portion_mib = 64

    def strike(self, scene: Scene) -> None:
        self.pid = scene.pid(self.agent)
        scene.strike()
        for _ in range(MEMORY_LIMIT_MIB // self.portion_mib + 1):
            scene.ask_for("leak_memory", self.agent, mib=self.portion_mib)

    def check(self, scene: Scene) -> None:
        wait_until(lambda: not lives(self.pid) and scene.is_well(), "another process has its place")


class DescriptorLeak(Misconduct):
    """An agent that opens more and more, and never closes."""

    name = "descriptor-leak"
    expected = "a new process"
    fault = "descriptors"
    answer = "restart"
    limit = 256

    def strike(self, scene: Scene) -> None:
        self.pid = scene.pid(self.agent)
        process = psutil.Process(self.pid)
        process.rlimit(psutil.RLIMIT_NOFILE, (self.limit, self.limit))
        scene.strike()
        scene.ask_for("leak_descriptors", self.agent, count=int(0.9 * self.limit) - process.num_fds())

    def check(self, scene: Scene) -> None:
        wait_until(lambda: not lives(self.pid) and scene.is_well(), "another process has its place")


class CrowdAtTheDoor(Misconduct):
    """Clients that take every descriptor which the gateway may have.

    Either the Watchdog sees it in time, or libzmq ends the process: it aborts where it cannot accept on a Unix
    socket.
    """

    name = "crowd-at-the-door"
    expected = "a new process"
    agent = "gateway"
    fault = "descriptors"
    answer = "restart"
    spare = 24

    def is_notice(self, line: Line) -> bool:
        return super().is_notice(line) or (line["event"] == "exited" and line["name"] == self.agent)

    def strike(self, scene: Scene) -> None:
        self.pid = scene.pid(self.agent)
        process = psutil.Process(self.pid)
        limit = process.num_fds() + self.spare
        self.crowd: list[socket.socket] = []
        process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
        host, _, port = scene.one.gateway.removeprefix("tcp://").rpartition(":")
        scene.strike()
        for _ in range(2 * self.spare):
            with suppress(OSError):  # its backlog is full, or it is gone
                self.crowd.append(socket.create_connection((host, int(port)), timeout=1.0))

    def check(self, scene: Scene) -> None:
        wait_until(lambda: not lives(self.pid) and scene.is_well(), "another process has its place")

    def clean(self, scene: Scene) -> None:
        for each in self.crowd:
            each.close()


# Disks, files and clocks


class FullDisk(Fault):
    """The disk under the home is full. Nothing can be written to the log either: the halt is what is seen."""

    name = "full-disk"
    expected = "trading halted, all waits; room and a resume, and all goes on"
    notice_s = LOOK_AT_AGENTS_S + LATE_S
    recover_s = 20.0
    alone = True
    disk_mib = 1400
    """More than what counts as low."""

    def missing(self) -> str:
        return "" if os.geteuid() == 0 else "mounting a small disk needs root"

    def strike(self, scene: Scene) -> None:
        scene.outcome(scene.inject(), 10.0)
        scene.strike()
        self.filling = filled(scene.one.home.path)
        self.filling.__enter__()

    def notice(self, scene: Scene, within_s: float) -> float:
        wait_until(scene.one.home.halt_reason, "trading is halted", within_s)
        self.told = scene.one.home.halt_reason() or ""
        return time.time()

    def mend(self, scene: Scene) -> None:
        self.empty()
        wait_until(lambda: is_ready(scene), "everybody writes again", self.recover_s)
        scene.operate("ark-run", "resume", "--reason", "there is room again")

    def check(self, scene: Scene) -> None:
        assert "disk" in self.told, f"the halt says {self.told!r}"

    def clean(self, scene: Scene) -> None:
        self.empty()

    def empty(self) -> None:
        with suppress(OSError):
            self.filling.__exit__(None, None, None)


def is_ready(scene: Scene) -> bool:
    """Whether every child runs, halted or not."""
    try:
        return bool(scene.one.status()["ready"])
    except ArkError:
        return False


class Storage(Fault):
    """A journal that is not as it should be."""

    owner = "aletheia"
    notice_s = 10.0
    recover_s = 20.0

    def is_notice(self, line: Line) -> bool:
        return (
            line["event"] == "alert"
            and line["state"] == "raised"
            and (line["name"], line["fault"], line["answer"]) == (self.owner, "storage", "halt")
        )

    def resume(self, scene: Scene) -> None:
        wait_until(lambda: is_ready(scene), "its owner goes on", self.recover_s)
        wait_until(scene.one.home.halt_reason, "trading is halted")
        scene.operate("ark-run", "resume", "--reason", "the journal is mended")


class ReadOnlyJournal(Storage):
    """A journal that nobody can write any more."""

    name = "read-only-journal"
    expected = "trading halted, its owner waits; writable and resumed, all goes on"

    def missing(self) -> str:
        if os.geteuid() != 0 or not shutil.which("chattr"):
            return "making a file immutable needs root and chattr"
        with tempfile.NamedTemporaryFile(prefix="ark-") as probe:
            works = subprocess.run(["chattr", "+i", probe.name], capture_output=True, check=False).returncode == 0
            subprocess.run(["chattr", "-i", probe.name], capture_output=True, check=False)
        return "" if works else "the temporary folder's file system has no immutable files"

    def files(self, scene: Scene) -> list[str]:
        return [str(path) for path in scene.one.home.data.glob(f"{self.owner}.db*") if path.suffix != ".db-shm"]

    def strike(self, scene: Scene) -> None:
        scene.strike()
        subprocess.run(["chattr", "+i", *self.files(scene)], check=True)

    def mend(self, scene: Scene) -> None:
        self.clean(scene)
        self.resume(scene)

    def clean(self, scene: Scene) -> None:
        subprocess.run(["chattr", "-i", *self.files(scene)], check=False, capture_output=True)


class DamagedJournal(Storage):
    """The last page of a journal is written over while the node is down."""

    name = "damaged-journal"
    expected = "trading halted, its owner waits; put back and resumed, all goes on"
    owner = "hrm"
    alone = True

    def strike(self, scene: Scene) -> None:
        scene.settle()
        assert scene.one.stop() == 0
        self.path = scene.one.home.data / f"{self.owner}.db"
        damage(self.path, backup=scene.one.home.path)
        scene.strike()
        scene.one.start(wait=False)
        scene.load.go_on()

    def mend(self, scene: Scene) -> None:
        put_back(self.path, scene.one.home.path)
        self.resume(scene)


SLEEPING = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""libfaketime 0.9.10 lets `clock_nanosleep` until a time on the steady clock fail, which `time.sleep` calls."""


class ClockJump(Fault):
    """The wall clock of the whole node is set."""

    expected = "a warning; nothing else happens"
    notice_s = 1.0 + LATE_S
    alone = True
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    environment: ClassVar[Mapping[str, str]] = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": "HOME/clock",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": "HOME/sleeping",
    }

    def __init__(self, way: str, seconds: int) -> None:
        self.name = f"clock-{way}"
        self._seconds = seconds

    def missing(self) -> str:
        return "" if self.library else "libfaketime is missing; get it with: make services"

    def prepare(self, home: Path) -> None:
        (home / "clock").write_text("+0\n")
        (home / "sleeping").mkdir()
        (home / "sleeping" / "sitecustomize.py").write_text(SLEEPING)

    def strike(self, scene: Scene) -> None:
        scene.outcome(scene.inject(), 10.0)
        scene.strike()
        (scene.one.home.path / "clock.new").write_text(f"{self._seconds:+d}\n")
        (scene.one.home.path / "clock.new").replace(scene.one.home.path / "clock")

    def is_notice(self, line: Line) -> bool:
        return line["event"] == "alert" and line["state"] == "raised" and line["fault"] == "clock_jump"

    def notice(self, scene: Scene, within_s: float) -> float:
        super().notice(scene, within_s)
        return time.time()  # the line itself goes by the node's clock

    def check(self, scene: Scene) -> None:
        others = [line for line in scene.lines.since_mark() if line["event"] in ("exited", "hung", "halt")]
        assert not others, f"the jump had a consequence: {others[0]}"


# Everything at once


class Everything(Fault):
    """Several of the above in the same moment."""

    name = "everything-at-once"
    expected = "all is well again"
    notice_s = 10 * CRASH_S  # several processes are made anew at once
    recover_s = 30.0

    def strike(self, scene: Scene) -> None:
        first, second, third, stopped = scene.die.sample(AGENTS, 4)
        token = scene.token()
        for what in ("exit", "raise", "leak_memory"):
            scene.ask_for(what, first, mib=100, symbol="POISON")
        scene.ask_for("loop", second, token=str(token))
        pids = {name: scene.pid(name) for name in (first, second, third, stopped, "gateway")}
        self.dead = third
        scene.struck_pid = pids[stopped]
        scene.strike()
        os.kill(pids[third], signal.SIGKILL)
        for name, number in ((stopped, signal.SIGSTOP), ("gateway", signal.SIGKILL), (first, signal.SIGKILL)):
            with suppress(ProcessLookupError):
                os.kill(pids[name], number)

    def is_notice(self, line: Line) -> bool:
        return line["event"] == "exited" and line["name"] in (self.dead, "gateway")


FAULTS: Sequence[Fault] = (
    *(Kill(child) for child in ("gateway", "watchdog", "exporter", "pipeline", *AGENTS, "root", "admin")),
    KillStarter(),
    TwoStarts(),
    FiftyRestarts(),
    Exception_(),
    Exit(),
    ExceptionStorm(),
    *(Stop(child) for child in ("kenny", "gateway", "watchdog", "root")),
    Loop(),
    SlowHandler(),
    MemoryGrowth(),
    DescriptorLeak(),
    CrowdAtTheDoor(),
    FullDisk(),
    ReadOnlyJournal(),
    DamagedJournal(),
    ClockJump("forwards", 3600),
    ClockJump("backwards", -3600),
    Everything(),
)


def named(name: str) -> Fault:
    """The fault of that name.

    Raises:
        KeyError: There is none.
    """
    return {fault.name: fault for fault in FAULTS}[name]
