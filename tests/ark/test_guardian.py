"""The guardian's eye on the root: a hang is seen, a machine that stood still is not blamed on anybody."""

from __future__ import annotations

from ark.guardian import _Pulse


def watch(pulse: _Pulse, beats: list[float], rounds: list[float]) -> list[float]:
    """The moments at which the root is called lost, given when it beat and when the guardian looked."""
    return [
        now for now in rounds if pulse.is_lost(now - max((beat for beat in beats if beat <= now), default=0.0), now)
    ]


def every(step: float, start: float, end: float) -> list[float]:
    return [start + step * n for n in range(round((end - start) / step) + 1)]


def test_a_root_that_beats_is_never_lost() -> None:
    assert watch(_Pulse(5.0), every(0.25, 0, 100), every(0.2, 0, 100)) == []


def test_a_root_that_stops_beating_is_lost_after_the_patience() -> None:
    lost = watch(_Pulse(5.0), every(0.25, 0, 50), every(0.2, 0, 100))
    assert 55.0 <= lost[0] < 55.5


def test_a_pause_of_the_whole_machine_is_no_hang() -> None:
    beats = [*every(0.25, 0, 50), *every(0.25, 100.3, 200)]
    assert watch(_Pulse(5.0), beats, [*every(0.2, 0, 50), *every(0.2, 100, 200)]) == []


def test_a_root_that_does_not_wake_from_a_pause_is_lost_after_the_patience() -> None:
    lost = watch(_Pulse(5.0), every(0.25, 0, 50), [*every(0.2, 0, 50), *every(0.2, 100, 200)])
    assert 105.0 <= lost[0] < 105.5


def test_the_patience_is_never_shorter_than_two_seconds() -> None:
    lost = watch(_Pulse(0.05), [10.0], every(0.2, 9.9, 20))
    assert 12.0 <= lost[0] < 12.5
