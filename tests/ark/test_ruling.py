"""A ruling's tag: nobody but the gateway can make one, and no byte of it can be changed."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.errors import AuthenticationError
from ark.ruling import Ruling, rule, verify_ruling

SECRET = b"a secret of thirty-two bytes len"
TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"

texts = st.text(max_size=20)
times = st.floats(allow_nan=False, allow_infinity=False)


def made(**changes: object) -> Ruling:
    words: dict[str, object] = {"approved": True, "by": "ada", "reason": "looked at it", "at": 5.0, **changes}
    return rule(SECRET, TRACE, **words)  # type: ignore[arg-type]


@given(trace_id=texts, approved=st.booleans(), by=texts, reason=texts, at=times)
def test_what_the_gateway_made_is_believed_also_behind_the_wire(
    trace_id: str, approved: bool, by: str, reason: str, at: float
) -> None:
    ruling = rule(SECRET, trace_id, approved=approved, by=by, reason=reason, at=at)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(ruling), type=Ruling)
    verify_ruling(SECRET, trace_id, again)
    assert again == ruling
    assert again.word == ("approved" if approved else "refused")


@given(data=st.data())
def test_a_ruling_of_which_any_byte_was_altered_is_not_believed(data: st.DataObject) -> None:
    ruling = made()
    wire = bytearray(msgspec.msgpack.encode(ruling))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    try:
        altered = msgspec.msgpack.decode(bytes(wire), type=Ruling)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if altered == ruling and math.copysign(1, altered.at) == math.copysign(1, ruling.at):
        return  # other bytes for the same words
    with pytest.raises(AuthenticationError):
        verify_ruling(SECRET, TRACE, altered)


@pytest.mark.parametrize(
    "changes", [{"approved": False}, {"by": "bob"}, {"reason": "did not look"}, {"at": 6.0}, {"tag": b""}]
)
def test_no_field_can_be_changed(changes: dict[str, object]) -> None:
    with pytest.raises(AuthenticationError) as error:
        verify_ruling(SECRET, TRACE, msgspec.structs.replace(made(), **changes))
    assert error.value.field == "tag"


@given(cut=st.integers(0, 10))
def test_where_a_field_ends_is_under_the_tag(cut: int) -> None:
    text = "ada looked"
    one = made(by=text[:cut], reason=text[cut:])
    other = made(by=text[: cut + 1], reason=text[cut + 1 :])
    assert cut == 10 or one.tag != other.tag
    assert rule(SECRET, TRACE[:-1], approved=True, by=TRACE[-1] + "ada", reason="", at=5.0).tag != made().tag


def test_a_ruling_is_for_one_signal_and_under_one_secret() -> None:
    with pytest.raises(AuthenticationError):
        verify_ruling(SECRET, TRACE.replace("0", "1"), made())
    with pytest.raises(AuthenticationError):
        verify_ruling(SECRET[::-1], TRACE, made())


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
def test_a_ruling_is_made_at_some_time(at: float) -> None:
    with pytest.raises(ValueError, match="at some time"):
        made(at=at)


def test_without_a_secret_there_is_no_ruling() -> None:
    with pytest.raises(ValueError, match="needs a secret"):
        rule(b"", TRACE, approved=True, by="ada", reason="", at=5.0)
    with pytest.raises(ValueError, match="needs a secret"):
        verify_ruling(b"", TRACE, made())
