"""A node for tests: real processes in a folder of their own, on free ports, gone when the test is."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from ark.client import Client
from ark.errors import ArkError, RequestError
from ark.home import Home

BIN = Path(sys.executable).parent
HOMES: list[Path] = []
"""The home of every node of this session; `conftest` looks for processes that were left over them."""
ROOT = Path(__file__).parent.parent
_LAST_LINES = 15
FORKS = True
"""Whether nodes are forked from a process that has imported ARK already, rather than started as a shell would."""

ECHO = f"""
[pipeline]
agents = ["alpha", "beta", "omega"]
secrets = {{}}
[agents.alpha]
class = "tests.echo_agents:First"
path = "{ROOT}"
[agents.beta]
class = "tests.echo_agents:Middle"
path = "{ROOT}"
[agents.omega]
class = "tests.echo_agents:Last"
path = "{ROOT}"
"""
"""A pipeline of three small agents, for tests of the runtime alone."""
BARE = f"""
{ECHO}
[metrics]
enabled = false
"""
"""The same for tests that never ask the exporter: a process less in each of their nodes."""

PATIENT = """
[watchdog]
missed = 10
answers.failures = "warn"
answers.failure_rate = "warn"
"""
"""For tests that are not about the Watchdog: a disk that stalls for two seconds must not look like a hang, and an
agent that is to die of several signals in a row must not be isolated for it."""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, from below those that the system gives to outgoing connections.

    Of those, one may be taken at any time while a node is down between two starts of a test.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def wait_until(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """Wait for a condition; give its value.

    It is looked at every ten milliseconds at first and ever less often, down to ten times a second: asking a node
    how it is costs it and us four milliseconds, and on two cores many tests wait at once.

    Raises:
        AssertionError: It did not come true within the time.
    """
    until = time.monotonic() + within_s
    pause_s = 0.01
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(pause_s)
        pause_s = min(0.1, pause_s * 1.3)


def is_alive(pid: int) -> bool:
    """Whether a process runs still.

    One that has ended and whose new parent, the machine's first process, takes its time to notice does not.
    """
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _loading(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say how an interpreter begins, which one that is forked has begun with already."""
    return {name: value for name, value in environment.items() if name.startswith(("LD_", "PYTHON"))}


_LOADING = _loading(os.environ)


class Forked:
    """A process that was forked by `tests.fork_server`, as far as tests use what `subprocess.Popen` has.

    Args:
        command: The command line, `ark-run` or `supervisor` first.
        environment: All of its variables.
        output, errors: What it says is added to these files; what are errors to the same one where absent.
        input: What it reads; nothing where absent.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        output: Path,
        errors: Path | None = None,
        input: Path | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_fork_server())
        files = {"input": input or os.devnull, "output": output, "errors": errors or output}
        request = {
            "argv": command,
            "environment": environment,
            **{name: str(path) for name, path in files.items()},
        }
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Its exit code, as `subprocess` gives it; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; gives the exit code.

        Raises:
            subprocess.TimeoutExpired: It has not ended by then, after so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("ark-run start", timeout or 0.0)
            self.returncode = int(self._answers.readline())
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


def run(
    command: list[str], input: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of ARK's commands, at most for a minute.

    Args:
        command: The command line, with the program's whole path.
        input: What it reads; nothing where absent.
        environment: All of its variables; those of this process where absent.
    """
    environment = dict(os.environ) if environment is None else environment
    if not FORKS or _loading(environment) != _LOADING:
        return subprocess.run(
            command,
            env=environment,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    with tempfile.TemporaryDirectory(prefix="ark-run-") as folder:
        output, errors, read = (Path(folder) / name for name in ("output", "errors", "input"))
        read.write_text(input or "")
        forked = Forked(command, environment, output, errors, read)
        try:
            code = forked.wait(60)
        except subprocess.TimeoutExpired:
            forked.kill()
            raise
        return subprocess.CompletedProcess(command, code, output.read_text(), errors.read_text())


@cache
def _fork_server() -> str:
    """The address of the one that all workers of a run use; whoever needs it first starts it.

    It ends with the process that started the workers, or with this one where there are none.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    address = f"\0ark-tests-{run or random.SystemRandom().getrandbits(64)}"
    owner = os.pidfd_open(os.getppid() if run else os.getpid())
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(address)
        except OSError:  # another worker was first
            os.close(owner)
            return address
        listener.listen()
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "fork_server.py"), str(listener.fileno()), str(owner)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(listener.fileno(), owner),
            start_new_session=True,
        )
    os.close(owner)
    return address


class Node:
    """One node, started with `ark-run start`."""

    def __init__(self, home: Path, config: str = "") -> None:
        self.home = Home(home)
        HOMES.append(self.home.path)
        self.home.path.mkdir(parents=True, exist_ok=True)
        gateway, events, metrics = free_ports(3)
        self.gateway = f"tcp://127.0.0.1:{gateway}"
        self.events = f"tcp://127.0.0.1:{events}"
        self.metrics = f"127.0.0.1:{metrics}"
        self.output = self.home.path / "output.txt"
        (self.home.path / "ark.toml").write_text(config if "[watchdog]" in config else config + PATIENT)
        self.environment: dict[str, str] = {}
        """Variables for the node alone, beside those of this process."""
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def command(self, *extra: str) -> list[str]:
        """The command line that starts it."""
        places = ["--gateway", self.gateway, "--events", self.events, "--metrics", self.metrics]
        return [str(BIN / "ark-run"), "start", "--home", str(self.home.path), *places, *extra]

    def start(self, *extra: str, wait: bool = True) -> Node:
        """Start it, and wait until it is ready."""
        environment = {**os.environ, **self.environment}
        if FORKS and _loading(environment) == _LOADING:
            self.process = Forked(self.command(*extra), environment, self.output)
        else:
            with open(self.output, "ab") as output:
                self.process = subprocess.Popen(
                    self.command(*extra),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env=environment,
                )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Wait until every child runs."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"the node ended:\n{self.output.read_text()}"
            try:
                # A node that was killed may answer for a moment after the new one has begun.
                return self.home.node()["pid"] == self.process.pid and bool(self.status()["ready"])
            except ArkError:
                return False

        wait_until(ready, "the node is ready", within_s=30.0)

    def status(self) -> dict[str, Any]:
        """What `status` says."""
        with self.client(timeout_s=2.0) as client:
            return client.status()

    def child(self, name: str) -> dict[str, Any]:
        """One child, as `status` shows it."""
        children: list[dict[str, Any]] = self.status()["children"]
        return next(each for each in children if each["name"] == name)

    def client(self, timeout_s: float = 30.0) -> Client:
        """A client with an operator's rights."""
        return Client.for_home(self.home.path, timeout_s=timeout_s)

    def run(self, *command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of ARK's commands over this node's home."""
        program, *rest = command
        return run([str(BIN / program), *rest, "--home", str(self.home.path)], input)

    def story(self) -> str:
        """How it is, and what it said last, for whoever reads of a test that failed."""
        code = None if self.process is None else self.process.poll()
        lines = [f"the node over {self.home.path} " + ("runs" if code is None else f"ended with exit code {code}")]
        for file in (self.output, self.home.logs / "supervision.log"):
            with suppress(OSError):
                lines += [f"{file.name}:", *file.read_text(errors="replace").splitlines()[-_LAST_LINES:]]
        return "\n  ".join(lines)

    def pids(self) -> list[int]:
        """Every process that belongs to this node: it holds the lock, or the home stands in its command line.

        Thespian's admin and its logger name themselves and no home, but they have inherited the lock.
        """
        mine = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            if process.pid == os.getpid() or "pytest" in line:
                continue
            if str(self.home.path) in line or self._holds_lock(process.pid):
                mine.append(process.pid)
        return mine

    def _holds_lock(self, pid: int) -> bool:
        lock = str(self.home.run / "lock")
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                if os.readlink(descriptor) == lock:
                    return True
        return False

    def kill_everything(self) -> None:
        """Kill -9 the whole tree at once, its starter included."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(10)

    def stop(self) -> int:
        """Stop it in order; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        wait_until(lambda: not self.home.is_locked(), "every process is gone", within_s=10.0)
        return code


@contextmanager
def node(config: str = "", *, start: bool = True, folder: Path | None = None) -> Iterator[Node]:
    """A node in a short temporary folder, or in a given one, stopped at the end whatever happened."""
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="ark-") as place:
        one = Node(Path(place) / "home", config)
        try:
            if start:
                one.start()
            yield one
        except Exception as error:
            error.add_note(one.story())
            raise
        finally:
            if one.process and one.process.poll() is None:
                try:
                    one.stop()
                except (AssertionError, subprocess.TimeoutExpired):
                    one.kill_everything()


def comes_back(one: Node, name: str, pid: int) -> None:
    """Wait until a child has another process and the whole tree runs."""

    def back() -> bool:
        try:
            status = one.status()
        except ArkError:
            return False
        now = {child["name"]: child["pid"] for child in status["children"]}
        return bool(status["ready"] and now.get(name) not in (None, pid))

    wait_until(back, f"{name} is back")


def ended(client: Client, trace_id: str) -> dict[str, Any] | None:
    """The outcome of a signal that has ended."""
    try:
        outcome = client.outcome(trace_id)
    except RequestError:
        return None
    return None if outcome["status"] == "held" else outcome
