"""How often signals ended an agent, counted when its processes are buried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ark.blackbox import Work
from supervisor.failures import Failures, in_a_row


def worked(*course: bool) -> Work:
    """What a process notes of signals that went well, or failed."""
    work = Work()
    for good in course:
        work.count(1, failed=not good)
    return work


def test_a_signal_that_ends_its_agent_again_and_again_is_one_failure() -> None:
    failures = Failures()
    for _ in range(3):
        failures = failures.after("t1", Work())
    assert failures == Failures(1, 1, "t1")
    assert failures.after("t2", Work()) == Failures(2, 2, "t2")


def test_an_exit_that_no_signal_caused_is_no_failure() -> None:
    assert Failures(2, 1, "t1").after("", Work()) == Failures(2, 1, "t1")


def test_a_good_signal_ends_the_row_but_not_the_count() -> None:
    assert Failures(3, 3, "t3").after("", worked(True)) == Failures(3, 0, "t3", 1, 0, 1)
    assert Failures(3, 3, "t3").after("t4", worked(False, True, False)) == Failures(4, 2, "t4", 3, 2, 3)


Process = tuple[list[bool], str]
PROCESSES = st.lists(st.tuples(st.lists(st.booleans(), max_size=5), st.sampled_from(["", "t1", "t2"])), max_size=8)


@given(PROCESSES, st.lists(st.booleans(), max_size=5))
def test_the_row_is_that_of_all_signals_one_after_the_other_whichever_process_had_them(
    processes: list[Process], present: list[bool]
) -> None:
    failures, row, ended, last = Failures(), 0, 0, ""
    answers: list[bool] = []
    for course, trace_id in processes:
        failures = failures.after(trace_id, worked(*course))
        answers += course
        for good in course:
            row = 0 if good else row + 1
        if trace_id and trace_id != last:
            row, ended, last = row + 1, ended + 1, trace_id
        assert failures == Failures(ended, row, last, len(answers), answers.count(False), len(answers))
    for good in present:
        row = 0 if good else row + 1
    assert in_a_row(failures, worked(*present)) == row
