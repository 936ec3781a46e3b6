"""Who decides what: the same in every process, monotone in the shares, and nobody without a table that holds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.errors import RoutingError
from ark.routing import (
    BASELINE,
    CANARY,
    LEASE_S,
    OWN,
    Route,
    Table,
    TableFile,
    band_of,
    key_of,
    pins,
    place_of,
    placed,
    read_table,
    write_table,
)
from ark.signal import Signal
from tests.node import ROOT

SYMBOLS = [f"S{number}" for number in range(2_000)]
shares = st.floats(0, 1)


def table(canary: float = 0.0, baseline: float = 0.0, **more: object) -> Table:
    return Table(1, "r1", LEASE_S, "salt", roles={"joey": Route(canary, baseline)}, **more)  # type: ignore[arg-type]


def mine(made: Table, arm: str) -> set[str]:
    return {symbol for symbol in SYMBOLS if made.arm("joey", symbol, symbol, 0.0) == arm}


def test_a_place_is_the_same_in_every_process() -> None:
    script = "from ark.routing import place_of; print([place_of('salt', f'S{n}') for n in range(20)])"
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "7"}, cwd=ROOT, capture_output=True, check=True
    )
    assert elsewhere.stdout.decode().strip() == str([place_of("salt", symbol) for symbol in SYMBOLS[:20]])


@given(st.text(), st.text())
def test_a_place_lies_between_nothing_and_one(salt: str, key: str) -> None:
    assert 0 <= place_of(salt, key) < 1


def test_each_arm_has_about_its_share_and_another_salt_shares_out_otherwise() -> None:
    made = table(0.25, 0.1)
    counts = Counter(made.arm("joey", symbol, symbol, 0.0) for symbol in SYMBOLS)
    assert abs(counts[CANARY] / len(SYMBOLS) - 0.25) < 0.03
    assert abs(counts[BASELINE] / len(SYMBOLS) - 0.1) < 0.03
    salted = msgspec.structs.replace(made, salt="another")
    assert mine(made, CANARY) != mine(salted, CANARY)


@given(shares, shares, st.text())
def test_what_is_the_canarys_stays_so_when_its_share_grows(one: float, other: float, key: str) -> None:
    less, more = sorted((one, other))
    place = place_of("salt", key)
    if placed(place, Route(less)) == CANARY:
        assert placed(place, Route(more)) == CANARY
    if placed(place, Route(0.0, less)) == BASELINE:
        assert placed(place, Route(0.0, more)) == BASELINE


def test_at_a_hundred_percent_nothing_is_the_roles_own_and_at_none_all_is() -> None:
    assert mine(table(1.0), CANARY) == set(SYMBOLS)
    assert mine(table(0.5, 0.5), OWN) == set()
    assert mine(table(), OWN) == set(SYMBOLS)


def test_shares_above_one_together_are_refused() -> None:
    with pytest.raises(ValueError, match="above 1"):
        Route(0.7, 0.4)


def test_when_the_lease_is_over_and_for_roles_that_it_does_not_name_the_table_says_nothing() -> None:
    made = table(1.0)
    assert made.arm("joey", "S1", "S1", LEASE_S - 0.1) == CANARY
    assert made.arm("joey", "S1", "S1", LEASE_S) == OWN
    assert made.arm("hrm", "S1", "S1", 0.0) == OWN
    assert made.wanted_arms(LEASE_S) == {}
    assert made.equipment("joey", LEASE_S) is None


def test_a_lease_from_before_the_clock_was_set_back_counts_no_more() -> None:
    made = table(1.0)
    assert made.arm("joey", "S1", "S1", -0.5) == CANARY
    assert made.arm("joey", "S1", "S1", -3600.0) == OWN
    assert not made.is_in_force(-3600.0)


@pytest.mark.parametrize(
    ("pin", "canary", "found"),
    [(CANARY, 0.1, CANARY), (CANARY, 0.0, OWN), (BASELINE, 1.0, OWN), (OWN, 1.0, OWN), ("another", 1.0, OWN)],
)
def test_a_pin_holds_as_long_as_its_arm_has_any_share(pin: str, canary: float, found: str) -> None:
    assert all(
        table(canary, pins={symbol: pin}).arm("joey", symbol, symbol, 0.0) == found for symbol in SYMBOLS[:9]
    )


class Opening(NamedTuple):
    """A position is opened; `alone` where that is while nobody renews the lease."""

    symbol: str
    key: str
    alone: bool


class Closing(NamedTuple):
    symbol: str


class Kill(NamedTuple):
    """Whoever writes the table finds it in its file again."""


some = st.sampled_from(SYMBOLS[:4])
keys = st.sampled_from(("desk", "feed", "news", "1e2.5"))
openings = st.builds(Opening, some, keys, st.booleans())
routes = st.sampled_from((0.0, 0.1, 0.25, 0.5, 1.0)).map(lambda share: Route(share, min(share, 1 - share)))


@given(st.lists(st.one_of(routes, openings, st.builds(Closing, some), st.just(Kill())), max_size=30))
def test_whatever_comes_a_position_stays_with_the_arm_that_opened_it(steps: list[Any]) -> None:
    now, made = 0.0, table()
    positions: dict[str, str | None] = {}
    opened: dict[str, str] = {}
    for step in steps:
        before, route = made, made.roles["joey"]
        match step:
            case Route():
                route = step
            case Opening(symbol, key, alone):
                now = made.lease_until + 1.0 if alone else now
                opened.setdefault(symbol, made.arm("hrm", symbol, key, now))
                positions.setdefault(symbol, key)
            case Closing(symbol):
                opened.pop(symbol, None)
                positions.pop(symbol, None)
            case Kill():
                before = msgspec.json.decode(msgspec.json.encode(made), type=Table)
        made = msgspec.structs.replace(
            made, roles={"joey": route, "hrm": route}, pins=pins(before, positions, now), lease_until=now + LEASE_S
        )
        assert made.pins == opened
        for symbol, arm in opened.items():
            has_share = {CANARY: route.canary, BASELINE: route.baseline}.get(arm, 0.0) > 0
            found = {made.arm(role, symbol, key, now) for role in made.roles for key in ("desk", "feed", "else")}
            assert found == {arm if has_share else OWN}


def test_a_position_of_which_nothing_is_known_is_the_roles_own() -> None:
    assert pins(table(1.0), {"S1": None, "S2": "desk"}, 0.0) == {"S1": OWN, "S2": CANARY}
    assert pins(None, {"S2": "desk"}, 0.0) == {"S2": OWN}
    assert pins(table(1.0), {"S2": "desk"}, LEASE_S) == {"S2": OWN}
    assert pins(table(1.0, pins={"S2": CANARY, "S3": CANARY}), {"S2": None}, LEASE_S) == {"S2": CANARY}


def test_where_the_shares_of_two_roles_differ_no_arm_has_opened_a_position_alone() -> None:
    made = msgspec.structs.replace(table(), roles={"joey": Route(1.0), "hrm": Route(0.0)})
    assert pins(made, {"S1": "desk"}, 0.0) == {"S1": OWN}
    assert pins(msgspec.structs.replace(made, roles={}), {"S1": "desk"}, 0.0) == {"S1": OWN}


def test_a_signal_is_shared_out_by_what_the_table_says() -> None:
    signal = Signal("AAPL", "long", 20.0, quantity=50.0, source="desk")
    assert [key_of(by, "AAPL", signal) for by in ("symbol", "source", "notional")] == ["AAPL", "desk", "1e3"]
    bare = Signal("AAPL", "long", 20.0)
    assert [key_of(by, "AAPL", bare) for by in ("source", "notional")] == [bare.source, "none"]
    assert [key_of(by, "AAPL", object()) for by in ("symbol", "source", "notional")] == ["AAPL", "", "none"]


@given(st.floats(allow_nan=True) | st.none())
def test_every_notional_has_a_band(notional: float | None) -> None:
    assert band_of(notional)


def test_near_notionals_share_a_band_and_far_ones_do_not() -> None:
    assert band_of(1_000.0) == band_of(1_500.0) != band_of(9_000.0)
    assert band_of(0.0) == band_of(None) == band_of(-5.0) == band_of(float("nan")) == band_of(1e308 * 10) == "none"


def test_a_process_sees_a_new_table_at_its_next_look_and_none_where_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    file = TableFile(path)
    assert not file.look()
    assert file.table is None
    write_table(path, table(0.1))
    assert file.look()
    assert file.table == table(0.1) == read_table(path)
    assert not file.look()
    path.write_text('{"generation": 2')
    assert file.look()
    assert file.table is None
    assert "cannot be read" in file.fault
    with pytest.raises(RoutingError, match="cannot be read"):
        read_table(path)
    write_table(path, table(0.2))
    assert file.look()
    assert (file.table, file.fault) == (table(0.2), "")
    path.unlink()
    assert file.look()
    assert file.table is None


@pytest.mark.parametrize(
    "wrong",
    [
        "[]", "null", "\xff", '{"generation": 1, "rollout": "r"}', "[" * 100_000,
        '{"generation": 1, "rollout": "r", "lease_until": 1, "roles": {"joey": {"canary": 0.9, "baseline": 0.9}}}',
        '{"generation": 1, "rollout": "r", "lease_until": 1, "roles": {"joey": {"canary": -1}}}',
        '{"generation": 1, "rollout": "r", "lease_until": 1, "by": "moon"}',
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "routes.json"
    path.write_text(wrong, encoding="latin-1")
    file = TableFile(path)
    file.look()
    assert file.table is None
    assert file.fault
