"""A node's home: one folder with everything that the node keeps, and the lock that makes it the only one there."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import signal
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ark import blackbox
from ark.errors import NodeError
from ark.levels import Wish, Wishes
from ark.log import Log

__all__ = ["Home", "default_home"]

_LONGEST_SOCKET_PATH = 107
_RESERVE = 4096
"""Bytes that are set aside for a halt on a full disk."""
_REPORT_FRESH_S = 10.0
"""What the Watchdog said so long ago tells nothing of now."""
_FOLDERS = (
    "run",
    "run/box",
    "run/metrics",
    "run/shown",
    "run/trials",
    "keys",
    "data",
    "releases",
    "backups",
    "logs",
)


class _Report(msgspec.Struct):
    """What must be right in the Watchdog's report for anybody to go by it."""

    at: float
    health: float | None = None
    agents: dict[str, dict[str, Any]] = {}
    alerts: list[dict[str, Any]] = []
    webhook: dict[str, Any] | None = None


def default_home() -> Path:
    """The home where none is named: `ARK_HOME`, or the user's state folder."""
    named = os.environ.get("ARK_HOME")
    if named:
        return Path(named).expanduser()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "ark"


class Home:
    """Names every file of a node, makes the folders, and holds the lock.

    The lock is an `flock` on `run/lock`. It is inherited by every process of the tree, so it is free only when
    the last of them is gone: a new start cannot meet leftovers of an old one.

    Args:
        path: The folder; made by `prepare`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.run = self.path / "run"
        self.data = self.path / "data"
        self.logs = self.path / "logs"
        self.keys = self.path / "keys"
        self.pages = self.run / "metrics"
        self.node_file = self.run / "node.json"
        self.watchdog_file = self.run / "watchdog.json"
        self.restarts_file = self.run / "restarts.json"
        self.levels_file = self.run / "levels.json"
        self.routes_file = self.run / "routes.json"
        self.permanent_file = self.data / "releases.json"
        self.rollout_file = self.run / "rollout.json"
        self.releases = self.path / "releases"
        self._lock_file = self.run / "lock"
        self.halt_file = self.data / "halt.json"
        self._reserve_file = self.data / ".halt.reserve"
        self.epoch_file = self.data / "epoch"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make the folders, each with mode 0700.

        Raises:
            NodeError: They cannot be made, or the path is too long for the sockets in it.
        """
        longest = len(os.fsencode(self.socket("x" * 16)))
        if longest > _LONGEST_SOCKET_PATH:
            raise NodeError(
                f"the home {self.path} is {longest - _LONGEST_SOCKET_PATH} characters too long for Unix sockets",
                hint="choose a shorter folder with --home or ARK_HOME",
            )
        try:
            for name in ("", *_FOLDERS):
                folder = self.path / name
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if folder.stat().st_mode & 0o077:
                    folder.chmod(0o700)
            probe = self.run / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise NodeError(
                f"cannot write to the home {self.path}: {error.strerror or error}",
                hint="make it writable, or choose another with --home or ARK_HOME",
            ) from error

    def socket(self, name: str) -> Path:
        """Where the Unix socket of that name stands."""
        return self.run / f"{name}.sock"

    def mailbox(self, agent: str) -> str:
        """The ZeroMQ endpoint of an agent's mailbox."""
        return f"ipc://{self.socket(agent)}"

    def box(self, name: str) -> Path:
        """The black box of a process."""
        return self.run / "box" / name

    def page(self, name: str) -> Path:
        """The page on which a process counts what it does."""
        return self.pages / f"{name}.page"

    def shown(self, agent: str, name: str) -> Path:
        """What an agent shows on the node's page under a name."""
        return self.run / "shown" / f"{agent}.{name}.json"

    def trials(self, role: str) -> Path:
        """The page on which an agent counts what its arms did."""
        return self.run / "trials" / f"{role}.page"

    def differences(self, role: str) -> Path:
        """Where an agent keeps signals that its arms decided differently, a line of JSON for each difference."""
        return self.run / "trials" / f"{role}.jsonl"

    def stack(self, name: str) -> Path:
        """Where a process that is asked says where it is stuck."""
        return self.run / f"{name}.stack"

    def output(self, name: str) -> Path:
        """Where what a process writes to its standard descriptors waits until it stands in its log."""
        return self.run / f"{name}.output"

    def lock(self, patience_s: float = 3.0) -> None:
        """Take the lock for this process and all that it will fork.

        Where the process that started the living instance is gone, its last ones are ending: they get a moment,
        and are killed then.

        Raises:
            NodeError: Another instance lives here.
        """
        descriptor = os.open(self._lock_file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = self.starter()
                waited_s = time.monotonic() - began
                if pid is None and waited_s < patience_s:
                    if waited_s > patience_s / 6:
                        self._end_leftovers()
                    time.sleep(0.02)
                    continue
                os.close(descriptor)
                raise NodeError(
                    f"a node is already running over {self.path}" + (f" (pid {pid})" if pid else ""),
                    hint="see `supervisor status`, end it with `ark-run stop`, or use another --home",
                ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, struct.pack("<q", os.getpid()), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Let the lock go, as far as this process holds it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def starter(self) -> int | None:
        """The pid of the living process that holds the node here, None if there is none."""
        try:
            written = self._lock_file.read_bytes()
        except OSError:
            return None
        if len(written) != 8:
            return None
        pid: int = struct.unpack("<q", written)[0]
        return pid if holds_lock(pid, self._lock_file) else None

    def is_locked(self) -> bool:
        """Whether any process of a node still lives over this home."""
        if self._lock is not None:
            return True
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def secret(self, name: str) -> bytes:
        """The secret of that name under `keys/`, 32 bytes, made on first use with mode 0600.

        Raises:
            NodeError: It is there, but readable by others, or not whole.
        """
        path = self.keys / name
        if not path.exists():
            # Written aside and then linked: nobody ever reads half a secret, and the first one made is the one.
            fresh = self.keys / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
            with open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        if path.stat().st_mode & 0o077:
            raise NodeError(
                f"{path} can be read by others", hint=f"chmod 600 {path}, or delete it to have a new one made"
            )
        text = path.read_text(errors="replace")
        if not re.fullmatch(r"[0-9a-f]{64}\n?", text):
            raise NodeError(f"{path} holds no secret of 32 bytes", hint="delete it to have a new one made")
        return bytes.fromhex(text)

    def raise_epoch(self, above: int = 0) -> int:
        """The next epoch, a number never given before over this home, written down before it is given.

        Where it cannot be written, on a disk that became read-only, it is taken from the clock: supervisors must
        not die of that, nor give the same number.

        Args:
            above: An epoch that was given already.
        """
        try:
            return self._raise_epoch(above)
        except OSError as error:
            self._log("epoch_not_kept", reason=str(error))
            return max(above + 1, int(time.time() * 1000))

    def _raise_epoch(self, above: int) -> int:
        descriptor = os.open(self.epoch_file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            written = os.pread(descriptor, 32, 0).strip(b"\0\n") or b"0"
            last = int(written) if written.isdigit() else int(time.time() * 1000)  # a damaged file
            epoch = max(last, above) + 1
            os.pwrite(descriptor, b"%d\n" % epoch, 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return epoch

    def halt_reason(self) -> str | None:
        """Why trading is halted, None while it is not. A stat call where it is not."""
        if not os.path.exists(self.halt_file):
            return None
        try:
            return str(msgspec.json.decode(self.halt_file.read_bytes())["reason"])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
            return "halted"

    def standing_halt(self) -> dict[str, Any] | None:
        """Who has halted trading, when and why, as `by`, `at` and `reason`; None while it is not halted."""
        reason = self.halt_reason()
        if reason is None:
            return None
        try:
            facts: dict[str, Any] = msgspec.json.decode(self.halt_file.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            facts = {}
        return {"by": "somebody", "at": None, **(facts if isinstance(facts, dict) else {}), "reason": reason}

    def halt(self, reason: str, by: str, at: float) -> None:
        """Halt trading. The halt is a file, so that it outlives every process and needs none to be made.

        Raises:
            NodeError: It cannot be written, which a full disk alone does not prevent.
        """
        try:
            with self._halt_note(reason, by, at) as note:
                note.replace(self.halt_file)
        except OSError as error:
            try:
                self.halt_file.touch(mode=0o600)  # an empty file halts as well
            except OSError:
                raise NodeError(
                    f"the halt cannot be written to {self.data}: {error.strerror or error}",
                    hint="end the node instead, with `ark-run stop`",
                ) from error
        self._log("halt", reason=reason, by=by)

    def halt_once(self, reason: str, by: str, at: float) -> bool:
        """Halt trading, unless it is halted: a halt that stands stays as it is.

        Returns:
            Whether this was the halt.
        """
        try:
            with self._halt_note(reason, by, at) as note:
                os.link(note, self.halt_file)
        except FileExistsError:
            return False
        except OSError:
            if self.halt_file.exists():
                return False
            self.halt_file.touch(mode=0o600)  # an empty file halts as well
        self._log("halt", reason=reason, by=by)
        return True

    def resume(self, reason: str = "", by: str = "operator") -> None:
        """Lift the halt.

        Raises:
            NodeError: Its file cannot be deleted.
        """
        try:
            self.halt_file.unlink(missing_ok=True)
        except OSError as error:
            raise NodeError(
                f"the halt cannot be lifted: {error.strerror or error}", hint=f"make {self.data} writable"
            ) from error
        with suppress(OSError):
            self.reserve()
        self._log("resume", reason=reason, by=by)

    def reserve(self) -> None:
        """Set space aside with which trading can be halted on a full disk.

        Raises:
            OSError: There is none.
        """
        if self._reserve_file.exists():
            return
        fresh = self.data / f".halt.reserve.{threading.get_native_id()}"
        try:
            self._write_bytes(fresh, b" " * _RESERVE)
            fresh.replace(self._reserve_file)
        finally:
            fresh.unlink(missing_ok=True)

    @contextmanager
    def _halt_note(self, reason: str, by: str, at: float) -> Iterator[Path]:
        """A file that says why trading is halted, to be put into place; the reserve where the disk is full."""
        note = self.data / f".halt.{threading.get_native_id()}"
        content = {"reason": reason, "by": by, "at": at}
        try:
            try:
                self._write(note, content)
            except OSError:
                self._reserve_file.rename(note)  # of two who need it, one gets it
                content["reason"] = reason[: _RESERVE // 8]
                with open(note, "r+b") as file:
                    file.write(msgspec.json.encode(content)[:_RESERVE].ljust(_RESERVE))
                    file.flush()
                    os.fsync(file.fileno())
            yield note
        finally:
            with suppress(OSError):
                note.unlink(missing_ok=True)

    def isolated(self) -> dict[str, str]:
        """Reasons by name of children that are isolated; isolation outlives every process.

        Raises:
            NodeError: It cannot be told who is.
        """
        found: dict[str, str] = {}
        for path in self.data.glob("isolated-*.json"):
            try:
                found |= msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                why = (error.strerror if isinstance(error, OSError) else None) or "it is damaged"
                raise NodeError(
                    f"cannot read who is isolated from {path}: {why}",
                    hint="put it back; or delete it, and then nobody that it named is isolated",
                ) from error
        return found

    def keep_isolated(self, supervisor: str, reasons: dict[str, str]) -> None:
        """Write down which children of a supervisor are isolated, if that has changed.

        Raises:
            OSError: It cannot be written.
        """
        self._keep(self.data / f"isolated-{supervisor}.json", reasons)

    def stopped(self) -> dict[str, str]:
        """Reasons by name of children that an operator has stopped; that outlives every process but the node's."""
        found: dict[str, str] = {}
        for path in self.run.glob("stopped-*.json"):
            found |= msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return found

    def keep_stopped(self, supervisor: str, reasons: dict[str, str]) -> None:
        """Write down which children of a supervisor an operator has stopped, if that has changed.

        Raises:
            OSError: It cannot be written.
        """
        self._keep(self.run / f"stopped-{supervisor}.json", reasons)

    def forget_stopped(self) -> None:
        """A fresh start starts everything again."""
        for path in self.run.glob("stopped-*.json"):
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, reasons: dict[str, str]) -> None:
        if reasons:
            if not path.exists() or msgspec.json.decode(path.read_bytes()) != reasons:
                self._replace(path, reasons)
        else:
            path.unlink(missing_ok=True)

    def levels_stamp(self) -> tuple[int, int] | None:
        """Changes whenever the wishes for levels do; None where there are none. A stat call."""
        try:
            found = os.stat(self.levels_file)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def levels(self) -> Wishes:
        """What operators want of the logs' levels, by process; nothing where that cannot be read."""
        try:
            return msgspec.json.decode(self.levels_file.read_bytes(), type=dict[str, Wish])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def keep_levels(self, wishes: Wishes) -> None:
        """Write down what operators want of the logs' levels.

        Raises:
            OSError: It cannot be written.
        """
        self._replace(self.levels_file, msgspec.to_builtins(wishes))

    def forget_levels(self) -> None:
        """A fresh start begins with the configured levels."""
        self.levels_file.unlink(missing_ok=True)

    def write_node(self, facts: dict[str, Any]) -> None:
        """Say in `run/node.json` where the node can be reached."""
        self._replace(self.node_file, facts)

    def node(self) -> dict[str, Any]:
        """What `run/node.json` says.

        Raises:
            NodeError: No node runs here.
        """
        try:
            facts: dict[str, Any] = msgspec.json.decode(self.node_file.read_bytes())
        except (OSError, msgspec.DecodeError):
            facts = {}
        if not facts or not self.is_locked():
            raise NodeError(
                f"no node runs over {self.path}",
                hint="start one with `ark-run start`, or name its home with --home or ARK_HOME",
            )
        return facts

    def watchdog_report(self) -> dict[str, Any]:
        """What the Watchdog has written down last: `health`, `alerts`, and under `agents` figures by child. Empty
        where it is too old to say anything, damaged, or there is none.
        """
        try:
            found: dict[str, Any] = msgspec.json.decode(self.watchdog_file.read_bytes())
            at = msgspec.convert(found, _Report).at
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            found, at = {}, 0.0
        if abs(time.time() - at) > _REPORT_FRESH_S:
            found = {}
        return {"health": None, "agents": {}, "alerts": [], "webhook": None, **found}

    def free_bytes(self) -> int | None:
        """Free space on the disk under the node's data; None where it cannot be told."""
        try:
            disk = os.statvfs(self.data)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Write down the configuration in force, for commands that must judge as the node does."""
        self._replace(self.data / "settings.json", settings)

    def settings(self) -> dict[str, Any]:
        """The configuration of the last start, as a plain map; an empty one where none is known."""
        try:
            found: dict[str, Any] = msgspec.json.decode((self.data / "settings.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}
        return found

    def clear_run(self, *, keep_boxes: bool = False) -> None:
        """Take away the sockets, black boxes and pages of metrics of a tree that is down.

        Args:
            keep_boxes: Only empty the black boxes: on a full disk there is no room for new ones. Pages stay as they
                are: the node is the same, and goes on counting.
        """
        with suppress(OSError):  # read-only now; whoever binds a socket takes an old one away himself
            self.watchdog_file.unlink(missing_ok=True)
            for path in (
                *self.run.glob("*.sock"),
                *self.run.glob("*.stack"),
                *(
                    ()
                    if keep_boxes
                    else (
                        *self.run.glob("box/*"),
                        *self.pages.glob("*"),
                        *self.run.glob("shown/*"),
                        *self.run.glob("trials/*"),
                        self.restarts_file,
                        self.routes_file,
                        self.rollout_file,
                    )
                ),
            ):
                path.unlink(missing_ok=True)
            for path in self.run.glob("box/*"):
                blackbox.prepare(path)

    def _end_leftovers(self) -> None:
        """Kill what still holds the lock of an instance whose starter is gone."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                pid = int(entry.name)
                if holds_lock(pid, self._lock_file):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)

    def _replace(self, path: Path, content: Mapping[str, Any]) -> None:
        fresh = path.with_suffix(".new")
        self._write(fresh, content)
        fresh.replace(path)

    @staticmethod
    def _write(path: Path, content: Mapping[str, Any]) -> None:
        Home._write_bytes(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")

    @staticmethod
    def _write_bytes(path: Path, content: bytes) -> None:
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _log(self, event: str, **fields: Any) -> None:
        Log(self.logs / "supervision.log").write(event, **fields)


def holds_lock(pid: int, lock_file: Path) -> bool:
    """Whether a process holds, itself or by inheritance, the `flock` on a file; to have it open is not enough."""
    folder = Path("/proc") / str(pid)
    wanted = os.path.realpath(lock_file)
    try:
        descriptors = os.listdir(folder / "fd")
    except OSError:  # it has just ended, or is none of ours
        return False
    for descriptor in descriptors:
        with suppress(OSError):  # closed since; that says nothing of the others
            is_open = os.readlink(folder / "fd" / descriptor) == wanted
            if is_open and "FLOCK" in (folder / "fdinfo" / descriptor).read_text():
                return True
    return False
