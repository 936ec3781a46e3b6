"""An approval holds for exactly one plan, one signal, and until it expires."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.approval import approve, verify
from actors.messages import Approval
from ark.errors import AuthenticationError

SECRET = b"a secret of thirty-two bytes ...."
TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"
PLAN = b"\x98plan"
NOW = 1_700_000_000.0
GOOD = approve(SECRET, TRACE, PLAN, 3, NOW + 30)

epochs = st.integers(0, 2**64 - 1)
times = st.floats(0, 4e9)


def refusal(secret: bytes, trace_id: str, approval: Approval, now: float = NOW, epoch: int = 3) -> str | None:
    with pytest.raises(AuthenticationError) as caught:
        verify(secret, trace_id, approval, now, epoch)
    return caught.value.field


@given(st.binary(min_size=1), st.text(), st.binary(), epochs, times)
def test_what_was_approved_verifies(secret: bytes, trace: str, plan: bytes, epoch: int, expires: float) -> None:
    verify(secret, trace, approve(secret, trace, plan, epoch, expires), expires, epoch)


@given(st.integers(0, len(PLAN) * 8 - 1))
def test_no_bit_of_the_plan_can_change(bit: int) -> None:
    plan = bytearray(PLAN)
    plan[bit // 8] ^= 1 << bit % 8
    assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, plan=bytes(plan))) == "tag"


@given(st.integers(0, 255))
def test_no_bit_of_the_tag_can_change(bit: int) -> None:
    tag = bytearray(GOOD.tag)
    tag[bit // 8] ^= 1 << bit % 8
    assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, tag=bytes(tag))) == "tag"


@given(st.text(), st.binary(), epochs, times, st.binary(min_size=1))
def test_no_field_can_be_another(trace: str, plan: bytes, epoch: int, expires: float, secret: bytes) -> None:
    if epoch != 3:
        assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, epoch=epoch), epoch=2**64) == "tag"
    if trace != TRACE:
        assert refusal(SECRET, trace, GOOD) == "tag"
    if plan != PLAN:
        assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, plan=plan)) == "tag"
    if expires != GOOD.expires:
        assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, expires=expires)) == "tag"
    if secret != SECRET:
        assert refusal(secret, TRACE, GOOD) == "tag"


@given(st.text(min_size=1), st.binary(), st.integers(1, 20))
def test_bytes_cannot_move_between_the_trace_and_the_plan(trace: str, plan: bytes, most: int) -> None:
    approval = approve(SECRET, trace, plan, 3, NOW)
    cut = min(most, len(trace))
    moved = trace[-cut:].encode("utf-8", "surrogatepass") + plan
    assert refusal(SECRET, trace[:-cut], msgspec.structs.replace(approval, plan=moved)) == "tag"


def test_an_older_epoch_holds_until_it_expires_and_a_newer_one_does_not() -> None:
    verify(SECRET, TRACE, GOOD, NOW + 30, 9)
    assert refusal(SECRET, TRACE, GOOD, NOW + 30.001, 9) == "expires"
    assert refusal(SECRET, TRACE, GOOD, NOW, 2) == "epoch"


@pytest.mark.parametrize("now", [float("nan"), float("inf")])
def test_a_clock_that_makes_no_sense_lets_nothing_through(now: float) -> None:
    assert refusal(SECRET, TRACE, GOOD, now) == "expires"


@pytest.mark.parametrize("expires", [float("nan"), float("inf"), float("-inf")])
def test_an_approval_must_expire(expires: float) -> None:
    with pytest.raises(ValueError, match="must expire"):
        approve(SECRET, TRACE, PLAN, 1, expires)


@pytest.mark.parametrize("epoch", [-1, 2**64])
def test_an_approval_that_cannot_be_encoded_is_refused(epoch: int) -> None:
    assert refusal(SECRET, TRACE, msgspec.structs.replace(GOOD, epoch=epoch)) == "tag"


def test_an_empty_secret_approves_nothing() -> None:
    with pytest.raises(ValueError, match="secret"):
        approve(b"", TRACE, PLAN, 1, NOW)


def test_an_approval_survives_the_wire() -> None:
    wire = msgspec.msgpack.encode(GOOD)
    verify(SECRET, TRACE, msgspec.msgpack.decode(wire, type=Approval), NOW, 3)
