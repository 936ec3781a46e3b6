"""The log of one process: `logs/<name>.log`, and everything that the process says in whatever way goes there.

That is what it writes with a logger (`ark.logger`), what libraries write with the standard `logging` or structlog,
what is printed, and what C code writes to the standard descriptors. The level is looked up from the heartbeat, so
that it can be changed while the process runs.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec
import structlog

import ark
from ark.config import LogsConfig
from ark.control import Duty
from ark.home import Home
from ark.levels import Wishes, in_force, number
from ark.log import Log, expire
from ark.logger import PROCESSORS, Logger, Sink, formatted, nearest
from ark.masking import Masker, secrets_of_environment

__all__ = ["ProcessLog"]

_LOOK_S = 1.0
"""How often it is looked whether the level was changed."""
_EXPIRE_S = 3600.0
_LONGEST_LINE = 8 << 10
"""Characters that a line of printed text has before it is taken for one."""
_LONGEST_KEY = 200
"""Lines of a private key."""
_MOST_OUTPUT = 64 << 10
_LARGEST_OUTPUT = 1 << 20
_STDOUT, _STDERR = 1, 2
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record of the standard library has; whatever else it has are fields."""
_ROOT = logging.getLogger()
_MANAGER = logging.Logger.manager
"""Thespian puts others into their place in each process that it makes; libraries that were loaded before keep to
these."""


class ProcessLog:
    """One process's log. Making it changes nothing outside; `begin` leads everything into it.

    Args:
        home: The node's home.
        name: The process's.
        settings: From the configuration.
        version: Of what runs in it.
        known: Secrets that it has, which are masked wherever they stand.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        settings: LogsConfig,
        *,
        version: str = "",
        known: Mapping[str, bytes] | None = None,
    ) -> None:
        self._home = home
        self._name = name
        self._settings = settings
        self._path = home.logs / f"{name}.log"
        self.sink = Sink(
            Log(self._path, settings.limits).append,
            agent=name,
            version=version,
            most_per_s=settings.most_per_s,
            masker=Masker([*(known or {}).values(), *secrets_of_environment(os.environ)]),
        )
        self.log: Logger = self.sink.logger()
        self._output: _Output | None = None
        self._looked_at = self._expired_at = -_EXPIRE_S
        self._stamp: tuple[int, int] | None = None
        self._wishes: Wishes = {}
        self._printed: tuple[_Printed, ...] = ()
        self._set_level(told=False)

    @classmethod
    def begin(cls, duty: Duty) -> ProcessLog:
        """Lead everything that this process says into its log, from now on to its end."""
        home = Home(Path(duty.home))
        settings = msgspec.convert(duty.config.get("logs", {}), LogsConfig)
        found = cls(
            home, duty.name, settings, version=duty.options.get("version") or ark.__version__, known=duty.secrets
        )
        found._take_over()
        return found

    def beat(self) -> None:
        """Do what is due; called with every heartbeat. Nothing is raised for a disk that fails."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        with suppress(OSError):
            self._set_level(told=True)
            self.sink.catch_up()
            if self._output is not None:
                self._output.gather()
            if now - self._expired_at >= _EXPIRE_S:
                self._expired_at = now
                expire(self._path, self._settings.limits.retention_s, time.time())

    def end(self) -> None:
        """Write what is still in hand, before the process ends."""
        with suppress(Exception):
            for printed in self._printed:
                printed.finish()
            if self._output is not None:
                self._output.gather()

    def _set_level(self, *, told: bool) -> None:
        stamp = self._home.levels_stamp()
        if stamp != self._stamp:
            self._stamp, self._wishes = stamp, self._home.levels()
        settings = self._settings
        (shown,) = in_force([self._name], self._wishes, settings.levels, settings.level, time.time())
        if number(shown.level) == self.sink.threshold:
            return
        self.sink.threshold = number(shown.level)
        if self._printed:
            _ROOT.setLevel(self.sink.threshold)
        if told:
            by = shown.wish.by if shown.wish else "configuration"
            self.log.tell("info", "log_level", to=shown.level, by=by)

    # Taking over

    def _take_over(self) -> None:
        structlog.configure(
            processors=list(PROCESSORS),
            wrapper_class=Logger,
            logger_factory=lambda *names: self.sink,
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        logging.root = logging.Logger.root = _ROOT  # type: ignore[assignment]
        logging.Logger.manager = _MANAGER
        _ROOT.handlers[:] = [StandardRecords(self.sink)]
        _ROOT.setLevel(self.sink.threshold)
        threading.excepthook = self._thread_failed
        with suppress(OSError):
            self._output = _Output(self._home.output(self._name), self.log)
        self._printed = tuple(
            _Printed(self.log, level, name, descriptor)
            for level, name, descriptor in (("info", "stdout", _STDOUT), ("warning", "stderr", _STDERR))
        )
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(cast(Any, printed), "utf-8", "backslashreplace", write_through=True)
            for printed in self._printed
        )

    def _thread_failed(self, arguments: Any) -> None:
        thread = arguments.thread.name if arguments.thread else ""
        self.log.error("thread_failed", thread=thread, exc_info=arguments.exc_value)


class StandardRecords(logging.Handler):
    """Writes what comes through the standard library's loggers."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self._log = sink.logger()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            arguments = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
            fields: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _OWN}
            if record.exc_info:
                fields["exc_info"] = record.exc_info[1]
            elif record.exc_text:
                fields["exception"] = record.exc_text
            if record.stack_info:
                fields["stack"] = record.stack_info
            text = formatted(self._sink.masker, str(record.msg), arguments)
            self._log.bind(logger=record.name, **fields).log(nearest(record.levelno), text)


class _Printed(io.BufferedIOBase):
    """What is printed, a line of the log for each of its lines.

    A text of several lines is masked line by line; of a private key, only the first would look like one.
    """

    def __init__(self, log: Logger, level: str, name: str, descriptor: int) -> None:
        self._log, self._level, self._name, self._descriptor = log, level, name, descriptor
        self._rest = b""
        self._key_lines = 0
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                self._tell(line)
        return len(data)

    def finish(self) -> None:
        """Take what is in hand for a line."""
        with self._lock:
            rest, self._rest = self._rest, b""
            self._tell(rest)

    def _tell(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").rstrip()
        if self._key_lines:
            self._key_lines -= 1
            if "-----END " in text:
                self._key_lines = 0
            return
        if "-----BEGIN " in text and "-----END " not in text:
            self._key_lines = _LONGEST_KEY
        if text:
            self._log.log(self._level, self._name, text=text)


class _Output:
    """What is written to the standard descriptors past Python's own: by C code, most often in its last moment.

    It goes into a file, from which it is taken with a heartbeat, or by the next process of that name.

    Args:
        path: The file.
        log: What was in it is written there.
    """

    def __init__(self, path: Path, log: Logger) -> None:
        self._log = log
        with suppress(OSError):
            self._tell(path.read_bytes()[-_MOST_OUTPUT:], of="the process before")
        flags = os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        self._read = 0
        for standard in (_STDOUT, _STDERR):
            os.dup2(descriptor, standard)
        if descriptor > _STDERR:  # otherwise one of them was closed
            os.close(descriptor)

    def gather(self) -> None:
        """Write what has come into the log."""
        size = os.fstat(_STDOUT).st_size
        if size <= self._read:
            return
        self._tell(os.pread(_STDOUT, min(size - self._read, _MOST_OUTPUT), self._read))
        self._read = size
        if size > _LARGEST_OUTPUT:
            os.ftruncate(_STDOUT, 0)
            self._read = 0

    def _tell(self, data: bytes, **fields: Any) -> None:
        text = data.decode(errors="backslashreplace").strip()
        if text:
            self._log.warning("output", text=text, **fields)
