"""How much the gateway sends while agents are slower than what comes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ark.back_pressure import BackPressure


class Pressed:
    """Back-pressure over mailboxes that a test fills."""

    def __init__(self, window: int, back_pressure: int) -> None:
        self.beats = 0
        self.lookups = 0
        self.depths: dict[str, int] = {}
        pressure = BackPressure(back_pressure, window, beat=self._beat, look=self._look)
        self.room, self.send = pressure.room, pressure.sent

    def _beat(self) -> None:
        self.beats += 1

    def _look(self) -> dict[str, int]:
        assert self.beats == self.lookups + 1, "what was sent is in the black box before depths are read"
        self.lookups += 1
        return self.depths


def test_there_is_room_up_to_the_depth_of_the_fullest_mailbox() -> None:
    pressed = Pressed(5000, 800)
    pressed.depths = {"alpha": 3, "beta": 790}
    assert pressed.room(1.0) == 10
    pressed.depths = {"alpha": 3, "beta": 800}
    assert pressed.room(2.0) == 0
    pressed.depths = {"alpha": 3, "beta": 9999}
    assert pressed.room(3.0) == 0
    pressed.depths = {}
    assert pressed.room(4.0) == 800


def test_where_no_mailbox_can_fill_up_nothing_is_looked_up() -> None:
    pressed = Pressed(512, 800)
    assert pressed.room(1.0) == 800
    assert (pressed.lookups, pressed.beats) == (0, 0)


def test_what_was_sent_since_the_last_look_takes_room_until_the_next_one() -> None:
    pressed = Pressed(5000, 800)
    pressed.depths = {"alpha": 100}
    assert pressed.room(1.0) == 700
    pressed.send(650)
    assert pressed.room(1.004) == 50
    assert pressed.lookups == 1
    assert pressed.room(1.006) == 700


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.01]), st.integers(0, 30), st.integers(0, 30))))
def test_between_two_looks_what_is_sent_counts_and_room_is_never_given_twice(
    steps: list[tuple[float, int, int]],
) -> None:
    pressed, now, waiting = Pressed(5000, 20), 1.0, 0
    for pause_s, wanted, taken in steps:
        now += pause_s
        waiting = max(0, waiting - taken)
        pressed.depths = {"alpha": waiting}
        room = pressed.room(now)
        sent = min(room, wanted)
        pressed.send(sent)
        waiting += sent
        assert waiting <= 20
