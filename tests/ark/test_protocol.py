"""Protocol 1, without sockets: whatever comes in, a request, a signal, or an error that a client can read."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ark.errors import RequestError
from ark.protocol import (
    DEEPEST,
    LARGEST_SIGNAL,
    OPERATIONS,
    Code,
    Request,
    Role,
    error_body,
    named_op,
    named_trace_id,
    nearest,
    parse_request,
    parse_signal,
    reply,
    request_id,
)
from ark.signal import ACTIONS, Signal

SOUND = {"symbol": "AAPL", "direction": "long", "price": 190.0}
CODES = {value for name, value in vars(Code).items() if name.isupper()}

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
)
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        | st.dictionaries(st.integers(0, 9), inner, max_size=2)
    ),
    max_leaves=12,
)
signal_fields = [field.name for field in msgspec.structs.fields(Signal)]
request_fields = [field.name for field in msgspec.structs.fields(Request)]
numbers = ("price", "quantity", "position_size_pct", "leverage", "stop_loss", "target", "risk_reward_ratio")
signals = st.dictionaries(
    st.sampled_from([*signal_fields, "colour"]), values | st.floats(0.01, 1e6), max_size=5
).map(lambda changes: SOUND | changes)


def refused_by(error: RequestError) -> dict[str, Any]:
    """The error as a client gets it."""
    assert error.code in CODES
    body: dict[str, Any] = msgpack.unpackb(reply(msgspec.Raw(b"\x01"), ok=False, error=error_body(error)))["error"]
    assert set(body) == {"code", "message", "field"}
    assert body["message"]
    return body


@given(values.map(msgpack.packb) | st.binary(max_size=300), st.sampled_from(Role))
@example(b"\x91" * 100_000, Role.INJECTOR)
@example(b"\x81\xa1a" * 100_000, Role.INJECTOR)
@example(b"\xdf\xff\xff\xff\xff", Role.INJECTOR)
def test_any_bytes_are_a_request_or_a_readable_error(frame: bytes, role: Role) -> None:
    try:
        assert parse_request(frame, role).op in OPERATIONS
    except RequestError as error:
        refused_by(error)
    msgpack.unpackb(reply(request_id(frame)), strict_map_key=False)


@given(st.dictionaries(st.sampled_from([*request_fields, "else"]), values, max_size=5), st.sampled_from(Role))
def test_any_fields_are_a_request_or_a_readable_error(fields: dict[str, Any], role: Role) -> None:
    fields = {"op": "status"} | fields
    try:
        request = parse_request(msgpack.packb(fields), role)
        assert request.v == 1
    except RequestError as error:
        refused_by(error)


@given(signals.map(msgpack.packb) | values.map(msgpack.packb) | st.binary(max_size=300))
@example(b"\x91" * 60_000)
@example(b"\x81\xa8metadata" + b"\x91" * 900 + b"\xc0")
def test_an_accepted_signal_holds_finite_positive_numbers_and_nothing_else_is_accepted(raw: bytes) -> None:
    try:
        signal, ignored = parse_signal(raw)
    except RequestError as error:
        refused_by(error)
        return
    assert signal.direction in ("long", "short")
    assert signal.action in ACTIONS
    assert 1 <= len(signal.symbol) <= 32
    assert signal.symbol.isascii()
    assert signal.symbol == signal.symbol.upper().strip()
    for name in numbers:
        value = getattr(signal, name)
        assert value is None or (math.isfinite(value) and 0 < value <= 1e12)
    assert signal.ts is None or math.isfinite(signal.ts)
    assert not set(ignored) & set(signal_fields)
    assert all_finite(signal.features)
    assert all_finite(signal.metadata)
    # It can be written down, and is the same when it is read again.
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(signal), type=type(signal)) == signal


def all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    if isinstance(value, list):
        return all(map(all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@given(st.integers(0, 200), st.sampled_from(["list", "map"]))
def test_nesting_is_bounded_exactly(levels: int, kind: str) -> None:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    raw = msgpack.packb(SOUND | {"metadata": {"x": value}})
    if levels < DEEPEST:
        parse_signal(raw)
    else:
        with pytest.raises(RequestError, match="nested") as error:
            parse_signal(raw)
        assert error.value.field is not None
        assert error.value.field.startswith("metadata")


def test_the_size_of_a_signal_is_bounded_exactly() -> None:
    empty = len(msgpack.packb(SOUND | {"metadata": {"x": b"\0" * 256}})) - 256
    parse_signal(msgpack.packb(SOUND | {"metadata": {"x": b"\0" * (LARGEST_SIGNAL - empty)}}))
    with pytest.raises(RequestError) as error:
        parse_signal(msgpack.packb(SOUND | {"metadata": {"x": b"\0" * (LARGEST_SIGNAL - empty + 1)}}))
    assert error.value.field == "signal"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("op", OPERATIONS)
def test_a_role_may_do_what_is_its_own_and_nothing_else(op: str, role: Role) -> None:
    frame = msgpack.packb({"op": op})
    if role in OPERATIONS[op]:
        assert parse_request(frame, role).op == op
        return
    with pytest.raises(RequestError, match=f"{op} is not for the role {role.value}") as error:
        parse_request(frame, role)
    assert error.value.code == Code.FORBIDDEN
    assert named_op(frame) == op


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"override": "in a hurry"}, "plan.override"),
        ({"settings": {"freeze": []}}, "plan.settings.freeze"),
        ({"settings": {"timezone": "Asia/Tokyo"}}, "plan.settings.timezone"),
        ({"settings": {"budget_freeze": -1000}}, "plan.settings.budget_freeze"),
        ({"settings": {"budget_caution": 0}}, "plan.settings.budget_caution"),
        ({"release": "ab12", "settings": {"stages": [10, 100]}, "override": ""}, None),
        ({"settings": 5}, None),
    ],
)
def test_a_deployer_starts_no_rollout_that_freezes_do_not_hold(plan: dict[str, Any], field: str | None) -> None:
    frame = msgpack.packb({"op": "deploy.start", "plan": plan})
    assert parse_request(frame, Role.OPERATOR).plan == plan
    if field is None:
        assert parse_request(frame, Role.DEPLOYER).plan == plan
        return
    with pytest.raises(RequestError, match="not for the role deployer, but for operator") as error:
        parse_request(frame, Role.DEPLOYER)
    assert (error.value.code, error.value.field) == (Code.FORBIDDEN, field)


def test_what_each_role_may_do() -> None:
    allowed = {role: {op for op, roles in OPERATIONS.items() if role in roles} for role in Role}

    looking = {"deploy.status", "deploy.explain", "deploy.history"}
    assert allowed[Role.INJECTOR] == {"inject", "outcome", "trace", "status"} | looking
    assert allowed[Role.OPERATOR] >= allowed[Role.INJECTOR] | {"halt", "resume", "isolate", "approve", "held"}
    assert {op for op in allowed[Role.DEPLOYER] if not op.startswith(("deploy.", "rollback"))} == {
        "outcome",
        "trace",
        "status",
    }


@given(st.binary(max_size=64))
def test_the_operation_of_any_bytes_is_a_short_text(frame: bytes) -> None:
    assert len(named_op(frame)) <= 40


def test_a_key_given_twice_counts_as_its_last() -> None:
    raw = b"\x84" + b"".join(map(msgpack.packb, ("symbol", "A", "direction", "long", "price", 1.0, "price", 2.0)))
    signal, _ = parse_signal(raw)
    assert signal.price == 2.0


@pytest.mark.parametrize("key", ["op", "v", "id", "trace_id", "agent", "reason", "by", "else"])
def test_text_that_is_no_utf_8_does_no_harm_wherever_it_stands(key: str) -> None:
    for name, value in ((msgpack.packb(key), b"\xa2\xff\xfe"), (b"\xa2\xff\xfe", b"\x01")):
        frame = b"\x82" + msgpack.packb("op") + msgpack.packb("status") + name + value
        try:
            parse_request(frame, Role.OPERATOR)
        except RequestError as error:
            refused_by(error)
        msgpack.unpackb(reply(request_id(frame)))


@pytest.mark.parametrize("key", ["symbol", "trace_id", "metadata", "else"])
def test_a_signal_with_text_that_is_no_utf_8_is_refused_where_it_would_be_read(key: str) -> None:
    whole = {name: value for name, value in SOUND.items() if name != key}
    for name, value in ((msgpack.packb(key), b"\xa2\xff\xfe"), (b"\xa2\xff\xfe", b"\x01")):
        raw = bytes([0x81 + len(whole)]) + msgpack.packb(whole)[1:] + name + value
        try:
            _, ignored = parse_signal(raw)
            assert ignored == ["else"]
        except RequestError as error:
            refused_by(error)
        assert named_trace_id(raw) is None


@given(st.text(max_size=60))
def test_the_nearest_word_is_a_known_one_or_none(word: str) -> None:
    hint = nearest(word, OPERATIONS)
    assert hint == "" or any(f"{op!r}" in hint for op in OPERATIONS)


def test_a_reply_says_yes_unless_it_says_no() -> None:
    assert msgpack.unpackb(reply(msgspec.Raw(b"\x05"), a=1)) == {"v": 1, "id": 5, "ok": True, "a": 1}
    assert msgpack.unpackb(reply(msgspec.Raw(b"\xc0"), ok=False))["ok"] is False
