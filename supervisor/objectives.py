"""`supervisor slo`: how a node stands with its objectives, asked of its exporter and put into a table."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Mapping
from contextlib import closing
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ark.errors import NodeError

__all__ = ["Document", "ask", "is_violated", "lines"]

Document: TypeAlias = Mapping[str, Any]
"""The document of `/slos`."""

TIMEOUT_S = 5.0
LARGEST = 1 << 20
DAY_S = 86_400
SHOWN_WINDOWS = ("5m", "1h", "6h", "3d")


def ask(address: str) -> dict[str, Any]:
    """The document of a node's exporter.

    Args:
        address: Its address, `http://HOST:PORT`.

    Raises:
        NodeError: It does not answer, or something else does.
    """
    hint = "see `supervisor status`; who listens there instead?"
    where = urlsplit(address)
    try:
        with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_S)) as line:
            line.request("GET", "/slos")
            answer = line.getresponse()
            found = json.loads(answer.read(LARGEST))
    except (OSError, http.client.HTTPException) as error:
        raise NodeError(f"no answer from the exporter at {address}: {error}", hint=hint) from error
    except ValueError as error:
        raise NodeError(f"what answers at {address} is no exporter", hint=hint) from error
    if answer.status != 200 or not isinstance(found, dict) or not isinstance(found.get("slos"), list):
        raise NodeError(f"the exporter at {address} does not know of objectives", hint=hint)
    return found


def is_violated(document: Document) -> bool:
    """Whether an objective is violated. What is unknown is not."""
    return any(entry["state"] == "violated" for entry in document["slos"])


def lines(document: Document) -> list[str]:
    """A table with one line for each objective, then what fires and what to do."""
    burn = [f"burn {window}" for window in SHOWN_WINDOWS]
    rows = [["", "state", "value", "target", "good", "bad", "budget left", *burn]]
    rows += [_row(entry) for entry in document["slos"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = [
        "  ".join(
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}" for column, (cell, width) in row
        ).rstrip()
        for row in (enumerate(zip(each, widths, strict=True)) for each in rows)
    ]
    spans = {entry["invariant"]: entry["window"]["seconds"] for entry in document["slos"]}
    if len(spans) == 2:
        shown.append(f"counted over {spans[False]:g} s; budgets and invariants over {spans[True] / DAY_S:g} days")
    for entry in document["slos"]:
        shown += [f"{alert['severity']}: {_alarm(entry, alert)}" for alert in _firing(entry)]
        if entry["state"] == "violated":
            shown.append(f"{entry['name']} is violated: {entry['description']} First: {entry['runbook']}")
    if document.get("trouble"):
        shown.append(f"note: the history is not kept: {_plain(document['trouble'])}")
    return shown


def _row(entry: Mapping[str, Any]) -> list[str]:
    window, budget, burn = entry["window"], entry["budget"], entry["burn"]
    rates = burn["rates"] if burn else {}
    unit = entry["unit"]
    return [
        _plain(entry["name"]),
        _plain(entry["state"]).upper(),
        _value(entry["current_value"], unit),
        f"{entry['operator']} {_value(entry['target'], unit)}",
        str(window["good"]),
        str(window["bad"]),
        _value(budget["remaining"], "ratio", digits=1) if budget else "none",
        *("-" if rates.get(name) is None else f"{rates[name]:.3g}" for name in SHOWN_WINDOWS),
    ]


def _value(value: float | None, unit: str, digits: int = 3) -> str:
    """A share in percent, rounded down: what has missed its target must not look as if it had reached it."""
    if value is None:
        return "-"
    if unit != "ratio":
        return f"{value:g}"
    scale = 10.0**digits
    percent = math.floor(round(100 * value * scale, 6)) / scale
    return f"{percent:.{digits}f}".rstrip("0").rstrip(".") + " %"


def _firing(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [alert for alert in (entry["burn"] or {}).get("alerts", ()) if alert["firing"]]


def _alarm(entry: Mapping[str, Any], alert: Mapping[str, Any]) -> str:
    rate = entry["burn"]["rates"][alert["long"]]
    return (
        f"{entry['name']} burns its budget {rate:.3g} times too fast over {alert['long']} (more than"
        f" {alert['factor']:.3g}), and goes on; first: {entry['runbook']}"
    )


def _plain(value: Any) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())
