"""What the Watchdog's monitors make of what they read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.alerts import NODE, Fault
from supervisor.monitors import (
    MIB,
    BusLimits,
    Clock,
    Door,
    Lasting,
    Rate,
    Restarts,
    Usage,
    bus_faults,
    disk_faults,
    tree_faults,
    usage_faults,
)

LIMITS = BusLimits()


def door(round_trip_s: float | None = 0.01, *, depth: int | None = 0, in_flight: int | None = 0) -> Door:
    children = [{"name": "gateway", "mailbox_depth": None}, {"name": "kenny", "mailbox_depth": depth}]
    status = {"children": children, "signals": {"in_flight": in_flight, "dead_letters": 0}}
    return Door(1.0, round_trip_s, status if round_trip_s is not None else {}, "no answer within 2 s")


def child(name: str = "kenny", **changes: Any) -> dict[str, Any]:
    return {"name": name, "state": "running", "restarts": 0, "reason": None, **changes}


def kinds(faults: list[Fault]) -> list[tuple[str, str]]:
    return [(fault.kind, fault.subject) for fault in faults]


# The front door, the mailboxes, the backlog


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (door(), []),
        (door(1.0, depth=1000, in_flight=16_000), []),
        (door(1.01), [("front_door", NODE)]),
        (door(None), [("front_door", NODE)]),
        (door(depth=1001), [("mailbox", "kenny")]),
        (door(in_flight=16_001), [("backlog", NODE)]),
        (door(depth=None, in_flight=None), []),
        (door(5.0, depth=9999, in_flight=99_999), [("front_door", NODE), ("mailbox", "kenny"), ("backlog", NODE)]),
        (Door(1.0, 0.01, {}), []),
    ],
)
def test_the_bus_is_at_fault_beyond_each_of_its_limits(seen: Door, expected: list[tuple[str, str]]) -> None:
    assert kinds(bus_faults(seen, LIMITS)) == expected


def test_a_door_that_does_not_answer_is_told_with_the_reason() -> None:
    (fault,) = bus_faults(door(None), LIMITS)
    assert fault.reason == "the front door does not answer: no answer within 2 s"


# Counts


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.0, 60.0, 61.0]), st.integers(0, 20)), max_size=60))
def test_a_rate_is_what_came_since_the_last_look_a_minute_ago_or_more(steps: list[tuple[float, int]]) -> None:
    rate, now, total = Rate(), 0.0, 1000
    looks = [(now, total)]
    assert rate.see(total, now) == 0
    for step, more in steps:
        now, total = now + step, total + more
        looks.append((now, total))
        before = [count for at, count in looks if at <= now - 60.0]
        assert rate.see(total, now) == total - (before[-1] if before else looks[0][1])


def test_what_was_counted_before_the_first_look_happened_at_some_other_time() -> None:
    assert Rate().see(5000, 0.0) == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_a_count_that_falls_has_begun_anew(counts: list[int]) -> None:
    rate = Rate()
    rate.see(counts[0], 0.0)
    expected = sum(count - before if count >= before else count for before, count in pairwise(counts))
    seen = 0
    for number, count in enumerate(counts[1:]):
        seen = rate.see(count, 1.0 + number)
    assert seen == expected


def test_w24_fifteen_violations_in_a_minute_are_counted_and_gone_a_minute_later() -> None:
    rate = Rate()
    seen = [rate.see(number, float(number)) for number in range(16)]
    assert seen[-1] == 15
    assert rate.see(15, 74.0) == 1
    assert rate.see(15, 76.0) == 0


def test_a_child_that_was_restarted_more_often_than_is_borne_is_named_with_the_reason() -> None:
    restarts = Restarts()
    tree = [child("kyle", restarts=3), child(reason="killed by SIGKILL")]
    assert restarts.faults(tree, 2, 0.0) == []
    tree = [child("kyle", restarts=3), child(restarts=2, reason="killed by SIGKILL")]
    assert restarts.faults(tree, 2, 1.0) == []
    tree = [child("kyle", restarts=6), child(restarts=3, reason="killed by SIGKILL")]
    assert [(fault.subject, fault.reason) for fault in restarts.faults(tree, 2, 2.0)] == [
        ("kyle", "restarted 3 times within a minute"),
        ("kenny", "restarted 3 times within a minute; the last time: killed by SIGKILL"),
    ]
    assert restarts.faults(tree, 2, 62.0) == []


def test_a_child_that_disappears_and_comes_back_under_a_new_supervisor_is_counted_on() -> None:
    restarts = Restarts()
    restarts.faults([child(restarts=7)], 1, 0.0)
    assert restarts.faults([], 1, 1.0) == []
    assert restarts.faults([child(restarts=0)], 1, 2.0) == []
    assert kinds(restarts.faults([child(restarts=2)], 1, 3.0)) == [("restarts", "kenny")]


# Time


@given(st.floats(-1e6, 1e6), st.floats(0.1, 3600.0))
def test_a_clock_that_is_set_is_told_both_ways_once(jump_s: float, apart_s: float) -> None:
    clock = Clock()
    assert clock.fault(1e9, 50.0, 1.0) is None
    fault = clock.fault(1e9 + apart_s + jump_s, 50.0 + apart_s, 1.0)
    if abs(jump_s) > 1.001:
        assert fault is not None
        assert (fault.kind, fault.subject) == ("clock_jump", NODE)
        assert ("forwards" if jump_s > 0 else "backwards") in fault.reason
    elif abs(jump_s) < 0.999:
        assert fault is None
    assert clock.fault(1e9 + 2 * apart_s + jump_s, 50.0 + 2 * apart_s, 1.0) is None


@given(st.floats(-0.5, 0.5), st.integers(1, 100))
def test_a_clock_that_drifts_is_not_told_however_long(drift_s: float, looks: int) -> None:
    clock = Clock()
    for number in range(looks):
        assert clock.fault(1e9 + number * (1.0 + drift_s), float(number), 1.0) is None


def test_who_is_not_as_he_should_be_is_named_after_a_while_and_begins_anew_once_he_was() -> None:
    held = Lasting()
    assert held.longer_than(["kenny"], 30.0, 0.0) == []
    assert held.longer_than(["kenny", "kyle"], 30.0, 30.0) == []
    assert held.longer_than(["kenny", "kyle"], 30.0, 31.0) == [("kenny", 31.0)]
    assert held.longer_than(["kyle"], 30.0, 32.0) == []
    assert held.longer_than(["kenny", "kyle"], 30.0, 61.0) == [("kyle", 31.0)]
    assert held.longer_than(["kenny"], 30.0, 62.0) == []


# The tree, what processes hold, the disk


def test_the_tree_tells_who_is_isolated_and_who_waits_for_his_journal() -> None:
    tree = [
        child("kyle", state="isolated", reason="too many failures"),
        child("joey", state="isolated"),
        child("hrm"),
        child("kenny"),
    ]
    words = {"kenny": "storage: data/kenny.db is damaged", "hrm": "Traceback", "nobody": "storage: x"}
    assert tree_faults(tree, words) == [
        Fault("isolated", "kyle", "it is isolated: too many failures"),
        Fault("isolated", "joey", "it is isolated: no reason given"),
        Fault("storage", "kenny", "data/kenny.db is damaged"),
    ]


@pytest.mark.parametrize(
    ("memory_mb", "limits", "is_fault"),
    [(1024, {}, False), (1025, {}, True), (50, {"kenny": 40}, True), (2000, {"kenny": 2048}, False),
     (1025, {"kenny": 0}, True)],
)  # fmt: skip
def test_memory_has_a_limit_for_all_and_one_for_each(
    memory_mb: int, limits: dict[str, int], is_fault: bool
) -> None:
    faults = usage_faults([Usage("kenny", 3, memory_mb * MIB, 10, 1024)], limits, 1024, 0.8)
    assert [(fault.kind, fault.incarnation) for fault in faults] == [("memory", 3)] * is_fault


@pytest.mark.parametrize(("count", "most", "is_fault"), [(80, 100, False), (81, 100, True), (10**6, -1, False)])
def test_descriptors_have_a_share_of_what_the_process_may_open(count: int, most: int, is_fault: bool) -> None:
    faults = usage_faults([Usage("kenny", 3, 0, count, most)], {}, 1024, 0.8)
    assert [(fault.kind, fault.incarnation) for fault in faults] == [("descriptors", 3)] * is_fault


@pytest.mark.parametrize(
    ("free_mb", "kind"), [(1024, None), (1023, "disk_low"), (100, "disk_low"), (99, "disk_full"), (0, "disk_full")]
)
def test_a_disk_is_low_before_it_is_full(free_mb: int, kind: str | None) -> None:
    assert kinds(disk_faults(free_mb * MIB, 1024, 100)) == [(kind, NODE)] * (kind is not None)


def test_a_disk_that_tells_nothing_is_told_of_but_stops_nobody() -> None:
    assert kinds(disk_faults(None, 1024, 100)) == [("disk_low", NODE)]


@given(st.integers(0, 10**13), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_disk_has_one_fault_at_most(free: int, low_mb: int, full_mb: int) -> None:
    faults = disk_faults(free, low_mb, full_mb)
    assert len(faults) == (free < max(low_mb, full_mb) * MIB)
    assert not faults or (faults[0].kind == "disk_full") == (free < full_mb * MIB)
