"""In what two decisions differ, and what of it was announced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.differences import LONGEST_TEXT, MOST, Change, changes, is_declared
from ark.routing import Declared

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


class Inner(msgspec.Struct, frozen=True, array_like=True):
    stop: Decimal
    notes: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True, array_like=True):
    name: str
    inner: Inner | None = None


@given(plain)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert changes(value, value) == []


@given(plain, plain)
def test_what_is_told_is_short_and_there_the_other_way_round_too(one: Any, other: Any) -> None:
    found, back = changes(one, other), changes(other, one)
    assert [(each.path, each.after, each.before) for each in back] == [
        (each.path, each.before, each.after) for each in found
    ]
    assert all(len(text) <= LONGEST_TEXT for each in found for text in (each.before, each.after))
    assert bool(found) == (one != other) or not found


def test_paths_are_named_by_fields_also_where_messages_travel_as_arrays() -> None:
    one = Outer("a", Inner(Decimal("1.0"), ("x",)))
    other = Outer("a", Inner(Decimal("1.00"), ("x", "y")))
    assert changes(one, other) == [
        Change("inner.stop", "1.0", "1.00"),
        Change("inner.notes.1", "(absent)", "y"),
    ]
    assert changes(one, other, ("inner.*",)) == []
    assert [each.path for each in changes(one, Outer("a"))] == ["inner"]


def test_numbers_that_are_none_can_be_told() -> None:
    assert changes(Inner(Decimal("sNaN")), Inner(Decimal("NaN"))) == [Change("stop", "sNaN", "NaN")]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Declared("setup.*"), True),
        (Declared("setup.stop", "1*", "2"), True),
        (Declared("setup.stop", symbol="A*"), True),
        (Declared("setup"), False),
        (Declared("*", before="2"), False),
        (Declared("*", after="3"), False),
        (Declared("*", symbol="B*"), False),
    ],
)
def test_a_change_is_declared_where_every_part_of_an_announcement_fits(declared: Declared, expected: bool) -> None:
    assert is_declared(Change("setup.stop", "1.5", "2"), "AAPL", [declared]) is expected
    assert not is_declared(Change("setup.stop", "1.5", "2"), "AAPL", [])


def test_more_differences_than_are_looked_at_are_one_of_the_whole_that_no_part_of_it_announces() -> None:
    some, more = [changes(["a"] * parts, ["b"] * parts) for parts in (MOST, MOST + 1)]
    announced = [Declared("[0-9]*")]
    assert len(some) == MOST
    assert all(is_declared(each, "AAPL", announced) for each in some)
    assert [each for each in more if not is_declared(each, "AAPL", announced)] == more[MOST:]
    assert more[MOST].path == ""
