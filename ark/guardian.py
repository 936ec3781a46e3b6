"""The guardian: `ark-run start`, the outermost supervisor.

It holds the home's lock, brings the tree up, builds it anew when the root dies, and takes it down on Ctrl-C. It has
no thread and no ZeroMQ socket, so that it can fork at any time.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

import ark
from ark import blackbox, meters, seal
from ark.blackbox import read
from ark.config import Config, is_beyond_loopback
from ark.control import Duty
from ark.engine import Engine
from ark.errors import ArkError, BootError, NodeError
from ark.home import Home
from ark.key_book import KeyBook
from ark.lineage import adopt_orphans, await_orphans, end, in_forked_child, reap
from ark.log import Log, tidy
from ark.notify import Notifier, Phase, Report
from ark.privacy import redact
from ark.storage import ROOM, STORAGE
from ark.terminal import Terminal
from ark.topology import ROOT, longest_stop_s, tree

__all__ = ["Guardian"]

_PRELOADED = ("zmq", "msgspec", "apsw", "numpy", "ark.agent_worker", "ark.gateway")
"""Imported once, before the first fork, so that neither a start nor a restart pays for it. No agent code."""
_STOP_S = 4.0
_REBUILD_PERIOD_S = 60.0
_ROUND_S = 0.5
_LAST_MOMENT_S = 2.0
_CANNOT_START = re.compile(
    r"(boot: \S+ cannot start: exit code \d+: )*boot: (?P<name>\S+) cannot start: (exit code \d+: )?(?P<why>.+)",
    re.DOTALL,
)
"""The reason of a tree that cannot start, as its supervisors hand it up."""


class Guardian:
    """Keeps one node running until it is told to stop.

    Args:
        home: The node's home.
        config: Its configuration.
        say: Called with each sentence that a person at the terminal should see.
        notifier: Tells systemd; nobody where absent.
        put: Called with each line of the logs that such a person should see; where absent, none is shown.
        colours: Whether those are coloured.
    """

    def __init__(
        self,
        home: Home,
        config: Config,
        say: Callable[[str], None],
        notifier: Notifier | None = None,
        *,
        put: Callable[[str], None] | None = None,
        colours: bool = False,
    ) -> None:
        self._home = home
        self._config = config
        self._speak = say
        self._put = put
        self._colours = colours
        self._terminal: Terminal | None = None
        self._has_been_ready = False
        self._notifier = notifier or Notifier()
        self._report = Report(self._notifier.watchdog_s)
        self._round_s = min(_ROUND_S, (self._notifier.watchdog_s or 60.0) / 4)
        self._log = Log(home.logs / "supervision.log", config.logs.limits)
        self._began = False
        self._stopping = False
        self._stop_s = max(_STOP_S, longest_stop_s(config))
        self._rebuilds: deque[float] = deque()
        self._pulse = _Pulse(config.watchdog.interval_s * (config.watchdog.missed + 3))
        self.on_ready: Callable[[], None] = lambda: None
        """Called when the tree is ready for the first time."""

    def run(self) -> None:
        """Run the node; return after a clean stop.

        Raises:
            NodeError: It cannot start here (locked, a port taken, home not writable, rules of another signer).
            BootError: The tree cannot come up, or does not stay up.
        """
        try:
            self._run()
        except ArkError as error:
            self._notifier.tell(f"STATUS={redact(' '.join(error.line.split()))}")
            if self._began:
                self._log.write("node_failed", reason=error.line)
            raise
        self._log.write("node_stopped")

    def _run(self) -> None:
        os.umask(0o077)  # whatever a node writes, Thespian's logs included, is for its owner only
        self._home.prepare()
        self._check_room()
        self._home.lock()
        wake, self._wakeup = socket.socketpair()
        wake.setblocking(False)
        self._wakeup.setblocking(False)
        before = {each: signal.signal(each, self._on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
        adopt_orphans()
        _widen_descriptors()
        engine = Engine(self._home, ROOT)
        try:
            self._began = True
            self._log.write("node_started", pid=os.getpid(), version=ark.__version__)
            self._home.clear_run()
            self._home.forget_stopped()
            self._home.forget_levels()
            tidy(self._home.logs, self._config.logs.limits.retention_s, time.time())
            self._home.isolated()  # what no supervisor could read is told before there is one
            self._check_keys()
            self._check_ports()
            self._make_room()
            self._check_seal()
            _preload(*_PRELOADED, *(["ark.exporter"] if self._config.metrics.enabled else []))
            self._open_terminal()
            self._start(engine, incarnation=1)
            self._watch(engine, wake)
        finally:
            engine.end()
            reap()
            self._show()
            self._home.clear_run()
            with suppress(OSError):
                self._home.node_file.unlink(missing_ok=True)
            self._home.unlock()
            for each, handler in before.items():
                signal.signal(each, handler)
            wake.close()
            self._wakeup.close()

    def _say(self, line: str) -> None:
        with suppress(OSError):  # where its output is a file on the full disk
            self._speak(line)

    def _open_terminal(self) -> None:
        """Begin to show what matters; who is forked later must not hold logs that are put aside and deleted."""
        if self._put is not None:
            names = _names(tree(self._config, ark.__version__))
            as_json = self._config.logs.format == "json"
            self._terminal = Terminal(self._home, names, self._put, as_json=as_json, colours=self._colours)
            in_forked_child(self._terminal.close)

    def _show(self) -> None:
        """Show what matters, from when the tree is ready on: why it cannot start is told in one line."""
        if self._terminal is not None and self._has_been_ready:
            with suppress(OSError):  # where its output is a file on the full disk
                self._terminal.show()

    def stop(self) -> None:
        """Begin an orderly stop."""
        self._on_signal(signal.SIGTERM, None)

    def _watch(self, engine: Engine, wake: socket.socket) -> None:
        is_ready = False
        told: set[str] = set()
        reason = ""
        phase: Phase = "starting"
        downfall = ""
        incarnation = 1
        asked_at: float | None = None
        while True:
            self._tell(engine, phase, downfall)
            self._show()
            sources: list[Any] = [engine.fileno(), engine.root_handle, wake]
            readable, _, _ = select.select(sources, [], [], self._round_s)
            reap()
            if wake in readable:
                with suppress(BlockingIOError):
                    wake.recv(64)
            if self._stopping and asked_at is None:
                asked_at = time.monotonic()
                phase = "stopping"
                self._tell(engine, phase, downfall)
                engine.ask_to_stop()
            for words in engine.hear():
                if words["say"] == "ready":
                    phase = "up" if asked_at is None else phase
                    if not is_ready:
                        is_ready = self._has_been_ready = True
                        self.on_ready()
                elif words["say"] == "gave_up":
                    reason = words["reason"]
            if not is_ready:
                self._tell_who_waits(told)
            if asked_at is not None and time.monotonic() - asked_at > self._stop_s:
                return
            if asked_at is None and self._root_is_stuck(engine):
                reason = "its root was stuck"
                end(engine.root_pid)
            if engine.root_handle not in readable:
                continue
            if self._stopping:
                return
            if reason.startswith("boot:") and not is_ready:
                raise BootError(
                    f"the tree cannot start: {_innermost(reason)}",
                    hint=f"mend it and start again; see {self._home.logs}",
                )
            self._bear(reason)
            downfall = reason or "its root was killed"
            self._log.write("rebuilt", reason=downfall)
            self._say(f"the tree is down ({downfall}); building it anew")
            phase = "rebuilding"
            self._tell(None, phase, downfall)
            engine.end()
            await_orphans(within_s=_LAST_MOMENT_S)  # who is just dying with it may hold a port still
            self._home.clear_run(keep_boxes=True)
            incarnation += 1
            reason = ""
            self._start(engine, incarnation=incarnation)

    def _tell_who_waits(self, told: set[str]) -> None:
        """Say at the terminal for what a tree that is not ready yet waits, each thing once."""
        for path in self._home.run.glob("box/*"):
            box = read(path)
            if box is not None and box.reason.startswith(STORAGE) and box.reason not in told:
                told.add(box.reason)
                self._say(f"{path.name} waits: {box.reason}")

    def _root_is_stuck(self, engine: Engine) -> bool:
        age_s = self._root_age_s(engine)
        return age_s is not None and self._pulse.is_lost(age_s, time.monotonic())

    def _root_age_s(self, engine: Engine) -> float | None:
        """The age of the root's last beat; None where it has just begun."""
        box = read(self._home.box("root"))
        return None if box is None or box.pid != engine.root_pid else box.beat_age_s

    def _tell(self, engine: Engine | None, phase: Phase, downfall: str) -> None:
        """Tell systemd what it should know by now.

        Args:
            engine: With the root; None while there is no root.
            phase: Where the node stands.
            downfall: Why the tree was down last.
        """
        age_s = self._root_age_s(engine) if engine else None
        lines = self._report.lines(
            phase,
            reason=downfall,
            halted=self._home.halt_reason(),
            beats=age_s is not None and self._pulse.is_well(age_s),
            now=time.monotonic(),
        )
        self._notifier.tell(*lines)

    def _bear(self, reason: str) -> None:
        """Count one rebuild; raise when there were too many."""
        now = time.monotonic()
        self._rebuilds.append(now)
        while self._rebuilds and now - self._rebuilds[0] > _REBUILD_PERIOD_S:
            self._rebuilds.popleft()
        if len(self._rebuilds) > self._config.supervision.rebuilds:
            raise BootError(
                f"the tree went down {len(self._rebuilds)} times within {_REBUILD_PERIOD_S:.0f} s"
                f" (last: {reason or 'its root was killed'})",
                hint=f"see {self._home.logs}",
            )

    def _start(self, engine: Engine, *, incarnation: int) -> None:
        options = tree(self._config, ark.__version__)
        engine.start(
            Duty(
                name="root",
                parent="",
                kind="supervisor",
                runner="",
                incarnation=incarnation,
                epoch=0,
                home=str(self._home.path),
                config=msgspec.to_builtins(self._config),
                options={**options, "since": time.monotonic()},
            )
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": ark.__version__,
            "gateway": self._config.gateway.endpoint,
            "events": self._config.gateway.events,
            "public_key": KeyBook(self._home).node_public_key,
            "operator": f"ipc://{self._home.socket('operator')}",
            "metrics": f"http://{self._config.metrics.listen}" if self._config.metrics.enabled else None,
            "started_at": time.time(),
        }

    def _check_room(self) -> None:
        free = self._home.free_bytes()
        if free is not None and free < ROOM:
            raise self._no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _make_room(self) -> None:
        """Write what the node needs in order to stay up, and to be halted, when the disk is full later."""
        try:
            self._home.reserve()
            for name in _names(tree(self._config, ark.__version__)):
                blackbox.prepare(self._home.box(name))
                if self._config.metrics.enabled:
                    meters.prepare(self._home.page(name))
            self._home.write_node(self._facts())
            self._home.keep_settings(msgspec.to_builtins(self._config))
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> NodeError:
        return NodeError(
            f"cannot write to the home {self._home.path}: {error.strerror or error}",
            hint=f"look at the disk: at least {ROOM >> 20} MiB must be free",
        )

    def _check_keys(self) -> None:
        """Beyond loopback nobody could come in without a key; that is more likely forgotten than wanted."""
        gateway = self._config.gateway
        if is_beyond_loopback(gateway) and not KeyBook(self._home).has_good():
            raise NodeError(
                f"{gateway.endpoint} and {gateway.events} would listen beyond loopback, and no client has a key",
                hint="make one with `ark-run keys new NAME --role ROLE`, or listen on 127.0.0.1",
            )

    def _check_seal(self) -> None:
        """A broken seal does not keep the node down: what is open needs looking after. It starts halted."""
        report = seal.begin(self._home.keys)
        os.environ[seal.KEY_VARIABLE] = seal.pinned(self._home.keys)
        if report.ok:
            return
        reason = f"the seal of the rule book is broken: {'; '.join(report.faults)}"
        self._home.halt_once(reason, by="guardian", at=time.time())
        self._say("TRADING IS HALTED: " + reason)
        self._say("  mend it, see `ark-run seal verify`, then lift the halt with `ark-run resume`")

    def _check_ports(self) -> None:
        wanted = {
            "gateway.endpoint": self._config.gateway.endpoint,
            "gateway.events": self._config.gateway.events,
        }
        if self._config.metrics.enabled:
            wanted["metrics.listen"] = f"tcp://{self._config.metrics.listen}"
        for name, endpoint in wanted.items():
            if not endpoint.startswith("tcp://"):
                continue
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            host = "" if host == "*" else host
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host.strip("[]"), int(port)))
                except socket.gaierror as error:
                    raise NodeError(
                        f"cannot listen on {endpoint} ({name}): {error.strerror}",
                        hint="name an address of this machine, or 0.0.0.0 for all of them",
                    ) from error
                except OSError as error:
                    raise NodeError(
                        f"cannot listen on {endpoint} ({name}): {error.strerror}",
                        hint="another program has it; choose another port with --gateway, --events or --metrics",
                    ) from error

    def _on_signal(self, number: int, frame: Any) -> None:
        self._stopping = True
        with suppress(OSError):
            self._wakeup.send(b"!")


class _Pulse:
    """Tells a root that is stuck from a machine that stood still: then the guardian itself is late, too.

    Args:
        patience_s: The greatest age of the root's last beat that is borne; two seconds at least, since rebuilding
            the whole tree costs about one.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = max(2.0, patience_s)
        self._seen_at: float | None = None
        self._awake_since = 0.0

    def is_well(self, age_s: float) -> bool:
        """Whether a root whose last beat is so old beats as it should."""
        return age_s <= self._patience_s / 2

    def is_lost(self, age_s: float, now: float) -> bool:
        """Whether the root has to be replaced. Called in every round.

        Args:
            age_s: The age of its last beat.
            now: Seconds on the clock that the age was taken from.
        """
        if self._seen_at is None or now - self._seen_at > self._patience_s / 2:
            self._awake_since = now
        self._seen_at = now
        return age_s > self._patience_s and now - self._awake_since > self._patience_s


def _names(options: dict[str, Any]) -> Iterator[str]:
    """Everybody who will have a black box."""
    yield "root"
    children = list(options["children"])
    while children:
        child = children.pop()
        yield child["name"]
        children += child.get("options", {}).get("children", ())


def _innermost(reason: str) -> str:
    """Who could not start, and why, without the supervisors around him: they only passed it on."""
    found = _CANNOT_START.match(reason)
    return f"{found['name']}: {found['why']}" if found else reason.removeprefix("boot:").strip()


def _widen_descriptors() -> None:
    """Let every process of the tree have as many descriptors as it may: libzmq ends the gateway when it has none
    left for one more client.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _preload(*modules: str) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ArkError(f"cannot import {name}: {error}", hint="install ARK anew") from error
