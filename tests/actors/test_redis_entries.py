"""Entries of a Redis stream as signals: JSON, msgpack, flat text; faults by name; trace ids that stay the same."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.redis_entries import Entry, derived_trace_id, read_entry, rejection, take_portion
from ark.protocol import LARGEST_SIGNAL, parse_signal

SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 190.5, "features": {"catalyst": "earnings"}}
ID = b"1700000000000-0"


def read(fields: dict[bytes, bytes]) -> Entry:
    return read_entry("ark:signals", ID, fields)


def fault(fields: dict[bytes, bytes]) -> dict[str, Any]:
    error = read(fields).error
    assert error is not None
    return error


@pytest.mark.parametrize(
    "fields",
    [
        {b"signal": json.dumps(SIGNAL).encode()},
        {b"signal": b" \n" + json.dumps(SIGNAL, indent=1).encode()},
        {b"signal": msgpack.packb(SIGNAL)},
        {
            b"symbol": b"AAPL",
            b"direction": b"long",
            b"price": b"190.5",
            b"quantity": b"",
            b"features": b'{"catalyst": "earnings"}',
        },
    ],
    ids=["JSON", "JSON with spaces", "msgpack", "flat"],
)
def test_every_form_of_an_entry_gives_the_same_signal(fields: dict[bytes, bytes]) -> None:
    entry = read(fields)
    assert entry.error is None
    assert entry.signal == {**SIGNAL, "trace_id": derived_trace_id("ark:signals", ID.decode())}
    assert entry.size == len(msgpack.packb(entry.signal))


def test_a_trace_id_of_the_senders_own_is_kept() -> None:
    own = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert read({b"signal": json.dumps({**SIGNAL, "trace_id": own}).encode()}).signal["trace_id"] == own


def test_a_derived_trace_id_follows_from_stream_and_entry_alone() -> None:
    assert derived_trace_id("a", "1-0") == derived_trace_id("a", "1-0")
    assert len({derived_trace_id(stream, id_) for stream in "ab" for id_ in ("1-0", "1-1", "2-0")}) == 6


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({b"signal": b"{"}, "signal"),
        ({b"signal": b""}, "signal"),
        ({b"signal": b"[]"}, "signal"),
        ({b"signal": msgpack.packb([1])}, "signal"),
        ({b"signal": b"\x81"}, "signal"),
        ({b"signal": b'{"symbol": "AAPL", "direction": "long"}'}, "price"),
        ({b"signal": b"{}", b"price": b"1"}, "signal"),
        ({b"signal": b'{"symbol": "A", "direction": "long", "price": 1, "x": 1%s}' % (b"0" * 30)}, "signal"),
        ({b"signal": json.dumps({**SIGNAL, "source": "x" * LARGEST_SIGNAL}).encode()}, "signal"),
        ({b"signal": b'{"a":' * 5000 + b"1" + b"}" * 5000}, "signal"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"cheap"}, "price"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"nan"}, "price"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"1", b"features": b"{"}, "features"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"1", b"features": b"[]"}, "features"),
        ({b"symbol": b"\xff"}, "signal"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"1", b"trace_id": b"7"}, "trace_id"),
        ({b"symbol": b"AAPL", b"direction": b"long", b"price": b"1", b"traceparent": b"00-no"}, "traceparent"),
    ],
)
def test_what_is_no_signal_is_named(fields: dict[bytes, bytes], field: str) -> None:
    error = fault(fields)
    assert error["code"] in ("invalid", "malformed")
    assert error["field"] == field, error


@given(
    st.dictionaries(st.binary(max_size=12), st.binary(max_size=60), min_size=1, max_size=5)
    | st.builds(lambda raw: {b"signal": raw}, st.binary(max_size=200))
    | st.builds(
        lambda value: {b"signal": msgpack.packb(value)},
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=3)
            ),
        ),
    )
)
def test_whatever_comes_is_a_good_signal_or_a_fault(fields: dict[bytes, bytes]) -> None:
    entry = read(fields)
    assert (entry.error is None) == bool(entry.signal)
    if entry.signal:
        parse_signal(msgpack.packb(entry.signal))
    else:
        kept = rejection(entry, entry.error or {})
        assert kept[b"rejected.entry"] == ID
        assert kept[b"rejected.message"]
        assert fields.items() <= kept.items() or any(key.startswith(b"rejected.") for key in fields)


@given(st.lists(st.integers(1, 100), min_size=1), st.integers(1, 20), st.integers(1, 500))
def test_a_portion_is_the_longest_that_fits_and_never_empty(sizes: list[int], most: int, most_bytes: int) -> None:
    taken = take_portion(sizes, most, most_bytes)
    assert 1 <= taken <= most
    assert taken == 1 or sum(sizes[:taken]) <= most_bytes
    if taken < min(most, len(sizes)):
        assert sum(sizes[: taken + 1]) > most_bytes


def test_a_flat_number_is_a_finite_one() -> None:
    entry = read({b"symbol": b"AAPL", b"direction": b"short", b"price": b"1e3"})
    assert entry.signal["price"] == 1000.0
    assert math.isfinite(entry.signal["price"])
