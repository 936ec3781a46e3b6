"""What a trader does at a node, for the tests beside: sends signals, looks at the books, listens to events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import zmq

from actors.kenny import client_order_id
from ark.client import Client
from ark.journal import open_for_reading
from tests.node import Node

SOUND: Mapping[str, Any] = {
    "symbol": "AAPL",
    "direction": "long",
    "price": 100.0,
    "position_size_pct": 0.01,
    "stop_loss": 96.0,
    "target": 110.0,
    "source": "synthetic",
}
"""A signal that is executed out of the box."""
PULLBACK: Mapping[str, Any] = {
    "position_size_pct": None,
    "stop_loss": None,
    "target": None,
    "features": {
        "earnings_beat": True,
        "initial_reaction": 9,
        "volume_ratio": 3,
        "days_since_earnings": 2,
        "guidance": "raised",
        "analyst_upgrades": 2,
        "price_action": "consolidating_gains",
        "catalyst": "earnings",
    },
}
"""Changes that make a pattern's plan of it, whose entry waits at the broker for a price 2 % lower."""


def signal(**changes: Any) -> dict[str, Any]:
    """A sound signal, changed; a field that is None is left out."""
    return {key: value for key, value in {**SOUND, **changes}.items() if value is not None}


def judged(client: Client, **changes: Any) -> dict[str, Any]:
    """The outcome of a sound signal, changed."""
    return client.outcome(client.inject(signal(**changes))["trace_id"], timeout_s=20.0)


def violations(outcome: dict[str, Any]) -> dict[str, str]:
    """What denied it: messages by rule."""
    return {each["rule"]: each["message"] for each in outcome["decision"]["violations"]}


def warnings(outcome: dict[str, Any]) -> dict[str, str]:
    """What merely warned: messages by rule."""
    return {each["rule"]: each["message"] for each in outcome["decision"]["warnings"]}


def show_bar(client: Client, symbol: str, close: float, *, ts: float) -> dict[str, Any]:
    """Show a bar that opens and ends near a price; gives the outcome."""
    bar = {"ts": ts, "open": close, "high": close * 1.001, "low": close * 0.999, "close": close, "volume": 1e6}
    shown = {"symbol": symbol, "direction": "long", "price": close, "action": "observe", "features": {"bar": bar}}
    return client.outcome(client.inject(shown)["trace_id"], timeout_s=20.0)


def rows(one: Node, name: str, query: str, *values: Any) -> list[Any]:
    """Rows of one of the node's databases, as they stand now."""
    connection = open_for_reading(one.home.data / f"{name}.db")
    try:
        return list(connection.execute(query, values))
    finally:
        connection.close()


def order_of(one: Node, trace_id: str) -> dict[str, Any]:
    """The order of a signal as the broker knows it; empty for none."""
    found = rows(
        one, "kenny-broker", "SELECT state FROM orders WHERE client_order_id = ?", client_order_id(trace_id)
    )
    return dict(json.loads(found[0][0])) if found else {}


def reserved(one: Node) -> set[str]:
    """Trace ids of what HRM has promised room to, and what is not filled yet."""
    return {trace_id for (trace_id,) in rows(one, "hrm", "SELECT trace_id FROM hrm_reservations")}


def orders_sent(one: Node) -> int:
    """How many orders the broker ever got."""
    return int(rows(one, "kenny-broker", "SELECT count(*) FROM submissions")[0][0])


@contextmanager
def events(one: Node, kind: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Events of one kind; each call gives those that came since the last one."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(one.events)
        socket.subscribe(f"event.{kind}")

        def take() -> list[dict[str, Any]]:
            found = []
            while socket.poll(0):
                found.append(msgspec.msgpack.decode(socket.recv_multipart()[1], type=dict[str, Any]))
            return found

        yield take
