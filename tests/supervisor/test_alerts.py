"""What is told and done about faults that begin, last, come and go, and end."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import AnswersConfig
from supervisor.alerts import ADVICE, CHILD_FAULTS, NODE, Alert, Answer, Answers, Fault, Memory, Order, weigh

TABLE: dict[str, Answer] = msgspec.structs.asdict(AnswersConfig())
AGENTS = ("kyle", "kenny")
ANSWERS = Answers(TABLE, AGENTS)
FAILS = Fault("failures", "kenny", "5 signals failed in a row")
LATE = Fault("front_door", NODE, "the front door took 2 s")
FULL = Fault("disk_full", NODE, "3 MiB are free")


def answering(kind: str, answer: Answer, **changes: Any) -> Answers:
    return Answers({**TABLE, kind: answer}, AGENTS, **changes)


@dataclass
class Desk:
    """Where alerts and orders come in, with the memory between two rounds."""

    answers: Answers = ANSWERS
    memory: Memory = field(default_factory=Memory)

    def see(self, now: float, *faults: Fault) -> tuple[list[Alert], list[Order]]:
        alerts, orders, self.memory = weigh(faults, self.memory, self.answers, now)
        return alerts, orders

    def states(self, now: float, *faults: Fault) -> list[str]:
        return [alert.state for alert in self.see(now, *faults)[0]]

    def orders(self, now: float, *faults: Fault) -> list[tuple[Answer, str]]:
        return [(order.answer, order.fault.kind) for order in self.see(now, *faults)[1]]


# What is told


def test_a_fault_that_lasts_is_told_once_then_every_repeat_s_and_cleared_once_when_it_is_over() -> None:
    desk = Desk()
    told = [(now, state) for now in range(1000) for state in desk.states(float(now), *[LATE] * (now < 700))]
    assert told == [(0, "raised"), (300, "repeated"), (600, "repeated"), (709, "cleared")]
    assert desk.memory == Memory()


def test_an_alert_says_what_to_do_next_about_the_one_it_is_about() -> None:
    (alert,), _ = Desk().see(5.0, FAILS)
    assert "supervisor release kenny --reason TEXT" in alert.advice
    assert alert.fields() == {
        "name": "kenny",
        "fault": "failures",
        "severity": "critical",
        "answer": "isolate",
        "state": "raised",
        "reason": "5 signals failed in a row",
        "advice": alert.advice,
        "count": 1,
    }


def test_every_fault_in_the_table_has_its_advice() -> None:
    assert set(TABLE) <= set(ADVICE)
    for kind in ADVICE:
        (alert,), _ = Desk().see(0.0, Fault(kind, "kenny", "seen"))
        assert "{" not in alert.advice
    (alert,), _ = Desk().see(0.0, Fault("something_new", "kenny", "seen"))
    assert (alert.answer, alert.advice) == ("warn", "see supervisor doctor")


@pytest.mark.parametrize(
    ("fault", "severity"),
    [
        (LATE, "warning"),
        (Fault("memory", "kenny", "much"), "warning"),
        (FAILS, "critical"),
        (FULL, "emergency"),
        (Fault("isolated", "kenny", "it is isolated"), "critical"),
        (Fault("halted", NODE, "halted by a person"), "emergency"),
    ],
)
def test_how_bad_a_fault_is_follows_from_what_is_done_about_it(fault: Fault, severity: str) -> None:
    (alert,), _ = Desk().see(0.0, fault)
    assert alert.severity == severity


def test_what_comes_again_before_it_is_cleared_is_the_same_alert_with_a_higher_count() -> None:
    desk = Desk()
    states = [state for now in range(0, 100, 4) for state in desk.states(float(now), *[LATE] * (now % 8 == 0))]
    assert states == ["raised"]
    (standing,) = desk.memory.active()
    assert (standing.count, standing.since) == (13, 0.0)


def test_what_comes_again_after_it_was_cleared_is_a_new_alert() -> None:
    desk = Desk()
    assert desk.states(0.0, LATE) == ["raised"]
    assert desk.states(9.9) == []
    assert desk.states(10.0) == ["cleared"]
    assert desk.states(20.0) == []
    assert desk.states(20.1, LATE) == ["raised"]
    assert desk.memory.active()[0].count == 1


def test_two_reports_of_one_fault_in_one_round_are_one() -> None:
    desk = Desk()
    alerts, orders = desk.see(0.0, FAILS, FAILS)
    assert (len(alerts), len(orders)) == (1, 1)


def test_what_stands_is_listed_with_the_newest_reason_the_oldest_first() -> None:
    desk = Desk()
    desk.see(0.0, LATE)
    desk.see(1.0, FAILS)
    desk.see(2.0, dataclasses.replace(LATE, reason="the front door took 3 s"))
    assert [(alert.fault, alert.state, alert.reason, alert.since) for alert in desk.memory.active()] == [
        ("front_door", "raised", "the front door took 3 s", 0.0),
        ("failures", "raised", "5 signals failed in a row", 1.0),
    ]


# What is done


def test_an_order_comes_at_each_new_appearance_and_each_repeat_s_but_none_for_a_warning() -> None:
    desk = Desk()
    memory = Fault("memory", "kenny", "much")
    assert desk.orders(0.0, memory, LATE) == [("restart", "memory")]
    assert desk.orders(1.0, memory, LATE) == []
    assert desk.orders(2.0, LATE) == []
    assert desk.orders(3.0, memory, LATE) == [("restart", "memory")]
    assert desk.orders(302.9, memory, LATE) == []
    assert desk.orders(303.0, memory, LATE) == [("restart", "memory")]


def test_the_same_fault_of_the_next_process_gets_an_order_of_its_own_but_no_alert() -> None:
    desk = Desk()
    for incarnation in (1, 2, 3):
        alerts, orders = desk.see(float(incarnation), Fault("memory", "kenny", "much", incarnation))
        assert [order.fault.incarnation for order in orders] == [incarnation]
        assert len(alerts) == (incarnation == 1)
        assert desk.see(incarnation + 0.5, Fault("memory", "kenny", "more", incarnation)) == ([], [])
    assert desk.memory.active()[0].count == 3


def test_a_child_whose_limit_is_below_what_it_needs_is_not_killed_for_ever() -> None:
    desk = Desk()
    restarted = [
        now
        for now in range(0, 900, 5)
        if desk.orders(float(now), *[Fault("memory", "kenny", "much", now)] * bool(now % 10))
    ]
    assert restarted == [5, 15, 25, 305, 315, 325, 605, 615, 625]


def test_what_comes_again_and_again_after_it_was_over_is_no_reason_to_kill_more_often() -> None:
    desk = Desk()
    restarted = [
        now
        for now in range(290)
        if desk.orders(float(now), *[Fault("memory", "kenny", "much", now)] * (now % 20 == 0))
    ]
    assert restarted == [0, 20, 40]


def test_whoever_hangs_again_and_again_is_replaced_each_time() -> None:
    desk = Desk()
    assert all(desk.orders(float(now), Fault("hang", "kenny", "no heartbeat", now)) for now in range(20))


def test_two_faults_that_need_the_same_deed_in_one_round_get_it_once() -> None:
    both = [Fault("memory", "gateway", "much", 4), Fault("descriptors", "gateway", "many", 4)]
    alerts, orders = Desk().see(0.0, *both)
    assert [alert.fault for alert in alerts] == ["memory", "descriptors"]
    assert [(order.answer, order.fault.kind) for order in orders] == [("restart", "memory")]


@pytest.mark.parametrize("answers", [ANSWERS, answering("failures", "isolate", auto_isolation=False)])
def test_a_broken_seal_halts_whatever_is_set(answers: Answers) -> None:
    answers = dataclasses.replace(answers, table={"seal": "warn"}, emergency_halt=False)
    assert Desk(answers).orders(0.0, Fault("seal", NODE, "a file was changed")) == [("halt", "seal")]


@given(
    st.sampled_from(["warn", "restart", "isolate", "halt"]),
    st.sampled_from([*AGENTS, "gateway", "pipeline"]),
    st.booleans(),
    st.booleans(),
)
def test_a_hang_is_at_least_restarted(answer: Answer, subject: str, isolation: bool, halt: bool) -> None:
    answers = answering("hang", answer, auto_isolation=isolation, emergency_halt=halt)
    fault = Fault("hang", subject, "no heartbeat", 3)
    orders = [order.answer for order in Desk(answers).see(0.0, fault)[1]]
    isolates = any(answers.isolates(each, fault) for each in orders)
    assert "restart" in orders or isolates
    assert not isolates or (isolation and subject in AGENTS)
    assert ("halt" in orders) == (answer == "halt" and halt)


@pytest.mark.parametrize(
    ("fault", "answer", "isolation", "halt", "orders"),
    [
        (FAILS, "isolate", True, True, ["isolate"]),
        (FAILS, "isolate", False, True, []),
        (FAILS, "halt", True, True, ["halt"]),
        (FAILS, "halt", True, False, ["isolate"]),
        (FAILS, "halt", False, False, []),
        (Fault("memory", "gateway", "much"), "isolate", True, True, ["restart"]),
        (Fault("memory", "gateway", "much"), "isolate", False, True, ["restart"]),
        (Fault("memory", "gateway", "much"), "halt", True, False, []),
        (FULL, "halt", True, True, ["halt"]),
        (FULL, "halt", True, False, []),
        (Fault("storage", "kenny", "its journal"), "halt", True, True, ["halt"]),
        (Fault("storage", "kenny", "its journal"), "halt", True, False, []),
        (Fault("down", "kenny", "for 30 s"), "halt", True, False, []),
    ],
)
def test_what_is_switched_off_is_replaced_by_what_is_left(
    fault: Fault, answer: Answer, isolation: bool, halt: bool, orders: list[Answer]
) -> None:
    answers = answering(fault.kind, answer, auto_isolation=isolation, emergency_halt=halt)
    assert [order.answer for order in Desk(answers).see(0.0, fault)[1]] == orders


def test_a_halt_for_a_fault_of_one_process_isolates_only_where_isolation_is_on() -> None:
    for kind in CHILD_FAULTS:
        fault = Fault(kind, "kenny", "seen")
        assert ANSWERS.isolates("halt", fault)
        assert not dataclasses.replace(ANSWERS, auto_isolation=False).isolates("halt", fault)
        assert not ANSWERS.isolates("halt", Fault(kind, "gateway", "seen"))
    assert not ANSWERS.isolates("halt", Fault("storage", "kenny", "seen"))


# Quarantines


def isolations(desk: Desk, times: Sequence[float]) -> list[float]:
    """Let the agent fail at these times, well in between; give when trading was halted."""
    halted = []
    for time in times:
        orders = desk.see(time, FAILS)[1]
        assert orders[0].answer == "isolate"
        halted += [time for order in orders if order.answer == "halt"]
        desk.see(time + 1.0)
    return halted


def test_trading_is_halted_when_an_agent_is_isolated_too_often_within_the_period() -> None:
    desk = Desk()
    assert isolations(desk, [0.0, 1000.0]) == []
    alerts, orders = desk.see(2000.0, FAILS)
    assert [(order.answer, order.fault.kind) for order in orders] == [
        ("isolate", "failures"),
        ("halt", "quarantines"),
    ]
    alert = next(alert for alert in alerts if alert.fault == "quarantines")
    assert (alert.subject, alert.severity, alert.answer) == ("kenny", "emergency", "halt")
    assert alert.reason == "isolated 3 times within 60 minutes, the last time for: 5 signals failed in a row"
    desk.see(2001.0)
    assert isolations(desk, [3000.0]) == [3000.0], "and again each time"


@given(st.lists(st.floats(2.0, 5000.0), min_size=1, max_size=12), st.integers(1, 4))
def test_exactly_the_quarantines_within_the_period_count(gaps: list[float], most: int) -> None:
    times = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    expected = [
        time
        for number, time in enumerate(times)
        if sum(time - each < 3600.0 for each in times[: number + 1]) >= most
    ]
    assert isolations(Desk(Answers(TABLE, AGENTS, max_quarantines=most)), times) == expected


def test_two_faults_at_once_make_one_quarantine() -> None:
    answers = Answers({**TABLE, "memory": "isolate"}, AGENTS, max_quarantines=2)
    desk = Desk(answers)
    assert desk.orders(0.0, FAILS, Fault("memory", "kenny", "much", 1)) == [("isolate", "failures")]
    assert [len(times) for times in desk.memory.quarantines.values()] == [1]


def test_quarantines_of_different_agents_are_counted_apart() -> None:
    desk = Desk(Answers(TABLE, AGENTS, max_quarantines=2))
    other = Fault("failures", "kyle", "5 signals failed in a row")
    assert desk.orders(0.0, FAILS, other) == [("isolate", "failures"), ("isolate", "failures")]


def test_a_halt_that_isolates_counts_as_a_quarantine_and_one_that_does_not_does_not() -> None:
    desk = Desk(answering("failures", "halt"))
    desk.see(0.0, FAILS)
    assert set(desk.memory.quarantines) == {"kenny"}
    desk = Desk(answering("failures", "halt", auto_isolation=False))
    desk.see(0.0, FAILS, FULL, Fault("storage", "kenny", "its journal"))
    assert not desk.memory.quarantines


def test_too_many_quarantines_are_told_also_where_nothing_may_halt() -> None:
    desk = Desk(Answers(TABLE, AGENTS, emergency_halt=False, max_quarantines=1))
    alerts, orders = desk.see(0.0, FAILS)
    assert [(alert.fault, alert.answer) for alert in alerts] == [("failures", "isolate"), ("quarantines", "warn")]
    assert [order.answer for order in orders] == ["isolate"]
    assert [len(times) for times in desk.memory.quarantines.values()] == [1]


def test_what_an_earlier_watchdog_isolated_counts() -> None:
    desk = Desk(memory=Memory(quarantines={"kenny": (-100.0, -50.0)}))
    assert desk.orders(0.0, FAILS) == [("isolate", "failures"), ("halt", "quarantines")]


# Over any course of faults

KINDS = ("failures", "memory", "front_door", "disk_full")
COURSES = st.lists(
    st.tuples(
        st.sampled_from([0.25, 1.0, 5.0, 9.0, 11.0, 40.0]),
        st.sets(st.tuples(st.sampled_from(KINDS), st.sampled_from(["kenny", "gateway"]), st.integers(1, 2))),
    ),
    max_size=60,
)


@given(COURSES)
def test_over_any_course_alerts_are_raised_repeated_and_cleared_in_order_and_never_too_often(
    course: list[tuple[float, set[tuple[str, str, int]]]],
) -> None:
    desk, now = Desk(Answers(TABLE, AGENTS, repeat_s=30.0)), 0.0
    told: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    seen: dict[tuple[str, str], float] = {}
    for step, faults in course:
        now += step
        alerts, orders = desk.see(now, *(Fault(kind, subject, "seen", number) for kind, subject, number in faults))
        seen |= {(kind, subject): now for kind, subject, _ in faults}
        for alert in alerts:
            told[alert.fault, alert.subject].append((now, alert.state))
        assert len({(order.answer, order.fault.subject) for order in orders}) == len(orders)
        assert "warn" not in {order.answer for order in orders}
        standing = {(alert.fault, alert.subject) for alert in desk.memory.active()} - {("quarantines", "kenny")}
        assert standing == {key for key, at in seen.items() if key in standing or at == now or now - at < 10.0}
        seen = {key: at for key, at in seen.items() if key in standing}
    for times in told.values():
        before, at = "cleared", -1e9
        for time, state in times:
            assert state in {"cleared": ("raised",)}.get(before, ("repeated", "cleared"))
            assert state != "repeated" or time - at >= 30.0
            before, at = state, time


@given(st.lists(st.tuples(st.floats(0.01, 9.9), st.booleans()), max_size=200))
def test_however_a_fault_flickers_it_is_told_no_more_often_than_one_that_stays(
    course: list[tuple[float, bool]],
) -> None:
    desk, now, last_seen, told = Desk(Answers(TABLE, AGENTS, repeat_s=20.0)), 0.0, 0.0, [0.0]
    assert desk.states(0.0, LATE) == ["raised"]
    for step, present in course:
        now += step
        is_seen = present or now - last_seen >= 9.9  # never away for long enough to be over
        last_seen = now if is_seen else last_seen
        if desk.states(now, *[LATE] * is_seen):
            assert now - told[-1] >= 20.0
            told.append(now)
