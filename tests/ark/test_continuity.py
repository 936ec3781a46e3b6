"""Whatever is dropped, doubled, swapped or shifted on a signal's way is found; a sound way never is blamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ark.continuity import CLOCK_TOLERANCE_NS, faults
from ark.message import Span

T = CLOCK_TOLERANCE_NS
START = 1_700_000_000 * 10**9
Way = tuple[Span, ...]
change = msgspec.structs.replace


@st.composite
def sound(draw: st.DrawFn, at_least: int = 1) -> Way:
    """A way through a pipeline of some agents, with waits of any length and a clock that is a little off."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=at_least, max_size=8, unique=True))
    moment, way = START, []
    for name in names:
        wait = draw(st.integers(-T, T) | st.integers(0, 10**15))
        stay = draw(st.integers(-T, T) | st.integers(0, 10**12))
        way.append(Span(name, draw(st.sampled_from(["1.0", "1.1"])), moment + wait, moment + wait + stay))
        moment = way[-1].out_ns
    return tuple(way)


def names(way: Way) -> tuple[str, ...]:
    return tuple(span.agent for span in way)


def moved(span: Span, by_ns: int) -> Span:
    return change(span, in_ns=span.in_ns + by_ns, out_ns=span.out_ns + by_ns)


def put(way: Way, place: int, *spans: Span) -> Way:
    """With these in the place of the one that stands there."""
    return (*way[:place], *spans, *way[place + 1 :])


@given(sound(at_least=0), st.integers(0, 8))
def test_a_sound_way_is_never_blamed_nor_is_its_beginning(way: Way, done: int) -> None:
    known = dict.fromkeys(names(way), ("1.0", "1.1", "2.0"))
    accepted = min((span.in_ns for span in way), default=START) + T
    ended = max((span.out_ns for span in way), default=START) - T
    assert faults(way, names(way)) == []
    assert faults(way, names(way), versions=known, accepted_ns=accepted, ended_ns=ended) == []
    assert faults(way[:done], names(way), is_whole=False, versions=known, accepted_ns=accepted) == []


Damage = Callable[[st.DrawFn, Way, int], Way]


def drop(draw: st.DrawFn, way: Way, place: int) -> Way:
    return put(way, place)


def double(draw: st.DrawFn, way: Way, place: int) -> Way:
    return put(way, place, way[place], way[place])


def double_elsewhere(draw: st.DrawFn, way: Way, place: int) -> Way:
    return (*way, way[place])


def swap(draw: st.DrawFn, way: Way, place: int) -> Way:
    other = draw(st.integers(0, len(way) - 1))
    assume(other != place)
    return put(put(way, place, way[other]), other, way[place])


def swap_names_only(draw: st.DrawFn, way: Way, place: int) -> Way:
    other = draw(st.integers(0, len(way) - 1))
    assume(other != place)
    one, two = way[place], way[other]
    return put(put(way, place, change(one, agent=two.agent)), other, change(two, agent=one.agent))


def put_a_stranger_in(draw: st.DrawFn, way: Way, place: int) -> Way:
    return put(way, place, change(way[place], agent="stranger"))


def shift_before_the_one_ahead(draw: st.DrawFn, way: Way, place: int) -> Way:
    assume(place > 0)
    room = way[place].in_ns - way[place - 1].out_ns
    return put(way, place, moved(way[place], -room - T - draw(st.integers(1, 10**15))))


def shift_behind_the_next(draw: st.DrawFn, way: Way, place: int) -> Way:
    assume(place + 1 < len(way))
    room = way[place + 1].in_ns - way[place].out_ns
    return put(way, place, moved(way[place], room + T + draw(st.integers(1, 10**15))))


def turn_round(draw: st.DrawFn, way: Way, place: int) -> Way:
    return put(way, place, change(way[place], out_ns=way[place].in_ns - T - draw(st.integers(1, 10**15))))


def take_the_version(draw: st.DrawFn, way: Way, place: int) -> Way:
    return put(way, place, change(way[place], version=""))


DAMAGES = [
    drop,
    double,
    double_elsewhere,
    swap,
    swap_names_only,
    put_a_stranger_in,
    shift_before_the_one_ahead,
    shift_behind_the_next,
    turn_round,
    take_the_version,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
@given(data=st.data())
def test_whatever_is_done_to_a_sound_way_is_found(damage: Damage, data: Any) -> None:
    way = data.draw(sound(at_least=2))
    place = data.draw(st.integers(0, len(way) - 1))
    assert faults(damage(data.draw, way, place), names(way))


@given(sound(at_least=2), st.data())
def test_a_version_that_the_agent_never_had_is_found_and_one_of_which_nothing_is_known_is_not(
    way: Way, data: Any
) -> None:
    strange = data.draw(st.sampled_from(way)).agent
    way = tuple(change(span, version="9.9") if span.agent == strange else span for span in way)
    known = {name: {"1.0", "1.1"} for name in names(way)}
    assert faults(way, names(way), versions=known) == [f"{strange} never had the version 9.9"]
    way = tuple(change(span, track="canary:7") if span.agent == strange else span for span in way)
    assert not faults(way, names(way), versions=known)
    del known[strange]
    assert faults(way, names(way), versions=known) == []


@given(sound(), st.integers(1, 10**15))
def test_who_had_it_before_it_was_accepted_or_after_it_had_ended_is_found(way: Way, by_ns: int) -> None:
    first, last = min(span.in_ns for span in way), max(span.out_ns for span in way)
    assert faults(way, names(way), accepted_ns=first + T + by_ns)
    assert faults(way, names(way), ended_ns=last - T - by_ns)


def test_the_faults_say_what_is_wrong() -> None:
    way = (Span("kyle", "1", START, START + 10), Span("hrm", "", START + 10, START - 2 * T))
    assert faults(way, ("kyle", "joey", "hrm"), accepted_ns=START + 3 * T) == [
        "it passed kyle, hrm instead of kyle, joey, hrm",
        "kyle took it before it was accepted",
        "hrm let go of it before taking it",
        "hrm took it before it was accepted",
        "hrm names no version",
    ]
    assert faults((), ("kyle",)) == ["it passed nobody instead of kyle"]
