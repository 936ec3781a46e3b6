"""A trace context is read as the W3C says, and whatever is none is refused in words."""

from __future__ import annotations

import re
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.errors import RequestError
from ark.protocol import parse_signal
from ark.traceparent import LONGEST_TRACEPARENT, LONGEST_TRACESTATE, MOST_MEMBERS, check_state, read_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SOUND = f"00-{TRACE}-{SPAN}-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 190.0}

hexadecimal = "0123456789abcdef"
parents = st.from_regex(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True
)


@given(parents)
def test_every_sound_parent_says_its_trace_its_span_and_whether_it_is_sampled(text: str) -> None:
    parent = read_parent(text)
    _, trace_id, span_id, flags = text.split("-")
    assert (parent.trace_id.hex(), parent.span_id.hex()) == (trace_id, span_id)
    assert parent.is_sampled == (int(flags, 16) % 2 == 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "form"),
        (SOUND[:-1], "form"),
        (SOUND.upper(), "form"),
        (SOUND.replace("-", "_"), "form"),
        (f" {SOUND}", "form"),
        (f"{SOUND}\n", "form"),
        (f"0-{TRACE}-{SPAN}-01", "form"),
        (f"00-{TRACE[1:]}-{SPAN}-01", "form"),
        (f"00-{TRACE[1:]}g-{SPAN}-01", "form"),
        (f"00-{TRACE}-{SPAN[1:]}-01", "form"),
        (f"00-{TRACE}-{SPAN}-1", "form"),
        (f"{SOUND}.more", "form"),
        (f"{SOUND}-more", "behind its end"),
        (f"ff-{TRACE}-{SPAN}-01", "version ff"),
        (f"00-{'0' * 32}-{SPAN}-01", "trace id of zeros"),
        (f"00-{TRACE}-{'0' * 16}-01", "parent id of zeros"),
        ("00-٤bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "form"),
    ],
)
def test_what_is_no_parent_is_refused_and_told_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_parent(text)


def test_a_parent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    for text in (f"cc-{TRACE}-{SPAN}-03", f"cc-{TRACE}-{SPAN}-03-what-comes-next"):
        assert read_parent(text) == read_parent(SOUND)


@pytest.mark.parametrize(
    "text",
    [
        "",
        STATE,
        "a=1",
        "a=1, b=2\t,c=3",
        "a=1,,b=2,",
        "0tenant@system=x",
        "a_-*/=!~ x",
        "a=" + "x" * 256,
        "b" + "x" * 255 + "=1",
        ",".join(f"k{number}=v" for number in range(MOST_MEMBERS)),
    ],
)
def test_a_sound_state_is_taken(text: str) -> None:
    check_state(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "list of KEY=VALUE"),
        ("=1", "key"),
        ("A=1", "key"),
        ("0a=1", "key"),
        ("a b=1", "key"),
        ("é=1", "key"),
        ("t@0=1", "key"),
        ("a@b@c=1", "key"),
        ("b" + "x" * 256 + "=1", "key"),
        ("a=", "value"),
        ("a=1=2", "value"),
        ("a=\x01b", "value"),
        ("a=é", "value"),
        ("a=" + "x" * 257, "value"),
        ("a=1,b=2,a=3", "twice"),
        (",".join(f"k{number}=v" for number in range(MOST_MEMBERS + 1)), "members"),
    ],
)
def test_what_is_no_state_is_refused_and_told_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_state(text)


@given(st.text(max_size=80) | st.text(alphabet=f"{hexadecimal}-", min_size=50, max_size=60))
def test_no_text_escapes_in_another_way(text: str) -> None:
    try:
        read_parent(text)
    except ValueError:
        assert not re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", text)
    with suppress(ValueError):
        check_state(text)


def test_a_signal_may_carry_a_trace_context() -> None:
    signal, ignored = parse_signal(msgpack.packb(SIGNAL | {"traceparent": SOUND, "tracestate": STATE}))
    assert (signal.traceparent, signal.tracestate, ignored) == (SOUND, STATE, [])


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"traceparent": "no"}, "traceparent"),
        ({"traceparent": 7}, "traceparent"),
        ({"traceparent": None}, "traceparent"),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-{'x' * LONGEST_TRACEPARENT}"}, "traceparent"),
        ({"traceparent": "no", "tracestate": "neither"}, "traceparent"),
        ({"traceparent": SOUND, "tracestate": "no"}, "tracestate"),
        ({"traceparent": SOUND, "tracestate": "a=" + "x" * LONGEST_TRACESTATE}, "tracestate"),
        ({"tracestate": STATE}, "tracestate"),
    ],
)
def test_a_signal_with_a_wrong_trace_context_is_refused_and_the_field_named(
    fields: dict[str, object], wrong: str
) -> None:
    with pytest.raises(RequestError) as refused:
        parse_signal(msgpack.packb(SIGNAL | fields))
    assert refused.value.field == wrong
    assert f"`{wrong}`" in str(refused.value)
