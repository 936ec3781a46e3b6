"""Loggers: what an agent writes with `context.log`, and the steps that make a line of it.

A logger is structlog's bound logger (`bind` gives one with fields of its own), with two differences: its level is
looked up when it is called, so that it can be changed in a process that runs, for every logger that there is; and
nothing that is wrong with a line raises. The steps are structlog's processors, plain callables in a tuple.
"""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any, Self

import msgspec
import structlog
from structlog.typing import EventDict

from ark.levels import LEVELS, Level, number
from ark.log import encode
from ark.masking import LONGEST, Masker
from ark.privacy import MASK

__all__ = ["PROCESSORS", "Logger", "Sink", "formatted", "into", "nearest", "of_process", "silent"]

_SILENT = 100
_SURE = number("warning")
_LOUD = 10
"""Lines from `warning` on may be so many times as many as others."""
_FRAMES = 30
"""The innermost calls of a traceback that are kept."""
_NUMBERS: dict[str, int] = {name: number(name) for name in LEVELS}
_DEBUG, _INFO, _WARNING, _ERROR, _CRITICAL = _NUMBERS.values()
_CONVERSION = re.compile(r"%(?:\((?P<key>[^)]*)\))?[-#0 +]*\d*(?:\.\d+)?[hlL]?(?P<kind>[a-zA-Z%])")
_NAME_BEFORE = re.compile(r"(?P<name>[\w.-]{1,64})\\*['\"]?\s*(?:=>|:=|->|[=:])\s*['\"]?\Z")


class Sink:
    """Where the lines of one process go, and what all of them say.

    Args:
        write: Takes each line, encoded.
        agent, version: The process's name, and the version of what runs in it.
        level: From which on lines are written.
        most_per_s: Lines below `warning` that are written within one second, and ten times as many from `warning`
            on; the others are counted. 0: all.
        masker: Masks them.
        clock: Seconds since the epoch.

    Attributes:
        threshold: The level as a number.
        trace_id: Gives the id of the signal at hand; empty for none.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        agent: str,
        version: str = "",
        level: Level = "info",
        most_per_s: int = 0,
        masker: Masker | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.agent = agent
        self.version = version
        self.threshold = number(level)
        self.masker = masker or Masker()
        self.clock = clock
        self.trace_id: Callable[[], str] = str
        self._write = write
        self._most = most_per_s
        self._second = 0
        self._written = [0, 0]
        self._dropped = 0

    def logger(self, **fields: Any) -> Logger:
        """A logger that writes here, with fields of its own."""
        return Logger(self, PROCESSORS, fields)

    def put(self, line: bytes) -> None:
        """Take a line."""
        self._write(line)

    def admits(self, severity: int) -> bool:
        """Whether one more line of that level is written in this second; otherwise it is counted."""
        if not self._most:
            return True
        self.catch_up()
        loud = severity >= _SURE
        if self._written[loud] >= self._most * (_LOUD if loud else 1):
            self._dropped += 1
            return False
        self._written[loud] += 1
        return True

    def catch_up(self) -> None:
        """Where a new second has begun, say how many lines the one before has left out."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, [0, 0]
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self.logger().tell("warning", "lines_left_out", count=dropped, most_per_s=self._most)


class Logger(structlog.BoundLoggerBase):
    """Writes lines: `log.info("order_sent", symbol="AAPL")`.

    The first argument says what happened, in a word that never changes; what belongs to it are fields. Every line
    has the time, the level, the agent, its version and the trace id of the signal at hand. Secrets and figures of
    the account are masked. A call at a level that is off costs some 0.1 microseconds.
    """

    _logger: Sink

    @property
    def sink(self) -> Sink:
        """What it writes to."""
        return self._logger

    def debug(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """What helps to find a fault: a line for each signal may be one."""
        if self._logger.threshold <= _DEBUG:
            self._emit("debug", event, arguments, fields)

    def info(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """What a person wants to know who asks what was done, and why."""
        if self._logger.threshold <= _INFO:
            self._emit("info", event, arguments, fields)

    def warning(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """What is not as it should be, though it goes on."""
        if self._logger.threshold <= _WARNING:
            self._emit("warning", event, arguments, fields)

    def error(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """What could not be done."""
        if self._logger.threshold <= _ERROR:
            self._emit("error", event, arguments, fields)

    def critical(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """What ends the process, or should."""
        if self._logger.threshold <= _CRITICAL:
            self._emit("critical", event, arguments, fields)

    def exception(self, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """An error, with the traceback of the exception at hand. To be called where one is caught."""
        if self._logger.threshold <= _ERROR:
            self._emit("error", event, arguments, {"exc_info": True, **fields})

    def log(self, level: int | str, event: str = "", /, *arguments: Any, **fields: Any) -> None:
        """The same, at a level by its name, or by its number in the standard library."""
        name = nearest(level)
        if self._logger.threshold <= _NUMBERS[name]:
            self._emit(name, event, arguments, fields)

    warn = warning
    fatal = critical
    msg = info

    def is_enabled_for(self, level: str) -> bool:
        """Whether lines of that level are written, for fields that are dear to gather."""
        return self._logger.threshold <= _NUMBERS.get(level, _INFO)

    def new(self, **fields: Any) -> Self:
        """A logger with these fields alone."""
        return type(self)(self._logger, self._processors, fields)

    def tell(self, level: Level, event: str, **fields: Any) -> None:
        """Write a line whatever level is in force, and however many there were: what a log says of itself."""
        self._make(level, event, (), fields)

    def _emit(self, level: Level, event: str, arguments: tuple[Any, ...], fields: dict[str, Any]) -> None:
        if self._logger.admits(_NUMBERS[level]):
            self._make(level, event, arguments, fields)

    def _make(self, level: Level, event: str, arguments: tuple[Any, ...], fields: dict[str, Any]) -> None:
        sink = self._logger
        try:
            event = event or fields.pop("event", "")
            event = event if isinstance(event, str) else str(event)
            text = formatted(sink.masker, event, arguments)
            (line,), _ = self._process_event(level, text, fields)
        except Exception as error:  # noqa: BLE001 - an agent must not end for what it wanted to say
            told = {"at": time.time(), "level": level, "event": "line_lost", "agent": sink.agent}
            line = encode({**told, "error": type(error).__name__})
        sink.put(line)


def stamp(sink: Sink, level: str, fields: EventDict) -> EventDict:
    """Put in front when, how, what, who and about which signal. A field of the same name gets a line behind it."""
    trace_id = fields.pop("trace_id", None) or sink.trace_id()
    line: dict[str, Any] = {"at": round(sink.clock(), 6), "level": level, "event": fields.pop("event", "")}
    line |= {"agent": sink.agent, "version": sink.version}
    if trace_id:
        line["trace_id"] = trace_id
    for name, value in fields.items():
        line[f"{name}_" if name in line else name] = value
    return line


def tell_exception(sink: Sink, level: str, fields: EventDict) -> EventDict:
    """Make a text of the exception that is named by `exc_info`, of which the innermost calls are kept."""
    wanted = fields.pop("exc_info", None)
    if not wanted:
        return fields
    if isinstance(wanted, tuple) and len(wanted) == 3:
        wanted = wanted[1]
    error = wanted if isinstance(wanted, BaseException) else sys.exc_info()[1]
    if error is not None:
        fields["exception"] = traceback_of(error)
    return fields


def mask(sink: Sink, level: str, fields: EventDict) -> EventDict:
    """Make plain data of everything, secrets and figures of the account masked."""
    masked: dict[str, Any] = sink.masker(fields)
    return masked


def render(sink: Sink, level: str, fields: EventDict) -> bytes:
    """The line."""
    return encode(fields)


PROCESSORS: tuple[Callable[[Any, str, Any], Any], ...] = (stamp, tell_exception, mask, render)
"""The steps from a call to a line."""


def traceback_of(error: BaseException) -> str:
    """An exception as text, its innermost calls; without those that it came from where that would be too long."""
    text = "".join(traceback.format_exception(error, limit=-_FRAMES))
    if len(text) > LONGEST:
        text = "".join(traceback.format_exception(error, limit=-_FRAMES, chain=False))
    return text.rstrip("\n")


def formatted(masker: Masker, text: str, arguments: tuple[Any, ...]) -> str:
    """A text with its arguments in the places that `%` marks, as the standard library's loggers do it.

    The arguments are masked before: what a map's key says of its value is lost in a text. So is one before whose
    place the text names a secret. Where they do not fit, they stand behind the text.
    """
    if not arguments:
        return text
    values: Any
    if len(arguments) == 1 and isinstance(arguments[0], Mapping) and arguments[0]:
        values = {name: _argument(masker, each, str(name)) for name, each in arguments[0].items()}
    else:
        places = [each for each in _CONVERSION.finditer(text) if each["kind"] != "%"]
        found = [_NAME_BEFORE.search(text, max(0, each.start() - 80), each.start()) for each in places]
        names = [each["name"] if each else "" for each in found] + [""] * len(arguments)
        values = tuple(_argument(masker, each, name) for each, name in zip(arguments, names, strict=False))
    try:
        return str(text % values)
    except (TypeError, ValueError, KeyError, OverflowError):
        return f"{text} {values}"


def _argument(masker: Masker, value: Any, name: str) -> Any:
    """An argument, masked; a number stays one, so that it can be written as the text wants it."""
    masked = masker(value, name)
    return value if isinstance(value, Number) and masked != MASK else masked


def nearest(level: int | str) -> Level:
    """The name of a level; of one in between the name of the one below."""
    value = level if isinstance(level, int) else number(str(level))
    return next((name for name in reversed(LEVELS) if _NUMBERS[name] <= value), "debug")


def of_process() -> Logger:
    """The logger of this process; a silent one in a process that has no log."""
    found = structlog.get_logger().bind()
    return found if isinstance(found, Logger) else silent()


def silent() -> Logger:
    """A logger that writes nothing."""
    sink = Sink(lambda line: None, agent="")
    sink.threshold = _SILENT
    return sink.logger()


def into(lines: list[dict[str, Any]], *, agent: str, level: Level = "debug", clock: Callable[[], float]) -> Sink:
    """A sink that appends each line, as it would stand in the file, to a list."""
    return Sink(lambda line: lines.append(msgspec.json.decode(line)), agent=agent, level=level, clock=clock)
