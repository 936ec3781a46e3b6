"""Figures and names that cannot be: refused at the door by the field, or denied by name; never executed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ark.wire_client import Wire
from tests.live.desk import orders_sent, signal, violations
from tests.node import Node

NAN, INFINITY = float("nan"), float("inf")
FIELDS = ("price", "quantity", "position_size_pct", "leverage", "stop_loss", "target", "risk_reward_ratio", "ts")
NO_NUMBERS = {
    "NaN": NAN,
    "infinity": INFINITY,
    "-infinity": -INFINITY,
    "negative": -1.0,
    "zero": 0,
    "1e308": 1e308,
    "huge whole": 2**63,
    "text": "100",
    "bool": True,
    "list": [100.0],
    "map": {"value": 100.0},
    "bytes": b"100",
}


@pytest.fixture(scope="module")
def door(trader: Node) -> Iterator[Wire]:
    with Wire(trader.gateway) as wire:
        yield wire


@pytest.fixture(autouse=True)
def no_order(trader: Node) -> Iterator[None]:
    """Nothing of all this may come as far as the broker, and nobody may die of it."""
    before = orders_sent(trader), restarts(trader)
    yield
    assert (orders_sent(trader), restarts(trader)) == before


def restarts(one: Node) -> dict[str, int]:
    return {child["name"]: child["restarts"] for child in one.status()["children"]}


def bad(door: Wire, **changes: Any) -> tuple[str, str]:
    """Send a signal; give where it ended (`door` or its status), and what was said."""
    sent = {**signal(symbol="BAD"), **changes}
    reply = door.ask("inject", signal={key: value for key, value in sent.items() if value is not ...})
    if not reply["ok"]:
        return "door", f"{reply['error']['field']}: {reply['error']['message']}"
    outcome = door.outcome(reply["trace_id"])
    said = violations(outcome) if outcome["decision"] else {}
    return outcome["status"], " | ".join([outcome["reason"], *said.values()])


@pytest.mark.parametrize("value", list(NO_NUMBERS), ids=list(NO_NUMBERS))
@pytest.mark.parametrize("field", FIELDS)
def test_what_is_no_number_is_refused_at_the_door_by_its_field(field: str, value: str, door: Wire) -> None:
    where, said = bad(door, **{field: NO_NUMBERS[value]})
    if (field, value) == ("ts", "zero"):  # a time, only a very old one
        assert where == "expired"
        assert said.startswith("ts: ")
        return
    assert where == "door"
    assert said.startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["price", "position_size_pct", "leverage", "stop_loss", "target"])
def test_what_is_too_small_for_any_market_is_denied_by_its_field(field: str, door: Wire) -> None:
    where, said = bad(door, **{field: 1e-300})
    assert where == "denied"
    assert f"`{field}`" in said


@pytest.mark.parametrize("field", ["price", "direction", "symbol"])
@pytest.mark.parametrize("value", [..., None], ids=["missing", "nil"])
def test_what_is_left_out_is_missed_by_its_name(field: str, value: Any, door: Wire) -> None:
    where, said = bad(door, **{field: value})
    assert where == "door"
    assert said.startswith(f"{field}: ")


@pytest.mark.parametrize("value", [..., None], ids=["missing", "nil"])
def test_a_target_that_is_left_out_is_denied_by_its_name(value: Any, door: Wire) -> None:
    where, said = bad(door, target=value)
    assert where == "denied"
    assert "`target` is missing" in said


@pytest.mark.parametrize("field", ["stop_loss", "position_size_pct"])
def test_a_trade_without_a_stop_or_a_size_needs_a_pattern(field: str, door: Wire) -> None:
    assert bad(door, **{field: ...})[0] in ("denied", "no_setup")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stop_loss": 100.0}, "`stop_loss`"),
        ({"stop_loss": 100.01}, "`stop_loss`"),
        ({"direction": "short", "stop_loss": 100.0, "target": 90.0}, "`stop_loss`"),
        ({"direction": "short", "stop_loss": 99.0, "target": 90.0}, "`stop_loss`"),
        ({"target": 100.0}, "to win"),
        ({"target": 90.0}, "to win"),
        ({"direction": "short", "stop_loss": 104.0, "target": 110.0}, "to win"),
    ],
)
def test_a_stop_or_a_target_on_the_wrong_side_is_denied_by_its_name(
    changes: dict[str, Any], named: str, door: Wire
) -> None:
    where, said = bad(door, **changes)
    assert where == "denied"
    assert named in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"quantity": 1.0, "position_size_pct": 0.25}, "`position_size_pct` is 25 %"),
        ({"quantity": 250.0, "position_size_pct": 0.01}, "new 25000"),
        ({"quantity": 1e12, "position_size_pct": 0.01}, "limit is 10 %"),
        ({"position_size_pct": 1e12}, "`position_size_pct`"),
    ],
    ids=["the share is too large", "the units are too many", "a trillion units", "a trillion times the equity"],
)
def test_of_a_size_that_is_named_twice_the_worse_one_counts(
    changes: dict[str, Any], named: str, door: Wire
) -> None:
    where, said = bad(door, **changes)
    assert where == "denied"
    assert named in said


@pytest.mark.parametrize(
    "symbol",
    [
        "aapl", "Aapl", " AAPL", "AAPL ", "AA PL", "AAPL\n", "AAPL\0", "\u0410APL", "\uff21APL", "AAPL\u200b",
        "A\u0301APL", "-AAPL", "", "A" * 33, 5, None, ["AAPL"], True, b"\xff\xfe",
    ],
    ids=[
        "small", "odd case", "space before", "space behind", "space within", "line end", "nul", "Cyrillic", "wide",
        "zero width", "accent", "a sign first", "empty", "too long", "number", "nil", "list", "bool", "bytes",
    ],
)  # fmt: skip
def test_a_symbol_in_any_other_form_is_refused_at_the_door(symbol: Any, door: Wire) -> None:
    where, said = bad(door, symbol=symbol)
    assert where == "door"
    assert said.startswith("symbol: ")


@pytest.mark.parametrize(
    ("off_s", "where"),
    [(-1000.0, "expired"), (3600.0, "denied"), (1e9, "denied")],
    ids=["old", "an hour", "30 years"],
)
def test_a_time_that_cannot_be_is_denied_by_its_name(off_s: float, where: str, door: Wire) -> None:
    found, said = bad(door, ts=time.time() + off_s)
    assert found == where
    assert said.startswith("ts: ")


@pytest.mark.parametrize("value", ["sideways", "LONG", "", 1, None, True], ids=repr)
def test_a_direction_that_is_none_is_refused_at_the_door(value: Any, door: Wire) -> None:
    where, said = bad(door, direction=value)
    assert (where, said) == ("door", "direction: `direction` must be long or short")


@pytest.mark.parametrize("action", ["modify_graveyard", "delete_data", "share_data", "", "TRADE", 1])
def test_an_action_that_the_door_does_not_know_is_refused_there(action: Any, door: Wire) -> None:
    where, said = bad(door, action=action)
    assert where == "door"
    assert said.startswith("action: ")


@pytest.mark.parametrize("place", ["features", "metadata"])
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_figure_that_is_no_number_anywhere_within_is_refused_with_the_way_to_it(
    place: str, value: float, door: Wire
) -> None:
    where, said = bad(door, **{place: {"deep": {"rsi": [1.0, value]}}})
    assert where == "door"
    assert said.startswith(f"{place}.deep.rsi")
