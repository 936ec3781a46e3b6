"""Who decides what: the same in every process, monotone in the shares, and nobody without a table that holds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

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
    pins,
    place_of,
    placed,
    read_table,
    write_table,
)
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


@given(shares, shares, shares)
def test_symbols_with_an_open_position_keep_their_arm_when_the_table_changes(
    first: float, second: float, third: float
) -> None:
    open_ones = {symbol: symbol for symbol in SYMBOLS[:30]}
    before: Table | None = None
    arms = dict.fromkeys(open_ones, OWN)
    for share in (first, second, third):
        made = table(share)
        made = msgspec.structs.replace(made, pins=pins(before, made, open_ones))
        for symbol in open_ones:
            found = made.arm("joey", symbol, symbol, 0.0)
            assert found == (arms[symbol] if arms[symbol] == OWN or share > 0 else OWN)
        before = made


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
