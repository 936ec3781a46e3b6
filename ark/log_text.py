"""Lines of logs for people: of a process's own log, and of the node's chronicle. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ark.levels import LEVELS

__all__ = ["level_of", "one_line", "shown"]

CHRONICLE: Mapping[str, str] = {
    **dict.fromkeys(("gave_up", "supervisor_failed", "node_failed", "halt", "seal_broken"), "critical"),
    **dict.fromkeys(
        ("defect", "exited", "hung", "replaced", "dead_letter", "storage", "unprotected", "intervention_lost"),
        "error",
    ),
    **dict.fromkeys(
        (
            *(
                "alert",
                "isolate",
                "stop",
                "stalled",
                "refused",
                "breaker",
                "quarantined",
                "register",
                "alarm",
                "disagreement",
            ),
            *("entries_cancelled", "closed", "fills_behind", "interventions_unread", "orders_not_kept"),
            *("epoch_not_kept", "feed_waits", "feed_rejected", "webhook_failing", "webhook_gave_up"),
            *(
                "webhook_dropped",
                "webhook_unkept",
                "otlp_failing",
                "otlp_refused",
                "otlp_left_out",
                "wrong_token",
                "not_listening",
                "request_failed",
                "slo_history",
                "failed",
            ),
        ),
        "warning",
    ),
    **dict.fromkeys(
        (
            *("started", "node_started", "node_stopped", "release", "restart", "start", "resume", "storage_mended"),
            *(
                "feed_works",
                "webhook_works",
                "otlp_works",
                "token_new",
                "token_revoked",
                "entry_expired",
                "held",
                "ruling",
                "log_level",
                "key_new",
                "key_revoked",
                "rebuilt",
            ),
        ),
        "info",
    ),
}
"""The level of what the chronicle tells, by its kind; of what is not here, `debug`."""
_SEVERITIES = {"warning": "warning", "critical": "error", "emergency": "critical"}
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_DIM = "2"
_BOLD = "1"
_FRONT = ("at", "level", "event", "kind", "agent", "name", "version", "trace_id", "exception", "stack", "reason")
_LONGEST = 2000
"""Characters of one value that are shown."""


def level_of(line: Mapping[str, Any]) -> str:
    """The level of a line; one of the chronicle has none of its own."""
    level = line.get("level")
    if level in LEVELS:
        return str(level)
    kind = str(line.get("event") or line.get("kind") or "")
    if kind == "alert":
        return _SEVERITIES.get(str(line.get("severity")), "warning") if line.get("state") != "cleared" else "info"
    return CHRONICLE.get(kind, "debug")


def shown(line: Mapping[str, Any], *, colours: bool = False, whole: bool = True) -> Iterator[str]:
    """A line of a log as one line for people, and below it the traceback that it has.

    Args:
        line: As read from the log; whatever stands in it is made safe for a terminal.
        colours: Whether to colour it.
        whole: Whether to show tracebacks; otherwise only their last line.
    """

    def paint(text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if colours and text else text

    level = level_of(line)
    name = one_line(line.get("agent") or line.get("name") or "node")
    event = one_line(line.get("event") or line.get("kind") or "?")
    facts = [one_line(line["reason"])] if line.get("reason") else []
    if line.get("name") and line.get("agent") and line["name"] != line["agent"]:
        facts.append(f"name={one_line(line['name'])}")
    facts += [f"{one_line(key)}={_value(value)}" for key, value in line.items() if key not in _FRONT]
    told = line.get("exception") or line.get("stack")
    if told and not whole:
        facts.append(one_line(str(told).strip().splitlines()[-1:][0] if str(told).strip() else ""))
    if line.get("trace_id"):
        facts.append(paint(f"trace_id={one_line(line['trace_id'])}", _DIM))
    front = f"{paint(_moment(line.get('at')), _DIM)} {paint(f'{level:<8}', _COLOURS[level])} {name:<10}"
    yield f"{front} {paint(event, _BOLD)}  {'  '.join(facts)}".rstrip()
    if told and whole:
        for each in str(told).splitlines():
            yield f"    {one_line(each, keep_indent=True)}"


def one_line(value: Any, *, keep_indent: bool = False) -> str:
    """A value as text on one line, without anything that a terminal would obey; of a traceback its end."""
    text = str(value)
    if "Traceback (most recent call last)" in text and not keep_indent:
        text = text[: text.index("Traceback")] + text.strip().splitlines()[-1]
    indent = text[: len(text) - len(text.lstrip(" "))] if keep_indent else ""
    text = indent + " ".join(text.split())
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _value(value: Any) -> str:
    text = one_line(value)
    return repr(text) if isinstance(value, str) and (" " in text or not text) else text


def _moment(at: Any) -> str:
    """The local time, to the millisecond."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 253402300799.0:
        return "-" * 23
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03}"
